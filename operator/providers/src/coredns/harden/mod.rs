//! Writes a resolver policy into every server block of a Corefile, and takes it out again.
//!
//! A run first takes out what an earlier run wrote, as far as it is still there, and then writes afresh: so our
//! part follows the policy both ways, a second run changes nothing, and [`restore`] is the first half alone. Foreign
//! bytes are never changed, only lines added; what somebody else set is never loosened. The result is parsed again
//! and compared before it is returned.

mod merge;
mod ownership;
mod recover;
mod strip;
mod types;
mod write;

pub(crate) use merge::{Foreign, Ours, denials_only, lines, tail};
pub use ownership::{OwnedBlock, Ownership, Role, Stanza, Written};
pub use types::{
    BlockIdentity, Change, Clients, Desired, ForwardHardening, HardenError, Hardened, Identity, Lead, Made,
    Note, Others, Restored, Root,
};
pub(crate) use write::clients;
pub use write::tap::TAP_PORT;

use super::corefile::{Corefile, Place, Splice};
use super::nsid::{self, Nsid, Shown};
use super::version::Capabilities;
use strip::{Live, Stripped, strip};

/// Makes the text meet the wishes.
///
/// `ours` is the record of the last run on this text; an empty one is rebuilt as far as our own `nsid` allows.
/// A wish that is not set leaves what an earlier run wrote for it.
pub fn harden(
    text: &str,
    desired: &Desired,
    ours: &Ownership,
    capabilities: &Capabilities,
) -> Result<Hardened, HardenError> {
    let before = parse(text)?;
    let ours = recover::completed(&before, ours);
    let Stripped {
        tree: base,
        live,
        retained,
    } = strip(&before, &ours, |role| desired.covers(role))?;
    let written = write::write(&base, desired, *capabilities)?;
    let (text_after, identity) = sign(&written.text, desired.edition)?;
    let after = parse(&text_after)?;
    let fresh = written.ownership.signed(&identity.ours);
    compare(&base, &after, &fresh)?;
    let ownership = fresh.joined(retained);
    let changes = if text_after == text {
        Vec::new()
    } else {
        changes(&before, &live, &after, &ownership)
    };
    Ok(Hardened {
        text: text_after,
        identity,
        changes,
        ownership,
        notes: written.notes,
    })
}

/// Takes out what is still as we wrote it; what was altered since stays.
pub fn restore(text: &str, ours: &Ownership) -> Result<Restored, HardenError> {
    let before = parse(text)?;
    let ours = recover::completed(&before, ours);
    let stripped = strip(&before, &ours, |_| true)?;
    let removed: Vec<_> = stripped
        .live
        .iter()
        .map(|live| live.change(&before, Made::Removed))
        .collect();
    let mut unmatched = removed.clone();
    let mut altered = Vec::new();
    for (block, written) in ours
        .blocks
        .iter()
        .flat_map(|block| block.written.iter().map(move |w| (block, w)))
    {
        let change = Change::of(&block.keys, written, Made::Lost);
        match unmatched.iter().position(|live| live.is_same_text(&change)) {
            Some(at) => drop(unmatched.swap_remove(at)),
            None => altered.push(change),
        }
    }
    Ok(Restored {
        text: stripped.tree.print(),
        removed,
        altered,
    })
}

/// Whether the text holds a line of ours that tells what is asked.
pub fn taps(text: &str, ours: &Ownership) -> Result<bool, HardenError> {
    let tree = parse(text)?;
    let ours = recover::completed(&tree, ours);
    let found = strip(&tree, &ours, |_| false)?;
    Ok(found.live.iter().any(|live| live.written.role == Role::Tap))
}

/// What each server block of a text shows.
pub fn shown_by(text: &str) -> Result<Vec<BlockIdentity>, HardenError> {
    Ok(parse(text)?.blocks().iter().map(BlockIdentity::of).collect())
}

/// The text with its identity in it: the hash of the text with the identity blanked, and of its edition.
fn sign(text: &str, edition: u32) -> Result<(String, Identity), HardenError> {
    let tree = parse(text)?;
    let ours = Nsid::of_text(&fill(&tree, &Nsid::BLANK)?, edition);
    let signed = fill(&tree, &ours)?;
    let blocks = shown_by(&signed)?;
    Ok((signed, Identity { ours, blocks }))
}

/// Puts an identity into every `nsid` of ours that is written in the file itself.
fn fill(tree: &Corefile, identity: &Nsid) -> Result<String, HardenError> {
    let mut splices = Vec::new();
    for directive in tree.blocks().iter().flat_map(|block| block.named("nsid")) {
        if let (Shown::Ours(_), Place::Here(lexemes)) = (nsid::shown(directive), directive.place())
            && let Some(at) = tree.span(&(lexemes.start + 1..lexemes.end))
        {
            splices.push(Splice {
                at,
                text: identity.to_string(),
            });
        }
    }
    tree.splice(splices).map_err(HardenError::Edit)
}

/// The independent look at the printed text: ours is found as recorded, and all else is what it was.
fn compare(base: &Corefile, after: &Corefile, fresh: &Ownership) -> Result<(), HardenError> {
    let unfaithful = |what| Err(HardenError::NotFaithful { what });
    let count: usize = fresh.blocks.iter().map(|block| block.written.len()).sum();
    let again = strip(after, fresh, |_| true)?;
    if again.live.len() != count {
        return unfaithful("a directive of ours is not read as it was written");
    }
    if again.tree.print() != base.print() {
        return unfaithful("foreign text would change");
    }
    let ours: Vec<_> = again.live.iter().map(|live| live.lexemes.clone()).collect();
    let foreign = after
        .lexemes()
        .iter()
        .enumerate()
        .filter(|(at, _)| !ours.iter().any(|range| range.contains(at)));
    if !foreign
        .map(|(_, word)| &word.text)
        .eq(base.lexemes().iter().map(|word| &word.text))
    {
        return unfaithful("foreign words would be read differently");
    }
    let keys = |tree: &Corefile| {
        tree.blocks()
            .iter()
            .map(|block| block.keys().to_vec())
            .collect::<Vec<_>>()
    };
    if keys(base) != keys(after) {
        return unfaithful("server blocks would change");
    }
    Ok(())
}

fn changes(before: &Corefile, live: &[Live], after: &Corefile, ownership: &Ownership) -> Vec<Change> {
    let mut removed: Vec<_> = live
        .iter()
        .map(|live| live.change(before, Made::Removed))
        .collect();
    let mut changes = Vec::new();
    for block in &ownership.blocks {
        for written in &block.written {
            let change = Change::of(&block.keys, written, Made::Added);
            let same = removed.iter().position(|old| old.is_same_text(&change));
            match same {
                Some(at) => drop(removed.swap_remove(at)),
                None => changes.push(change),
            }
        }
    }
    changes.splice(0..0, removed);
    if changes.is_empty() {
        // Same words, other white space or place.
        let keys = after
            .blocks()
            .first()
            .map(|block| block.keys().to_vec())
            .unwrap_or_default();
        changes.push(Change {
            block: keys,
            made: Made::Moved,
            role: Role::Nsid,
            text: String::new(),
        });
    }
    changes
}

fn parse(text: &str) -> Result<Corefile, HardenError> {
    Corefile::parse(text).map_err(HardenError::Syntax)
}
