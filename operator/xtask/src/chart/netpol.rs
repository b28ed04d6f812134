//! Network policies, evaluated as Kubernetes defines them: a pod that no policy selects exchanges with everybody, one
//! that is selected only by a rule; a flow needs the sender's egress and the receiver's ingress. What this evaluator
//! does not know is reported, never read as something else.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde_json::Value;

use super::objects::{Object, list, text, texts};

/// Somebody with an address; a pod, if it has a namespace.
pub(super) struct Party {
    /// Who, for the list of flows.
    pub(super) name: &'static str,
    namespace: String,
    labels: BTreeMap<String, String>,
    address: IpAddr,
}

impl Party {
    /// From a line of a table; labels are `key=value`, the namespace `-` is `ours`.
    pub(super) fn new(
        (name, namespace, labels, address): (&'static str, &str, &str, &str),
        ours: &str,
    ) -> Option<Self> {
        let pairs = labels.split_whitespace().filter_map(|pair| pair.split_once('='));
        Some(Self {
            name,
            namespace: if namespace == "-" {
                ours.to_owned()
            } else {
                namespace.to_owned()
            },
            labels: pairs
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            address: address.parse().ok()?,
        })
    }

    fn is_pod(&self) -> bool {
        !self.namespace.is_empty()
    }
}

/// Whether one reaches the other at this port.
pub(super) fn flows(policies: &[&Object], from: &Party, to: &Party, port: (&str, u64)) -> bool {
    passes(policies, from, to, port, "Egress") && passes(policies, to, from, port, "Ingress")
}

/// Whether `party` may exchange with `other` in one direction: yes unless isolated, then by any rule that matches.
fn passes(policies: &[&Object], party: &Party, other: &Party, port: (&str, u64), direction: &str) -> bool {
    let isolating: Vec<&&Object> = policies
        .iter()
        .filter(|policy| selects(policy, party) && directions(policy).contains(&direction))
        .collect();
    let (rules, peers) = if direction == "Egress" {
        ("/spec/egress", "/to")
    } else {
        ("/spec/ingress", "/from")
    };
    isolating.is_empty()
        || isolating.iter().any(|policy| {
            list(policy.value(), rules).iter().any(|rule| {
                peer_matches(policy, list(rule, peers), other) && port_matches(list(rule, "/ports"), port)
            })
        })
}

fn selects(policy: &Object, party: &Party) -> bool {
    party.is_pod()
        && policy.namespace() == party.namespace
        && matches(policy.at("/spec/podSelector"), &party.labels)
}

/// `policyTypes`, or what Kubernetes takes when there are none.
fn directions(policy: &Object) -> Vec<&str> {
    let named = texts(policy.value(), "/spec/policyTypes");
    if !named.is_empty() {
        return named;
    }
    if policy.at("/spec/egress").is_some() {
        vec!["Ingress", "Egress"]
    } else {
        vec!["Ingress"]
    }
}

fn peer_matches(policy: &Object, peers: &[Value], other: &Party) -> bool {
    peers.is_empty()
        || peers.iter().any(|peer| {
            if let Some(block) = peer.get("ipBlock") {
                let inside = |cidr: &str| contains(cidr, other.address);
                return inside(text(block, "/cidr")) && !texts(block, "/except").into_iter().any(inside);
            }
            let namespace =
                BTreeMap::from([("kubernetes.io/metadata.name".to_owned(), other.namespace.clone())]);
            let home = match peer.get("namespaceSelector") {
                None => policy.namespace() == other.namespace,
                selector => matches(selector, &namespace),
            };
            other.is_pod()
                && home
                && peer
                    .get("podSelector")
                    .is_none_or(|one| matches(Some(one), &other.labels))
        })
}

fn port_matches(ports: &[Value], (protocol, port): (&str, u64)) -> bool {
    ports.is_empty()
        || ports.iter().any(|one| {
            let first = one.get("port").and_then(Value::as_u64);
            let last = one.get("endPort").and_then(Value::as_u64).or(first);
            let spoken = one.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
            spoken == protocol
                && first.is_none_or(|first| port >= first)
                && last.is_none_or(|last| port <= last)
        })
}

/// A label selector; an empty one selects everything, a missing one nothing.
fn matches(selector: Option<&Value>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return false };
    let pairs = selector.get("matchLabels").and_then(Value::as_object);
    let equal = pairs
        .into_iter()
        .flatten()
        .all(|(key, value)| labels.get(key).map(String::as_str) == value.as_str());
    equal
        && list(selector, "/matchExpressions").iter().all(|expression| {
            let label = labels.get(text(expression, "/key"));
            let listed = || label.is_some_and(|value| texts(expression, "/values").contains(&value.as_str()));
            match text(expression, "/operator") {
                "Exists" => label.is_some(),
                "DoesNotExist" => label.is_none(),
                "In" => listed(),
                "NotIn" => !listed(),
                _ => false,
            }
        })
}

