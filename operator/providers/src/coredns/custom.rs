//! The `coredns-custom` channel of k3s, AKS and Gardener: the platform owns the Corefile and imports our file.
//!
//! Our file can only add. What stands before its place takes effect first: the first `bufsize` counts, an `allow`
//! ends the evaluation, a second `nsid` is fatal. `forward` and `cache` belong to the platform. Server blocks of
//! `*.server` files are Corefiles of their own, for [`super::harden()`].

use super::acl::{self, Action, Policy};
use super::addresses::AddressSet;
use super::bufsize::{self, BufSize, MessageBytes};
use super::corefile::{Block, Corefile, Directive, Surroundings};
use super::forward::Forward;
use super::harden::{
    BlockIdentity, Change, Clients, Desired, Foreign, HardenError, Hardened, Identity, Made, Note, Others,
    Ours, Ownership, Role, clients, denials_only, lines, tail,
};
use super::nsid::{self, Nsid};
use super::version::{Capabilities, Feature};
use std::collections::BTreeMap;

/// Where our file will be read.
#[derive(Clone, Copy, Debug)]
pub struct Channel<'a> {
    /// The platform's Corefile.
    pub corefile: &'a str,
    /// Our key in the ConfigMap, such as `tsutsumi.override`.
    pub name: &'a str,
    /// The other keys, with their text.
    pub others: &'a BTreeMap<String, String>,
    /// What our key holds now.
    pub present: Option<&'a str>,
}

/// Makes the text of our file. All of it is ours, so there is no record to keep. A wish that is not set leaves what
/// the file holds for it.
pub fn harden_override(
    channel: &Channel<'_>,
    desired: &Desired,
    capabilities: &Capabilities,
) -> Result<Hardened, HardenError> {
    let tree = read(channel, MARKER)?;
    let desired = &kept(channel.present.unwrap_or_default(), desired);
    let mut draft = Draft {
        desired,
        capabilities: *capabilities,
        notes: Vec::new(),
        with: Vec::new(),
    };
    for block in tree.blocks() {
        draft.block(block)?;
    }
    let (blank, directives) = draft.body()?;
    let ours = Nsid::of_text(&blank, desired.edition);
    let text = blank.replace(&Nsid::BLANK.to_string(), &ours.to_string());
    let written = read(channel, &text)?;
    compare(&tree, &written, directives)?;
    let identity = Identity {
        ours,
        blocks: written.blocks().iter().map(BlockIdentity::of).collect(),
    };
    let changes = changes(channel.present.unwrap_or_default(), &text);
    Ok(Hardened {
        text,
        identity,
        changes,
        ownership: Ownership::default(),
        notes: draft.notes,
    })
}

/// The wishes, those that are not set taken from our present file.
fn kept(present: &str, desired: &Desired) -> Desired {
    let mut desired = desired.clone();
    let Ok(tree) = Corefile::parse(&format!(". {{\n{present}\n}}\n")) else {
        return desired;
    };
    let Some(block) = tree.blocks().first() else {
        return desired;
    };
    if desired.max_message_bytes.is_none()
        && let Some(BufSize::Set(size)) = bufsize::of(block)
    {
        desired.max_message_bytes = Some(size);
    }
    if desired.clients.is_none()
        && let Some([rule]) = acl::of(block).as_deref().ok()
    {
        let find = |wanted: &[Action]| {
            rule.policies
                .iter()
                .find(|policy| wanted.contains(&policy.action))
        };
        let denial = find(&[Action::Block, Action::Drop]);
        // Without an `allow`, it is everybody who is not denied.
        let denied = denial
            .map_or_else(AddressSet::default, Policy::addresses)
            .complement();
        let allowed = find(&[Action::Allow]).map_or(denied, Policy::addresses);
        let drops = denial.is_some_and(|policy| policy.action == Action::Drop);
        let others = if drops { Others::Drop } else { Others::Refuse };
        desired.clients = Some(Clients {
            allow: allowed.to_nets(),
            others,
        });
        desired.any_empty = find(&[Action::Filter]).is_some();
    }
    desired
}

/// Stands in our file while its place is being looked for.
const MARKER: &str = "tsutsumi_stands_here";

