//! `DNS-07`: the resolver starts from the servers that the root has.
//!
//! Hints only find the root, which then says itself who serves it (RFC 9609). So what every pod of the managed resolver
//! finds is compared with what it was given. Addresses of the root's servers are not signed: a difference may be an old
//! list, and may be somebody who answers in the root's place.

use std::{collections::BTreeSet, net::IpAddr};

use tsutsumi_model::{ControlId, DomainName, RootAnswer, RootRecord, RootWanted};

use crate::{
    Control, Dossier, Judgement, Level,
    dossier::Joined,
    ledger::{Ledger, not_asked},
    root::{self, Bundled, OFFLINE, Root, Source, Start, answers, was_found},
    round::Place,
    text::counted,
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns07,
    title_en: "The resolver starts from the servers that the root has",
    title_ja: "ルートヒントを最新の状態に保つ",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R14"],
    level: Level::Mandatory,
    enforced_by: "the managed resolver, whose servers of the root are data of a release or of a ConfigMap",
    proven_by: "every pod of the managed resolver, asked for the root's servers and the addresses of each: what it finds \
                is what it was given",
    remedy: "Update tsutsumi, or correct the ConfigMap that `recursion.roots.hintsConfigMap` names.",
};

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    if dossier.root == Root::Unasked {
        return not_asked(&CONTROL, "recursion.via: Managed");
    }
    let mut ledger = Ledger::new(&CONTROL, dossier);
    let joined = dossier.joined();
    let mut servers = 0;
    if let Some(start) = root::start(&mut ledger, dossier) {
        servers = start.servers.len();
        for pod in &dossier.resolvers {
            judge_place(&mut ledger, &joined, &Place::Resolver(pod.label.clone()), start);
        }
        remark(&mut ledger, start);
    }
    let well = format!(
        "{} of the managed resolver found what it was given: {} and their addresses",
        counted(dossier.resolvers.len(), "pod"),
        counted(servers, "server")
    );
    ledger.close(
        "the servers of the root that the resolver was given are those that the root names, with the same addresses",
        &well,
        "Given and found servers are the same.",
    )
}

fn judge_place(ledger: &mut Ledger<'_>, joined: &[Joined<'_>], place: &Place, start: &Start) {
    let mut unnamed: BTreeSet<DomainName> = BTreeSet::new();
    for (aim, wanted) in start.wanted() {
        for (index, answer) in answers(ledger, joined, place, (aim, &wanted)) {
            if !was_found(ledger, place, &wanted, (index, answer)) {
                continue;
            }
            let right = match &wanted {
                RootWanted::V4(name) | RootWanted::V6(name) if unnamed.contains(name) => true,
                RootWanted::V4(name) => has_addresses(ledger, start, name, index, answer, IpAddr::is_ipv4),
                RootWanted::V6(name) => has_addresses(ledger, start, name, index, answer, IpAddr::is_ipv6),
                RootWanted::Servers | RootWanted::Keys => {
                    has_servers(ledger, place, start, index, answer, &mut unnamed)
                }
            };
            if right {
                ledger.good(index);
            }
        }
    }
}

/// Whether the root names whom the resolver was given; `unnamed` gets whom it does not.
fn has_servers(
    ledger: &mut Ledger<'_>,
    place: &Place,
    start: &Start,
    index: usize,
    answer: &RootAnswer,
    unnamed: &mut BTreeSet<DomainName>,
) -> bool {
    let named: BTreeSet<&DomainName> = answer
        .records
        .iter()
        .filter_map(|record| match record {
            RootRecord::Server(name) => Some(name),
            _ => None,
        })
        .collect();
    if named.is_empty() {
        let fact = format!(
            "{place} finds no servers of the root: {} and no names",
            answer.rcode
        );
        ledger.doubt(fact, OFFLINE.to_owned(), Some(index));
        return false;
    }
    let missing = named.iter().filter(|name| !start.servers.contains_key(**name));
    let mut right = true;
    for name in missing {
        let along = addresses(answer, name);
        let shown = if along.is_empty() {
            String::new()
        } else {
            format!(" ({})", list(&along))
        };
        ledger.fail(
            format!("the root names {name}{shown}, which is not among the servers given"),
            cure(&start.hints),
            Some(index),
        );
        right = false;
    }
    for (name, given) in start.servers.iter().filter(|(name, _)| !named.contains(name)) {
        ledger.fail(
            format!(
                "{name} ({}) was given, and the root does not name it",
                list(given)
            ),
            cure(&start.hints),
            Some(index),
        );
        unnamed.insert(name.clone());
        right = false;
    }
    right
}

fn has_addresses(
    ledger: &mut Ledger<'_>,
    start: &Start,
    name: &DomainName,
    index: usize,
    answer: &RootAnswer,
    family: fn(&IpAddr) -> bool,
) -> bool {
    let given = start.servers.get(name).into_iter().flatten();
    let given: BTreeSet<IpAddr> = given.copied().filter(family).collect();
    let mut found = addresses(answer, name);
    found.retain(family);
    if given == found {
        return true;
    }
    ledger.fail(
        format!(
            "{name} was given {}, and the root says {}",
            list(&given),
            list(&found)
        ),
        cure(&start.hints),
        Some(index),
    );
    false
}

/// What the set that comes with us says beside.
fn remark(ledger: &mut Ledger<'_>, start: &Start) {
    let Some(Bundled { servers, date, old }) = &start.bundled else {
        ledger.note(
            "This root is not that of the Internet, so the set that comes with tsutsumi plays no part."
                .to_owned(),
        );
        return;
    };
    if *servers != start.servers {
        ledger.note(format!(
            "The set that comes with tsutsumi, of {date}, is another one than that of the ConfigMap."
        ));
    }
    if *old {
        ledger.note(format!(
            "Warning: the set that comes with tsutsumi is of {date}, more than 92 days ago. Only this comparison shows \
             whether it still holds: see that it goes on, and update when a release brings a newer one."
        ));
    }
}

fn cure(hints: &Source) -> String {
    let first = "First make sure that it is the root that answers, since these addresses are not signed: compare with who \
                 runs it, for the Internet https://www.internic.net/domain/named.root.";
    match hints {
        Source::Bundled => format!(
            "{first} Then update tsutsumi; until there is a release, write the servers into a ConfigMap and name it \
             under `recursion.roots.hintsConfigMap`."
        ),
        Source::ConfigMap(name) => {
            format!("{first} Then correct the key `named.root` of the ConfigMap {name}.")
        }
    }
}

fn addresses(answer: &RootAnswer, of: &DomainName) -> BTreeSet<IpAddr> {
    let records = answer.records.iter();
    records
        .filter_map(|record| match record {
            RootRecord::Address(name, address) if name == of => Some(*address),
            _ => None,
        })
        .collect()
}

fn list(addresses: &BTreeSet<IpAddr>) -> String {
    if addresses.is_empty() {
        return "no address".to_owned();
    }
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(", ")
}

#[cfg(test)]
mod tests;
