//! The replication connection: opened on a slot that is ours, pinned as the reader's sessions are,
//! its events one by one. Knows nothing of tables.

use std::time::Duration;

use common::code::{Code, ErrorClass, Failure};
use common::limits;
use futures::FutureExt;
use pgwire_replication::client::{ReplicationClient, ReplicationEvent};
use pgwire_replication::config::ReplicationConfig;
use pgwire_replication::error::PgWireError;
use pgwire_replication::lsn::Lsn;
use secrecy::ExposeSecret;
use tokio::time::{Instant, sleep, timeout};

use super::super::session::{Host, Session};
use super::super::types::VALUES_PINNED;
use super::place::Identity;
use super::slot;
use crate::connector::{Error, Result};

/// How often the server hears how far we are: a keepalive of its own would be answered at once.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);
/// Messages between the connection and the decoder. A row each, of any size: few, but so many that
/// waking the other side costs nothing.
const MESSAGES_MAX: usize = 32;
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// How long another session that has the slot is left alone: a worker that died is gone at once,
/// another task of the job that only looks something up is done by then.
const OTHERS_TURN: Duration = Duration::from_secs(3);

/// See the module.
pub struct Feed {
    client: ReplicationClient,
    name: String,
}

/// What to follow, and how its cells are printed.
pub struct Start<'a> {
    pub host: &'a Host,
    pub identity: &'a Identity,
    pub publication: &'a str,
    pub from: u64,
}

