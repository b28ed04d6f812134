//! Pools that network plugins keep as objects of their own: Calico's `IPPool`, Cilium's `CiliumPodIPPool` and
//! `CiliumNode`.
//!
//! Only the networks are read. A pool that hands out nothing any more still holds the addresses of pods that run, so
//! it counts; one that serves load balancers alone does not, since nobody asks from there.

use ipnet::IpNet;
use k8s_openapi::serde_json::Value;

use super::net;

/// A kind whose objects hold ranges of pods.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PoolKind {
    /// Calico's `IPPool` (projectcalico/calico `crd.projectcalico.org_ippools.yaml`).
    CalicoIpPool,
    /// Cilium's `CiliumPodIPPool` (cilium/cilium `ciliumpodippools.yaml`).
    CiliumPodIpPool,
    /// Cilium's `CiliumNode`: what a node was given. It keeps that when the pool is changed behind it.
    CiliumNode,
}

impl PoolKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::CalicoIpPool, Self::CiliumPodIpPool, Self::CiliumNode];

    /// The API group of the kind.
    #[must_use]
    pub const fn group(self) -> &'static str {
        match self {
            Self::CalicoIpPool => "crd.projectcalico.org",
            Self::CiliumPodIpPool | Self::CiliumNode => "cilium.io",
        }
    }

    /// The kind, as its objects say it.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::CalicoIpPool => "IPPool",
            Self::CiliumPodIpPool => "CiliumPodIPPool",
            Self::CiliumNode => "CiliumNode",
        }
    }

    /// What the `spec` of the object of that name holds, in any version of the kind.
    #[must_use]
    pub fn read(self, name: &str, spec: &Value) -> Pool {
        let at = |pointer: &str| spec.pointer(pointer).unwrap_or(&Value::Null);
        let fields = match self {
            Self::CalicoIpPool if only_for_load_balancers(at("/allowedUses")) => Vec::new(),
            Self::CalicoIpPool => vec![("cidr", texts(at("/cidr")))],
            Self::CiliumPodIpPool => vec![
                ("ipv4.cidrs", texts(at("/ipv4/cidrs"))),
                ("ipv6.cidrs", texts(at("/ipv6/cidrs"))),
            ],
            Self::CiliumNode => {
                let given = at("/ipam/pools/allocated").as_array().into_iter().flatten();
                let given = given.flat_map(|each| texts(&each["cidrs"])).collect();
                vec![
                    ("podCIDRs", texts(at("/ipam/podCIDRs"))),
                    ("pools.allocated", given),
                ]
            }
        };
        let ranges = fields.into_iter().flat_map(|(field, texts)| {
            let source = format!("{field} of {} {name}", self.kind());
            let nets = texts.into_iter().filter_map(net);
            nets.map(move |net| (net, source.clone()))
        });
        Pool(ranges.collect())
    }
}

/// What one object holds, each range with its source.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Pool(pub(super) Vec<(IpNet, String)>);

fn only_for_load_balancers(uses: &Value) -> bool {
    let uses = texts(uses);
    !uses.is_empty() && uses.iter().all(|each| each.eq_ignore_ascii_case("LoadBalancer"))
}

/// The text, or each of a list. Cilium's `v2alpha1` lists networks as text, its `v2` as objects with a `cidr`.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().flat_map(texts).collect(),
        Value::Object(object) => object.get("cidr").map(texts).unwrap_or_default(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::serde_json::json;

    use super::*;

    fn read(kind: PoolKind, spec: &Value) -> Vec<String> {
        let ranges = kind.read("town", spec).0;
        ranges
            .iter()
            .map(|(net, source)| format!("{net} {source}"))
            .collect()
    }

    #[test]
    fn a_pool_of_calico_is_its_network_also_while_it_is_disabled() {
        let mut spec = json!({"cidr": "10.48.0.0/16", "blockSize": 26, "nodeSelector": "all()"});
        let expected = ["10.48.0.0/16 cidr of IPPool town"];
        assert_eq!(read(PoolKind::CalicoIpPool, &spec), expected);
        spec["disabled"] = true.into();
        assert_eq!(read(PoolKind::CalicoIpPool, &spec), expected);
    }

    #[test]
    fn only_a_pool_that_is_for_load_balancers_alone_is_left_out() {
        let with = |uses: &Value| {
            let spec = json!({"cidr": "10.48.0.0/16", "allowedUses": uses});
            read(PoolKind::CalicoIpPool, &spec).len()
        };
        assert_eq!(with(&json!(["LoadBalancer"])), 0);
        for uses in [
            json!([]),
            json!(null),
            json!(["Tunnel"]),
            json!(["LoadBalancer", "Workload"]),
        ] {
            assert_eq!(with(&uses), 1, "{uses}");
        }
    }

    #[test]
    fn a_pool_of_cilium_is_read_in_both_versions() {
        let old = json!({"ipv4": {"cidrs": ["10.10.0.0/16", "10.20.0.0/16"], "maskSize": 24}});
        let new = json!({
            "ipv4": {"cidrs": [{"cidr": "10.10.0.0/16", "reservedRange": "10.10.0.0-10.10.0.9"}], "maskSize": 24},
            "ipv6": {"cidrs": [{"cidr": "fd10::/104"}], "maskSize": 120},
        });
        assert_eq!(
            read(PoolKind::CiliumPodIpPool, &old),
            [
                "10.10.0.0/16 ipv4.cidrs of CiliumPodIPPool town",
                "10.20.0.0/16 ipv4.cidrs of CiliumPodIPPool town",
            ]
        );
        assert_eq!(
            read(PoolKind::CiliumPodIpPool, &new),
            [
                "10.10.0.0/16 ipv4.cidrs of CiliumPodIPPool town",
                "fd10::/104 ipv6.cidrs of CiliumPodIPPool town",
            ]
        );
    }

    #[test]
    fn a_node_of_cilium_is_what_it_was_given() {
        let spec = json!({
            "addresses": [{"ip": "192.0.2.11", "type": "InternalIP"}],
            "ipam": {
                "podCIDRs": ["10.0.1.0/24", "fd01::100/120"],
                "pools": {
                    "requested": [{"pool": "default", "needed": {"ipv4-addrs": 8}}],
                    "allocated": [{"pool": "default", "cidrs": ["10.10.3.0/27"]}, {"pool": "blue", "cidrs": ["10.20.0.0/27"]}],
                },
            },
        });
        assert_eq!(
            read(PoolKind::CiliumNode, &spec),
            [
                "10.0.1.0/24 podCIDRs of CiliumNode town",
                "fd01::100/120 podCIDRs of CiliumNode town",
                "10.10.3.0/27 pools.allocated of CiliumNode town",
                "10.20.0.0/27 pools.allocated of CiliumNode town",
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_holds_nothing_and_what_means_everybody_neither() {
        for kind in PoolKind::ALL {
            for spec in [
                json!(null),
                json!("none"),
                json!({"cidr": 7, "ipam": [], "ipv4": "10.0.0.0/8"}),
            ] {
                assert_eq!(read(kind, &spec), [""; 0], "{kind:?} {spec}");
            }
        }
        assert_eq!(
            read(PoolKind::CalicoIpPool, &json!({"cidr": "0.0.0.0/0"})),
            [""; 0]
        );
    }
}
