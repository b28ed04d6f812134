//! What a policy wants to have verified: a round's input from what was checked, and what makes it another one.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use kube::ResourceExt as _;
use tsutsumi_api::resolver_policy::{Rollout, RolloutState, VERIFY, WorkloadKind};
use tsutsumi_engine::{
    around::{self, close::Closing},
    managed,
    platform::Channel,
    resolver::Checked,
    target::{Target, version_of_image},
    verify::{Around, Availability, RoundInput, RoundPod, TargetNames, asked, zones_of_keys},
};
use tsutsumi_model::{ControlId, Endpoint, Vantage};
use tsutsumi_providers::coredns::corefile::Corefile;

use super::Ctx;

/// What a policy wants to have verified, and when.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Request {
    pub(super) policy: String,
    pub(super) input: RoundInput,
    /// What is kept beside the evidence, by key.
    pub(super) beside: BTreeMap<&'static str, String>,
    pub(super) interval: Duration,
    pub(super) validity: Duration,
    /// The change that is in force; results from before it do not speak of it.
    pub(super) epoch: String,
    /// The live text, as a hash: whoever changed it, what was seen before says little.
    live: u64,
    /// The last word of a person who asks for a round at once.
    asked: Option<String>,
}

impl Request {
    /// Whether the same is to be verified, whoever asks.
    pub(super) fn is_about_the_same(&self, other: &Self) -> bool {
        let Self {
            policy,
            input,
            beside,
            interval,
            validity,
            epoch,
            live,
            asked: _,
        } = self;
        (policy, input, beside, epoch) == (&other.policy, &other.input, &other.beside, &other.epoch)
            && (interval, validity, live) == (&other.interval, &other.validity, &other.live)
    }
}

/// What the policy wants to have verified; none without a target.
pub(super) fn request(ctx: &Ctx, checked: &Checked<'_>, rollout: Option<&Rollout>) -> Option<Request> {
    let target = checked.target.as_ref().ok()?;
    let spec = &checked.policy.spec;
    let outside = if !spec.verification.vantages.contains(&Vantage::Outside) {
        Availability::Missing("add `outside` to spec.verification.vantages".to_owned())
    } else if ctx.vantages.has_outside() {
        Availability::Present
    } else {
        Availability::Missing(
            "no outside vantage is configured: run `tsutsumi prober` outside and name it under `vantages` in the \
             chart's values"
                .to_owned(),
        )
    };
    let inside = if spec.verification.vantages.contains(&Vantage::Inside) {
        Availability::Present
    } else {
        Availability::Missing("add `inside` to spec.verification.vantages".to_owned())
    };
    let probes = checked.probe.clone().unwrap_or_default();
    let zone = match &probes.inside {
        Some(_) => Availability::Present,
        None => Availability::Missing(
            "no Service leads to a probe zone: set `probeZone.enabled=true` in the chart's values".to_owned(),
        ),
    };
    let zone_outside = match &probes.outside {
        Some(_) if spec.verification.vantages.contains(&Vantage::Outside) => Availability::Present,
        Some(_) => Availability::Missing("add `outside` to spec.verification.vantages".to_owned()),
        None if ctx.scope.outside_zone.is_some() => Availability::Missing(
            "no DNS pod has an address of the family of `probeZone.outside.address` in the chart's values".to_owned(),
        ),
        None => Availability::Missing(
            "nobody runs a probe zone outside: start `tsutsumi probe-zone` on a host outside and name it under \
             `probeZone.outside` in the chart's values"
                .to_owned(),
        ),
    };
    let keys = target
        .corefile
        .as_deref()
        .and_then(|text| Corefile::parse(text).ok());
    let zones = keys
        .iter()
        .flat_map(Corefile::blocks)
        .flat_map(|block| block.keys().iter())
        .map(String::as_str);
    let pods = target.pods.iter().map(|pod| RoundPod {
        label: format!("{}/{}", target.workload.namespace, pod.name),
        endpoints: pod.endpoints().collect(),
        metrics: pod
            .addresses
            .first()
            .zip(pod.metrics_port)
            .map(|(address, port)| Endpoint {
                address: *address,
                port,
            }),
        ready: pod.ready,
        image_version: target.image_version.clone(),
    });
    Some(Request {
        policy: checked.policy.metadata.name.clone()?,
        input: RoundInput {
            asked: asked(spec),
            target: names(target),
            pods: pods.collect(),
            service: target
                .service
                .as_ref()
                .and_then(|service| service.endpoints().into_iter().next()),
            resolvers: resolvers(ctx, checked),
            exposures: checked.reach.exposures.clone(),
            around: around(ctx, checked),
            cluster_domain: ctx.cluster_domain.clone(),
            namespace: ctx.scope.own_namespace.clone(),
            forwarded_name: None,
            zones: zones_of_keys(zones),
            inside,
            outside,
            zone,
            zone_outside,
            zone_server: probes.inside.map(|lead| lead.server),
            root: checked.managed.root(),
            unsupported: unsupported(&target.channel),
        },
        beside: beside(checked),
        interval: spec.verification.interval.get(),
        validity: spec.verification.validity(),
        epoch: rollout
            .filter(|rollout| rollout.state == RolloutState::Settled)
            .map(|rollout| rollout.identity.clone())
            .unwrap_or_default(),
        live: hash(target.corefile.as_deref().unwrap_or_default()),
        asked: checked.policy.annotations().get(VERIFY).cloned(),
    })
}

