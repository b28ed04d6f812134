//! A real cluster on this machine, from bare programs, without a container engine or a registry: one node, the
//! machine's address families, cluster DNS as a platform installs it, and a client outside.
//!
//! There is one rig per machine. `up` first clears what an earlier run recorded; `down` leaves nothing.

mod clear;
mod containerd;
mod control_plane;
mod coredns;
pub(crate) mod facts;
mod images;
mod ingress;
mod install;
mod kubelet;
mod network;
mod options;
mod outside;
mod pki;
mod root;
mod state;

use std::fs::{self, File};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::facts::{Facts, NodeAddresses, Own};
use self::state::{Journal, MARK, Process, ROOT, Record};
use crate::run::{self, step};
use crate::tools::{self, Cache, Version, system};

pub(crate) use self::coredns::platform_writer;
pub(crate) use self::images::PAUSE;
pub(crate) use self::ingress::Ingress;
pub(crate) use self::install::{ANCHORS, HINTS, NAMESPACE, resolver_values};
pub(crate) use self::options::{DnsOptions, Options, Platform, Reload};
pub(crate) use self::outside::PORT as OUTSIDE_PORT;
pub(crate) use self::state::ROOT as FOLDER;

/// A rig that is being started.
pub(crate) struct Rig {
    journal: Journal,
    node: NodeAddresses,
    kubernetes: PathBuf,
    coredns: PathBuf,
    kubeconfig: PathBuf,
}

/// Starts everything; what it took is printed step by step.
pub(crate) fn up(options: &Options) -> Result<Facts> {
    if let Some(kubeconfig) = &options.kubeconfig {
        return adopt(kubeconfig, options);
    }
    system::require_root()?;
    let _alone = alone()?;
    system::ensure()?;
    let cache = Cache::open()?;
    let kubernetes = tools::kubernetes::folder(&cache, &options.kubernetes)?;
    let coredns = tools::coredns::binary(&cache, &options.dns.coredns)?;
    let helm = tools::helm::binary(&cache)?;
    let unbound = tools::unbound::folder(&cache)?;
    let knot = tools::knot::folder(&cache)?;
    step("cleared what an earlier run left", clear::clear)?;
    let mut record = Record {
        boot: state::boot()?,
        ..Record::default()
    };
    network::survey(&mut record)?;
    let node = NodeAddresses::find()?;
    let kubeconfig = Path::new(ROOT).join("pki/admin.kubeconfig");
    let mut rig = Rig {
        journal: Journal::start(record)?,
        node,
        kubernetes,
        coredns,
        kubeconfig,
    };
    let pki = pki::Pki::make(node)?;
    step("network and container runtime", || {
        network::make(&mut rig)?;
        containerd::start(&mut rig)?;
        root::start(&mut rig, &knot)?;
        coredns::start_upstream(&mut rig)?;
        images::import_unbound(&unbound)?;
        images::import_pause()
    })?;
    step("control plane", || control_plane::start(&mut rig, &pki))?;
    step("node", || kubelet::start(&mut rig, &pki, &options.sync_frequency))?;
    step("cluster DNS", || {
        coredns::install(&mut rig, &options.dns, &options.kubernetes)
    })?;
    step("names for tests", || {
        coredns::fixtures(&|arguments, input| rig.feed(arguments, input), !options.no_expose)?;
        coredns::wait_until_answered(node, !options.no_expose)
    })?;
    let own = Own {
        node,
        platform: options.dns.platform,
        reload: options.dns.reload.clone(),
        version: options.kubernetes.to_string(),
        kubernetes: rig.kubernetes.clone(),
        helm,
        coredns: rig.coredns.clone(),
        socket: containerd::socket(),
    };
    let facts = Facts {
        kubeconfig: rig.kubeconfig.clone(),
        own: Some(own),
    };
    rig.journal.note(|record| record.facts = Some(facts.clone()))?;
    Ok(facts)
}

