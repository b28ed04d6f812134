//! What the two kinds of policy say, as values that can be compared.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;
use serde_path_to_error::deserialize;
use tsutsumi_api::{
    GROUP,
    ingress_protection::{
        ClusterIngressProtectionPolicy, Handshake, IngressProtectionPolicy, Limits as SharedLimits,
        PerClient, TargetGroup, TargetKind, Timeouts, Unit,
    },
    values::{Period, Size},
};
use tsutsumi_model::{Bytes, BytesPerSecond, Count, Limit, Limits, Per, Rate, Seconds};

use super::{Policy, PolicyName, Reference};

/// A policy that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// It is not what its kind says.
    #[error("{kind} {name} cannot be read")]
    Malformed {
        /// Its kind.
        kind: String,
        /// Its name.
        name: String,
        /// What is wrong with it, and where.
        source: serde_path_to_error::Error<serde_json::Error>,
    },
    /// It has no name, or a namespaced one no namespace.
    #[error(
        "a policy has to have a name, and a namespace where its kind has one: write `metadata.{missing}`"
    )]
    Nameless {
        /// The field that is missing.
        missing: &'static str,
    },
    /// No such kind is in that group.
    #[error(
        "{policy}: spec.targetRefs[{index}]: an Ingress is of the group networking.k8s.io, a Gateway and an HTTPRoute of \
         gateway.networking.k8s.io"
    )]
    Group {
        /// Whose.
        policy: PolicyName,
        /// Which of its targets.
        index: usize,
    },
    /// A part of something that has none.
    #[error("{policy}: spec.targetRefs[{index}].sectionName: only a Gateway has listeners; leave it out")]
    Section {
        /// Whose.
        policy: PolicyName,
        /// Which of its targets.
        index: usize,
    },
}

