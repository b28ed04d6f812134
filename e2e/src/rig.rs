//! What the suite knows of the cluster it runs on, from the environment that `cargo xtask test` sets.
//!
//! Nothing is guessed: without these facts a test fails and says how to run it, because a suite that skips is green.

use std::{
    env,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

/// The address of the cluster's DNS Service, as every pod has it in its `resolv.conf`.
pub const DNS_SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(10, 96, 0, 10)), 53);
/// The image of a process that does nothing, which the rig loads for its own use.
pub const PAUSE: &str = "e2e.local/pause:1";
/// Where the outside prober listens; not where the demonstration's does, which may still run.
pub const PROBER_PORT: u16 = 18_443;

/// Where the probe zone outside tells what it heard.
pub const ZONE_PORT: u16 = 18_444;
/// Its name.
pub const OUTSIDE_ZONE: &str = "probe-outside.tsutsumi.test";

/// The rig, as far as the suite has to know it.
#[derive(Clone, Debug)]
pub struct Rig {
    /// The name of the network namespace outside the cluster.
    pub outside_netns: String,
    /// The address of the client outside.
    pub outside_address: IpAddr,
    /// The address at which a probe zone outside answers.
    pub outside_zone: IpAddr,
    /// The address at which that client sees what comes out of the cluster.
    pub outside_gateway: IpAddr,
    /// The exposed DNS port of the node.
    pub node_port: SocketAddr,
    /// The `helm` program.
    pub helm: PathBuf,
    /// The `kubectl` program.
    pub kubectl: PathBuf,
    /// An administrator's kubeconfig.
    pub kubeconfig: PathBuf,
}

impl Rig {
    /// Reads the environment.
    ///
    /// # Errors
    /// If a fact is missing or unreadable; the message names the command that sets it.
    pub fn from_env() -> Result<Self> {
        let node: IpAddr = parsed("TSUTSUMI_NODE_ADDRESS")?;
        Ok(Self {
            outside_netns: fact("TSUTSUMI_OUTSIDE_NETNS")?,
            outside_address: parsed("TSUTSUMI_OUTSIDE_ADDRESS")?,
            outside_zone: parsed("TSUTSUMI_OUTSIDE_ZONE_ADDRESS")?,
            outside_gateway: parsed("TSUTSUMI_OUTSIDE_GATEWAY")?,
            node_port: SocketAddr::new(node, parsed("TSUTSUMI_NODE_PORT")?),
            helm: fact("TSUTSUMI_HELM")?.into(),
            kubectl: fact("TSUTSUMI_KUBECTL")?.into(),
            kubeconfig: fact("KUBECONFIG")?.into(),
        })
    }

    /// The image of Unbound, which every node has.
    ///
    /// # Errors
    /// If the fact is missing: only tests of managed resolvers need it.
    pub fn unbound_image(&self) -> Result<String> {
        fact("TSUTSUMI_UNBOUND_IMAGE")
    }

    /// A file of the rig's root: `named.root` or `root.key`.
    ///
    /// # Errors
    /// If the fact is missing, or the file cannot be read.
    pub fn root(&self, file: &str) -> Result<String> {
        let path = Path::new(&fact("TSUTSUMI_ROOT")?).join(file);
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Runs a line as a person would who has `kubectl` and an administrator's kubeconfig.
    ///
    /// # Errors
    /// If it fails; the message holds what it said.
    pub fn shell(&self, line: &str) -> Result<String> {
        let programs = self.kubectl.parent().context("kubectl lies in a folder")?;
        let others = env::var_os("PATH").unwrap_or_default();
        let path = env::join_paths(std::iter::once(programs.to_owned()).chain(env::split_paths(&others)))?;
        let mut shell = Command::new("sh");
        shell.env("KUBECONFIG", &self.kubeconfig).env("PATH", path);
        output(shell.args(["-euc", line]))
    }

    /// Makes one more CoreDNS release available to pods and returns its image.
    ///
    /// # Errors
    /// If the release cannot be built or loaded.
    pub fn import_coredns(&self, version: &str) -> Result<String> {
        xtask(&["cluster", "import-coredns", version]).context("the image of another CoreDNS")
    }

    /// Calls the image of Unbound by one more tag and returns that name; what is in it stays the same.
    ///
    /// # Errors
    /// If the runtime refuses.
    pub fn tag_unbound(&self, tag: &str) -> Result<String> {
        xtask(&["cluster", "tag-unbound", tag]).context("another name for the image of Unbound")
    }

    /// The folder that one of Debian's programs and all that it needs are unpacked into.
    ///
    /// # Errors
    /// If it cannot be fetched.
    pub fn unpacked(&self, program: &str) -> Result<PathBuf> {
        xtask(&["tools", program])
            .map(PathBuf::from)
            .with_context(|| format!("the folder of {program}"))
    }
}

/// The last line that the project's own tool prints.
pub(crate) fn xtask(words: &[&str]) -> Result<String> {
    let last = run_xtask(words)?.lines().last().map(str::to_owned);
    last.with_context(|| format!("`cargo xtask {}` printed nothing", words.join(" ")))
}

/// What the project's own tool prints, which may be nothing.
pub(crate) fn run_xtask(words: &[&str]) -> Result<String> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut xtask = Command::new(cargo);
    xtask.current_dir(workspace()).arg("xtask").args(words);
    output(&mut xtask)
}

/// The line of the `reload` plugin, with the interval that the rig gives every CoreDNS; none for the plugin's own.
#[must_use]
pub fn reload() -> String {
    let times = env::var("TSUTSUMI_COREDNS_RELOAD").unwrap_or_default();
    format!("reload {}", times.replace(',', " "))
        .trim_end()
        .to_owned()
}

/// The root of the checkout.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or_else(|| Path::new("."))
}

/// The operator's own program, the very one that is in the image.
#[must_use]
pub fn program() -> PathBuf {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from);
    target.join("x86_64-unknown-linux-musl/release/tsutsumi")
}

/// Runs a program to its end and returns what it printed.
///
/// # Errors
/// If it does not start or ends in failure; the message holds what it said.
pub fn output(command: &mut Command) -> Result<String> {
    let told = format!("{command:?}");
    let done = command.output().with_context(|| format!("starting {told}"))?;
    let printed = String::from_utf8_lossy(&done.stdout).into_owned();
    if !done.status.success() {
        bail!(
            "{told} ended with {}:\n{printed}{}",
            done.status,
            String::from_utf8_lossy(&done.stderr)
        );
    }
    Ok(printed)
}

fn fact(name: &str) -> Result<String> {
    env::var(name).ok().filter(|value| !value.is_empty()).with_context(|| {
        format!(
            "{name} is not set: this suite needs the rig's cluster. Run `cargo xtask test`, or start one with \
             `cargo xtask cluster up`, load the image with `cargo xtask image` and run \
             `env $(cargo xtask cluster env) cargo test -p tsutsumi-e2e --features cluster --test suite`"
        )
    })
}

fn parsed<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(name: &str) -> Result<T> {
    let text = fact(name)?;
    text.parse()
        .with_context(|| format!("{name}={text} is not what `cargo xtask cluster env` prints"))
}
