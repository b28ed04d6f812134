//! Bytes to [`RootAnswer`]: unlike all other answers, what stands in these records is read.
//!
//! Answer and additional section, since servers come with addresses there. A record of another type is passed over, one
//! that cannot be read is counted; names are followed through pointers, which must lead backwards.

use tsutsumi_model::{DomainName, RootAnswer, RootKey, RootRecord};

use super::Query;
use super::decode::{NotAnAnswer, Reader, Record, TYPE_A, TYPE_AAAA, address, decode};

const TYPE_NS: u16 = 2;
const TYPE_DNSKEY: u16 = 48;
const CLASS_IN: u16 = 1;

/// A name has 255 octets at most (RFC 1035, 2.3.4).
const MOST_LABELS: usize = 127;

/// The sections of records, by their place in the header.
const SECTIONS: [usize; 3] = [6, 8, 10];

/// Reads what arrived as an answer to the query.
pub(super) fn read(message: &[u8], query: &Query) -> Result<RootAnswer, NotAnAnswer> {
    let told = decode(message, query)?;
    let mut answer = RootAnswer {
        rcode: told.rcode,
        authentic: told.authentic,
        extended_errors: told.extended_errors,
        records: Vec::new(),
        unread: u16::from(told.truncated),
    };
    // The message was read to its end above; what a cut one lacks was counted.
    let mut rest = Reader(&message[query.question_end..]);
    for (section, at) in SECTIONS.into_iter().enumerate() {
        for _ in 0..Reader(&message[at..]).u16().unwrap_or(0) {
            let owner = message.len() - rest.0.len();
            let Some(record) = rest.record() else {
                return Ok(answer);
            };
            if record.class == CLASS_IN && section != 1 {
                let data = message.len() - rest.0.len() - record.data.len();
                keep(&mut answer, content(message, owner, data, &record));
            }
        }
    }
    Ok(answer)
}

fn keep(answer: &mut RootAnswer, content: Content) {
    match content {
        Content::Record(record) if answer.records.len() < RootAnswer::MOST => answer.records.push(record),
        Content::Record(_) | Content::Unreadable => answer.unread = answer.unread.saturating_add(1),
        Content::Other => {}
    }
}

enum Content {
    Record(RootRecord),
    Unreadable,
    Other,
}

/// What a record says whose owner and data begin at these places of the message.
fn content(message: &[u8], owner: usize, data: usize, record: &Record<'_>) -> Content {
    let of_root = message.get(owner) == Some(&0);
    let found = match record.rtype {
        TYPE_A | TYPE_AAAA => {
            address(record).and_then(|address| Some(RootRecord::Address(name(message, owner)?, address)))
        }
        // Of another zone than the root these say nothing here.
        TYPE_NS if of_root => name(message, data).map(RootRecord::Server),
        TYPE_DNSKEY if of_root => match RootKey::read(record.data) {
            Some(record) => Some(record),
            None => return Content::Other,
        },
        _ => return Content::Other,
    };
    found.map_or(Content::Unreadable, Content::Record)
}

