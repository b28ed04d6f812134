//! `DNS-06`: the resolver starts from the keys that the root has.
//!
//! Two things are seen. Every pod on the path is asked, by names of the probe zone, which keys it trusts (RFC 8509): it
//! has to say yes of each key that it was given and no of one that nobody has, since a resolver that does not know such
//! names answers all of them. And every pod of the resolver is asked for the root's keys: one that the root publishes and
//! nobody gave to the resolver will end all resolution once the root signs with it alone.

use std::collections::BTreeMap;

use tsutsumi_model::{ControlId, DnsAnswer, Failure, Rcode, RootKey, RootRecord, RootWanted, Saw};

use crate::{
    Availability, Control, Dossier, Judgement, Level, Root,
    dossier::Joined,
    ledger::{Ledger, not_asked, sentence},
    outcome::brief,
    root::{self, OFFLINE, Source, Start, answers, was_found},
    round::{Aim, Place, Sentinel},
    text::counted,
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns06,
    title_en: "The resolver starts from the keys that the root has",
    title_ja: "DNSSECのトラストアンカーを最新の状態に保つ",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R12"],
    level: Level::Informative,
    enforced_by: "the managed resolver, whose keys of the root are data of a release or of a ConfigMap",
    proven_by: "sentinel names of a probe zone, which show the trusted keys at every pod of cluster DNS and of the \
                resolver, and the root's keys as every pod of the resolver finds them",
    remedy: "Update tsutsumi, or correct the ConfigMap that `recursion.roots.anchorsConfigMap` names.",
};

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    if !dossier.asked.validation || dossier.root == Root::Unasked {
        return not_asked(&CONTROL, "recursion.via: Managed");
    }
    let mut ledger = Ledger::new(&CONTROL, dossier);
    let joined = dossier.joined();
    let mut tags = String::new();
    if let Some(start) = root::start(&mut ledger, dossier) {
        tags = list(start);
        if let Availability::Missing(why) = &dossier.zone {
            ledger.doubt("no probe zone has names to try".to_owned(), sentence(why), None);
        } else {
            for place in dossier.resolving() {
                judge_trust(&mut ledger, &joined, &place, start);
            }
        }
        for pod in &dossier.resolvers {
            judge_keys(&mut ledger, &joined, &Place::Resolver(pod.label.clone()), start);
        }
    }
    let well = format!(
        "at {}, trusted are the keys {tags}, and the root publishes no other",
        counted(dossier.resolving().count(), "pod")
    );
    ledger.close(
        "the keys that the resolver was given are trusted, one that nobody has is not, and the root publishes no key \
         that is not among them",
        &well,
        "What the root publishes can be validated, also once it signs with any one of its keys.",
    )
}

fn list(start: &Start) -> String {
    let tags: Vec<String> = start.tags().0.iter().map(u16::to_string).collect();
    tags.join(" and ")
}

/// What a pod says by answering a sentinel name, or by failing to.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Said {
    Yes,
    No,
}

use Said::{No, Yes};

/// Which keys are trusted at a place.
fn judge_trust(ledger: &mut Ledger<'_>, joined: &[Joined<'_>], place: &Place, start: &Start) {
    let (tags, absent) = start.tags();
    let mut words: BTreeMap<u16, Words> = BTreeMap::new();
    for tag in tags.iter().copied().chain([absent]) {
        let [is, not] =
            Sentinel::ALL.map(|sentinel| listen(ledger, joined, place, Aim::Sentinel(sentinel, tag)));
        words.insert(tag, Words { is, not });
    }
    let clear = |tag: u16| words.get(&tag).and_then(Words::clear);
    let first = |tag: u16| words.get(&tag).and_then(|words| Some(words.is.first()?.0));
    // Where something is missing, that is a doubt by now.
    let (fact, cure) = match clear(absent) {
        Some((No, Yes)) => {
            for tag in tags {
                match clear(tag) {
                    Some((Yes, No)) => {}
                    Some((No, Yes)) => {
                        let fact = format!("{place} does not trust key {tag}");
                        ledger.fail(fact, UNTRUSTED.to_owned(), first(tag));
                    }
                    Some(_) | None => {
                        let fact = format!("{place} says nothing clear of key {tag}");
                        ledger.doubt(fact, NO_SENTINELS.to_owned(), first(tag));
                    }
                }
            }
            for (index, _) in words.values().flat_map(|words| words.is.iter().chain(&words.not)) {
                ledger.good(*index);
            }
            return;
        }
        Some((No, No)) => (format!("{place} answers no sentinel name"), UNRESOLVED),
        Some((Yes, _)) => {
            let fact = format!("{place} says that it trusts key {absent}, which nobody has");
            (fact, NO_SENTINELS)
        }
        None => (format!("{place} says nothing clear"), NO_SENTINELS),
    };
    ledger.doubt(fact, cure.to_owned(), first(absent));
}

/// What a place says of one key, with the numbers of the observations.
struct Words {
    is: Vec<(usize, Said)>,
    not: Vec<(usize, Said)>,
}

impl Words {
    /// To `is` and to `not`, where each got one answer and no other.
    fn clear(&self) -> Option<(Said, Said)> {
        let one = |words: &[(usize, Said)]| match words {
            [(_, said), rest @ ..] if rest.iter().all(|(_, more)| more == said) => Some(*said),
            _ => None,
        };
        Some((one(&self.is)?, one(&self.not)?))
    }
}

