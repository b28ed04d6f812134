//! Answers as messages, never larger than they may be.

use hickory_proto::{
    ProtoError,
    op::{Edns, Message, OpCode, Query as Question},
};

use crate::{answer::Answer, query::Query};

/// The most that is sent over UDP: what passes every usual path in one piece.
pub const LARGEST_DATAGRAM: u16 = 1232;
/// What every asker takes (RFC 1035, 2.3.4).
const SMALLEST_LIMIT: u16 = 512;

/// How large the answer to this question over UDP may be.
#[must_use]
pub fn datagram_limit(query: &Query) -> usize {
    let offered = query.edns.map_or(SMALLEST_LIMIT, |offer| offer.size);
    usize::from(offered.clamp(SMALLEST_LIMIT, LARGEST_DATAGRAM))
}

/// The message of an answer; one that is larger than `limit` says so and holds no record (RFC 2181, 9).
///
/// # Errors
/// If it is no message at all, which no answer of ours brings about.
pub fn encode(query: &Query, answer: Answer, limit: usize) -> Result<Vec<u8>, ProtoError> {
    let mut message = Message::response(query.id, OpCode::Query);
    message.metadata.recursion_desired = query.recursion_desired;
    message.metadata.response_code = answer.code;
    // Neither refusals nor what is malformed is said with authority.
    message.metadata.authoritative = !answer.answers.is_empty() || !answer.authorities.is_empty();
    let mut question = Question::query(query.name.clone(), query.qtype);
    question.set_query_class(query.class);
    message.add_query(question);
    if query.edns.is_some() {
        let mut edns = Edns::new();
        edns.set_max_payload(LARGEST_DATAGRAM)
            .set_dnssec_ok(query.dnssec_ok);
        message.set_edns(edns);
    }
    message.add_answers(answer.answers);
    message.add_authorities(answer.authorities);
    let bytes = message.to_vec()?;
    if bytes.len() <= limit {
        return Ok(bytes);
    }
    message.answers.clear();
    message.authorities.clear();
    message.metadata.truncation = true;
    message.to_vec()
}
