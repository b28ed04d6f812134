//! `dnstap tcp://ADDRESS:PORT full` in server blocks that forward the root: they tell a collector of ours what they are
//! asked, for as long as the policy watches.
//!
//! CoreDNS hands each message to a queue and drops what does not fit, so no answer waits for it; it dials again every ten
//! seconds (`plugin/dnstap/io.go`). Without `full` the question is not among what it tells (`handler.go`). Before 1.10.1
//! the last `dnstap` of a block is the only one that works, so there one of somebody else is left alone.

use super::super::ownership::Role;
use super::super::types::Note;
use super::lead::{root_of, serves_root};
use super::{Lines, Writer};
use crate::coredns::corefile::{Block, Directive};
use tsutsumi_model::Endpoint;

/// The port of our collector. It is ours alone in a server block that bears our mark.
pub const TAP_PORT: u16 = 8444;

/// The line of this block, if it gets one.
pub(super) fn tap(writer: &mut Writer<'_>, block: &Block, first: &mut Vec<(Role, Lines)>) {
    let Some(collector) = writer.desired.tap else {
        return;
    };
    if !serves_root(block) || root_of(block).is_none() {
        return;
    }
    let foreign = block.named("dnstap").next().is_some() || block.is_opaque();
    if foreign && !writer.capabilities.taps_twice() {
        writer.notes.push(Note::ForeignTap {
            block: block.keys().to_vec(),
        });
        return;
    }
    first.push((Role::Tap, vec![(0, words(collector).join(" "))]));
}

/// Whether the directive has the form of ours.
pub(in crate::coredns::harden) fn has_our_form(directive: &Directive) -> bool {
    let collector = directive
        .args()
        .first()
        .and_then(|to| to.strip_prefix("tcp://")?.parse::<std::net::SocketAddr>().ok());
    let words = collector.and_then(|socket| {
        let port = socket.port().try_into().ok()?;
        Some(words(Endpoint {
            address: socket.ip(),
            port,
        }))
    });
    collector.is_some_and(|socket| socket.port() == TAP_PORT) && words.as_ref() == Some(&directive.words())
}

fn words(collector: Endpoint) -> Vec<String> {
    ["dnstap", &format!("tcp://{collector}"), "full"]
        .map(str::to_owned)
        .to_vec()
}
