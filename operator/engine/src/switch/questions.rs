//! What is asked on both paths.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use tsutsumi_model::{
    Ask, DnsQuestion, DomainName, Endpoint, Probe, QueryType, RootQuestion, RootWanted, Transport,
};
use tsutsumi_providers::coredns::corefile::{Block, Corefile};

/// The most questions of one comparison; the root's own is beside them.
pub const MOST: usize = 256;

/// A name with the kind of address that is asked for.
///
/// This is also how names that cluster DNS was lately asked for are handed in: whoever listens to its queries reduces
/// each to such a pair and drops what is none (other types, other classes, names that are no [`DomainName`]).
#[derive(Clone, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub struct Question {
    /// The name.
    pub name: DomainName,
    /// Which addresses.
    pub family: Family,
}

/// Which addresses are asked for.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
pub enum Family {
    /// Type A.
    V4,
    /// Type AAAA.
    V6,
}

/// Where names come from. Of too many, those of the policy are asked first, then those of Services, then those seen.
#[derive(Clone, Copy, Debug)]
pub struct Sources<'a> {
    /// What the policy names under `recursion.compare.names`.
    pub named: &'a [DomainName],
    /// Where Services of type `ExternalName` lead.
    pub external: &'a BTreeSet<DomainName>,
    /// What cluster DNS was asked for lately, at most some thousand; empty where nobody listens. A name that many pods ask
    /// for counts as one.
    pub seen: &'a BTreeSet<Question>,
    /// Zones whose names are not compared, because the policy says so under `recursion.compare.except`.
    pub except: &'a [DomainName],
    /// Zones that cluster DNS answers by itself and never asks anybody about: see [`local_zones`].
    pub local: &'a BTreeSet<DomainName>,
}

/// What is to be asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Asked {
    /// At most [`MOST`], sorted.
    pub questions: Vec<Question>,
    /// How many more there were.
    pub left_out: usize,
}

/// The questions of a comparison.
#[must_use]
pub fn questions(sources: &Sources<'_>) -> Asked {
    let both = |name: &DomainName| {
        [Family::V4, Family::V6].map(|family| Question {
            name: name.clone(),
            family,
        })
    };
    let named: BTreeSet<Question> = sources.named.iter().flat_map(both).collect();
    let external: BTreeSet<Question> = sources.external.iter().flat_map(both).collect();
    let compared = |question: &&Question| {
        let mut out = sources.except.iter().chain(sources.local);
        !out.any(|zone| is_below(&question.name, zone))
    };
    let mut taken: BTreeSet<Question> = BTreeSet::new();
    let mut left_out = 0;
    for question in [&named, &external, sources.seen]
        .into_iter()
        .flatten()
        .filter(compared)
    {
        if taken.contains(question) {
            continue;
        }
        if taken.len() < MOST {
            taken.insert(question.clone());
        } else {
            left_out += 1;
        }
    }
    Asked {
        questions: taken.into_iter().collect(),
        left_out,
    }
}

/// The zones of a Corefile's `kubernetes` plugins, and the domain of the cluster. Reverse zones are among them, where
/// nobody has addresses.
#[must_use]
pub fn local_zones(corefile: &str, cluster_domain: &DomainName) -> BTreeSet<DomainName> {
    let tree = Corefile::parse(corefile).ok();
    let blocks = tree.iter().flat_map(Corefile::blocks);
    let zones = blocks.flat_map(|block: &Block| {
        let plugins = block.named("kubernetes");
        plugins.flat_map(|plugin| {
            let words = plugin.tokens.iter().skip(1).map(|token| token.text.as_str());
            words
                .take_while(|word| *word != "{")
                .filter_map(|word| word.parse().ok())
        })
    });
    zones.chain([cluster_domain.clone()]).collect()
}

/// The probes that ask a server: first the root's servers, then each question over UDP, as an ordinary client would.
#[must_use]
pub fn probes(server: Endpoint, questions: &[Question]) -> Vec<Probe> {
    let root = Ask::Root(RootQuestion {
        server,
        wanted: RootWanted::Servers,
    });
    let names = questions.iter().map(|question| {
        Ask::Dns(DnsQuestion {
            qtype: match question.family {
                Family::V4 => QueryType::A,
                Family::V6 => QueryType::Aaaa,
            },
            ..DnsQuestion::ordinary(server, Transport::Udp, question.name.clone())
        })
    });
    std::iter::once(root)
        .chain(names)
        .zip(0..)
        .map(|(ask, id)| Probe { id, ask })
        .collect()
}

/// Whether the name is that of the zone, or below it.
fn is_below(name: &DomainName, zone: &DomainName) -> bool {
    let rest = name.as_str().strip_suffix(zone.as_str());
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}
