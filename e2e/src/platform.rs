//! Cluster DNS as an installer leaves it, from the rig's own manifests: the suite changes platforms on one cluster.

use std::{
    fs,
    io::Write as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::api::{apps::v1::Deployment, core::v1::ConfigMap};
use kube::{
    ResourceExt as _,
    api::DeleteParams,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::task::JoinHandle;

use crate::{
    cluster::{Cluster, DNS, DNS_NAMESPACE},
    corefile,
    rig::{Rig, output, reload, workspace},
};

/// Who installs cluster DNS and owns its Corefile.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Platform {
    /// The administrator owns the Corefile.
    Kubeadm,
    /// The platform does; additions go into `coredns-custom`.
    K3s,
}

/// The label by which k3s marks what it installs.
const K3S: &str = "objectset.rio.cattle.io/hash";
/// What users of such a platform write to.
pub const CUSTOM: &str = "coredns-custom";

/// Replaces cluster DNS by that of a platform, with this image.
///
/// # Errors
/// If it does not come up.
pub async fn install(rig: &Rig, cluster: &Cluster, platform: Platform, image: &str) -> Result<()> {
    let file = match platform {
        Platform::Kubeadm => "kubeadm.yaml",
        Platform::K3s => "k3s.yaml",
    };
    let text = fs::read_to_string(workspace().join("operator/xtask/manifests").join(file))?;
    let text = text
        .replace("{image}", image)
        .replace("{reload}", &reload())
        .replace("{version}", "1.34.3")
        .replace("{pods}", "10.244.0.0/16,fd00:10:244::/56")
        .replace("{services}", "10.96.0.0/16,fd00:10:96::/112")
        .replace("{node}", &rig.node_port.ip().to_string());
    let at_once = DeleteParams::foreground().grace_period(0);
    let deployments = cluster.within::<Deployment>(DNS_NAMESPACE);
    let deployment = deployments
        .delete(DNS, &at_once)
        .await
        .context("removing cluster DNS")?;
    if let Some(old) = deployment.left() {
        kube::runtime::wait::await_condition(
            deployments,
            DNS,
            kube::runtime::conditions::is_deleted(&old.uid().unwrap_or_default()),
        )
        .await?;
    }
    let config_maps = cluster.within::<ConfigMap>(DNS_NAMESPACE);
    for name in [DNS, CUSTOM] {
        if config_maps.get_opt(name).await?.is_some() {
            config_maps.delete(name, &DeleteParams::default()).await?;
        }
    }
    let mut manifest = tempfile::NamedTempFile::new()?;
    manifest.write_all(text.as_bytes())?;
    let mut apply = Command::new(&rig.kubectl);
    apply
        .env("KUBECONFIG", &rig.kubeconfig)
        .args(["apply", "--server-side", "--force-conflicts"]);
    output(
        apply
            .args(["--field-manager=deploy@node1", "--filename"])
            .arg(manifest.path()),
    )?;
    cluster.rolled_out(DNS_NAMESPACE, DNS).await
}

/// Whose cluster DNS is there.
///
/// # Errors
/// If none is.
pub async fn present(cluster: &Cluster) -> Result<Platform> {
    let k3s = cluster.dns_config().await?.labels().contains_key(K3S);
    Ok(if k3s { Platform::K3s } else { Platform::Kubeadm })
}

/// The platform at work: whenever its Corefile is not what it installed, it puts it back, as the add-on managers of k3s
/// and AKS do. It stops with this value.
#[derive(Debug)]
pub struct Owner {
    restored: Arc<AtomicU32>,
    work: JoinHandle<Result<()>>,
}

impl Owner {
    /// Takes the present Corefile for its own.
    ///
    /// # Errors
    /// If there is none.
    pub async fn start(cluster: &Cluster) -> Result<Self> {
        let installed = cluster.corefile().await?;
        let restored = Arc::new(AtomicU32::new(0));
        let work = keep(cluster.clone(), installed, Arc::clone(&restored));
        Ok(Self {
            restored,
            work: tokio::spawn(work),
        })
    }

    /// How often it had to put its file back.
    ///
    /// # Errors
    /// If it no longer works, so that nobody counts.
    pub fn restored(&self) -> Result<u32> {
        ensure!(!self.work.is_finished(), "the platform has stopped working");
        Ok(self.restored.load(Ordering::SeqCst))
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.work.abort();
    }
}

async fn keep(cluster: Cluster, installed: String, restored: Arc<AtomicU32>) -> Result<()> {
    let seen = watcher::watch_object(cluster.within::<ConfigMap>(DNS_NAMESPACE), DNS).default_backoff();
    pin_mut!(seen);
    while let Some(seen) = seen.next().await {
        let Ok(seen) = seen else { continue };
        let text = seen.and_then(|config_map| config_map.data?.remove("Corefile"));
        if text.as_ref() != Some(&installed) {
            cluster.write_corefile(&installed, "deploy@node1").await?;
            restored.fetch_add(1, Ordering::SeqCst);
        }
    }
    Ok(())
}

/// The rig's manifest and the suite's fixture must be one text, or tests would begin from another DNS than users.
///
/// # Errors
/// If they differ.
pub fn fixture_is_the_rigs() -> Result<()> {
    let text = fs::read_to_string(workspace().join("operator/xtask/manifests/kubeadm.yaml"))?;
    let indented: Vec<_> = corefile::KUBEADM
        .lines()
        .map(|line| {
            [
                "    ", line, "
",
            ]
            .concat()
        })
        .collect();
    let indented = indented.concat();
    ensure!(
        text.contains(&indented),
        "the Corefile of kubeadm.yaml is not corefile::KUBEADM"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn tests_begin_from_the_rig_s_own_corefile() {
        super::fixture_is_the_rigs().unwrap();
    }
}
