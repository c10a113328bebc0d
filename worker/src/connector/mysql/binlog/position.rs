//! Points of a binary log, as text and in order.
//!
//! `bin.000003:1234`, then what resuming there needs: ` from bin.000002:88` (reading begins there:
//! the oldest prepared XA group that isn't ended yet), ` at 1763851234` (when its last transaction
//! was logged), ` gtid 0-1-18` (all that was executed), ` given` (a user wrote it).

use std::fmt;

use common::change::{LogOrder, Position};
use common::code::Code;

use super::gtid::Executed;
use crate::connector::{Error, Result};

/// A place in one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Point {
    pub file: String,
    pub offset: u64,
}

/// A [`Position`] of this engine, read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub point: Point,
    /// None = reading begins at `point`.
    pub from: Option<Point>,
    /// Seconds of Unix time; 0 = not known.
    pub at: u64,
    /// None = the server numbers nothing.
    pub executed: Option<Executed>,
    /// The user says that this is where to begin; nothing was waited for there.
    pub given: bool,
}

impl Point {
    pub fn new(file: impl Into<String>, offset: u64) -> Point {
        Point {
            file: file.into(),
            offset,
        }
    }

    /// Reads `bin.000003:1234`.
    pub fn parse(text: &str) -> Option<Point> {
        let (file, offset) = text.rsplit_once(':')?;
        file_number(file)?;
        Some(Point::new(file, offset.parse().ok()?))
    }

    pub fn order(&self) -> LogOrder {
        LogOrder(file_number(&self.file).unwrap_or(0), self.offset)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.offset)
    }
}

/// 3 of `bin.000003`.
pub fn file_number(file: &str) -> Option<u64> {
    file.rsplit_once('.')?.1.parse().ok()
}

impl Place {
    pub fn at(point: Point) -> Place {
        Place {
            point,
            ..Place::default()
        }
    }

    pub fn parse(text: &str) -> Result<Place> {
        let bad = || {
            let what = format!("{text:?} is no position in a binary log");
            Error::permanent(Code::Internal, what)
        };
        let mut words = text.split(' ');
        let point = words.next().and_then(Point::parse).ok_or_else(bad)?;
        let mut place = Place::at(point);
        while let Some(word) = words.next() {
            if word == "given" {
                place.given = true;
                continue;
            }
            let value = words.next().ok_or_else(bad)?;
            match word {
                "from" => place.from = Some(Point::parse(value).ok_or_else(bad)?),
                "at" => place.at = value.parse().map_err(|_| bad())?,
                "gtid" => place.executed = Some(Executed::parse(value).ok_or_else(bad)?),
                _ => return Err(bad()),
            }
        }
        Ok(place)
    }

    /// Where reading begins.
    pub fn start(&self) -> &Point {
        self.from.as_ref().unwrap_or(&self.point)
    }

    pub fn position(&self) -> Position {
        Position {
            order: self.point.order(),
            text: self.to_string(),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.point)?;
        if let Some(from) = &self.from {
            write!(f, " from {from}")?;
        }
        if self.at > 0 {
            write!(f, " at {}", self.at)?;
        }
        if let Some(executed) = &self.executed
            && !executed.is_empty()
        {
            write!(f, " gtid {executed}")?;
        }
        if self.given {
            f.write_str(" given")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_survives_its_text() {
        for text in [
            "bin.000003:1234",
            "bin.000003:1234 from bin.000001:4",
            "my-bin.log.000003:1234 at 1763851234 gtid 0-1-18,1-7-3",
            "bin.1000000:4 gtid 3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:7 given",
        ] {
            assert_eq!(Place::parse(text).expect("valid").to_string(), text);
        }
        for text in [
            "",
            "bin:4",
            "bin.000003",
            "bin.000003:x",
            "bin.000003:4 from",
        ] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn files_are_ordered_by_number_not_by_name() {
        let [old, new] = ["bin.999999:500", "bin.1000000:4"].map(Point::parse);
        assert!(old.expect("valid").order() < new.expect("valid").order());
    }
}
