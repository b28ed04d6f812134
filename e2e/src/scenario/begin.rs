//! How a test begins: whatever the one before it left is put back, and the starting point is seen on the wire.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::{
    apps::v1::Deployment,
    core::v1::{ConfigMap, Namespace, Service},
    networking::v1::NetworkPolicy,
    policy::v1::PodDisruptionBudget,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use serde_json::json;

use super::{From, Scenario};
use crate::{
    cluster::{Cluster, DNS, DNS_NAMESPACE},
    corefile,
    install::{self, NAMESPACE},
    outside::Outside,
    place::Place,
    platform::{self, Platform},
    rig::{Rig, workspace},
    wait,
};

/// The annotation that keeps the image with which the rig came up.
const IMAGE: &str = "e2e.tsutsumi.dev/image";
/// The pods of cluster DNS with which the rig came up.
const DNS_PODS: i32 = 2;
/// How long the starting point may take: kubelet's sync and `reload`.
const STARTED: Duration = Duration::from_secs(90);

impl Scenario {
    /// Brings the cluster to where the test begins.
    pub(super) async fn begin(from: From) -> Result<Self> {
        let rig = Rig::from_env()?;
        let cluster = Cluster::connect().await?;
        let outside = Place::named(&rig.outside_netns);
        let mut scenario = Self {
            rig,
            cluster,
            outside,
            running: Vec::new(),
        };
        scenario.apply_crds().await?;
        match from {
            From::Schema => return Ok(scenario),
            From::Installed => {
                scenario.remove_policies().await?;
                scenario.install().await?;
            }
            From::Bare => {
                scenario.remove_policies().await?;
                install::uninstall(&scenario.rig, false)?;
                scenario.remove_crds().await?;
            }
        }
        scenario.clear_records().await?;
        scenario.clear_resolvers().await?;
        scenario.clear_closings().await?;
        scenario.cluster.clear_made().await?;
        scenario.reset_dns().await?;
        Ok(scenario)
    }

    /// Installs the chart as the suite's tests want it, with one controller and no fault, and what runs outside.
    ///
    /// # Errors
    /// If something does not come up.
    pub async fn install(&mut self) -> Result<()> {
        self.running.clear();
        let values = install::values(&self.rig);
        if install::install(&self.rig, &values).is_err() {
            // A release that an earlier test left half removed cannot be upgraded.
            install::uninstall(&self.rig, false)?;
            install::install(&self.rig, &values)?;
        }
        self.cluster.scale_controller(1).await?;
        self.cluster.fault(None).await?;
        self.running
            .push(Outside::prober(&self.rig, &self.cluster).await?);
        self.running.push(Outside::zone(&self.rig, &self.cluster).await?);
        Ok(())
    }

    /// Takes away the mount by which CoreDNS knows a managed resolver, as an installer does that writes its own Deployment;
    /// without one nothing changes.
    ///
    /// # Errors
    /// If the API server refuses it.
    pub async fn take_authority_away(&self) -> Result<()> {
        let mounts = json!([{"mountPath": "/etc/tsutsumi/resolver-ca", "$patch": "delete"}]);
        let spec = json!({
            "containers": [{"name": "coredns", "volumeMounts": mounts}],
            "volumes": [{"name": "tsutsumi-resolver-ca", "$patch": "delete"}],
        });
        self.cluster
            .within::<Deployment>(DNS_NAMESPACE)
            .patch(
                DNS,
                &PatchParams::default(),
                &Patch::Strategic(json!({"spec": {"template": {"spec": spec}}})),
            )
            .await
            .context("taking the mount away")?;
        Ok(())
    }

    /// Sets the image of cluster DNS and waits until only it serves.
    ///
    /// # Errors
    /// If the pods do not come up.
    pub async fn run_image(&self, image: &str) -> Result<()> {
        let container = json!([{"name": "coredns", "image": image}]);
        let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": container}}}}));
        self.cluster
            .within::<Deployment>(DNS_NAMESPACE)
            .patch(DNS, &PatchParams::default(), &patch)
            .await?;
        self.cluster.rolled_out(DNS_NAMESPACE, DNS).await
    }

    /// The image with which the rig came up.
    ///
    /// # Errors
    /// If the Deployment cannot be read.
    pub async fn original_image(&self) -> Result<String> {
        // On the namespace, since a test may replace the Deployment.
        let namespaces: kube::Api<Namespace> = kube::Api::all(self.cluster.client.clone());
        if let Some(kept) = namespaces.get(DNS_NAMESPACE).await?.annotations().get(IMAGE) {
            return Ok(kept.clone());
        }
        let deployment = self.cluster.within::<Deployment>(DNS_NAMESPACE).get(DNS).await?;
        let template = deployment
            .spec
            .and_then(|spec| spec.template.spec)
            .context("a Deployment has a template")?;
        let image = template
            .containers
            .into_iter()
            .find_map(|container| container.image)
            .context("it has an image")?;
        let patch = Patch::Merge(json!({"metadata": {"annotations": {IMAGE: image}}}));
        namespaces
            .patch(DNS_NAMESPACE, &PatchParams::default(), &patch)
            .await?;
        Ok(image)
    }

