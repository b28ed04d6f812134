//! Alerts that can fire and say something: known metrics, balanced expressions, a severity, words for who is called.

use serde_json::Value;

use super::metrics::{Exported, of_ours};
use super::objects::{Object, list, text};

/// Everything wrong with the rendered alerts.
pub(super) fn problems(objects: &[Object], exported: &Exported) -> Vec<String> {
    let rules: Vec<&Value> = objects
        .iter()
        .filter(|object| object.kind() == "PrometheusRule")
        .flat_map(|object| list(object.value(), "/spec/groups"))
        .flat_map(|group| list(group, "/rules"))
        .collect();
    let mut problems = Vec::new();
    for rule in &rules {
        let name = text(rule, "/alert");
        problems.extend(
            faults(rule, exported)
                .into_iter()
                .map(|fault| format!("alert {name}: {fault}")),
        );
        if rules.iter().filter(|other| text(other, "/alert") == name).count() > 1 {
            problems.push(format!("alert {name} stands twice"));
        }
    }
    problems
}

fn faults(rule: &Value, exported: &Exported) -> Vec<String> {
    let mut faults = Vec::new();
    let expression = text(rule, "/expr");
    let name = text(rule, "/alert");
    if !name.starts_with("Tsutsumi") {
        faults.push("its name does not begin with Tsutsumi".to_owned());
    }
    for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
        if expression.matches(open).count() != expression.matches(close).count() {
            faults.push(format!("`{open}` and `{close}` do not match in `{expression}`"));
        }
    }
    if of_ours(expression).next().is_none() {
        faults.push("it looks at no metric of ours".to_owned());
    }
    for metric in of_ours(expression).filter(|metric| !exported.holds(metric)) {
        faults.push(format!("nothing exports {metric}"));
    }
    if !["warning", "critical"].contains(&text(rule, "/labels/severity")) {
        faults.push("severity is neither warning nor critical".to_owned());
    }
    for part in ["/annotations/summary", "/annotations/description"] {
        let words = text(rule, part);
        if words.is_empty() || words.contains('\n') {
            faults.push(format!("{part} is empty or more than a line"));
        }
        faults.extend(
            lost_labels(words, expression)
                .map(|label| format!("{part} uses {label}, which its result lacks")),
        );
    }
    faults
}

/// Labels that the text shows but the aggregation drops.
fn lost_labels<'a>(words: &'a str, expression: &'a str) -> impl Iterator<Item = &'a str> {
    let kept = expression
        .split_once("by (")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map_or("", |(kept, _)| kept);
    words
        .split("$labels.")
        .skip(1)
        .map(|rest| {
            rest.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                .next()
                .unwrap_or("")
        })
        .filter(move |label| !kept.split(", ").any(|one| one == *label))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(expression: &str, summary: &str) -> String {
        let annotations = json!({"summary": summary, "description": "d"});
        let rule = json!({"alert": "TsutsumiX", "expr": expression, "labels": {"severity": "warning"}, "annotations": annotations});
        let exported = Exported::of("| `tsutsumi_policy_condition` | gauge | |");
        faults(&rule, &exported).join("\n")
    }

    #[test]
    fn faults_are_named() {
        assert_eq!(
            found(
                "max by (policy) (tsutsumi_policy_condition) == 1",
                "{{ $labels.policy }}"
            ),
            ""
        );
        for (expression, summary, word) in [
            ("max(tsutsumi_policy_condition", "s", "do not match"),
            ("up == 0", "s", "no metric of ours"),
            (
                "tsutsumi_policy_conditions == 1",
                "s",
                "nothing exports tsutsumi_policy_conditions",
            ),
            (
                "max by (policy) (tsutsumi_policy_condition)",
                "{{ $labels.control }}",
                "uses control",
            ),
            ("tsutsumi_policy_condition", "", "empty"),
        ] {
            let text = found(expression, summary);
            assert!(text.contains(word), "{expression}: {text}");
        }
    }
}
