//! The chart's CRDs are those of `crds/`, but for the mark that keeps them on uninstall and the chart's labels.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use super::objects::{self, Object};
use super::read;

/// Everything in which the rendered CRDs differ from the folder's.
pub(super) fn problems(rendered: &[Object], folder: &Path, installed: bool) -> Result<Vec<String>> {
    let mut sources = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            sources.extend(objects::parse(&read(&path)?)?);
        }
    }
    let rendered: Vec<&Object> = rendered
        .iter()
        .filter(|object| object.kind() == "CustomResourceDefinition")
        .collect();
    Ok(compare(&rendered, if installed { &sources } else { &[] }))
}

fn compare(rendered: &[&Object], sources: &[Object]) -> Vec<String> {
    let mut problems = Vec::new();
    for source in sources {
        match rendered.iter().find(|object| object.name() == source.name()) {
            None => problems.push(format!("the chart lacks {}", source.title())),
            Some(object) => {
                let kept = object
                    .at("/metadata/annotations")
                    .and_then(|all| all.get("helm.sh/resource-policy"));
                if kept.and_then(Value::as_str) != Some("keep") {
                    problems.push(format!(
                        "{} would be deleted on uninstall, and all policies with it",
                        source.title()
                    ));
                }
                let equal = |part| {
                    same(
                        object.at(part).unwrap_or(&Value::Null),
                        source.at(part).unwrap_or(&Value::Null),
                    )
                };
                if !equal("/spec") || !equal("/apiVersion") {
                    problems.push(format!("{} differs from the file in crds/", source.title()));
                }
            }
        }
    }
    let odd = rendered
        .iter()
        .filter(|object| !sources.iter().any(|source| source.name() == object.name()));
    problems.extend(odd.map(|object| {
        format!(
            "{} has no file in crds/, or should not be installed",
            object.title()
        )
    }));
    problems
}

/// Equality, but `512` is `512.0`: Helm writes every number as it likes.
fn same(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => one == other || one.as_f64() == other.as_f64(),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| same(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| same(one, other)))
        }
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_compare_by_value() {
        let value = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert!(same(
            &value(r#"{"a": [512, "x"]}"#),
            &value(r#"{"a": [512.0, "x"]}"#)
        ));
        for other in [
            r#"{"a": [513, "x"]}"#,
            r#"{"a": [512]}"#,
            r#"{"a": [512, "x"], "b": null}"#,
            "{}",
        ] {
            assert!(!same(&value(r#"{"a": [512, "x"]}"#), &value(other)), "{other}");
        }
    }

    #[test]
    fn a_lost_mark_and_a_changed_schema_are_seen() {
        let parse = |text: &str| objects::parse(text).unwrap();
        let source = parse("kind: CustomResourceDefinition\nmetadata: {name: a}\nspec: {scope: Cluster}\n");
        let kept = "metadata: {name: a, annotations: {helm.sh/resource-policy: keep}}";
        for (metadata, scope, problems) in [
            (kept, "Cluster", 0),
            (kept, "Namespaced", 1),
            ("metadata: {name: a}", "Cluster", 1),
        ] {
            let text = format!("kind: CustomResourceDefinition\n{metadata}\nspec: {{scope: {scope}}}\n");
            let rendered = parse(&text);
            assert_eq!(
                compare(&rendered.iter().collect::<Vec<_>>(), &source).len(),
                problems,
                "{text}"
            );
        }
        assert_eq!(compare(&[], &source).len(), 1);
        assert_eq!(compare(&source.iter().collect::<Vec<_>>(), &[]).len(), 1);
    }
}
