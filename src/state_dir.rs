//! The state directory of `sterna clone`, `verify` and `repair`: where it is, whose it is, and what
//! was last submitted from it. Who may work in it is decided by the lock of the coordinator's store
//! inside. A verify's and a repair's are folders of their own within it, so that they never meet
//! the clone's job.

use std::path::{Path, PathBuf};

use common::code::{Code, Failure};
use common::digest::RowHasher;
use common::job::{JobSpec, Purpose};
use serde::{Deserialize, Serialize};

use crate::error::{Result, io};

const FILE: &str = "clone.json";

/// What the directory is for. Holds no password: a [`JobSpec`] can't.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Identity {
    pub source: String,
    pub target: String,
    /// What was submitted last, under which uid.
    pub submitted: Option<Submitted>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    pub uid: String,
    pub spec: JobSpec,
    /// Its end was told to whoever ran the command.
    #[serde(default)]
    pub reported: bool,
}

/// The state directory of one source and target.
pub struct StateDir {
    path: PathBuf,
    identity: Identity,
}

impl StateDir {
    /// Opens or creates it; refuses one that belongs to other endpoints.
    pub fn open(path: Option<&Path>, spec: &JobSpec) -> Result<StateDir> {
        let (source, target) = (spec.source.url.clone(), spec.target.url.clone());
        let path = match path {
            Some(path) => path.to_owned(),
            None => default_path(&source, &target)?,
        };
        let path = match spec.purpose {
            Purpose::Migrate => path,
            Purpose::Verify(_) => path.join("verify"),
            Purpose::Repair(_) => path.join("repair"),
        };
        let unusable = |error| io(Code::StateDirDamaged, path.display(), &error);
        std::fs::create_dir_all(&path).map_err(unusable)?;
        let file = path.join(FILE);
        let identity = match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                let what = format!("{}: {error}", file.display());
                Failure::new(Code::StateDirDamaged, what)
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Identity {
                source: source.clone(),
                target: target.clone(),
                submitted: None,
            },
            Err(error) => return Err(unusable(error)),
        };
        if (&identity.source, &identity.target) != (&source, &target) {
            let what = format!(
                "{} belongs to {} -> {}",
                path.display(),
                identity.source,
                identity.target
            );
            return Err(Failure::new(Code::StateDirOther, what));
        }
        Ok(StateDir { path, identity })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the coordinator keeps its log.
    pub fn data(&self) -> PathBuf {
        self.path.join("coordinator")
    }

    pub fn submitted(&self) -> Option<&Submitted> {
        self.identity.submitted.as_ref()
    }

    /// The job's end was told: the same command again is a new job.
    pub fn reported(&mut self) -> Result<()> {
        if let Some(submitted) = &mut self.identity.submitted {
            submitted.reported = true;
        }
        self.remember(None)
    }

    /// Keeps what is about to be submitted; durable before this returns.
    pub fn remember(&mut self, submitted: Option<Submitted>) -> Result<()> {
        if submitted.is_some() {
            self.identity.submitted = submitted;
        }
        let text = serde_json::to_vec_pretty(&self.identity)
            .map_err(|error| Failure::new(Code::Internal, error.to_string()))?;
        let (file, new) = (self.path.join(FILE), self.path.join("clone.json.new"));
        let write = || {
            let mut handle = std::fs::File::create(&new)?;
            std::io::Write::write_all(&mut handle, &text)?;
            handle.sync_all()?;
            std::fs::rename(&new, &file)
        };
        write().map_err(|error| io(Code::StateDirDamaged, file.display(), &error))
    }
}

/// `$XDG_STATE_HOME/sterna/<hash>`, below `~/.local/state` by default.
fn default_path(source: &str, target: &str) -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match (set("XDG_STATE_HOME"), set("HOME")) {
        (Some(base), _) => PathBuf::from(base),
        (None, Some(home)) => PathBuf::from(home).join(".local/state"),
        (None, None) => {
            let what = "there is no HOME to keep the progress in: name a directory";
            return Err(Failure::new(Code::Usage, what).fix("add --state-dir DIR"));
        }
    };
    Ok(base.join("sterna").join(key(source, target)))
}

fn key(source: &str, target: &str) -> String {
    let mut hasher = RowHasher::default();
    hasher.cell(1, source.as_bytes());
    hasher.cell(1, target.as_bytes());
    format!("{:032x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use common::job::Endpoint;

    use super::*;

    fn spec(target: &str) -> JobSpec {
        let endpoint = |url: &str| Endpoint {
            url: url.to_owned(),
            password: None,
        };
        JobSpec::new("x", endpoint("sqlite:/s"), endpoint(target))
    }

    #[test]
    fn a_directory_belongs_to_one_migration() {
        let dir = tempfile::tempdir().expect("a folder");
        let (spec_a, spec_b) = (spec("sqlite:/a"), spec("sqlite:/b"));
        let mut state = StateDir::open(Some(dir.path()), &spec_a).expect("new");
        let submitted = Submitted {
            uid: "1".repeat(32),
            spec: spec_a.clone(),
            reported: false,
        };
        state.remember(Some(submitted.clone())).expect("written");
        let again = StateDir::open(Some(dir.path()), &spec_a).expect("same");
        assert_eq!(again.submitted(), Some(&submitted));
        let other = StateDir::open(Some(dir.path()), &spec_b).err();
        assert_eq!(other.map(|f| f.code), Some(Code::StateDirOther));
    }

    #[test]
    fn a_verify_in_a_clone_s_directory_is_apart_from_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let migration = spec("sqlite:/a");
        let mut verify = migration.clone();
        verify.purpose = Purpose::Verify(common::verify::VerifyOptions::default());
        let mut state = StateDir::open(Some(dir.path()), &migration).expect("new");
        let submitted = Submitted {
            uid: "1".repeat(32),
            spec: migration.clone(),
            reported: false,
        };
        state.remember(Some(submitted)).expect("written");
        let apart = StateDir::open(Some(dir.path()), &verify).expect("new");
        assert_eq!(apart.submitted(), None);
        assert_ne!(apart.data(), state.data());
    }

    #[test]
    fn default_directories_differ_by_endpoint() {
        assert_ne!(key("a", "bc"), key("ab", "c"));
        assert_eq!(key("a", "b"), key("a", "b"));
    }
}
