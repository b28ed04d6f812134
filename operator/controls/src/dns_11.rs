//! `DNS-11`: no way around cluster DNS.
//!
//! Two things are looked at. The cluster's objects tell which workloads ask others, or answer in cluster DNS's place: that
//! is a fact, and a failure. And a prober inside asks resolvers outside, as any pod could: whether the way is open. That
//! nothing comes back proves a closed way only where the same resolver answers somebody outside in the same round.

use std::net::IpAddr;

use tsutsumi_model::{Ask, Bypass, Closing, Closure, ControlId, Detour, Failure, Saw, Transport, Vantage};

use crate::{
    Around, Control, Dossier, Judgement, Level,
    dossier::Joined,
    ledger::{Ledger, not_asked},
    round::{Aim, Place},
    text::counted,
};

/// The control.
pub const CONTROL: Control = Control {
    id: ControlId::Dns11,
    title_en: "No way around cluster DNS",
    title_ja: "クラスターDNSを迂回する経路がない",
    clause: "MIC guideline 6.5 (1) note 2",
    requirement: &["R5", "R8"],
    // What the text asks of a resolver is worth nothing to a client that asks another one; it does not say so.
    level: Level::Informative,
    enforced_by: "a NetworkPolicy in each namespace that `waysAround.close` names; others are shown, and applied by a person",
    proven_by: "every pod's own specification, and questions of a prober inside to resolvers outside on ports 53 and 853, \
                beside the same questions from outside",
    remedy: "Let the workloads that the verdict names use cluster DNS, and apply the NetworkPolicies that stand beside the \
             evidence.",
};

/// What a prober tries of each resolver.
const WAYS: [(Transport, u16); 3] = [(Transport::Udp, 53), (Transport::Tcp, 53), (Transport::Tcp, 853)];

/// Judges it.
#[must_use]
pub fn judge(dossier: &Dossier) -> Judgement {
    let Some(around) = &dossier.around else {
        return not_asked(&CONTROL, "waysAround");
    };
    let mut ledger = Ledger::new(&CONTROL, dossier);
    for detour in &around.detours {
        ledger.fail(fact(detour), cure(around, detour), None);
    }
    for address in &around.not_outside {
        ledger.doubt(
            format!("{address} is an address of this cluster, so it was not tried"),
            "Name resolvers outside the cluster in `waysAround.resolvers`.".to_owned(),
            None,
        );
    }
    let resolvers = &around.resolvers;
    if resolvers.is_empty() {
        ledger.doubt(
            "no resolver outside was tried".to_owned(),
            "Name one in `waysAround.resolvers` that answers everybody outside: whether pods reach it is seen only by \
             asking."
                .to_owned(),
            None,
        );
    }
    let inside = ledger.has_vantage(Vantage::Inside);
    let outside = ledger.has_vantage(Vantage::Outside);
    if inside && outside {
        let joined = dossier.joined();
        for resolver in resolvers {
            for way in WAYS {
                judge_way(&mut ledger, around, &joined, *resolver, way);
            }
        }
    }
    for closing in &around.closings {
        ledger.note(told(closing));
    }
    for (why, pods) in &around.exempt {
        ledger.note(format!("Exempt: {} {why}.", counted(*pods, "pod")));
    }
    ledger.close(
        "no workload asks resolvers of its own or of its node, none answers in place of cluster DNS, and pods reach no \
         resolver outside on ports 53 and 853",
        &format!(
            "no workload gets DNS past cluster DNS; {} outside, which answers outside, was not reached from inside",
            counted(resolvers.len(), "resolver")
        ),
        "Whoever wants a name in this cluster has to ask cluster DNS.",
    )
}

/// An object proves nothing, so what stands in a namespace decides nothing: whether the network obeys it, only a pod that
/// it picks could show, and no prober is one.
fn told(
    Closing {
        namespace,
        state,
        left,
    }: &Closing,
) -> String {
    match state {
        Closure::Written => {
            let but = match left.len() {
                0 => String::new(),
                _ => format!(", but of those that NetworkPolicy {} picks", left.join(", ")),
            };
            format!(
                "A NetworkPolicy leads ports 53 and 853 of the pods in {namespace} to cluster DNS alone{but}; nothing has \
                 shown that this cluster's network enforces it: try it from a pod there."
            )
        }
        Closure::Planned => format!(
            "No NetworkPolicy of ours stands in {namespace} yet; `status.plan` tells which is written while `mode` is \
             `Enforce`."
        ),
        Closure::Held { why, cure } => {
            format!("{namespace} is not closed as `waysAround.close` says: {why}. {cure}")
        }
    }
}

fn fact(Detour { workload, how, pods }: &Detour) -> String {
    let pods = counted(*pods, "pod");
    match how {
        Bypass::AnswersOnNode => {
            format!(
                "{workload} ({pods}) answers in place of cluster DNS, from a cache and a configuration of its own"
            )
        }
        Bypass::AsksNamed(named) => {
            let named: Vec<String> = named.iter().map(IpAddr::to_string).collect();
            format!("{workload} ({pods}) asks {} by `dnsConfig`", named.join(", "))
        }
        Bypass::AsksAsNode => format!("{workload} ({pods}) asks whom its node asks, by `dnsPolicy: Default`"),
        Bypass::InNodeNetwork => format!(
            "{workload} ({pods}) asks whom its node asks, since it is in its network without \
             `dnsPolicy: ClusterFirstWithHostNet`"
        ),
    }
}

