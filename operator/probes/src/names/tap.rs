//! What one message of dnstap tells (dnstap.proto), read by hand: of four fields in two messages, the rest skipped.
//!
//! Only what a client asked counts, and of that only the first question's name and type. Who asked is not read.

use tsutsumi_model::DomainName;

/// `Dnstap.message`.
const MESSAGE: u64 = 14;
/// `Message.type`.
const TYPE: u64 = 1;
/// `Message.Type.CLIENT_QUERY`.
const CLIENT_QUERY: u64 = 5;
/// `Message.query_message`, which `full` in the Corefile adds.
const QUERY_MESSAGE: u64 = 10;

/// A DNS header (RFC 1035, 4.1.1).
const HEADER: usize = 12;
const CLASS_IN: u16 = 1;

/// What a message tells.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Told {
    /// A client asked.
    Question {
        /// For this name.
        name: DomainName,
        /// For this type, as the number of the registry.
        qtype: u16,
    },
    /// A client asked what nobody could ask again, or the message is none.
    Unreadable,
    /// Something else than a client's question.
    Other,
}

/// Reads one message of dnstap.
#[must_use]
pub fn told(payload: &[u8]) -> Told {
    read(payload).unwrap_or(Told::Unreadable)
}

fn read(payload: &[u8]) -> Option<Told> {
    let (mut kind, mut query) = (None, None);
    // Of a field that comes twice, the last one counts.
    let mut message: &[u8] = &[];
    for field in Fields(payload) {
        if let (MESSAGE, Value::Bytes(bytes)) = field? {
            message = bytes;
        }
    }
    for field in Fields(message) {
        match field? {
            (TYPE, Value::Number(number)) => kind = Some(number),
            (QUERY_MESSAGE, Value::Bytes(bytes)) => query = Some(bytes),
            _ => {}
        }
    }
    if kind != Some(CLIENT_QUERY) {
        return Some(Told::Other);
    }
    question(query?)
}

/// The first question of a DNS message.
fn question(message: &[u8]) -> Option<Told> {
    let (header, mut rest) = message.split_at_checked(HEADER)?;
    if u16::from_be_bytes([header[4], header[5]]) == 0 {
        return None;
    }
    let mut name = String::new();
    loop {
        let (length, after) = rest.split_first()?;
        let length = usize::from(*length);
        if length == 0 {
            rest = after;
            break;
        }
        // A first name has nothing before it to point to, so whatever is longer than a label is no length.
        let (label, after) = after.split_at_checked(length).filter(|_| length < 64)?;
        // A dot within a label would make two of it.
        if label.contains(&b'.') || name.len() + length > 253 {
            return None;
        }
        name.push_str(std::str::from_utf8(label).ok()?);
        name.push('.');
        rest = after;
    }
    let [type_high, type_low, class_high, class_low, ..] = rest else {
        return None;
    };
    if u16::from_be_bytes([*class_high, *class_low]) != CLASS_IN {
        return None;
    }
    Some(Told::Question {
        name: name.parse().ok()?,
        qtype: u16::from_be_bytes([*type_high, *type_low]),
    })
}

/// A value by its wire type (protobuf's encoding). Those of four and eight bytes are never wanted.
enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    Fixed,
}

/// The fields of a message, in order. After one that cannot be read, none.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = Option<(u64, Value<'a>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(usize::try_from(length).ok()?)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        Some((tag >> 3, value))
    }

    /// A number of up to ten bytes, seven bits in each, the lowest first.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for place in 0..10 {
            let byte = *self.take(1)?.first()?;
            number |= u64::from(byte & 0x7f).checked_shl(7 * place)?;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn tagged(field: u8, bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len();
        let mut whole = vec![(field << 3) | 2];
        if length < 128 {
            whole.push(u8::try_from(length).unwrap());
        } else {
            whole.extend([
                u8::try_from(length % 128).unwrap() | 0x80,
                u8::try_from(length / 128).unwrap(),
            ]);
        }
        whole.extend(bytes);
        whole
    }

    pub(crate) fn query(labels: &[&[u8]], qtype: u16, class: u16) -> Vec<u8> {
        let mut message = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in labels {
            message.push(u8::try_from(label.len()).unwrap());
            message.extend(*label);
        }
        message.push(0);
        message.extend(qtype.to_be_bytes());
        message.extend(class.to_be_bytes());
        message
    }

    /// A message as CoreDNS sends it: identity, version, and fields that are not read around those that are.
    pub(crate) fn message(kind: u8, query: Option<&[u8]>) -> Vec<u8> {
        let mut inner = vec![1 << 3, kind, 2 << 3, 1];
        inner.extend(tagged(4, &[10, 0, 0, 9]));
        inner.extend([(9 << 3) | 5, 1, 2, 3, 4]);
        inner.extend(query.map(|query| tagged(10, query)).unwrap_or_default());
        [
            tagged(1, b"coredns-1"),
            tagged(2, b"CoreDNS-1.15.0"),
            tagged(14, &inner),
            vec![15 << 3, 1],
        ]
        .concat()
    }

    #[test]
    fn a_client_s_question_is_read_and_nothing_else() {
        let asked = query(&[b"WWW", b"example", b"test"], 28, 1);
        assert_eq!(
            told(&message(5, Some(&asked))),
            Told::Question {
                name: "www.example.test".parse().unwrap(),
                qtype: 28
            }
        );
        for kind in [6, 7, 8] {
            assert_eq!(told(&message(kind, Some(&asked))), Told::Other);
        }
        assert_eq!(told(&[]), Told::Other, "without a message");
    }

    #[test]
    fn what_nobody_could_ask_again_is_no_name() {
        let long: Vec<&[u8]> = vec![&[b'a'; 63]; 4];
        for asked in [
            query(&[], 2, 1),
            query(&[b"a.b", b"test"], 1, 1),
            query(&[b"a b", b"test"], 1, 1),
            query(&[b"\xff", b"test"], 1, 1),
            query(&[b"version", b"bind"], 16, 3),
            query(&long, 1, 1),
            vec![0; 11],
            [&query(&[b"a"], 1, 1)[..4], &[0; 20]].concat(),
            [&query(&[], 1, 1)[..12], &[0xc0, 12, 0, 1, 0, 1]].concat(),
        ] {
            assert_eq!(told(&message(5, Some(&asked))), Told::Unreadable, "{asked:?}");
        }
        assert_eq!(told(&message(5, None)), Told::Unreadable, "without `full`");
    }

    #[test]
    fn no_start_of_a_message_is_mistaken_for_it() {
        let whole = message(5, Some(&query(&[b"a", b"test"], 1, 1)));
        for end in 1..whole.len() - 2 {
            assert!(!matches!(told(&whole[..end]), Told::Question { .. }), "{end}");
        }
    }
}
