//! Adds our directives to a Corefile that has none of ours.

use super::merge::{self, Foreign, Ours};
use super::ownership::{OwnedBlock, Ownership, Role, Written};
use super::strip::nth_of;
use super::types::{Clients, Desired, HardenError, Note, Others};
use crate::coredns::acl::{self, Action};
use crate::coredns::addresses::AddressSet;
use crate::coredns::bufsize;
use crate::coredns::corefile::{Block, Corefile, Place, Splice};
use crate::coredns::nsid::{self, Nsid};
use crate::coredns::version::{Capabilities, Feature};
use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr};

mod forward;
mod lead;
pub(super) mod tap;
use forward::harden_forwards;

pub(crate) struct Output {
    pub(crate) text: String,
    pub(crate) ownership: Ownership,
    pub(crate) notes: Vec<Note>,
}

type Lines = Vec<(usize, String)>;

/// What is being added, block by block.
pub(super) struct Writer<'a> {
    tree: &'a Corefile,
    desired: &'a Desired,
    capabilities: Capabilities,
    splices: Vec<Splice>,
    written: Vec<Written>,
    notes: Vec<Note>,
    /// Whether some block leads the root where it should.
    leads: bool,
}

pub(crate) fn write(
    tree: &Corefile,
    desired: &Desired,
    capabilities: Capabilities,
) -> Result<Output, HardenError> {
    let mut writer = Writer {
        tree,
        desired,
        capabilities,
        splices: Vec::new(),
        written: Vec::new(),
        notes: Vec::new(),
        leads: false,
    };
    for import in tree.imports().iter().filter(|import| import.is_opaque()) {
        writer.notes.push(Note::OpaqueBlocks {
            pattern: import.pattern.clone(),
        });
    }
    let mut blocks = Vec::new();
    for (index, block) in tree.blocks().iter().enumerate() {
        writer.block(block)?;
        let written = std::mem::take(&mut writer.written);
        if !written.is_empty() {
            blocks.push(OwnedBlock {
                keys: block.keys().to_vec(),
                nth: nth_of(tree, index),
                written,
            });
        }
    }
    lead::tell(&mut writer);
    let text = tree.splice(writer.splices).map_err(HardenError::Edit)?;
    Ok(Output {
        text,
        ownership: Ownership { blocks },
        notes: deduplicated(writer.notes),
    })
}

/// Ranges in their shortest form, and the action for everybody else.
pub(crate) fn clients(
    clients: &Clients,
    capabilities: Capabilities,
    notes: &mut Vec<Note>,
) -> Result<(Vec<IpNet>, Action), HardenError> {
    let allow = AddressSet::of(&clients.allow).to_nets();
    if allow.is_empty() {
        return Err(HardenError::NoClients);
    }
    let denial = match clients.others {
        Others::Drop if !capabilities.has(Feature::AclDrop) => {
            notes.push(Note::Lacks {
                feature: Feature::AclDrop,
            });
            Action::Block
        }
        others => others.into(),
    };
    Ok((allow, denial))
}