impl Feed {
    /// Opens the stream. A session that has the slot and keeps it is ended: it is that of an older
    /// owner.
    pub async fn open(start: Start<'_>, session: &mut Session) -> Result<Feed> {
        let began = Instant::now();
        let deadline = began + Duration::from_millis(limits::BEGIN_DEADLINE_MS);
        let slot = &start.identity.slot;
        loop {
            let mut ending = false;
            while slot::is_in_use(session, slot).await? && Instant::now() < deadline {
                if !ending && began.elapsed() >= OTHERS_TURN {
                    slot::end_user(session, slot).await?;
                    ending = true;
                }
                sleep(LOOK_AGAIN).await;
            }
            let within = Duration::from_millis(limits::STATEMENT_DEADLINE_MS);
            let error = match timeout(within, try_open(&start, session)).await {
                Ok(Ok(feed)) => return Ok(feed),
                Ok(Err(Refused::InUse(error))) => error,
                Ok(Err(Refused::Other(error))) => return Err(error),
                Err(_) => {
                    let name = &start.host.name;
                    let what = format!("{name}: no answer in time to START_REPLICATION");
                    return Err(Error::transient(Code::Unreachable, what));
                }
            };
            if Instant::now() >= deadline {
                return Err(error);
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// The next event, if one comes within `wait`.
    pub async fn next(&mut self, wait: Duration) -> Result<Option<ReplicationEvent>> {
        let received = match self.client.recv().now_or_never() {
            Some(received) => received,
            None => match timeout(wait, self.client.recv()).await {
                Ok(received) => received,
                Err(_) => return Ok(None),
            },
        };
        match received {
            Ok(Some(event)) => Ok(Some(event)),
            Ok(None) => {
                let what = format!("{}: the replication stream ended", self.name);
                Err(Error::transient(Code::Unreachable, what))
            }
            Err(error) => Err(classify(&error, &self.name)),
        }
    }

    /// What is before `lsn` needn't be kept.
    pub fn confirm(&self, lsn: u64) {
        self.client.update_applied_lsn(Lsn::from_u64(lsn));
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        // The slot must be free for the next one, whatever the server is doing.
        self.client.abort();
    }
}

enum Refused {
    InUse(Error),
    Other(Error),
}

impl From<Error> for Refused {
    fn from(error: Error) -> Refused {
        Refused::Other(error)
    }
}

async fn try_open(start: &Start<'_>, session: &Session) -> std::result::Result<Feed, Refused> {
    let name = start.host.name.clone();
    let named = |error: PgWireError| classify(&error, &name);
    let opened = ReplicationClient::connect_gated(config(start)?).await;
    let mut client = Box::new(opened.map_err(named)?);
    client.simple_query(VALUES_PINNED).await.map_err(named)?;
    if session.facts.server_encoding == "SQL_ASCII" {
        let sql = "SET client_encoding = 'SQL_ASCII'";
        client.simple_query(sql).await.map_err(named)?;
    }
    let system = client.identify_system().await.map_err(named)?;
    let found = Identity {
        system: system.system_id,
        timeline: system.timeline.to_string(),
        slot: start.identity.slot.clone(),
        database: system.dbname.unwrap_or_default(),
    };
    start.identity.check(&found, &name)?;
    client.start().await.map_err(named)?;
    match client.wait_started().await {
        Ok(()) => Ok(Feed {
            client: *client,
            name,
        }),
        Err(PgWireError::Server(said)) if said.contains("55006") => {
            let what = format!("{name}: {said}");
            Err(Refused::InUse(Error::transient(Code::SourceFailed, what)))
        }
        Err(error) => Err(Refused::Other(classify(&error, &name))),
    }
}

/// The driver of this connection is built without TLS.
pub fn no_tls() -> Failure {
    let what = "following PostgreSQL over TLS (sslmode=require and up)";
    Failure::new(Code::NotBuilt, what)
        .fix("sslmode=prefer or disable, where the network can be trusted")
        .fix("--no-replay, with a source that stands still")
}

fn config(start: &Start<'_>) -> Result<ReplicationConfig> {
    let link = &start.host.link;
    let is_socket = link.host.starts_with('/');
    if link.needs_tls && !is_socket {
        let class = ErrorClass::Permanent;
        return Err(Error {
            class,
            failure: no_tls(),
        });
    }
    let config = ReplicationConfig::new(
        link.host.clone(),
        link.user.clone(),
        link.password.expose_secret(),
        start.host.database.clone(),
        start.identity.slot.clone(),
        start.publication,
    );
    Ok(config
        .with_port(link.port)
        .with_start_lsn(Lsn::from_u64(start.from))
        .with_status_interval(STATUS_INTERVAL)
        .with_wakeup_interval(STATUS_INTERVAL)
        .with_buffer_size(MESSAGES_MAX)
        // Settings of the role or database that would end a quiet session.
        .with_options("-c idle_session_timeout=0 -c statement_timeout=0")
        .with_application_name("sterna"))
}

/// What an error of the stream means; the server's words are kept.
fn classify(error: &PgWireError, name: &str) -> Error {
    let what = format!("{name}: {error}");
    let PgWireError::Server(said) = error else {
        return match error {
            PgWireError::Auth(_) => Error::permanent(Code::AccessDenied, what),
            PgWireError::Tls(_) => Error::permanent(Code::Unreachable, what),
            PgWireError::MessageTooLarge { .. } => Error::permanent(Code::UnsupportedType, what),
            PgWireError::Protocol(_) => Error::permanent(Code::SourceFailed, what),
            _ => Error::transient(Code::Unreachable, what),
        };
    };
    let is = |states: &[&str]| states.iter().any(|state| said.contains(state));
    if is(&["SQLSTATE 28"]) {
        Error::permanent(Code::AccessDenied, what)
    } else if is(&["SQLSTATE 42501"]) {
        Error::permanent(Code::Privileges, what)
    } else if is(&["SQLSTATE 42704", "SQLSTATE 58P01", "SQLSTATE 55000"]) {
        // No slot or publication of that name, removed log, a slot that was invalidated.
        Error::permanent(Code::LogLost, what)
    } else if is(&["SQLSTATE 57P", "SQLSTATE 08", "SQLSTATE 53"]) {
        Error::transient(Code::Unreachable, what)
    } else {
        Error::transient(Code::SourceFailed, what)
    }
}
