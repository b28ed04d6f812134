//! The controller as a process of this machine instead of a pod: the same program, the same arguments and the rights of
//! the same service account, but started anew within a moment. For tests that kill it many times.

use std::{
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::{
    apps::v1::Deployment,
    authentication::v1::{TokenRequest, TokenRequestSpec},
    core::v1::ServiceAccount,
};
use kube::{
    api::PostParams,
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    between::Between,
    cluster::Cluster,
    install::{CONTROLLER, NAMESPACE},
    place::Place,
    rig::{Rig, program},
};

/// Ends the process after its k-th write.
const CRASH: &str = "TSUTSUMI_FAULT_EXIT_AFTER_WRITE";
/// How the process ends then (`EX_SOFTWARE`).
pub const CRASHED: i32 = 70;

/// What is needed to start the controller on this machine.
#[derive(Debug)]
pub struct Local {
    folder: TempDir,
    config: Kubeconfig,
    arguments: Vec<String>,
    place: Place,
}

/// The process; it ends with this value.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
}

impl Local {
    /// Takes the arguments from the installed Deployment and the rights from its service account.
    ///
    /// # Errors
    /// If the chart is not installed.
    pub async fn prepare(rig: &Rig, cluster: &Cluster) -> Result<Self> {
        let deployment = cluster.within::<Deployment>(NAMESPACE).get(CONTROLLER).await?;
        let spec = deployment
            .spec
            .and_then(|spec| spec.template.spec)
            .context("a Deployment has a template")?;
        let arguments = spec
            .containers
            .into_iter()
            .find_map(|container| container.args)
            .context("it has arguments")?;
        // Every controller of this machine takes its port from the pod's; here it must not be one that is taken.
        let arguments = arguments
            .into_iter()
            .filter(|argument| !argument.starts_with("--admin-address"));
        let arguments = arguments
            .chain(["--admin-address=127.0.0.1:0".to_owned()])
            .collect();

        let accounts = cluster.within::<ServiceAccount>(NAMESPACE);
        let request = TokenRequest {
            spec: TokenRequestSpec {
                expiration_seconds: Some(3600),
                ..TokenRequestSpec::default()
            },
            ..TokenRequest::default()
        };
        let answer = accounts
            .create_token_request(CONTROLLER, &PostParams::default(), &request)
            .await?;
        let token = answer.status.context("a token was asked for")?.token;
        let mut config = Kubeconfig::read_from(&rig.kubeconfig)?;
        let user = json!([{"name": "controller", "user": {"token": token}}]);
        config.auth_infos = serde_json::from_value(user)?;
        for context in config
            .contexts
            .iter_mut()
            .filter_map(|named| named.context.as_mut())
        {
            context.user = Some("controller".into());
        }
        let folder = tempfile::tempdir()?;
        kube::Config::from_custom_kubeconfig(config.clone(), &KubeConfigOptions::default()).await?;
        let local = Self {
            folder,
            config,
            arguments,
            place: Place::node(),
        };
        local.keep("kubeconfig", &local.config)?;
        Ok(local)
    }

    /// With these arguments and no more rights than whoever listens at `server` gives, in this place.
    ///
    /// # Errors
    /// If there is no place for its files.
    pub fn with(arguments: Vec<String>, server: SocketAddr, place: Place) -> Result<Self> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": format!("http://{server}")}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": ""}}],
            "current-context": "it",
        });
        let local = Self {
            folder: tempfile::tempdir()?,
            config: serde_json::from_value(config)?,
            arguments,
            place,
        };
        local.keep("kubeconfig", &local.config)?;
        Ok(local)
    }

    /// Lets the controller's requests that begin with `wanted` pass only one by one, as the test says.
    ///
    /// # Errors
    /// If the way through does not open.
    pub async fn through(&self, rig: &Rig, wanted: &'static str) -> Result<Between> {
        let direct = self.keep("direct", &self.config)?;
        let between = Between::open(rig, &direct, wanted).await?;
        let mut config = self.config.clone();
        for cluster in config
            .clusters
            .iter_mut()
            .filter_map(|named| named.cluster.as_mut())
        {
            cluster.server = Some(format!("http://{}", between.address));
        }
        self.keep("kubeconfig", &config)?;
        Ok(between)
    }

    fn keep(&self, name: &str, config: &Kubeconfig) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        fs::write(&path, serde_json::to_string(config)?)?;
        Ok(path)
    }

    /// Starts the controller; with `crash_after` it ends after so many writes.
    ///
    /// # Errors
    /// If the program does not start.
    pub fn start(&self, crash_after: Option<u32>) -> Result<Running> {
        let log = self.folder.path().join("log");
        let file = File::options().create(true).append(true).open(&log)?;
        let mut command = Command::new(program());
        command
            .args(&self.arguments)
            .env("KUBECONFIG", self.folder.path().join("kubeconfig"));
        command
            .env("POD_NAMESPACE", NAMESPACE)
            .env("POD_NAME", "e2e-controller");
        if let Some(writes) = crash_after {
            command.env(CRASH, writes.to_string());
        }
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let start = move || command.spawn().context("starting the controller on this machine");
        Ok(Running {
            child: self.place.run(start)?,
            log,
        })
    }

    /// What it has logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Forgets what it has logged.
    ///
    /// # Errors
    /// If the log cannot be written.
    pub fn clear_log(&self) -> Result<()> {
        Ok(fs::write(self.folder.path().join("log"), "")?)
    }
}

impl Running {
    /// How the process ended, if it has.
    ///
    /// # Errors
    /// If it ended in another way than the fault switch's; the message holds its last words.
    pub fn crashed(&mut self) -> Result<Option<ExitStatus>> {
        match self.child.try_wait()? {
            Some(status) if status.code() != Some(CRASHED) => {
                let said = fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(10).collect();
                bail!("the controller ended with {status}:\n{}", last.join("\n"))
            }
            ended => Ok(ended),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
