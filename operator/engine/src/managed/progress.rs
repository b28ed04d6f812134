//! How far a managed resolver has come: whether every pod serves the newest configuration, and if not, why.

use std::sync::Arc;

use k8s_openapi::{api::apps::v1::Deployment, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use tsutsumi_api::conditions::Reason;
use tsutsumi_model::{Endpoint, Port};
use tsutsumi_providers::coredns::nsid::Nsid;

use super::{CONFIG, Missing, Wish, is_of};
use crate::cluster::{Pod, Service};

const DNS: Port = Port::new(53).expect("53 is not 0");

/// Whether the live Deployment is the one that was applied last, together with all the others, and nobody changed what
/// it runs since.
pub(super) fn is_applied(live: &Deployment, wanted: &Deployment, annotation: &str) -> bool {
    let applied = |meta: &ObjectMeta| meta.annotations.as_ref()?.get(annotation).cloned();
    applied(&live.metadata) == applied(&wanted.metadata) && runs(live) == runs(wanted)
}

/// Where it is asked, once every pod serves this configuration.
pub(super) fn serving(
    wish: &Wish<'_>,
    identity: &Nsid,
    wanted: &Deployment,
    live: Option<&Deployment>,
    service: Option<&Arc<Service>>,
    pods: &[Arc<Pod>],
) -> Result<Endpoint, Missing> {
    let not_ready = |message: String| Missing {
        reason: Reason::ResolverNotReady,
        message,
    };
    let identity = identity.to_string();
    let ours = pods
        .iter()
        .filter(|pod| is_of(pod, wish.namespace, wish.policy) && pod.label(CONFIG) == Some(&identity));
    if let Some(trouble) = ours.clone().find_map(|pod| pod.trouble.as_ref()) {
        return Err(Missing {
            reason: Reason::ResolverRefused,
            message: format!(
                "Unbound does not come up with the newest configuration, and what runs stays: {trouble}"
            ),
        });
    }
    let name = wish.name();
    let Some(live) = live else {
        return Err(not_ready(format!(
            "Unbound is about to be made as Deployment {name}"
        )));
    };
    let replicas = i32::from(wish.offer.replicas);
    let status = live.status.clone().unwrap_or_default();
    let seen = status.observed_generation >= live.metadata.generation;
    let newest = seen && config_of(live) == config_of(wanted) && runs(live) == runs(wanted);
    let updated = if newest {
        status.updated_replicas.unwrap_or_default()
    } else {
        0
    };
    let whole = newest
        && [
            status.updated_replicas,
            status.available_replicas,
            status.replicas,
        ]
        .iter()
        .all(|count| *count == Some(replicas));
    if !whole {
        let ready = ours.filter(|pod| pod.ready).count();
        return Err(not_ready(format!(
            "Unbound is being rolled out: of {replicas} pods of Deployment {name}, {updated} have the newest \
             configuration and {ready} of these serve; until all do, whom cluster DNS asks stays as it is"
        )));
    }
    let addresses = service
        .map(|service| service.cluster_ips.as_slice())
        .unwrap_or_default();
    let (four, six) = wish.families;
    addresses
        .iter()
        .copied()
        .find(|address| if address.is_ipv4() { four } else { six })
        .map(|address| Endpoint { address, port: DNS })
        .ok_or_else(|| {
            not_ready(format!(
                "Service {name} has no address yet that CoreDNS could ask"
            ))
        })
}

/// The ConfigMap that the pods read.
fn config_of(deployment: &Deployment) -> Option<&str> {
    let volumes = deployment
        .spec
        .as_ref()?
        .template
        .spec
        .as_ref()?
        .volumes
        .as_ref()?;
    let maps = volumes.iter().find_map(|volume| volume.config_map.as_ref());
    Some(maps?.name.as_str())
}

/// How many pods, of which images.
fn runs(deployment: &Deployment) -> Option<(Option<i32>, Vec<&str>)> {
    let spec = deployment.spec.as_ref()?;
    let containers = spec.template.spec.iter().flat_map(|pod| &pod.containers);
    let images = containers.map(|each| each.image.as_deref().unwrap_or_default());
    Some((spec.replicas, images.collect()))
}
