//! The generated CRDs: `crds/` holds what this module renders, and a test proves it fresh.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::ResolverPolicy;

/// Every CRD, in the order of their names.
#[must_use]
pub fn all() -> Vec<CustomResourceDefinition> {
    vec![ResolverPolicy::crd()]
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use serde_json::Value;

    use super::all;

    /// Renders as the file in `crds/` should stand.
    fn rendered(crd: &super::CustomResourceDefinition) -> String {
        let yaml = serde_saphyr::to_string(crd).unwrap();
        format!("# Generated from operator/api by `cargo xtask generate`; edit the types there.\n{yaml}")
    }

    #[test]
    fn crds_are_fresh() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crds");
        for crd in all() {
            let name = crd.metadata.name.clone().unwrap();
            let path = folder.join(format!("{name}.yaml"));
            let wanted = rendered(&crd);
            if env::var_os("TSUTSUMI_UPDATE").is_some() {
                fs::write(&path, &wanted).unwrap();
            }
            let present = fs::read_to_string(&path).unwrap_or_default();
            assert!(
                present == wanted,
                "crds/{name}.yaml is not what the types say: run `cargo xtask generate`"
            );
        }
    }

    #[test]
    fn every_string_list_and_map_is_bounded() {
        for crd in all() {
            let schema = serde_json::to_value(&crd.spec.versions[0].schema).unwrap();
            let mut unbounded = Vec::new();
            for part in ["spec", "status"] {
                let part_schema = &schema["openAPIV3Schema"]["properties"][part];
                assert!(part_schema.is_object());
                walk(part_schema, part, &mut unbounded);
            }
            // The type and reason of a condition come from Kubernetes' own schema, which bounds by pattern only here.
            unbounded.retain(|path| !path.starts_with("status.conditions[]."));
            assert_eq!(unbounded, Vec::<String>::new());
        }
    }

    fn walk(schema: &Value, path: &str, unbounded: &mut Vec<String>) {
        let bounded = match schema["type"].as_str() {
            Some("string") => {
                schema.get("enum").is_some()
                    || schema.get("maxLength").is_some()
                    || schema.get("format").and_then(Value::as_str) == Some("date-time")
            }
            Some("array") => schema.get("maxItems").is_some(),
            Some("integer") => schema.get("maximum").is_some() || path.ends_with("eneration"),
            Some("object") => schema.get("properties").is_some() || schema.get("maxProperties").is_some(),
            _ => true,
        };
        if !bounded {
            unbounded.push(path.to_owned());
        }
        if schema.get("description").is_none() && !path.ends_with("[]") {
            unbounded.push(format!("{path} (no description)"));
        }
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            walk(inner, &format!("{path}.{name}"), unbounded);
        }
        if let Some(items) = schema.get("items") {
            walk(items, &format!("{path}[]"), unbounded);
        }
    }
}
