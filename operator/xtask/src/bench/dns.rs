//! `cargo xtask bench --dns`: what the managed resolver costs those who ask, and what a round of probes costs. Cluster DNS
//! as kubeadm installs it takes turns with the same under a policy that leads it to a managed Unbound; both get what they
//! are asked from the one server of the rig's root. Everything, the load too, shares the machine's cores.

use std::fmt::Write as _;
use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use super::dnsperf::{Load, Tally, run as load};
use super::{REPORT, between_marks, setting_lines};
use crate::rig::{
    self,
    facts::{self, Facts, Own},
};
use crate::{image, run, tools};

const POLICY: &str = "bench";
const BLOCKS: u32 = 3;
const SECONDS: u32 = 5;
/// Names that fit a cache.
const CACHED: u32 = 200;
/// More than can be asked in one run.
const UNCACHED: u32 = 200_000;
/// Below what the managed resolver lets through to one zone.
const STEADY: u32 = 500;
const BEGIN: &str = "<!-- dns -->\n";
const END: &str = "<!-- end of dns -->\n";

#[derive(Clone, Copy, PartialEq)]
enum Way {
    Plain,
    Managed,
}

impl Way {
    const ALL: [Self; 2] = [Self::Plain, Self::Managed];
}

/// What one block measured: a tally for each of [`LOADS`].
struct Block {
    way: Way,
    tallies: Vec<Tally>,
}

const LOADS: [&str; 3] = ["cached names", "uncached names", "uncached names, 500 a second"];

/// What a round of probes took.
struct Round {
    seconds: f64,
    asked: f64,
}

/// Measures on a rig of its own and writes the report.
pub(super) fn measure() -> Result<()> {
    let (archive, _) = image::operator()?;
    tools::peers::Peer::Dnsperf.folder()?;
    let facts = rig::up(&rig::Options::standard())?;
    let measured = rig::import(&archive).and_then(|()| on(&facts));
    let down = rig::down();
    let (blocks, rounds) = measured?;
    down?;
    let text = report(&blocks, &rounds)?;
    let path = run::workspace().join(REPORT);
    let page = fs::read_to_string(&path)?;
    let page =
        between_marks(&page, BEGIN, END, &text).with_context(|| format!("{REPORT} lacks {BEGIN:?}"))?;
    fs::write(&path, page)?;
    println!("{text}the figures are in {REPORT}");
    Ok(())
}

fn on(facts: &Facts) -> Result<(Vec<Block>, Vec<Round>)> {
    let bench = Bench {
        own: facts.own.as_ref().context("the rig's own cluster")?,
        kubeconfig: &facts.kubeconfig,
        folder: tempfile::tempdir()?,
    };
    run::step("installed the chart", || bench.install())?;
    let (mut blocks, mut rounds) = (Vec::new(), Vec::new());
    for number in 0..BLOCKS {
        for way in Way::ALL {
            run::step(&format!("block {number}"), || {
                if way == Way::Managed {
                    bench.apply(&policy())?;
                    bench.leads()?;
                }
                let tallies = bench.block(&format!("b{number}{}", u8::from(way == Way::Managed)))?;
                println!("           {tallies:?}");
                blocks.push(Block { way, tallies });
                if way == Way::Managed {
                    rounds.push(bench.round()?);
                    bench.kubectl(&["delete", "resolverpolicy", POLICY, "--timeout=3m"])?;
                }
                Ok(())
            })?;
        }
    }
    Ok((blocks, rounds))
}

struct Bench<'a> {
    own: &'a Own,
    kubeconfig: &'a Path,
    folder: tempfile::TempDir,
}

