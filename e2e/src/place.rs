//! From where a socket is opened: the node, a client outside the cluster, or a pod.
//!
//! A thread enters the network namespace and ends with the work, so that no other thread ever changes its network.

use std::{fs::File, os::fd::AsFd, path::PathBuf, thread};

use anyhow::{Context, Result, anyhow};
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::process;

/// A network namespace of this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    name: String,
    namespace: Option<PathBuf>,
}

impl Place {
    /// The node itself.
    #[must_use]
    pub fn node() -> Self {
        Self {
            name: "the node".into(),
            namespace: None,
        }
    }

    /// A namespace by the name that `ip netns` knows it by.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            namespace: Some(PathBuf::from("/run/netns").join(name)),
        }
    }

    /// Where a running pod's sockets are; every container of a pod has the same network.
    ///
    /// # Errors
    /// If the pod has no process on this machine.
    pub fn of_pod(pod: &Pod) -> Result<Self> {
        let process = process::of_pod(pod, |_| true)?;
        Ok(Self {
            name: format!("pod {}", pod.name_any()),
            namespace: Some(PathBuf::from(format!("/proc/{process}/ns/net"))),
        })
    }

    /// Runs `work` in this place, on a thread of its own, and waits for it.
    ///
    /// # Errors
    /// If the place cannot be entered, or as the work fails.
    pub fn run<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        let place = self.clone();
        let thread = thread::spawn(move || {
            place.enter()?;
            work()
        });
        thread
            .join()
            .map_err(|_| anyhow!("the work in {} panicked", self.name))?
    }

    /// Moves the calling thread, and whatever it starts, into this place.
    ///
    /// # Errors
    /// If the namespace is not there.
    pub fn enter(&self) -> Result<()> {
        let Some(path) = &self.namespace else {
            return Ok(());
        };
        let file =
            File::open(path).with_context(|| format!("opening the network namespace {}", path.display()))?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
            .with_context(|| format!("entering {}", path.display()))
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.name)
    }
}
