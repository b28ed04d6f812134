//! A `forward` of ours in front of a foreign one: the first that fits takes the question, so what stands behind it stays
//! byte for byte and is not asked. It gets the options that every other one gets.
//!
//! `forward`s of a block hand on to each other in the order of the text (coredns `plugin/forward/setup.go`). What the
//! foreign one excepts goes on to those behind it, so ours has the same exceptions; any other name never got there.

use super::super::ownership::Role;
use super::super::types::{HardenError, Lead, Note, Root};
use super::forward::wanted;
use super::{Lines, Writer};
use crate::coredns::corefile::{Block, Corefile, Directive, Place};
use crate::coredns::forward::Forward;
use crate::coredns::hop::Encrypted;

/// Each probe zone, straight to its own server, in front of everything: so the zone sees what the upstreams see.
pub(super) fn probe(
    writer: &mut Writer<'_>,
    block: &Block,
    first: &mut Vec<(Role, Lines)>,
) -> Result<(), HardenError> {
    let forwards = || block.directives().iter().filter_map(Forward::of);
    if !serves_root(block) || !forwards().any(|forward| is_zone(forward.from, ".")) {
        return Ok(());
    }
    for Lead { zone, server } in writer.desired.probe.iter().flatten() {
        if !forwards().any(|forward| is_zone(forward.from, zone.as_str())) {
            let lines = stanza(writer, block, &format!("forward {zone} {server}"), Vec::new())?;
            first.push((Role::ProbeForward, lines));
        }
    }
    Ok(())
}

/// What is to be written, behind which word.
pub(super) type Placed = (usize, (Role, Lines));

/// The root, to the servers of the policy, right in front of the first `forward` of it: those of other zones that come
/// before still do. Comes with the word behind which it belongs; none where somebody leads there already.
pub(super) fn root(writer: &mut Writer<'_>, block: &Block) -> Result<Option<Placed>, HardenError> {
    let Some(wanted) = writer.desired.root.as_ref() else {
        return Ok(None);
    };
    let mut options = match wanted {
        Root::AsItIs => return Ok(None),
        Root::Servers(_) => Vec::new(),
        Root::Encrypted(encrypted) => encrypted.options().to_vec(),
    };
    let servers = wanted.targets();
    let Some((present, directive)) = root_of(block).filter(|_| serves_root(block)) else {
        return Ok(None);
    };
    let leads = match wanted {
        Root::Encrypted(encrypted) => Encrypted::of(&present).as_ref() == Some(encrypted),
        Root::AsItIs | Root::Servers(_) => servers == present.to,
    };
    if leads {
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
    let excepted = present.values("except");
    if !excepted.is_empty() {
        options.push(format!("except {}", excepted.join(" ")));
    }
    let head = format!("forward . {}", servers.join(" "));
    let lines = stanza(writer, block, &head, options)?;
    Ok(Some((before, (Role::RootForward, lines))))
}

/// Says so where no block leads to the servers of the policy.
pub(super) fn tell(writer: &mut Writer<'_>) {
    let servers = writer
        .desired
        .root
        .as_ref()
        .map(Root::targets)
        .unwrap_or_default();
    if !servers.is_empty() && !writer.leads {
        writer.notes.push(Note::NothingLeads {
            servers: servers.join(", "),
        });
    }
}

pub(super) fn root_of(block: &Block) -> Option<(Forward<'_>, &Directive)> {
    let read = |directive| Some((Forward::of(directive)?, directive));
    let mut forwards = block.directives().iter().filter_map(read);
    forwards.find(|(forward, _)| is_zone(forward.from, "."))
}

fn stanza(
    writer: &mut Writer<'_>,
    block: &Block,
    head: &str,
    own: Vec<String>,
) -> Result<Lines, HardenError> {
    let bare = Corefile::parse(&format!(". {{\n{head}\n}}\n")).map_err(HardenError::Syntax)?;
    let directives = bare.blocks().iter().flat_map(Block::directives);
    let further = directives
        .filter_map(Forward::of)
        .flat_map(|forward| wanted(writer, block, &forward));
    let options: Vec<_> = own.into_iter().chain(further).map(|option| (1, option)).collect();
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
pub(super) fn serves_root(block: &Block) -> bool {
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
