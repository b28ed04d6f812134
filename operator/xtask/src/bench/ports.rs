//! `cargo xtask bench --ports`: tries the rule for source ports and ids against simulated sources
//! (`operator/controls/examples/port_trials.rs`) and keeps the tables where they are explained. No time is measured, so
//! neither machine nor date belongs to them: whoever runs it again gets the same.

use std::fs;

use anyhow::{Context, Result};

use super::between_marks;
use crate::run;

/// Where the tables stand, between two marks.
const PAGE: &str = "docs/concepts/port-randomness.md";
const BEGIN: &str = "<!-- trials -->\n";
const END: &str = "<!-- end of trials -->\n";

pub(super) fn run() -> Result<()> {
    let tables = run::step("tried the rule for ports, some minutes", || {
        run::output(run::cargo().args([
            "run",
            "--quiet",
            "--release",
            "--locked",
            "--package",
            "tsutsumi-controls",
            "--example",
            "port_trials",
        ]))
    })?;
    let path = run::workspace().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("reading {PAGE}"))?;
    let page = between_marks(&page, BEGIN, END, &tables)
        .with_context(|| format!("{PAGE} lacks {BEGIN:?} or {END:?}"))?;
    fs::write(&path, page).with_context(|| format!("writing {PAGE}"))?;
    println!("the tables are in {PAGE}");
    Ok(())
}
