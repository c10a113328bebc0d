//! Key bounds of a table's buckets, packed: there may be a million of them, in every coordinator.

use std::fmt;

use serde::de::{SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::schema::KeyBound;

/// Ascending bounds, as [`KeyBound`]s one after another; written as a list of these.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Every value of every bound.
    text: String,
    /// Where each value ends in `text`.
    values: Vec<u32>,
    /// Where each bound ends in `values`.
    bounds: Vec<u32>,
}

impl Bounds {
    pub fn len(&self) -> usize {
        self.bounds.len()
    }

    pub fn is_empty(&self) -> bool {
        self.bounds.is_empty()
    }

    pub fn push(&mut self, bound: &KeyBound) {
        for value in &bound.0 {
            self.text.push_str(value);
            // A plan is one message, far below 4 GiB.
            self.values.push(self.text.len() as u32);
        }
        self.bounds.push(self.values.len() as u32);
    }

    pub fn get(&self, at: usize) -> Option<KeyBound> {
        let end = *self.bounds.get(at)? as usize;
        let begin = before(&self.bounds, at);
        let value = |at: usize| {
            let (begin, end) = (before(&self.values, at), self.values[at] as usize);
            self.text[begin..end].to_owned()
        };
        Some(KeyBound((begin..end).map(value).collect()))
    }

    pub fn iter(&self) -> impl Iterator<Item = KeyBound> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

/// Where the part at `at` begins: at the end of the one before.
fn before(ends: &[u32], at: usize) -> usize {
    match at.checked_sub(1) {
        Some(before) => ends[before] as usize,
        None => 0,
    }
}

impl FromIterator<KeyBound> for Bounds {
    fn from_iter<I: IntoIterator<Item = KeyBound>>(bounds: I) -> Bounds {
        let mut packed = Bounds::default();
        bounds.into_iter().for_each(|bound| packed.push(&bound));
        packed
    }
}

impl Serialize for Bounds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.len()))?;
        for bound in self.iter() {
            list.serialize_element(&bound)?;
        }
        list.end()
    }
}

impl<'de> Deserialize<'de> for Bounds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bounds, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Bounds;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of key bounds")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Bounds, A::Error> {
                let mut bounds = Bounds::default();
                while let Some(bound) = list.next_element::<KeyBound>()? {
                    bounds.push(&bound);
                }
                Ok(bounds)
            }
        }
        deserializer.deserialize_seq(List)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(values: &[&str]) -> KeyBound {
        KeyBound(values.iter().map(|value| (*value).to_owned()).collect())
    }

    #[test]
    fn what_is_packed_is_what_is_got_and_written() {
        let all = [
            bound(&["1"]),
            bound(&[]),
            bound(&["", "ä"]),
            bound(&["2", "b"]),
        ];
        let packed: Bounds = all.iter().cloned().collect();
        assert_eq!(packed.iter().collect::<Vec<_>>(), all);
        assert_eq!((packed.len(), packed.get(4)), (4, None));
        let text = serde_json::to_string(&packed).expect("a list");
        assert_eq!(text, r#"[["1"],[],["","ä"],["2","b"]]"#);
        let again: Bounds = serde_json::from_str(&text).expect("the same list");
        assert_eq!(again, packed);
    }
}
