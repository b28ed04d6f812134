//! Files in the checkout that are made from code. Each has an ordinary test that fails when the file has drifted,
//! and that writes it instead when `TSUTSUMI_UPDATE` is set: this only knows which tests those are.

use anyhow::Result;

use crate::run::{self, step};

/// What is made, and the arguments of the `cargo test` that makes it.
const GENERATORS: [(&str, &[&str]); 3] = [
    ("crds/", &["--package", "tsutsumi-api", "--lib", "crds"]),
    (
        "docs/reference/",
        &["--package", "tsutsumi-api", "--lib", "reference"],
    ),
    (
        "docs/reference/unbound-metrics.md",
        &["--package", "tsutsumi-exporter", "--lib", "reference"],
    ),
];

/// Writes every file, or with `check` only fails where one has drifted.
pub(crate) fn run(check: bool) -> Result<()> {
    for (what, arguments) in GENERATORS {
        step(what, || {
            let mut cargo = run::cargo();
            cargo.args(["test", "--quiet"]).args(arguments);
            if check {
                cargo.env_remove("TSUTSUMI_UPDATE");
            } else {
                cargo.env("TSUTSUMI_UPDATE", "1");
            }
            run::output(&mut cargo).map(drop)
        })?;
    }
    Ok(())
}
