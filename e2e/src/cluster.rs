//! The cluster as an administrator's client sees it: cluster DNS, policies, and the objects that tests add.
//!
//! Whatever a test creates carries [`MADE`], by which the next one clears it away.

use std::{fmt::Debug, net::IpAddr};

use anyhow::{Context, Result, ensure};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        apps::v1::Deployment,
        core::v1::{ConfigMap, Node, Pod, Secret, Service},
        discovery::v1::EndpointSlice,
        networking::v1::NetworkPolicy,
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
    serde::{Serialize, de::DeserializeOwned},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams},
    core::ApiResource,
};
use serde_json::{Value, json};
use tsutsumi_api::ResolverPolicy;

use crate::install::NAMESPACE;

/// The namespace of cluster DNS.
pub const DNS_NAMESPACE: &str = "kube-system";
/// The name of its Deployment and of the ConfigMap with its Corefile.
pub const DNS: &str = "coredns";
/// The label of every object that a test made.
pub const MADE: &str = "e2e.tsutsumi.dev/made";

/// A client of the cluster.
#[derive(Clone)]
pub struct Cluster {
    /// The client.
    pub client: Client,
}

/// A pod that serves cluster DNS.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct DnsPod {
    /// Its name.
    pub name: String,
    /// Its address.
    pub address: IpAddr,
    /// Whether it gets traffic.
    pub ready: bool,
}

impl Cluster {
    /// Connects as `KUBECONFIG` says.
    ///
    /// # Errors
    /// If that file is missing or unusable.
    pub async fn connect() -> Result<Self> {
        let client = Client::try_default()
            .await
            .context("connecting to the cluster of KUBECONFIG")?;
        Ok(Self { client })
    }

    /// What a Service's or a pod's port answers over HTTP, through the API server. `of` is for example
    /// `services/NAME:PORT`.
    ///
    /// # Errors
    /// If it does not answer with a page.
    pub async fn page(&self, namespace: &str, of: &str, path: &str) -> Result<String> {
        let uri = format!("/api/v1/namespaces/{namespace}/{of}/proxy/{path}");
        let request = http::Request::get(&uri).body(Vec::new())?;
        self.client
            .request_text(request)
            .await
            .with_context(|| format!("reading {uri}"))
    }

    /// Objects of a kind in a namespace.
    #[must_use]
    pub fn within<K>(&self, namespace: &str) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Every policy.
    #[must_use]
    pub fn policies(&self) -> Api<ResolverPolicy> {
        Api::all(self.client.clone())
    }

    /// Policies, as loose as a user's YAML.
    #[must_use]
    pub fn loose_policies(&self) -> Api<kube::core::DynamicObject> {
        Api::all_with(self.client.clone(), &ApiResource::erase::<ResolverPolicy>(&()))
    }

