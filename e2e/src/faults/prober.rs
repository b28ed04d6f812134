//! The prober inside the cluster: the operator's own program at the address of a pod.

use std::{
    fs,
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tempfile::TempDir;

use super::{
    network::{Network, Seat},
    node, stage,
};
use crate::{cluster::Cluster, install::NAMESPACE, outside::certificate, rig::program, wait};

/// Where the controller looks for it.
const PORT: u16 = 8443;

/// The process; it ends with this value.
#[derive(Debug)]
pub struct Prober {
    child: Child,
    _folder: TempDir,
    _seat: Seat,
}

impl Drop for Prober {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Prober {
    /// Waits for the certificate, starts the prober, and has a pod say where it is.
    ///
    /// # Errors
    /// If no certificate is issued, or the program does not come up.
    pub async fn start(cluster: &Cluster, network: &Arc<Network>) -> Result<Self> {
        let folder = certificate(cluster).await?;
        let seat = network.seat()?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new(program());
        command
            .args(["prober", "--vantage=inside", "--admin-address=127.0.0.1:8080"])
            .arg(format!("--listen={}:{PORT}", seat.address()))
            .arg("--tls-dir")
            .arg(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let start = move || command.spawn().context("starting the prober");
        let address = (seat.address(), PORT).into();
        let prober = Self {
            child: seat.place().run(start)?,
            _folder: folder,
            _seat: seat,
        };
        wait::until("the prober listens", Duration::from_secs(60), async || {
            let reach = move || {
                TcpStream::connect_timeout(&address, Duration::from_secs(1)).context("reaching the prober")
            };
            Network::world().run(reach).map(drop)
        })
        .await?;
        let status = json!({"status": {
            "phase": "Running",
            "podIP": address.ip(),
            "podIPs": [{"ip": address.ip()}],
            "conditions": [{"type": "Ready", "status": "True"}],
        }});
        cluster
            .within::<Pod>(NAMESPACE)
            .patch_status(stage::PROBER, &PatchParams::default(), &Patch::Merge(status))
            .await
            .with_context(|| format!("telling where the prober on node {} is", node::NAME))?;
        Ok(prober)
    }
}
