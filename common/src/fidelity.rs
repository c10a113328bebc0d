//! The fidelity contract: for every column a verdict, for every value the target can't hold a name
//! by which the user may accept what happens to it. Nothing is changed without one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::job_file::nearest;

/// What becomes of a column's values in the target's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Every value fits, and the type says the same.
    Exact,
    /// Every value fits; the target's type allows more or says less (numbers as text, …).
    Widened,
    /// Exact for every value the target's type can hold. Any other stops the job and is named,
    /// unless the loss is accepted.
    Guarded,
    /// The type itself changes values: refused unless the loss is accepted.
    Lossy,
}

macro_rules! losses {
    ($( $name:ident = $code:literal, $title:literal, $accepted:literal; )*) => {
        /// A known way in which a value may not survive. Codes are never reused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum Loss { $( #[doc = $title] #[serde(rename = $code)] $name, )* }

        impl Loss {
            pub const ALL: &'static [Loss] = &[$(Loss::$name),*];

            /// As in `--accept CODE:table.column`.
            pub fn code(self) -> &'static str {
                match self { $(Loss::$name => $code),* }
            }
            /// Which values are concerned, one line.
            pub fn title(self) -> &'static str {
                match self { $(Loss::$name => $title),* }
            }
            /// What is done to them once it is accepted.
            pub fn accepted(self) -> &'static str {
                match self { $(Loss::$name => $accepted),* }
            }
        }
    };
}

losses! {
    ZeroDate = "zero-date", "dates with a zero or impossible day, month or year", "becomes NULL";
    DateRange = "date-range", "dates before the year 1, after 9999, or infinite", "becomes NULL";
    NulInText = "nul-in-text", "text with a NUL byte", "the NUL bytes are removed";
    NotANumber = "not-a-number", "NaN and infinite numbers", "becomes NULL";
    NumberRange = "number-range", "numbers and times beyond the target's type, or with more digits", "is rounded to the digits there are; one too large still stops the job";
    NegativeZero = "negative-zero", "the floating-point number -0", "becomes 0";
    StorageClass = "storage-class", "values of another kind than the column's type", "becomes what the source's own CAST makes of it";
    TextLength = "text-length", "text or bytes longer than the target's type", "is cut off";
    NotAMember = "not-a-member", "values that are not in an enumeration's list", "becomes NULL";
    InvalidText = "invalid-text", "text that is not valid in its character set", "the invalid bytes become U+FFFD";
    TypeCast = "type-cast", "a cast that may change values", "the target's type decides";
    RowIdentity = "row-identity", "rows the target's unique key takes for equal", "not at all: such a row stops the job";
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What the plan says about one column of the target that rows are written to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnVerdict {
    /// The column's name in the target.
    pub column: String,
    /// The source's own spelling; the expression of a computed column.
    pub from: String,
    pub to: String,
    pub verdict: Verdict,
    /// What may be lost; each is accepted or not by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub losses: Vec<PossibleLoss>,
    /// Empty when there is nothing to say.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
}

/// A loss of a column and whether the user accepted it. The worker looks for such values before
/// they are written: an accepted one is changed as [`Loss::accepted`] says, another stops the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PossibleLoss {
    pub loss: Loss,
    pub accepted: bool,
}

/// `CODE:table.column` of `--accept` and of the job file's `accept`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acceptance {
    pub loss: Loss,
    /// Glob over `table.column` (or `schema.table.column`) of the source; `*` = every column.
    pub column: String,
}

impl FromStr for Loss {
    type Err = String;

    fn from_str(text: &str) -> Result<Loss, String> {
        let found = Loss::ALL.iter().find(|loss| loss.code() == text);
        found.copied().ok_or_else(|| {
            let known: Vec<&str> = Loss::ALL.iter().map(|loss| loss.code()).collect();
            let hint = match nearest(text, &known) {
                Some(near) => format!("did you mean {near}? "),
                None => String::new(),
            };
            let known = known.join(", ");
            format!("there is no loss {text:?}; {hint}The codes are {known}")
        })
    }
}

impl Acceptance {
    /// Whether it accepts `loss` for a column of the source's table of this full name.
    pub fn covers(&self, loss: Loss, table: &str, column: &str) -> bool {
        let name = format!("{table}.{column}");
        let matches = |glob: globset::Glob| glob.compile_matcher().is_match(&name);
        self.loss == loss
            && (self.column == "*" || globset::Glob::new(&self.column).is_ok_and(matches))
    }
}

impl FromStr for Acceptance {
    type Err = String;

    /// `CODE:table.column`.
    fn from_str(text: &str) -> Result<Acceptance, String> {
        let (code, column) = text.split_once(':').unwrap_or((text, ""));
        let loss: Loss = code.parse()?;
        if column != "*" && !column.contains('.') {
            return Err(format!(
                "say for which column: {code}:TABLE.COLUMN, where both may be patterns, or {code}:*"
            ));
        }
        match globset::Glob::new(column) {
            Ok(_) => Ok(Acceptance {
                loss,
                column: column.to_owned(),
            }),
            Err(error) => Err(format!("{column:?} is not a pattern: {}", error.kind())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_acceptance_names_a_loss_and_a_column() {
        let accepted: Acceptance = "zero-date:orders.placed".parse().expect("valid");
        assert_eq!(accepted.loss, Loss::ZeroDate);
        assert_eq!(accepted.column, "orders.placed");
        for text in [
            "zero-date",
            "zero-date:",
            "zero-date:orders",
            "zero-date:[.x",
        ] {
            assert!(text.parse::<Acceptance>().is_err(), "{text}");
        }
        assert!(accepted.covers(Loss::ZeroDate, "orders", "placed"));
        assert!(!accepted.covers(Loss::ZeroDate, "archive.orders", "placed"));
        assert!(!accepted.covers(Loss::DateRange, "orders", "placed"));
        assert!(!accepted.covers(Loss::ZeroDate, "orders", "changed"));
        let error = "zero-dates:*".parse::<Acceptance>().expect_err("unknown");
        assert!(error.contains("did you mean zero-date?"), "{error}");
        assert!(error.contains("nul-in-text"), "{error}");
    }
}
