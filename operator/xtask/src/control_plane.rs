//! A store and an API server, and nothing that would run anything: objects are what the program makes them that this
//! is for, a measurement or the fault suite.
//!
//! Everything lies in memory in a folder of its own, listens on ports that the kernel says are free, and ends with the
//! value. Users with tokens: the administrator and one for each program under test, so that the audit log tells them
//! apart.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::json;
use tempfile::TempDir;

use crate::run;

/// Cluster DNS as kubeadm leaves it.
const KUBEADM: &str = include_str!("../manifests/kubeadm.yaml");
/// Folders in memory, where the machine has one.
const MEMORY: &str = "/dev/shm";
/// Who calls.
const USERS: [&str; 3] = ["admin", "tsutsumi", "null"];

/// The running pair.
pub(crate) struct ControlPlane {
    // Ends before its folder goes.
    processes: Vec<(&'static str, Running)>,
    folder: TempDir,
    pinned: bool,
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl ControlPlane {
    /// Starts both, on the first core alone where `pinned`, and installs cluster DNS and our CRDs.
    pub(crate) fn start(kubernetes: &Path, pinned: bool) -> Result<Self> {
        let folder = if Path::new(MEMORY).is_dir() {
            tempfile::tempdir_in(MEMORY)?
        } else {
            tempfile::tempdir()?
        };
        let mut plane = Self {
            processes: Vec::new(),
            folder,
            pinned,
        };
        let [client, peer, secure] = free_ports()?;
        plane.credentials(secure)?;
        plane.store(client, peer)?;
        plane.api(kubernetes, client, secure)?;
        let admin = plane.path("admin.kubeconfig");
        let kubectl = |arguments: &[&str]| {
            let mut command = run::command(kubernetes.join("kubectl"));
            command.env("KUBECONFIG", &admin).args(arguments);
            command
        };
        run::wait_for("the API server", Duration::from_secs(120), || {
            plane.alive()?;
            run::output(&mut kubectl(&["get", "--raw", "/readyz"]))
        })?;
        let crds = run::workspace().join("crds");
        run::output(kubectl(&["apply", "--server-side", "--filename"]).arg(crds))?;
        let dns = KUBEADM
            .replace("{image}", "registry.k8s.io/coredns/coredns:v1.14.7")
            .replace("{reload}", "reload")
            .replace("{version}", crate::tools::KUBERNETES)
            .replace("{pods}", "10.244.0.0/16")
            .replace("{services}", "10.96.0.0/16");
        run::feed(&mut kubectl(&["apply", "--server-side", "--filename=-"]), &dns)?;
        run::output(&mut kubectl(&[
            "wait",
            "--for=condition=Established",
            "crd",
            "--all",
        ]))?;
        Ok(plane)
    }

    /// Where the kubeconfigs and the audit log lie.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A program on the same core as these two.
    pub(crate) fn pinned(&self, program: &Path) -> Command {
        if !self.pinned {
            return run::command(program);
        }
        let mut command = run::command("taskset");
        command.args(["--cpu-list", "0"]).arg(program);
        command
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    fn spawn(&mut self, name: &'static str, command: &mut Command) -> Result<()> {
        let log = File::create(self.path(&format!("{name}.log")))?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        self.processes.push((name, Running(child)));
        Ok(())
    }

    /// Fails with the last words of one that has ended.
    fn alive(&mut self) -> Result<()> {
        for (name, process) in &mut self.processes {
            if let Some(status) = process.0.try_wait()? {
                let said =
                    fs::read_to_string(self.folder.path().join(format!("{name}.log"))).unwrap_or_default();
                let last = said.lines().last().unwrap_or_default();
                return Err(run::Hopeless(format!("{name} ended with {status}: {last}")).into());
            }
        }
        Ok(())
    }

    fn store(&mut self, client: u16, peer: u16) -> Result<()> {
        let (client, peer) = (
            format!("http://127.0.0.1:{client}"),
            format!("http://127.0.0.1:{peer}"),
        );
        let mut etcd = self.pinned(Path::new("etcd"));
        etcd.arg("--data-dir")
            .arg(self.path("etcd"))
            .arg("--unsafe-no-fsync");
        etcd.args([
            "--listen-client-urls",
            &client,
            "--advertise-client-urls",
            &client,
        ]);
        etcd.args([
            "--listen-peer-urls",
            &peer,
            "--initial-advertise-peer-urls",
            &peer,
        ]);
        etcd.args(["--initial-cluster", &format!("default={peer}")]);
        self.spawn("etcd", &mut etcd)
    }

    fn api(&mut self, kubernetes: &Path, store: u16, secure: u16) -> Result<()> {
        let policy = json!({
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived", "ResponseStarted"],
            "rules": [{"level": "Metadata", "users": &USERS[1..]}, {"level": "None"}],
        });
        fs::write(self.path("audit.json"), policy.to_string())?;
        let mut api = self.pinned(&kubernetes.join("kube-apiserver"));
        for (flag, file) in [
            ("tls-cert-file", "server.crt"),
            ("tls-private-key-file", "server.key"),
            ("service-account-key-file", "accounts.pub"),
            ("service-account-signing-key-file", "accounts.key"),
            ("token-auth-file", "tokens.csv"),
            ("audit-policy-file", "audit.json"),
            ("audit-log-path", "audit.log"),
        ] {
            api.arg(format!("--{flag}={}", self.path(file).display()));
        }
        api.args([
            &format!("--etcd-servers=http://127.0.0.1:{store}"),
            &format!("--secure-port={secure}"),
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--authorization-mode=RBAC",
            // Nobody makes the accounts and tokens that it would demand of every pod.
            "--disable-admission-plugins=ServiceAccount",
            "--allow-privileged=true",
        ]);
        self.spawn("kube-apiserver", &mut api)
    }

    /// An authority, the server's certificate, and a kubeconfig with a token for each user.
    fn credentials(&self, secure: u16) -> Result<()> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::new(Vec::new())?;
        params
            .distinguished_name
            .push(DnType::CommonName, "tsutsumi-bare");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let server = KeyPair::generate()?;
        let certificate =
            CertificateParams::new(vec!["127.0.0.1".to_owned()])?.signed_by(&server, &issuer)?;
        fs::write(self.path("ca.crt"), authority)?;
        fs::write(self.path("server.crt"), certificate.pem())?;
        fs::write(self.path("server.key"), server.serialize_pem())?;
        let accounts = KeyPair::generate()?;
        fs::write(self.path("accounts.key"), accounts.serialize_pem())?;
        fs::write(self.path("accounts.pub"), accounts.public_key_pem())?;
        let mut tokens = String::new();
        for user in USERS {
            // Good for a server on loopback that lives for minutes.
            let token = fs::read_to_string("/proc/sys/kernel/random/uuid").context("drawing a token")?;
            let token = token.trim();
            writeln!(tokens, "{token},{user},{user},system:masters")?;
            let config = json!({
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "bare", "cluster": {
                    "server": format!("https://127.0.0.1:{secure}"),
                    "certificate-authority": self.path("ca.crt"),
                }}],
                "users": [{"name": user, "user": {"token": token}}],
                "contexts": [{"name": "bare", "context": {"cluster": "bare", "user": user}}],
                "current-context": "bare",
            });
            fs::write(self.path(&format!("{user}.kubeconfig")), config.to_string())?;
        }
        fs::write(self.path("tokens.csv"), tokens).context("writing the tokens")
    }
}

/// Ports that were free a moment ago; all are held until each is known, so that they differ.
fn free_ports() -> Result<[u16; 3]> {
    let listen = || TcpListener::bind("127.0.0.1:0").context("asking for a free port");
    let held = [listen()?, listen()?, listen()?];
    let [one, two, three] = &held;
    let port = |listener: &TcpListener| Ok::<_, anyhow::Error>(listener.local_addr()?.port());
    Ok([port(one)?, port(two)?, port(three)?])
}
