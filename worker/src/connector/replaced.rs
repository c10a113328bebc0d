//! What is at a target under the name of something a job carries, and isn't it: a view, trigger,
//! routine, event or sequence of somebody else's. Refused by name, for every engine in these words.

use common::code::Code;
use common::schema::SchemaObject;

use super::Error;

const NAMES_SHOWN_MAX: usize = 10;

/// The refusal, with the statements that would make room.
pub fn refusal(others: &[&SchemaObject]) -> Error {
    let shown = others.iter().take(NAMES_SHOWN_MAX);
    let shown = shown.map(|object| format!("{} {}", object.kind, object.name));
    let mut what = shown.collect::<Vec<_>>().join(", ");
    what.push_str(match others {
        [_] => " is at the target already, and is another one",
        _ => " are at the target already, and are others",
    });
    if others.len() > NAMES_SHOWN_MAX {
        what.push_str(&format!(" (and {} more)", others.len() - NAMES_SHOWN_MAX));
    }
    let mut error = Error::permanent(Code::TargetNotEmpty, what);
    let drops = others.iter().take(NAMES_SHOWN_MAX);
    let fixes = drops.flat_map(|object| object.undo.iter().cloned());
    error.failure.fixes.extend(fixes);
    let recreate =
        "--target-mode recreate: drop them, and the tables, and make them as at the source";
    error.failure.fixes.push(recreate.to_owned());
    error
}
