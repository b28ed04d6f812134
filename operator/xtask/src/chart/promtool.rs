//! What Prometheus itself says: promtool reads every rule and every question of a dashboard, and runs the alerts over
//! series of the chart's own, where each must fire once and be silent once.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::objects::{Object, list, text};
use super::{dashboards, read};
use crate::{run, tools};

/// Series, and which alerts they must raise, relative to the chart.
const TESTS: &str = "ci/alerts-test.yaml";
/// What the tests call the rules.
const RULES: &str = "rules.json";

/// Has the rendered rules and dashboards judged; what promtool says is the error.
pub(super) fn check(objects: &[Object], chart: &Path) -> Result<Vec<String>> {
    let groups = groups(objects);
    let tests = read(&chart.join(TESTS))?;
    let parsed: Value = serde_saphyr::from_str(&tests).with_context(|| format!("reading {TESTS}"))?;
    let problems = untested(&groups, &parsed);
    let folder = tempfile::tempdir()?;
    let whole = write(folder.path(), "whole.json", &json!({"groups": groups}))?;
    let panels = write(folder.path(), "panels.json", &panels(objects))?;
    for file in [whole, panels] {
        run::output(promtool()?.args(["check", "rules"]).arg(file))?;
    }
    // Words are no matter of when an alert fires, and the tests would have to repeat them.
    write(folder.path(), RULES, &json!({"groups": wordless(groups)}))?;
    let file = folder.path().join("alerts-test.yaml");
    std::fs::write(&file, tests).context("copying the alerts' tests")?;
    run::output(promtool()?.args(["test", "rules"]).arg(file))?;
    Ok(problems)
}

fn promtool() -> Result<Command> {
    tools::prometheus::promtool(&tools::Cache::open()?)
}

/// A text of JSON is one of YAML too.
fn write(folder: &Path, name: &str, value: &Value) -> Result<std::path::PathBuf> {
    let file = folder.join(name);
    std::fs::write(&file, value.to_string()).with_context(|| format!("writing {name}"))?;
    Ok(file)
}

fn groups(objects: &[Object]) -> Vec<Value> {
    objects
        .iter()
        .filter(|object| object.kind() == "PrometheusRule")
        .flat_map(|object| list(object.value(), "/spec/groups"))
        .cloned()
        .collect()
}

fn wordless(mut groups: Vec<Value>) -> Vec<Value> {
    for rule in groups
        .iter_mut()
        .filter_map(|group| group.pointer_mut("/rules")?.as_array_mut())
        .flatten()
    {
        if let Some(rule) = rule.as_object_mut() {
            rule.remove("annotations");
        }
    }
    groups
}

/// Each question of a dashboard as a rule that records it, since promtool reads only rules.
fn panels(objects: &[Object]) -> Value {
    let dashboards = dashboards::rendered(objects);
    let groups: Vec<Value> = dashboards
        .iter()
        .filter_map(|(name, dashboard)| Some((name, dashboard.as_ref().ok()?)))
        .map(|(name, dashboard)| {
            let rules: Vec<Value> = (1..)
                .zip(dashboards::questions(dashboard))
                .map(|(number, question)| json!({"record": format!("panel:{number}"), "expr": question}))
                .collect();
            json!({"name": name, "rules": rules})
        })
        .collect();
    json!({"groups": groups})
}

/// Alerts that no test sees fire, or none sees silent.
fn untested(groups: &[Value], tests: &Value) -> Vec<String> {
    let tested = |alert: &str, fires: bool| {
        list(tests, "/tests")
            .iter()
            .flat_map(|test| list(test, "/alert_rule_test"))
            .any(|one| text(one, "/alertname") == alert && list(one, "/exp_alerts").is_empty() != fires)
    };
    let mut problems = Vec::new();
    for rule in groups.iter().flat_map(|group| list(group, "/rules")) {
        let alert = text(rule, "/alert");
        for (fires, word) in [(true, "fire"), (false, "stay silent")] {
            if !tested(alert, fires) {
                problems.push(format!("no test in {TESTS} sees alert {alert} {word}"));
            }
        }
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_is_seen_to_fire_and_to_be_silent() {
        let groups = [json!({"rules": [{"alert": "A", "annotations": {"summary": "s"}}, {"alert": "B"}]})];
        let tests = json!({"tests": [{"alert_rule_test": [
            {"alertname": "A", "exp_alerts": []},
            {"alertname": "A", "exp_alerts": [{}]},
            {"alertname": "B", "exp_alerts": []},
        ]}]});
        let expected = format!("no test in {TESTS} sees alert B fire");
        assert_eq!(untested(&groups, &tests), [expected]);
        let shown = wordless(groups.to_vec());
        assert_eq!(shown[0], json!({"rules": [{"alert": "A"}, {"alert": "B"}]}));
    }
}
