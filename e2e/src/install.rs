//! tsutsumi as its users install it: by the chart, with the image that was loaded into the cluster.

use std::{io::Write as _, process::Command, time::Duration};

use anyhow::{Context, Result};
use k8s_openapi::api::{apps::v1::Deployment, coordination::v1::Lease, core::v1::Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    cluster::Cluster,
    process,
    rig::{OUTSIDE_ZONE, PROBER_PORT, Rig, ZONE_PORT, output, workspace},
    wait,
};

/// Where the chart is installed.
pub const NAMESPACE: &str = "tsutsumi-system";
/// The controller's Deployment.
pub const CONTROLLER: &str = "tsutsumi-controller";
/// The release.
const RELEASE: &str = "tsutsumi";
/// How long a Deployment of ours may take to come up.
pub const UP: Duration = Duration::from_secs(90);

/// Switches by which the controller fails on purpose.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// Puts an unknown directive into every candidate that a canary runs.
    Canary,
}

impl Fault {
    const ALL: [Self; 1] = [Self::Canary];

    const fn variable(self) -> (&'static str, &'static str) {
        match self {
            Self::Canary => ("TSUTSUMI_FAULT_CANARY", "unknown-directive"),
        }
    }
}

/// The values that the suite installs with: everything at its default, and the prober and the probe zone outside.
#[must_use]
pub fn values(rig: &Rig) -> Value {
    json!({
        "vantages": [{"name": "outside", "address": rig.outside_address, "port": PROBER_PORT}],
        "probeZone": {
            "outside": {"address": rig.outside_zone, "controlPort": ZONE_PORT, "name": OUTSIDE_ZONE},
        },
    })
}

/// The same values, with the right to run resolvers from an image that every node has.
#[must_use]
pub fn with_resolvers(rig: &Rig, image: &str) -> Value {
    let (repository, tag) = image.rsplit_once(':').unwrap_or((image, "latest"));
    let mut values = values(rig);
    values["managedResolver"] = json!({
        "enabled": true,
        "image": {"repository": repository, "tag": tag, "pullPolicy": "Never"},
    });
    values
}

/// The same values, with the right to close ways around cluster DNS in a namespace.
#[must_use]
pub fn closing(rig: &Rig, namespace: &str) -> Value {
    let mut values = values(rig);
    values["waysAround"] = json!({"close": {"enabled": true, "namespaces": [namespace]}});
    values
}

/// Installs or upgrades, and waits until every part is up.
///
/// # Errors
/// If helm fails; the message holds what it said.
pub fn install(rig: &Rig, values: &Value) -> Result<()> {
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(values.to_string().as_bytes())?;
    let mut command = helm(rig);
    command
        .args(["upgrade", "--install", RELEASE])
        .arg(workspace().join("charts/tsutsumi"));
    command
        .args(["--create-namespace", "--wait", "--timeout", "120s", "--values"])
        .arg(file.path());
    output(&mut command).context("installing the chart")?;
    Ok(())
}

/// Uninstalls and waits until everything is gone; nothing installed is fine. Without hooks even where the controller
/// cannot run: for preparing a test, once no policy is left.
///
/// # Errors
/// If helm fails.
pub fn uninstall(rig: &Rig, hooks: bool) -> Result<()> {
    let mut command = helm(rig);
    command.args([
        "uninstall",
        RELEASE,
        "--ignore-not-found",
        "--wait",
        "--timeout",
        "180s",
    ]);
    if !hooks {
        command.arg("--no-hooks");
    }
    output(&mut command).context("uninstalling the chart")?;
    Ok(())
}

/// Runs the chart's own test.
///
/// # Errors
/// If it fails.
pub fn test(rig: &Rig) -> Result<()> {
    output(helm(rig).args(["test", RELEASE, "--timeout", "120s"])).context("running the chart's own test")?;
    Ok(())
}