/// Puts another cluster DNS in the place of the running rig's; for a moment nobody answers.
pub(crate) fn replace_dns(options: &DnsOptions) -> Result<()> {
    let _alone = alone()?;
    let (mut rig, mut own) = Rig::resume()?;
    let coredns = tools::coredns::binary(&Cache::open()?, &options.coredns)?;
    step("cluster DNS", || {
        rig.stop("platform-writer")?;
        coredns::remove(&rig)?;
        rig.coredns.clone_from(&coredns);
        coredns::install(&mut rig, options, &own.version.parse()?)?;
        coredns::wait_until_answered(rig.node, false)
    })?;
    own.platform = options.platform;
    own.reload.clone_from(&options.reload);
    own.coredns = coredns;
    let facts = Facts {
        kubeconfig: rig.kubeconfig.clone(),
        own: Some(own),
    };
    rig.journal.note(|record| record.facts = Some(facts))
}

/// Puts an ingress controller into the running rig.
pub(crate) fn install_ingress(ingress: Ingress) -> Result<()> {
    let _alone = alone()?;
    let (rig, own) = Rig::resume()?;
    ingress::install(&rig, &own.helm, ingress)
}

/// Starts the operator's prober in the outside namespace, with the certificate that the operator has issued for it.
pub(crate) fn outside_prober(binary: &Path, namespace: &str) -> Result<()> {
    let _alone = alone()?;
    let (mut rig, _) = Rig::resume()?;
    outside::prober(&mut rig, binary, namespace)
}

/// Starts a probe zone in the outside namespace, with the certificate and the keys that the operator has made for it.
pub(crate) fn outside_zone(binary: &Path, namespace: &str) -> Result<()> {
    let _alone = alone()?;
    let (mut rig, _) = Rig::resume()?;
    outside::zone(&mut rig, binary, namespace)
}

/// Number of the first process of a container.
pub(crate) fn process_of(container: &str) -> Result<String> {
    let listing = containerd::ctr(&["tasks", "list"])?;
    let line = listing
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>())
        .find(|words| words.first() == Some(&container));
    line.and_then(|words| words.get(1).map(|&pid| pid.to_owned()))
        .with_context(|| format!("container {container} does not run:\n{listing}"))
}

/// Takes everything away again.
pub(crate) fn down() -> Result<()> {
    let _alone = alone()?;
    step("cleared the rig", clear::clear)
}

/// Two runs at once would take each other's processes away. A name in the kernel leaves no file and goes with its
/// holder, however that ends.
fn alone() -> Result<UnixListener> {
    let name = UnixAddress::from_abstract_name("tsutsumi-rig").context("naming the rig's lock")?;
    run::wait_for(
        "another run to be done with the rig",
        Duration::from_secs(1800),
        || UnixListener::bind_addr(&name).context("another run is changing the rig"),
    )
}

/// What a suite needs to know of the running rig.
pub(crate) fn current() -> Result<Facts> {
    Journal::earlier()?
        .and_then(|record| record.facts)
        .context("no rig is up on this machine: start one with `cargo xtask cluster up`")
}

/// Loads an image archive into the rig's runtime.
pub(crate) fn import(archive: &Path) -> Result<()> {
    require_own()?;
    containerd::import(archive)
}

/// Calls the rig's image of Unbound by one more tag; the name can be given to a pod.
pub(crate) fn tag_unbound(tag: &Version) -> Result<String> {
    require_own()?;
    images::tag_unbound(tag)
}

/// Makes one more `CoreDNS` release available to Pods; returns the image's name.
pub(crate) fn import_coredns(version: &Version) -> Result<String> {
    require_own()?;
    images::import_coredns(tools::coredns::binary(&Cache::open()?, version)?, version)?;
    Ok(images::coredns_name(version))
}

/// Has the rig's root publish one more key; returns its DS record.
pub(crate) fn publish_root_key() -> Result<String> {
    require_own()?;
    root::publish_key(&tools::knot::folder(&Cache::open()?)?)
}

/// Has it publish only the key that it was made with.
pub(crate) fn withdraw_root_keys() -> Result<()> {
    require_own()?;
    root::withdraw_keys(&tools::knot::folder(&Cache::open()?)?)
}

pub(crate) fn require_own() -> Result<Own> {
    current()?
        .own
        .context("the cluster is not the rig's own, so images have to reach it in its own way")
}

