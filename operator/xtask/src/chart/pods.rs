//! Every pod keeps to the restricted profile (Kubernetes' Pod Security Standards), and to what we add to it: a
//! read-only root, bounded memory, no token where none is needed, DNS of the node, health checks where it serves.

use serde_json::Value;

use super::objects::{Object, list, text, texts};

/// Volumes that the restricted profile allows and we have a use for.
const VOLUMES: [&str; 4] = ["configMap", "emptyDir", "projected", "secret"];
/// Accounts that talk to the API server; nobody else mounts a token.
const TOKENS: [&str; 2] = ["tsutsumi-controller", "tsutsumi-release"];

/// Everything wrong with the rendered pods.
pub(super) fn problems(objects: &[Object]) -> Vec<String> {
    let mut problems = Vec::new();
    for object in objects {
        if let Some(pod) = object.pod() {
            let served = object.kind() == "Deployment";
            problems.extend(
                faults(pod, served)
                    .into_iter()
                    .map(|fault| format!("{}: {fault}", object.title())),
            );
        }
    }
    if !objects.iter().any(|object| object.pod().is_some()) {
        problems.push("the chart makes no pod at all".to_owned());
    }
    problems
}

fn faults(pod: &Value, served: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut want = |fine: bool, fault: &str| {
        if !fine {
            faults.push(fault.to_owned());
        }
    };
    let spec = &pod["spec"];
    for field in ["hostNetwork", "hostPID", "hostIPC"] {
        want(!truth(spec, field), &format!("{field} is set"));
    }
    want(
        text(spec, "/dnsPolicy") == "Default",
        "dnsPolicy is not Default; it must work when cluster DNS does not",
    );
    let account = text(spec, "/serviceAccountName");
    want(
        account.starts_with("tsutsumi-"),
        "it does not run as an account of ours",
    );
    let token = spec.get("automountServiceAccountToken").and_then(Value::as_bool);
    want(
        token == Some(TOKENS.contains(&account)),
        "automountServiceAccountToken does not say what this account needs",
    );
    let context = &spec["securityContext"];
    want(truth(context, "runAsNonRoot"), "runAsNonRoot is not true");
    want(
        context["runAsUser"].as_u64().is_some_and(|user| user != 0),
        "runAsUser is not a number above 0",
    );
    want(
        text(context, "/seccompProfile/type") == "RuntimeDefault",
        "seccompProfile is not RuntimeDefault",
    );
    want(list(context, "/sysctls").is_empty(), "it sets sysctls");
    for volume in list(spec, "/volumes") {
        let kinds = volume
            .as_object()
            .into_iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .filter(|key| *key != "name");
        for kind in kinds {
            want(VOLUMES.contains(&kind), &format!("a volume of kind {kind}"));
        }
    }
    let all = ["/containers", "/initContainers", "/ephemeralContainers"];
    let containers: Vec<&Value> = all.iter().flat_map(|part| list(spec, part)).collect();
    want(!containers.is_empty(), "no containers");
    for container in containers {
        let name = text(container, "/name");
        for fault in container_faults(container, served) {
            want(false, &format!("container {name}: {fault}"));
        }
    }
    faults
}

fn container_faults(container: &Value, served: bool) -> Vec<&'static str> {
    let context = &container["securityContext"];
    let add = texts(context, "/capabilities/add");
    let port_of_node = list(container, "/ports")
        .iter()
        .any(|port| port.get("hostPort").is_some());
    let health = [("/livenessProbe", "/livez"), ("/readinessProbe", "/readyz")];
    let probed = health
        .iter()
        .all(|(probe, path)| text(container, &format!("{probe}/httpGet/path")) == *path);
    let own_profile = text(context, "/seccompProfile/type");
    [
        (
            context["allowPrivilegeEscalation"] == Value::Bool(false),
            "allowPrivilegeEscalation is not false",
        ),
        (
            truth(context, "readOnlyRootFilesystem"),
            "readOnlyRootFilesystem is not true",
        ),
        (!truth(context, "privileged"), "it is privileged"),
        (
            context
                .get("runAsNonRoot")
                .is_none_or(|value| *value == Value::Bool(true)),
            "runAsNonRoot is taken back",
        ),
        (
            context.get("runAsUser").is_none_or(|user| *user != 0),
            "it runs as root",
        ),
        (
            own_profile.is_empty() || own_profile == "RuntimeDefault",
            "its seccompProfile is not RuntimeDefault",
        ),
        (
            texts(context, "/capabilities/drop").contains(&"ALL"),
            "capabilities do not drop ALL",
        ),
        (
            add.iter().all(|one| *one == "NET_BIND_SERVICE"),
            "it adds a capability",
        ),
        (context.get("procMount").is_none(), "it sets procMount"),
        (!port_of_node, "it takes a port of its node"),
        (
            container.pointer("/resources/limits/memory").is_some(),
            "no memory limit",
        ),
        (
            container.pointer("/resources/requests/memory").is_some(),
            "no memory request",
        ),
        (!served || probed, "no probes at /livez and /readyz"),
    ]
    .into_iter()
    .filter_map(|(fine, fault)| (!fine).then_some(fault))
    .collect()
}

