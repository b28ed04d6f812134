//! Who may do what. Rights are followed from each binding to its role, judged by rules that no value of the chart may
//! break, and compared with a list under review, so that a new right shows in a diff.

use serde_json::Value;

use super::differences;
use super::objects::{Object, list, text, texts};

/// What is expected of a way to render the chart.
pub(super) struct Expected {
    /// Every right, one a line.
    pub(super) inventory: &'static str,
    /// What may be written outside our own namespace.
    pub(super) writes: Writes,
    /// Whether resolvers of ours may be run in our own namespace, where the admission policy pins their shape.
    pub(super) runs_resolvers: bool,
    /// Whether one NetworkPolicy may be written in namespaces of others, where the admission policy pins its shape.
    pub(super) closes: bool,
}

/// What the controller may do to ConfigMaps of cluster DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Writes {
    /// Only read.
    Nothing,
    /// Patch those that are named.
    Patch,
    /// The same, and create some of any name.
    PatchAndCreate,
}

const READS: [&str; 3] = ["get", "list", "watch"];
const WRITES: [&str; 4] = ["create", "delete", "patch", "update"];
/// Subresources that are more than an object: a shell, a tunnel, another's identity.
const POWERS: [&str; 9] = [
    "nodes/proxy",
    "pods/attach",
    "pods/ephemeralcontainers",
    "pods/eviction",
    "pods/exec",
    "pods/portforward",
    "pods/proxy",
    "serviceaccounts/token",
    "services/proxy",
];

/// Everything wrong with the rendered rights.
pub(super) fn problems(objects: &[Object], namespace: &str, expected: &Expected) -> Vec<String> {
    let (rights, mut problems) = collect(objects, namespace);
    problems.extend(
        rights
            .iter()
            .filter_map(|right| right.problem(namespace, expected)),
    );
    let mut lines: Vec<String> = rights.iter().map(Right::line).collect();
    lines.sort();
    problems.extend(differences(
        "right",
        "the inventory of rights",
        &lines,
        expected.inventory,
    ));
    problems
}

/// One rule as one account has it.
#[derive(Debug)]
struct Right {
    account: String,
    /// Empty: everywhere.
    namespace: String,
    rule: Value,
}

impl Right {
    fn line(&self) -> String {
        let scope = if self.namespace.is_empty() {
            "everywhere"
        } else {
            &self.namespace
        };
        let names = texts(&self.rule, "/resourceNames");
        let names = if names.is_empty() {
            String::new()
        } else {
            format!(" named {}", names.join(" "))
        };
        format!(
            "{} {scope}: {} {}{names}",
            self.account,
            texts(&self.rule, "/verbs").join(","),
            self.resources().join(",")
        )
    }

    /// `resource` for the core group, `resource.group` for others.
    fn resources(&self) -> Vec<String> {
        let mut all = Vec::new();
        for group in texts(&self.rule, "/apiGroups") {
            for resource in texts(&self.rule, "/resources") {
                all.push(if group.is_empty() {
                    resource.to_owned()
                } else {
                    format!("{resource}.{group}")
                });
            }
        }
        all
    }

    fn problem(&self, ours: &str, expected: &Expected) -> Option<String> {
        let parts = [
            "/apiGroups",
            "/resources",
            "/verbs",
            "/resourceNames",
            "/nonResourceURLs",
        ];
        let wrong = |why: &str| Some(format!("{why}: {}", self.line()));
        if parts
            .iter()
            .any(|part| texts(&self.rule, part).iter().any(|word| word.contains('*')))
        {
            return wrong("`*` in a rule; name what is meant");
        }
        if self.rule.get("nonResourceURLs").is_some() {
            return wrong("a rule for paths; nothing of ours asks for one");
        }
        if ["/apiGroups", "/resources", "/verbs"]
            .iter()
            .any(|part| list(&self.rule, part).is_empty())
        {
            return wrong("a rule without group, resource or verb");
        }
        let named = !list(&self.rule, "/resourceNames").is_empty();
        for resource in self.resources() {
            for verb in texts(&self.rule, "/verbs") {
                if let Some(why) = self.fault(&resource, verb, named, ours, expected) {
                    return wrong(why);
                }
            }
        }
        None
    }

