//! MariaDB's UUID, INET4 and INET6 as the text the server prints. Bytes of full length.

use super::number::unsigned;

const HEX: &[u8; 16] = b"0123456789abcdef";

/// UUIDs are stored with their parts turned round, so that they sort by time: since 10.11.5 only
/// those that have a time, before that (`always`, "uuid /* old */") all.
pub fn uuid(out: &mut Vec<u8>, raw: &[u8], always: bool) {
    let turned = always || (raw[6] & 0x80 != 0 && raw[8] > 0 && raw[8] < 0x60);
    let order: [usize; 16] = match turned {
        true => [12, 13, 14, 15, 10, 11, 8, 9, 6, 7, 0, 1, 2, 3, 4, 5],
        false => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
    };
    for (place, from) in order.into_iter().enumerate() {
        if matches!(place, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.push(HEX[usize::from(raw[from] >> 4)]);
        out.push(HEX[usize::from(raw[from] & 15)]);
    }
}

pub fn inet4(out: &mut Vec<u8>, raw: &[u8]) {
    for (place, byte) in raw.iter().enumerate() {
        if place > 0 {
            out.push(b'.');
        }
        unsigned(out, u64::from(*byte));
    }
}

/// The longest run of zero words, the first of equals, shrinks to `::`, also one of one word.
pub fn inet6(out: &mut Vec<u8>, raw: &[u8]) {
    let mut words = [0_u16; 8];
    for (word, pair) in words.iter_mut().zip(raw.chunks_exact(2)) {
        *word = u16::from(pair[0]) << 8 | u16::from(pair[1]);
    }
    let (mut gap, mut length) = (8, 0);
    let mut at = 0;
    while at < 8 {
        let run = words[at..].iter().take_while(|word| **word == 0).count();
        if run > length {
            (gap, length) = (at, run);
        }
        at += run.max(1);
    }
    let holds_inet4 = gap == 0 && (length == 6 || (length == 5 && words[5] == 0xffff));
    let mut at = 0;
    while at < 8 {
        if at == gap {
            out.extend_from_slice(if at == 0 { b"::" } else { b":" });
            at += length;
        } else if at == 6 && holds_inet4 {
            return inet4(out, &raw[12..16]);
        } else {
            let mut started = false;
            for shift in [12, 8, 4, 0] {
                let digit = usize::from(words[at] >> shift & 15);
                started |= digit != 0 || shift == 0;
                if started {
                    out.push(HEX[digit]);
                }
            }
            if at < 7 {
                out.push(b':');
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_print_as_the_server_prints_them() {
        for text in [
            "::",
            "::1",
            "1::8",
            "::ffff:1.2.3.4",
            "1:0:3::",
            "fe80::1:0:0:2",
        ] {
            let address: std::net::Ipv6Addr = text.parse().expect("valid");
            let mut out = Vec::new();
            inet6(&mut out, &address.octets());
            assert_eq!(String::from_utf8_lossy(&out), text);
        }
    }
}
