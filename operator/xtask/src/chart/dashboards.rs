//! Dashboards that Grafana can show: whole JSON, panels with a title and a question each, places that do not overlap.

use std::collections::BTreeSet;

use serde_json::Value;

use super::metrics::{Exported, of_ours};
use super::objects::{Object, list, text};

/// What Grafana puts into a question, and what stands there while promtool reads it.
const VARIABLES: [(&str, &str); 3] = [("$__rate_interval", "5m"), ("$namespace", ".*"), ("$pod", ".*")];

/// Every rendered dashboard: its file's name, and what it holds.
pub(super) fn rendered(objects: &[Object]) -> Vec<(&str, Result<Value, serde_json::Error>)> {
    objects
        .iter()
        .filter(|object| object.kind() == "ConfigMap" && object.name() == "tsutsumi-dashboards")
        .filter_map(|object| object.at("/data")?.as_object())
        .flatten()
        .map(|(name, text)| {
            (
                name.as_str(),
                serde_json::from_str(text.as_str().unwrap_or_default()),
            )
        })
        .collect()
}

/// The questions of a dashboard, without Grafana's variables.
pub(super) fn questions(dashboard: &Value) -> Vec<String> {
    list(dashboard, "/panels")
        .iter()
        .flat_map(|panel| list(panel, "/targets"))
        .map(|target| {
            VARIABLES
                .iter()
                .fold(text(target, "/expr").to_owned(), |question, (name, value)| {
                    question.replace(name, value)
                })
        })
        .collect()
}

/// Everything wrong with the rendered dashboards.
pub(super) fn problems(objects: &[Object], exported: &Exported) -> Vec<String> {
    let mut problems = Vec::new();
    let mut uids = BTreeSet::new();
    for (name, dashboard) in rendered(objects) {
        let told = |fault| format!("dashboard {name}: {fault}");
        match dashboard {
            Ok(dashboard) => {
                problems.extend(faults(&dashboard, exported).into_iter().map(told));
                if !uids.insert(text(&dashboard, "/uid").to_owned()) {
                    problems.push(told("its uid stands twice".to_owned()));
                }
            }
            Err(error) => problems.push(told(format!("no JSON: {error}"))),
        }
    }
    problems
}

fn faults(dashboard: &Value, exported: &Exported) -> Vec<String> {
    let mut faults = Vec::new();
    for part in ["/uid", "/title"] {
        if text(dashboard, part).is_empty() {
            faults.push(format!("{part} is empty"));
        }
    }
    let panels = list(dashboard, "/panels");
    if panels.is_empty() {
        faults.push("it has no panel".to_owned());
    }
    for (number, panel) in panels.iter().enumerate() {
        let title = text(panel, "/title");
        let mut fault = |what: String| faults.push(format!("panel {title:?}: {what}"));
        if title.is_empty() {
            fault("it has no title".to_owned());
        }
        if list(panel, "/targets").is_empty() {
            fault("it asks nothing".to_owned());
        }
        for target in list(panel, "/targets") {
            let expression = text(target, "/expr");
            if of_ours(expression).next().is_none() {
                fault(format!("`{expression}` looks at no metric of ours"));
            }
            for metric in of_ours(expression).filter(|metric| !exported.holds(metric)) {
                fault(format!("nothing exports {metric}"));
            }
            if text(target, "/datasource/uid") != "${datasource}" {
                fault("it does not ask the data source that is chosen".to_owned());
            }
        }
        if panels[..number].iter().any(|other| overlap(other, panel)) {
            fault("it lies upon another one".to_owned());
        }
    }
    faults
}

fn overlap(one: &Value, other: &Value) -> bool {
    let range = |panel: &Value, from: &str, size: &str| {
        let at = |part: &str| {
            panel
                .pointer(&format!("/gridPos/{part}"))
                .and_then(Value::as_u64)
                .unwrap_or_default()
        };
        (at(from), at(from) + at(size))
    };
    [("x", "w"), ("y", "h")].into_iter().all(|(from, size)| {
        let ((a, b), (c, d)) = (range(one, from, size), range(other, from, size));
        a < d && c < b
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn dashboard(expression: &str, x: u64) -> Value {
        let panel = |x: u64, expression: &str| {
            json!({"title": "t", "gridPos": {"x": x, "y": 0, "w": 8, "h": 8},
                   "targets": [{"expr": expression, "datasource": {"uid": "${datasource}"}}]})
        };
        json!({"uid": "u", "title": "t", "panels": [panel(0, "tsutsumi_a"), panel(x, expression)]})
    }

    #[test]
    fn faults_are_named() {
        let exported = Exported::of("| `tsutsumi_a` | gauge | |\n");
        let found = |dashboard: &Value| faults(dashboard, &exported).join("\n");
        assert_eq!(found(&dashboard("sum(tsutsumi_a)", 8)), "");
        for (dashboard, word) in [
            (dashboard("tsutsumi_b", 8), "nothing exports tsutsumi_b"),
            (dashboard("up", 8), "no metric of ours"),
            (dashboard("tsutsumi_a", 7), "upon another"),
            (json!({"uid": "u", "title": "t"}), "no panel"),
            (
                json!({"uid": "u", "title": "", "panels": [{"title": "t"}]}),
                "asks nothing",
            ),
        ] {
            let text = found(&dashboard);
            assert!(text.contains(word), "{word}: {text}");
        }
    }

    #[test]
    fn variables_of_grafana_are_filled_in() {
        let asked = questions(&dashboard("rate(tsutsumi_a{pod=~\"$pod\"}[$__rate_interval])", 8));
        assert_eq!(asked[1], "rate(tsutsumi_a{pod=~\".*\"}[5m])");
    }
}
