//! `cargo xtask demo`: the main job from nothing, for a person who watches. Each line is something that held: an
//! open resolver, a policy, the same client refused; then a forged name that is believed, a resolver that validates, the
//! same name refused; and nobody inside who missed an answer meanwhile.

use std::fs;
use std::io::Read as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::image;
use crate::rig::{self, NAMESPACE, facts};
use crate::run::{self, step};

const POLICY: &str = "docs/examples/cluster-dns.yaml";
const VALIDATING: &str = "docs/examples/managed-resolver.yaml";
/// The policy of both.
const OBJECT: &str = "resolverpolicy/cluster-dns";
/// What both clients ask for: a name of the cluster itself.
const NAME: &str = "kubernetes.default.svc.cluster.local";
/// A name below the rig's own root that should be signed and is not.
const FORGED: &str = "www.broken";
/// Milliseconds between two questions of the client inside.
const EVERY: &str = "20";

/// How to show it.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Tear everything down at the end, also after a failure
    #[arg(long)]
    once: bool,
    /// Only tear down what an earlier demonstration left running
    #[arg(long, conflicts_with = "once")]
    down: bool,
}

/// Shows the main job.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.down {
        return rig::down();
    }
    let shown = show();
    if options.once {
        rig::down()?;
    } else if rig::current().is_ok() {
        let kubeconfig = rig::current()?.kubeconfig;
        println!(
            "\nThe cluster is still up. Look around with\n  export KUBECONFIG={}",
            kubeconfig.display()
        );
        println!("and stop it with\n  cargo xtask demo --down");
    }
    shown
}

fn show() -> Result<()> {
    println!("seconds  step");
    rig::up(&rig::Options::standard())?;
    let (archive, _) = image::operator()?;
    let demo = Demo {
        own: rig::require_own()?,
        kubeconfig: rig::current()?.kubeconfig,
    };
    step("loaded the operator's image", || rig::import(&archive))?;
    let before = step("asked cluster DNS from outside the cluster", || demo.outside())?;
    ensure!(
        before.starts_with("NOERROR"),
        "the client outside should be answered before there is a policy: {before}"
    );
    println!("           an open resolver: a client outside gets {before}");
    let inside = step("started a client inside, one query every 20 ms", || demo.inside())?;
    step("installed the chart", || demo.install())?;
    step("started a prober outside", || {
        rig::outside_prober(&image::operator_binary(), NAMESPACE)
    })?;
    step("started a probe zone outside, behind the rig's NAT", || {
        rig::outside_zone(&image::operator_binary(), NAMESPACE)
    })?;
    step(&format!("applied {POLICY}; the policy is Ready"), || {
        demo.protect()
    })?;
    let after = step("asked again from outside", || demo.outside())?;
    println!("           the same client outside gets {after}");
    ensure!(
        after.starts_with("REFUSED"),
        "the client outside should be refused: {after}"
    );
    println!("\n{}", demo.kubectl(&["get", "resolverpolicies"])?);

    let before = Demo::node(FORGED)?;
    ensure!(
        before.starts_with("NOERROR"),
        "a name without its signatures should be believed before anybody validates: {before}"
    );
    println!("           whoever asks for {FORGED}, whose signatures are missing, gets {before}");
    step(
        &format!("applied {VALIDATING}, with the rig's own root; the policy is Ready"),
        || demo.validate(),
    )?;
    let after = Demo::node(FORGED)?;
    println!("           whoever asks for {FORGED} gets {after}");
    ensure!(
        after.starts_with("SERVFAIL"),
        "a name without its signatures should not be answered: {after}"
    );
    step("looked for ways around cluster DNS; one is open and told", || {
        demo.look_around()
    })?;
    let (asked, lost) = inside.stop()?;
    println!("           the client inside asked {asked} times and missed {lost} answers");
    ensure!(
        lost == 0 && asked > 0,
        "the client inside should have been served throughout"
    );
    println!("\n{}", demo.kubectl(&["get", "resolverpolicies"])?);
    println!("{}", demo.kubectl(&["get", "resolverpolicies", CONTROLS])?);
    Ok(())
}

/// One line for each control of each policy.
const CONTROLS: &str = "--output=go-template={{range .items}}{{range .status.controls}}\
                        {{printf \"%-8s %-14s %s\\n\" .id .state .message}}{{end}}{{end}}";

struct Demo {
    own: facts::Own,
    kubeconfig: std::path::PathBuf,
}

