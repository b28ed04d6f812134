//! Resolvers of the user's, outside the cluster: programs that others wrote, told of the probe zone exactly as the how-to
//! says, and configured well or badly on purpose.

mod config;

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use hickory_proto::op::ResponseCode;
use k8s_openapi::api::core::v1::{Pod, Service};
use kube::api::{ListParams, LogParams};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    dns::{Question, TRANSPORTS, ask, fresh_below},
    install::{self, NAMESPACE},
    overheard::Overheard,
    place::Place,
    rig::Rig,
    scenario::Scenario,
    signed::GOOD,
    wait,
};

/// The port of such a resolver, at the address of the client outside; the rig's root has port 53 there.
const PORT: u16 = 5353;
/// As few ports as let a resolver serve: from one alone BIND and Unbound drop what they are asked while it is in use.
pub const FEW_PORTS: u16 = 32;
/// The node's port that leads to the probe zone.
const ZONE_PORT: u16 = 30_153;
/// How long a program may take to answer.
const UP: Duration = Duration::from_secs(30);

/// A program.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Program {
    /// BIND 9.
    Bind,
    /// Knot Resolver, of the series 5.
    Knot,
    /// `PowerDNS` Recursor.
    PowerDns,
    /// Unbound.
    Unbound,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Unbound, Self::Bind, Self::Knot, Self::PowerDns];

    /// As people call it, which is its heading in the how-to too.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bind => "BIND",
            Self::Knot => "Knot Resolver",
            Self::PowerDns => "PowerDNS Recursor",
            Self::Unbound => "Unbound",
        }
    }

    /// As `cargo xtask tools` calls it.
    const fn tool(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Knot => "knot-resolver",
            Self::PowerDns => "pdns-recursor",
            Self::Unbound => "unbound",
        }
    }

    /// Whether it can be made to ask from few ports; else it leaves the choice to the kernel.
    #[must_use]
    pub const fn chooses_ports(self) -> bool {
        !matches!(self, Self::Knot)
    }
}

/// How a resolver is configured.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Habits {
    /// Whether it checks signatures.
    pub validates: bool,
    /// Whether every question has a port of its own; else there are [`FEW_PORTS`], where the program chooses any.
    pub random_ports: bool,
    /// The size that it offers and takes, in bytes.
    pub edns: u16,
}

impl Habits {
    /// As the guidelines want it.
    pub const GOOD: Self = Self {
        validates: true,
        random_ports: true,
        edns: 1232,
    };
    /// The opposite in everything.
    pub const BAD: Self = Self {
        validates: false,
        random_ports: false,
        edns: 4096,
    };
}

/// What a resolver outside has to know of the probe zone.
#[derive(Clone, Debug)]
pub struct Zone {
    server: SocketAddr,
    /// The key tag and the SHA-256 of the key.
    anchor: (String, String),
}

impl Zone {
    /// The one in this process, which needs no way to be opened.
    ///
    /// # Errors
    /// If it tells no key.
    pub fn overheard(zone: &Overheard) -> Result<Self> {
        Ok(Self {
            server: zone.server,
            anchor: anchor(&zone.anchor).context("a zone in this process has a DS record")?,
        })
    }

    /// Goes the how-to's steps 1 and 2: installs so that the resolver outside is answered, opens a way to the zone that
    /// keeps addresses and ports, and reads the zone's key from its log.
    ///
    /// # Errors
    /// If a step fails.
    pub async fn open(s: &Scenario) -> Result<Self> {
        let mut values = install::values(&s.rig);
        let mut sources = vec![json!(format!("{}/32", s.rig.outside_address))];
        sources.extend(config::private_networks()?);
        values["probeZone"]["sources"] = sources.into();
        install::install(&s.rig, &values)?;

        let mut service: Value = serde_saphyr::from_str(config::fence("## 1.", 0)?)?;
        // The rig has no load balancer; a node's port keeps addresses in the same way.
        service["spec"]["type"] = "NodePort".into();
        for port in service["spec"]["ports"].as_array_mut().context("its ports")? {
            port["nodePort"] = ZONE_PORT.into();
        }
        let services = s.cluster.within::<Service>(NAMESPACE);
        s.cluster.make(&services, service).await?;
        let anchor = wait::until("the zone tells its key", UP, async || key_in_the_log(s).await).await?;
        Ok(Self {
            server: SocketAddr::new(s.rig.node_port.ip(), ZONE_PORT),
            anchor,
        })
    }
}

