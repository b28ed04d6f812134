//! The test values set every value of the chart to something else, so that no value is rendered by nobody.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::{EVERY_VALUE, read};

/// Values that the test values leave as they are.
pub(super) fn problems(chart: &Path) -> Result<Vec<String>> {
    let parse = |path: &Path| -> Result<Value> {
        serde_saphyr::from_str(&read(path)?).with_context(|| format!("reading {}", path.display()))
    };
    let default = parse(&chart.join("values.yaml"))?;
    let changed = parse(&chart.join(EVERY_VALUE))?;
    let mut problems = Vec::new();
    compare("", &default, &changed, &mut problems);
    Ok(problems)
}

/// Maps of named values are gone through; everything else is one value.
fn compare(path: &str, default: &Value, changed: &Value, problems: &mut Vec<String>) {
    match (default, changed) {
        (Value::Object(default), Value::Object(changed)) if !default.is_empty() => {
            for (key, value) in default {
                compare(
                    &format!("{path}.{key}"),
                    value,
                    changed.get(key).unwrap_or(&Value::Null),
                    problems,
                );
            }
        }
        _ if changed.is_null() || default == changed => {
            problems.push(format!(
                "{EVERY_VALUE} leaves {} as it is",
                path.trim_start_matches('.')
            ));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_left_is_named() {
        let mut problems = Vec::new();
        let default = json!({"a": {"b": 1, "c": {}}, "d": [], "e": true});
        compare(
            "",
            &default,
            &json!({"a": {"b": 1, "c": {"x": 1}}, "e": false}),
            &mut problems,
        );
        let expected = ["leaves a.b as it is", "leaves d as it is"];
        assert_eq!(problems, expected.map(|end| format!("{EVERY_VALUE} {end}")));
    }
}