impl Policy {
    /// Reads an object, if it is of one of the two kinds.
    ///
    /// # Errors
    /// If it is, and cannot be used.
    pub fn read(object: &Value) -> Result<Option<Self>, PolicyError> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let malformed = |source| PolicyError::Malformed {
            kind: text(&object["kind"]),
            name: text(&object["metadata"]["name"]),
            source,
        };
        let ours = text(&object["apiVersion"]).split('/').next() == Some(GROUP);
        match object["kind"].as_str().filter(|_| ours) {
            Some("IngressProtectionPolicy") => {
                let policy: IngressProtectionPolicy = deserialize(object).map_err(malformed)?;
                Self::try_from(&policy).map(Some)
            }
            Some("ClusterIngressProtectionPolicy") => {
                let policy: ClusterIngressProtectionPolicy = deserialize(object).map_err(malformed)?;
                Self::try_from(&policy).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl TryFrom<&IngressProtectionPolicy> for Policy {
    type Error = PolicyError;

    fn try_from(policy: &IngressProtectionPolicy) -> Result<Self, PolicyError> {
        let namespace = policy.metadata.namespace.clone();
        let namespace = namespace.ok_or(PolicyError::Nameless { missing: "namespace" })?;
        let name = policy.metadata.name.clone();
        let name = name.ok_or(PolicyError::Nameless { missing: "name" })?;
        let name = PolicyName::Namespaced(namespace.clone(), name);
        let spec = &policy.spec;
        let targets = spec.target_refs.iter().map(|target| Target {
            group: target.group,
            kind: target.kind,
            namespace: &namespace,
            name: &target.name,
            section: target.section_name.as_deref(),
        });
        Ok(Self {
            created: created(&policy.metadata),
            targets: references(&name, targets)?,
            limits: limits(spec.handshake, spec.timeouts, spec.per_client, spec.limits),
            floors: Limits::default(),
            name,
        })
    }
}

impl TryFrom<&ClusterIngressProtectionPolicy> for Policy {
    type Error = PolicyError;

    fn try_from(policy: &ClusterIngressProtectionPolicy) -> Result<Self, PolicyError> {
        let name = policy.metadata.name.clone();
        let name = PolicyName::Cluster(name.ok_or(PolicyError::Nameless { missing: "name" })?);
        let spec = &policy.spec;
        let targets = spec.target_refs.iter().map(|target| Target {
            group: target.group,
            kind: target.kind,
            namespace: &target.namespace,
            name: &target.name,
            section: target.section_name.as_deref(),
        });
        let floors = spec.floors.unwrap_or_default();
        Ok(Self {
            created: created(&policy.metadata),
            targets: references(&name, targets)?,
            limits: limits(spec.handshake, spec.timeouts, spec.per_client, spec.limits),
            floors: limits(
                floors.handshake,
                floors.timeouts,
                floors.per_client,
                floors.limits,
            ),
            name,
        })
    }
}

/// A target of either kind of policy.
struct Target<'a> {
    group: TargetGroup,
    kind: TargetKind,
    namespace: &'a str,
    name: &'a str,
    section: Option<&'a str>,
}

fn references<'a>(
    policy: &PolicyName,
    targets: impl Iterator<Item = Target<'a>>,
) -> Result<Vec<Reference>, PolicyError> {
    let reference = |(index, target): (usize, Target<'_>)| {
        let kind = target.kind;
        let group = match kind {
            TargetKind::Gateway | TargetKind::HttpRoute => TargetGroup::Gateway,
            TargetKind::Ingress => TargetGroup::Networking,
        };
        if target.group != group {
            return Err(PolicyError::Group {
                policy: policy.clone(),
                index,
            });
        }
        if target.section.is_some() && kind != TargetKind::Gateway {
            return Err(PolicyError::Section {
                policy: policy.clone(),
                index,
            });
        }
        Ok(Reference {
            kind,
            namespace: target.namespace.to_owned(),
            name: target.name.to_owned(),
            section: target.section.map(ToOwned::to_owned),
        })
    };
    targets.enumerate().map(reference).collect()
}

/// What a policy's sections say, lever by lever.
fn limits(
    handshake: Option<Handshake>,
    timeouts: Option<Timeouts>,
    per_client: Option<PerClient>,
    limits: Option<SharedLimits>,
) -> Limits {
    let Handshake { tls } = handshake.unwrap_or_default();
    let Timeouts {
        request_headers,
        whole_request,
        idle,
    } = timeouts.unwrap_or_default();
    let PerClient {
        requests,
        connections: client_connections,
        bandwidth,
    } = per_client.unwrap_or_default();
    let SharedLimits {
        connections,
        header_bytes,
        body_bytes,
        concurrent_streams,
    } = limits.unwrap_or_default();
    Limits {
        tcp_handshake: None,
        tls_handshake: tls.and_then(seconds),
        request_headers: request_headers.and_then(seconds),
        whole_request: whole_request.and_then(seconds),
        idle: idle.and_then(seconds),
        client_requests: requests.map(|requests| {
            let per = match requests.per {
                Unit::Second => Per::Second,
                Unit::Minute => Per::Minute,
                Unit::Hour => Per::Hour,
            };
            let count = requests.count;
            Rate { count, per }.into()
        }),
        client_burst: requests
            .and_then(|requests| requests.burst)
            .map(|burst| Count(burst).into()),
        client_connections: client_connections.map(|count| Count(count).into()),
        client_bandwidth: bandwidth.map(|size| BytesPerSecond(size.get()).into()),
        connections: connections.map(|count| Count(count).into()),
        header_bytes: header_bytes.map(bytes),
        body_bytes: body_bytes.map(bytes),
        concurrent_streams: concurrent_streams.map(|count| Count(count).into()),
    }
}

/// A period has at least a second, and its schema at most 999,999 days, which fits.
fn seconds(period: Period) -> Option<Limit<Seconds>> {
    let seconds = u32::try_from(period.get().as_secs()).unwrap_or(u32::MAX);
    std::num::NonZeroU32::new(seconds).map(|seconds| Seconds(seconds).into())
}

fn bytes(size: Size) -> Limit<Bytes> {
    Bytes(size.get()).into()
}

/// One that is only written down is the youngest.
fn created(meta: &ObjectMeta) -> i64 {
    meta.creation_timestamp
        .as_ref()
        .map_or(i64::MAX, |time| time.0.as_second())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn policy(spec: &Value) -> Result<Option<Policy>, PolicyError> {
        Policy::read(&json!({
            "apiVersion": "tsutsumi.dev/v1alpha1",
            "kind": "IngressProtectionPolicy",
            "metadata": {"namespace": "town", "name": "web"},
            "spec": spec,
        }))
    }

    fn attached(target: &Value) -> Result<Option<Policy>, PolicyError> {
        policy(&json!({"mode": "Enforce", "targetRefs": [target]}))
    }

    #[test]
    fn every_field_is_a_lever() {
        let said = policy(&json!({
            "mode": "Enforce",
            "targetRefs": [{"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "public"}],
            "handshake": {"tls": "10s"},
            "timeouts": {"requestHeaders": "11s", "wholeRequest": "1m", "idle": "2m"},
            "perClient": {
                "requests": {"count": 50, "per": "1s", "burst": 100},
                "connections": 20,
                "bandwidth": "2Mi",
            },
            "limits": {
                "connections": 10_000,
                "headerBytes": "32Ki",
                "bodyBytes": "10Mi",
                "concurrentStreams": 100,
            },
        }));
        let said = said.unwrap().unwrap();
        let listed: Vec<String> = said
            .limits
            .iter()
            .map(|(lever, value, ())| format!("{lever} {value}"))
            .collect();
        assert_eq!(
            listed,
            [
                "handshake.tls 10s",
                "timeouts.requestHeaders 11s",
                "timeouts.wholeRequest 60s",
                "timeouts.idle 120s",
                "perClient.requests 50 per second",
                "perClient.requests.burst 100",
                "perClient.connections 20",
                "perClient.bandwidth 2097152 bytes per second",
                "limits.connections 10000",
                "limits.headerBytes 32768 bytes",
                "limits.bodyBytes 10485760 bytes",
                "limits.concurrentStreams 100",
            ]
        );
        // That of nodes is not a policy's of a namespace.
        assert_eq!(listed.len(), tsutsumi_model::Lever::ALL.len() - 1);
        assert_eq!(said.floors, Limits::default());
        assert_eq!(said.targets[0].namespace, "town");
    }

    #[test]
    fn targets_that_cannot_be_are_refused_by_their_place() {
        for (target, said) in [
            (
                json!({"group": "networking.k8s.io", "kind": "Gateway", "name": "public"}),
                "town/web: spec.targetRefs[0]: an Ingress is of the group networking.k8s.io",
            ),
            (
                json!({"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "web", "sectionName": "a"}),
                "town/web: spec.targetRefs[0].sectionName: only a Gateway has listeners",
            ),
        ] {
            let error = attached(&target).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
    #[test]
    fn a_field_that_is_not_there_is_named() {
        let error = policy(&json!({"mode": "Enforce", "targetRefs": [], "timeout": {}})).unwrap_err();
        let PolicyError::Malformed { kind, name, source } = error else {
            panic!("{error:?}");
        };
        assert_eq!((kind.as_str(), name.as_str()), ("IngressProtectionPolicy", "web"));
        assert!(
            source
                .to_string()
                .starts_with("spec.timeout: unknown field `timeout`"),
            "{source}"
        );
        assert!(Policy::read(&json!({"kind": "ConfigMap"})).unwrap().is_none());
    }
}
