//! Bytes to [`DnsAnswer`]: pure, linear in the size of the message, and never a panic.
//!
//! Records are counted and skipped by their length fields; no record data is interpreted here but that of OPT and, where
//! addresses were asked for, addresses, so a server that sends odd data is still heard. A message with TC set may end in the middle of a record (RFC 2181, 9).

use std::{fmt::Write, net::IpAddr};

use tsutsumi_model::{DnsAnswer, Rcode};

use super::Query;

/// NSID is free text of the server's choosing; more than this names nothing.
const LONGEST_NSID: usize = 128;
const MOST_EXTENDED_ERRORS: usize = 16;

pub(super) const TYPE_A: u16 = 1;
pub(super) const TYPE_AAAA: u16 = 28;
const TYPE_OPT: u16 = 41;
const OPTION_NSID: u16 = 3;
const OPTION_EXTENDED_ERROR: u16 = 15;

const FLAG_RESPONSE: u16 = 0x8000;
const FLAG_TRUNCATED: u16 = 0x0200;
const FLAG_AUTHENTIC: u16 = 0x0020;
const MASK_OPCODE: u16 = 0x7800;
const MASK_RCODE: u16 = 0x000f;

/// Why a message is no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum NotAnAnswer {
    /// It answers the question, but cannot be read to its end.
    Broken,
    /// It answers something else, or nothing.
    Stray,
}

/// Reads what arrived as an answer to the query.
pub(super) fn decode(message: &[u8], query: &Query) -> Result<DnsAnswer, NotAnAnswer> {
    let (flags, counts) = match_question(message, query).ok_or(NotAnAnswer::Stray)?;
    let truncated = flags & FLAG_TRUNCATED != 0;
    let mut answer = DnsAnswer {
        rcode: Rcode(flags & MASK_RCODE),
        truncated,
        authentic: flags & FLAG_AUTHENTIC != 0,
        query_bytes: length(&query.bytes),
        answer_bytes: length(message),
        answers: 0,
        addresses: Vec::new(),
        nsid: None,
        extended_errors: Vec::new(),
    };
    let mut records = Reader(&message[query.question_end..]);
    match read_records(&mut records, counts, wanted(query), &mut answer) {
        None if !truncated => Err(NotAnAnswer::Broken),
        _ => Ok(answer),
    }
}

/// The flags and the counts of the three record sections, if id, opcode and question are those of the query.
fn match_question(message: &[u8], query: &Query) -> Option<(u16, [u16; 3])> {
    let mut header = Reader(message);
    let same_id = header.take(2)? == query.bytes.get(..2)?;
    let flags = header.u16()?;
    let one_question = header.u16()? == 1;
    let counts = [header.u16()?, header.u16()?, header.u16()?];
    // Lengths of labels are below the letters, so names in wire form compare without regard to case as they are.
    let name_end = query.question_end.checked_sub(4)?;
    let same_name = message
        .get(12..name_end)?
        .eq_ignore_ascii_case(query.bytes.get(12..name_end)?);
    let same_type_and_class =
        message.get(name_end..query.question_end)? == query.bytes.get(name_end..query.question_end)?;
    let is_answer = flags & FLAG_RESPONSE != 0 && flags & MASK_OPCODE == 0;
    (same_id && is_answer && one_question && same_name && same_type_and_class).then_some((flags, counts))
}

/// The number of the type that the query asks for.
fn wanted(query: &Query) -> u16 {
    let at = query.question_end.saturating_sub(4);
    query
        .bytes
        .get(at..)
        .map(Reader)
        .and_then(|mut rest| rest.u16())
        .unwrap_or(0)
}

/// Fills in what the records tell; none if they end early or contradict each other.
fn read_records(
    records: &mut Reader<'_>,
    counts: [u16; 3],
    wanted: u16,
    answer: &mut DnsAnswer,
) -> Option<()> {
    let [answers, authorities, additionals] = counts;
    for _ in 0..answers {
        let record = records.record()?;
        answer.answers += 1;
        if record.rtype == wanted && answer.addresses.len() < DnsAnswer::MOST_ADDRESSES {
            answer.addresses.extend(address(&record));
        }
    }
    for _ in 0..authorities {
        records.record()?;
    }
    let mut seen_opt = false;
    for _ in 0..additionals {
        let record = records.record()?;
        if record.rtype == TYPE_OPT {
            if std::mem::replace(&mut seen_opt, true) {
                return None; // at most one (RFC 6891, 6.1.1)
            }
            answer.rcode.0 |= u16::from(record.ttl[0]) << 4;
            read_options(Reader(record.data), answer)?;
        }
    }
    Some(())
}

/// The address that a record holds; none for one of another type, or of a wrong length.
pub(super) fn address(record: &Record<'_>) -> Option<IpAddr> {
    match record.rtype {
        TYPE_A => <[u8; 4]>::try_from(record.data).ok().map(Into::into),
        TYPE_AAAA => <[u8; 16]>::try_from(record.data).ok().map(Into::into),
        _ => None,
    }
}

