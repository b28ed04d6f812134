//! `docs/reference/unbound-metrics.md`, written from the table itself, so that it cannot say anything else.

use std::{env, fmt::Write as _, fs, path::Path};

use tsutsumi_providers::unbound::stats::table::{FAMILIES, Kind, Unit};

use crate::metrics::{MISSING, OutcomeLabel, PREFIX, QUESTIONS, UP};

const HEAD: &str = include_str!("reference.md");

#[test]
fn metrics_reference_is_fresh() {
    let mut page = HEAD.to_owned();
    page.push_str("\n| metric | type | labels | meaning | in Unbound |\n|---|---|---|---|---|\n");
    for own in [UP, MISSING, QUESTIONS] {
        let labels = match own.label {
            Some("outcome") => values("outcome", &OutcomeLabel::ALL.map(|label| label.outcome)),
            Some(label) => format!("`{label}`"),
            None => String::new(),
        };
        line(
            &mut page,
            &name(own.name, own.kind, None),
            own.kind,
            &labels,
            own.help,
            "",
        );
    }
    for family in FAMILIES {
        let labels = family
            .label()
            .map_or_else(String::new, |label| values(label, &family.values()));
        let counters: Vec<_> = family
            .counters()
            .iter()
            .map(|counter| format!("`{counter}`"))
            .collect();
        let name = name(family.name, family.kind, family.unit);
        line(
            &mut page,
            &name,
            family.kind,
            &labels,
            family.help,
            &counters.join(", "),
        );
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/unbound-metrics.md");
    if env::var_os("TSUTSUMI_UPDATE").is_some() {
        fs::write(&path, &page).unwrap();
    }
    let present = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        present == page,
        "docs/reference/unbound-metrics.md is not what the table says: run `cargo xtask generate`"
    );
}

fn line(page: &mut String, name: &str, kind: Kind, labels: &str, help: &str, counters: &str) {
    let kind = match kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram => "histogram",
    };
    writeln!(page, "| `{name}` | {kind} | {labels} | {help} | {counters} |").unwrap();
}

fn name(name: &str, kind: Kind, unit: Option<Unit>) -> String {
    let unit = match unit {
        Some(Unit::Bytes) => "_bytes",
        Some(Unit::Seconds) => "_seconds",
        None => "",
    };
    let end = if kind == Kind::Counter { "_total" } else { "" };
    format!("{PREFIX}_{name}{unit}{end}")
}

fn values(label: &str, values: &[&str]) -> String {
    let values: Vec<_> = values.iter().map(|value| format!("`{value}`")).collect();
    format!("`{label}`: {}", values.join(", "))
}
