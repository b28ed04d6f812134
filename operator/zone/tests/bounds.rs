//! Whatever comes in: no answer is larger than it may be, and nothing makes the zone fall over.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::sync::LazyLock;

use common::{mark, marked, named, now, query, zone, zone_key};
use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record, RecordType, rdata::A},
};
use proptest::{collection::vec, prelude::*, sample::select};
use tsutsumi_model::ZoneName;
use tsutsumi_zone::{Asked, LARGEST_DATAGRAM, Query, Unanswerable, Zone, datagram_limit, encode};

static ZONE: LazyLock<Zone> = LazyLock::new(|| zone(&zone_key()));

/// What goes back over UDP.
fn reply(message: &[u8]) -> Option<Vec<u8>> {
    let query = match Query::read(message) {
        Ok(query) => query,
        Err(Unanswerable::Header(header)) => return Some(header.to_vec()),
        Err(Unanswerable::Silence) => return None,
    };
    let asked = Asked {
        query: &query,
        from: "192.0.2.1:4000".parse().unwrap(),
        now: now(),
    };
    let answer = ZONE.answer(asked).unwrap();
    Some(encode(&query, answer, datagram_limit(&query)).unwrap())
}

fn names() -> impl Strategy<Value = Name> {
    let marked = (select(&ZoneName::ALL), any::<u16>()).prop_map(|(name, number)| marked(mark(name, number)));
    prop_oneof![
        4 => marked.clone(),
        1 => marked.prop_map(|name| name.prepend_label("below").unwrap()),
        1 => "[a-z0-9-]{1,63}".prop_map(|label| {
            let apex = Name::from_ascii(format!("{}.", common::apex())).unwrap();
            apex.prepend_label(label.as_bytes()).unwrap()
        }),
        1 => select(&["", "ns.", "insecure.", "*."]).prop_map(|front| {
            Name::from_ascii(format!("{front}{}.", common::apex())).unwrap()
        }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_datagram_is_larger_than_was_offered_nor_than_the_bound(
        name in names(),
        qtype in prop_oneof![
            select(&[RecordType::A, RecordType::TXT, RecordType::ANY, RecordType::DNSKEY, RecordType::NSEC,
                     RecordType::SOA, RecordType::NS, RecordType::DS, RecordType::RRSIG]),
            any::<u16>().prop_filter("of questions", |kind| *kind != 41).prop_map(RecordType::from),
        ],
        offer in prop::option::of(any::<u16>()),
    ) {
        let question = query(&name, qtype, offer).to_vec().unwrap();
        let answer = reply(&question).unwrap();
        let bound = offer.unwrap_or(512).clamp(512, LARGEST_DATAGRAM);
        prop_assert!(answer.len() <= bound.into(), "{} bytes", answer.len());
        let answer = Message::from_vec(&answer).unwrap();
        prop_assert_eq!(answer.metadata.id, 0x1234);
        prop_assert!(!answer.metadata.recursion_available);
        prop_assert!(!answer.metadata.truncation || answer.answers.is_empty());
        prop_assert_eq!(answer.edns.is_some(), offer.is_some());
    }

    #[test]
    fn noise_makes_nothing_fall_over_and_gets_no_more_than_it_sent(noise in vec(any::<u8>(), 0..600)) {
        if let Some(answer) = reply(&noise) {
            let read = Query::read(&noise);
            prop_assert!(read.is_ok() || answer.len() <= noise.len());
            prop_assert!(answer.len() <= LARGEST_DATAGRAM.into());
            prop_assert_eq!(&answer[..2], &noise[..2]);
            prop_assert!(answer[2] & 0x80 != 0);
        }
    }

    /// Noise as above hardly ever gets past the header.
    #[test]
    fn a_question_with_changed_octets_makes_nothing_fall_over(
        name in names(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        length in any::<prop::sample::Index>(),
        cut in any::<bool>(),
    ) {
        let mut question = query(&name, RecordType::A, Some(1232)).to_vec().unwrap();
        for (at, octet) in changes {
            let at = at.index(question.len());
            question[at] = octet;
        }
        if cut {
            question.truncate(length.index(question.len()));
        }
        if let Some(answer) = reply(&question) {
            prop_assert!(answer.len() <= LARGEST_DATAGRAM.into());
            prop_assert!(Query::read(&question).is_ok() || answer.len() <= question.len());
        }
    }
}

#[test]
fn every_kind_of_name_keeps_within_every_offer() {
    for name in ZoneName::ALL {
        for qtype in [RecordType::A, RecordType::TXT, RecordType::ANY, RecordType::AAAA] {
            for offer in [
                None,
                Some(0),
                Some(512),
                Some(1231),
                Some(1232),
                Some(1233),
                Some(4096),
                Some(u16::MAX),
            ] {
                let question = query(&marked(mark(name, 1)), qtype, offer).to_vec().unwrap();
                let bound = usize::from(offer.unwrap_or(512).clamp(512, 1232));
                let bytes = reply(&question).unwrap().len();
                assert!(
                    bytes <= bound,
                    "{bytes} bytes for {name:?} {qtype}, offered {offer:?}"
                );
            }
        }
    }
}

#[test]
fn one_question_with_little_behind_it_is_enough() {
    let name = named("www", ZoneName::Good);
    let mut two = query(&name, RecordType::A, None);
    two.queries.push(two.queries[0].clone());
    let mut behind = query(&name, RecordType::A, None);
    let address = RData::A(A::new(192, 0, 2, 1));
    behind.add_additionals(vec![Record::from_rdata(name, 1, address); 3]);
    for message in [two, behind] {
        let answer = reply(&message.to_vec().unwrap()).unwrap();
        assert_eq!((answer.len(), answer[3]), (12, 1), "FORMERR");
    }
}

#[test]
fn counts_that_lie_cost_nothing_and_responses_get_no_answer() {
    let question = query(&named("www", ZoneName::Good), RecordType::A, None)
        .to_vec()
        .unwrap();
    for count in [4, 6, 8, 10] {
        let mut lying = question.clone();
        lying[count..count + 2].copy_from_slice(&[0xff, 0xff]);
        let Some(answer) = reply(&lying) else {
            unreachable!("a question with a bad count is malformed");
        };
        assert_eq!((answer.len(), answer[3]), (12, 1), "FORMERR, at {count}");
    }
    let mut response = question.clone();
    response[2] |= 0x80;
    assert_eq!(reply(&response), None);
    let mut notify = question;
    notify[2] |= 4 << 3;
    assert_eq!(reply(&notify).unwrap()[3], 4, "NOTIMP");
}