fn cure(around: &Around, detour: &Detour) -> String {
    let policies = around.cure.as_deref().map_or_else(String::new, |command| {
        format!(" The NetworkPolicies that keep pods from it: `{command}`.")
    });
    match detour.how {
        Bypass::AnswersOnNode => {
            "The cache on the nodes answers by its own Corefile: give it the same limits there, or take it \
             away. No NetworkPolicy is shown while pods may ask it, since that would cut them off."
                .to_owned()
        }
        Bypass::AsksNamed(_) | Bypass::AsksAsNode => format!(
            "Set `dnsPolicy: ClusterFirst` and leave `dnsConfig.nameservers` out, or name the namespace in \
             `waysAround.exemptNamespaces`.{policies}"
        ),
        Bypass::InNodeNetwork => {
            "Set `dnsPolicy: ClusterFirstWithHostNet` for what is in its node's network, or name the \
             namespace in `waysAround.exemptNamespaces`; no NetworkPolicy reaches such pods."
                .to_owned()
        }
    }
}

fn judge_way(
    ledger: &mut Ledger<'_>,
    around: &Around,
    joined: &[Joined<'_>],
    resolver: IpAddr,
    way: (Transport, u16),
) {
    let place = Place::Foreign(resolver);
    let find = |aim: Aim| {
        joined
            .iter()
            .find(|step| step.purpose.aim == aim && step.purpose.place == place && over(step) == Some(way))
    };
    let (Some(asked), Some(reference)) = (find(Aim::PastClusterDns), find(Aim::ForeignAlive)) else {
        for aim in [Aim::PastClusterDns, Aim::ForeignAlive] {
            ledger.unplanned(aim, &place);
        }
        return;
    };
    if !ledger.was_made(asked) || !ledger.was_made(reference) {
        return;
    }
    let alive = reference
        .seen
        .iter()
        .any(|(_, seen)| reached(&seen.saw) == Reach::There);
    let offers = !(way.1 == 853 && refused(reference));
    for (index, observation) in &asked.seen {
        match reached(&observation.saw) {
            Reach::There => ledger.fail(
                format!("a pod reaches {place} over {} on port {}", way.0, way.1),
                open(around),
                Some(*index),
            ),
            Reach::Unclear(failure) => ledger.silent(asked, *index, failure),
            Reach::Nowhere if alive => {
                ledger.good(*index);
                reference.seen.iter().for_each(|(index, _)| ledger.good(*index));
            }
            // Who offers no DNS over TLS shows nothing by not taking a connection for it.
            Reach::Nowhere if !offers => {
                ledger.note(format!("On port 853, {place} offers nothing, so that way was not tried."));
            }
            Reach::Nowhere => ledger.doubt(
                format!("{place} answers nobody over {} on port {}, not even outside", way.0, way.1),
                "Name a resolver in `waysAround.resolvers` that answers everybody outside: the silence of one that is not \
                 there proves nothing."
                    .to_owned(),
                Some(*index),
            ),
        }
    }
}

fn open(around: &Around) -> String {
    let policies = around.cure.as_deref().map_or_else(String::new, |command| {
        format!(" For the namespaces of the workloads that are named here: `{command}`.")
    });
    format!(
        "Close ports 53 and 853 from pods to the outside, but for cluster DNS and tsutsumi's managed resolver, where it \
         holds for every namespace: the network plugin's cluster-wide policy, or a firewall.{policies} A NetworkPolicy \
         closes its own namespace alone, which is not seen from here."
    )
}

/// What an observation says of the way to a resolver.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Reach {
    /// Something came back from it, or it took the connection.
    There,
    /// Nothing did, or something on the way refused.
    Nowhere,
    /// Nothing can be said.
    Unclear(Failure),
}

const fn reached(saw: &Saw) -> Reach {
    match saw {
        Saw::Answer(_) | Saw::Nothing(Failure::Closed | Failure::Malformed | Failure::Unanswered) => {
            Reach::There
        }
        Saw::Nothing(Failure::ConnectionRefused | Failure::Timeout) => Reach::Nowhere,
        Saw::Nothing(failure @ (Failure::NotPermitted | Failure::Unfinished | Failure::Unreachable)) => {
            Reach::Unclear(*failure)
        }
        Saw::Metrics(_) | Saw::Root(_) | Saw::Series(_) => Reach::Unclear(Failure::Malformed),
    }
}

fn refused(step: &Joined<'_>) -> bool {
    let mut seen = step.seen.iter();
    seen.any(|(_, seen)| seen.saw == Saw::Nothing(Failure::ConnectionRefused))
}

fn over(step: &Joined<'_>) -> Option<(Transport, u16)> {
    match &step.probe.ask {
        Ask::Dns(question) => Some((question.transport, question.server.port.get())),
        Ask::Metrics(_) | Ask::Root(_) | Ask::Series(_) => None,
    }
}

#[cfg(test)]
mod tests;