    /// Why this account may not have one verb on one resource.
    fn fault(
        &self,
        resource: &str,
        verb: &str,
        named: bool,
        ours: &str,
        expected: &Expected,
    ) -> Option<&'static str> {
        let write = WRITES.contains(&verb);
        if !write && !READS.contains(&verb) {
            return Some(
                "a verb that gives more than an object (escalate, bind, impersonate, deletecollection, …)",
            );
        }
        if POWERS.contains(&resource) {
            return Some("a subresource that gives a shell, a tunnel or another's identity");
        }
        let everywhere = self.namespace.is_empty();
        let own = self.namespace == ours;
        if resource == "secrets" && !(own && named && verb != "delete" && verb != "create") {
            return Some("secrets are read and patched by name, in our own namespace only");
        }
        if resource == "configmaps" && !write && !own && !named {
            return Some("ConfigMaps of others are read by name");
        }
        if !write {
            return None;
        }
        let writes = expected.writes;
        let allowed = match (everywhere, own, resource, verb) {
            (true, _, "resolverpolicies.tsutsumi.dev", "patch")
            | (true, _, "resolverpolicies/status.tsutsumi.dev", "patch" | "update")
            | (true, _, "resolverpolicies/finalizers.tsutsumi.dev", "update")
            | (true, _, "events.events.k8s.io", "create" | "patch")
            | (_, true, "leases.coordination.k8s.io", "create")
            | (_, true, "configmaps", "create" | "patch" | "delete")
            | (_, true, "pods", "create" | "delete") => true,
            (_, true, "leases.coordination.k8s.io", "patch" | "update")
            | (_, true, "secrets" | "deployments/scale.apps", "patch") => named,
            (
                _,
                true,
                "deployments.apps"
                | "networkpolicies.networking.k8s.io"
                | "poddisruptionbudgets.policy"
                | "services",
                "create" | "delete" | "patch",
            ) => expected.runs_resolvers,
            (false, false, "networkpolicies.networking.k8s.io", "create" | "delete" | "patch") => {
                named && expected.closes
            }
            (false, false, "configmaps", "patch") => named && writes != Writes::Nothing,
            (false, false, "configmaps", "create") => writes == Writes::PatchAndCreate,
            _ => false,
        };
        (!allowed).then_some(
            "a write to what is not ours; the only ones are a patch of a named ConfigMap of cluster DNS and a named \
             NetworkPolicy",
        )
    }
}

/// Follows every binding; a role without one, a binding without a role, and a subject that is not ours are problems.
fn collect(objects: &[Object], ours: &str) -> (Vec<Right>, Vec<String>) {
    let (mut rights, mut problems) = (Vec::new(), Vec::new());
    let mut bound: Vec<(&str, &str, &str)> = Vec::new();
    for binding in objects
        .iter()
        .filter(|object| object.kind().ends_with("RoleBinding"))
    {
        let (kind, name) = (
            text(binding.value(), "/roleRef/kind"),
            text(binding.value(), "/roleRef/name"),
        );
        let home = if kind == "Role" { binding.namespace() } else { "" };
        let role = objects
            .iter()
            .find(|one| one.kind() == kind && one.name() == name && one.namespace() == home);
        let Some(role) = role else {
            problems.push(format!(
                "{} gives {kind} {name}, which the chart does not make",
                binding.title()
            ));
            continue;
        };
        bound.push((kind, name, home));
        for subject in list(binding.value(), "/subjects") {
            let account = text(subject, "/name");
            let known = objects
                .iter()
                .any(|one| one.kind() == "ServiceAccount" && one.name() == account);
            if text(subject, "/kind") != "ServiceAccount" || text(subject, "/namespace") != ours || !known {
                problems.push(format!(
                    "{} gives rights to {subject}, not to an account of ours",
                    binding.title()
                ));
            }
            if account == "tsutsumi-prober" {
                problems.push(format!(
                    "{} gives rights to the prober, which has none",
                    binding.title()
                ));
            }
            rights.extend(list(role.value(), "/rules").iter().map(|rule| Right {
                account: account.to_owned(),
                namespace: binding.namespace().to_owned(),
                rule: rule.clone(),
            }));
        }
    }
    for role in objects
        .iter()
        .filter(|object| matches!(object.kind(), "Role" | "ClusterRole"))
    {
        if role.at("/aggregationRule").is_some() {
            problems.push(format!("{} collects rules of others", role.title()));
        }
        if aggregates(role) {
            problems.push(format!("{} adds to a role of others", role.title()));
        }
        if !bound.contains(&(role.kind(), role.name(), role.namespace())) {
            problems.push(format!(
                "{} in `{}` is bound to nobody",
                role.title(),
                role.namespace()
            ));
        }
    }
    (rights, problems)
}

