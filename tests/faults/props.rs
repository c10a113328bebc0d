//! What a scene can have beside its two servers: small disks under the target or the coordinators,
//! a network in which one direction can be cut, a user of its own. Made before anything starts.

use super::hands::texts;
use super::pool::{Engine, Lent, Server};
use crate::harness::cluster::Cluster;
use crate::harness::disk::Disk;
use crate::harness::lab::Database;
use crate::harness::lan::{Lan, Party};
use crate::harness::{postgres, server};

/// The password of [`USER`] as long as nobody changes it.
pub const PASSWORD: &str = "the-first-one";
/// The user a job works as, if not as the servers' own.
pub const USER: &str = "mover";

/// What a scene asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    pub target_disk: bool,
    pub state_disks: bool,
    pub lan: bool,
    pub user: bool,
}

/// What it got. Later fields go after earlier ones.
#[derive(Default)]
pub struct Props {
    pub lan: Option<Lan>,
    /// One for each coordinator.
    pub state_disks: Vec<Disk>,
    pub target_disk: Option<Disk>,
}

impl Props {
    /// None = this machine doesn't allow it, which was said aloud.
    pub fn make(wanted: Wanted, cluster: &mut Cluster) -> Option<Props> {
        let mut props = Props::default();
        if wanted.lan {
            let lan = Lan::build(cluster.coordinators.len())?;
            for (i, coordinator) in cluster.coordinators.iter_mut().enumerate() {
                let address = lan.address(Party::Coordinator(i));
                coordinator.address = format!("{address}:7400");
                coordinator.http = format!("{address}:7461");
                coordinator.netns = Some(lan.netns(i));
            }
            props.lan = Some(lan);
        }
        if wanted.state_disks {
            for coordinator in &cluster.coordinators {
                let path = cluster.dir.path().join(&coordinator.name);
                props.state_disks.push(Disk::mount(&path)?);
            }
        }
        if wanted.target_disk {
            props.target_disk = Some(Disk::mount(&cluster.dir.path().join("disk"))?);
        }
        Some(props)
    }

    /// Gives the scene a target server on the small disk; true = it has one now.
    pub async fn swap_target(&self, engine: Engine, lent: &mut Lent) -> bool {
        let Some(disk) = &self.target_disk else {
            return false;
        };
        let place = disk.path().join("server");
        let target = match engine {
            Engine::Mariadb => {
                std::fs::create_dir(&place).expect("an empty disk");
                let small = [
                    "--innodb-log-file-size=16M",
                    "--innodb-buffer-pool-size=64M",
                ];
                Server::Mariadb(server::Server::start_in(place, &small).await)
            }
            Engine::PostgresPrepared => Server::Postgres(postgres::Server::start_in(place, &[])),
            Engine::PostgresHeld => {
                let held = ["max_prepared_transactions=0"];
                Server::Postgres(postgres::Server::start_in(place, &held))
            }
            Engine::Sqlite => return false,
            Engine::Mysql9 => panic!("MySQL 9 has a place of its own; don't ask for its disk"),
        };
        lent.servers.target = Some(target);
        true
    }
}

/// Makes the scene's user at both ends, with the rights docs/operations.md asks for, and more.
pub async fn make_user(source: (&Server, &Database), target: (&Server, &Database)) {
    for (server, database) in [source, target] {
        let name = &database.name;
        match server.is_postgres() {
            false => {
                let create = format!("CREATE USER {USER} IDENTIFIED BY '{PASSWORD}'");
                let drop = format!("DROP USER IF EXISTS {USER}");
                let grant = format!("GRANT ALL ON *.* TO {USER}");
                server.exec(&[&drop, &create, &grant]).await;
            }
            true => {
                let role = format!("SELECT rolname::text FROM pg_roles WHERE rolname = '{USER}'");
                if texts(database, &role).await.is_empty() {
                    server.exec(&[&format!("CREATE ROLE {USER}")]).await;
                }
                let login = format!("ALTER ROLE {USER} LOGIN PASSWORD '{PASSWORD}'");
                server.exec(&[&login]).await;
                let read = format!("GRANT pg_read_all_data TO {USER}");
                server.exec(&[&read]).await;
                if std::ptr::eq(database, target.1) {
                    let own = format!("ALTER DATABASE \"{name}\" OWNER TO {USER}");
                    server.exec(&[&own]).await;
                }
            }
        }
    }
}

/// A URL of the servers' own user, for the scene's user, as it stands between quotes in a job file:
/// followed by the password's reference, and a comment that takes what comes after.
pub fn as_user(url: &str, cluster: &Cluster) -> String {
    let user = format!("//{USER}@");
    let url = url.replace("//root@", &user);
    let url = url.replace("//postgres@", &user);
    let file = cluster.dir.file("password");
    std::fs::write(&file, PASSWORD).expect("writable");
    format!("{url}\"\npassword = {{ file = \"{file}\" }} # ")
}
