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
    let splices: Vec<_> = live
        .iter()
        .filter(|live| takes(live.written.role))
        .filter_map(|live| removal(tree, live))
        .collect();
    let tree = tree.apply(merged(splices)).map_err(HardenError::Edit)?;
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

/// The words go with the white space that came with them; if that was altered, with their line. Comments that somebody
/// put between them stay, each on a line of its own.
fn removal(tree: &Corefile, live: &Live) -> Option<Splice> {
    let span = tree.span(&live.lexemes)?;
    let (source, comments) = (tree.source(), comments(tree, &live.lexemes));
    let (lead, trail) = (live.written.lead.as_str(), live.written.trail.as_str());
    let exact =
        source[..span.start].ends_with(lead) && source[span.end..].starts_with(trail) && !lead.is_empty();
    let (at, mut text) = if exact {
        let text = comments.iter().flat_map(|comment| [lead, comment]).collect();
        (span.start - lead.len()..span.end + trail.len(), text)
    } else {
        let at = tree.removal_of(&live.lexemes)?;
        let indent = &source[at.start..span.start];
        (
            at,
            comments
                .iter()
                .flat_map(|comment| [indent, comment, "\n"])
                .collect::<String>(),
        )
    };
    if exact && !comments.is_empty() {
        let ends = source[at.end..].is_empty() || source[at.end..].starts_with(['\r', '\n']);
        text.push_str(if ends { "" } else { lead });
    }
    Some(Splice { at, text })
}

/// The comments between the words.
fn comments<'a>(tree: &'a Corefile, lexemes: &Range<usize>) -> Vec<&'a str> {
    let words = tree.lexemes().get(lexemes.clone()).unwrap_or_default();
    words
        .windows(2)
        .flat_map(|pair| tree.source()[pair[0].span.end..pair[1].span.start].lines())
        .filter_map(|line| line.find('#').map(|at| line[at..].trim_end()))
        .collect()
}

fn merged(mut splices: Vec<Splice>) -> Vec<Splice> {
    splices.sort_by_key(|splice| splice.at.start);
    let mut merged: Vec<Splice> = Vec::new();
    for splice in splices {
        match merged.last_mut() {
            Some(last) if splice.at.start <= last.at.end => {
                last.at.end = last.at.end.max(splice.at.end);
                last.text.push_str(&splice.text);
            }
            _ => merged.push(splice),
        }
    }
    merged
}
