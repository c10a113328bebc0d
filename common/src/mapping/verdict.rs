//! The verdict of every column: what its type can hold at the source, what the target's can, and
//! what each engine does to values that no type tells of (NUL bytes, NaN, zero dates, -0).

use super::accept::Accepted;
use super::cast::{Origin, cast_of, origin};
use super::range::{Step, step};
use super::{Ends, Mapping, keys, spelling};
use crate::fidelity::{ColumnVerdict, Loss, PossibleLoss, Verdict};
use crate::job::JobSpec;
use crate::naming;
use crate::schema::{CanonicalType, Column, Engine, TableSchema};

/// The verdicts of a table's copied columns, in order.
pub fn of_table(
    ends: &Ends<'_>,
    spec: &JobSpec,
    from: &TableSchema,
    to: &TableSchema,
    accepted: &mut Accepted<'_>,
    mapping: &mut Mapping,
) -> Vec<ColumnVerdict> {
    let origin = origin(spec, from);
    let default = naming::default_schema(&spec.source);
    let pairs = from.columns.iter().zip(&to.columns);
    let copied = pairs.filter(|(_, target)| target.generated.is_none());
    copied
        .map(|(source, target)| {
            let names = names(&origin, &source.name, from, default.as_deref());
            let shown = &names[0];
            let is_cast = cast_of(spec, &origin, source).is_some();
            let mut judged = judge(ends, from, source, to, target, is_cast);
            if judged.impossible {
                mapping.types.push(format!(
                    "{shown} ({}) can't become {}",
                    source.native_type, target.native_type
                ));
            }
            let dynamic = source.canonical == CanonicalType::Any;
            if ends.from == Engine::Sqlite
                && ends.to == Engine::Sqlite
                && !dynamic
                && origin.rule.is_some()
            {
                // A column that the rule is about is read by its type.
                judged.losses.extend(of_sqlite(from, source, target));
            }
            judged.losses.sort();
            judged.losses.dedup();
            let marks = accepted.meet(&names, &judged.losses);
            let lossy = judged
                .losses
                .iter()
                .position(|loss| *loss == Loss::TypeCast);
            if lossy.is_some_and(|at| !marks[at]) {
                mapping.losses.push(format!(
                    "{shown} ({} to {}): values may change",
                    source.native_type, target.native_type
                ));
                let fix = format!("--accept {}:{shown}", Loss::TypeCast);
                mapping.fixes.insert(fix);
            }
            let expression = origin.expression(&source.name);
            ColumnVerdict {
                column: target.name.clone(),
                from: expression.unwrap_or(&source.native_type).to_owned(),
                to: target.native_type.clone(),
                verdict: judged.verdict(lossy.is_some()),
                losses: { judged.losses.into_iter() }
                    .zip(marks)
                    .map(|(loss, accepted)| PossibleLoss { loss, accepted })
                    .collect(),
                why: judged.why,
            }
        })
        .collect()
}

/// What a column may be called in an acceptance, the usual one first.
fn names(
    origin: &Origin<'_>,
    shaped: &str,
    table: &TableSchema,
    default: Option<&str>,
) -> Vec<String> {
    let column = origin.column(shaped);
    let mut names = vec![format!("{}.{column}", origin.full_name)];
    match (&table.schema, default) {
        (Some(_), _) => names.push(format!("{}.{column}", table.name)),
        (None, Some(schema)) => names.push(format!("{schema}.{}.{column}", table.name)),
        (None, None) => {}
    }
    names
}

struct Judged {
    losses: Vec<Loss>,
    /// The target's type says something else than the source's.
    widened: bool,
    impossible: bool,
    why: String,
}

impl Judged {
    fn verdict(&self, lossy: bool) -> Verdict {
        match (lossy, self.losses.is_empty(), self.widened) {
            (true, ..) => Verdict::Lossy,
            (false, false, _) => Verdict::Guarded,
            (false, true, true) => Verdict::Widened,
            (false, true, false) => Verdict::Exact,
        }
    }
}

