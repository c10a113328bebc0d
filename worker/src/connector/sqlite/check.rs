//! Named checks of a file in either role, see [`crate::connector::Connector::check`]. Every check is
//! a function of its own that gives exactly one [`Check`]. The source is opened for reading only;
//! of the target the write lock is taken and given back.

use std::path::Path;

use common::change::FollowMode;
use common::check::{Check, End};
use common::code::{Code, ErrorClass, Failure};
use common::job::Purpose;

use super::session::{Access, Session, args, cell, quote};
use super::{Sqlite, file_bytes, is_wide};
use crate::connector::{CheckRequest, Error, Result, Role};

/// What is read through to find damage; a larger file is believed.
const LOOKED_THROUGH_BYTES: u64 = 64 << 20;
/// What a check lists before it counts.
const NAMED_MAX: usize = 10;
/// Space beside the rows: the journal, and pages that are not full.
const SPACE_FACTOR: u64 = 2;

/// File systems of other machines, by the kernel's number: SQLite's locks are not to be trusted there.
const REMOTE: &[(u64, &str)] = &[
    (0x6969, "NFS"),
    (0x517b, "SMB"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x0102_1997, "9P"),
    (0x5346_414f, "AFS"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
    (0x0116_1970, "GFS2"),
];

struct Asker<'a> {
    file: &'a Sqlite,
    request: &'a CheckRequest,
    end: End,
}

/// See [`crate::connector::Connector::check`].
pub async fn run(file: &Sqlite, request: &CheckRequest) -> Vec<Check> {
    let end = match request.role {
        Role::Source => End::Source,
        Role::Target => End::Target,
    };
    let ask = Asker { file, request, end };
    let mut checks = vec![ask.settled("file-system", ask.file_system())];
    let opened = ask.open().await;
    match (opened, request.role) {
        (Err(error), _) => checks.push(ask.settled("privileges", Err(error))),
        (Ok(mut session), Role::Source) => {
            checks.push(ask.passed("privileges", "the file can be read"));
            checks.extend(ask.both(&mut session).await);
            checks.push(ask.settled("log", ask.log(&mut session).await));
            checks.push(ask.settled("integrity", ask.integrity(&mut session).await));
            let keys = ask.foreign_keys(&mut session).await;
            checks.push(ask.settled("foreign-keys", keys));
            session.close().await;
        }
        (Ok(mut session), Role::Target) => {
            checks.push(ask.settled("read-only", ask.read_only().await));
            checks.extend(ask.both(&mut session).await);
            let writers = ask.foreign_writers().await;
            checks.push(ask.settled("foreign-writers", writers));
            checks.push(ask.two_phase());
            checks.push(ask.settled("space", ask.space()));
            session.close().await;
        }
    }
    checks
}

