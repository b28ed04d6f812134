//! Rendered objects, as untyped trees: the chart also renders kinds that no crate of ours knows.

use anyhow::{Context, Result};
use serde_json::Value;

/// One rendered object.
#[derive(Clone, Debug)]
pub(super) struct Object(Value);

/// Reads every document of a rendered text; a key that stands twice is an error.
pub(super) fn parse(text: &str) -> Result<Vec<Object>> {
    let documents: Vec<Value> = serde_saphyr::from_multiple(text).context("reading the rendered chart")?;
    Ok(documents
        .into_iter()
        .filter(|value| !value.is_null())
        .map(Object)
        .collect())
}

impl Object {
    /// The kind, or nothing when there is none.
    pub(super) fn kind(&self) -> &str {
        text(&self.0, "/kind")
    }

    /// The name.
    pub(super) fn name(&self) -> &str {
        text(&self.0, "/metadata/name")
    }

    /// The namespace; empty for what belongs to the cluster.
    pub(super) fn namespace(&self) -> &str {
        text(&self.0, "/metadata/namespace")
    }

    /// Kind and name, for messages.
    pub(super) fn title(&self) -> String {
        format!("{} {}", self.kind(), self.name())
    }

    /// A part, by JSON pointer.
    pub(super) fn at(&self, pointer: &str) -> Option<&Value> {
        self.0.pointer(pointer)
    }

    /// The whole.
    pub(super) fn value(&self) -> &Value {
        &self.0
    }

    /// The pod that it makes, metadata and spec, if it makes one.
    pub(super) fn pod(&self) -> Option<&Value> {
        match self.kind() {
            "Pod" => Some(&self.0),
            "CronJob" => self.at("/spec/jobTemplate/spec/template"),
            _ => self
                .at("/spec/template")
                .filter(|template| template.pointer("/spec/containers").is_some()),
        }
    }
}

/// A string by JSON pointer; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The items of a list by JSON pointer; none when there is no list.
pub(super) fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// The strings of a list by JSON pointer.
pub(super) fn texts<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
    list(value, pointer).iter().filter_map(Value::as_str).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_found_and_empty_ones_skipped() {
        let objects =
            parse("---\nkind: Pod\nmetadata: {name: a, namespace: there}\n---\n# nothing\n---\nkind: Job\n")
                .unwrap();
        assert_eq!(objects.len(), 2);
        assert_eq!(
            (objects[0].title().as_str(), objects[0].namespace()),
            ("Pod a", "there")
        );
    }

    #[test]
    fn a_key_that_stands_twice_is_refused() {
        assert!(parse("kind: Pod\nkind: Job\n").is_err());
    }
}
