//! A position in an SQLite file's change table, as text: `ID vCOOKIE`, and during the first pass
//! over what was copied ` replay TABLE:ID,…` behind it.

use std::collections::BTreeMap;

use common::change::{LogOrder, Position};
use common::code::Code;

use crate::connector::{Error, Result};

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Everything logged up to here is applied.
    pub id: u64,
    /// The schema's number (`PRAGMA schema_version`) under which the tables were looked at; None =
    /// they are to be looked at anew.
    pub cookie: Option<i64>,
    /// Some during the first pass: changes of tables without a key are delivered one by one, each
    /// with its own place in the log, and are applied beyond `id` up to here.
    pub replay: Option<BTreeMap<u32, u64>>,
}

impl Place {
    pub fn position(&self) -> Position {
        let mut text = self.id.to_string();
        if let Some(cookie) = self.cookie {
            text.push_str(&format!(" v{cookie}"));
        }
        if let Some(tables) = &self.replay {
            let tables: Vec<String> = { tables.iter() }
                .map(|(table, id)| format!("{table}:{id}"))
                .collect();
            text.push_str(&format!(" replay {}", tables.join(",")));
        }
        Position {
            order: LogOrder(0, self.id),
            text: text.trim_end().to_owned(),
        }
    }

    pub fn parse(text: &str) -> Result<Place> {
        let wrong = || {
            let what = format!("{text:?} is no position in an SQLite file's change table");
            Error::permanent(Code::Usage, what)
        };
        let mut words = text.split_whitespace();
        let id = words.next().and_then(|word| word.parse().ok());
        let mut place = Place {
            id: id.ok_or_else(wrong)?,
            ..Place::default()
        };
        while let Some(word) = words.next() {
            if word == "replay" {
                let mut tables = BTreeMap::new();
                for pair in words.next().unwrap_or_default().split(',') {
                    if pair.is_empty() {
                        continue;
                    }
                    let (table, id) = pair.split_once(':').ok_or_else(wrong)?;
                    tables.insert(
                        table.parse().map_err(|_| wrong())?,
                        id.parse().map_err(|_| wrong())?,
                    );
                }
                place.replay = Some(tables);
            } else {
                let cookie = word.strip_prefix('v').ok_or_else(wrong)?;
                place.cookie = Some(cookie.parse().map_err(|_| wrong())?);
            }
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_reads_back() {
        for (text, id) in [
            ("7", 7),
            ("120 v33", 120),
            ("5 v2 replay", 5),
            ("5 v2 replay 3:57,5:120", 5),
        ] {
            let place = Place::parse(text).expect("a position");
            assert_eq!(place.id, id);
            assert_eq!(place.position().text, text);
            assert_eq!(Place::parse(&place.position().text).ok(), Some(place));
        }
        for text in ["", "x", "1 2", "1 v", "1 replay 3", "-1"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
