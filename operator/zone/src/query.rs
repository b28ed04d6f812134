//! What one message from the network asks, read without trust.
//!
//! The header is held against its bounds before anything is decoded, so that no count in it costs memory. Whatever
//! cannot be answered as a question either gets a header alone, shorter than what came, or nothing.

use hickory_proto::{
    op::{Message, OpCode, Query as Question},
    rr::{DNSClass, Name, RecordType},
};

/// A header without anything (RFC 1035, 4.1.1).
const HEADER: usize = 12;
/// An OPT record and a signature or cookie of a kind we do not know; no asker of ours sends more.
const MOST_ADDITIONAL: u16 = 2;
const FORMAT_ERROR: u8 = 1;
const NOT_IMPLEMENTED: u8 = 4;

/// One question as it came in.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Query {
    /// The message's id.
    pub id: u16,
    /// The name, in the letters that came.
    pub name: Name,
    /// The type.
    pub qtype: RecordType,
    /// The class.
    pub class: DNSClass,
    /// EDNS version and offered size; absent means no EDNS.
    pub edns: Option<Offer>,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// The CD bit.
    pub checking_disabled: bool,
    /// The RD bit.
    pub recursion_desired: bool,
    /// The size of the message.
    pub bytes: u16,
}

/// What an OPT record says (RFC 6891).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Offer {
    /// The EDNS version.
    pub version: u8,
    /// The largest message over UDP; less than 512 counts as 512.
    pub size: u16,
}

/// The message is no question that can be answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unanswerable {
    /// It is a response, or too short to be anything: no answer.
    Silence,
    /// An answer of a header alone.
    Header([u8; HEADER]),
}

impl Query {
    /// Reads one message.
    ///
    /// # Errors
    /// If it is no standard query with one question.
    pub fn read(message: &[u8]) -> Result<Self, Unanswerable> {
        let header = message.first_chunk::<HEADER>().ok_or(Unanswerable::Silence)?;
        let bytes = u16::try_from(message.len()).map_err(|_| Unanswerable::Silence)?;
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if header[2] & 0x80 != 0 {
            return Err(Unanswerable::Silence);
        }
        if header[2] & 0x78 != 0 {
            return Err(refusal(header, NOT_IMPLEMENTED));
        }
        let malformed = refusal(header, FORMAT_ERROR);
        let [questions, answers, authorities, additional] = [4, 6, 8, 10].map(count);
        if questions != 1 || answers != 0 || authorities != 0 || additional > MOST_ADDITIONAL {
            return Err(malformed);
        }
        let message = Message::from_vec(message).map_err(|_| malformed)?;
        let question: &Question = message.queries.first().ok_or(malformed)?;
        debug_assert_eq!(message.metadata.op_code, OpCode::Query);
        let edns = message.edns.as_ref();
        Ok(Self {
            id: message.metadata.id,
            name: question.name.clone(),
            qtype: question.query_type,
            class: question.query_class,
            edns: edns.map(|edns| Offer {
                version: edns.version(),
                size: edns.max_payload(),
            }),
            dnssec_ok: edns.is_some_and(|edns| edns.flags().dnssec_ok),
            checking_disabled: message.metadata.checking_disabled,
            recursion_desired: message.metadata.recursion_desired,
            bytes,
        })
    }
}

/// The header that came, as a response with this code: id, opcode and RD stay (RFC 1035, 4.1.1), counts are none.
fn refusal(header: &[u8; HEADER], code: u8) -> Unanswerable {
    let mut answer = [0; HEADER];
    answer[0] = header[0];
    answer[1] = header[1];
    answer[2] = 0x80 | (header[2] & 0x79);
    answer[3] = code;
    Unanswerable::Header(answer)
}