impl Demo {
    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run::output(self.kubectl_command().args(arguments))
    }

    /// What a client outside gets at the node's exposed port.
    fn outside(&self) -> Result<String> {
        let server = SocketAddr::new(self.own.node.v4.into(), facts::NODE_PORT).to_string();
        let mut ask = run::command("ip");
        ask.args(["netns", "exec", facts::OUTSIDE])
            .arg(std::env::current_exe()?)
            .args(["query", &server, NAME]);
        Ok(run::output(&mut ask)?.trim().to_owned())
    }

    /// A Pod's network, and in it a process that asks until it is told to stop.
    fn inside(&self) -> Result<Inside> {
        let pod = json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "client", "namespace": "default"},
            "spec": {
                "containers": [{"name": "client", "image": rig::PAUSE, "imagePullPolicy": "IfNotPresent"}],
                "terminationGracePeriodSeconds": 0,
            },
        });
        run::feed(
            self.kubectl_command().args(["apply", "--filename=-"]),
            &pod.to_string(),
        )?;
        self.kubectl(&["wait", "--for=condition=Ready", "pod/client", "--timeout=60s"])?;
        let container = self.kubectl(&[
            "get",
            "pod",
            "client",
            "--output=jsonpath={.status.containerStatuses[0].containerID}",
        ])?;
        let process = rig::process_of(container.trim().trim_start_matches("containerd://"))?;
        let mut ask = run::command("nsenter");
        ask.args(["--target", &process, "--net"])
            .arg(std::env::current_exe()?);
        ask.args(["query", &format!("{}:53", facts::DNS_V4), NAME, "--every", EVERY]);
        let child = ask
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the client inside")?;
        Ok(Inside { child })
    }

    /// What the node gets from cluster DNS.
    fn node(name: &str) -> Result<String> {
        let server = format!("{}:53", facts::DNS_V4);
        let mut ask = Command::new(std::env::current_exe()?);
        Ok(run::output(ask.args(["query", &server, name]))?.trim().to_owned())
    }

    fn install(&self) -> Result<()> {
        let values = format!(
            "{resolver},vantages[0].name=outside,vantages[0].address={},vantages[0].port={port},\
             probeZone.outside.address={},probeZone.outside.controlPort={port}",
            facts::OUTSIDE_V4,
            facts::OUTSIDE_ZONE_V4,
            resolver = rig::resolver_values(),
            port = rig::OUTSIDE_PORT
        );
        self.own
            .install(&self.kubeconfig, &values)
            .map_err(|error| self.explained(error))
    }

    fn protect(&self) -> Result<()> {
        let policy = run::workspace().join(POLICY);
        self.kubectl(&[
            "apply",
            "--filename",
            policy.to_str().context("the checkout's path is not text")?,
        ])?;
        self.becomes("--for=condition=Ready")
    }

    /// The second example, which resolves from the rig's own root, since nothing here reaches the Internet.
    fn validate(&self) -> Result<()> {
        self.own.give_root(&self.kubeconfig)?;
        let text = fs::read_to_string(run::workspace().join(VALIDATING))?;
        let mut policy: Value = serde_saphyr::from_str(&text).context(VALIDATING)?;
        policy["spec"]["recursion"]["roots"] =
            json!({"hintsConfigMap": rig::HINTS, "anchorsConfigMap": rig::ANCHORS});
        // Nobody but us asks here, and that a forged name is lost is what is to be shown.
        policy["spec"]["recursion"]["compare"] = json!({"watch": "0s"});
        run::feed(
            self.kubectl_command().args(["apply", "--filename=-"]),
            &policy.to_string(),
        )?;
        self.becomes("--for=condition=Ready")
    }

    /// Names a resolver outside that pods can reach past cluster DNS; nothing in the rig closes that way.
    fn look_around(&self) -> Result<()> {
        let around = json!({"spec": {"waysAround": {"resolvers": [facts::OUTSIDE_V4]}}}).to_string();
        self.kubectl(&["patch", OBJECT, "--type=merge", "--patch", &around])?;
        self.becomes("--for=jsonpath={.status.controls[?(@.id==\"DNS-11\")].state}=Fail")
    }

    fn becomes(&self, what: &str) -> Result<()> {
        self.kubectl(&["wait", what, OBJECT, "--timeout=5m"])
            .map(drop)
            .map_err(|error| self.explained(error))
    }

    fn kubectl_command(&self) -> Command {
        self.own.kubectl(&self.kubeconfig)
    }

    /// What the cluster says of itself, beside an error that alone says only that time is up.
    fn explained(&self, error: anyhow::Error) -> anyhow::Error {
        let said = [
            &["describe", "resolverpolicies"][..],
            &["--namespace", NAMESPACE, "get", "pods", "--output=wide"],
            &["--namespace", NAMESPACE, "get", "events"],
            &[
                "--namespace",
                NAMESPACE,
                "logs",
                "deployment/tsutsumi-controller",
                "--tail=30",
            ],
        ];
        let said: Vec<String> = said
            .iter()
            .map(|arguments| {
                self.kubectl(arguments)
                    .unwrap_or_else(|error| format!("{error:#}"))
            })
            .collect();
        error.context(said.join("\n"))
    }
}

/// The client inside; ended with its count, or simply ended.
struct Inside {
    child: Child,
}

impl Inside {
    /// Asked and lost.
    fn stop(mut self) -> Result<(u64, u64)> {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.child
            .stdout
            .take()
            .context("the client's output")?
            .read_to_string(&mut text)?;
        self.child.wait()?;
        let mut numbers = text.split_whitespace().map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(asked)), Some(Ok(lost))) => Ok((asked, lost)),
            _ => bail!("the client inside ended without a count: `{text}`"),
        }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
