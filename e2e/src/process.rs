//! The processes of pods, as the node sees them, and pods stopped in their tracks: their process still exists, holds its
//! sockets and answers nobody.
//!
//! A cluster cannot be asked to do this, so the suite does it to the process on the node. It goes on with the value.

use std::{fs, path::Path, process::Command};

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
        let process = of_pod(&pod, |program| program == "coredns")?;
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

/// Kills the program of a pod, whatever it is about to do.
///
/// # Errors
/// If it has no process on this machine.
pub fn kill(pod: &Pod) -> Result<()> {
    signal("KILL", of_pod(pod, |program| program != "pause")?)
}

/// A process of a pod, by the name of its program.
///
/// # Errors
/// If there is none on this machine.
pub fn of_pod(pod: &Pod, is_wanted: impl Fn(&str) -> bool) -> Result<u32> {
    let uid = pod.uid().context("a pod has a uid")?;
    let found = processes().find(|pid| {
        let read = |file: &str| fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        read("cgroup").contains(&uid) && is_wanted(read("comm").trim())
    });
    found.with_context(|| format!("no process on this machine belongs to {}", pod.name_any()))
}

/// Whether a process is there still.
#[must_use]
pub fn lives(process: u32) -> bool {
    Path::new(&format!("/proc/{process}")).exists()
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn signal(name: &str, process: u32) -> Result<()> {
    output(Command::new("kill").args(["-s", name, &process.to_string()])).map(drop)
}
