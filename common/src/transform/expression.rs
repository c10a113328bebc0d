//! Filters and computed columns: CEL expressions over the source's columns. What can be known
//! before a row is read is an error of the plan: syntax, unknown columns and functions, types that
//! don't go together. No message names a value: a column may be masked.

use std::sync::{Arc, OnceLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue};
use cel::parser::PrattParser;
use cel::{Context, Env, ExecutionError, Value, extensions};

use crate::job_file::nearest;
use crate::schema::{CanonicalType, TableSchema};

/// Bounds the parser's work.
const EXPRESSION_BYTES_MAX: usize = 8 << 10;
/// Words and signs of an expression, and how deep its brackets and choices are nested. Parser and
/// evaluator recurse, some ten KiB of stack for a bracket in the profile with the largest frames,
/// and a thread has 2 MiB: `tests/expressions.rs` tries the limits with three quarters of it.
const TOKENS_MAX: usize = 80;
const DEPTH_MAX: usize = 12;
/// All columns by name, for names that CEL can't say: `row["order no"]`.
const ROW: &str = "row";
/// Names that are no columns: CEL's types.
const TYPES: [&str; 11] = [
    "bool",
    "int",
    "uint",
    "double",
    "bytes",
    "string",
    "list",
    "map",
    "null_type",
    "type",
    "dyn",
];
/// Functions and macros that may be called; operators aside, which hold no letters first.
const FUNCTIONS: [&str; 31] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "type",
    "dyn",
    "has",
    "all",
    "exists",
    "exists_one",
    "map",
    "filter",
    "join",
    "charAt",
    "indexOf",
    "lastIndexOf",
    "lowerAscii",
    "upperAscii",
    "trim",
    "replace",
    "split",
    "substring",
    "format",
    "reverse",
];

/// An expression that is known to go with a table.
#[derive(Debug)]
pub struct Expression {
    program: IdedExpr,
    /// The columns it names, by place.
    named: Vec<Bound>,
    /// The columns it names through `row`.
    in_row: Vec<Bound>,
    tried: Option<Value>,
}

#[derive(Debug)]
struct Bound {
    place: usize,
    name: String,
    canonical: CanonicalType,
}

