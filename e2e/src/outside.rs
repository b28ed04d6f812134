//! The prober outside the cluster: the operator's own program, in the namespace outside, with the certificate that the
//! controller issued.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    os::unix::fs::PermissionsExt as _,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::{
    cluster::Cluster,
    install::NAMESPACE,
    place::Place,
    rig::{PROBER_PORT, Rig, program},
    wait,
};

/// The Secret with the prober's certificate.
const SECRET: &str = "tsutsumi-prober-tls";
const FILES: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];

/// Waits for the prober's certificate and puts its files into a folder, as `--tls-dir` wants them.
///
/// # Errors
/// If none is issued.
pub async fn certificate(cluster: &Cluster) -> Result<TempDir> {
    let within = Duration::from_secs(60);
    let data = wait::until("the prober's certificate is issued", within, async || {
        let data = cluster.secret(NAMESPACE, SECRET).await?;
        let complete = FILES.iter().all(|file| data.contains_key(*file));
        ensure!(complete, "secret {SECRET} has only {:?}", data.keys());
        Ok(data)
    })
    .await?;
    let folder = tempfile::tempdir()?;
    for file in FILES {
        let path = folder.path().join(file);
        fs::write(&path, &data[file])?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(folder)
}

/// The process; it ends with this value.
#[derive(Debug)]
pub struct Prober {
    child: Child,
    folder: TempDir,
}

impl Prober {
    /// Waits for the certificate, starts the prober and waits until it listens.
    ///
    /// # Errors
    /// If no certificate is issued, or the program does not come up.
    pub async fn start(rig: &Rig, cluster: &Cluster) -> Result<Self> {
        let folder = certificate(cluster).await?;
        let listen = SocketAddr::new(rig.outside_address, PROBER_PORT);
        let outside = Place::named(&rig.outside_netns);
        let reach = move || {
            TcpStream::connect_timeout(&listen, Duration::from_secs(1)).context("reaching the prober outside")
        };
        // One that a killed run left behind would answer in place of ours, with a certificate of that run.
        ensure!(
            outside.run(reach).is_err(),
            "somebody listens at {listen} in {outside} already: end that process"
        );
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &rig.outside_netns])
            .arg(program())
            .args(["prober", "--vantage", "outside"]);
        command
            .arg(format!("--listen={listen}"))
            .arg(format!("--admin-address={}:18080", rig.outside_address));
        command.arg("--tls-dir").arg(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut prober = Self { child, folder };
        wait::until(
            "the prober outside listens",
            Duration::from_secs(20),
            async || {
                if let Some(status) = prober.child.try_wait()? {
                    let said = fs::read_to_string(prober.folder.path().join("log")).unwrap_or_default();
                    anyhow::bail!("the prober outside ended with {status}: {said}");
                }
                outside.run(reach)
            },
        )
        .await?;
        Ok(prober)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        // `ip netns exec` becomes the program, so this is the prober itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