fn truth(value: &Value, field: &str) -> bool {
    value.get(field).and_then(Value::as_bool).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::super::objects::parse;
    use super::*;

    const GOOD: &str = "kind: Deployment
metadata: {name: d}
spec:
  template:
    spec:
      serviceAccountName: tsutsumi-prober
      automountServiceAccountToken: false
      dnsPolicy: Default
      securityContext: {runAsNonRoot: true, runAsUser: 65532, seccompProfile: {type: RuntimeDefault}}
      containers:
        - name: c
          livenessProbe: {httpGet: {path: /livez}}
          readinessProbe: {httpGet: {path: /readyz}}
          resources: {requests: {memory: 1Mi}, limits: {memory: 1Mi}}
          securityContext: {allowPrivilegeEscalation: false, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
      volumes: [{name: v, secret: {secretName: s}}]
";

    #[test]
    fn a_restricted_pod_passes_and_no_pod_does_not() {
        assert_eq!(problems(&parse(GOOD).unwrap()), Vec::<String>::new());
        assert_eq!(problems(&[]).len(), 1);
    }

    #[test]
    fn each_loosening_is_named() {
        for (from, to, word) in [
            ("dnsPolicy: Default", "dnsPolicy: ClusterFirst", "dnsPolicy"),
            (
                "dnsPolicy: Default",
                "dnsPolicy: Default\n      hostNetwork: true",
                "hostNetwork",
            ),
            ("tsutsumi-prober", "default", "account of ours"),
            ("Token: false", "Token: true", "automountServiceAccountToken"),
            (
                "tsutsumi-prober",
                "tsutsumi-controller",
                "automountServiceAccountToken",
            ),
            ("runAsNonRoot: true", "runAsNonRoot: false", "runAsNonRoot"),
            ("runAsUser: 65532", "runAsUser: 0", "runAsUser"),
            ("RuntimeDefault", "Unconfined", "seccompProfile"),
            ("secret: {secretName: s}", "hostPath: {path: /}", "hostPath"),
            (
                "allowPrivilegeEscalation: false, ",
                "",
                "allowPrivilegeEscalation",
            ),
            (
                "readOnlyRootFilesystem: true",
                "readOnlyRootFilesystem: false",
                "readOnlyRootFilesystem",
            ),
            (
                "readOnlyRootFilesystem: true",
                "readOnlyRootFilesystem: true, privileged: true",
                "privileged",
            ),
            ("drop: [ALL]", "drop: [NET_RAW]", "drop ALL"),
            (
                "drop: [ALL]",
                "drop: [ALL], add: [NET_ADMIN]",
                "adds a capability",
            ),
            (", limits: {memory: 1Mi}", "", "memory limit"),
            ("path: /readyz", "path: /", "probes"),
            (
                "- name: c",
                "- name: c\n          ports: [{containerPort: 1, hostPort: 1}]",
                "port of its node",
            ),
        ] {
            assert!(GOOD.contains(from), "{from}");
            let problems = problems(&parse(&GOOD.replacen(from, to, 1)).unwrap());
            assert!(
                problems.iter().any(|problem| problem.contains(word)),
                "{to}: {problems:?}"
            );
        }
    }
}