fn contains(cidr: &str, address: IpAddr) -> bool {
    let Some((network, length)) = cidr.split_once('/') else {
        return false;
    };
    let (Ok(network), Ok(length)) = (network.parse::<IpAddr>(), length.parse::<u32>()) else {
        return false;
    };
    match (network, address) {
        (IpAddr::V4(network), IpAddr::V4(address)) => {
            let host = 32_u32.saturating_sub(length);
            network.to_bits().checked_shr(host) == address.to_bits().checked_shr(host)
        }
        (IpAddr::V6(network), IpAddr::V6(address)) => {
            let host = 128_u32.saturating_sub(length);
            network.to_bits().checked_shr(host) == address.to_bits().checked_shr(host)
        }
        _ => false,
    }
}

/// What this evaluator does not know would be read as something else, so it is refused.
pub(super) fn unknown_parts(policy: &Object) -> Vec<String> {
    let known = |value: &Value, pointer: &str, keys: &[&str]| -> Vec<String> {
        let object = value.pointer(pointer).and_then(Value::as_object);
        let odd = object
            .into_iter()
            .flatten()
            .map(|(key, _)| key)
            .filter(|key| !keys.contains(&key.as_str()));
        odd.map(|key| format!("{}: `{key}` is not understood", policy.title()))
            .collect()
    };
    let mut odd = known(
        policy.value(),
        "/spec",
        &["podSelector", "policyTypes", "ingress", "egress"],
    );
    for (rules, peers) in [("/spec/ingress", "from"), ("/spec/egress", "to")] {
        for rule in list(policy.value(), rules) {
            odd.extend(known(rule, "", &[peers, "ports"]));
            for empty in [peers, "ports"]
                .iter()
                .filter(|part| rule.get(**part).is_some_and(Value::is_null))
            {
                odd.push(format!(
                    "{}: `{empty}` is empty, which means anything",
                    policy.title()
                ));
            }
            for port in list(rule, "/ports") {
                odd.extend(known(port, "", &["protocol", "port", "endPort"]));
                if port.get("port").is_some_and(Value::is_string) {
                    odd.push(format!(
                        "{}: write the port {} as a number",
                        policy.title(),
                        port["port"]
                    ));
                }
            }
        }
    }
    odd
}

#[cfg(test)]
mod tests {
    use super::super::objects::parse;
    use super::*;

    fn policy(component: &str, rest: &str) -> String {
        format!(
            "kind: NetworkPolicy\nmetadata: {{name: p, namespace: us}}\nspec:\n  podSelector: {{matchLabels: \
             {{app.kubernetes.io/component: {component}}}}}\n{rest}"
        )
    }

    #[test]
    fn networks_compare_by_prefix() {
        for (cidr, address, inside) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "203.0.113.1", true),
            ("::/0", "2001:db8::1", true),
            ("::/0", "10.0.0.1", false),
            ("192.0.2.1/32", "192.0.2.1", true),
            ("192.0.2.1/32", "192.0.2.2", false),
        ] {
            assert_eq!(
                contains(cidr, address.parse().unwrap()),
                inside,
                "{cidr} {address}"
            );
        }
    }

    #[test]
    fn what_would_be_misread_is_refused() {
        for (rule, word) in [
            ("{ports: [{port: dns}]}", "as a number"),
            ("{ports: null}", "means anything"),
            ("{from: [{podSelector: {}}]}", "not understood"),
        ] {
            let text = policy(
                "prober",
                &format!("  policyTypes: [Egress]\n  egress: [{rule}]\n"),
            );
            let objects = parse(&text).unwrap();
            assert!(unknown_parts(&objects[0]).join("\n").contains(word), "{rule}");
        }
    }
}
