//! `cargo xtask bench`: builds what is measured as it is shipped, brings up an API server of its own, and lets the
//! measuring program (`e2e/bench`) do the rest. It runs beside a rig without touching it.

mod dns;
mod dnsperf;
mod ports;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::control_plane::ControlPlane;
use crate::tools::{self, Cache, system};
use crate::{image, rig, run};

/// Where the figures are kept.
const REPORT: &str = "docs/benchmarks.md";

/// What to measure.
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Fewer samples: minutes instead of a quarter of an hour
    #[arg(long)]
    quick: bool,
    /// Instead, what a change takes up to the last pod, on the rig that is up, with the chart and one policy in it
    #[arg(long)]
    on_rig: bool,
    /// Instead, how often the rule for source ports accuses honest sources and finds bad ones, simulated
    #[arg(long, conflicts_with_all = ["quick", "on_rig"])]
    ports: bool,
    /// Instead, questions per second through cluster DNS, plain and with a managed resolver, on a rig of its own
    #[arg(long, conflicts_with_all = ["quick", "on_rig", "ports"])]
    dns: bool,
}

/// Measures and writes the report.
pub(crate) fn run(options: &Options) -> Result<()> {
    if options.ports {
        ports::run()
    } else if options.dns {
        dns::measure()
    } else if options.on_rig {
        on_rig()
    } else {
        bare(options.quick)
    }
}

fn bare(quick: bool) -> Result<()> {
    system::ensure()?;
    let kubernetes = tools::kubernetes::folder(&Cache::open()?, &tools::KUBERNETES.parse()?)?;
    let (_, _) = image::operator()?;
    let (driver, null) = driver()?;
    let cores = std::thread::available_parallelism()?.get();
    let plane = run::step("store and API server", || {
        ControlPlane::start(&kubernetes, cores > 1)
    })?;
    let mut measuring = plane.pinned(&driver);
    measuring.arg("bare").arg("--folder").arg(plane.folder());
    for (flag, program) in [("--controller", image::operator_binary()), ("--null", null)] {
        // A copy: somebody may build anew meanwhile, and every block has to measure the same.
        let copy = plane
            .folder()
            .join(program.file_name().context("a program's name")?);
        fs::copy(&program, &copy).with_context(|| format!("copying {}", program.display()))?;
        measuring.arg(flag).arg(copy);
    }
    if cores > 1 {
        measuring.args(["--core", "1"]);
    }
    if quick {
        measuring.arg("--quick");
    }
    measuring.arg("--report").arg(run::workspace().join(REPORT));
    let etcd = run::output(run::command("etcd").arg("--version"))?;
    let etcd = etcd.lines().next().unwrap_or_default().replace(" Version:", "");
    settings(
        &mut measuring,
        &format!("kube-apiserver {}, {etcd}", tools::KUBERNETES),
    )?;
    run::visible(&mut measuring)?;
    println!("the figures are in {REPORT}");
    Ok(())
}

fn on_rig() -> Result<()> {
    let facts = rig::current()?;
    let (driver, _) = driver()?;
    let mut measuring = run::command(driver);
    measuring
        .env("KUBECONFIG", &facts.kubeconfig)
        .args(["on-rig", "--report"]);
    measuring.arg(run::workspace().join(REPORT));
    settings(
        &mut measuring,
        &format!(
            "kubelet and CoreDNS as `cluster up` sets them, Kubernetes {}",
            tools::KUBERNETES
        ),
    )?;
    run::visible(&mut measuring)
}

/// Builds the measuring program and the operator that does nothing, for the same target as the controller.
fn driver() -> Result<(std::path::PathBuf, std::path::PathBuf)> {
    run::step("built the measuring program and the null operator", || {
        let mut cargo = run::cargo();
        cargo.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
        cargo.args([
            "build",
            "--release",
            "--package",
            "tsutsumi-bench",
            "--target",
            image::TARGET,
        ]);
        run::output(&mut cargo)
    })?;
    let folder = run::target().join(image::TARGET).join("release");
    Ok((folder.join("tsutsumi-bench"), folder.join("null-operator")))
}

/// The page with another text between two marks.
fn between_marks(page: &str, begin: &str, end: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(end)?;
    Some(format!("{before}{begin}{text}{end}{after}"))
}

fn settings(measuring: &mut Command, servers: &str) -> Result<()> {
    for line in setting_lines(servers)? {
        measuring.arg("--setting").arg(line);
    }
    Ok(())
}

/// What the figures depend on, one a line.
fn setting_lines(servers: &str) -> Result<[String; 3]> {
    let model = fs::read_to_string("/proc/cpuinfo").context("reading what processor this is")?;
    let model = model
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name);
    let memory = fs::read_to_string("/proc/meminfo").context("reading how much memory there is")?;
    let kibibytes: u64 = memory
        .lines()
        .find_map(|line| {
            line.strip_prefix("MemTotal:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .context("MemTotal is missing in /proc/meminfo")?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").context("reading the kernel's release")?;
    let cores = std::thread::available_parallelism()?;
    let machine = format!(
        "Machine: {model}, {cores} cores, {} GiB, Linux {}",
        kibibytes / 1_048_576,
        kernel.trim()
    );
    let commit = run::output(run::command("git").current_dir(run::workspace()).args([
        "rev-parse",
        "--short",
        "HEAD",
    ]))?;
    let rustc = run::output(
        run::command("rustc")
            .current_dir(run::workspace())
            .arg("--version"),
    )?;
    let versions = format!(
        "Versions: tsutsumi {} at {}, {servers}, {}",
        env!("CARGO_PKG_VERSION"),
        commit.trim(),
        rustc.trim()
    );
    let load = fs::read_to_string("/proc/loadavg").context("reading the machine's load")?;
    let load = load.split_whitespace().next().unwrap_or("0");
    let load = format!(
        "Load of the machine before the run: {load} (the closer to 0, the more the figures are worth)"
    );
    let lines = [machine, versions, load];
    for line in &lines {
        ensure!(!line.contains('\n'), "a setting is one line: {line}");
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_between_marks_is_replaced_and_nothing_else() {
        let (begin, end) = ("<!-- a -->\n", "<!-- z -->\n");
        let page = format!("a\n{begin}old\n{end}b\n");
        assert_eq!(
            between_marks(&page, begin, end, "new\n"),
            Some(format!("a\n{begin}new\n{end}b\n"))
        );
        assert_eq!(between_marks("a\n", begin, end, "new\n"), None);
        assert_eq!(between_marks(&format!("{end}{begin}"), begin, end, "new\n"), None);
    }
}
