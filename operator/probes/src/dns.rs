//! One DNS question, asked once over a socket of its own, measured in bytes on the wire.
//!
//! What carries another id, another question or no response bit is not an answer: the wait goes on until the probe's
//! time is over. The size an answer's OPT record claims is never looked at, since it says what the server accepts and
//! not what it sends.

mod decode;
mod root;

use std::{io, time::Duration};

use hickory_proto::{
    ProtoError,
    op::{Edns, Message, Query as Question},
    rr::{
        DNSClass, Name, RecordType,
        rdata::opt::{EdnsOption, NSIDPayload},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};
use tsutsumi_model::{
    DnsAnswer, DnsQuestion, DomainName, Failure, QueryClass, QueryType, RootAnswer, RootQuestion, RootWanted,
    Transport, Validator,
};

use self::decode::{NotAnAnswer, decode};
use crate::egress::Pass;

/// The largest datagram and the largest message over TCP: nothing that arrives is cut by us.
const LARGEST_MESSAGE: usize = 65_535;

/// What is offered where answers are read, in bytes: no fragments.
const UNFRAGMENTED: u16 = 1232;

/// Asks the question once.
pub(crate) async fn ask(question: &DnsQuestion, pass: &Pass<'_>) -> Result<DnsAnswer, Failure> {
    let query = Query::encode(question).map_err(|error| {
        tracing::warn!(%error, name = %question.name, "cannot encode a DNS query");
        Failure::Malformed
    })?;
    exchange(&query, question.transport, pass, decode).await
}

/// Asks about the root, once.
pub(crate) async fn ask_root(question: &RootQuestion, pass: &Pass<'_>) -> Result<RootAnswer, Failure> {
    let query = Query::about_root(&question.wanted).map_err(|error| {
        tracing::warn!(%error, wanted = %question.wanted, "cannot encode a DNS query");
        Failure::Malformed
    })?;
    exchange(&query, question.wanted.transport(), pass, root::read).await
}

/// How an answer is read.
type Read<T> = fn(&[u8], &Query) -> Result<T, NotAnAnswer>;

async fn exchange<T>(
    query: &Query,
    transport: Transport,
    pass: &Pass<'_>,
    read: Read<T>,
) -> Result<T, Failure> {
    let mut signs = Signs::default();
    let exchange = async {
        match transport {
            Transport::Udp => over_udp(query, pass, &mut signs, read).await,
            Transport::Tcp => over_tcp(query, pass, &mut signs, read).await,
        }
    };
    let outcome = within(pass.patience(), exchange).await;
    match outcome {
        Err(Failure::Timeout | Failure::Closed) if signs.strays > 0 => {
            tracing::debug!(strays = signs.strays, "messages came, none of them an answer");
            Err(Failure::Malformed)
        }
        Err(Failure::Timeout) if signs.connected => Err(Failure::Unanswered),
        outcome => outcome,
    }
}

/// What was seen of the server beside an answer.
#[derive(Default)]
struct Signs {
    /// It took the connection.
    connected: bool,
    /// How many messages came that were no answer.
    strays: u32,
}

/// The class of a socket's error; its text goes no further than the log.
pub(crate) fn failure(error: &io::Error) -> Failure {
    tracing::debug!(%error, "exchange failed");
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::ConnectionRefused,
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Failure::Closed,
        io::ErrorKind::TimedOut => Failure::Timeout,
        _ => Failure::Unreachable,
    }
}

async fn within<T>(
    patience: Duration,
    exchange: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    timeout(patience, exchange).await.unwrap_or(Err(Failure::Timeout))
}

async fn over_udp<T>(query: &Query, pass: &Pass<'_>, signs: &mut Signs, read: Read<T>) -> Result<T, Failure> {
    let socket = pass.udp().await.map_err(|error| failure(&error))?;
    socket.send(&query.bytes).await.map_err(|error| failure(&error))?;
    let mut buffer = vec![0; LARGEST_MESSAGE];
    loop {
        let length = socket.recv(&mut buffer).await.map_err(|error| failure(&error))?;
        match read(&buffer[..length], query) {
            Ok(answer) => return Ok(answer),
            Err(NotAnAnswer::Broken) => return Err(Failure::Malformed),
            Err(NotAnAnswer::Stray) => signs.strays = signs.strays.saturating_add(1),
        }
    }
}

async fn over_tcp<T>(query: &Query, pass: &Pass<'_>, signs: &mut Signs, read: Read<T>) -> Result<T, Failure> {
    let mut stream = pass.connect().await.map_err(|error| failure(&error))?;
    signs.connected = true;
    let length = u16::try_from(query.bytes.len()).map_err(|_| Failure::Malformed)?;
    let framed = [&length.to_be_bytes()[..], &query.bytes].concat();
    stream.write_all(&framed).await.map_err(|error| failure(&error))?;
    loop {
        let length = stream.read_u16().await.map_err(|error| failure(&error))?;
        let mut message = vec![0; length.into()];
        stream
            .read_exact(&mut message)
            .await
            .map_err(|error| failure(&error))?;
        match read(&message, query) {
            Ok(answer) => return Ok(answer),
            Err(NotAnAnswer::Broken) => return Err(Failure::Malformed),
            Err(NotAnAnswer::Stray) => signs.strays = signs.strays.saturating_add(1),
        }
    }
}

