//! What a managed resolver starts from, the servers and keys of the root, and what its pods say of the root in answers.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use tsutsumi_model::{Ask, DomainName, Failure, Rcode, RootAnswer, RootKey, RootWanted, Saw, Vantage};

use crate::{
    Aim, Dossier, Place,
    dossier::Joined,
    ledger::{Ledger, sentence},
};

/// Servers of the root with their addresses.
pub type Servers = BTreeMap<DomainName, BTreeSet<IpAddr>>;

/// What a managed resolver starts from, as far as it is known.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Root {
    /// There is no managed resolver.
    #[default]
    Unasked,
    /// There is one, and what it starts from is not what the policy says; why.
    Unknown(String),
    /// Every pod was given this.
    Known(Box<Start>),
}

/// The servers and keys that a resolver was given.
#[derive(Clone, Debug, PartialEq)]
pub struct Start {
    /// The servers.
    pub servers: Servers,
    /// Where they come from.
    pub hints: Source,
    /// The keys.
    pub keys: Vec<RootKey>,
    /// Where they come from.
    pub anchors: Source,
    /// The servers that come with us; none beside a root that is not the Internet's.
    pub bundled: Option<Bundled>,
}

/// Where something comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// It came with us.
    Bundled,
    /// From the ConfigMap of this name.
    ConfigMap(String),
}

/// The servers that come with us.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundled {
    /// Which.
    pub servers: Servers,
    /// Of which day they are.
    pub date: &'static str,
    /// Whether that is more than 92 days ago.
    pub old: bool,
}

impl Start {
    /// The questions about the root's servers, in order.
    pub fn wanted(&self) -> impl Iterator<Item = (Aim, RootWanted)> + '_ {
        let addresses = self
            .servers
            .keys()
            .flat_map(|name| [RootWanted::V4(name.clone()), RootWanted::V6(name.clone())]);
        let addresses = addresses.map(|wanted| (Aim::RootAddresses, wanted));
        [(Aim::RootServers, RootWanted::Servers)]
            .into_iter()
            .chain(addresses)
    }

    /// The tags of the keys, each once, and one that none of them has.
    #[must_use]
    pub fn tags(&self) -> (BTreeSet<u16>, u16) {
        let tags: BTreeSet<u16> = self.keys.iter().map(|key| key.tag).collect();
        let absent = (1..=u16::MAX).find(|tag| !tags.contains(tag)).unwrap_or_default();
        (tags, absent)
    }
}

impl Root {
    /// What every pod was given, or why that is not known.
    pub(crate) fn known(&self) -> Result<&Start, &str> {
        match self {
            Self::Known(start) => Ok(start),
            Self::Unknown(why) => Err(why),
            Self::Unasked => Err("the policy wants no managed resolver"),
        }
    }
}

/// What to do where the root is not reached.
pub(crate) const OFFLINE: &str = "Let the resolver reach the root's servers on port 53, over UDP and TCP. Where a network \
                                  has a root of its own, name its servers and keys: `recursion.roots.hintsConfigMap` \
                                  and `anchorsConfigMap`.";

/// What the resolver was given, where a prober inside may ask its pods; what is missing is in doubt.
pub(crate) fn start<'a>(ledger: &mut Ledger<'_>, dossier: &'a Dossier) -> Option<&'a Start> {
    match dossier.root.known() {
        Err(why) => {
            let found = "what the resolver starts from is not what the policy says";
            ledger.doubt(found.to_owned(), sentence(why), None);
            None
        }
        Ok(start) if ledger.has_vantage(Vantage::Inside) => {
            if dossier.resolvers.is_empty() {
                ledger.doubt(
                    "no pod of the managed resolver was seen".to_owned(),
                    "The policy's conditions say why.".to_owned(),
                    None,
                );
            }
            Some(start)
        }
        Ok(_) => None,
    }
}

/// What the pods at a place answered to a question about the root, as far as it can be judged; the rest are doubts.
pub(crate) fn answers<'a>(
    ledger: &mut Ledger<'_>,
    joined: &[Joined<'a>],
    place: &Place,
    (aim, wanted): (Aim, &RootWanted),
) -> Vec<(usize, &'a RootAnswer)> {
    let is_it = |step: &&Joined<'_>| {
        step.purpose.aim == aim
            && step.purpose.place == *place
            && matches!(&step.probe.ask, Ask::Root(question) if question.wanted == *wanted)
    };
    let mut steps = joined.iter().filter(is_it).peekable();
    if steps.peek().is_none() {
        ledger.unplanned(aim, place);
    }
    let mut found = Vec::new();
    for step in steps {
        if !ledger.was_made(step) {
            continue;
        }
        for (index, observation) in &step.seen {
            match &observation.saw {
                Saw::Root(answer) if answer.unread > 0 => ledger.doubt(
                    format!("what {place} answers to {wanted} could not be read to its end"),
                    "If the next round sees the same, ask it by hand.".to_owned(),
                    Some(*index),
                ),
                Saw::Root(answer) => found.push((*index, answer)),
                Saw::Nothing(failure) => ledger.silent(step, *index, *failure),
                Saw::Answer(_) | Saw::Metrics(_) | Saw::Series(_) => {
                    ledger.silent(step, *index, Failure::Malformed);
                }
            }
        }
    }
    found
}

/// Whether the question was answered; a doubt if not. A name that is not there has no addresses, and that is an answer.
pub(crate) fn was_found(
    ledger: &mut Ledger<'_>,
    place: &Place,
    wanted: &RootWanted,
    (index, answer): (usize, &RootAnswer),
) -> bool {
    let found = matches!(answer.rcode, Rcode::NOERROR | Rcode::NXDOMAIN);
    if !found {
        ledger.doubt(
            format!("{place} cannot find {wanted}: {}", code(answer)),
            OFFLINE.to_owned(),
            Some(index),
        );
    }
    found
}

/// The code and what the server says to explain it.
fn code(answer: &RootAnswer) -> String {
    let errors: Vec<String> = answer.extended_errors.iter().map(u16::to_string).collect();
    match &errors[..] {
        [] => answer.rcode.to_string(),
        errors => format!("{}, extended error {}", answer.rcode, errors.join(" ")),
    }
}