impl Asker<'_> {
    fn settled(&self, name: &str, answer: Result<Check>) -> Check {
        let error = match answer {
            Ok(check) => return check,
            Err(error) => error,
        };
        let Failure { code, what, fixes } = error.failure;
        let mut check = Check::failed(name, self.end, code, what);
        check.means = "this could not be asked, so nothing is known about it".to_owned();
        check.fixes = fixes;
        check
    }

    fn passed(&self, name: &str, found: impl Into<String>) -> Check {
        Check::passed(name, self.end, found)
    }

    fn path(&self) -> &Path {
        &self.file.path
    }

    /// The directory, in which SQLite makes its journal.
    fn directory(&self) -> &Path {
        self.path().parent().unwrap_or(Path::new("/"))
    }

    fn writes(&self) -> bool {
        match &self.request.spec.purpose {
            Purpose::Migrate => true,
            Purpose::Verify(_) => false,
            Purpose::Repair(options) => !options.dry_run,
        }
    }

    fn follows(&self) -> bool {
        let follow = self.request.spec.follow;
        self.request.spec.purpose.is_migration()
            && matches!(follow, FollowMode::PointInTime | FollowMode::Live)
    }

    /// For reading; a target that isn't there yet stands for an empty file.
    async fn open(&self) -> Result<Session> {
        let role = self.request.role;
        match (role, self.file.exists().await?) {
            (Role::Source, _) => self.file.open_source().await,
            (Role::Target, true) => self.file.open(role, Access::Read).await,
            (Role::Target, false) => {
                Session::open(Path::new(":memory:"), role, Access::Create, 2).await
            }
        }
    }

    async fn both(&self, session: &mut Session) -> Vec<Check> {
        vec![
            self.settled("version", self.version(session).await),
            self.settled("encoding", self.encoding(session).await),
            self.settled("storage", self.storage(session).await),
        ]
    }

    async fn version(&self, session: &mut Session) -> Result<Check> {
        let version = text(session, "SELECT sqlite_version()").await?;
        let found = format!("SQLite {version}, a part of this program");
        Ok(self.passed("version", found))
    }

    async fn encoding(&self, session: &mut Session) -> Result<Check> {
        let wide = is_wide(session).await?;
        Ok(match wide {
            false => self.passed("encoding", "text is kept in UTF-8"),
            true => self.passed(
                "encoding",
                "text is kept in UTF-16 and converted; a new target keeps it in UTF-8",
            ),
        })
    }

    async fn storage(&self, session: &mut Session) -> Result<Check> {
        let page = text(session, "SELECT page_size FROM pragma_page_size").await?;
        let mode = text(session, "PRAGMA journal_mode").await?;
        let mib = file_bytes(session).await?.div_ceil(1 << 20);
        let found = format!("{mib} MiB in pages of {page} bytes, journal_mode is {mode}");
        Ok(self.passed("storage", found))
    }

    fn file_system(&self) -> Result<Check> {
        let name = "file-system";
        let shown = self.directory().display();
        let found = rustix::fs::statfs(self.directory()).map_err(|error| self.unread(&error))?;
        // The kernel's numbers have 32 bits, whatever the width and sign of the field.
        let kind = found.f_type as u64 & 0xffff_ffff;
        Ok(match remote(kind) {
            None => self.passed(name, format!("{shown} is on this machine")),
            Some(kind) => Check::warning(
                name,
                self.end,
                Code::CheckFound,
                format!("{shown} is on {kind}, another machine's file system"),
            )
            .means(
                "locks are not reliable there: two programs can write at once and damage the file",
            )
            .fix("copy the file to a disk of this machine, and name it there"),
        })
    }

    fn unread(&self, error: &dyn std::fmt::Display) -> Error {
        let shown = self.directory().display();
        Error::permanent(Code::NoSuchDatabase, format!("{shown}: {error}"))
    }

    async fn log(&self, session: &mut Session) -> Result<Check> {
        let name = "log";
        let (has_log, shown) = (session.has_log().await?, self.path().display());
        let locked = |path: &Path| {
            let found = std::fs::metadata(path);
            found.is_ok_and(|found| found.permissions().readonly())
        };
        if has_log && locked(self.directory()) {
            let found = format!("{shown} is in WAL mode in a directory that is read-only");
            return Ok(Check::warning(name, self.end, Code::CheckFound, found)
                .means(
                    "a reader of such a file makes two files beside it: where it can't, only \
                     somebody who may write can read what is in the log",
                )
                .fix(format!("chmod u+w {}", shell(self.directory()))));
        }
        if !self.follows() {
            let mode = match has_log {
                true => "in WAL mode: its writers don't wait for the copy",
                false => "not in WAL mode: its writers wait while a table is read",
            };
            return Ok(self.passed(name, format!("the file is {mode}")));
        }
        let failed = |found: String| Check::failed(name, self.end, Code::LogUnusable, found);
        if locked(self.path()) {
            return Ok(failed(format!("{shown} is read-only"))
                .means("following makes triggers in the source")
                .fix(format!("chmod u+w {}", shell(self.path()))));
        }
        Ok(match has_log {
            true => self.passed(name, "the file is in WAL mode, as following needs it"),
            false => failed(format!("{shown} is not in WAL mode"))
                .means("a copy of it that lasts would stop its writers")
                .fix("PRAGMA journal_mode = WAL"),
        })
    }

    /// Damage ends a job somewhere in the middle, or hides rows.
    async fn integrity(&self, session: &mut Session) -> Result<Check> {
        let name = "integrity";
        let bytes = file_bytes(session).await?;
        if bytes > LOOKED_THROUGH_BYTES {
            let found = format!(
                "not looked through: {} MiB; `PRAGMA quick_check` does it",
                bytes >> 20
            );
            return Ok(self.passed(name, found));
        }
        let sql = format!("PRAGMA quick_check({NAMED_MAX})");
        let rows = match session.rows(&sql, args([])).await {
            Ok(rows) => rows,
            Err(error) if is_damage(&error) => return Ok(self.damaged(error.failure.what)),
            Err(error) => return Err(error),
        };
        let mut said = Vec::new();
        for row in rows {
            let line: String = cell(&row, 0)?;
            said.extend(line.lines().map(str::to_owned));
        }
        said.retain(|line| line != "ok");
        if said.is_empty() {
            return Ok(self.passed(name, "PRAGMA quick_check says ok"));
        }
        let found = listed(&said);
        Ok(match said.iter().all(|line| is_about_values(line)) {
            true => Check::warning(name, self.end, Code::CheckFound, found)
                .means(
                    "values break what their columns declare: a target that enforces it refuses \
                     them",
                )
                .fix("mend these rows with UPDATE, or exclude the table with -x"),
            false => self.damaged(found),
        })
    }

    fn damaged(&self, found: String) -> Check {
        let (old, new) = (self.path(), self.path().with_extension("recovered"));
        let recover = format!("sqlite3 {} .recover | sqlite3 {}", shell(old), shell(&new));
        Check::failed("integrity", self.end, Code::CheckFound, found)
            .means("the file is damaged: rows are missing, or reading stops in the middle")
            .fix(recover)
            .fix("-- then name the new file")
    }

    /// SQLite enforces foreign keys only for those who ask; other engines do always.
    async fn foreign_keys(&self, session: &mut Session) -> Result<Check> {
        let name = "foreign-keys";
        if file_bytes(session).await? > LOOKED_THROUGH_BYTES {
            let found = "not looked through: `PRAGMA foreign_key_check` does it";
            return Ok(self.passed(name, found));
        }
        let sql = "SELECT \"table\", parent, count(*) FROM pragma_foreign_key_check GROUP BY 1, 2 \
                   ORDER BY 1, 2";
        let rows = match session.rows(sql, args([])).await {
            Ok(rows) => rows,
            Err(error) if error.failure.what.contains("foreign key mismatch") => {
                let what = error.failure.what;
                return Ok(Check::warning(name, self.end, Code::CheckFound, what)
                    .means("the foreign key refers to columns that are no key: other engines refuse it")
                    .fix("make the parent's columns UNIQUE, or exclude the table with -x"));
            }
            Err(error) if is_damage(&error) => {
                return Ok(self.passed(name, "not looked at: the file is damaged"));
            }
            Err(error) => return Err(error),
        };
        let mut found = Vec::new();
        let mut fixes: Vec<String> = Vec::new();
        for row in &rows {
            let (table, parent): (String, String) = (cell(row, 0)?, cell(row, 1)?);
            let count: i64 = cell(row, 2)?;
            let wanted = self.request.tables.iter();
            if !wanted
                .clone()
                .any(|one| one.name.eq_ignore_ascii_case(&table))
            {
                continue;
            }
            found.push(format!("{count} rows of {table} have no row in {parent}"));
            let literal = super::session::literal(&table);
            let fix = format!(
                "DELETE FROM {} WHERE rowid IN (SELECT rowid FROM pragma_foreign_key_check({literal}))",
                quote(&table)
            );
            if !fixes.contains(&fix) {
                fixes.push(fix);
            }
        }
        if found.is_empty() {
            return Ok(self.passed(name, "every foreign key has its row"));
        }
        let mut check = Check::warning(name, self.end, Code::CheckFound, listed(&found)).means(
            "another engine refuses the foreign key once the rows are there. Deleting the rows is \
             one way; inserting their parents the other",
        );
        check.fixes = fixes;
        Ok(check)
    }

    async fn read_only(&self) -> Result<Check> {
        let name = "read-only";
        if !self.writes() {
            return Ok(self.passed(name, "the job doesn't write"));
        }
        let there = self.file.exists().await?;
        let mut allowed = match there {
            true => self.file.check_permission(self.path()).await,
            false => Ok(()),
        };
        let mut which = self.path();
        if allowed.is_ok() {
            which = self.directory();
            allowed = self.file.check_directory().await;
        }
        let error = match allowed {
            Ok(()) => return Ok(self.passed(name, "the file and its directory can be written to")),
            Err(error) => error,
        };
        Ok(
            Check::failed(name, self.end, Code::TargetReadOnly, error.failure.what)
                .means("a writer needs the file, and its directory for the journal beside it")
                .fix(format!("chmod u+w {}", shell(which))),
        )
    }

    async fn foreign_writers(&self) -> Result<Check> {
        let name = "foreign-writers";
        let there = self.file.exists().await?;
        if !self.writes() || !there || self.file.check_permission(self.path()).await.is_err() {
            return Ok(self.passed(name, "no other program can be in the way"));
        }
        let mut session = self.file.open(Role::Target, Access::Write).await?;
        let taken = session.begin_write(0).await;
        if taken.is_ok() {
            session.rollback().await?;
        }
        session.close().await;
        match taken {
            Ok(()) => Ok(self.passed(name, "nobody else is writing now")),
            Err(error) if error.class == ErrorClass::Transient => {
                let found = format!("another program has {} locked", self.path().display());
                Ok(Check::warning(name, self.end, Code::CheckFound, found)
                    .means("the file has one writer at a time: the job waits for it, and fails if that lasts")
                    .fix(format!("end the program: fuser -v {}", shell(self.path()))))
            }
            Err(error) => Err(error),
        }
    }

    fn two_phase(&self) -> Check {
        let found = "a transaction is held open until its decision; the file has one writer, so \
                     partitions queue";
        self.passed("two-phase", found)
    }

    fn space(&self) -> Result<Check> {
        let name = "space";
        let tables = self.request.tables.iter();
        let wanted = tables.map(|table| table.bytes_estimate).sum::<u64>() * SPACE_FACTOR;
        let found = rustix::fs::statvfs(self.directory()).map_err(|error| self.unread(&error))?;
        let free = found.f_bavail.saturating_mul(found.f_frsize);
        let shown = self.directory().display();
        let (free_mib, wanted_mib) = (free >> 20, wanted.div_ceil(1 << 20));
        let found = format!("{free_mib} MiB are free in {shown}, about {wanted_mib} are needed");
        if free >= wanted || !self.writes() {
            return Ok(self.passed(name, found));
        }
        Ok(Check::warning(name, self.end, Code::TargetFull, found)
            .means("rows, indexes and the journal beside the file may not fit: the job would stop at a full disk")
            .fix(format!("make {wanted_mib} MiB free in {shown}, or name another directory")))
    }
}