fn judge(
    ends: &Ends<'_>,
    from: &TableSchema,
    source: &Column,
    to: &TableSchema,
    target: &Column,
    is_cast: bool,
) -> Judged {
    let mut judged = Judged {
        losses: Vec::new(),
        widened: false,
        impossible: false,
        why: String::new(),
    };
    if ends.from == ends.to && !is_cast {
        // MariaDB and MySQL are one engine, with some types and collations of their own.
        judged.widened = source.native_type != target.native_type;
        if source.collation != target.collation && keys::is_unique(to, &target.name) {
            judged.losses.push(Loss::RowIdentity);
        }
        return judged;
    }
    let known = spelling::canonical(ends.to, &target.native_type);
    let held = held(ends, source, is_cast);
    match step(&held, &target.canonical) {
        _ if is_cast && known.is_none() => {
            judged.losses.push(Loss::TypeCast);
            judged.why =
                "the type isn't known here: the server decides what it makes of a value".into();
            return judged;
        }
        Step::Kept(losses) => judged.losses = losses,
        Step::Changed => {
            judged.losses.push(Loss::TypeCast);
            judged.why = "not every value is one of the other type".into();
            return judged;
        }
        Step::Impossible => {
            judged.impossible = true;
            return judged;
        }
    }
    if ends.from == Engine::Sqlite && ends.to != Engine::Sqlite {
        judged.losses.extend(of_sqlite(from, source, target));
    }
    judged.losses.extend(of_numbers(ends, source, target));
    judged.losses.extend(of_texts(ends, source, target));
    judged.losses.extend(of_moments(ends, source, target));
    if is_cast && keys::is_tighter(target) && keys::is_unique(to, &target.name) {
        judged.losses.push(Loss::RowIdentity);
    }
    judged.widened = says_less(ends, source, target, known.as_ref());
    judged.why = why(ends, source, target);
    judged
}

/// What the source's type can hold: an SQLite column holds more than it says.
fn held(ends: &Ends<'_>, source: &Column, is_cast: bool) -> CanonicalType {
    if ends.from != Engine::Sqlite || (ends.to == Engine::Sqlite && !is_cast) {
        // A number of 64 bits without sign isn't one of SQLite's.
        return source.canonical.clone();
    }
    match &source.canonical {
        CanonicalType::Int { .. } => CanonicalType::Int {
            bits: 64,
            unsigned: false,
        },
        CanonicalType::Text { .. } => CanonicalType::Text { max_chars: None },
        CanonicalType::Bytes { .. } => CanonicalType::Bytes { max_len: None },
        // The reader keeps the others to their bounds.
        other => other.clone(),
    }
}

/// Any column of SQLite may hold any kind of value, but the rowid and those of a STRICT table.
fn of_sqlite(table: &TableSchema, source: &Column, target: &Column) -> Vec<Loss> {
    let mut losses = Vec::new();
    let native = source.native_type.to_ascii_uppercase();
    let strict = table.native_options.contains("STRICT")
        && matches!(
            native.as_str(),
            "INT" | "INTEGER" | "REAL" | "TEXT" | "BLOB"
        );
    if !strict && !keys::is_rowid(table, &source.name) {
        losses.push(Loss::StorageClass);
    }
    match (&source.canonical, &target.canonical) {
        (CanonicalType::Text { .. } | CanonicalType::Json, _) => losses.push(Loss::InvalidText),
        (CanonicalType::Decimal { .. }, CanonicalType::Decimal { .. })
        | (CanonicalType::Year, CanonicalType::Year) => losses.push(Loss::NumberRange),
        _ => {}
    }
    losses
}

fn of_numbers(ends: &Ends<'_>, source: &Column, target: &Column) -> Vec<Loss> {
    use CanonicalType as T;
    let mut losses = Vec::new();
    let float = matches!(source.canonical, T::Float32 | T::Float64);
    let to_float = float && matches!(target.canonical, T::Float32 | T::Float64);
    let (to_mysql, to_sqlite) = (ends.to == Engine::Mysql, ends.to == Engine::Sqlite);
    if to_float && to_mysql && ends.from != Engine::Mysql {
        losses.push(Loss::NotANumber);
    }
    // SQLite keeps a REAL without fraction as an integer, MariaDB drops the sign on loading.
    if to_float && ends.from != ends.to && (to_sqlite || ends.is_mariadb()) {
        losses.push(Loss::NegativeZero);
    }
    // A numeric of PostgreSQL may be NaN whatever its digits, a number of SQLite infinite.
    let number = matches!(source.canonical, T::Decimal { .. } | T::Numeric);
    let bounded = matches!(target.canonical, T::Decimal { .. } | T::Int { .. });
    if ends.from != Engine::Mysql && number && bounded && ends.from != ends.to {
        losses.push(Loss::NotANumber);
    }
    losses
}

fn of_texts(ends: &Ends<'_>, source: &Column, target: &Column) -> Vec<Loss> {
    use CanonicalType as T;
    let mut losses = Vec::new();
    let foreign = ends.to == Engine::Postgres && ends.from != Engine::Postgres;
    match (&source.canonical, &target.canonical) {
        (T::Text { .. }, T::Text { .. } | T::Enum { .. } | T::Set { .. }) if foreign => {
            losses.push(Loss::NulInText);
        }
        // MySQL keeps the empty text in place of a value that was none of the list's.
        (T::Enum { .. }, T::Enum { .. }) if foreign => losses.push(Loss::NotAMember),
        _ => {}
    }
    losses
}