impl Writer<'_> {
    fn block(&mut self, block: &Block) -> Result<(), HardenError> {
        let keys = || block.keys().to_vec();
        let Some(opening) = block.opening() else {
            self.notes.push(Note::BlockElsewhere { block: keys() });
            return Ok(());
        };
        for import in block.imports().iter().filter(|import| import.is_opaque()) {
            self.notes.push(Note::OpaqueImport {
                block: keys(),
                pattern: import.pattern.clone(),
            });
        }
        for directive in block.directives() {
            if directive.is_opaque() {
                self.notes.push(Note::OpaqueDirective {
                    block: keys(),
                    name: directive.name.clone(),
                });
            }
            if self.desired.clients.is_some() && self.capabilities.answers_before_acl(&directive.name) {
                self.notes.push(Note::AnswersBeforeAcl {
                    block: keys(),
                    directive: directive.name.clone(),
                });
            }
        }
        let mut first: Vec<(Role, Lines)> = Vec::new();
        let mut last: Vec<(Role, Lines)> = Vec::new();
        if nsid::of(block).is_some() {
            self.notes.push(Note::ForeignNsid { block: keys() });
        } else if self.has(Feature::Nsid) {
            first.push((Role::Nsid, vec![(0, format!("nsid {}", Nsid::BLANK))]));
        }
        // Before all that may have to stay where it is: this one comes and goes.
        tap::tap(self, block, &mut first);
        self.acl(block, &mut first, &mut last)?;
        let behind = last_foreign(block);
        if behind.is_none() {
            first.append(&mut last);
        }
        // Behind the rest: a `bufsize` cannot be recovered, so taking out the others must leave it in its place.
        self.bufsize(block, &mut first, &mut last);
        // Last of all: its address may be unknown for a while, and then it has to stay where it is.
        lead::probe(self, block, &mut first)?;
        let mut root = None;
        match lead::root(self, block)? {
            Some((at, ours)) if at == opening => first.push(ours),
            Some((at, ours)) if Some(at) == behind => last.push(ours),
            other => root = other,
        }
        self.insert(block, opening, first);
        if let Some(lexeme) = behind {
            self.insert(block, lexeme, last);
        }
        harden_forwards(self, block);
        if let Some((lexeme, ours)) = root {
            // Behind the braces that the `forward` before it may just have got.
            self.insert(block, lexeme, vec![ours]);
        }
        Ok(())
    }

    fn bufsize(&mut self, block: &Block, first: &mut Vec<(Role, Lines)>, last: &mut Vec<(Role, Lines)>) {
        let Some(wanted) = self.desired.max_message_bytes else {
            return;
        };
        if !self.has(Feature::BufSize) {
            return;
        }
        let ours = (Role::BufSize, vec![(0, format!("bufsize {wanted}"))]);
        let present = bufsize::of(block).map(|size| size.bytes(self.capabilities));
        match present {
            Some(Some(size)) if size <= wanted.bytes() => {}
            // The first one counts: in front, ours takes effect and the foreign one stays.
            Some(Some(_)) | None if !block.is_opaque() => first.push(ours),
            present => {
                self.notes.push(Note::BufSizeUnknown {
                    block: block.keys().to_vec(),
                });
                // Behind what cannot be read, so that a stricter one in there takes effect.
                if present.is_none() {
                    last.push(ours);
                }
            }
        }
    }

    fn acl(
        &mut self,
        block: &Block,
        first: &mut Vec<(Role, Lines)>,
        last: &mut Vec<(Role, Lines)>,
    ) -> Result<(), HardenError> {
        let Some(wanted) = &self.desired.clients else {
            return Ok(());
        };
        let (allow, denial) = clients(wanted, self.capabilities, &mut self.notes)?;
        if !self.has(Feature::Acl) {
            return Ok(());
        }
        let any_empty = self.desired.any_empty && self.has(Feature::AclFilter);
        let ours = Ours {
            allow: &allow,
            denial,
            any_empty,
        };
        let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
        if block.named("loop").next().is_some() && !AddressSet::of(&allow).contains(localhost) {
            self.notes.push(Note::LoopUnnoticed {
                block: block.keys().to_vec(),
            });
        }
        let rules = acl::of(block).map_err(|source| HardenError::Acl {
            block: block.keys().to_vec(),
            source,
        })?;
        let foreign = Foreign {
            rules: &rules,
            opaque: block.is_opaque(),
        };
        let guard = foreign.guard(&ours);
        if !guard.is_empty() {
            first.push((Role::Guard, merge::lines(&guard)));
        }
        // Even where foreign rules decide everything: so the last one is known to be ours if the record is lost.
        last.insert(0, (Role::Acl, merge::lines(&merge::tail(&ours))));
        Ok(())
    }

    fn has(&mut self, feature: Feature) -> bool {
        let has = self.capabilities.has(feature);
        if !has {
            self.notes.push(Note::Lacks { feature });
        }
        has
    }

    fn insert(&mut self, block: &Block, lexeme: usize, directives: Vec<(Role, Lines)>) {
        let Some(insertion) = self.tree.insertion_after(block, lexeme) else {
            return;
        };
        let count = directives.len();
        let mut text = String::new();
        for (index, (role, lines)) in directives.into_iter().enumerate() {
            let trail = if index + 1 == count {
                insertion.trail.clone()
            } else {
                String::new()
            };
            text = text + &insertion.lead + &insertion.render(&lines) + &trail;
            let tokens = lines
                .iter()
                .flat_map(|(_, line)| line.split(' '))
                .map(str::to_owned)
                .collect();
            self.written.push(Written {
                role,
                stanza: None,
                tokens,
                lead: insertion.lead.clone(),
                trail,
            });
        }
        if !text.is_empty() {
            self.splices.push(Splice {
                at: insertion.at..insertion.at,
                text,
            });
        }
    }
}

/// The last word of the main file that brings, or may bring, a foreign `acl` or `bufsize`.
fn last_foreign(block: &Block) -> Option<usize> {
    let last_lexeme = |index: usize| {
        let directive = block.directives().get(index)?;
        directive.tokens.iter().rev().find_map(|token| token.lexeme)
    };
    let named = |(index, _)| last_lexeme(index);
    let acls = block
        .directives()
        .iter()
        .enumerate()
        .filter(|(_, directive)| directive.name == "acl" || directive.is_opaque());
    let hidden = block.is_opaque()
        || block
            .named("acl")
            .any(|directive| directive.place() == Place::Elsewhere);
    let imports = block.imports().iter().filter(|_| hidden).filter_map(|import| {
        if import.nested {
            last_lexeme(import.after)
        } else {
            import.lexemes.as_ref().map(|range| range.end - 1)
        }
    });
    acls.filter_map(named).chain(imports).max()
}

fn deduplicated(notes: Vec<Note>) -> Vec<Note> {
    let mut unique: Vec<Note> = Vec::new();
    for note in notes {
        if !unique.contains(&note) {
            unique.push(note);
        }
    }
    unique
}