async fn text(session: &mut Session, sql: &str) -> Result<String> {
    let row = session.row(sql, args([])).await?;
    let Some(row) = row else {
        return Ok(String::new());
    };
    match cell::<String>(&row, 0) {
        Ok(text) => Ok(text),
        Err(_) => Ok(cell::<i64>(&row, 0)?.to_string()),
    }
}

/// A path as a word of the shell.
fn shell(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}

fn remote(kind: u64) -> Option<&'static str> {
    let found = REMOTE.iter().find(|(number, _)| *number == kind);
    found.map(|(_, name)| *name)
}

/// SQLite met pages that can't be.
fn is_damage(error: &Error) -> bool {
    error.failure.what.contains("malformed")
}

/// Lines of `PRAGMA quick_check` about constraints, where the pages are sound.
fn is_about_values(line: &str) -> bool {
    line.starts_with("NULL value in ")
        || line.starts_with("CHECK constraint failed in ")
        || line.starts_with("non-")
        || line.starts_with("TEXT value in ")
        || line.starts_with("NUMERIC value in ")
}

fn listed(lines: &[String]) -> String {
    let shown = lines.len().min(NAMED_MAX);
    let mut text = lines[..shown].join("; ");
    if lines.len() > shown {
        text.push_str(&format!("; and {} more", lines.len() - shown));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_of_other_machines_are_known() {
        assert_eq!(remote(0x6969), Some("NFS"));
        assert_eq!(remote(0xef53), None, "ext4");
        assert_eq!(remote(0x0102_1994), None, "tmpfs");
    }

    #[test]
    fn broken_promises_of_columns_are_no_damage() {
        assert!(is_about_values("NULL value in t.a"));
        assert!(!is_about_values("row 1 missing from index i"));
        assert!(!is_about_values("*** in database main ***"));
    }

    #[test]
    fn a_path_is_one_word() {
        assert_eq!(shell(Path::new("/a b/it's")), "'/a b/it'\\''s'");
    }
}
