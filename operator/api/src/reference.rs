//! The reference pages that the types themselves write: every field of a kind, and every reason of a condition.
//!
//! A page stands in `docs/reference/` and is compared with what is rendered here, so it cannot say anything that the
//! CRD does not.

use std::{env, fmt::Write as _, fs, path::Path};

use serde_json::Value;

use crate::{
    conditions::{ConditionType, Reason},
    crds,
};

const MARK: &str = "<!-- Generated from operator/api by `cargo xtask generate`; edit the types there. -->\n";

#[test]
fn field_reference_is_fresh() {
    for crd in crds::all() {
        let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
        let schema = &schema["openAPIV3Schema"];
        let kind = &crd.spec.names.kind;
        let version = &crd.spec.versions[0].name;
        let mut page = format!("{MARK}\n# {kind}\n\n`{}/{version}`", crd.spec.group);
        page.push_str(", scope ");
        page.push_str(&crd.spec.scope.to_lowercase());
        for name in crd.spec.names.short_names.iter().flatten() {
            write!(page, ", short name `{name}`").unwrap();
        }
        writeln!(
            page,
            ".\n\n{}\n",
            schema["description"].as_str().unwrap_or_default()
        )
        .unwrap();
        page.push_str("A field that is not in these tables is refused. An absent section is not managed.\n");
        page.push_str("What breaks a rule across fields is refused with one of these messages:\n\n");
        let mut refusals = Vec::new();
        messages(schema, &mut refusals);
        for message in refusals {
            writeln!(page, "- {message}").unwrap();
        }
        for part in ["spec", "status"] {
            let part_schema = &schema["properties"][part];
            let about = part_schema["description"].as_str().unwrap_or_default();
            write!(page, "\n## {part}\n\n{about}\n\n").unwrap();
            page.push_str("| field | type | default | meaning |\n|---|---|---|---|\n");
            fields(&mut page, part_schema, part);
        }
        fresh(&format!("{}.md", kind.to_lowercase()), &page);
    }
}

#[test]
fn condition_reference_is_fresh() {
    let mut page = format!("{MARK}\n# Reasons of conditions\n\n");
    page.push_str("The condition types are ");
    let types = [
        ConditionType::Accepted,
        ConditionType::Programmed,
        ConditionType::Verified,
        ConditionType::Ready,
        ConditionType::Stalled,
    ];
    let types: Vec<_> = types
        .iter()
        .map(|type_| format!("`{}`", type_.as_str()))
        .collect();
    writeln!(
        page,
        "{}; [status.md](status.md) says when each is true.\nA reason is a word that a program may branch on.\n",
        types.join(", ")
    )
    .unwrap();
    page.push_str("| reason | meaning |\n|---|---|\n");
    for reason in Reason::ALL {
        writeln!(page, "| `{}` | {} |", reason.as_str(), reason.about().trim()).unwrap();
    }
    fresh("reasons.md", &page);
}

/// Writes the page where asked to, and compares it with the file.
fn fresh(file: &str, wanted: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/reference")
        .join(file);
    if env::var_os("TSUTSUMI_UPDATE").is_some() {
        fs::write(&path, wanted).unwrap();
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        present == wanted,
        "docs/reference/{file} is not what the types say: run `cargo xtask generate`"
    );
}

/// One line for each field below `path`, depth first.
fn fields(page: &mut String, schema: &Value, path: &str) {
    let required: Vec<&str> = schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let about = field["description"].as_str().unwrap_or_default();
        writeln!(
            page,
            "| `{path}` | {} | {default} | {} |",
            type_of(field),
            cell(about)
        )
        .unwrap();
        fields(page, field, &path);
        // What a condition holds is Kubernetes' own.
        if let Some(items) = field.get("items").filter(|_| name != "conditions") {
            fields(page, items, &format!("{path}[]"));
        }
    }
}

/// The type with its bounds.
fn type_of(field: &Value) -> String {
    if let Some(words) = field["enum"].as_array() {
        let words: Vec<_> = words
            .iter()
            .filter_map(Value::as_str)
            .map(|word| format!("`{word}`"))
            .collect();
        return words.join(" or ");
    }
    let name = field["type"].as_str().unwrap_or("any");
    let number = |key: &str| {
        let value = field.get(key)?;
        // Whole numbers are floats in a schema of JSON.
        Some(
            value
                .as_f64()
                .map_or_else(|| value.to_string(), |number| format!("{number}")),
        )
    };
    let bound = |least: &str, most: &str| match (number(least), number(most)) {
        (Some(least), Some(most)) => format!(", {least} to {most}"),
        (Some(least), None) => format!(", at least {least}"),
        (None, Some(most)) => format!(", at most {most}"),
        (None, None) => String::new(),
    };
    match name {
        "array" => format!(
            "list of {}{}",
            type_of(&field["items"]),
            bound("minItems", "maxItems")
        ),
        "string" if field["format"] == "date-time" => "time".to_owned(),
        "string" => match bound("minLength", "maxLength") {
            none if none.is_empty() => "string".to_owned(),
            bound => format!("string{bound} characters"),
        },
        "integer" => format!("integer{}", bound("minimum", "maximum")),
        other => other.to_owned(),
    }
}

/// The messages of rules that span several fields, of this part and of those below it.
fn messages<'a>(schema: &'a Value, into: &mut Vec<&'a str>) {
    let rules = schema["x-kubernetes-validations"]
        .as_array()
        .into_iter()
        .flatten();
    into.extend(rules.filter_map(|rule| rule["message"].as_str()));
    for field in schema["properties"]
        .as_object()
        .into_iter()
        .flat_map(|fields| fields.values())
    {
        messages(field, into);
    }
}

/// Text that fits into one cell of a table.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}