/// The name that begins at this place, if it is one that we would ask for.
fn name(message: &[u8], mut at: usize) -> Option<DomainName> {
    let mut labels = Vec::new();
    loop {
        match *message.get(at)? {
            0 => return labels.join(".").parse().ok(),
            length @ 1..=63 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                let label = std::str::from_utf8(label).ok()?;
                labels.push(Some(label).filter(|label| !label.contains('.'))?);
                at += 1 + usize::from(length);
            }
            high @ 0xc0.. => {
                let low = *message.get(at + 1)?;
                let to = usize::from(u16::from_be_bytes([high & 0x3f, low]));
                // Only backwards, so that it ends.
                at = Some(to).filter(|to| *to < at)?;
            }
            _ => return None, // reserved (RFC 1035, 4.1.4)
        }
        if labels.len() > MOST_LABELS {
            return None;
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::Message,
        rr::{
            Name, RData, Record as Wire, RecordType,
            rdata::{A, AAAA, NS, NULL},
        },
    };
    use proptest::prelude::*;
    use tsutsumi_model::RootWanted;

    use super::*;

    fn named(name: &str) -> DomainName {
        name.parse().unwrap()
    }

    /// A response by another encoder than ours, which compresses names.
    fn reply(wanted: &RootWanted) -> (Query, Message) {
        let query = Query::about_root(wanted).unwrap();
        let mut message = Message::from_vec(&query.bytes).unwrap().into_response();
        message.edns = None;
        (query, message)
    }

    fn record(owner: &str, data: RData) -> Wire {
        Wire::from_rdata(Name::from_ascii(owner).unwrap(), 5, data)
    }

    fn ns(server: &str) -> RData {
        RData::NS(NS(Name::from_ascii(server).unwrap()))
    }

    fn key(flags: [u8; 2]) -> RData {
        RData::Unknown {
            code: RecordType::DNSKEY,
            rdata: NULL::with([&flags[..], &[3, 8], &[9; 256]].concat()),
        }
    }

    #[test]
    fn servers_come_with_the_addresses_that_came_along() {
        let (query, mut message) = reply(&RootWanted::Servers);
        message.metadata.authentic_data = true;
        message.add_answer(record(".", ns("a.root.town.")));
        message.add_answer(record(".", ns("b.root.town.")));
        message.add_answer(record("town.", ns("ns.town.")));
        message.add_authority(record(".", ns("x.root.town.")));
        message.add_additional(record("a.root.town.", RData::A(A::new(192, 0, 2, 1))));
        message.add_additional(record(
            "b.root.town.",
            RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1)),
        ));
        let answer = read(&message.to_vec().unwrap(), &query).unwrap();
        assert_eq!(
            answer.records,
            [
                RootRecord::Server(named("a.root.town")),
                RootRecord::Server(named("b.root.town")),
                RootRecord::Address(named("a.root.town"), "192.0.2.1".parse().unwrap()),
                RootRecord::Address(named("b.root.town"), "2001:db8::1".parse().unwrap()),
            ]
        );
        assert_eq!((answer.authentic, answer.unread), (true, 0));
    }

    #[test]
    fn keys_that_sign_keys_are_read_and_others_passed_over() {
        let (query, mut message) = reply(&RootWanted::Keys);
        for flags in [[1, 0], [1, 1], [1, 0x81]] {
            message.add_answer(record(".", key(flags)));
        }
        message.add_answer(record("town.", key([1, 1])));
        let answer = read(&message.to_vec().unwrap(), &query).unwrap();
        let live = RootKey::read(&[&[1, 1, 3, 8][..], &[9; 256]].concat()).unwrap();
        let RootRecord::Key(revoked) = live.clone() else {
            panic!("{live:?}");
        };
        assert_eq!(answer.records, [live, RootRecord::Revoked(revoked)]);
        assert_eq!(answer.unread, 0);
    }

    #[test]
    fn what_is_too_much_cut_or_unreadable_is_counted() {
        let (query, mut message) = reply(&RootWanted::Servers);
        for number in 0..RootAnswer::MOST + 2 {
            message.add_answer(record(".", ns(&format!("s{number}.town."))));
        }
        let whole = message.to_vec().unwrap();
        let answer = read(&whole, &query).unwrap();
        assert_eq!((answer.records.len(), answer.unread), (RootAnswer::MOST, 2));

        let mut cut = whole[..whole.len() - 3].to_vec();
        cut[2] |= 0x02;
        assert!(read(&cut, &query).unwrap().unread > 0);

        let (query, mut message) = reply(&RootWanted::Servers);
        message.add_answer(record(".", ns("a\\.b.town.")));
        let odd = Name::from_labels([&b"a b"[..], b"town"]).unwrap();
        message.add_answer(record(".", RData::NS(NS(odd))));
        let answer = read(&message.to_vec().unwrap(), &query).unwrap();
        assert_eq!((answer.records.len(), answer.unread), (0, 2));
    }

    #[test]
    fn a_name_that_leads_in_a_circle_is_none() {
        assert_eq!(name(&[0xc0, 0], 0), None);
        assert_eq!(name(&[1, b'a', 0xc0, 0], 0), None, "a circle with a label in it");
        assert_eq!(name(&[1, b'a', 0, 0xc0, 0], 3), Some(named("a")));
        assert_eq!(name(&[0x80, 0], 0), None);
    }

    proptest! {
        #[test]
        fn random_records_never_panic_and_stay_bounded(
            counts in any::<[u8; 6]>(),
            records in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let query = Query::about_root(&RootWanted::Servers).unwrap();
            let mut bytes = query.bytes[..query.question_end].to_vec();
            bytes[2] = 0x83;
            bytes[6..12].copy_from_slice(&counts);
            bytes.extend_from_slice(&records);
            if let Ok(answer) = read(&bytes, &query) {
                prop_assert!(answer.records.len() <= RootAnswer::MOST);
            }
        }
    }
}
