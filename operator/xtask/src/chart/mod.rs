//! Checks the chart as it is rendered, not as it is written: least rights, restricted pods, the flows that the
//! network policies leave, refused values, alerts that can fire, dashboards that show something. Rendering needs Helm, so it is a command of its own;
//! the judgements are pure functions over the rendered text, and their tests need no Helm.

mod alerts;
mod crds;
mod dashboards;
mod flows;
mod metrics;
mod netpol;
mod objects;
mod pods;
mod promtool;
mod refusals;
mod rights;
mod shapes;
mod values;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{run, tools};
use objects::Object;

/// The namespace that the chart is rendered for.
const NAMESPACE: &str = "tsutsumi-system";
/// Values that differ from the default in every place, relative to the chart.
const EVERY_VALUE: &str = "ci/every-value-values.yaml";

/// Lints, renders and judges the chart; every problem is named.
pub(crate) fn check() -> Result<()> {
    let helm = Helm::find()?;
    run::step("linted the chart", || helm.lint())?;
    for case in &CASES {
        run::step(&format!("judged the chart rendered with {}", case.name), || {
            let objects = objects::parse(&helm.template(case.arguments)?)?;
            report(&case.judge(&helm, &objects)?)
        })?;
    }
    run::step("had rules and dashboards judged by promtool", || {
        let objects = objects::parse(&helm.template(&["--values", EVERY_VALUE])?)?;
        report(&promtool::check(&objects, &helm.chart)?)
    })?;
    run::step("saw values that are wrong refused", || {
        report(&refusals::problems(&helm)?)
    })?;
    run::step("found every value set in the chart's test values", || {
        report(&values::problems(&helm.chart)?)
    })
}

/// One way of rendering the chart, and what must be true of it.
struct Case {
    name: &'static str,
    arguments: &'static [&'static str],
    crds: bool,
    network: Option<&'static str>,
    rights: rights::Expected,
}

const CASES: [Case; 3] = [
    Case {
        name: "default values",
        arguments: &[],
        crds: true,
        network: Some(include_str!("flows.txt")),
        rights: rights::Expected {
            inventory: include_str!("rights.txt"),
            writes: rights::Writes::Patch,
            runs_resolvers: false,
            closes: false,
        },
    },
    Case {
        name: "every value changed",
        arguments: &["--values", EVERY_VALUE],
        crds: false,
        network: None,
        rights: rights::Expected {
            inventory: include_str!("rights-every-value.txt"),
            writes: rights::Writes::Nothing,
            runs_resolvers: false,
            closes: false,
        },
    },
    Case {
        name: "every value changed and every part on",
        arguments: &[
            "--values",
            EVERY_VALUE,
            "--set",
            "crds.install=true,enforce.enabled=true,verification.largeAnswer=true,networkPolicy.enabled=true",
            "--set",
            "discovery.gatewayRoutes=true,discovery.cniPools=true,podDisruptionBudget.enabled=true",
            "--set",
            "admissionPolicy.enabled=true,uninstall.releaseFinalizers=true,probeZone.enabled=true",
        ],
        crds: true,
        network: Some(include_str!("flows-every-value.txt")),
        rights: rights::Expected {
            inventory: include_str!("rights-every-value-on.txt"),
            writes: rights::Writes::PatchAndCreate,
            runs_resolvers: true,
            closes: true,
        },
    },
];

impl Case {
    fn judge(&self, helm: &Helm, objects: &[Object]) -> Result<Vec<String>> {
        let mut problems = rights::problems(objects, NAMESPACE, &self.rights);
        problems.extend(pods::problems(objects));
        let exported = metrics::Exported::read(&run::workspace())?;
        problems.extend(alerts::problems(objects, &exported));
        problems.extend(dashboards::problems(objects, &exported));
        problems.extend(metrics::problems(objects, &exported));
        problems.extend(shapes::problems(objects, &helm.chart)?);
        if let Some(expected) = self.network {
            problems.extend(flows::problems(objects, NAMESPACE, expected));
        }
        let folder = run::workspace().join("crds");
        problems.extend(crds::problems(objects, &folder, self.crds)?);
        Ok(problems)
    }
}

/// Helm and the chart that it renders.
struct Helm {
    program: PathBuf,
    chart: PathBuf,
}

impl Helm {
    /// `$TSUTSUMI_HELM`, else the rig's.
    fn find() -> Result<Self> {
        let program = match std::env::var_os("TSUTSUMI_HELM").filter(|value| !value.is_empty()) {
            Some(program) => PathBuf::from(program),
            None => tools::helm::binary(&tools::Cache::open()?)?,
        };
        Ok(Self {
            program,
            chart: run::workspace().join("charts/tsutsumi"),
        })
    }

    fn lint(&self) -> Result<()> {
        for values in [None, Some(EVERY_VALUE)] {
            let mut command = self.command(&["lint", "--strict", "--kube-version", tools::KUBERNETES, "."]);
            command.args(values.into_iter().flat_map(|path| ["--values", path]));
            run::output(&mut command)?;
        }
        Ok(())
    }

    /// The rendered text, tests and hooks included.
    fn template(&self, arguments: &[&str]) -> Result<String> {
        // A Helm built from its module takes an old release for the cluster's, which the chart refuses.
        let mut command = self.command(&["template", "tsutsumi", ".", "--namespace", NAMESPACE]);
        command
            .args(["--kube-version", tools::KUBERNETES])
            .args(arguments);
        run::output(&mut command)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = run::command(&self.program);
        command.current_dir(&self.chart).args(arguments);
        command
    }
}

fn report(problems: &[String]) -> Result<()> {
    if problems.is_empty() {
        return Ok(());
    }
    bail!("{} problems:\n  {}", problems.len(), problems.join("\n  "))
}

fn read(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
}

/// Lines of `present` and `expected` that have no twin; comments and empty lines do not count.
fn differences(what: &str, file_hint: &str, present: &[String], expected: &str) -> Vec<String> {
    let expected: Vec<&str> = expected
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let more = present.iter().filter(|line| !expected.contains(&line.as_str()));
    let fewer = expected
        .iter()
        .filter(|line| !present.iter().any(|one| one == *line));
    more.map(|line| format!("{what} that {file_hint} does not list: {line}"))
        .chain(
            fewer.map(|line| format!("{what} that {file_hint} lists but the chart no longer gives: {line}")),
        )
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_go_both_ways_and_skip_comments() {
        let present = ["a".to_owned(), "b".to_owned()];
        let found = differences("right", "the file", &present, "# why\n\nb\nc\n");
        assert_eq!(
            found,
            [
                "right that the file does not list: a",
                "right that the file lists but the chart no longer gives: c"
            ]
        );
    }
}
