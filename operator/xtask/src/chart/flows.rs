//! Who reaches whom: the rendered policies evaluated as Kubernetes defines them, for every pair of parties and every
//! port that matters, and compared with a list under review. No network plugin is asked, so this says what the
//! policies mean; that they are enforced is the plugin's part.

use super::differences;
use super::netpol::{Party, flows, unknown_parts};
use super::objects::Object;

/// Ports that are asked for every pair: DNS, the API server, ours, metrics, a node port.
const PORTS: [(&str, u64); 13] = [
    ("UDP", 53),
    ("TCP", 53),
    ("TCP", 443),
    ("TCP", 853),
    ("UDP", 1053),
    ("TCP", 1053),
    ("TCP", 6443),
    ("TCP", 8080),
    ("TCP", 8443),
    ("TCP", 8444),
    ("TCP", 9153),
    ("TCP", 9443),
    ("UDP", 30053),
];

/// Name, namespace (`-` is ours, empty is no pod), labels, address.
const PARTIES: [(&str, &str, &str, &str); 17] = [
    (
        "controller",
        "-",
        "app.kubernetes.io/name=tsutsumi app.kubernetes.io/component=controller",
        "10.244.0.10",
    ),
    (
        "prober",
        "-",
        "app.kubernetes.io/name=tsutsumi app.kubernetes.io/component=prober",
        "10.244.0.11",
    ),
    (
        "probe-zone",
        "-",
        "app.kubernetes.io/name=tsutsumi app.kubernetes.io/component=probe-zone",
        "10.244.0.16",
    ),
    ("canary", "-", "tsutsumi.dev/canary=cluster-dns", "10.244.0.12"),
    (
        "test",
        "-",
        "app.kubernetes.io/name=tsutsumi app.kubernetes.io/component=test",
        "10.244.0.13",
    ),
    (
        "release",
        "-",
        "app.kubernetes.io/name=tsutsumi app.kubernetes.io/component=release",
        "10.244.0.14",
    ),
    (
        "later-part",
        "-",
        "app.kubernetes.io/name=tsutsumi app.kubernetes.io/component=later",
        "10.244.0.15",
    ),
    ("neighbour", "-", "app=other", "10.244.0.20"),
    ("monitoring", "monitoring", "app=prometheus", "10.244.0.21"),
    ("observability", "observability", "app=prometheus", "10.244.0.22"),
    // The labels of the controller, in another's namespace.
    (
        "stranger",
        "town",
        "app.kubernetes.io/name=tsutsumi app.kubernetes.io/component=controller",
        "10.244.0.23",
    ),
    ("coredns", "kube-system", "k8s-app=kube-dns", "10.244.0.24"),
    ("api-server", "", "", "10.0.0.10"),
    ("outside", "", "", "198.51.100.2"),
    ("outside-six", "", "", "2001:db8::2"),
    ("metadata", "", "", "169.254.169.254"),
    ("metadata-six", "", "", "fd00:ec2::254"),
];
/// The parties whose flows are ours to decide.
const OURS: [&str; 7] = [
    "controller",
    "prober",
    "probe-zone",
    "canary",
    "test",
    "release",
    "later-part",
];

/// Everything that the policies allow or forbid other than expected.
pub(super) fn problems(objects: &[Object], ours: &str, expected: &str) -> Vec<String> {
    let policies: Vec<&Object> = objects
        .iter()
        .filter(|object| object.kind() == "NetworkPolicy")
        .collect();
    let mut problems: Vec<String> = policies.iter().flat_map(|policy| unknown_parts(policy)).collect();
    problems.extend(differences(
        "flow",
        "the matrix of flows",
        &allowed(&policies, ours),
        expected,
    ));
    problems
}

/// One line for each pair with a flow: `controller -> prober: TCP/8443`.
fn allowed(policies: &[&Object], ours: &str) -> Vec<String> {
    let parties: Vec<Party> = PARTIES
        .into_iter()
        .filter_map(|party| Party::new(party, ours))
        .collect();
    let mut lines = Vec::new();
    for from in &parties {
        for to in parties.iter().filter(|to| to.name != from.name) {
            if !OURS.contains(&from.name) && !OURS.contains(&to.name) {
                continue;
            }
            let open = PORTS.iter().filter(|port| flows(policies, from, to, **port));
            let open: Vec<String> = open
                .map(|(protocol, port)| format!("{protocol}/{port}"))
                .collect();
            if open.len() == PORTS.len() {
                lines.push(format!("{} -> {}: any port", from.name, to.name));
            } else if !open.is_empty() {
                lines.push(format!("{} -> {}: {}", from.name, to.name, open.join(" ")));
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::objects::parse;
    use super::*;

    const DENY: &str = "kind: NetworkPolicy
metadata: {name: deny, namespace: us}
spec:
  podSelector: {matchLabels: {app.kubernetes.io/name: tsutsumi}}
  policyTypes: [Ingress, Egress]
";

    fn lines(more: &str) -> String {
        let objects = parse(&format!("{DENY}---\n{more}")).unwrap();
        allowed(
            &objects
                .iter()
                .filter(|object| !object.kind().is_empty())
                .collect::<Vec<_>>(),
            "us",
        )
        .join("\n")
    }

    fn policy(component: &str, rest: &str) -> String {
        format!(
            "kind: NetworkPolicy\nmetadata: {{name: p, namespace: us}}\nspec:\n  podSelector: {{matchLabels: \
             {{app.kubernetes.io/component: {component}}}}}\n{rest}"
        )
    }

    #[test]
    fn without_rules_only_what_is_not_selected_is_reached() {
        let text = lines("");
        assert!(
            !text.contains("controller ->") && !text.contains("-> prober"),
            "{text}"
        );
        assert!(text.contains("canary -> coredns: any port"), "{text}");
    }

    #[test]
    fn a_flow_needs_both_ends() {
        let out = policy(
            "controller",
            "  policyTypes: [Egress]\n  egress: [{ports: [{port: 8443}]}]\n",
        );
        let text = lines(&out);
        assert!(
            text.contains("controller -> outside: TCP/8443") && !text.contains("-> prober"),
            "{text}"
        );
        let both = format!(
            "{out}---\n{}",
            policy(
                "prober",
                "  ingress: [{from: [{podSelector: {}}], ports: [{port: 8443}]}]\n"
            )
        );
        let text = lines(&both);
        assert!(text.contains("controller -> prober: TCP/8443"), "{text}");
        // A pod of our namespace without isolation reaches it too, the same labels elsewhere do not.
        assert!(
            text.contains("neighbour -> prober: TCP/8443") && !text.contains("stranger -> prober"),
            "{text}"
        );
    }

    #[test]
    fn blocks_have_exceptions_and_families() {
        let text = lines(&policy(
            "prober",
            "  policyTypes: [Egress]\n  egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [169.254.169.254/32]}}]}]\n",
        ));
        assert!(text.contains("prober -> outside: any port"), "{text}");
        assert!(
            !text.contains("prober -> metadata") && !text.contains("prober -> outside-six"),
            "{text}"
        );
    }
}