impl Cluster {
    /// Sets the number of controllers and waits until exactly so many run.
    ///
    /// # Errors
    /// If the deadline passes.
    pub async fn scale_controller(&self, replicas: i32) -> Result<()> {
        self.scale(NAMESPACE, CONTROLLER, replicas).await
    }

    /// Sets the number of a Deployment's pods and waits until exactly so many run.
    ///
    /// # Errors
    /// If the deadline passes.
    pub async fn scale(&self, namespace: &str, name: &str, replicas: i32) -> Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": replicas}}));
        self.within::<Deployment>(namespace)
            .patch_scale(name, &PatchParams::default(), &patch)
            .await?;
        self.rolled_out(namespace, name).await
    }

    /// Turns one fault on, or all off, and waits until only such controllers run.
    ///
    /// # Errors
    /// If the deadline passes.
    pub async fn fault(&self, wanted: Option<Fault>) -> Result<()> {
        let env: Vec<Value> = Fault::ALL
            .into_iter()
            .map(|fault| match fault.variable() {
                (name, value) if Some(fault) == wanted => json!({"name": name, "value": value}),
                (name, _) => json!({"name": name, "$patch": "delete"}),
            })
            .collect();
        let containers = json!([{"name": "controller", "env": env}]);
        let patch = Patch::Strategic(json!({"spec": {"template": {"spec": {"containers": containers}}}}));
        self.within::<Deployment>(NAMESPACE)
            .patch(CONTROLLER, &PatchParams::default(), &patch)
            .await?;
        self.rolled_out(NAMESPACE, CONTROLLER).await
    }

    /// Waits until a Deployment runs what its template says, and nothing else.
    ///
    /// # Errors
    /// If the deadline passes.
    pub async fn rolled_out(&self, namespace: &str, name: &str) -> Result<()> {
        let complete = |found: Option<&Deployment>| {
            let Some(deployment) = found else { return false };
            let wanted = deployment
                .spec
                .as_ref()
                .and_then(|spec| spec.replicas)
                .unwrap_or(1);
            let count = |number: Option<i32>| number.unwrap_or_default();
            deployment.status.as_ref().is_some_and(|status| {
                status.observed_generation == deployment.metadata.generation
                    && count(status.updated_replicas) == wanted
                    && count(status.replicas) == wanted
                    && count(status.available_replicas) == wanted
            })
        };
        wait::object(&self.within(namespace), name, "rolled out", UP, complete).await?;
        Ok(())
    }

    /// The controller's pods.
    ///
    /// # Errors
    /// If they cannot be listed.
    pub async fn controllers(&self) -> Result<Vec<Pod>> {
        let ours = "app.kubernetes.io/name=tsutsumi,app.kubernetes.io/component=controller";
        Ok(self
            .within::<Pod>(NAMESPACE)
            .list(&ListParams::default().labels(ours))
            .await?
            .items)
    }

    /// The name of the pod that holds the lease.
    ///
    /// # Errors
    /// If the lease cannot be read.
    pub async fn leader(&self) -> Result<Option<String>> {
        let leases = self
            .within::<Lease>(NAMESPACE)
            .list(&ListParams::default())
            .await?;
        let holder = |lease: Lease| lease.spec?.holder_identity.filter(|holder| !holder.is_empty());
        Ok(leases.items.into_iter().find_map(holder))
    }

    /// Kills a pod as a lost node would: without a chance to say goodbye. To delete it would not do, since kubelet asks
    /// the process to end before it kills it.
    ///
    /// # Errors
    /// If it is not there.
    pub async fn kill(&self, namespace: &str, pod: &str) -> Result<()> {
        let pods = self.within::<Pod>(namespace);
        process::kill(&pods.get(pod).await?)?;
        pods.delete(pod, &DeleteParams::default().grace_period(0)).await?;
        Ok(())
    }
}

fn helm(rig: &Rig) -> Command {
    let mut command = Command::new(&rig.helm);
    command
        .env("KUBECONFIG", &rig.kubeconfig)
        .args(["--namespace", NAMESPACE]);
    command
}
