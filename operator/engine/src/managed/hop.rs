//! The hop from CoreDNS to the managed resolver: over TLS with a verified name, as far as that can be.
//!
//! CoreDNS reads the authorities from a file of its own pod when it loads a text, and neither loads nor starts without
//! it. That file comes from a ConfigMap of ours that the owner of CoreDNS mounts. So a text says TLS only while every
//! pod that serves has the mount, and so does every pod that would come; and Unbound answers over UDP as well all the
//! while, so that the way back is there at once.
//!
//! Every certificate is named by its content. Unbound shows a new one only once the authorities that signed it are in
//! force in every pod of CoreDNS.

use k8s_openapi::api::apps::v1::Deployment;
use serde_json::json;
use tsutsumi_api::{
    conditions::Reason,
    resolver_policy::{self, RolloutState, WorkloadKind},
};
use tsutsumi_model::Endpoint;
use tsutsumi_providers::coredns::{
    Root,
    hop::{Encrypted, FilePath, encrypted_with},
};

use super::{Missing, config};
use crate::{cluster::Cluster, resolver::Checked, target::Target};

/// The ConfigMap with the authorities, in the namespace of CoreDNS.
pub const AUTHORITY: &str = "tsutsumi-resolver-ca";
/// Where CoreDNS's pods have it.
pub const FOLDER: &str = "/etc/tsutsumi/resolver-ca";
/// The Secret with the resolver's certificates and their keys, in our namespace.
pub const SECRET: &str = "tsutsumi-resolver-tls";
/// The name in these certificates; it is never resolved.
pub const SERVER_NAME: &str = "resolver.tsutsumi.internal";

/// What was issued for the hop.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Certificates {
    /// The key of [`AUTHORITY`] with the present authorities.
    pub authorities: String,
    /// The certificates in [`SECRET`], the newest first: `NAME.crt` and `NAME.key` are keys of it.
    pub leaves: Vec<String>,
}

/// How CoreDNS should ask the managed resolver.
#[derive(Clone, Debug, PartialEq)]
pub enum Hop {
    /// Over UDP; and why, where the policy wants TLS.
    Udp(Option<Missing>),
    /// Over TLS, with authorities from this file.
    Tls(FilePath),
}

impl Hop {
    /// Whom a Corefile leads to, for a resolver that is asked over UDP at `server`.
    pub(super) fn root(&self, server: Endpoint) -> Option<Root> {
        Some(match self {
            Self::Udp(_) => Root::Servers(vec![server]),
            Self::Tls(authorities) => Root::Encrypted(Encrypted {
                server: Endpoint {
                    port: config::TLS,
                    ..server
                },
                name: SERVER_NAME.parse().ok()?,
                authorities: authorities.clone(),
            }),
        })
    }
}

/// How it should be asked, as the policy and the pods of CoreDNS have it.
pub(super) fn decide(
    wanted: Option<resolver_policy::Hop>,
    target: &Target,
    cluster: &Cluster,
    certificates: Option<&Certificates>,
    live: Option<&Deployment>,
) -> Hop {
    if wanted != Some(resolver_policy::Hop::Tls) {
        return Hop::Udp(None);
    }
    let over_udp = |reason, message| Hop::Udp(Some(Missing { reason, message }));
    if !target.has_authority {
        let message = format!(
            "recursion.hop: the template of {} does not mount the ConfigMap {AUTHORITY}, by which CoreDNS knows Unbound, \
             so Unbound is asked over UDP; mount it with: {}",
            target.workload,
            mount(target)
        );
        return over_udp(Reason::AuthorityNotMounted, message);
    }
    let ready = || target.pods.iter().filter(|pod| pod.ready);
    let without = ready().filter(|pod| !pod.has_authority).count();
    if without > 0 {
        let message = format!(
            "recursion.hop: {without} of {} ready pods of {} run without the ConfigMap {AUTHORITY} that its template \
             mounts; until all have it, Unbound is asked over UDP",
            ready().count(),
            target.workload
        );
        return over_udp(Reason::ResolverNotReady, message);
    }
    let shown = live.and_then(shown);
    let kept = |leaf: &String| certificates.is_none_or(|issued| issued.leaves.contains(leaf));
    if shown.is_some_and(|leaf| !kept(&leaf)) {
        let message = "recursion.hop: the certificate that Unbound shows is not kept any more, and pods of CoreDNS may not \
                       trust a new one yet; until Unbound shows that, it is asked over UDP";
        return over_udp(Reason::ResolverNotReady, message.to_owned());
    }
    // The present ones, or what the text names already, as far as CoreDNS's pods can have it.
    let newest = certificates.map(|certificates| certificates.authorities.clone());
    let there = |file: &String| {
        cluster
            .text(&target.workload.namespace, AUTHORITY, file)
            .is_some()
    };
    let file = newest.into_iter().chain(in_text(target)).find(there);
    match file.and_then(|file| format!("{FOLDER}/{file}").parse().ok()) {
        Some(file) => Hop::Tls(file),
        None => over_udp(
            Reason::ResolverNotReady,
            format!(
                "recursion.hop: the authorities are about to be written into the ConfigMap {}/{AUTHORITY}, which the \
                 chart makes; until then Unbound is asked over UDP",
                target.workload.namespace
            ),
        ),
    }
}

