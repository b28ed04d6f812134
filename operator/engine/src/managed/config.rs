//! The configuration: Unbound's own file, the root's servers and the root's keys, in one immutable ConfigMap.

use std::num::{NonZeroU8, NonZeroU32};

use k8s_openapi::api::core::v1::ConfigMap;
use sha2::{Digest, Sha256};
use tsutsumi_api::resolver_policy::Dnssec;
use tsutsumi_model::Port;
use tsutsumi_providers::{
    coredns::nsid::Nsid,
    unbound::{
        config::Text,
        profile::{Families, Profile, RenderError, Stub, Tls, Validation},
    },
};

use super::{PREFIX, Wish};

/// Where the ConfigMap is mounted.
pub(super) const FOLDER: &str = "/etc/unbound";
/// Where the certificate for the hop is mounted.
pub(super) const CERTIFICATES: &str = "/etc/unbound-tls";
/// What may be written.
pub(super) const RUN: &str = "/run/unbound";
/// The key of Unbound's own file.
pub(super) const MAIN: &str = "unbound.conf";

/// Where the resolver listens.
pub(super) const DNS: Port = Port::new(53).expect("53 is not 0");
pub(super) const TLS: Port = Port::new(853).expect("853 is not 0");
/// Queries per second to one zone; a flood of random names ends there.
const ZONE_RATE_LIMIT: Option<NonZeroU32> = NonZeroU32::new(1000);

/// The ConfigMap, and the identity by which its content is told apart and which Unbound shows as NSID.
pub(super) fn config(wish: &Wish<'_>) -> Result<(ConfigMap, Nsid), RenderError> {
    let blank = profile(wish, Nsid::BLANK).render()?;
    let mut hash = Sha256::new();
    for part in [&blank, &wish.root.hints, &wish.root.anchors] {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    let identity = Nsid::of_hash(&hash.finalize());
    let files = [
        (MAIN, profile(wish, identity.clone()).render()?),
        ("named.root", wish.root.hints.clone()),
        ("root.key", wish.root.anchors.clone()),
    ];
    let shown = identity.to_string();
    let hash = shown.rsplit('-').next().unwrap_or_default();
    let config = ConfigMap {
        metadata: wish.meta(format!("{PREFIX}{}-{hash}", wish.policy)),
        data: Some(files.map(|(file, text)| (file.to_owned(), text)).into()),
        immutable: Some(true),
        ..ConfigMap::default()
    };
    Ok((config, identity))
}

fn profile(wish: &Wish<'_>, identity: Nsid) -> Profile {
    let folder = |text: &str| text.parse::<Text>().unwrap_or_default();
    Profile {
        clients: wish.clients.clone(),
        max_message_bytes: wish.max_message_bytes,
        validation: match wish.recursion.dnssec.unwrap_or_default() {
            Dnssec::Off => Validation::Off,
            Dnssec::Required => Validation::Required,
            Dnssec::WhenSigned => Validation::WhenSigned,
        },
        stubs: wish
            .probe_zones
            .iter()
            .map(|(lead, anchor)| Stub {
                zone: lead.zone.clone(),
                servers: vec![lead.server],
                trust_anchor: Some(anchor.clone()),
            })
            .collect(),
        forwards: Vec::new(),
        private_domains: Vec::new(),
        identity,
        tls: wish.leaf.as_ref().map(|leaf| Tls {
            certificate: folder(&format!("{CERTIFICATES}/{leaf}.crt")),
            key: folder(&format!("{CERTIFICATES}/{leaf}.key")),
        }),
        authorities: None,
        avoid_ports: Vec::new(),
        zone_rate_limit: ZONE_RATE_LIMIT,
        families: match wish.families {
            (true, true) => Families::Both,
            (false, true) => Families::V6,
            (_, false) => Families::V4,
        },
        dns_port: DNS,
        tls_port: TLS,
        threads: NonZeroU8::MIN,
        config_directory: folder(FOLDER),
        run_directory: folder(RUN),
        loopback_servers: false,
    }
}
