//! Places in the write-ahead log, whose log it is, and which transactions a snapshot holds.

use common::change::{LogOrder, Position};
use common::code::Code;

use crate::connector::{Error, Origin, Result};

/// The position that is beyond everything before `lsn`.
pub fn position(lsn: u64) -> Position {
    Position {
        order: LogOrder(0, lsn),
        text: text(lsn),
    }
}

/// An LSN as the server prints it.
pub fn text(lsn: u64) -> String {
    format!("{:X}/{:X}", lsn >> 32, lsn & 0xffff_ffff)
}

/// Reads what [`text`] wrote.
pub fn lsn(text: &str) -> Option<u64> {
    let (high, low) = text.split_once('/')?;
    let half = |digits: &str| match digits.len() {
        1..=8 => u64::from_str_radix(digits, 16).ok(),
        _ => None,
    };
    Some(half(high)? << 32 | half(low)?)
}

/// An LSN that the server answered.
pub fn answered(cell: Option<String>) -> Result<u64> {
    cell.as_deref().and_then(lsn).ok_or_else(|| {
        let what = "the server's answer has no place in its log";
        Error::permanent(Code::Internal, what)
    })
}

/// Whose log a position is in, and through which slot it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub system: String,
    pub timeline: String,
    pub slot: String,
    pub database: String,
}

impl Identity {
    /// A database's name may hold anything: it is the last.
    pub fn text(&self) -> String {
        let Identity {
            system,
            timeline,
            slot,
            database,
        } = self;
        format!("{system}/{timeline}/{slot}/{database}")
    }

    pub fn parse(text: &str) -> Result<Identity> {
        let mut parts = text.splitn(4, '/').map(str::to_owned);
        let mut part = || parts.next();
        match (part(), part(), part(), part()) {
            (Some(system), Some(timeline), Some(slot), Some(database)) => Ok(Identity {
                system,
                timeline,
                slot,
                database,
            }),
            _ => {
                let what = format!("{text:?} names no PostgreSQL server");
                Err(Error::permanent(Code::SourceOther, what))
            }
        }
    }

    /// The same server and database, whatever slot.
    pub fn check(&self, found: &Identity, name: &str) -> Result<()> {
        let server = |of: &Identity| {
            format!(
                "system {} on timeline {}, database {}",
                of.system, of.timeline, of.database
            )
        };
        let (wanted, found) = (server(self), server(found));
        if wanted == found {
            return Ok(());
        }
        let what = format!("{name} is {found}; what was copied is {wanted}");
        Err(Error::permanent(Code::SourceOther, what))
    }
}

/// A snapshot as `pg_current_snapshot()` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// All below have ended.
    from: u64,
    /// None from here on has begun.
    until: u64,
    /// In progress between.
    pub open: Vec<u64>,
}

impl Snapshot {
    pub fn parse(text: &str) -> Result<Snapshot> {
        let read = || {
            let mut parts = text.splitn(3, ':');
            let from = parts.next()?.parse().ok()?;
            let until = parts.next()?.parse().ok()?;
            let open: Option<Vec<u64>> = match parts.next()? {
                "" => Some(Vec::new()),
                list => list.split(',').map(|xid| xid.parse().ok()).collect(),
            };
            let open = open?;
            Some(Snapshot { from, until, open })
        };
        read().ok_or_else(|| {
            let what = format!("{text:?} is no snapshot of PostgreSQL");
            Error::permanent(Code::Internal, what)
        })
    }

    /// Whether what the transaction did is visible. The log has the lower half of its number only:
    /// it is the one of that half nearest to the snapshot's.
    pub fn holds(&self, xid: u32) -> bool {
        let distance = xid.wrapping_sub(self.until as u32) as i32;
        let full = self.until.saturating_add_signed(i64::from(distance));
        full < self.until && (full < self.from || !self.open.contains(&full))
    }
}

/// See [`crate::connector::Connector::is_in`].
pub fn is_in(origin: &Origin, snapshot: &str) -> Result<bool> {
    let snapshot = Snapshot::parse(snapshot)?;
    match u32::try_from(origin.xid) {
        Ok(xid) => Ok(snapshot.holds(xid)),
        Err(_) => {
            let what = format!("{} is no transaction's number in the log", origin.xid);
            Err(Error::permanent(Code::Internal, what))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read_as_they_are_printed() {
        for lsn_ in [0, 1, 0x0151_3b70_0000_00ff, u64::MAX] {
            assert_eq!(lsn(&text(lsn_)), Some(lsn_));
        }
        for wrong in ["", "0", "0/", "0/123456789", "x/1", "+1/1x"] {
            assert_eq!(lsn(wrong), None, "{wrong}");
        }
        assert!(position(0x1_0000_0000).order > position(0xffff_ffff).order);
    }

    #[test]
    fn a_snapshot_holds_what_had_ended() {
        let snapshot = Snapshot::parse("100:110:100,105").expect("valid");
        let visible: Vec<u32> = (98..113).filter(|xid| snapshot.holds(*xid)).collect();
        assert_eq!(visible, [98, 99, 101, 102, 103, 104, 106, 107, 108, 109]);
        assert!(Snapshot::parse("1:2").is_err() && Snapshot::parse("a:b:").is_err());
    }

    #[test]
    fn numbers_wrap_around_every_four_thousand_millions() {
        let epoch = 1u64 << 32;
        let text = format!("{}:{}:{}", epoch - 2, epoch + 5, epoch + 4);
        let snapshot = Snapshot::parse(&text).expect("valid");
        assert!(snapshot.holds(u32::MAX) && snapshot.holds(3) && snapshot.holds(3_000_000_000));
        assert!(!snapshot.holds(4) && !snapshot.holds(5) && !snapshot.holds(2_000_000_000));
    }

    #[test]
    fn a_server_is_known_by_name() {
        let identity = Identity {
            system: "7".to_owned(),
            timeline: "1".to_owned(),
            slot: "s".to_owned(),
            database: "a/b".to_owned(),
        };
        let read = Identity::parse(&identity.text()).expect("as written");
        assert_eq!(read, identity);
        let other = Identity {
            timeline: "2".to_owned(),
            ..identity.clone()
        };
        let error = identity.check(&other, "h").expect_err("another timeline");
        assert_eq!(error.failure.code, Code::SourceOther);
        assert!(Identity::parse("7/1/s").is_err());
    }
}
