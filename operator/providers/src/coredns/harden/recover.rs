//! When the record is lost: our `nsid` marks a server block as ours.
//!
//! Its last `acl`, if it has exactly our form, is then ours, for one is always written behind the others; the first
//! is ours if it is exactly the guard that follows from the last. A `dnstap` to our own port is ours. `bufsize` and options of `forward` cannot be told
//! from somebody else's and stay: that can only be stricter.

use super::merge::{self, Foreign, Ours};
use super::ownership::{OwnedBlock, Ownership, Role, Written};
use super::strip::{is_ours, nth_of};
use super::write::tap;
use crate::coredns::acl::{self, Action};
use crate::coredns::corefile::{Block, Corefile, Directive, Place};
use ipnet::IpNet;

/// The record, with an entry for every block that bears our mark.
pub(crate) fn completed(tree: &Corefile, ours: &Ownership) -> Ownership {
    let mut ours = ours.clone();
    for (index, block) in tree.blocks().iter().enumerate() {
        let nth = nth_of(tree, index);
        if ours.of(block.keys(), nth).is_none()
            && let Some(written) = marked(tree, block)
        {
            ours.blocks.push(OwnedBlock {
                keys: block.keys().to_vec(),
                nth,
                written,
            });
        }
    }
    ours
}

fn marked(tree: &Corefile, block: &Block) -> Option<Vec<Written>> {
    let mark = block
        .directives()
        .iter()
        .find(|directive| directive.name == "nsid" && is_ours(directive))?;
    let mut found = vec![(Role::Nsid, mark)];
    let taps = block
        .named("dnstap")
        .filter(|directive| tap::has_our_form(directive));
    found.extend(taps.map(|directive| (Role::Tap, directive)));
    let acls: Vec<_> = block.named("acl").collect();
    if let Some((tail, others)) = acls.split_last()
        && let Some(read) = tail_of(tail)
    {
        found.push((Role::Acl, *tail));
        found.extend(guard(block, others, &read).map(|guard| (Role::Guard, guard)));
    }
    Some(
        found
            .into_iter()
            .filter_map(|(role, directive)| written(tree, role, directive))
            .collect(),
    )
}

/// The first `acl` is our guard exactly if it is what our rules call for, given the other ones.
fn guard<'a>(block: &Block, acls: &[&'a Directive], tail: &Tail) -> Option<&'a Directive> {
    let (first, others) = acls.split_first()?;
    let rules = acl::of_directives(others.iter().copied()).ok()?;
    let foreign = Foreign {
        rules: &rules,
        opaque: block.is_opaque(),
    };
    let ours = Ours {
        allow: &tail.allow,
        denial: tail.denial,
        any_empty: tail.any_empty,
    };
    let guard = foreign.guard(&ours);
    let wanted = merge::lines(&guard);
    let wanted = wanted.iter().flat_map(|(_, line)| line.split(' '));
    let same = first.tokens.iter().map(|token| token.text.as_str()).eq(wanted);
    (same && !guard.is_empty()).then_some(*first)
}

fn written(tree: &Corefile, role: Role, directive: &Directive) -> Option<Written> {
    let Place::Here(lexemes) = directive.place() else {
        return None;
    };
    let before = &tree.source()[..tree.span(&lexemes)?.start];
    let indented = before.trim_end_matches([' ', '\t']).len();
    let line = before[..indented]
        .strip_suffix('\n')
        .map(|rest| rest.strip_suffix('\r').unwrap_or(rest).len());
    let lead = line.map(|start| before[start..].to_owned()).unwrap_or_default();
    Some(Written {
        role,
        stanza: None,
        tokens: directive.words(),
        lead,
        trail: String::new(),
    })
}

/// What our last `acl` says.
struct Tail {
    allow: Vec<IpNet>,
    denial: Action,
    any_empty: bool,
}

fn tail_of(directive: &Directive) -> Option<Tail> {
    let rules = acl::of_directives([directive]).ok()?;
    let [rule] = rules.as_slice() else { return None };
    let (any_empty, allow, last) = match rule.policies.as_slice() {
        [any, allow, last] if any.nets == allow.nets => (true, allow, last),
        [allow, last] => (false, allow, last),
        _ => return None,
    };
    let tail = Tail {
        allow: allow.nets.clone()?,
        denial: last.action,
        any_empty,
    };
    let ours = Ours {
        allow: &tail.allow,
        denial: tail.denial,
        any_empty,
    };
    let wanted = merge::lines(&merge::tail(&ours));
    let wanted = wanted.iter().flat_map(|(_, line)| line.split(' '));
    let same = directive
        .tokens
        .iter()
        .map(|token| token.text.as_str())
        .eq(wanted);
    (same && matches!(last.action, Action::Block | Action::Drop)).then_some(tail)
}