impl Bench<'_> {
    fn install(&self) -> Result<()> {
        self.own.install(self.kubeconfig, &rig::resolver_values())?;
        self.own.give_root(self.kubeconfig)
    }

    /// Waits until every pod leads to Unbound and a round has seen it validate; other controls need what is not there.
    fn leads(&self) -> Result<()> {
        let object = format!("resolverpolicy/{POLICY}");
        let validated = "--for=jsonpath={.status.controls[?(@.id==\"DNS-05\")].state}=Pass";
        for reached in ["--for=condition=Programmed", validated] {
            self.kubectl(&["wait", reached, &object, "--timeout=4m"])?;
        }
        Ok(())
    }

    fn block(&self, mark: &str) -> Result<Vec<Tally>> {
        let server: IpAddr = facts::DNS_V4.parse()?;
        let cached: Vec<String> = (0..CACHED).map(|n| format!("{mark}-c{n}.town")).collect();
        let fresh =
            |kind: &str| -> Vec<String> { (0..UNCACHED).map(|n| format!("{mark}-{kind}{n}.town")).collect() };
        let all = |names: &[String], each_once, seconds, per_second| {
            let asked = Load {
                server,
                names,
                each_once,
                seconds,
                per_second,
            };
            load(&asked, self.folder.path())
        };
        // So that they are in the caches of all pods.
        for _ in 0..4 {
            all(&cached, true, SECONDS, None)?;
        }
        Ok(vec![
            all(&cached, false, SECONDS, None)?,
            all(&fresh("u"), true, SECONDS, None)?,
            all(&fresh("s"), true, SECONDS, Some(STEADY))?,
        ])
    }

    /// Has another round made, and waits until its results are there.
    fn round(&self) -> Result<Round> {
        let object = format!("resolverpolicy/{POLICY}");
        let checked = || -> Result<String> {
            self.kubectl(&[
                "get",
                &object,
                "--output=jsonpath={.status.controls[0].checkedAt}",
            ])
        };
        let (before, asked) = (checked()?, self.asked()?);
        let begun = Instant::now();
        let patch = json!({"spec": {"verification": {"interval": "23h"}}}).to_string();
        self.kubectl(&["patch", &object, "--type=merge", "--patch", &patch])?;
        run::wait_for("a round of probes", Duration::from_secs(120), || {
            ensure!(checked()? != before, "there is none after that of {before}");
            Ok(())
        })?;
        Ok(Round {
            seconds: begun.elapsed().as_secs_f64(),
            asked: self.asked()? - asked,
        })
    }

    /// How many questions the pods of cluster DNS and of Unbound have counted up to now.
    fn asked(&self) -> Result<f64> {
        let dns = self.counted(
            "kube-system",
            "k8s-app=kube-dns",
            9153,
            "coredns_dns_requests_total{",
        )?;
        let unbound = self.counted(
            rig::NAMESPACE,
            "tsutsumi.dev/unbound",
            8080,
            "tsutsumi_unbound_queries_total ",
        )?;
        Ok(dns + unbound)
    }

    /// The sum of the samples that begin so, over the metrics of some pods; each has to have one.
    fn counted(&self, namespace: &str, selector: &str, port: u16, sample: &str) -> Result<f64> {
        let pods = self.kubectl(&[
            &format!("--namespace={namespace}"),
            "get",
            "pods",
            &format!("--selector={selector}"),
            "--output=jsonpath={.items[*].metadata.name}",
        ])?;
        ensure!(!pods.is_empty(), "no pod in {namespace} is labelled {selector}");
        let mut sum = 0.0;
        for pod in pods.split_whitespace() {
            let path = format!("/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy/metrics");
            let metrics = self.kubectl(&["get", "--raw", &path])?;
            let counts: Vec<f64> = metrics
                .lines()
                .filter(|line| line.starts_with(sample))
                .filter_map(|line| line.rsplit_once(' ')?.1.parse().ok())
                .collect();
            ensure!(!counts.is_empty(), "{pod} tells no {sample}:\n{metrics}");
            sum += counts.iter().sum::<f64>();
        }
        Ok(sum)
    }

    fn apply(&self, object: &Value) -> Result<()> {
        run::feed(
            self.kubectl_command().args(["apply", "--filename=-"]),
            &object.to_string(),
        )
        .map(drop)
    }

    fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        run::output(self.kubectl_command().args(arguments))
    }

    fn kubectl_command(&self) -> Command {
        self.own.kubectl(self.kubeconfig)
    }
}