/// The certificate that Unbound should show; none where nobody asks over TLS, or none was issued.
pub(super) fn leaf(
    wanted: Option<resolver_policy::Hop>,
    checked: &Checked<'_>,
    certificates: Option<&Certificates>,
    live: Option<&Deployment>,
) -> Option<String> {
    let shown = live.and_then(shown);
    let asked = checked.target.as_ref().ok().and_then(in_text);
    let settled = checked
        .policy
        .status
        .as_ref()
        .and_then(|status| status.rollout.as_ref())
        .is_none_or(|rollout| rollout.state == RolloutState::Settled);
    if wanted != Some(resolver_policy::Hop::Tls) {
        // Until no pod asks over TLS any more.
        return shown.filter(|_| !settled || asked.is_some());
    }
    let Some(certificates) = certificates else {
        return shown;
    };
    let known = settled && asked.is_none_or(|file| file == certificates.authorities);
    let newest = certificates.leaves.first().cloned();
    if known { newest } else { shown.or(newest) }
}

/// Where a text that names a file leads instead, once pods that come would not have it and so would not start.
pub(crate) fn retreat(target: &Target) -> Option<Root> {
    if target.has_authority {
        return None;
    }
    let hop = encrypted_with(target.corefile.as_deref()?, FOLDER)?;
    Some(Root::Servers(vec![super::endpoint(hop.server.address)]))
}

/// Whether a text needs the authorities' file.
#[must_use]
pub fn needs_authority(text: &str) -> bool {
    encrypted_with(text, FOLDER).is_some()
}

/// The file with authorities that the live text names.
fn in_text(target: &Target) -> Option<String> {
    let hop = encrypted_with(target.corefile.as_deref()?, FOLDER)?;
    hop.authorities.within(FOLDER).map(str::to_owned)
}

/// The certificate that the pods of a Deployment have.
fn shown(live: &Deployment) -> Option<String> {
    let volumes = live.spec.as_ref()?.template.spec.as_ref()?.volumes.as_ref()?;
    let secret = volumes.iter().find_map(|volume| volume.secret.as_ref())?;
    let mut files = secret.items.iter().flatten();
    files.find_map(|item| item.key.strip_suffix(".crt").map(str::to_owned))
}

/// The command that mounts the ConfigMap.
fn mount(target: &Target) -> String {
    let kind = match target.workload.kind {
        WorkloadKind::DaemonSet => "daemonset",
        WorkloadKind::Deployment => "deployment",
    };
    // Optional, so that no pod waits for it.
    let patch = json!({"spec": {"template": {"spec": {
        "containers": [{
            "name": target.template.container,
            "volumeMounts": [{"name": AUTHORITY, "mountPath": FOLDER, "readOnly": true}],
        }],
        "volumes": [{"name": AUTHORITY, "configMap": {"name": AUTHORITY, "optional": true}}],
    }}}});
    let (namespace, name) = (&target.workload.namespace, &target.workload.name);
    format!("kubectl -n {namespace} patch {kind} {name} -p '{patch}'")
}
