//! How the chart lets managed resolvers run.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements, Toleration};
use serde::Deserialize;

/// How managed resolvers run, as the chart says.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The container image, with `unbound` and its tools in its path.
    pub image: String,
    /// The image of the process that tells Unbound's numbers, our own; without one nobody tells them.
    pub metrics_image: Option<String>,
    /// When they are pulled, as in a Pod.
    pub pull_policy: String,
    /// How many pods.
    pub replicas: u16,
    /// What the pods get, and where they may run.
    pub placement: Placement,
}

/// What the pods of a resolver get and where they may run, in the words of a Pod. An absent field leaves it to
/// Kubernetes.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Placement {
    /// The resources of the container that runs Unbound.
    pub resources: Option<ResourceRequirements>,
    /// Labels of the nodes that may run it.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that it tolerates.
    pub tolerations: Vec<Toleration>,
    /// Its `PriorityClass`, or none.
    pub priority_class_name: String,
    /// Secrets by which its images are pulled.
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn what_is_said_is_read_and_what_is_not_known_is_named() {
        let placement: Placement = from_value(json!({
            "resources": {"limits": {"memory": "256Mi"}},
            "nodeSelector": {"dns": "here"},
            "tolerations": [{"key": "dns", "operator": "Exists"}],
            "priorityClassName": "town-dns",
            "imagePullSecrets": [{"name": "registry"}],
        }))
        .unwrap();
        assert_eq!(placement.node_selector["dns"], "here");
        assert_eq!(placement.tolerations[0].operator.as_deref(), Some("Exists"));
        assert_eq!(from_value::<Placement>(json!({})).unwrap(), Placement::default());
        let error = from_value::<Placement>(json!({"affinity": {}})).unwrap_err();
        assert!(error.to_string().contains("affinity"), "{error}");
    }
}