    /// Applies a policy as `kubectl apply --server-side` does, refusing what the schema does not know.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn apply_policy(&self, policy: &Value) -> Result<ResolverPolicy> {
        let name = policy["metadata"]["name"]
            .as_str()
            .context("the policy has no name")?;
        let mut params = PatchParams::apply("e2e").force();
        params.field_validation = Some(kube::api::ValidationDirective::Strict);
        Ok(self
            .policies()
            .patch(name, &params, &Patch::Apply(policy))
            .await?)
    }

    /// The live Corefile's ConfigMap.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn dns_config(&self) -> Result<ConfigMap> {
        self.within::<ConfigMap>(DNS_NAMESPACE)
            .get(DNS)
            .await
            .context("reading the ConfigMap of cluster DNS")
    }

    /// The live Corefile.
    ///
    /// # Errors
    /// If there is none.
    pub async fn corefile(&self) -> Result<String> {
        let data = self.dns_config().await?.data.unwrap_or_default();
        data.get("Corefile")
            .cloned()
            .context("the ConfigMap of cluster DNS has no Corefile")
    }

    /// Writes the live Corefile as somebody else would.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn write_corefile(&self, text: &str, manager: &str) -> Result<()> {
        let params = PatchParams {
            field_manager: Some(manager.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::Merge(json!({"data": {"Corefile": text}}));
        self.within::<ConfigMap>(DNS_NAMESPACE)
            .patch(DNS, &params, &patch)
            .await
            .context("writing the Corefile")?;
        Ok(())
    }

    /// The pods that serve cluster DNS, by name.
    ///
    /// # Errors
    /// If they cannot be listed, or there is none.
    pub async fn dns_pods(&self) -> Result<Vec<DnsPod>> {
        let listed = self
            .within::<Pod>(DNS_NAMESPACE)
            .list(&ListParams::default().labels("k8s-app=kube-dns"))
            .await?;
        let serving = |pod: Pod| {
            let name = pod.name_any();
            let gone = pod.metadata.deletion_timestamp.is_some();
            let status = pod
                .status
                .filter(|status| !gone && status.phase.as_deref() == Some("Running"))?;
            let ready = status
                .conditions
                .iter()
                .flatten()
                .any(|one| one.type_ == "Ready" && one.status == "True");
            Some(DnsPod {
                name,
                address: status.pod_ip?.parse().ok()?,
                ready,
            })
        };
        let mut pods: Vec<_> = listed.items.into_iter().filter_map(serving).collect();
        pods.sort();
        ensure!(!pods.is_empty(), "no pod of cluster DNS runs");
        Ok(pods)
    }

    /// Fails while a pod with this label is on its way out.
    ///
    /// # Errors
    /// If one is.
    pub async fn no_pod_leaves(&self, namespace: &str, label: &str) -> Result<()> {
        let listed = self
            .within::<Pod>(namespace)
            .list(&ListParams::default().labels(label))
            .await?;
        let leaving = listed
            .items
            .iter()
            .find(|pod| pod.metadata.deletion_timestamp.is_some());
        ensure!(
            leaving.is_none(),
            "pod {} is on its way out",
            leaving.map(ResourceExt::name_any).unwrap_or_default()
        );
        Ok(())
    }

    /// Makes kubelet look at a pod at once instead of within its sync period: a change of annotations does that.
    /// For preparing a test only; what is tested waits for kubelet as it comes.
    ///
    /// # Errors
    /// If the pod cannot be annotated.
    pub async fn nudge(&self) -> Result<()> {
        let now = jiff::Timestamp::now().to_string();
        let patch = Patch::Merge(json!({"metadata": {"annotations": {"e2e.tsutsumi.dev/nudged": now}}}));
        for pod in self.dns_pods().await? {
            self.within::<Pod>(DNS_NAMESPACE)
                .patch(&pod.name, &PatchParams::default(), &patch)
                .await?;
        }
        Ok(())
    }

    /// Creates an object that the next test clears away.
    ///
    /// # Errors
    /// If it is not of that kind, or the API server refuses it.
    pub async fn make<K>(&self, api: &Api<K>, mut object: Value) -> Result<K>
    where
        K: Resource + Clone + Debug + Serialize + DeserializeOwned,
    {
        object["metadata"]["labels"][MADE] = "true".into();
        let object = serde_json::from_value(object)?;
        Ok(api.create(&PostParams::default(), &object).await?)
    }

    /// Removes everything that tests made.
    ///
    /// # Errors
    /// If something cannot be removed.
    pub async fn clear_made(&self) -> Result<()> {
        let (made, how) = (
            ListParams::default().labels(MADE),
            DeleteParams::background().grace_period(0),
        );
        for namespace in [DNS_NAMESPACE, "default", NAMESPACE] {
            self.within::<Deployment>(namespace)
                .delete_collection(&how, &made)
                .await?;
            self.within::<Pod>(namespace)
                .delete_collection(&how, &made)
                .await?;
            self.within::<Service>(namespace)
                .delete_collection(&how, &made)
                .await?;
            self.within::<EndpointSlice>(namespace)
                .delete_collection(&how, &made)
                .await?;
            self.within::<NetworkPolicy>(namespace)
                .delete_collection(&how, &made)
                .await?;
        }
        Api::<Node>::all(self.client.clone())
            .delete_collection(&how, &made)
            .await?;
        // With a kind go its objects.
        Api::<CustomResourceDefinition>::all(self.client.clone())
            .delete_collection(&how, &made)
            .await?;
        Ok(())
    }

    /// The data of a Secret.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<std::collections::BTreeMap<String, Vec<u8>>> {
        let secret = self
            .within::<Secret>(namespace)
            .get(name)
            .await
            .with_context(|| format!("reading secret {name}"))?;
        Ok(secret
            .data
            .unwrap_or_default()
            .into_iter()
            .map(|(key, value)| (key, value.0))
            .collect())
    }
}
