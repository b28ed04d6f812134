//! Options of `forward`, each added only where nobody has set it.

use super::super::ownership::{Role, Written};
use super::super::strip::stanza_of;
use super::super::types::Note;
use super::Writer;
use crate::coredns::corefile::{Block, Corefile, Directive, Place, Splice};
use crate::coredns::forward::Forward;
use crate::coredns::version::Feature;
use std::ops::Range;

pub(crate) fn harden_forwards(writer: &mut Writer<'_>, block: &Block) {
    for (index, directive) in block.directives().iter().enumerate() {
        let Some(forward) = Forward::of(directive) else {
            continue;
        };
        if !forward.uses_udp() && writer.desired.forward.is_some_and(|wanted| wanted.fresh_ports) {
            writer.notes.push(Note::EncryptedForward {
                block: block.keys().to_vec(),
                from: forward.from.to_owned(),
            });
        }
        let options = wanted(writer, block, &forward);
        match directive.place() {
            _ if options.is_empty() => {}
            Place::Here(lexemes) => add(writer, block, index, &lexemes, &options),
            Place::Elsewhere => {
                let from = forward.from.to_owned();
                writer.notes.push(Note::ForwardElsewhere {
                    block: block.keys().to_vec(),
                    from,
                });
            }
        }
    }
}

pub(super) fn wanted(writer: &mut Writer<'_>, block: &Block, forward: &Forward<'_>) -> Vec<String> {
    let Some(wanted) = writer.desired.forward else {
        return Vec::new();
    };
    let mut options = Vec::new();
    let (keys, from) = (block.keys().to_vec(), forward.from.to_owned());
    match forward.value("expire") {
        _ if !wanted.fresh_ports || !forward.uses_udp() => {}
        Some(value)
            if value
                .iter()
                .all(|word| !word.contains(|c| ('1'..='9').contains(&c))) => {}
        Some(value) => writer.notes.push(Note::ForeignExpire {
            block: keys,
            from,
            value: value.join(" "),
        }),
        None => options.push("expire 0s".to_owned()),
    }
    if let Some(limit) = wanted.max_concurrent
        && !forward.has("max_concurrent")
        && writer.has(Feature::MaxConcurrent)
    {
        options.push(format!("max_concurrent {limit}"));
    }
    let failfast = "failfast_all_unhealthy_upstreams";
    if wanted.failfast && !forward.has(failfast) && writer.has(Feature::FailFast) {
        options.push(failfast.to_owned());
    }
    options
}

fn add(writer: &mut Writer<'_>, block: &Block, index: usize, lexemes: &Range<usize>, options: &[String]) {
    let directive = &block.directives()[index];
    let stanza = stanza_of(block, index);
    let opening = directive
        .tokens
        .iter()
        .position(|token| token.text == "{")
        .map(|at| lexemes.start + at);
    let anchor = opening.unwrap_or(lexemes.end - 1);
    let Some(insertion) = writer.tree.insertion_after(block, anchor) else {
        return;
    };
    let outer = &insertion.lead;
    let inner = inner_lead(writer.tree, directive, opening).map_or_else(
        || outer.clone() + if outer.ends_with('\t') { "\t" } else { "    " },
        |indent| outer.trim_end_matches([' ', '\t']).to_owned() + &indent,
    );
    let mut pieces: Vec<(Role, String, String)> = options
        .iter()
        .map(|option| (Role::ForwardOption, option.clone(), inner.clone()))
        .collect();
    let (at, trail) = if opening.is_some() {
        (insertion.at, insertion.trail)
    } else {
        pieces.insert(0, (Role::ForwardBrace, "{".to_owned(), " ".to_owned()));
        pieces.push((Role::ForwardBrace, "}".to_owned(), outer.clone()));
        let Some(end) = writer.tree.span(lexemes).map(|span| span.end) else {
            return;
        };
        (end, String::new())
    };
    let count = pieces.len();
    let mut text = String::new();
    for (index, (role, words, lead)) in pieces.into_iter().enumerate() {
        let trail = if index + 1 == count {
            trail.clone()
        } else {
            String::new()
        };
        text = text + &lead + &words + &trail;
        let tokens = words.split(' ').map(str::to_owned).collect();
        writer.written.push(Written {
            role,
            stanza: Some(stanza.clone()),
            tokens,
            lead,
            trail,
        });
    }
    writer.splices.push(Splice { at: at..at, text });
}

/// The indentation of the options that are there.
fn inner_lead(tree: &Corefile, directive: &Directive, opening: Option<usize>) -> Option<String> {
    let first = tree.lexemes().get(opening? + 1)?;
    let start = directive
        .tokens
        .iter()
        .any(|token| token.lexeme == opening.map(|at| at + 1))
        .then_some(first.span.start)?;
    let line = tree.source()[..start].rfind('\n').map_or(0, |at| at + 1);
    let indent = &tree.source()[line..start];
    (first.text != "}" && indent.chars().all(|c| c == ' ' || c == '\t')).then(|| indent.to_owned())
}
