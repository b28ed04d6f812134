//! What a probe zone tells of the questions that reached it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::{Mark, Transport};

/// One question with a good mark, as it came in.
#[expect(
    clippy::struct_excessive_bools,
    reason = "these are the bits of a message's header"
)]
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrival {
    /// When, in milliseconds of Unix time, by the zone's clock.
    pub at: u64,
    /// The sender's address and port, as they arrived.
    pub from: SocketAddr,
    /// Over which transport.
    pub transport: Transport,
    /// The message's id.
    pub id: u16,
    /// What the name says.
    pub mark: Mark,
    /// Whether letters of both cases stand in the marked label: a resolver that mixes them (0x20).
    pub mixed_case: bool,
    /// The type, as the number of the registry.
    pub qtype: u16,
    /// The EDNS message size offered, in bytes; absent means no EDNS.
    pub edns: Option<u16>,
    /// The DO bit: signatures are wanted (RFC 3225).
    pub dnssec_ok: bool,
    /// The CD bit: the asker checks itself (RFC 4035, 3.2.2).
    pub checking_disabled: bool,
    /// The RD bit, which a resolver does not set towards an authority.
    pub recursion_desired: bool,
    /// The size of the question, in bytes of DNS message.
    pub query_bytes: u16,
}

/// Every question of one sample that a zone still remembers, in the order in which they came.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Arrivals {
    /// The questions.
    pub arrivals: Vec<Arrival>,
    /// Questions of this sample that came after the bound on what is remembered was reached.
    pub forgotten: u64,
    /// Since the zone started: questions whose mark was over, which are replays.
    pub expired: u64,
    /// Since the zone started: questions below the zone with a wrong mark or none.
    pub unmarked: u64,
}
