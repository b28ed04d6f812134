//! The address that CoreDNS asks, which outlives every pod, and where Prometheus finds the pods.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Wish, config};

/// Where a pod tells Unbound's numbers.
pub(super) const ADMIN: i32 = 8080;
/// The label by which the chart's `ServiceMonitor` finds what has numbers.
const METRICS: &str = "tsutsumi.dev/metrics";

/// Inside the cluster only, over both transports, and over TLS where it has a certificate.
pub(super) fn service(wish: &Wish<'_>) -> Service {
    let port = |name: &str, protocol: &str| ServicePort {
        name: Some(name.to_owned()),
        port: 53,
        protocol: Some(protocol.to_owned()),
        target_port: Some(IntOrString::String(name.to_owned())),
        ..ServicePort::default()
    };
    let mut metadata = wish.meta(wish.name());
    let mut ports = vec![port("dns", "UDP"), port("dns-tcp", "TCP")];
    if wish.leaf.is_some() {
        ports.push(ServicePort {
            port: config::TLS.get().into(),
            ..port("dns-tls", "TCP")
        });
    }
    if wish.offer.metrics_image.is_some() {
        let labels = metadata.labels.get_or_insert_default();
        labels.insert(METRICS.to_owned(), "true".to_owned());
        ports.push(ServicePort {
            port: ADMIN,
            ..port("admin", "TCP")
        });
    }
    Service {
        metadata,
        spec: Some(ServiceSpec {
            ip_family_policy: Some("PreferDualStack".to_owned()),
            ports: Some(ports),
            selector: Some(wish.selector()),
            type_: Some("ClusterIP".to_owned()),
            ..ServiceSpec::default()
        }),
        status: None,
    }
}