fn policy() -> Value {
    json!({
        "apiVersion": "tsutsumi.dev/v1alpha1",
        "kind": "ResolverPolicy",
        "metadata": {"name": POLICY},
        "spec": {
            "mode": "Enforce",
            "onDelete": "Restore",
            "clients": {"include": ["Cluster"]},
            "udp": {"maxMessageBytes": 1232},
            "anyQueries": "Empty",
            "recursion": {
                "via": "Managed",
                "sourcePorts": "Random",
                "compare": {"watch": "0s"},
                "roots": {"hintsConfigMap": rig::HINTS, "anchorsConfigMap": rig::ANCHORS},
            },
            "verification": {"interval": "1d", "vantages": ["inside"]},
        },
    })
}

fn report(blocks: &[Block], rounds: &[Round]) -> Result<String> {
    let mut text = String::from("## Questions through cluster DNS\n\n- Command: `cargo xtask bench --dns`\n");
    let servers = format!(
        "CoreDNS {}, Unbound {}, Knot DNS {}, dnsperf as in Debian's trixie, Kubernetes {}",
        tools::COREDNS,
        tools::UNBOUND,
        tools::KNOT,
        tools::KUBERNETES
    );
    for line in setting_lines(&servers)? {
        writeln!(text, "- {line}")?;
    }
    write!(
        text,
        "\n{BLOCKS} blocks of each, taking turns (A B A B …). A: cluster DNS as kubeadm installs it, two pods, which forward to \
         another CoreDNS that asks the rig's root and checks nothing. B: the same pods under a policy with `via: Managed`, which \
         forward to two Unbounds that ask the rig's root themselves and validate. dnsperf asks the DNS Service from the node for \
         {SECONDS} s in each run, over UDP, 32 questions under way; pods, root and dnsperf share the cores. Medians of the \
         blocks, and the smallest and the largest.\n\n\
         | | A: questions a second | P99, ms | not NOERROR, % | B: questions a second | P99, ms | not NOERROR, % | B ÷ A |\n\
         |---|---|---|---|---|---|---|---|\n"
    )?;
    for (index, what) in LOADS.iter().enumerate() {
        let of = |way: Way, figure: fn(&Tally) -> f64| -> Vec<f64> {
            let all = blocks.iter().filter(|block| block.way == way);
            all.filter_map(|block| block.tallies.get(index))
                .map(figure)
                .collect()
        };
        let cells = Way::ALL.map(|way| {
            let rate = spread(&of(way, |tally| tally.per_second), 0);
            let p99 = spread(&of(way, |tally| tally.p99), 2);
            let failed = spread(&of(way, |tally| tally.failed), 1);
            format!("{rate} | {p99} | {failed}")
        });
        let [plain, managed] = Way::ALL.map(|way| median(&of(way, |tally| tally.per_second)));
        writeln!(
            text,
            "| {what} | {} | {:.2} |",
            cells.join(" | "),
            managed / plain.max(1.0)
        )?;
    }
    let seconds: Vec<f64> = rounds.iter().map(|round| round.seconds).collect();
    let asked = rounds.iter().map(|round| round.asked).fold(0.0, f64::max);
    write!(
        text,
        "\n### A round of probes for one resolver\n\nAll controls of that policy from inside, two pods of cluster DNS and two of \
         Unbound: from the request to the results, and the questions that all of them counted meanwhile, so that what cluster \
         DNS passes on counts twice.\n\n\
         | | wanted | measured | |\n|---|---|---|---|\n\
         | seconds | < 60 | {} | {} |\n| questions | < 1,500 | {asked} | {} |\n",
        spread(&seconds, 1),
        verdict(seconds.iter().all(|seconds| *seconds < 60.0)),
        verdict(asked < 1500.0)
    )?;
    Ok(text)
}

const fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

/// The middle one, which was seen; of an even number the lower.
fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len().saturating_sub(1) / 2;
    sorted.get(middle).copied().unwrap_or(f64::NAN)
}

fn spread(figures: &[f64], digits: usize) -> String {
    let low = figures.iter().copied().fold(f64::INFINITY, f64::min);
    let high = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.digits$} ({low:.digits$}–{high:.digits$})", median(figures))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_told_by_the_middle_and_the_ends() {
        assert_eq!(spread(&[3.0, 1.0, 2.0], 1), "2.0 (1.0–3.0)");
        assert_eq!(spread(&[3.0, 1.0], 0), "1 (1–3)");
    }
}
