//! What a rule does to one value: trim, null_if, mask, in this order.

use std::borrow::Cow;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::rules::{ColumnRule, Mask, Trim};
use crate::schema::{CanonicalType, CellForm};
use crate::value::DigestColumn;

/// Characters of a hash.
pub const HASH_CHARS: u32 = 64;

/// The changes to the values of one column.
pub struct Change {
    trim: Option<Trim>,
    /// SQLite's dynamic cells have their class before the text.
    dynamic: bool,
    null_if: Vec<Vec<u8>>,
    mask: Option<Hide>,
}

enum Hide {
    Hash {
        key: Box<Hmac<Sha256>>,
        column: DigestColumn,
    },
    Redact(Vec<u8>),
}

impl std::fmt::Debug for Change {
    /// Without the salt.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Change")
            .field("trim", &self.trim)
            .finish_non_exhaustive()
    }
}

impl Change {
    /// None = values stay as they are; Err = the salt is missing or empty.
    pub fn new(
        rule: &ColumnRule,
        canonical: &CanonicalType,
        salt: Option<&[u8]>,
    ) -> Result<Option<Change>, String> {
        if !rule.changes_values() {
            return Ok(None);
        }
        let mask = match &rule.mask {
            None => None,
            Some(Mask::Redact { with }) => Some(Hide::Redact(with.clone().into_bytes())),
            Some(Mask::Hash { .. }) => {
                let salt = salt.filter(|salt| !salt.is_empty());
                let salt = salt.ok_or("the salt of its mask is missing or empty")?;
                let key = Hmac::new_from_slice(salt).map_err(|error| error.to_string())?;
                Some(Hide::Hash {
                    key: Box::new(key),
                    column: DigestColumn::new(canonical, CellForm::Canonical),
                })
            }
        };
        Ok(Some(Change {
            trim: rule.trim,
            dynamic: *canonical == CanonicalType::Any,
            null_if: rule
                .null_if
                .iter()
                .map(|text| text.clone().into_bytes())
                .collect(),
            mask,
        }))
    }

    pub fn hides(&self) -> bool {
        self.mask.is_some()
    }

    /// The value after the rule; None = NULL.
    pub fn of<'a>(&self, cell: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let class = match self.dynamic {
            true => cell.first().copied(),
            false => None,
        };
        let mut cell = cell;
        if let Some(trim) = self.trim {
            cell = match class {
                None => trimmed(cell, trim),
                // The class stays before what is left; only the right end can go without a copy.
                Some(b't') => return self.rest(dynamic_trimmed(cell, trim), class),
                Some(_) => cell,
            };
        }
        self.rest(Cow::Borrowed(cell), class)
    }

    fn rest<'a>(&self, cell: Cow<'a, [u8]>, class: Option<u8>) -> Option<Cow<'a, [u8]>> {
        let plain = match class {
            Some(_) => cell.get(1..).unwrap_or_default(),
            None => &cell[..],
        };
        if self.null_if.iter().any(|text| text == plain) {
            return None;
        }
        match &self.mask {
            None => Some(cell),
            Some(Hide::Redact(with)) => Some(Cow::Owned(with.clone())),
            Some(Hide::Hash { key, column }) => {
                let mut key = key.as_ref().clone();
                key.update(&column.canonical(&cell));
                let hash = key.finalize().into_bytes();
                let mut text = Vec::with_capacity(HASH_CHARS as usize);
                for byte in hash {
                    text.push(b"0123456789abcdef"[usize::from(byte >> 4)]);
                    text.push(b"0123456789abcdef"[usize::from(byte & 15)]);
                }
                Some(Cow::Owned(text))
            }
        }
    }
}

fn dynamic_trimmed(cell: &[u8], trim: Trim) -> Cow<'_, [u8]> {
    let text = trimmed(&cell[1..], trim);
    let mut kept = Vec::with_capacity(text.len() + 1);
    kept.push(b't');
    kept.extend_from_slice(text);
    Cow::Owned(kept)
}

/// White space as Unicode knows it; bytes that are no text stay.
fn trimmed(cell: &[u8], trim: Trim) -> &[u8] {
    let Ok(text) = std::str::from_utf8(cell) else {
        return cell;
    };
    let text = match trim {
        Trim::Both => text.trim(),
        Trim::Left => text.trim_start(),
        Trim::Right => text.trim_end(),
    };
    text.as_bytes()
}
