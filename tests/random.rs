//! Random values of every type as SQL literals, from a seed that a failure prints.

use crate::harness::lab::Kind;
use crate::harness::literal;

/// splitmix64: small, and the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }

    fn between(&mut self, low: i128, high: i128) -> i128 {
        let wide = (u128::from(self.next()) << 64) | u128::from(self.next());
        low + (wide % ((high - low) as u128 + 1)) as i128
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize]
    }

    fn digits(&mut self, n: u64) -> String {
        (0..n)
            .map(|_| char::from(b'0' + self.below(10) as u8))
            .collect()
    }
}

/// What a column's values look like.
#[derive(Clone, Copy, Debug)]
pub enum Values {
    /// Any integer of the range, small ones and the ends more often.
    Int(i128, i128),
    /// Up to that many digits before and after the point.
    Decimal {
        whole: u64,
        scale: u64,
        unsigned: bool,
    },
    Float32,
    Float64,
    /// At most that many characters of every script, without NUL.
    Text(u64),
    /// Latin-1 only.
    Latin(u64),
    Bytes {
        min: u64,
        max: u64,
    },
    /// Years from 1 to 9999.
    Date,
    /// Digits of the fraction.
    Moment(u32),
    /// From 1970 to 2038.
    Instant(u32),
    /// Hours to, digits of the fraction, negative too.
    Time {
        hours: u64,
        fraction: u32,
        signed: bool,
    },
    Json,
    Uuid,
    Inet4,
    Inet6,
    /// A bit string of exactly that width.
    Bits(u64),
    /// Literals to choose from.
    One(&'static [&'static str]),
}

const WORDS: &[&str] = &[
    "a", "Z", "0", " ", "é", "ß", "ñ", "中", "表", "ソ", "😀", "🐦", "\\", "'", "\"", "`", "%",
    "_", "\t", "\n", "\r", ";", "--", "/*", "\u{1a}", "\u{7f}", "\u{301}", "\u{200d}", "\u{feff}",
    "\u{fffd}", "שלום", "NULL", "\\N", "\\.", ",", "{", "}", "$1", "?", ":p", "true", "\u{8}",
    "\u{1}",
];

const LATIN: &[&str] = &[
    "a", "Z", "é", "ß", "ÿ", "¤", "\\", "'", "\"", " ", "€", "£", "þ", "0",
];

impl Values {
    /// One more value, as a literal of the engine.
    pub fn literal(self, kind: Kind, random: &mut Random) -> String {
        match self {
            Values::Int(low, high) => int(random, low, high).to_string(),
            Values::Decimal {
                whole,
                scale,
                unsigned,
            } => decimal(random, whole, scale, unsigned),
            Values::Float32 => float32(random),
            Values::Float64 => float64(random),
            Values::Text(max) => literal::text(kind, &words(random, WORDS, max)),
            Values::Latin(max) => literal::text(kind, &words(random, LATIN, max)),
            Values::Bytes { min, max } => {
                let length = min + random.below(max - min + 1);
                let special = [0, 0, 0x5c, 0x27, 0x22, 0x0a, 0x1a, 0xff];
                let bytes: Vec<u8> = (0..length)
                    .map(|_| match random.below(3) {
                        0 => random.pick(&special),
                        _ => random.next() as u8,
                    })
                    .collect();
                literal::bytes(kind, &bytes)
            }
            Values::Date => format!("'{}'", date(random, 1, 9999)),
            Values::Moment(digits) => moment(random, 1, 9998, digits),
            Values::Instant(digits) => moment(random, 1971, 2037, digits),
            Values::Time {
                hours,
                fraction,
                signed,
            } => time(random, hours, fraction, signed),
            Values::Json => literal::text(kind, &json(random, 3)),
            Values::Uuid => format!("'{}'", uuid(random)),
            Values::Inet4 => {
                let [a, b, c, d, ..] = random.next().to_be_bytes();
                format!("'{a}.{b}.{c}.{d}'")
            }
            Values::Inet6 => {
                let part = |random: &mut Random| u128::from(random.next());
                let address = (part(random) << 64) | part(random);
                let address = address >> (random.below(8) * 16);
                format!("'{}'", std::net::Ipv6Addr::from(address))
            }
            Values::Bits(width) => {
                let bits: String = (0..width)
                    .map(|_| if random.below(2) == 1 { '1' } else { '0' })
                    .collect();
                format!("b'{bits}'")
            }
            Values::One(of) => random.pick(of).to_owned(),
        }
    }
}

