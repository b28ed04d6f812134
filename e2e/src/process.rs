//! Pods stopped in their tracks: their process still exists, holds its sockets and answers nobody.
//!
//! A cluster cannot be asked to do this, so the suite does it to the process on the node. It goes on with the value.

use std::{fs, process::Command};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;

use crate::{
    cluster::{Cluster, DNS_NAMESPACE},
    rig::output,
};

/// A process that was stopped.
#[derive(Debug)]
pub struct Stopped(u32);

impl Stopped {
    /// Stops the CoreDNS of a pod.
    ///
    /// # Errors
    /// If the pod has no such process on this machine.
    pub async fn dns_pod(cluster: &Cluster, pod: &str) -> Result<Self> {
        let pod = cluster.within::<Pod>(DNS_NAMESPACE).get(pod).await?;
        let uid = pod.uid().context("a pod has a uid")?;
        let process = processes().find(|pid| {
            let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            read("comm").trim() == "coredns" && read("cgroup").contains(&uid)
        });
        let process =
            process.with_context(|| format!("no process on this machine belongs to {}", pod.name_any()))?;
        signal("STOP", process)?;
        Ok(Self(process))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Kubernetes may have ended it meanwhile.
        let _ = signal("CONT", self.0);
    }
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn signal(name: &str, process: u32) -> Result<()> {
    output(Command::new("kill").args(["-s", name, &process.to_string()])).map(drop)
}