/// The workload, as commands name it.
fn names(target: &Target) -> TargetNames {
    let kind = match target.workload.kind {
        WorkloadKind::DaemonSet => "daemonset",
        WorkloadKind::Deployment => "deployment",
    };
    TargetNames {
        namespace: target.workload.namespace.clone(),
        workload: format!("{kind}/{}", target.workload.name),
        config_map: written_to(target),
    }
}

/// The `NetworkPolicies` that would close the ways around cluster DNS.
fn beside(checked: &Checked<'_>) -> BTreeMap<&'static str, String> {
    let Some(found) = &checked.around else {
        return BTreeMap::new();
    };
    match around::text(found) {
        Ok(text) => [(around::KEY, text)].into(),
        Err(error) => {
            tracing::error!(%error, "the NetworkPolicies cannot be written down");
            BTreeMap::new()
        }
    }
}

/// The ways around cluster DNS, and where a person reads how to close them.
fn around(ctx: &Ctx, checked: &Checked<'_>) -> Option<Around> {
    let found = checked.around.as_ref()?;
    let policy = checked.policy.metadata.name.as_deref().unwrap_or_default();
    Some(Around {
        detours: found.detours.clone(),
        exempt: found.exempt.clone(),
        cure: (!found.policies.is_empty()).then(|| {
            format!(
                "kubectl -n {} get configmap {} -o jsonpath='{{.data.{}}}'",
                ctx.scope.own_namespace,
                super::publish::evidence_name(policy),
                around::KEY.replace('.', "\\.")
            )
        }),
        resolvers: found.resolvers.clone(),
        not_outside: found.not_outside.clone(),
        closings: checked.closings.iter().filter_map(Closing::told).collect(),
    })
}

/// The pods of the policy's managed resolver.
fn resolvers(ctx: &Ctx, checked: &Checked<'_>) -> Vec<RoundPod> {
    let policy = checked.policy.metadata.name.as_deref().unwrap_or_default();
    let namespace = &ctx.scope.own_namespace;
    let pods = ctx.caches.pods();
    let ours = pods.iter().filter(|pod| managed::is_of(pod, namespace, policy));
    let facts = ours.map(|pod| RoundPod {
        label: format!("{namespace}/{}", pod.metadata.name.as_deref().unwrap_or_default()),
        endpoints: pod
            .addresses
            .iter()
            .map(|address| managed::endpoint(*address))
            .collect(),
        metrics: None,
        ready: pod.ready,
        image_version: version_of_image(&pod.image),
    });
    // One that is coming up has no address yet.
    let mut facts: Vec<RoundPod> = facts.filter(|pod| !pod.endpoints.is_empty()).collect();
    facts.sort_by(|one, other| one.label.cmp(&other.label));
    facts
}

/// The same for the same text, within one process.
fn hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// The ConfigMap that a person or a policy would change.
fn written_to(target: &Target) -> String {
    match &target.channel {
        Channel::Custom { config_map, .. } => config_map.clone(),
        Channel::AuditOnly { .. } | Channel::WholeCorefile => target
            .config_map
            .as_ref()
            .map(|source| source.config_map.clone())
            .unwrap_or_default(),
    }
}

/// Where nothing may be written, what cannot be told is beyond the platform's levers; its own setting is named.
fn unsupported(channel: &Channel) -> BTreeMap<ControlId, String> {
    match channel {
        Channel::AuditOnly { reason, advice } => [
            ControlId::Dns01,
            ControlId::Dns02,
            ControlId::Dns03,
            ControlId::Dns04,
            ControlId::Dns09,
        ]
        .map(|control| (control, format!("{reason}; {advice}")))
        .into(),
        Channel::Custom { .. } => [
            (
                ControlId::Dns03,
                "source ports are reported where they can be seen, and not enforced.",
            ),
            (
                ControlId::Dns04,
                "nothing leads the pods to the probe zone outside.",
            ),
        ]
        .map(|(control, so)| {
            let why = "The platform owns the Corefile, and what that imports cannot change its `forward`";
            (control, format!("{why}: {so}"))
        })
        .into(),
        Channel::WholeCorefile => BTreeMap::new(),
    }
}