impl Expression {
    /// Reads `text`; the error says everything that is wrong with it.
    pub fn compile(text: &str, source: &TableSchema) -> Result<Expression, String> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(format!("is longer than {EXPRESSION_BYTES_MAX} bytes"));
        }
        let (tokens, depth) = extent(text);
        if tokens > TOKENS_MAX || depth > DEPTH_MAX {
            return Err(format!(
                "is too long: {TOKENS_MAX} words and signs, nested {DEPTH_MAX} deep, are read"
            ));
        }
        let reader = PrattParser::new().max_expression_node_count(TOKENS_MAX * 10);
        let program = reader.parse(text).map_err(|errors| {
            let said = errors.errors.iter().map(|error| {
                let (line, column) = error.pos;
                format!("{} at {line}:{column}", error.msg)
            });
            said.collect::<Vec<_>>().join(", ")
        })?;
        let mut names = Names::default();
        names.walk(&program, &mut Vec::new(), source);
        if !names.problems.is_empty() {
            return Err(names.problems.join(", "));
        }
        let bound = |wanted: &[String]| -> Vec<Bound> {
            let columns = source.copied_columns().enumerate();
            let columns = columns.filter(|(_, column)| wanted.contains(&column.name));
            columns
                .map(|(place, column)| Bound {
                    place,
                    name: column.name.clone(),
                    canonical: column.canonical.clone(),
                })
                .collect()
        };
        let mut expression = Expression {
            named: bound(&names.columns),
            in_row: bound(&names.in_row),
            program,
            tried: None,
        };
        if expression
            .bound()
            .any(|column| column.canonical == CanonicalType::Any)
        {
            return Ok(expression);
        }
        match expression.run(|column| Ok(sample(&column.canonical))) {
            Err(Failed::Types(what)) => return Err(what),
            Err(Failed::Other(_)) => {}
            Ok(value) => expression.tried = Some(value),
        }
        Ok(expression)
    }

    /// What it makes of values of its columns' types, as far as that can be known.
    pub fn tried(&self) -> Option<&Value> {
        self.tried.as_ref()
    }

    fn bound(&self) -> impl Iterator<Item = &Bound> {
        self.named.iter().chain(&self.in_row)
    }

    /// Places of the columns it depends on.
    pub fn uses(&self) -> impl Iterator<Item = usize> {
        self.bound().map(|bound| bound.place)
    }

    /// Its value for a row of the source.
    pub fn eval(&self, cells: &[Option<&[u8]>]) -> Result<Value, String> {
        let value = self.run(|bound| match cells.get(bound.place).copied().flatten() {
            None => Ok(Value::Null),
            Some(cell) => bind(&bound.canonical, cell).ok_or_else(|| {
                format!("the value of {} can't be read by an expression", bound.name)
            }),
        });
        value.map_err(|failed| match failed {
            Failed::Types(what) | Failed::Other(what) => what,
        })
    }

    fn run(&self, value: impl Fn(&Bound) -> Result<Value, String>) -> Result<Value, Failed> {
        let mut context = Context::with_env(Arc::clone(env()));
        for bound in &self.named {
            let value = value(bound).map_err(Failed::Other)?;
            context.add_variable_from_value(bound.name.as_str(), value);
        }
        if !self.in_row.is_empty() {
            let mut row = Vec::new();
            for bound in &self.in_row {
                let key = cel::objects::Key::from(bound.name.clone());
                row.push((key, value(bound).map_err(Failed::Other)?));
            }
            let map = Arc::new(row.into_iter().collect());
            context.add_variable_from_value(ROW, Value::Map(cel::objects::Map { map }));
        }
        Value::resolve(&self.program, &context).map_err(|error| failed(&error))
    }
}

/// Words and signs, a quoted text being one, and the depth, for which what opens in quoted texts
/// counts too.
fn extent(text: &str) -> (usize, usize) {
    let (mut tokens, mut depth, mut deepest) = (0, 0usize, 0);
    let mut in_word = false;
    let mut quote = None;
    let (mut escaped, mut before) = (false, ' ');
    for character in text.chars() {
        let part = character.is_alphanumeric() || character == '_';
        let apart = character.is_whitespace() || character == ',';
        if quote.is_none() && !apart && !(part && in_word) {
            tokens += 1;
        }
        in_word = part;
        match (character, quote) {
            ('(' | '[' | '{' | '?', _) => depth += 1,
            ('!' | '-', _) if matches!(before, '!' | '-') => depth += 1,
            (')' | ']' | '}', None) => depth = depth.saturating_sub(1),
            ('"' | '\'', None) => quote = Some(character),
            (closing, Some(open)) if closing == open && !escaped => quote = None,
            _ => {}
        }
        before = character;
        escaped = character == '\\' && !escaped;
        deepest = deepest.max(depth);
    }
    (tokens, deepest)
}

enum Failed {
    /// Whatever the values, it can't be computed.
    Types(String),
    Other(String),
}

