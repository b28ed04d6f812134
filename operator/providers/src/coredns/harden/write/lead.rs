//! A `forward` of ours in front of a foreign one: the first that fits takes the question, so what stands behind it stays
//! byte for byte and is not asked. It gets the options that every other one gets.

use super::super::ownership::Role;
use super::super::types::{HardenError, Note, Probe, Root};
use super::forward::wanted;
use super::{Lines, Writer};
use crate::coredns::corefile::{Block, Corefile, Directive, Place};
use crate::coredns::forward::Forward;
use tsutsumi_model::Endpoint;

/// The probe zone, straight to its own server, in front of everything: so the zone sees what the upstreams see.
pub(super) fn probe(
    writer: &mut Writer<'_>,
    block: &Block,
    first: &mut Vec<(Role, Lines)>,
) -> Result<(), HardenError> {
    let Some(Probe::Server { zone, server }) = &writer.desired.probe else {
        return Ok(());
    };
    let mut forwards = block.directives().iter().filter_map(Forward::of);
    let taken = forwards
        .clone()
        .any(|forward| is_zone(forward.from, zone.as_str()));
    if !taken && forwards.any(|forward| is_zone(forward.from, ".")) && serves_root(block) {
        let lines = stanza(writer, block, &format!("forward {zone} {server}"))?;
        first.push((Role::ProbeForward, lines));
    }
    Ok(())
}

/// What is to be written, behind which word.
pub(super) type Placed = (usize, (Role, Lines));

/// The root, to the servers of the policy, right in front of the first `forward` of it: those of other zones that come
/// before still do. Comes with the word behind which it belongs; none where somebody leads there already.
pub(super) fn root(writer: &mut Writer<'_>, block: &Block) -> Result<Option<Placed>, HardenError> {
    let Some(Root::Servers(servers)) = &writer.desired.root else {
        return Ok(None);
    };
    let Some((present, directive)) = root_of(block).filter(|_| serves_root(block)) else {
        return Ok(None);
    };
    let servers: Vec<String> = servers.iter().map(Endpoint::to_string).collect();
    if servers == present.to {
        writer.leads = true;
        return Ok(None);
    }
    let before = match directive.place() {
        Place::Here(lexemes) => lexemes.start.checked_sub(1),
        Place::Elsewhere => None,
    };
    let Some(before) = before else {
        writer.notes.push(Note::ForwardElsewhere {
            block: block.keys().to_vec(),
            from: present.from.to_owned(),
        });
        return Ok(None);
    };
    writer.leads = true;
    let lines = stanza(writer, block, &format!("forward . {}", servers.join(" ")))?;
    Ok(Some((before, (Role::RootForward, lines))))
}

/// Says so where no block leads to the servers of the policy.
pub(super) fn tell(writer: &mut Writer<'_>) {
    if let Some(Root::Servers(servers)) = &writer.desired.root
        && !writer.leads
    {
        let servers: Vec<String> = servers.iter().map(Endpoint::to_string).collect();
        writer.notes.push(Note::NothingLeads {
            servers: servers.join(", "),
        });
    }
}

fn root_of(block: &Block) -> Option<(Forward<'_>, &Directive)> {
    let read = |directive| Some((Forward::of(directive)?, directive));
    let mut forwards = block.directives().iter().filter_map(read);
    forwards.find(|(forward, _)| is_zone(forward.from, "."))
}

fn stanza(writer: &mut Writer<'_>, block: &Block, head: &str) -> Result<Lines, HardenError> {
    let bare = Corefile::parse(&format!(". {{\n{head}\n}}\n")).map_err(HardenError::Syntax)?;
    let directives = bare.blocks().iter().flat_map(Block::directives);
    let options: Vec<_> = directives
        .filter_map(Forward::of)
        .flat_map(|forward| wanted(writer, block, &forward))
        .map(|option| (1, option))
        .collect();
    Ok(if options.is_empty() {
        vec![(0, head.to_owned())]
    } else {
        [
            vec![(0, format!("{head} {{"))],
            options,
            vec![(0, "}".to_owned())],
        ]
        .concat()
    })
}

/// Whether a server block answers for every name over plain DNS.
fn serves_root(block: &Block) -> bool {
    block.keys().iter().any(|key| {
        let key = key.strip_prefix("dns://").unwrap_or(key);
        key == "."
            || key
                .strip_prefix(".:")
                .is_some_and(|port| port.parse::<u16>().is_ok())
    })
}

/// Whether both name the same zone, with or without the final dot.
fn is_zone(one: &str, other: &str) -> bool {
    let plain = |name: &str| name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    plain(one) == plain(other)
}
