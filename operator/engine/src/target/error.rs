//! Why there is no target: each error says what was looked for and what to write.

/// Why there is no target.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TargetError {
    /// No Service carries the label of cluster DNS.
    #[error(
        "no Service with port 53 and the label `k8s-app=kube-dns` or `app.kubernetes.io/name=coredns` was found in \
         any namespace; write spec.targetRef with the kind, namespace and name of the workload that serves DNS"
    )]
    NoService,
    /// The Service leads to no workload that is known.
    #[error(
        "Service {service} selects the pods of no Deployment and no DaemonSet; write spec.targetRef with the kind, \
         namespace and name of the workload that serves DNS"
    )]
    NoWorkload {
        /// The Service.
        service: String,
    },
    /// More than one workload serves.
    #[error("Service {service} selects the pods of {}; write one of them into spec.targetRef", workloads.join(" and "))]
    Ambiguous {
        /// The Service.
        service: String,
        /// The workloads, sorted.
        workloads: Vec<String>,
    },
    /// The workload that the policy names is not there.
    #[error("spec.targetRef: {wanted} is not in the cluster{}", hint(present))]
    NotFound {
        /// What the policy names.
        wanted: String,
        /// Workloads that look like DNS, sorted.
        present: Vec<String>,
    },
    /// The workload that the policy names is a cache on the nodes.
    #[error(
        "spec.targetRef: {wanted} is NodeLocal DNSCache, whose build lacks the plugins that a policy needs; name the \
         workload behind the Service kube-dns"
    )]
    NodeLocal {
        /// What the policy names.
        wanted: String,
    },
    /// The Corefile is not read from a ConfigMap.
    #[error(
        "{workload}: container `{container}` reads its Corefile from `{path}`, which is mounted from no ConfigMap; \
         mount a ConfigMap there, or leave spec.targetRef out to have cluster DNS found by itself"
    )]
    NoCorefileMount {
        /// The workload.
        workload: String,
        /// The container.
        container: String,
        /// The path of the Corefile.
        path: String,
    },
    /// The workload's template has no container.
    #[error("{workload} has no container; write a workload that runs CoreDNS into spec.targetRef")]
    NoContainer {
        /// The workload.
        workload: String,
    },
    /// The ConfigMap is not there, or lacks the key.
    #[error("{workload} reads its Corefile from key `{key}` of ConfigMap {config_map}, {problem}")]
    NoCorefile {
        /// The workload.
        workload: String,
        /// The ConfigMap.
        config_map: String,
        /// The key.
        key: String,
        /// What is missing, and what to do.
        problem: &'static str,
    },
}

/// Names what is there instead.
fn hint(present: &[String]) -> String {
    if present.is_empty() {
        "; create it, or leave spec.targetRef out to have cluster DNS found by itself".to_owned()
    } else {
        format!("; what looks like DNS is {}", present.join(", "))
    }
}