fn int(random: &mut Random, low: i128, high: i128) -> i128 {
    match random.below(4) {
        0 if low <= 0 && high >= 0 => random.between(low.max(-100), high.min(100)),
        1 => high - random.between(0, 3),
        2 => low + random.between(0, 3),
        _ => random.between(low, high),
    }
}

fn decimal(random: &mut Random, whole: u64, scale: u64, unsigned: bool) -> String {
    let sign = if !unsigned && random.below(2) == 0 {
        "-"
    } else {
        ""
    };
    let n = random.below(whole + 1);
    let before = if n == 0 {
        "0".to_owned()
    } else {
        random.digits(n)
    };
    match random.below(scale + 1) {
        0 => format!("{sign}{before}"),
        n => format!("{sign}{before}.{}", random.digits(n)),
    }
}

/// Any finite bits but -0 (MariaDB has no literal for it), seldom huge.
fn float64(random: &mut Random) -> String {
    loop {
        let value = match random.below(3) {
            0 => f64::from_bits(random.next()),
            1 => random.next() as i64 as f64 / 1000.0,
            _ => random.below(1000) as f64 / 8.0,
        };
        if value.is_finite() && !(value == 0.0 && value.is_sign_negative()) {
            return format!("{value:e}");
        }
    }
}

/// Normal numbers: servers disagree about reading the literals of others.
fn float32(random: &mut Random) -> String {
    loop {
        let value = match random.below(2) {
            0 => f32::from_bits(random.next() as u32),
            _ => random.next() as i32 as f32 / 1000.0,
        };
        if value.is_normal() {
            return format!("{value:e}");
        }
    }
}

fn words(random: &mut Random, of: &[&str], max: u64) -> String {
    let mut text = String::new();
    for _ in 0..random.below(max + 1) {
        let word = random.pick(of);
        if (text.chars().count() + word.chars().count()) as u64 <= max {
            text.push_str(word);
        }
    }
    text
}

fn date(random: &mut Random, from: u64, to: u64) -> String {
    let year = from + random.below(to - from + 1);
    let (month, day) = (1 + random.below(12), 1 + random.below(28));
    format!("{year:04}-{month:02}-{day:02}")
}

fn clock(random: &mut Random, hours: u64, digits: u32) -> String {
    let (h, m, s) = (random.below(hours), random.below(60), random.below(60));
    match digits {
        0 => format!("{h:02}:{m:02}:{s:02}"),
        n => format!("{h:02}:{m:02}:{s:02}.{}", random.digits(u64::from(n))),
    }
}

fn moment(random: &mut Random, from: u64, to: u64, digits: u32) -> String {
    format!("'{} {}'", date(random, from, to), clock(random, 24, digits))
}

fn time(random: &mut Random, hours: u64, digits: u32, signed: bool) -> String {
    let sign = if signed && random.below(2) == 0 {
        "-"
    } else {
        ""
    };
    format!("'{sign}{}'", clock(random, hours, digits))
}

/// Version 4: MariaDB takes no others than those of the standard.
fn uuid(random: &mut Random) -> String {
    let hex = format!("{:016x}{:016x}", random.next(), random.next());
    let (a, b, c, d, e) = (
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..],
    );
    format!("{a}-{b}-4{c}-8{d}-{e}")
}

fn json(random: &mut Random, depth: u32) -> String {
    let string = |random: &mut Random| {
        let text = words(random, WORDS, 6);
        serde_json::to_string(&text).expect("a string")
    };
    match random.below(if depth == 0 { 4 } else { 6 }) {
        0 => "null".to_owned(),
        1 => random
            .pick(&["true", "false", "0", "-1", "1.5", "12345678901"])
            .to_owned(),
        2 | 3 => string(random),
        4 => {
            let n = random.below(4);
            let items: Vec<String> = (0..n).map(|_| json(random, depth - 1)).collect();
            format!("[{}]", items.join(", "))
        }
        _ => {
            let n = random.below(4);
            let items: Vec<String> = (0..n)
                .map(|i| format!("\"k{i}\": {}", json(random, depth - 1)))
                .collect();
            format!("{{{}}}", items.join(", "))
        }
    }
}