fn aggregates(role: &Object) -> bool {
    let labels = role.at("/metadata/labels").and_then(Value::as_object);
    labels.is_some_and(|labels| labels.keys().any(|key| key.contains("aggregate-to")))
}

#[cfg(test)]
mod tests {
    use super::super::objects::parse;
    use super::*;

    /// One rule, bound to the controller in a namespace, or everywhere when that is empty.
    fn judged(namespace: &str, rule: &str, writes: Writes) -> Vec<String> {
        judged_as(namespace, rule, writes, false)
    }

    /// With everything that the values can add, or nothing of it.
    fn judged_as(namespace: &str, rule: &str, writes: Writes, more: bool) -> Vec<String> {
        let expected = Expected {
            inventory: "",
            writes,
            runs_resolvers: more,
            closes: more,
        };
        let prefix = if namespace.is_empty() { "Cluster" } else { "" };
        let metadata = format!("metadata: {{name: r, namespace: \"{namespace}\"}}");
        let text = format!(
            "kind: ServiceAccount\nmetadata: {{name: tsutsumi-controller, namespace: us}}\n---\n\
             kind: {prefix}Role\n{metadata}\nrules: [{rule}]\n---\n\
             kind: {prefix}RoleBinding\n{metadata}\nroleRef: {{kind: {prefix}Role, name: r}}\n\
             subjects: [{{kind: ServiceAccount, name: tsutsumi-controller, namespace: us}}]\n"
        );
        let (rights, mut problems) = collect(&parse(&text).unwrap(), "us");
        problems.extend(rights.iter().filter_map(|right| right.problem("us", &expected)));
        problems
    }

    /// Namespace (`-`: everywhere), rule, and what is said of it (nothing: it passes).
    const JUDGED: &str = "
- | apiGroups: [''], resources: [nodes], verbs: [get, list, watch] |
- | apiGroups: [tsutsumi.dev], resources: [resolverpolicies/status], verbs: [patch] |
us | apiGroups: [''], resources: [secrets], resourceNames: [ca], verbs: [get, patch] |
us | apiGroups: [''], resources: [pods], verbs: [create, delete] |
dns | apiGroups: [''], resources: [configmaps], resourceNames: [coredns], verbs: [get, patch] |
- | apiGroups: ['*'], resources: [nodes], verbs: [get] | `*`
- | apiGroups: [''], resources: ['*'], verbs: [get] | `*`
- | apiGroups: [''], resources: ['*/status'], verbs: [get] | `*`
us | apiGroups: [''], resources: [pods], verbs: ['*'] | `*`
- | nonResourceURLs: [/metrics], verbs: [get] | paths
us | apiGroups: [''], resources: [pods], verbs: [] | without
- | apiGroups: [''], resources: [secrets], verbs: [get] | secrets
- | apiGroups: [''], resources: [secrets], resourceNames: [ca], verbs: [get] | secrets
us | apiGroups: [''], resources: [secrets], verbs: [get] | secrets
us | apiGroups: [''], resources: [secrets], resourceNames: [ca], verbs: [delete] | secrets
dns | apiGroups: [''], resources: [secrets], resourceNames: [ca], verbs: [get] | secrets
- | apiGroups: [''], resources: [configmaps], verbs: [get] | by name
dns | apiGroups: [''], resources: [configmaps], verbs: [list] | by name
dns | apiGroups: [''], resources: [configmaps], verbs: [patch] | not ours
dns | apiGroups: [''], resources: [configmaps], verbs: [create] | not ours
dns | apiGroups: [''], resources: [configmaps], resourceNames: [a], verbs: [delete] | not ours
dns | apiGroups: [''], resources: [pods], verbs: [create] | not ours
- | apiGroups: [''], resources: [nodes], verbs: [patch] | not ours
- | apiGroups: [apiextensions.k8s.io], resources: [customresourcedefinitions], verbs: [update] | not ours
us | apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [escalate] | escalate
us | apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [bind] | bind
- | apiGroups: [''], resources: [users], verbs: [impersonate] | impersonate
us | apiGroups: [rbac.authorization.k8s.io], resources: [roles], verbs: [create] | not ours
us | apiGroups: [''], resources: [pods/exec], verbs: [create] | shell
us | apiGroups: [''], resources: [pods/exec], verbs: [get] | shell
us | apiGroups: [''], resources: [serviceaccounts/token], verbs: [create] | identity
us | apiGroups: [coordination.k8s.io], resources: [leases], verbs: [update] | not ours
us | apiGroups: [apps], resources: [deployments], verbs: [patch] | not ours
";

