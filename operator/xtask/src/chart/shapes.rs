//! The shapes of what the controller may make: every rule of an admission policy has something that it refuses in the
//! chart's `ci` folder, so that a rule is not written and never tried. A cluster judges the objects themselves; here the
//! lists are compared.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::objects::{Object, list, text};
use super::read;

/// What the policies' names begin with; the rest names the file.
const PREFIX: &str = "tsutsumi-";
/// The rule that no patch can break, since the namespace is that of the request.
const BY_NAMESPACE: &str = "creates Pods in";

/// Rules without something that they refuse, and refusals without a rule.
pub(super) fn problems(objects: &[Object], chart: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for policy in objects
        .iter()
        .filter(|object| object.kind() == "ValidatingAdmissionPolicy")
    {
        let file = file(policy.name());
        let shapes: Value =
            serde_json::from_str(&read(&chart.join(&file))?).with_context(|| format!("reading {file}"))?;
        problems.extend(compare(policy, objects, &shapes));
    }
    Ok(problems)
}

/// Where a policy's shapes stand, relative to the chart: one base, JSON patches of it, and what their refusal says.
fn file(policy: &str) -> String {
    format!("ci/{}-shapes.json", policy.trim_start_matches(PREFIX))
}

fn compare(policy: &Object, objects: &[Object], shapes: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    let rules = list(policy.value(), "/spec/validations");
    let refused = list(shapes, "/refused");
    for rule in rules {
        let message = text(rule, "/message");
        if message.is_empty() {
            problems.push(format!(
                "{}: a rule says nothing: {}",
                policy.title(),
                text(rule, "/expression")
            ));
        } else if !message.contains(BY_NAMESPACE)
            && !refused.iter().any(|pod| message.contains(text(pod, "/says")))
        {
            problems.push(format!(
                "nothing in {} is refused with `{message}`",
                file(policy.name())
            ));
        }
    }
    for pod in refused {
        let says = text(pod, "/says");
        if says.is_empty() || !rules.iter().any(|rule| text(rule, "/message").contains(says)) {
            problems.push(format!("no rule refuses `{}` with `{says}`", text(pod, "/what")));
        }
    }
    let bound = objects.iter().any(|object| {
        object.kind() == "ValidatingAdmissionPolicyBinding"
            && object.at("/spec/policyName").and_then(Value::as_str) == Some(policy.name())
            && object.at("/spec/validationActions") == Some(&serde_json::json!(["Deny"]))
            && object.at("/spec/matchResources").is_none()
    });
    if !bound {
        problems.push(format!("{} is not bound to deny everywhere", policy.title()));
    }
    if text(policy.value(), "/spec/failurePolicy") != "Fail" {
        problems.push(format!(
            "{} lets a Pod through when it cannot be judged",
            policy.title()
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::super::objects::parse;
    use super::*;
    use serde_json::json;

    const GOOD: &str = "kind: ValidatingAdmissionPolicy
metadata: {name: p}
spec: {failurePolicy: Fail, validations: [{expression: e, message: 'a: x'}, {expression: f, message: 'b: y'}]}
---
kind: ValidatingAdmissionPolicyBinding
metadata: {name: p}
spec: {policyName: p, validationActions: [Deny]}
";

    fn found(text: &str, says: &[&str]) -> Vec<String> {
        let refused: Vec<Value> = says
            .iter()
            .map(|says| json!({"what": "pod", "says": says}))
            .collect();
        let objects = parse(text).unwrap();
        compare(&objects[0], &objects, &json!({"refused": refused}))
    }

    #[test]
    fn rules_and_pods_have_twins() {
        assert_eq!(found(GOOD, &["a:", "y"]), Vec::<String>::new());
        assert!(found(GOOD, &["a:"])[0].contains("`b: y`"));
        assert!(found(GOOD, &["a:", "b:", "c:"])[0].contains("`c:`"));
    }

    #[test]
    fn a_policy_that_only_warns_is_seen() {
        assert!(found(&GOOD.replace("[Deny]", "[Warn]"), &["a", "b"])[0].contains("not bound"));
        assert!(
            found(&GOOD.replace("Policy: Fail", "Policy: Ignore"), &["a", "b"])[0]
                .contains("lets a Pod through")
        );
    }
}