fn of_moments(ends: &Ends<'_>, source: &Column, target: &Column) -> Vec<Loss> {
    use CanonicalType as T;
    let mut losses = Vec::new();
    let dated = |t: &T| matches!(t, T::Date | T::DateTime { .. } | T::Timestamp { .. });
    if dated(&source.canonical) && dated(&target.canonical) && ends.from != ends.to {
        match (ends.from, ends.to) {
            (Engine::Postgres, Engine::Mysql) => losses.push(Loss::DateRange),
            (Engine::Mysql | Engine::Sqlite, Engine::Postgres) => losses.push(Loss::ZeroDate),
            (Engine::Sqlite, Engine::Mysql) => losses.extend([Loss::ZeroDate, Loss::DateRange]),
            _ => {}
        }
    }
    if let (T::Time { .. }, T::Time { .. }) = (&source.canonical, &target.canonical) {
        let of_day = target.native_type.to_ascii_lowercase().starts_with("time");
        if of_day && ends.to == Engine::Postgres && ends.from != Engine::Postgres {
            losses.push(Loss::NumberRange);
        }
    }
    losses
}

fn is_texty(native: &str) -> bool {
    let upper = native.to_ascii_uppercase();
    upper.contains("TEXT") || upper.contains("CHAR")
}

/// Whether the target's type tells less of the values than the source's.
fn says_less(
    ends: &Ends<'_>,
    source: &Column,
    target: &Column,
    known: Option<&CanonicalType>,
) -> bool {
    let text = matches!(source.canonical, CanonicalType::Text { .. });
    let kind = std::mem::discriminant::<CanonicalType>;
    let other = known.is_some_and(|known| kind(known) != kind(&target.canonical));
    source.canonical != target.canonical
        || (!text && (other || is_texty(&target.native_type)) && !is_list(ends, target))
        || is_own_kind(ends, source)
        || target.native_type.eq_ignore_ascii_case("jsonb")
        || (ends.from != ends.to && target.native_type.starts_with("interval"))
}

/// ENUM and SET of MySQL name their values, with whatever letters.
fn is_list(ends: &Ends<'_>, target: &Column) -> bool {
    ends.to == Engine::Mysql
        && matches!(
            target.canonical,
            CanonicalType::Enum { .. } | CanonicalType::Set { .. }
        )
        && !is_texty(target.native_type.split('(').next().unwrap_or_default())
}

/// A type that only the source's engine has: arrays, domains, geometry, …
fn is_own_kind(ends: &Ends<'_>, source: &Column) -> bool {
    let kind = std::mem::discriminant::<CanonicalType>;
    match ends.from {
        Engine::Postgres => {
            let plain = spelling::canonical(Engine::Postgres, &source.native_type);
            let same = plain.is_some_and(|plain| kind(&plain) == kind(&source.canonical));
            !same && !matches!(source.canonical, CanonicalType::Enum { .. })
        }
        Engine::Mysql => {
            let native = source.native_type.to_ascii_lowercase();
            matches!(source.canonical, CanonicalType::Bytes { .. })
                && !native.contains("blob")
                && !native.contains("binary")
        }
        Engine::Sqlite => false,
    }
}

/// What a user may want to know of it, in a few words.
fn why(ends: &Ends<'_>, source: &Column, target: &Column) -> String {
    use CanonicalType as T;
    let native = target.native_type.to_ascii_lowercase();
    let text = match (&source.canonical, &target.canonical) {
        (T::Json, T::Json) if native == "jsonb" => {
            "jsonb keeps what the document means, not its spelling: no white space, no order of keys"
        }
        (T::Enum { .. }, _) if ends.to == Engine::Postgres => "the list becomes a CHECK constraint",
        (T::Set { .. }, _) => "its values' texts, joined by commas",
        (T::Timestamp { .. }, T::DateTime { .. }) => "the instant in UTC",
        (T::Time { .. }, _) if native.starts_with("interval") => {
            "an interval: times may go beyond a day"
        }
        (T::Bytes { .. }, _) if is_own_kind(ends, source) => "its bytes: SRID and WKB",
        (T::Text { .. }, _) if is_own_kind(ends, source) => "as its text",
        _ if is_own_kind(ends, source) => "its values; the type itself isn't carried",
        (T::Int { unsigned: true, .. }, T::Decimal { .. }) => "no whole number there is as large",
        (T::Numeric | T::Decimal { .. }, T::Decimal { .. }) if native == "decimal(65,30)" => {
            "the largest there is"
        }
        (T::Decimal { .. }, _) if is_texty(&native) => "as text: a double doesn't hold its digits",
        (_, T::Text { .. }) if !matches!(source.canonical, T::Text { .. }) => "as text",
        _ => "",
    };
    text.to_owned()
}