    #[test]
    fn what_is_needed_passes_and_what_is_too_much_is_named() {
        for line in JUDGED.lines().filter(|line| !line.is_empty()) {
            let parts: Vec<&str> = line.split('|').map(str::trim).collect();
            let [namespace, rule, word] = parts[..] else {
                panic!("{line}")
            };
            let namespace = namespace.trim_start_matches('-');
            let problems = judged(namespace, &format!("{{{rule}}}"), Writes::Patch);
            let as_it_should = match word {
                "" => problems.is_empty(),
                word => problems.len() == 1 && problems[0].contains(word),
            };
            assert!(as_it_should, "{line}: {problems:?}");
        }
    }

    #[test]
    fn writes_to_cluster_dns_hang_on_the_values() {
        let patch = "{apiGroups: [''], resources: [configmaps], resourceNames: [coredns], verbs: [patch]}";
        assert_eq!(judged("dns", patch, Writes::Nothing).len(), 1);
        let create = "{apiGroups: [''], resources: [configmaps], verbs: [create]}";
        assert_eq!(judged("dns", create, Writes::PatchAndCreate).len(), 0);
    }

    #[test]
    fn resolvers_are_run_in_our_own_namespace_where_the_values_say_so() {
        let rule = "{apiGroups: [apps], resources: [deployments], verbs: [create, delete, patch]}";
        assert_eq!(judged_as("us", rule, Writes::Patch, true).len(), 0);
        assert_eq!(judged_as("us", rule, Writes::Patch, false).len(), 1);
        assert_eq!(judged_as("dns", rule, Writes::Patch, true).len(), 1);
        let update = "{apiGroups: [apps], resources: [deployments], verbs: [update]}";
        assert_eq!(judged_as("us", update, Writes::Patch, true).len(), 1);
    }

    #[test]
    fn a_network_policy_of_one_name_is_written_in_other_namespaces_where_the_values_say_so() {
        let rule = |name: &str| {
            format!(
                "{{apiGroups: [networking.k8s.io], resources: [networkpolicies], {name}verbs: [create, delete, patch]}}"
            )
        };
        let named = rule("resourceNames: [tsutsumi-dns-egress], ");
        assert_eq!(judged_as("town", &named, Writes::Patch, true).len(), 0);
        assert_eq!(judged_as("town", &named, Writes::Patch, false).len(), 1);
        assert_eq!(judged_as("town", &rule(""), Writes::Patch, true).len(), 1);
        assert_eq!(judged_as("", &named, Writes::Patch, true).len(), 1);
    }

    #[test]
    fn bindings_stay_within_the_chart() {
        let account = "kind: ServiceAccount\nmetadata: {name: tsutsumi-prober, namespace: us}\n---\n";
        let role = "kind: ClusterRole\nmetadata: {name: r, labels: {rbac/aggregate-to-edit: 'true'}}\nrules: []\n---\n";
        let binding = |role: &str, account: &str| {
            format!(
                "kind: ClusterRoleBinding\nmetadata: {{name: b}}\nroleRef: {{kind: ClusterRole, name: {role}}}\n\
                 subjects: [{{kind: ServiceAccount, name: {account}, namespace: us}}]\n"
            )
        };
        let problems = |text: &str| collect(&parse(text).unwrap(), "us").1.join("\n");
        let foreign = problems(&format!(
            "{account}{}",
            binding("cluster-admin", "tsutsumi-prober")
        ));
        assert!(foreign.contains("does not make"), "{foreign}");
        let prober = problems(&format!("{account}{role}{}", binding("r", "tsutsumi-prober")));
        assert!(
            prober.contains("the prober") && prober.contains("adds to a role"),
            "{prober}"
        );
        let stranger = problems(&format!("{account}{role}{}", binding("r", "default")));
        assert!(stranger.contains("not to an account of ours"), "{stranger}");
        assert!(problems(&format!("{account}{role}")).contains("bound to nobody"));
    }
}
