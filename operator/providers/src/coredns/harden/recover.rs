//! When the record is lost: our `nsid` marks a server block as ours, and what stands beside it in exactly the form
//! that we write is taken for ours too. Options of `forward` cannot be told from somebody else's and stay.

use super::ownership::{OwnedBlock, Ownership, Role, Written};
use super::strip::{is_ours, nth_of};
use crate::coredns::corefile::{Block, Corefile, Directive, Place};

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
    let directives = block.directives();
    let mark = directives
        .iter()
        .position(|directive| directive.name == "nsid" && is_ours(directive))?;
    let mut found = vec![(Role::Nsid, &directives[mark])];
    let mut next = directives[mark + 1..].iter().peekable();
    if let Some(bufsize) =
        next.next_if(|directive| directive.name == "bufsize" && directive.args().len() == 1)
    {
        found.push((Role::BufSize, bufsize));
    }
    if let Some(guard) = next.next_if(|directive| is_guard(directive)) {
        found.push((Role::Guard, guard));
    }
    let last_acl = block.named("acl").last().filter(|directive| is_tail(directive));
    found.extend(last_acl.map(|acl| (Role::Acl, acl)));
    Some(
        found
            .into_iter()
            .filter_map(|(role, directive)| written(tree, role, directive))
            .collect(),
    )
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

/// The lines inside the braces, as words.
fn body(directive: &Directive) -> Option<Vec<Vec<&str>>> {
    let lines = directive.lines();
    let (head, body) = lines.split_first()?;
    let alone = directive.name == "acl" && head.words.len() == 1 && body.iter().all(|line| line.depth == 1);
    alone.then(|| {
        body.iter()
            .map(|line| line.words.iter().map(|word| word.text.as_str()).collect())
            .collect()
    })
}

fn is_guard(directive: &Directive) -> bool {
    let Some(lines) = body(directive) else {
        return false;
    };
    let shaped = |line: &Vec<&str>| {
        matches!(
            line.as_slice(),
            ["block" | "drop", "net", _, ..] | ["filter", "type", "ANY", "net", _, ..]
        )
    };
    (1..=2).contains(&lines.len()) && lines.iter().all(shaped)
}

fn is_tail(directive: &Directive) -> bool {
    let Some(lines) = body(directive) else {
        return false;
    };
    let lines: Vec<&[&str]> = lines.iter().map(Vec::as_slice).collect();
    match lines.as_slice() {
        [
            ["filter", "type", "ANY", "net", filtered @ ..],
            ["allow", "net", allowed @ ..],
            ["block" | "drop"],
        ] => filtered == allowed,
        [["allow", "net", ..], ["block" | "drop"]] => true,
        _ => false,
    }
}
