//! Every fault that the verifier must find: the statements that plant it at the target, and what
//! must be told of it. Each has rows of its own, so that they can be planted alone or together.

use super::rows::{self, COPIES, EMPTY, MANY, NULL};
use super::told::{Found, Value};
use crate::harness::lab::Kind;

/// One fault.
#[derive(Clone, Debug)]
pub struct Fault {
    pub name: &'static str,
    pub statements: Vec<String>,
    /// Empty = no difference.
    pub found: Vec<Found>,
}

/// Writes faults in the target's words.
struct Planter {
    to: Kind,
    all: Vec<Fault>,
}

impl Planter {
    /// One value of a row under a key of one column.
    fn set(
        &mut self,
        name: &'static str,
        (table, id): (&'static str, u32),
        column: &'static str,
        (source, target): (Value, Value),
    ) {
        let literal = target.literal(self.to);
        let statement = format!("UPDATE {table} SET {column} = {literal} WHERE id = {id}");
        let found = Found::new("different", table, &[Value::number(id)]);
        self.all.push(Fault {
            name,
            statements: vec![statement],
            found: vec![found.columns(&[(column, source, target)])],
        });
    }

    fn row(&mut self, name: &'static str, statements: &[String], found: &[Found]) {
        self.all.push(Fault {
            name,
            statements: statements.to_vec(),
            found: found.to_vec(),
        });
    }

    fn drop(&mut self, name: &'static str, table: &'static str, id: u32) {
        let statement = format!("DELETE FROM {table} WHERE id = {id}");
        let found = Found::new("missing", table, &[Value::number(id)]);
        self.row(name, &[statement], &[found]);
    }

    fn add(&mut self, name: &'static str, table: &'static str, values: &[Value]) {
        let statement = format!(
            "INSERT INTO {table} VALUES {}",
            rows::tuple(self.to, values)
        );
        let found = Found::new("extra", table, &values[..1]);
        self.row(name, &[statement], &[found]);
    }
}

/// All of them, from a source of `rows` to a target of that kind.
pub fn all(from: Kind, to: Kind) -> Vec<Fault> {
    let mut planter = Planter {
        to,
        all: Vec::new(),
    };
    numbers(&mut planter);
    texts(&mut planter);
    bytes(&mut planter);
    times(&mut planter);
    documents(&mut planter, from);
    composite(&mut planter);
    without_a_key(&mut planter);
    places(&mut planter);
    planter.all
}

fn numbers(p: &mut Planter) {
    use Value::{Bool, Double, Float, Null, Number};
    let big = |id: u32| i64::from(id) * 1_000_003;
    let one = (Value::number(big(3)), Value::number(big(3) + 1));
    p.set("an integer, by one", ("num", 3), "big", one);
    let (source, mut target) = (rows::decimal(4), rows::decimal(4));
    target.replace_range(target.len() - 1.., "2");
    let digits = (Number(source), Number(target));
    p.set("the 30th place of a decimal", ("num", 4), "dec_", digits);
    let (source, mut target) = (rows::decimal(5), rows::decimal(5));
    target.replace_range(30..31, "2");
    let digits = (Number(source), Number(target));
    p.set("the 31st digit of a decimal", ("num", 5), "dec_", digits);
    let ulp = |double: f64| f64::from_bits(double.to_bits() + 1);
    let doubles = (Double(rows::double(6)), Double(ulp(rows::double(6))));
    p.set("1 ulp of a double", ("num", 6), "dbl", doubles);
    let float = f32::from_bits(rows::float(7).to_bits() + 1);
    let floats = (Float(rows::float(7)), Float(float));
    p.set("1 ulp of a float", ("num", 7), "flt", floats);
    p.set("a bool", ("num", 8), "yes", (Bool(false), Bool(true)));
    let zero = (Null, Value::number(0));
    p.set("NULL against 0", ("num", NULL), "big", zero);
    let null = (Value::number(big(9)), Null);
    p.set("a number against NULL", ("num", 9), "big", null);
    // MariaDB and SQLite keep no negative zero.
    if matches!(p.to, Kind::Postgres | Kind::Mysql9) {
        let zeros = (Double(0.0), Double(-0.0));
        p.set("0.0 against -0.0", ("num", EMPTY), "dbl", zeros);
    }
}

fn texts(p: &mut Planter) {
    let texts = |id: u32, target: &str| (rows::words(id), Value::text(target));
    for (name, id, column, target) in [
        ("a space at the end", 3, "loose", "the text 3 "),
        ("a space at the end, exactly", 4, "exact_", "the text 4 "),
        ("upper case", 5, "loose", "The text 5"),
        ("upper case, exactly", 6, "exact_", "The text 6"),
        ("é for e", 7, "loose", "thé text 7"),
        ("é for e, exactly", 8, "exact_", "thé text 8"),
        ("a tab for a space", 9, "exact_", "the text\t9"),
        ("a space that is none", 10, "loose", "the text\u{a0}10"),
        ("an accent of its own", 11, "exact_", "the\u{301} text 11"),
        (
            "something that can't be seen",
            12,
            "loose",
            "the text 12\u{200b}",
        ),
    ] {
        p.set(name, ("txt", id), column, texts(id, target));
    }
    // A character that can't be seen is shown by its bytes or as it is: both are fine.
    let empty = (Value::Null, Value::text(""));
    p.set("NULL against nothing", ("txt", NULL), "loose", empty);
    let null = (Value::text(""), Value::Null);
    p.set("nothing against NULL", ("txt", EMPTY), "exact_", null);
    let words = |id: u32| rows::words(id);
    let set = |id: u32, column: &str, value: &Value| {
        let literal = value.literal(p.to);
        format!("UPDATE txt SET {column} = {literal} WHERE id = {id}")
    };
    let row = |id: u32, column, source, target| {
        let found = Found::new("different", "txt", &[Value::number(id)]);
        found.columns(&[(column, source, target)])
    };
    let swap = [set(20, "loose", &words(21)), set(21, "loose", &words(20))];
    let found = [
        row(20, "loose", words(20), words(21)),
        row(21, "loose", words(21), words(20)),
    ];
    let code = |id: u32| Value::text(format!("code-{id:04}"));
    let swap_unique = [
        set(22, "code", &Value::text("on its way")),
        set(23, "code", &code(22)),
        set(22, "code", &code(23)),
    ];
    let found_unique = [
        row(22, "code", code(22), code(23)),
        row(23, "code", code(23), code(22)),
    ];
    p.row("two rows with their values swapped", &swap, &found);
    p.row("two unique values swapped", &swap_unique, &found_unique);
}

fn bytes(p: &mut Planter) {
    use Value::{Bytes, Long};
    let mut flipped = rows::blob(3);
    flipped[1] ^= 1;
    let flip = (Bytes(rows::blob(3)), Bytes(flipped));
    p.set("a flipped bit", ("bin", 3), "b", flip);
    let mut shorter = rows::blob(4);
    shorter.pop();
    let cut = (Bytes(rows::blob(4)), Bytes(shorter));
    p.set("a zero byte cut off", ("bin", 4), "b", cut);
    let mut far = rows::long(5);
    far[4_999] ^= 0x80;
    let flip = (Long(rows::long(5)), Long(far));
    p.set(
        "a flipped bit beyond what is shown",
        ("bin", 5),
        "long_",
        flip,
    );
    let null = (Bytes(Vec::new()), Value::Null);
    p.set("no bytes against NULL", ("bin", EMPTY), "b", null);
}

fn times(p: &mut Planter) {
    let moment = rows::moment;
    let shifted = |id: u32, hours: u32| {
        let (date, time) = (format!("2024-03-{:02}", 1 + id % 28), 2 + id % 20 + hours);
        format!("{date} {time:02}:30:15.250001")
    };
    let hour = (Value::Moment(moment(3)), Value::Moment(shifted(3, 1)));
    p.set("a time by a time zone", ("day", 3), "m", hour);
    let zone = (Value::Instant(moment(4)), Value::Instant(shifted(4, 2)));
    p.set("an instant by a time zone", ("day", 4), "i", zone);
    let later = moment(5).replace(".250001", ".250002");
    let micro = (Value::Moment(moment(5)), Value::Moment(later));
    p.set("a microsecond", ("day", 5), "m", micro);
    let next = ("2023-12-07".to_owned(), "2023-12-08".to_owned());
    let days = (Value::Moment(next.0), Value::Moment(next.1));
    p.set("a day", ("day", 6), "d", days);
}

fn documents(p: &mut Planter, from: Kind) {
    use Value::Json;
    let other = |id: u32, from: &str, to: &str| {
        let source = rows::document(id);
        let target = source.replace(from, to);
        assert_ne!(source, target);
        (Json(source), Json(target))
    };
    let number = other(3, "\"number\": 3", "\"number\": 4");
    p.set("a number in a document", ("doc", 3), "j", number);
    p.set(
        "the order of a list",
        ("doc", 4),
        "j",
        other(4, "[1, 2,", "[2, 1,"),
    );
    p.set(
        "case in a document",
        ("doc", 5),
        "j",
        other(5, "\"x 5", "\"X 5"),
    );
    let id = rows::uuid(6);
    let uuids = (
        Value::text(id.clone()),
        Value::text(id.replace("0190b2c3", "0190b2c4")),
    );
    p.set("a digit of a uuid", ("doc", 6), "u", uuids);
    // In SQLite a document is a text like any other.
    if from != Kind::Sqlite {
        let text = r#"{ "text":"x 7",  "list" : [1,2,7], "number":7}"#;
        let literal = Json(text.to_owned()).literal(p.to);
        let statement = format!("UPDATE doc SET j = {literal} WHERE id = 7");
        p.row(
            "keys in another order and other white space",
            &[statement],
            &[],
        );
    }
}

fn composite(p: &mut Planter) {
    let at = |id: u32| format!("n = {id}");
    let found = |class, id: u32| Found::new(class, "pair", &rows::pair_key(id));
    let drop = format!("DELETE FROM pair WHERE {}", at(3));
    p.row(
        "a row of a composite key dropped",
        &[drop],
        &[found("missing", 3)],
    );
    let twin = vec![Value::text("key 4"), Value::number(1_000), rows::words(4)];
    let insert = format!("INSERT INTO pair VALUES {}", rows::tuple(p.to, &twin));
    let extra = Found::new("extra", "pair", &twin[..2]);
    p.row("a row again under another key", &[insert], &[extra]);
    let value = Value::text("another");
    let update = format!("UPDATE pair SET v = 'another' WHERE {}", at(5));
    let column = [("v", rows::words(5), value)];
    let different = found("different", 5).columns(&column);
    p.row("a value under a composite key", &[update], &[different]);
    for (name, id, key) in [
        ("a key in other case", 6, "KEY 6"),
        ("a key with a space at its end", 7, "key 7 "),
        ("a key with é for e", 8, "kéy 8"),
    ] {
        let moved = [Value::text(key), Value::number(id)];
        let (literal, place) = (moved[0].literal(p.to), at(id));
        let update = format!("UPDATE pair SET a = {literal} WHERE {place}");
        let extra = Found::new("extra", "pair", &moved);
        p.row(name, &[update], &[found("missing", id), extra]);
    }
}

fn without_a_key(p: &mut Planter) {
    let to = p.to;
    let insert = |row: &[Value], copies: usize| {
        let tuple = rows::tuple(to, row);
        format!("INSERT INTO bag VALUES {}", vec![tuple; copies].join(", "))
    };
    let bag = |class, row: &[Value], copies: u64| Found {
        copies,
        ..Found::new(class, "bag", row)
    };
    let more = rows::bag(3);
    let twice = [insert(&more, 2)];
    p.row("a row twice more", &twice, &[bag("extra", &more, 2)]);
    let fewer = rows::bag(4);
    let delete = "DELETE FROM bag WHERE x = 4".to_owned();
    let again = insert(&fewer, COPIES as usize - 1);
    let missing = [bag("missing", &fewer, 1)];
    p.row("a copy fewer", &[delete, again], &missing);
    let delete = "DELETE FROM bag WHERE x = 5".to_owned();
    let gone = [bag("missing", &rows::bag(5), COPIES.into())];
    p.row("all copies of a row", &[delete], &gone);
    let changed = vec![
        Value::number(6),
        Value::text("changed"),
        Value::Double(rows::double(6)),
    ];
    let update = "UPDATE bag SET y = 'changed' WHERE x = 6".to_owned();
    let both = [
        bag("missing", &rows::bag(6), COPIES.into()),
        bag("extra", &changed, COPIES.into()),
    ];
    p.row("a value of every copy", &[update], &both);
    let mut empty = rows::bag(NULL);
    empty[1] = Value::text("");
    let update = "UPDATE bag SET y = '' WHERE x IS NULL".to_owned();
    let both = [
        bag("missing", &rows::bag(NULL), COPIES.into()),
        bag("extra", &empty, COPIES.into()),
    ];
    p.row("NULL against nothing in every copy", &[update], &both);
}

/// Rows by where they are: at the ends of the key's order, beyond them, between two rows.
fn places(p: &mut Planter) {
    p.drop("the first row", "many", 3);
    p.drop("the last row", "many", MANY * 3);
    p.drop("a row in the middle", "many", 3_000);
    p.add("a row before the first", "many", &rows_of_many(-5));
    p.add(
        "a row beyond the last",
        "many",
        &rows_of_many(i64::from(MANY) * 3 + 1),
    );
    p.add("a row between two", "many", &rows_of_many(4_501));
    let again = vec![Value::number(4_600), rows::many(4_500)[1].clone()];
    p.add("a row under another key", "many", &again);
    p.add(
        "a row where none is",
        "void",
        &[Value::number(1), Value::text("x")],
    );
    p.drop("the only row", "lone", 7);
}

fn rows_of_many(id: i64) -> Vec<Value> {
    vec![Value::number(id), Value::text("planted")]
}
