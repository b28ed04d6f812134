//! `cargo xtask test`: everything CI runs, cheapest first. A step that fails shows its own output and the rest goes
//! on, except for what needs the failed one; the rig is taken away in any case. The last line counts the steps.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::rig::{self, facts::Facts};
use crate::tools::peers::Peer;
use crate::{chart, faults, fuzz, image, run, tools};

/// What to run.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also what takes longer: resolvers of others behind cluster DNS, and the main job at the intervals that kubelet and
    /// `CoreDNS` have by default
    #[arg(long)]
    all: bool,
}

/// The step that needs the program, but no rig.
const FAULTS: &str = "fault modes";

#[derive(Default)]
struct Tally {
    passed: u32,
    failed: u32,
}

impl Tally {
    /// Runs one step; its failure is told at once and counted.
    fn step<T>(&mut self, name: &str, work: impl FnOnce() -> Result<T>) -> Option<T> {
        println!("--- {name}");
        let start = Instant::now();
        let result = work();
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(value) => {
                self.passed += 1;
                println!("ok      {seconds:7.1} s  {name}");
                Some(value)
            }
            Err(error) => {
                self.failed += 1;
                println!("{error:#}\nFAILED  {seconds:7.1} s  {name}");
                None
            }
        }
    }

    /// Counts a step that cannot run because an earlier one failed.
    fn blocked(&mut self, name: &str) {
        self.failed += 1;
        println!("FAILED            not run: {name}");
    }
}

/// Runs all steps.
pub(crate) fn run(options: &Options) -> Result<()> {
    let mut tally = Tally::default();
    tally.step("formatting", || cargo(&["fmt", "--all", "--check"]));
    tally.step("system packages and tools", tools::all);
    tally.step("clippy", || {
        cargo(&[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--quiet",
            "--",
            "-D",
            "warnings",
        ])
    });
    // Generated files are held to their code by these too.
    tally.step("unit and property tests", || {
        cargo(&["test", "--quiet", "--workspace"])
    });
    tally.step("formats compared with CoreDNS and Unbound themselves", grammar);
    tally.step("fuzz targets", fuzz::run);
    tally.step("chart", chart::check);
    let image = tally.step("image", image::operator).is_some();
    if image {
        tally.step(FAULTS, || faults::suite(&[]));
    } else {
        tally.blocked(FAULTS);
    }
    let mut suites = vec![Suite {
        name: "end-to-end suite",
        arguments: &["--test", "suite"],
    }];
    if options.all {
        tally.step("resolvers of others", || {
            Peer::RESOLVERS
                .iter()
                .try_for_each(|peer| peer.folder().map(drop))
        });
        suites.push(Suite {
            name: "thorough suite",
            arguments: &["--test", "thorough", "--", "--nocapture"],
        });
    }
    end_to_end(&mut tally, image, &rig::Options::standard(), &suites);
    if options.all {
        let main_job = Suite {
            name: "main job at the usual intervals",
            arguments: &["--test", "suite", "main_job"],
        };
        end_to_end(&mut tally, image, &rig::Options::slow(), &[main_job]);
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    if tally.failed > 0 {
        bail!("{} steps failed", tally.failed);
    }
    Ok(())
}

/// One program of tests on a cluster.
struct Suite {
    name: &'static str,
    arguments: &'static [&'static str],
}

impl Suite {
    /// Runs it. The error repeats each failure in a few lines: the whole output is long, and where it is shown it may be
    /// cut.
    fn run(&self, facts: &Facts) -> Result<()> {
        let failures = run::target().join("failures");
        fs::write(&failures, "").with_context(|| format!("writing {}", failures.display()))?;
        let mut command = environment(facts);
        // A test's failure names what it waited for; a backtrace through its runtime would say nothing more.
        command
            .env("RUST_BACKTRACE", "0")
            .env("TSUTSUMI_FAILURES", &failures);
        let arguments = [&["test"], run::E2E, self.arguments].concat();
        cargo_with(&mut command, &arguments)
            .map_err(|error| error.context(fs::read_to_string(&failures).unwrap_or_default()))
    }
}

/// Runs suites one after the other on one cluster.
fn end_to_end(tally: &mut Tally, image: bool, options: &rig::Options, suites: &[Suite]) {
    let up = tally.step("cluster up", || {
        let facts = rig::up(options)?;
        if image {
            rig::import(&run::target().join("image/tsutsumi.tar"))?;
        }
        Ok(facts)
    });
    let mut held = true;
    for suite in suites {
        held &= match &up {
            Some(facts) if image => tally.step(suite.name, || suite.run(facts)).is_some(),
            _ => {
                tally.blocked(suite.name);
                false
            }
        };
    }
    if !held {
        keep_logs();
    }
    tally.step("cluster down", rig::down);
}

fn environment(facts: &Facts) -> Command {
    let mut command = run::cargo();
    for line in facts.to_string().lines() {
        if let Some((name, value)) = line.split_once('=') {
            command.env(name, value);
        }
    }
    command
}

fn grammar() -> Result<()> {
    let cache = tools::Cache::open()?;
    let binary = tools::coredns::binary(&cache, &tools::COREDNS.parse()?)?;
    let unbound = tools::unbound::folder(&cache)?;
    let mut command = run::cargo();
    command
        .env("TSUTSUMI_COREDNS", &binary)
        .env("TSUTSUMI_UNBOUND", &unbound);
    let features = [
        "tsutsumi-exporter/real-unbound",
        "tsutsumi-probes/real-coredns",
        "tsutsumi-providers/real-coredns",
        "tsutsumi-providers/real-unbound",
        "tsutsumi-zone/real-unbound",
    ]
    .join(",");
    let tests = ["--test", "against_coredns", "--test", "against_unbound"];
    let arguments = [
        &["test", "--quiet", "--workspace", "--features", &features],
        &tests[..],
    ]
    .concat();
    cargo_with(&mut command, &arguments)
}

fn cargo(arguments: &[&str]) -> Result<()> {
    cargo_with(&mut run::cargo(), arguments)
}

fn cargo_with(command: &mut Command, arguments: &[&str]) -> Result<()> {
    run::visible(command.current_dir(run::workspace()).args(arguments))
}

/// What the cluster's parts said, for whoever looks into the failure.
fn keep_logs() {
    let kept = run::target().join("rig-logs");
    if let Err(error) = copy(&Path::new(rig::FOLDER).join("log"), &kept) {
        println!("the rig's logs could not be kept: {error:#}");
    } else {
        println!("the rig's logs are in {}", kept.display());
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}