/// A query as it goes out.
struct Query {
    bytes: Vec<u8>,
    /// Where the question section ends.
    question_end: usize,
}

impl Query {
    fn encode(question: &DnsQuestion) -> Result<Self, ProtoError> {
        let qtype = match question.qtype {
            QueryType::A => RecordType::A,
            QueryType::Aaaa => RecordType::AAAA,
            QueryType::Any => RecordType::ANY,
            QueryType::Dnskey => RecordType::DNSKEY,
            QueryType::Txt => RecordType::TXT,
        };
        let mut wanted = Question::query(wire(&question.name)?, qtype);
        wanted.set_query_class(match question.qclass {
            QueryClass::In => DNSClass::IN,
            QueryClass::Ch => DNSClass::CH,
        });
        Self::of(wanted, question.edns, question.validator)
    }

    /// As a validating client asks.
    fn about_root(wanted: &RootWanted) -> Result<Self, ProtoError> {
        let (name, qtype) = match wanted {
            RootWanted::Servers => (Name::root(), RecordType::NS),
            RootWanted::Keys => (Name::root(), RecordType::DNSKEY),
            RootWanted::V4(name) => (wire(name)?, RecordType::A),
            RootWanted::V6(name) => (wire(name)?, RecordType::AAAA),
        };
        Self::of(
            Question::query(name, qtype),
            Some(UNFRAGMENTED),
            Some(Validator::Server),
        )
    }

    /// A random id, RD set, what the validator wants, and with EDNS an empty NSID option (RFC 5001, 2.1).
    fn of(wanted: Question, edns: Option<u16>, validator: Option<Validator>) -> Result<Self, ProtoError> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.metadata.authentic_data = validator == Some(Validator::Server);
        message.metadata.checking_disabled = validator == Some(Validator::Asker);
        message.add_query(wanted);
        let question_end = message.to_vec()?.len();
        if let Some(size) = edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            edns.options_mut().insert(EdnsOption::NSID(NSIDPayload::new([])?));
            edns.set_dnssec_ok(validator.is_some());
            message.set_edns(edns);
        }
        Ok(Self {
            bytes: message.to_vec()?,
            question_end,
        })
    }
}

fn wire(name: &DomainName) -> Result<Name, ProtoError> {
    let mut name = Name::from_ascii(name.as_str())?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn question(edns: Option<u16>) -> DnsQuestion {
        DnsQuestion {
            server: tsutsumi_model::Endpoint {
                address: "192.0.2.1".parse().unwrap(),
                port: tsutsumi_model::Port::new(53).unwrap(),
            },
            transport: Transport::Udp,
            name: "version.bind".parse().unwrap(),
            qtype: QueryType::Txt,
            qclass: QueryClass::Ch,
            edns,
            validator: None,
        }
    }

    #[test]
    fn a_query_without_edns_is_header_and_question_alone() {
        let query = Query::encode(&question(None)).unwrap();
        assert_eq!(
            &query.bytes[2..12],
            [1, 0, 0, 1, 0, 0, 0, 0, 0, 0],
            "RD alone, one question"
        );
        assert_eq!(
            &query.bytes[12..],
            b"\x07version\x04bind\0\0\x10\0\x03",
            "TXT 16, CH 3"
        );
        assert_eq!(query.question_end, query.bytes.len());
    }

    #[test]
    fn edns_offers_its_size_and_asks_for_nsid() {
        let query = Query::encode(&question(Some(4096))).unwrap();
        let opt = &query.bytes[query.question_end..];
        assert_eq!(opt, [0, 0, 41, 0x10, 0, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0]);
    }

    #[test]
    fn who_validates_stands_in_the_header_and_in_edns() {
        for (validator, flags, dnssec_ok) in [
            (None, [1, 0], 0),
            (Some(Validator::Server), [1, 0x20], 0x80),
            (Some(Validator::Asker), [1, 0x10], 0x80),
        ] {
            let asked = DnsQuestion {
                validator,
                ..question(Some(1232))
            };
            let query = Query::encode(&asked).unwrap();
            assert_eq!(
                query.bytes[2..4],
                flags,
                "{validator:?}: RD, AD, CD (RFC 4035, 3.1.6 and 3.2.2)"
            );
            assert_eq!(
                query.bytes[query.question_end + 7],
                dnssec_ok,
                "{validator:?}: DO (RFC 3225)"
            );
        }
    }

    #[test]
    fn a_size_below_512_is_offered_as_512_which_is_what_it_means() {
        let query = Query::encode(&question(Some(256))).unwrap(); // RFC 6891, 6.2.3
        assert_eq!(&query.bytes[query.question_end + 3..][..2], 512u16.to_be_bytes());
    }

    #[test]
    fn ids_differ() {
        let ids: std::collections::BTreeSet<_> = (0..64)
            .map(|_| Query::encode(&question(None)).unwrap().bytes[..2].to_vec())
            .collect();
        assert!(ids.len() > 32, "{ids:?}");
    }
}
