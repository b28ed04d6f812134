//! One DNS question from one place, and what came back, in bytes on the wire.
//!
//! The codec is hickory's; everything else is this module's own, so that an error in the operator's prober cannot hide
//! behind the same error here.

use std::{
    fmt,
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream, UdpSocket},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result, ensure};
use hickory_proto::{
    op::{Edns, Message, Query, ResponseCode},
    rr::{
        DNSClass, Name, RecordType,
        rdata::opt::{EdnsCode, EdnsOption, NSIDPayload},
    },
};
use tsutsumi_model::Transport;

use crate::place::Place;

/// Both transports of plain DNS.
pub const TRANSPORTS: [Transport; 2] = [Transport::Udp, Transport::Tcp];
/// The name of the cluster's own API: answered by every healthy DNS pod without an upstream.
pub const API: &str = "kubernetes.default.svc.cluster.local";
/// A name with 120 addresses: its answer is larger than any that should travel over UDP.
pub const BIG: &str = "big.default.svc.cluster.local";

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// A question.
#[derive(Clone, Debug)]
pub struct Question {
    name: String,
    kind: RecordType,
    class: DNSClass,
    /// The size offered by EDNS; none for no EDNS.
    edns: Option<u16>,
    transport: Transport,
}

impl Question {
    /// For the IPv4 addresses of a name, over UDP, offering 1,232 bytes.
    #[must_use]
    pub fn a(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            name,
            kind: RecordType::A,
            class: DNSClass::IN,
            edns: Some(1232),
            transport: Transport::Udp,
        }
    }

    /// For [`BIG`], offering 4,096 bytes.
    #[must_use]
    pub fn big() -> Self {
        Self::a(BIG).offering(Some(4096))
    }

    /// For every type of a name (RFC 8482).
    #[must_use]
    pub fn any(name: impl Into<String>) -> Self {
        Self {
            kind: RecordType::ANY,
            ..Self::a(name)
        }
    }

    /// For the texts of a name.
    #[must_use]
    pub fn txt(name: impl Into<String>) -> Self {
        Self {
            kind: RecordType::TXT,
            ..Self::a(name)
        }
    }

    /// For the keys of the root.
    #[must_use]
    pub fn root_keys() -> Self {
        Self {
            kind: RecordType::DNSKEY,
            ..Self::a(".")
        }
    }

    /// For what the server calls its version.
    #[must_use]
    pub fn chaos() -> Self {
        Self {
            kind: RecordType::TXT,
            class: DNSClass::CH,
            ..Self::a("version.bind")
        }
    }

    /// Over this transport.
    #[must_use]
    pub fn over(self, transport: Transport) -> Self {
        Self { transport, ..self }
    }

    /// With EDNS of this size, or without.
    #[must_use]
    pub fn offering(self, edns: Option<u16>) -> Self {
        Self { edns, ..self }
    }

    /// The bytes that are sent, with this id.
    ///
    /// # Errors
    /// If the name is none.
    pub fn encode(&self, id: u16) -> Result<Vec<u8>> {
        let mut name = Name::from_ascii(&self.name).with_context(|| format!("`{}` is no name", self.name))?;
        name.set_fqdn(true);
        let mut query = Query::query(name, self.kind);
        query.set_query_class(self.class);
        let mut message = Message::query();
        message.metadata.id = id;
        message.metadata.recursion_desired = true;
        message.add_query(query);
        if let Some(size) = self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(size);
            edns.options_mut().insert(EdnsOption::NSID(NSIDPayload::new([])?));
            message.set_edns(edns);
        }
        Ok(message.to_vec()?)
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} {} over {}",
            self.name, self.class, self.kind, self.transport
        )
    }
}

/// What came back.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Answer {
    /// The response code.
    pub code: ResponseCode,
    /// The mark of an answer that was cut.
    pub truncated: bool,
    /// The size on the wire, without the length that precedes it over TCP.
    pub bytes: usize,
    /// Records in the answer section.
    pub records: usize,
    /// What the server calls itself (RFC 5001).
    pub nsid: Option<String>,
}