fn read_options(mut options: Reader<'_>, answer: &mut DnsAnswer) -> Option<()> {
    while !options.0.is_empty() {
        let code = options.u16()?;
        let length = options.u16()?;
        let data = options.take(length.into())?;
        match code {
            // An empty one is the query's own option, sent back as it came.
            OPTION_NSID if answer.nsid.is_none() && !data.is_empty() => answer.nsid = Some(printable(data)),
            OPTION_EXTENDED_ERROR if answer.extended_errors.len() < MOST_EXTENDED_ERRORS => {
                answer.extended_errors.push(Reader(data).u16()?);
            }
            _ => {}
        }
    }
    Some(())
}

/// The octets as text where they are printable ASCII, else in hexadecimal.
fn printable(octets: &[u8]) -> String {
    let octets = &octets[..octets.len().min(LONGEST_NSID)];
    if octets.iter().all(|octet| matches!(octet, b' '..=b'~')) {
        octets.iter().copied().map(char::from).collect()
    } else {
        octets.iter().fold(String::new(), |mut hex, octet| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{octet:02x}");
            hex
        })
    }
}

fn length(message: &[u8]) -> u32 {
    u32::try_from(message.len()).unwrap_or(u32::MAX)
}

pub(super) struct Record<'a> {
    pub(super) rtype: u16,
    pub(super) class: u16,
    ttl: [u8; 4],
    pub(super) data: &'a [u8],
}