const UNRESOLVED: &str = "Names of the probe zone are not resolved here, so that nothing is proven: the Corefile has to lead \
                          them to its server, and a resolver behind it has to know it too.";
const NO_SENTINELS: &str = "Who answers here does not validate, which `DNS-05` would show, or does not know names that ask \
                            for its keys (RFC 8509); Unbound does, unless `root-key-sentinel` is `no`.";
const UNTRUSTED: &str = "It was given this key and does not use it. A pod of the resolver that was changed by hand starts \
                         anew once it is deleted; if a pod of cluster DNS alone says so, its Corefile leads elsewhere.";

/// The clear words of a place; everything else becomes a doubt.
fn listen(ledger: &mut Ledger<'_>, joined: &[Joined<'_>], place: &Place, aim: Aim) -> Vec<(usize, Said)> {
    let mut steps = joined
        .iter()
        .filter(|step| step.purpose.aim == aim && step.purpose.place == *place)
        .peekable();
    if steps.peek().is_none() {
        ledger.unplanned(aim, place);
    }
    let mut heard = Vec::new();
    for step in steps {
        if !ledger.was_made(step) {
            continue;
        }
        for (index, observation) in &step.seen {
            match &observation.saw {
                Saw::Answer(answer) => match said(answer) {
                    Some(said) => heard.push((*index, said)),
                    None => ledger.doubt(
                        format!(
                            "{place} answers {aim} with {}, not marked as validated",
                            brief(answer)
                        ),
                        NO_SENTINELS.to_owned(),
                        Some(*index),
                    ),
                },
                Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
                Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => {
                    ledger.silent(step, *index, Failure::Malformed);
                }
            }
        }
    }
    heard
}

const fn said(answer: &DnsAnswer) -> Option<Said> {
    match (answer.rcode, answer.authentic) {
        (Rcode::NOERROR, true) if answer.answers > 0 => Some(Yes),
        (Rcode::SERVFAIL, _) => Some(No),
        _ => None,
    }
}

/// Which keys the root has, as a pod of the resolver finds them.
fn judge_keys(ledger: &mut Ledger<'_>, joined: &[Joined<'_>], place: &Place, start: &Start) {
    for (index, answer) in answers(ledger, joined, place, (Aim::RootKeys, &RootWanted::Keys)) {
        if answer.rcode == Rcode::SERVFAIL
            && answer
                .extended_errors
                .iter()
                .any(|code| UNVALIDATED.contains(code))
        {
            let fact = format!(
                "{place} cannot validate the root's keys with those that it was given: {}",
                list(start)
            );
            ledger.fail(fact, WRONG.to_owned(), Some(index));
            continue;
        }
        if !was_found(ledger, place, &RootWanted::Keys, (index, answer)) {
            continue;
        }
        let keys = |wanted: fn(&RootRecord) -> Option<&RootKey>| answer.records.iter().filter_map(wanted);
        let live: Vec<&RootKey> = keys(|record| match record {
            RootRecord::Key(key) => Some(key),
            _ => None,
        })
        .collect();
        let revoked = keys(|record| match record {
            RootRecord::Revoked(key) => Some(key),
            _ => None,
        });
        if live.is_empty() || !answer.authentic {
            let fact = format!(
                "{place} finds {} of the root, {}marked as validated",
                counted(live.len(), "key"),
                if answer.authentic { "" } else { "not " }
            );
            ledger.doubt(fact, OFFLINE.to_owned(), Some(index));
            continue;
        }
        for key in revoked.filter(|key| start.keys.contains(key)) {
            ledger.note(format!(
                "Key {} was revoked by who runs the root: take it out of the keys given.",
                key.tag
            ));
        }
        let mut right = true;
        for key in live.iter().filter(|key| !start.keys.contains(key)) {
            right = false;
            ledger.fail(
                format!(
                    "the root publishes key {}, which the resolver was not given",
                    key.tag
                ),
                cure(key, &start.anchors),
                Some(index),
            );
        }
        for key in start.keys.iter().filter(|key| !live.contains(key)) {
            ledger.note(format!("The root does not publish key {} at present.", key.tag));
        }
        if right {
            ledger.good(index);
        }
    }
}

/// What a resolver says of keys that it got and cannot believe (RFC 8914, 4.7 to 4.11): bogus, expired or early signatures,
/// no key that fits, no signature.
const UNVALIDATED: [u16; 5] = [6, 7, 8, 9, 10];
const WRONG: &str = "No name resolves: none of these keys is the root's, or somebody answers in its place. Correct the key                      `root.key` of the ConfigMap that `recursion.roots.anchorsConfigMap` names, and see that the pods'                      clocks are right.";

fn cure(key: &RootKey, anchors: &Source) -> String {
    let RootKey {
        tag,
        algorithm,
        digest,
    } = key;
    let danger = format!("Once the root signs with key {tag} alone, no name resolves any more.");
    match anchors {
        Source::Bundled => format!(
            "{danger} Update tsutsumi to a release that has it. Nothing learns keys by itself: they are data of a release."
        ),
        Source::ConfigMap(name) => format!(
            "{danger} Check the key with who runs the root, then add the line `. DS {tag} {algorithm} 2 {digest}` to the \
             key `root.key` of the ConfigMap {name}. Keys of the Internet's root are taken only if this release knows \
             them: else update tsutsumi."
        ),
    }
}

#[cfg(test)]
mod tests;