impl Answer {
    fn decode(bytes: &[u8]) -> Result<Self> {
        let message = Message::from_vec(bytes).context("reading a DNS answer")?;
        // CoreDNS before 1.15 echoes an option that nobody handles: an empty identity is none.
        let option = message.edns.as_ref().and_then(|edns| edns.option(EdnsCode::NSID));
        let nsid = match option {
            Some(EdnsOption::NSID(payload)) if !payload.as_ref().is_empty() => {
                Some(String::from_utf8_lossy(payload.as_ref()).into_owned())
            }
            _ => None,
        };
        Ok(Self {
            code: message.metadata.response_code,
            truncated: message.metadata.truncation,
            bytes: bytes.len(),
            records: message.answers.len(),
            nsid,
        })
    }
}

/// What a client saw: an answer, or nothing within its patience.
pub type Seen = Option<Answer>;

/// Asks once and waits two seconds at most.
///
/// # Errors
/// If the question cannot be asked at all: no such place, no such name. That nobody answers is no error.
pub fn ask(place: &Place, server: SocketAddr, question: &Question) -> Result<Seen> {
    let question = question.clone();
    place.run(move || ask_here(server, &question))
}

/// A name below `example.test`, which the cluster's upstream knows, that nobody has asked for before.
#[must_use]
pub fn fresh_name() -> String {
    fresh_below("example.test")
}

/// A name below a zone that nobody has asked for before.
#[must_use]
pub fn fresh_below(zone: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_millis();
    format!("fresh-{now}-{count}.{zone}")
}

fn ask_here(server: SocketAddr, question: &Question) -> Result<Seen> {
    static ID: AtomicU64 = AtomicU64::new(1);
    let [.., high, low] = ID.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let query = question.encode(u16::from_be_bytes([high, low]))?;
    let answer = match question.transport {
        Transport::Udp => over_udp(server, &query),
        Transport::Tcp => over_tcp(server, &query),
    };
    match answer {
        Ok(bytes) => {
            ensure!(
                bytes.get(..2) == query.get(..2),
                "{server} answered another question than {question}"
            );
            Answer::decode(&bytes).map(Some)
        }
        Err(error) if is_silence(error.kind()) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("asking {server} for {question}")),
    }
}

/// What a client sees when nobody answers it.
fn is_silence(kind: ErrorKind) -> bool {
    use ErrorKind::{
        ConnectionRefused, ConnectionReset, HostUnreachable, NetworkUnreachable, TimedOut, UnexpectedEof,
        WouldBlock,
    };
    matches!(
        kind,
        ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkUnreachable
            | TimedOut
            | UnexpectedEof
            | WouldBlock
    )
}

fn over_udp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.send(query)?;
    let mut buffer = vec![0; 65_535];
    let length = socket.recv(&mut buffer)?;
    buffer.truncate(length);
    Ok(buffer)
}

fn over_tcp(server: SocketAddr, query: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = u16::try_from(query.len()).map_err(|_| ErrorKind::InvalidInput)?;
    stream.write_all(&[&length.to_be_bytes()[..], query].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_measured_and_its_identity_read() {
        let mut message = Message::from_vec(&Question::a(API).encode(7).unwrap()).unwrap();
        message.metadata.truncation = true;
        message.metadata.response_code = ResponseCode::Refused;
        let mut edns = Edns::new();
        edns.options_mut()
            .insert(EdnsOption::NSID(NSIDPayload::new(*b"dyke").unwrap()));
        message.set_edns(edns);
        let bytes = message.to_vec().unwrap();
        let answer = Answer::decode(&bytes).unwrap();
        assert_eq!(
            (answer.code, answer.truncated, answer.bytes),
            (ResponseCode::Refused, true, bytes.len())
        );
        assert_eq!(answer.nsid.as_deref(), Some("dyke"));
    }

    #[test]
    fn fresh_names_differ() {
        assert_ne!(fresh_name(), fresh_name());
    }

    #[test]
    fn a_port_where_nobody_listens_is_silence() {
        let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        for transport in TRANSPORTS {
            assert_eq!(
                ask(&Place::node(), closed, &Question::a(API).over(transport)).unwrap(),
                None
            );
        }
    }
}