fn adopt(kubeconfig: &Path, options: &Options) -> Result<Facts> {
    let _alone = alone()?;
    let kubeconfig = kubeconfig
        .canonicalize()
        .with_context(|| format!("finding {}", kubeconfig.display()))?;
    ensure!(
        !kubeconfig.starts_with(ROOT),
        "{} is the rig's own cluster, which is up already",
        kubeconfig.display()
    );
    clear::clear()?;
    let kubectl = tools::kubernetes::folder(&Cache::open()?, &options.kubernetes)?.join("kubectl");
    let run = |arguments: &[&str], input: &str| {
        run::feed(
            run::command(&kubectl)
                .arg("--kubeconfig")
                .arg(&kubeconfig)
                .args(arguments),
            input,
        )
    };
    step("names for tests", || coredns::fixtures(&run, !options.no_expose))?;
    let facts = Facts {
        kubeconfig,
        own: None,
    };
    Journal::start(Record {
        boot: state::boot()?,
        facts: Some(facts.clone()),
        netns_mounted: true,
        ..Record::default()
    })?;
    Ok(facts)
}

impl Rig {
    /// The rig that is up.
    fn resume() -> Result<(Self, Own)> {
        let own = require_own()?;
        let rig = Self {
            journal: Journal::resume()?,
            node: own.node,
            kubernetes: own.kubernetes.clone(),
            coredns: own.coredns.clone(),
            kubeconfig: current()?.kubeconfig,
        };
        Ok((rig, own))
    }

    /// Ends the recorded processes of one name, with all that they started.
    fn stop(&mut self, name: &str) -> Result<()> {
        let (going, staying): (Vec<_>, Vec<_>) = self
            .journal
            .record()
            .processes
            .iter()
            .cloned()
            .partition(|process| process.name == name);
        clear::end(&going)?;
        self.journal.note(|record| record.processes = staying)
    }

    /// Starts a process that outlives this one, in a session of its own, with its output in the rig's log folder.
    fn spawn(&mut self, name: &str, command: &mut Command) -> Result<()> {
        let logs = Path::new(ROOT).join("log");
        fs::create_dir_all(&logs)?;
        let log = File::create(logs.join(format!("{name}.log")))
            .with_context(|| format!("creating {name}'s log"))?;
        let mut detached = run::command("setsid");
        detached
            .arg(command.get_program())
            .args(command.get_args())
            .env(MARK, ROOT)
            .current_dir(ROOT);
        detached.envs(command.get_envs().filter_map(|(key, value)| Some((key, value?))));
        detached.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let pid = detached.spawn().with_context(|| format!("starting {name}"))?.id();
        let start = clear::start_of(pid).with_context(|| format!("{name} ended at once; see its log"))?;
        self.journal.note(|record| {
            record.processes.push(Process {
                name: name.to_owned(),
                pid,
                start,
            });
        })
    }

    /// One of Kubernetes' programs.
    fn program(&self, name: &str) -> Command {
        run::command(self.kubernetes.join(name))
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.alive()?;
        run::output(
            self.program("kubectl")
                .arg("--kubeconfig")
                .arg(&self.kubeconfig)
                .args(arguments),
        )
    }

    fn feed(&self, arguments: &[&str], input: &str) -> Result<String> {
        run::feed(
            self.program("kubectl")
                .arg("--kubeconfig")
                .arg(&self.kubeconfig)
                .args(arguments),
            input,
        )
    }

    /// The value for the machine's families: one, or both with a comma.
    fn families(&self, v4: &str, v6: &str) -> String {
        if self.node.v6.is_some() {
            format!("{v4},{v6}")
        } else {
            v4.to_owned()
        }
    }

    /// A part that ended is the reason for whatever is waited for.
    fn alive(&self) -> Result<()> {
        let parts = self
            .journal
            .record()
            .processes
            .iter()
            .filter(|process| !outside::PROCESSES.contains(&process.name.as_str()));
        for process in parts {
            if clear::start_of(process.pid) != Some(process.start) {
                let log = fs::read_to_string(Path::new(ROOT).join(format!("log/{}.log", process.name)));
                let log = log.unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(15).collect();
                let tail = tail.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(run::Hopeless(format!("{} ended:\n{tail}", process.name)).into());
            }
        }
        Ok(())
    }
}
