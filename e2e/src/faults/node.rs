//! A stand-in for kubelet, scheduler and workload controllers, as small as it can be: every pod becomes a process of
//! the real CoreDNS, with the files of its ConfigMap, at an address of its own.
//!
//! It exists because a real kubelet takes ten times as long, and hundreds of changes are made here. It hands a changed
//! ConfigMap to running pods at once and makes CoreDNS read it by a signal; it knows neither images nor probes nor
//! restarts. What a real kubelet does is tested on a real cluster.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::{Binding, ConfigMap, ConfigMapVolumeSource, Pod, PodSpec};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::{task::JoinHandle, time::interval};

use super::network::{NODE, Network, Seat};
use crate::{
    cluster::{DNS, DNS_NAMESPACE},
    rig::output,
};

/// The name of the one node.
pub const NAME: &str = "faults";
/// How often a pod is tried that could not be started.
const AGAIN: Duration = Duration::from_millis(200);

/// The node while it runs; its processes end with it.
#[derive(Debug)]
pub struct Node(JoinHandle<()>);

impl Drop for Node {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Kubelet {
    client: Client,
    network: Arc<Network>,
    coredns: PathBuf,
    folder: TempDir,
    /// By uid.
    running: BTreeMap<String, Running>,
    waiting: BTreeMap<String, Pod>,
}

/// The process of a pod.
struct Running {
    child: Child,
    files: PathBuf,
    source: ConfigMapVolumeSource,
    namespace: String,
    seat: Seat,
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    /// Begins to run every pod that names a ConfigMap.
    ///
    /// # Errors
    /// If it has no place for files.
    pub fn start(client: Client, network: Arc<Network>, coredns: PathBuf) -> Result<Self> {
        let kubelet = Kubelet {
            client,
            network,
            coredns,
            folder: tempfile::tempdir()?,
            running: BTreeMap::new(),
            waiting: BTreeMap::new(),
        };
        Ok(Self(tokio::spawn(kubelet.run())))
    }
}

impl Kubelet {
    async fn run(mut self) {
        let pods =
            watcher(Api::<Pod>::all(self.client.clone()), watcher::Config::default()).default_backoff();
        let named = watcher::Config::default().fields(&format!("metadata.name={DNS}"));
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), DNS_NAMESPACE);
        let maps = watcher(maps, named).default_backoff().applied_objects();
        let (mut pods, mut maps) = (pods.boxed(), maps.boxed());
        let mut clock = interval(AGAIN);
        loop {
            let done = tokio::select! {
                Some(event) = pods.next() => match event {
                    Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => self.see(pod).await,
                    Ok(watcher::Event::Delete(pod)) => {
                        self.forget(&pod);
                        Ok(())
                    }
                    Ok(watcher::Event::Init | watcher::Event::InitDone) => Ok(()),
                    Err(error) => Err(error.into()),
                },
                Some(map) = maps.next() => map.map_err(Into::into).and_then(|map| self.hand_out(&map)),
                _ = clock.tick() => {
                    for pod in std::mem::take(&mut self.waiting).into_values() {
                        self.begin(pod).await;
                    }
                    Ok(())
                }
            };
            if let Err(error) = done {
                eprintln!("the node: {error:#}");
            }
        }
    }

    async fn see(&mut self, pod: Pod) -> Result<()> {
        let uid = pod.uid().context("a pod has a uid")?;
        if pod.metadata.deletion_timestamp.is_some() {
            self.forget(&pod);
            let namespace = pod.namespace().unwrap_or_default();
            let gone = DeleteParams {
                preconditions: Some(Preconditions {
                    uid: Some(uid),
                    resource_version: None,
                }),
                ..DeleteParams::default().grace_period(0)
            };
            // Somebody may have been quicker.
            let pods = Api::<Pod>::namespaced(self.client.clone(), &namespace);
            let _ = pods.delete(&pod.name_any(), &gone).await;
        } else if !self.running.contains_key(&uid) {
            self.begin(pod).await;
        }
        Ok(())
    }

    fn forget(&mut self, pod: &Pod) {
        let uid = pod.uid().unwrap_or_default();
        self.waiting.remove(&uid);
        self.running.remove(&uid);
    }

    /// Starts a pod now, or later where its files are not there yet.
    async fn begin(&mut self, pod: Pod) {
        let uid = pod.uid().unwrap_or_default();
        match self.start(&pod).await {
            Ok(Some(running)) => drop(self.running.insert(uid, running)),
            Ok(None) => {}
            Err(error) => {
                eprintln!("the node: starting {}: {error:#}", pod.name_any());
                self.waiting.insert(uid, pod);
            }
        }
    }

    async fn start(&self, pod: &Pod) -> Result<Option<Running>> {
        let spec = pod.spec.as_ref().context("a pod has a spec")?;
        let Some((source, mount, arguments)) = files_and_arguments(spec) else {
            return Ok(None);
        };
        let namespace = pod.namespace().context("a pod has a namespace")?;
        let maps = Api::<ConfigMap>::namespaced(self.client.clone(), &namespace);
        let map = maps.get(&source.name).await.context("reading its ConfigMap")?;
        let files = self.folder.path().join(pod.uid().unwrap_or_default());
        fs::create_dir_all(&files)?;
        write(&files, &source, &map)?;
        let seat = self.network.seat()?;
        let log = File::create(files.join("log"))?;
        let mut command = Command::new(&self.coredns);
        command
            .args(
                arguments
                    .iter()
                    .map(|text| text.replacen(&mount, &files.to_string_lossy(), 1)),
            )
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let child = seat
            .place()
            .run(move || command.spawn().context("starting CoreDNS"))?;
        let running = Running {
            child,
            files,
            source,
            namespace: namespace.clone(),
            seat,
        };
        self.tell(pod, &namespace, &running).await?;
        Ok(Some(running))
    }

    /// Says that the pod is on this node and runs.
    async fn tell(&self, pod: &Pod, namespace: &str, running: &Running) -> Result<()> {
        let pods = Api::<Pod>::namespaced(self.client.clone(), namespace);
        let name = pod.name_any();
        if pod.spec.as_ref().is_none_or(|spec| spec.node_name.is_none()) {
            let binding: Binding = serde_json::from_value(json!({
                "metadata": {"name": name},
                "target": {"kind": "Node", "name": NAME},
            }))?;
            let _: serde_json::Value = pods
                .create_subresource("binding", &name, &PostParams::default(), &binding)
                .await
                .context("binding it")?;
        }
        let now = jiff::Timestamp::now().to_string();
        let containers = pod
            .spec
            .iter()
            .flat_map(|spec| &spec.containers)
            .map(|container| {
                json!({
                    "name": container.name,
                    "image": container.image,
                    "imageID": "",
                    "ready": true,
                    "restartCount": 0,
                    "state": {"running": {"startedAt": now}},
                })
            });
        let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"];
        let status = json!({"status": {
            "phase": "Running",
            "hostIP": NODE,
            "podIP": running.seat.address(),
            "podIPs": [{"ip": running.seat.address()}],
            "startTime": now,
            "conditions": conditions.map(|type_| json!({"type": type_, "status": "True", "lastTransitionTime": now})),
            "containerStatuses": containers.collect::<Vec<_>>(),
        }});
        pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(status))
            .await
            .context("telling its status")?;
        Ok(())
    }

    /// Gives a changed ConfigMap to the pods that have it mounted.
    fn hand_out(&self, map: &ConfigMap) -> Result<()> {
        for running in self.running.values() {
            if running.source.name == map.name_any() && Some(&running.namespace) == map.namespace().as_ref() {
                write(&running.files, &running.source, map)?;
                output(Command::new("kill").args(["-s", "USR1", &running.child.id().to_string()]))?;
            }
        }
        Ok(())
    }
}

/// What a pod of CoreDNS reads, where it looks for it, and its arguments.
fn files_and_arguments(spec: &PodSpec) -> Option<(ConfigMapVolumeSource, String, Vec<String>)> {
    let volume = spec
        .volumes
        .iter()
        .flatten()
        .find(|volume| volume.config_map.is_some())?;
    let container = spec.containers.first()?;
    let mut mounts = container.volume_mounts.iter().flatten();
    let mount = mounts.find(|mount| mount.name == volume.name)?;
    let arguments = container.args.clone().unwrap_or_default();
    Some((volume.config_map.clone()?, mount.mount_path.clone(), arguments))
}

/// Writes the files, each at once.
fn write(folder: &Path, source: &ConfigMapVolumeSource, map: &ConfigMap) -> Result<()> {
    for item in source.items.iter().flatten() {
        let text = map.data.as_ref().and_then(|data| data.get(&item.key));
        let text = text.with_context(|| format!("{} lacks {}", map.name_any(), item.key))?;
        let half = folder.join(format!(".{}", item.path));
        fs::write(&half, text)?;
        fs::rename(half, folder.join(&item.path))?;
    }
    Ok(())
}