/// What is left to read.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn record(&mut self) -> Option<Record<'a>> {
        self.skip_name()?;
        let rtype = self.u16()?;
        let class = self.u16()?;
        let ttl = self.array()?;
        let length = self.u16()?;
        Some(Record {
            rtype,
            class,
            ttl,
            data: self.take(length.into())?,
        })
    }

    /// Past a name, up to the pointer that may end it; pointers are not followed.
    fn skip_name(&mut self) -> Option<()> {
        loop {
            let [length] = self.array()?;
            match length {
                0 => return Some(()),
                1..=63 => self.take(length.into())?,
                0xc0.. => return self.take(1).map(|_| ()),
                _ => return None, // reserved (RFC 1035, 4.1.4)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::{
        op::{Edns, Message, ResponseCode},
        rr::{
            Name, RData, Record,
            rdata::{
                A, TXT,
                opt::{EdnsOption, NSIDPayload},
            },
        },
    };
    use proptest::prelude::*;
    use tsutsumi_model::{DnsQuestion, QueryClass, QueryType};

    use super::{super::tests::question, *};

    fn query() -> Query {
        Query::encode(&question(Some(1232))).unwrap()
    }

    /// A response by another encoder than ours.
    fn reply(query: &Query) -> Message {
        let mut message = Message::from_vec(&query.bytes).unwrap().into_response();
        message.edns = None;
        message
    }

    fn owner() -> Name {
        Name::from_ascii("version.bind.").unwrap()
    }

    #[test]
    fn an_answer_is_counted_and_measured() {
        let query = query();
        let mut message = reply(&query);
        message.add_answer(Record::from_rdata(
            owner(),
            0,
            RData::TXT(TXT::new(vec!["CoreDNS-1.14.7".into()])),
        ));
        message.add_answer(Record::from_rdata(owner(), 0, RData::A(A::new(192, 0, 2, 1))));
        message.add_authority(Record::from_rdata(owner(), 0, RData::A(A::new(192, 0, 2, 2))));
        message.metadata.truncation = true;
        let bytes = message.to_vec().unwrap();
        let answer = decode(&bytes, &query).unwrap();
        assert_eq!(
            (answer.rcode, answer.answers, answer.truncated),
            (Rcode::NOERROR, 2, true)
        );
        assert_eq!(answer.answer_bytes as usize, bytes.len());
        assert_eq!(answer.query_bytes as usize, query.bytes.len());
        assert_eq!((answer.nsid, answer.extended_errors), (None, vec![]));
    }

    #[test]
    fn addresses_of_the_type_asked_for_are_read_and_bounded() {
        let asked = DnsQuestion {
            name: "a.town".parse().unwrap(),
            qtype: QueryType::A,
            qclass: QueryClass::In,
            ..question(Some(1232))
        };
        let query = Query::encode(&asked).unwrap();
        let mut message = reply(&query);
        let six = RData::AAAA(hickory_proto::rr::rdata::AAAA::new(
            0x2001, 0xdb8, 0, 0, 0, 0, 0, 1,
        ));
        message.add_answer(Record::from_rdata(owner(), 0, six));
        for last in 1..=20 {
            message.add_answer(Record::from_rdata(owner(), 0, RData::A(A::new(192, 0, 2, last))));
        }
        let answer = decode(&message.to_vec().unwrap(), &query).unwrap();
        assert_eq!(answer.answers, 21);
        let kept: Vec<IpAddr> = (1..=16).map(|last| IpAddr::from([192, 0, 2, last])).collect();
        assert_eq!(answer.addresses, kept);
        let of_text = self::query();
        let text = decode(&reply(&of_text).to_vec().unwrap(), &of_text).unwrap();
        assert_eq!(text.addresses, Vec::<IpAddr>::new(), "nobody asked for addresses");
    }

    #[test]
    fn edns_gives_the_extended_code_the_identity_and_the_extended_errors() {
        let query = query();
        let mut message = reply(&query);
        message.metadata.response_code = ResponseCode::BADVERS; // 16: low bits 0, high bits 1
        let mut edns = Edns::new();
        edns.set_rcode_high(1);
        let options = edns.options_mut();
        options.insert(EdnsOption::NSID(NSIDPayload::new(&b"tsutsumi-4f2a"[..]).unwrap()));
        options.insert(EdnsOption::Unknown(15, vec![0, 18, b'n', b'o']));
        options.insert(EdnsOption::Unknown(10, vec![1; 8]));
        options.insert(EdnsOption::Unknown(15, vec![0, 6]));
        message.set_edns(edns);
        let answer = decode(&message.to_vec().unwrap(), &query).unwrap();
        assert_eq!(answer.rcode, Rcode(16));
        assert_eq!(answer.nsid.as_deref(), Some("tsutsumi-4f2a"));
        assert_eq!(answer.extended_errors, [18, 6]);
    }

    #[test]
    fn an_identity_that_could_spoil_a_terminal_comes_as_hexadecimal_and_bounded() {
        assert_eq!(printable(b"a\x1b[2J"), "611b5b324a");
        assert_eq!(printable("堤".as_bytes()), "e5a0a4");
        assert_eq!(printable(&[b'x'; 5000]).len(), LONGEST_NSID);
    }

    #[test]
    fn an_option_that_is_merely_echoed_is_no_identity() {
        let query = query();
        let mut message = reply(&query);
        let mut edns = Edns::new();
        edns.options_mut()
            .insert(EdnsOption::NSID(NSIDPayload::new([]).unwrap()));
        message.set_edns(edns);
        assert_eq!(decode(&message.to_vec().unwrap(), &query).unwrap().nsid, None);
    }

    #[test]
    fn what_answers_something_else_is_a_stray() {
        let query = query();
        let good = reply(&query).to_vec().unwrap();
        assert!(decode(&good, &query).is_ok());
        let spoilt = |at: usize, flip: u8| {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            decode(&bytes, &query)
        };
        let name_end = query.question_end - 4;
        for (what, at, flip) in [
            ("id", 1, 0xff),
            ("no response bit", 2, 0x80),
            ("opcode", 2, 0x08),
            ("question count", 5, 1),
            ("name", 14, 0x01),
            ("type", name_end + 1, 1),
            ("class", name_end + 3, 2),
        ] {
            assert_eq!(spoilt(at, flip), Err(NotAnAnswer::Stray), "{what}");
        }
        assert_eq!(
            decode(&good[..11], &query),
            Err(NotAnAnswer::Stray),
            "shorter than a header"
        );
        assert_eq!(
            decode(&query.bytes, &query),
            Err(NotAnAnswer::Stray),
            "the query itself"
        );
        assert!(spoilt(13, 0x20).is_ok(), "another case is the same name");
    }

    #[test]
    fn a_cut_message_is_broken_unless_it_says_so() {
        let query = query();
        let mut message = reply(&query);
        message.add_answer(Record::from_rdata(owner(), 0, RData::A(A::new(192, 0, 2, 1))));
        let whole = message.to_vec().unwrap();
        message.add_answer(Record::from_rdata(owner(), 0, RData::A(A::new(192, 0, 2, 2))));
        let mut cut = message.to_vec().unwrap();
        cut.truncate(whole.len() + 5);
        assert_eq!(decode(&cut, &query), Err(NotAnAnswer::Broken));
        cut[2] |= 0x02;
        let answer = decode(&cut, &query).unwrap();
        assert_eq!((answer.answers, answer.truncated), (1, true));
    }

    #[test]
    fn two_opt_records_contradict_each_other() {
        let query = query();
        let mut message = reply(&query);
        message.set_edns(Edns::new());
        let mut bytes = message.to_vec().unwrap();
        bytes.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        bytes[11] = 2;
        assert_eq!(decode(&bytes, &query), Err(NotAnAnswer::Broken));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = decode(&bytes, &query());
        }

        /// As above, but past the question, where the records are.
        #[test]
        fn random_records_never_panic(
            counts in any::<[u8; 6]>(),
            records in prop::collection::vec(any::<u8>(), 0..600),
            truncated: bool,
        ) {
            let query = query();
            let mut bytes = query.bytes[..query.question_end].to_vec();
            bytes[2] = 0x81 | (u8::from(truncated) << 1);
            bytes[6..12].copy_from_slice(&counts);
            bytes.extend_from_slice(&records);
            match decode(&bytes, &query) {
                Ok(answer) => prop_assert!(usize::from(answer.answers) * 11 <= records.len()),
                Err(why) => prop_assert_eq!((why, truncated), (NotAnAnswer::Broken, false)),
            }
        }
    }
}
