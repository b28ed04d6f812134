//! The prober and the probe zone outside the cluster: the operator's own program, in the namespace outside, with the
//! certificates and keys that the controller issued.

use std::{
    fs,
    net::{IpAddr, SocketAddr, TcpStream},
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
    rig::{OUTSIDE_ZONE, PROBER_PORT, Rig, ZONE_PORT, program},
    wait,
};

const PROBER: &str = "tsutsumi-prober-tls";
const ZONE: &str = "tsutsumi-probe-zone-tls";
const ZONE_KEYS: &str = "tsutsumi-probe-zone-keys";
const CERTIFICATE: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];
const KEYS: [&str; 2] = ["mark.key", "zone.key"];

/// Waits for the prober's certificate and puts its files into a folder, as `--tls-dir` wants them.
///
/// # Errors
/// If none is issued.
pub async fn certificate(cluster: &Cluster) -> Result<TempDir> {
    let folder = tempfile::tempdir()?;
    copy(cluster, PROBER, &CERTIFICATE, &folder).await?;
    Ok(folder)
}

/// Waits until a Secret has these files and puts them into a folder.
async fn copy(cluster: &Cluster, secret: &str, files: &[&str], folder: &TempDir) -> Result<()> {
    let within = Duration::from_secs(60);
    let data = wait::until(&format!("secret {secret} is filled"), within, async || {
        let data = cluster.secret(NAMESPACE, secret).await?;
        let complete = files.iter().all(|file| data.contains_key(*file));
        ensure!(complete, "secret {secret} has only {:?}", data.keys());
        Ok(data)
    })
    .await?;
    for file in files {
        let path = folder.path().join(file);
        fs::write(&path, &data[*file])?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// A process outside; it ends with this value.
#[derive(Debug)]
pub struct Outside {
    child: Child,
    folder: TempDir,
}

impl Outside {
    /// Waits for the prober's certificate, starts the prober and waits until it listens.
    ///
    /// # Errors
    /// If no certificate is issued, or the program does not come up.
    pub async fn prober(rig: &Rig, cluster: &Cluster) -> Result<Self> {
        let folder = certificate(cluster).await?;
        let arguments = ["prober", "--vantage=outside"].map(str::to_owned);
        let ports = [("--listen", PROBER_PORT), ("--admin-address", 18_080)];
        Self::start(rig, rig.outside_address, folder, arguments.into(), &ports).await
    }

    /// Waits for the certificate and the keys of the probe zone, starts one and waits until it listens. It answers the
    /// pods as they are seen outside: behind a NAT, from the network of the outside itself.
    ///
    /// # Errors
    /// If there is no certificate or key, or the program does not come up.
    pub async fn zone(rig: &Rig, cluster: &Cluster) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        copy(cluster, ZONE, &CERTIFICATE, &folder).await?;
        copy(cluster, ZONE_KEYS, &KEYS, &folder).await?;
        let mut arguments = vec!["probe-zone".to_owned(), format!("--zone={OUTSIDE_ZONE}")];
        arguments.push(format!("--allow={}/32", rig.outside_gateway));
        arguments.push(format!("--key-dir={}", folder.path().display()));
        let ports = [
            ("--control", ZONE_PORT),
            ("--listen", 53),
            ("--admin-address", 18_081),
        ];
        Self::start(rig, rig.outside_zone, folder, arguments, &ports).await
    }

    /// Starts the program and waits until it listens on the first of the ports.
    async fn start(
        rig: &Rig,
        address: IpAddr,
        folder: TempDir,
        mut arguments: Vec<String>,
        ports: &[(&str, u16)],
    ) -> Result<Self> {
        let (_, first) = ports.first().context("a process outside listens")?;
        let listen = SocketAddr::new(address, *first);
        let outside = Place::named(&rig.outside_netns);
        let reach = move || {
            TcpStream::connect_timeout(&listen, Duration::from_secs(1))
                .context("reaching the process outside")
        };
        // One that a killed run left behind would answer in place of ours, with a certificate of that run.
        ensure!(
            outside.run(reach).is_err(),
            "somebody listens at {listen} in {outside} already: end that process"
        );
        for (flag, port) in ports {
            arguments.push(format!("{flag}={}", SocketAddr::new(address, *port)));
        }
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &rig.outside_netns])
            .arg(program())
            .args(arguments);
        command.arg("--tls-dir").arg(folder.path());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut started = Self { child, folder };
        wait::until(
            "the process outside listens",
            Duration::from_secs(20),
            async || {
                if let Some(status) = started.child.try_wait()? {
                    let said = fs::read_to_string(started.folder.path().join("log")).unwrap_or_default();
                    anyhow::bail!("the process outside ended with {status}: {said}");
                }
                outside.run(reach)
            },
        )
        .await?;
        Ok(started)
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        // `ip netns exec` becomes the program, so this is the process itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