fn failed(error: &ExecutionError) -> Failed {
    let what = match error {
        ExecutionError::NoSuchOverload(overload) => {
            let types = overload.argument_types().join(", ");
            let mut what = format!("{} doesn't take ({types})", overload.function());
            if overload
                .argument_types()
                .iter()
                .any(|ty| ty.starts_with("null"))
            {
                what.push_str("; test for NULL first, as in `x != null && …`");
            }
            return Failed::Types(what);
        }
        ExecutionError::UndeclaredReference(name) => {
            return Failed::Types(format!("there is no {name}"));
        }
        ExecutionError::DivisionByZero(_) => "division by zero".to_owned(),
        ExecutionError::RemainderByZero(_) => "remainder of a division by zero".to_owned(),
        ExecutionError::Overflow(operator, ..) => format!("{operator} overflows"),
        ExecutionError::IndexOutOfBounds(_) => "an index is out of bounds".to_owned(),
        ExecutionError::NoSuchKey(key) => format!("there is no {key}"),
        ExecutionError::ValuesNotComparable(..) => "values that can't be compared".to_owned(),
        ExecutionError::UnexpectedType { got, want } => format!("{got} where {want} is needed"),
        ExecutionError::InvalidArgumentCount { expected, actual } => {
            format!("{actual} arguments where {expected} are needed")
        }
        // Its message may hold the value.
        ExecutionError::FunctionError { function, .. } => {
            format!("{function}() can't take the value")
        }
        _ => "the values don't go together".to_owned(),
    };
    Failed::Other(what)
}

fn env() -> &'static Arc<Env> {
    static ENV: OnceLock<Arc<Env>> = OnceLock::new();
    ENV.get_or_init(|| {
        let mut env = Env::stdlib();
        env.add_extension(extensions::strings)
            .expect("the standard environment has no strings extension yet");
        Arc::new(env)
    })
}

/// A column's cell as CEL's value; None = it isn't what its type says.
pub fn bind(canonical: &CanonicalType, cell: &[u8]) -> Option<Value> {
    let text = || std::str::from_utf8(cell).ok();
    let string = || text().map(|text| Value::String(Arc::new(text.to_owned())));
    match canonical {
        CanonicalType::Bool => match cell {
            b"0" => Some(Value::Bool(false)),
            b"1" => Some(Value::Bool(true)),
            _ => None,
        },
        CanonicalType::Int {
            bits: 64,
            unsigned: true,
        }
        | CanonicalType::Bit { .. } => text()?.parse().ok().map(Value::UInt),
        CanonicalType::Int { .. } | CanonicalType::Year => text()?.parse().ok().map(Value::Int),
        CanonicalType::Decimal { .. }
        | CanonicalType::Numeric
        | CanonicalType::Float32
        | CanonicalType::Float64 => text()?.parse().ok().map(Value::Float),
        CanonicalType::Bytes { .. } => Some(Value::Bytes(Arc::new(cell.to_vec()))),
        CanonicalType::Any => {
            let (class, rest) = cell.split_first()?;
            match class {
                b'i' => bind(
                    &CanonicalType::Int {
                        bits: 64,
                        unsigned: false,
                    },
                    rest,
                ),
                b'r' => Some(Value::Float(f64::from_be_bytes(rest.try_into().ok()?))),
                b't' => bind(&CanonicalType::Text { max_chars: None }, rest),
                b'b' => Some(Value::Bytes(Arc::new(rest.to_vec()))),
                _ => None,
            }
        }
        CanonicalType::Text { .. }
        | CanonicalType::Date
        | CanonicalType::Time { .. }
        | CanonicalType::DateTime { .. }
        | CanonicalType::Timestamp { .. }
        | CanonicalType::Json
        | CanonicalType::Uuid
        | CanonicalType::Inet
        | CanonicalType::Enum { .. }
        | CanonicalType::Set { .. } => string(),
    }
}

/// A value of the type, to see whether the types of an expression go together.
fn sample(canonical: &CanonicalType) -> Value {
    match canonical {
        CanonicalType::Bool => Value::Bool(true),
        CanonicalType::Int {
            bits: 64,
            unsigned: true,
        }
        | CanonicalType::Bit { .. } => Value::UInt(1),
        CanonicalType::Int { .. } | CanonicalType::Year => Value::Int(1),
        CanonicalType::Decimal { .. }
        | CanonicalType::Numeric
        | CanonicalType::Float32
        | CanonicalType::Float64 => Value::Float(1.0),
        CanonicalType::Bytes { .. } => Value::Bytes(Arc::new(Vec::new())),
        _ => Value::String(Arc::new(String::new())),
    }
}

