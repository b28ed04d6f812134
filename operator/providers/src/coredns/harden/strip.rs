//! Finds what is still as we wrote it and takes it out.

use super::ownership::{OwnedBlock, Ownership, Role, Stanza, Written};
use super::types::{Change, HardenError, Made};
use crate::coredns::corefile::{Block, Corefile, Directive, Place, Splice};
use crate::coredns::nsid::{self, Shown};
use std::ops::Range;

/// Something of ours, found in a text.
pub(crate) struct Live {
    pub(crate) block: usize,
    pub(crate) written: Written,
    pub(crate) lexemes: Range<usize>,
}

impl Live {
    pub(crate) fn change(&self, tree: &Corefile, made: Made) -> Change {
        let keys = tree.blocks().get(self.block).map(Block::keys).unwrap_or_default();
        Change::of(keys, &self.written, made)
    }
}

pub(crate) struct Stripped {
    /// The text without what was taken out.
    pub(crate) tree: Corefile,
    /// What was taken out, or found and kept for its role.
    pub(crate) live: Vec<Live>,
    /// What was found and kept, by index of the block.
    pub(crate) retained: Vec<(usize, OwnedBlock)>,
}

/// Takes out everything of ours whose role is wanted out.
pub(crate) fn strip(
    tree: &Corefile,
    ours: &Ownership,
    takes: impl Fn(Role) -> bool,
) -> Result<Stripped, HardenError> {
    let mut live = Vec::new();
    let mut retained = Vec::new();
    for (index, block) in tree.blocks().iter().enumerate() {
        let nth = nth_of(tree, index);
        let found = ours
            .of(block.keys(), nth)
            .map(|owned| find(block, owned))
            .unwrap_or_default();
        let (out, kept): (Vec<_>, Vec<_>) = found.into_iter().partition(|(written, _)| takes(written.role));
        if !kept.is_empty() {
            let written = kept.iter().map(|(written, _)| written.clone()).collect();
            retained.push((
                index,
                OwnedBlock {
                    keys: block.keys().to_vec(),
                    nth,
                    written,
                },
            ));
        }
        live.extend(out.into_iter().chain(kept).map(|(written, lexemes)| Live {
            block: index,
            written,
            lexemes,
        }));
    }
    let ranges: Vec<_> = live
        .iter()
        .filter(|live| takes(live.written.role))
        .filter_map(|live| bytes(tree, live))
        .collect();
    let splices = merged(ranges)
        .into_iter()
        .map(|at| Splice {
            at,
            text: String::new(),
        })
        .collect();
    let tree = tree.apply(splices).map_err(HardenError::Edit)?;
    Ok(Stripped { tree, live, retained })
}

/// How many blocks before this one have the same addresses.
pub(crate) fn nth_of(tree: &Corefile, index: usize) -> usize {
    let keys = tree.blocks()[index].keys();
    tree.blocks()[..index]
        .iter()
        .filter(|block| block.keys() == keys)
        .count()
}

/// How many stanzas before this directive have the same words before their braces.
pub(crate) fn stanza_of(block: &Block, index: usize) -> Stanza {
    let head = head(&block.directives()[index]);
    let nth = block.directives()[..index]
        .iter()
        .filter(|other| self::head(other) == head)
        .count();
    Stanza { head, nth }
}

fn head(directive: &Directive) -> Vec<String> {
    directive
        .tokens
        .iter()
        .map(|token| token.text.clone())
        .take_while(|word| word != "{")
        .collect()
}

fn find(block: &Block, owned: &OwnedBlock) -> Vec<(Written, Range<usize>)> {
    let mut found: Vec<(Written, Range<usize>)> = Vec::new();
    for written in &owned.written {
        let free = |lexemes: &Range<usize>| !found.iter().any(|(_, taken)| taken == lexemes);
        let here = |directive: &Directive| match directive.place() {
            Place::Here(lexemes) if free(&lexemes) => Some(lexemes),
            _ => None,
        };
        let same = |directive: &&Directive| {
            directive
                .tokens
                .iter()
                .map(|token| &token.text)
                .eq(&written.tokens)
        };
        let mut candidates = block.directives().iter();
        let lexemes = match (&written.stanza, written.role) {
            (Some(stanza), _) => stanza_lexemes(block, stanza, written, &free),
            // Whatever hash it carries: the form is ours alone.
            (None, Role::Nsid) => candidates
                .find(|directive| directive.name == "nsid" && is_ours(directive))
                .and_then(here),
            (None, Role::Acl) => candidates.rev().filter(same).find_map(here),
            (None, _) => candidates.filter(same).find_map(here),
        };
        found.extend(lexemes.map(|lexemes| (written.clone(), lexemes)));
    }
    drop_lone_braces(block, &mut found);
    found
}

pub(crate) fn is_ours(directive: &Directive) -> bool {
    matches!(nsid::shown(directive), Shown::Ours(_))
}

fn stanza_lexemes(
    block: &Block,
    stanza: &Stanza,
    written: &Written,
    free: &dyn Fn(&Range<usize>) -> bool,
) -> Option<Range<usize>> {
    let directive = block
        .directives()
        .iter()
        .filter(|directive| head(directive) == stanza.head)
        .nth(stanza.nth)?;
    let Place::Here(lexemes) = directive.place() else {
        return None;
    };
    if written.role == Role::ForwardBrace {
        let opening = directive.tokens.iter().position(|token| token.text == "{")?;
        let at = if written.tokens == ["{"] {
            lexemes.start + opening
        } else {
            lexemes.end - 1
        };
        return Some(at..at + 1);
    }
    directive
        .lines()
        .iter()
        .filter(|line| line.depth == 1)
        .find_map(|line| {
            let range = line.words.first()?.lexeme?..line.words.last()?.lexeme? + 1;
            (line.words.iter().map(|word| &word.text).eq(&written.tokens) && free(&range)).then_some(range)
        })
}

/// Braces of ours stay as long as somebody else's option needs them.
fn drop_lone_braces(block: &Block, found: &mut Vec<(Written, Range<usize>)>) {
    let needed: Vec<Range<usize>> = block
        .named("forward")
        .filter_map(|directive| match directive.place() {
            Place::Here(lexemes) => Some(lexemes),
            Place::Elsewhere => None,
        })
        .filter(|lexemes| {
            let braces = found
                .iter()
                .filter(|(written, at)| written.role == Role::ForwardBrace && lexemes.contains(&at.start));
            let opening = braces.map(|(_, at)| at.start).min();
            opening.is_none_or(|opening| {
                (opening..lexemes.end).any(|lexeme| !found.iter().any(|(_, range)| range.contains(&lexeme)))
            })
        })
        .collect();
    found.retain(|(written, at)| {
        written.role != Role::ForwardBrace || !needed.iter().any(|lexemes| lexemes.contains(&at.start))
    });
}

/// The words with the white space that came with them; if that was altered, their line.
fn bytes(tree: &Corefile, live: &Live) -> Option<Range<usize>> {
    let span = tree.span(&live.lexemes)?;
    let (lead, trail) = (&live.written.lead, &live.written.trail);
    let exact = tree.source()[..span.start].ends_with(lead.as_str())
        && tree.source()[span.end..].starts_with(trail.as_str())
        && !lead.is_empty();
    if exact {
        Some(span.start - lead.len()..span.end + trail.len())
    } else {
        tree.removal_of(&live.lexemes)
    }
}

fn merged(mut ranges: Vec<Range<usize>>) -> Vec<Range<usize>> {
    ranges.sort_by_key(|range| range.start);
    let mut merged: Vec<Range<usize>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