    async fn apply_crds(&self) -> Result<()> {
        let api = self.crds();
        for entry in std::fs::read_dir(workspace().join("crds"))? {
            let path = entry?.path();
            let text = std::fs::read_to_string(&path)?;
            let crd: serde_json::Value =
                serde_saphyr::from_str(&text).with_context(|| path.display().to_string())?;
            let name = crd["metadata"]["name"]
                .as_str()
                .context("a CRD has a name")?
                .to_owned();
            if api.get_opt(&name).await?.is_none() {
                // As helm marks what belongs to a release, so that an install takes it over.
                let mut crd = crd;
                crd["metadata"]["labels"] = json!({"app.kubernetes.io/managed-by": "Helm"});
                crd["metadata"]["annotations"] = json!({"meta.helm.sh/release-name": "tsutsumi", "meta.helm.sh/release-namespace": NAMESPACE});
                api.patch(&name, &PatchParams::apply("helm"), &Patch::Apply(&crd))
                    .await?;
            }
            let established = kube::runtime::conditions::is_crd_established();
            let wait = kube::runtime::wait::await_condition(api.clone(), &name, established);
            tokio::time::timeout(STARTED, wait)
                .await
                .context("the CRD is not established in time")??;
        }
        Ok(())
    }

    async fn remove_crds(&self) -> Result<()> {
        let api = self.crds();
        for crd in api.list(&ListParams::default()).await?.items {
            if crd.spec.group == tsutsumi_api::GROUP {
                api.delete(&crd.name_any(), &DeleteParams::default()).await?;
                wait::object(&api, &crd.name_any(), "gone", STARTED, |found| found.is_none()).await?;
            }
        }
        Ok(())
    }

    fn crds(&self) -> kube::Api<CustomResourceDefinition> {
        kube::Api::all(self.cluster.client.clone())
    }

    /// Removes every policy, also one whose finalizer nobody takes off.
    ///
    /// # Errors
    /// If one stays.
    pub async fn remove_policies(&self) -> Result<()> {
        let policies = self.cluster.policies();
        for policy in policies.list(&ListParams::default()).await?.items {
            let name = policy.name_any();
            let release = Patch::Merge(json!({"metadata": {"finalizers": null}}));
            policies.patch(&name, &PatchParams::default(), &release).await?;
            policies.delete(&name, &DeleteParams::default()).await?;
            wait::object(&policies, &name, "gone", STARTED, |found| found.is_none()).await?;
        }
        Ok(())
    }

    /// Removes what the controller keeps of policies that are gone, so that no test learns from another.
    ///
    /// # Errors
    /// If something stays.
    pub async fn clear_records(&self) -> Result<()> {
        let config_maps = self.cluster.within::<ConfigMap>(NAMESPACE);
        for config_map in config_maps.list(&ListParams::default()).await?.items {
            if config_map.name_any().starts_with("tsutsumi-") {
                config_maps
                    .delete(&config_map.name_any(), &DeleteParams::default())
                    .await?;
            }
        }
        Ok(())
    }

    /// Removes the managed resolvers that a test left.
    async fn clear_resolvers(&self) -> Result<()> {
        let left = ListParams::default().labels("tsutsumi.dev/unbound");
        let params = DeleteParams::default();
        self.cluster
            .within::<Deployment>(NAMESPACE)
            .delete_collection(&params, &left)
            .await?;
        self.cluster
            .within::<NetworkPolicy>(NAMESPACE)
            .delete_collection(&params, &left)
            .await?;
        self.cluster
            .within::<PodDisruptionBudget>(NAMESPACE)
            .delete_collection(&params, &left)
            .await?;
        let services = self.cluster.within::<Service>(NAMESPACE);
        for service in services.list(&left).await? {
            services.delete(&service.name_any(), &params).await?;
        }
        Ok(())
    }

    /// Opens what a test left closed.
    async fn clear_closings(&self) -> Result<()> {
        let left = ListParams::default().labels("tsutsumi.dev/ways-around");
        self.cluster
            .within::<NetworkPolicy>("default")
            .delete_collection(&DeleteParams::default(), &left)
            .await?;
        Ok(())
    }

    /// Cluster DNS as kubeadm installs it, exposed with the client's address kept, seen to be open.
    async fn reset_dns(&self) -> Result<()> {
        let image = self.original_image().await?;
        if platform::present(&self.cluster).await? == Platform::Kubeadm {
            // Before the mount goes: a text that names what it brings would keep new pods from starting.
            self.cluster.write_corefile(corefile::kubeadm(), "e2e").await?;
            self.take_authority_away().await?;
            self.run_image(&image).await?;
            self.cluster.scale(DNS_NAMESPACE, DNS, DNS_PODS).await?;
        } else {
            platform::install(&self.rig, &self.cluster, Platform::Kubeadm, &image).await?;
        }
        let services = self.cluster.within::<Service>(DNS_NAMESPACE);
        let local = Patch::Merge(json!({"spec": {"externalTrafficPolicy": "Local"}}));
        services
            .patch("kube-dns-nodeport", &PatchParams::default(), &local)
            .await?;
        self.cluster.write_corefile(corefile::kubeadm(), "e2e").await?;
        self.cluster.nudge().await?;
        wait::until("cluster DNS is an open resolver again", STARTED, async || {
            let text = self.cluster.corefile().await?;
            ensure!(
                text == corefile::kubeadm(),
                "somebody changed the Corefile to\n{text}"
            );
            // One that is going away may still be asked.
            self.cluster
                .no_pod_leaves(DNS_NAMESPACE, "k8s-app=kube-dns")
                .await?;
            self.pods_show(None).await?;
            self.outside_is_answered().await
        })
        .await
    }
}
