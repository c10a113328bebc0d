//! What a server has executed, by its own numbering: MariaDB's last number of each domain
//! (`0-1-18,1-7-3`), MySQL's set of intervals by server and tag (`uuid:1-5:7,uuid:tag:1`).

use std::collections::BTreeMap;
use std::fmt;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Executed {
    /// Domain -> (server, number).
    Mariadb(BTreeMap<u32, (u32, u64)>),
    /// `uuid` or `uuid:tag` -> intervals, both ends included, ascending and apart.
    Mysql(BTreeMap<String, Vec<(u64, u64)>>),
}

impl Executed {
    /// Reads either form, without spaces.
    pub fn parse(text: &str) -> Option<Executed> {
        match text.contains(':') {
            true => mysql(text).map(Executed::Mysql),
            false => mariadb(text).map(Executed::Mariadb),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Executed::Mariadb(domains) => domains.is_empty(),
            Executed::Mysql(sets) => sets.is_empty(),
        }
    }

    /// A transaction of MariaDB.
    pub fn add_mariadb(&mut self, domain: u32, server: u32, number: u64) {
        if let Executed::Mariadb(domains) = self {
            domains.insert(domain, (server, number));
        }
    }

    /// A transaction of MySQL.
    pub fn add_mysql(&mut self, source: &str, number: u64) {
        let Executed::Mysql(sets) = self else { return };
        match sets.get_mut(source) {
            Some(intervals) => add(intervals, number),
            None => {
                sets.insert(source.to_owned(), vec![(number, number)]);
            }
        }
    }
}

fn add(intervals: &mut Vec<(u64, u64)>, number: u64) {
    // Nearly always the next one of the last.
    let at = intervals.partition_point(|(_, last)| *last < number);
    if intervals.get(at).is_some_and(|(first, _)| *first <= number) {
        return;
    }
    let joins_left = at > 0 && intervals[at - 1].1 + 1 == number;
    let joins_right = intervals
        .get(at)
        .is_some_and(|(first, _)| number + 1 == *first);
    match (joins_left, joins_right) {
        (true, true) => {
            intervals[at - 1].1 = intervals[at].1;
            intervals.remove(at);
        }
        (true, false) => intervals[at - 1].1 = number,
        (false, true) => intervals[at].0 = number,
        (false, false) => intervals.insert(at, (number, number)),
    }
}

fn mariadb(text: &str) -> Option<BTreeMap<u32, (u32, u64)>> {
    let mut domains = BTreeMap::new();
    for gtid in text.split(',').filter(|gtid| !gtid.is_empty()) {
        let mut parts = gtid.split('-');
        let domain = parts.next()?.parse().ok()?;
        let server = parts.next()?.parse().ok()?;
        domains.insert(domain, (server, parts.next()?.parse().ok()?));
        if parts.next().is_some() {
            return None;
        }
    }
    Some(domains)
}

fn mysql(text: &str) -> Option<BTreeMap<String, Vec<(u64, u64)>>> {
    let mut sets: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
    for of_server in text.split(',').filter(|part| !part.is_empty()) {
        let mut parts = of_server.split(':');
        let uuid = parts.next()?.to_ascii_lowercase();
        if uuid.len() != 36 {
            return None;
        }
        let mut name = uuid.clone();
        for part in parts {
            if !part.starts_with(|c: char| c.is_ascii_digit()) {
                name = format!("{uuid}:{part}");
                continue;
            }
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let interval = (first.parse().ok()?, last.parse().ok()?);
            sets.entry(name.clone()).or_default().push(interval);
        }
    }
    for intervals in sets.values_mut() {
        intervals.sort_unstable();
    }
    Some(sets)
}

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut comma = "";
        match self {
            Executed::Mariadb(domains) => {
                for (domain, (server, number)) in domains {
                    write!(f, "{comma}{domain}-{server}-{number}")?;
                    comma = ",";
                }
            }
            Executed::Mysql(sets) => {
                for (source, intervals) in sets {
                    write!(f, "{comma}{source}")?;
                    comma = ",";
                    for (first, last) in intervals {
                        match first == last {
                            true => write!(f, ":{first}")?,
                            false => write!(f, ":{first}-{last}")?,
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn numbers_join_the_intervals_beside_them() {
        let mut executed = Executed::parse(&format!("{UUID}:1-5:9")).expect("valid");
        for number in [7, 6, 8, 3] {
            executed.add_mysql(UUID, number);
        }
        assert_eq!(executed.to_string(), format!("{UUID}:1-9"));
        executed.add_mysql(UUID, 12);
        executed.add_mysql(&format!("{UUID}:tag"), 1);
        assert_eq!(executed.to_string(), format!("{UUID}:1-9:12,{UUID}:tag:1"));
        assert_eq!(Executed::parse(&executed.to_string()), Some(executed));
    }

    #[test]
    fn a_domain_of_mariadb_keeps_its_last() {
        let mut executed = Executed::parse("0-1-18,3-2-7").expect("valid");
        executed.add_mariadb(0, 5, 19);
        assert_eq!(executed.to_string(), "0-5-19,3-2-7");
        assert_eq!(Executed::parse("0-1"), None);
    }
}