/// The names in an expression.
#[derive(Default)]
struct Names {
    columns: Vec<String>,
    in_row: Vec<String>,
    problems: Vec<String>,
}

impl Names {
    /// `local` holds the variables of macros around `node`.
    fn walk(&mut self, node: &IdedExpr, local: &mut Vec<String>, source: &TableSchema) {
        match &node.expr {
            Expr::Ident(name) => self.ident(name, local, source),
            Expr::Select(select) if is_row(&select.operand, local, source) => {
                self.row(&select.field, source);
            }
            Expr::Select(select) => self.walk(&select.operand, local, source),
            Expr::Call(call) => {
                if let ("_[_]", [object, index]) = (call.func_name.as_str(), call.args.as_slice())
                    && is_row(object, local, source)
                {
                    return match &index.expr {
                        Expr::Literal(LiteralValue::String(name)) => {
                            self.row(name.inner(), source);
                        }
                        _ => self.problem("write row[\"column\"] with the name itself"),
                    };
                }
                let called = call.func_name.rsplit('.').next().unwrap_or_default();
                if called.starts_with(|c: char| c.is_ascii_alphabetic())
                    && !FUNCTIONS.contains(&called)
                {
                    self.problem(match nearest(called, &FUNCTIONS) {
                        Some(near) => {
                            format!("there is no function {called}, did you mean {near}?")
                        }
                        None => format!("there is no function {called}"),
                    });
                }
                for inner in call.target.as_deref().into_iter().chain(&call.args) {
                    self.walk(inner, local, source);
                }
            }
            Expr::Comprehension(inner) => {
                self.walk(&inner.iter_range, local, source);
                let outer = local.len();
                local.push(inner.accu_var.clone());
                self.walk(&inner.accu_init, local, source);
                local.push(inner.iter_var.clone());
                local.extend(inner.iter_var2.clone());
                for part in [&inner.loop_cond, &inner.loop_step, &inner.result] {
                    self.walk(part, local, source);
                }
                local.truncate(outer);
            }
            Expr::List(list) => {
                for element in &list.elements {
                    self.walk(element, local, source);
                }
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.walk(&entry.key, local, source);
                        self.walk(&entry.value, local, source);
                    }
                }
            }
            Expr::Struct(_) => self.problem("messages can't be made here"),
            Expr::Literal(_) | Expr::Unspecified => {}
        }
    }

    fn ident(&mut self, name: &str, local: &[String], source: &TableSchema) {
        let name = name.strip_prefix('.').unwrap_or(name);
        if local.iter().any(|known| known == name) {
            return;
        }
        if source.copied_columns().any(|column| column.name == name) {
            self.columns.push(name.to_owned());
        } else if name == ROW {
            self.problem("write row[\"column\"] to name a column through `row`");
        } else if !TYPES.contains(&name) {
            self.unknown(name, source);
        }
    }

    fn row(&mut self, name: &str, source: &TableSchema) {
        match source.copied_columns().any(|column| column.name == name) {
            true => self.in_row.push(name.to_owned()),
            false => self.unknown(name, source),
        }
    }

    fn unknown(&mut self, name: &str, source: &TableSchema) {
        self.problem(no_column(name, source));
    }

    fn problem(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.problems.contains(&what) {
            self.problems.push(what);
        }
    }
}

/// Says that a column isn't there, and which one was probably meant.
pub fn no_column(name: &str, source: &TableSchema) -> String {
    let names: Vec<&str> = source.copied_columns().map(|c| c.name.as_str()).collect();
    match nearest(name, &names) {
        Some(near) => format!("there is no column {name}, did you mean {near}?"),
        None => format!("there is no column {name}"),
    }
}

fn is_row(node: &IdedExpr, local: &[String], source: &TableSchema) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == ROW && !local.iter().any(|l| l == ROW))
        && !source.copied_columns().any(|column| column.name == ROW)
}