/// The newest key that the probe zone wrote into its log.
async fn key_in_the_log(s: &Scenario) -> Result<(String, String)> {
    let pods = s.cluster.within::<Pod>(NAMESPACE);
    let ours = ListParams::default().labels("app.kubernetes.io/component=probe-zone");
    for pod in pods.list(&ours).await?.items {
        let log = pods
            .logs(&pod.metadata.name.unwrap_or_default(), &LogParams::default())
            .await?;
        if let Some(anchor) = anchor(&log) {
            return Ok(anchor);
        }
    }
    bail!("no log of the probe zone has its DS record")
}

/// The key tag and the digest of the zone's last DS record in a text.
fn anchor(text: &str) -> Option<(String, String)> {
    let (_, rest) = text.rsplit_once("probe.tsutsumi.test. IN DS ")?;
    let mut words = rest.split([' ', '"', '\n']);
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some(tag), Some("13"), Some("2"), Some(digest)) => Some((tag.to_owned(), digest.to_owned())),
        _ => None,
    }
}

/// A resolver while it runs; it ends with this value.
#[derive(Debug)]
pub struct Resolver {
    child: Child,
    folder: TempDir,
}

impl Resolver {
    /// Where every such resolver is asked.
    #[must_use]
    pub fn address(rig: &Rig) -> SocketAddr {
        SocketAddr::new(rig.outside_address, PORT)
    }

    /// Starts one outside and waits until it answers over both transports. Without a zone it knows nothing of ours.
    ///
    /// # Errors
    /// If it does not come up; the message holds what it said.
    pub async fn start(rig: &Rig, program: Program, habits: Habits, zone: Option<&Zone>) -> Result<Self> {
        let root = rig.unpacked(program.tool())?;
        let folder = tempfile::tempdir()?;
        for file in ["named.root", "root.key"] {
            fs::write(folder.path().join(file), rig.root(file)?)?;
        }
        let main = config::write(
            program,
            habits,
            zone,
            &config::Setting {
                rig,
                folder: folder.path(),
                listen: Self::address(rig),
            },
        )?;
        let log = fs::File::create(folder.path().join("log"))?;
        let mut command = command(&rig.outside_netns, program, &root, folder.path(), &main);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = command.spawn().with_context(|| format!("starting {command:?}"))?;
        let mut resolver = Self { child, folder };
        let address = Self::address(rig);
        wait::until("the resolver outside answers", UP, async || {
            resolver.lives()?;
            answers(address)
        })
        .await
        .with_context(|| format!("{} says {}", program.name(), resolver.log()))?;
        Ok(resolver)
    }

    /// What it wrote.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn lives(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("it ended with {status}"),
            None => Ok(()),
        }
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        // Whatever starts it becomes it, so this is the resolver itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn answers(server: SocketAddr) -> Result<()> {
    for transport in TRANSPORTS {
        let question = Question::a(fresh_below(GOOD)).over(transport);
        let seen = ask(&Place::node(), server, &question)?;
        let code = seen.as_ref().map(|answer| answer.code);
        ensure!(
            code == Some(ResponseCode::NoError),
            "{server} to {question}: {seen:?}"
        );
    }
    Ok(())
}

/// Starts a program by the loader that came with it, so that it runs beside an older C library.
fn command(netns: &str, program: Program, root: &Path, folder: &Path, main: &Path) -> Command {
    const LOADER: &str = "usr/lib64/ld-linux-x86-64.so.2";
    const LIBRARIES: &str = "usr/lib/x86_64-linux-gnu";
    let mut command = Command::new("ip");
    command.args(["netns", "exec", netns]);
    if program == Program::Knot {
        // It finds its own modules below /usr only. Nobody else sees what is mounted here.
        let script = "mount --bind \"$1\" \"$2/etc/knot-resolver\" && exec chroot \"$2\" /\"$3\" --library-path /\"$4\" \
                      /usr/sbin/kresd -n -q -c /etc/knot-resolver/\"$5\" /etc/knot-resolver";
        command.args(["unshare", "--mount", "sh", "-euc", script, "sh"]);
        command.arg(folder).arg(root).args([LOADER, LIBRARIES]);
        command.args(main.file_name());
        return command;
    }
    command
        .arg(root.join(LOADER))
        .arg("--library-path")
        .arg(root.join(LIBRARIES));
    match program {
        Program::Bind => {
            command.arg(root.join("usr/sbin/named"));
            command.args(["-g", "-n", "1", "-c"]).arg(main);
        }
        Program::PowerDns => {
            command.arg(root.join("usr/sbin/pdns_recursor"));
            command.arg(format!("--config-dir={}", folder.display()));
        }
        Program::Unbound | Program::Knot => {
            command
                .arg(root.join("usr/sbin/unbound"))
                .args(["-d", "-c"])
                .arg(main);
        }
    }
    command
}

/// The rig's root server.
fn root_server(rig: &Rig) -> IpAddr {
    rig.outside_address
}

/// Where a file of a configuration goes.
fn put(folder: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}