fn read(channel: &Channel<'_>, body: &str) -> Result<Corefile, HardenError> {
    let mut files = channel.others.clone();
    files.insert(channel.name.to_owned(), body.to_owned());
    Corefile::parse_with(channel.corefile, &Surroundings::with_files(files)).map_err(HardenError::Syntax)
}

/// A server block that imports our file, split at that place.
struct Site {
    block: Vec<String>,
    has_nsid: bool,
    before: Part,
    after: Part,
}

struct Part {
    rules: Vec<acl::Rule>,
    opaque: bool,
    bufsize: Size,
}

/// The first `bufsize` of a part.
#[derive(Clone, Copy)]
enum Size {
    Absent,
    Bytes(u16),
    Unknown,
}

struct Draft<'a> {
    desired: &'a Desired,
    capabilities: Capabilities,
    notes: Vec<Note>,
    with: Vec<Site>,
}

impl Draft<'_> {
    fn block(&mut self, block: &Block) -> Result<(), HardenError> {
        let keys = || block.keys().to_vec();
        let Some(at) = block
            .directives()
            .iter()
            .position(|directive| directive.name == MARKER)
        else {
            self.notes.push(Note::NotImported { block: keys() });
            return Ok(());
        };
        for import in block.imports().iter().filter(|import| import.is_opaque()) {
            self.notes.push(Note::OpaqueImport {
                block: keys(),
                pattern: import.pattern.clone(),
            });
        }
        for forward in block
            .directives()
            .iter()
            .filter_map(Forward::of)
            .filter(|_| self.desired.forward.is_some())
        {
            self.notes.push(Note::ForwardElsewhere {
                block: keys(),
                from: forward.from.to_owned(),
            });
        }
        let has_nsid = nsid::of(block).is_some();
        if has_nsid {
            self.notes.push(Note::ForeignNsid { block: keys() });
        }
        let opaque = |wanted: &dyn Fn(usize) -> bool| {
            block
                .imports()
                .iter()
                .any(|import| import.is_opaque() && wanted(import.after))
        };
        let (before, after) = block.directives().split_at(at);
        self.with.push(Site {
            block: keys(),
            has_nsid,
            before: self.part(block, before, opaque(&|index| index <= at))?,
            after: self.part(block, &after[1..], opaque(&|index| index > at))?,
        });
        Ok(())
    }

    fn part(&self, block: &Block, directives: &[Directive], opaque: bool) -> Result<Part, HardenError> {
        let rules = acl::of_directives(directives).map_err(|source| HardenError::Acl {
            block: block.keys().to_vec(),
            source,
        })?;
        let bufsize = match bufsize::of_directives(directives) {
            None => Size::Absent,
            Some(size) => size.bytes(self.capabilities).map_or(Size::Unknown, Size::Bytes),
        };
        Ok(Part {
            rules,
            opaque,
            bufsize,
        })
    }

    /// The text with a blank identity, and how many directives it has.
    fn body(&mut self) -> Result<(String, usize), HardenError> {
        let mut directives: Vec<Vec<(usize, String)>> = Vec::new();
        let sites = std::mem::take(&mut self.with);
        if !sites.is_empty() {
            if !sites.iter().any(|site| site.has_nsid) && self.has(Feature::Nsid) {
                directives.push(vec![(0, format!("nsid {}", Nsid::BLANK))]);
            }
            let size = self.bufsize(&sites);
            directives.extend(size.map(|size| vec![(0, format!("bufsize {size}"))]));
            directives.extend(self.acl(&sites)?);
        }
        let mut text = String::new();
        for (depth, line) in directives.iter().flatten() {
            text = text + &"    ".repeat(*depth) + line + "\n";
        }
        Ok((text, directives.len()))
    }

    fn bufsize(&mut self, sites: &[Site]) -> Option<MessageBytes> {
        let mut size = self.desired.max_message_bytes?;
        if !self.has(Feature::BufSize) {
            return None;
        }
        let mut takes_effect = false;
        for site in sites {
            let block = || site.block.clone();
            match (site.before.bufsize, site.after.bufsize) {
                (Size::Bytes(before), _) if before <= size.bytes() => {}
                (Size::Bytes(_), _) => self.notes.push(Note::BufSizeBefore { block: block() }),
                (Size::Unknown, _) | (Size::Absent, Size::Unknown) => {
                    self.notes.push(Note::BufSizeUnknown { block: block() });
                }
                (Size::Absent, _) if site.after.opaque => {
                    self.notes.push(Note::BufSizeUnknown { block: block() });
                }
                (Size::Absent, Size::Absent) => takes_effect = true,
                (Size::Absent, Size::Bytes(after)) => {
                    takes_effect = true;
                    size = MessageBytes::new(after.min(size.bytes())).unwrap_or(size);
                }
            }
        }
        takes_effect.then_some(size)
    }

    fn acl(&mut self, sites: &[Site]) -> Result<Option<Vec<(usize, String)>>, HardenError> {
        let Some(wanted) = &self.desired.clients else {
            return Ok(None);
        };
        let (allow, denial) = clients(wanted, self.capabilities, &mut self.notes)?;
        if !self.has(Feature::Acl) {
            return Ok(None);
        }
        let any_empty = self.desired.any_empty && self.has(Feature::AclFilter);
        let ours = Ours {
            allow: &allow,
            denial,
            any_empty,
        };
        let mut more_follow = false;
        for site in sites {
            let before = Foreign {
                rules: &site.before.rules,
                opaque: site.before.opaque,
            };
            let outside = before
                .guard(&ours)
                .first()
                .and_then(|policy| policy.nets.as_ref())
                .map_or(0, Vec::len);
            if outside > 0 {
                self.notes.push(Note::AllowedBefore {
                    block: site.block.clone(),
                    outside,
                });
            }
            more_follow |= site.after.opaque || !site.after.rules.is_empty();
        }
        // An `allow` of ours would end the evaluation before foreign denials that follow.
        let policies = if more_follow {
            denials_only(&ours)
        } else {
            tail(&ours)
        };
        Ok(Some(lines(&policies)))
    }

    fn has(&mut self, feature: Feature) -> bool {
        let has = self.capabilities.has(feature);
        if !has && !self.notes.contains(&Note::Lacks { feature }) {
            self.notes.push(Note::Lacks { feature });
        }
        has
    }
}

