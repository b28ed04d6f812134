//! What a policy wishes of a Corefile, and to whom that leads.

use tsutsumi_api::resolver_policy::{AnyQueries, Others, SourcePorts, Via};
use tsutsumi_providers::coredns::{
    self as coredns, Clients, Desired, ForwardHardening, Made, Others as Refusal, Role, Root,
    bufsize::MessageBytes,
};

use super::{check::Checked, record::Record};
use crate::{
    cluster::Probes,
    managed::{Managed, hop},
    target::Target,
};

/// What the text should be made to say.
pub(super) fn desired(checked: &Checked, target: &Target, record: &Record) -> Desired {
    let spec = &checked.policy.spec;
    let through_upstreams = spec
        .recursion
        .as_ref()
        .is_some_and(|recursion| recursion.via == Some(Via::Upstreams) && recursion.validates());
    let others = match spec.clients.as_ref().map(|clients| clients.others) {
        Some(Others::Drop) => Refusal::Drop,
        _ => Refusal::Refuse,
    };
    Desired {
        clients: checked.allow.as_ref().map(|allow| Clients {
            allow: allow.nets.clone(),
            others,
        }),
        max_message_bytes: spec
            .udp
            .and_then(|udp| MessageBytes::new(udp.max_message_bytes).ok()),
        any_empty: spec.any_queries == Some(AnyQueries::Empty),
        forward: spec
            .recursion
            .as_ref()
            .map(|recursion| match recursion.source_ports {
                SourcePorts::Random => ForwardHardening {
                    fresh_ports: true,
                    ..ForwardHardening::default()
                },
            }),
        probe: match &checked.managed {
            // It asks the zones' servers itself, and so the zones see how it asks.
            Managed::Wanted(wanted) if wanted.serving.is_ok() && wanted.knows_probe_zones => Some(vec![]),
            // Whoever is asked at present, what leads there stays.
            Managed::Wanted(wanted) if wanted.serving.is_err() => None,
            Managed::Refused { .. } => None,
            // The resolvers that are to validate get the names of the zone inside too, and know where to ask. That outside
            // hears what the way to them makes of the pods' ports.
            Managed::Unwanted(_) if through_upstreams => {
                let probes = checked.probe.as_ref();
                probes.map(|probes| probes.outside.iter().cloned().collect())
            }
            Managed::Wanted(_) | Managed::Unwanted(_) => checked.probe.as_ref().map(Probes::leads),
        },
        root: root(checked).or_else(|| hop::retreat(target)),
        tap: checked.tap,
        edition: record.edition,
    }
}

/// To whom the root is led once these wishes are in force, in words that tell one from another.
pub(super) fn led(checked: &Checked, record: &Record) -> Option<String> {
    match root(checked) {
        // Whoever is asked stays, also where a retreat asks him in another way.
        None => record.led.clone(),
        Some(Root::AsItIs) => None,
        // Its address and its transport may change, and it is the same one.
        Some(Root::Servers(_) | Root::Encrypted(_)) if checked.managed.asked().is_some() => {
            Some("Managed".to_owned())
        }
        Some(root @ (Root::Servers(_) | Root::Encrypted(_))) => Some(root.targets().join(" ")),
    }
}

/// Whether a `forward` of ours names servers that none of ours named before; its options do not matter.
pub(super) fn leads_elsewhere(changes: &[coredns::Change]) -> bool {
    let servers = |wanted: &'static [Made]| {
        let ours = changes
            .iter()
            .filter(move |change| change.role == Role::RootForward && wanted.contains(&change.made));
        ours.filter_map(|change| change.text.split(" {").next())
    };
    let before: Vec<&str> = servers(&[Made::Removed]).collect();
    servers(&[Made::Added]).any(|now| !before.contains(&now))
}

/// Who is asked for every name that nobody else answers; none where that stays as it is.
fn root(checked: &Checked) -> Option<Root> {
    let recursion = checked.policy.spec.recursion.as_ref()?;
    match recursion.via {
        None => Some(Root::AsItIs),
        Some(Via::Upstreams) if checked.managed.missing().is_some() => None,
        Some(Via::Upstreams) => {
            let servers = recursion.upstreams.iter().map(|upstream| upstream.get());
            Some(Root::Servers(servers.collect()))
        }
        // Until it serves, what stands there stays.
        Some(Via::Managed) => checked.managed.asked(),
    }
}
