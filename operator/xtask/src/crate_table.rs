//! Which crate of the workspace may depend on what. A crate exists only to forbid a dependency, so this table is
//! the reason for each of them; the test compares it with what cargo says. Dependencies of tests are not counted.

/// What reaches a cluster, a socket or a runtime.
const IO: &[&str] = &[
    "axum",
    "chrono",
    "futures",
    "hickory-proto",
    "hickory-resolver",
    "hickory-server",
    "hyper",
    "hyper-util",
    "kube",
    "reqwest",
    "rustls",
    "tokio",
    "tracing",
];

/// One line of the table.
struct Rule {
    /// The crate's name without the project's prefix.
    name: &'static str,
    /// Crates of the workspace it may use.
    may_use: &'static [&'static str],
    /// Crates from outside it must not use.
    never: &'static [&'static str],
}

const TABLE: [Rule; 13] = [
    Rule {
        name: "model",
        may_use: &[],
        never: IO,
    },
    Rule {
        name: "providers",
        may_use: &["model"],
        never: IO,
    },
    Rule {
        name: "controls",
        may_use: &["model"],
        never: IO,
    },
    // The derive macro and the generated types come from kube; a client would need a runtime.
    Rule {
        name: "api",
        may_use: &["model"],
        never: &["tokio", "futures", "hyper", "axum", "tracing", "kube-client"],
    },
    Rule {
        name: "engine",
        may_use: &["api", "controls", "model", "providers"],
        never: IO,
    },
    Rule {
        name: "probes",
        may_use: &["model"],
        never: &["kube", "k8s-openapi"],
    },
    // What answers strangers' packets knows nothing of Kubernetes and decides nothing.
    Rule {
        name: "zone",
        may_use: &["model", "probes"],
        never: &["kube", "k8s-openapi"],
    },
    // What holds the socket that can command Unbound knows nothing of Kubernetes and has no way out.
    Rule {
        name: "exporter",
        may_use: &["probes", "providers"],
        never: &["kube", "k8s-openapi", "hickory-proto", "hyper", "rustls"],
    },
    Rule {
        name: "controller",
        may_use: &[
            "api",
            "controls",
            "engine",
            "exporter",
            "model",
            "probes",
            "providers",
            "zone",
        ],
        never: &["openssl", "native-tls", "aws-lc-rs"],
    },
    // What runs in pipelines and on laptops works on files.
    Rule {
        name: "cli",
        may_use: &["engine"],
        never: IO,
    },
    Rule {
        name: "xtask",
        may_use: &[],
        never: &["kube", "tokio"],
    },
    Rule {
        name: "e2e",
        may_use: &[
            "api",
            "controls",
            "engine",
            "model",
            "probes",
            "providers",
            "zone",
        ],
        never: &["tsutsumi-controller"],
    },
    // Built like the controller that it is compared with, so it must not pull the suite's crates in.
    Rule {
        name: "bench",
        may_use: &["api"],
        never: &["tsutsumi-e2e"],
    },
];

#[test]
fn every_crate_depends_only_on_what_its_line_allows() {
    use cargo_metadata::{DependencyKind, MetadataCommand};

    let manifest = crate::run::workspace().join("Cargo.toml");
    let metadata = MetadataCommand::new()
        .manifest_path(manifest)
        .no_deps()
        .exec()
        .unwrap();
    let mut faults = Vec::new();
    for package in &metadata.packages {
        let Some(rule) = TABLE
            .iter()
            .find(|rule| package.name.strip_prefix("tsutsumi-") == Some(rule.name))
        else {
            faults.push(format!(
                "{} has no line in the table: add one with the reason it exists",
                package.name
            ));
            continue;
        };
        for dependency in &package.dependencies {
            if dependency.kind == DependencyKind::Development {
                continue;
            }
            let ours = dependency.name.strip_prefix("tsutsumi-");
            let allowed = ours.is_none_or(|name| rule.may_use.contains(&name));
            if !allowed || rule.never.contains(&dependency.name.as_str()) {
                faults.push(format!("{} must not depend on {}", package.name, dependency.name));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    assert_eq!(
        metadata.packages.len(),
        TABLE.len(),
        "a line of the table has no crate"
    );
}