/// The independent look: where the marker stood are now our directives, all else is what it was.
fn compare(marked: &Corefile, written: &Corefile, count: usize) -> Result<(), HardenError> {
    let unfaithful = Err(HardenError::NotFaithful {
        what: "the file is not read as it was written",
    });
    if marked.blocks().len() != written.blocks().len() {
        return unfaithful;
    }
    for (marked, written) in marked.blocks().iter().zip(written.blocks()) {
        let read: Vec<_> = written.directives().iter().map(Directive::words).collect();
        let before: Vec<_> = marked.directives().iter().map(Directive::words).collect();
        let expected = match before.iter().position(|words| words == &[MARKER]) {
            Some(at) => {
                let ours = read.get(at..at + count).unwrap_or_default();
                [&before[..at], ours, &before[at + 1..]].concat()
            }
            None => before,
        };
        if read != expected {
            return unfaithful;
        }
    }
    Ok(())
}

fn changes(present: &str, text: &str) -> Vec<Change> {
    let directives = |body: &str| -> Vec<Vec<String>> {
        let tree = Corefile::parse(&format!(". {{\n{body}\n}}\n"));
        tree.map(|tree| {
            tree.blocks()[0]
                .directives()
                .iter()
                .map(Directive::words)
                .collect()
        })
        .unwrap_or_default()
    };
    if present == text {
        return Vec::new();
    }
    let change = |words: &Vec<String>, made| Change {
        block: Vec::new(),
        made,
        role: match words[0].as_str() {
            "acl" => Role::Acl,
            "bufsize" => Role::BufSize,
            _ => Role::Nsid,
        },
        text: words.join(" "),
    };
    let (old, new) = (directives(present), directives(text));
    let gone = old
        .iter()
        .filter(|words| !new.contains(words))
        .map(|words| change(words, Made::Removed));
    let added = new
        .iter()
        .filter(|words| !old.contains(words))
        .map(|words| change(words, Made::Added));
    let mut changes: Vec<_> = gone.chain(added).collect();
    if changes.is_empty() {
        changes.push(Change {
            block: Vec::new(),
            made: Made::Moved,
            role: Role::Nsid,
            text: String::new(),
        });
    }
    changes
}
