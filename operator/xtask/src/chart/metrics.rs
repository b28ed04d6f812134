//! The metrics that there are, and who looks at them: what an alert or a dashboard names must be exported, and what
//! is exported must stand in one of them, or nobody would see it.
//!
//! The reference pages are the list. Tests hold each of them to the code that exports.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Result;

use super::objects::{Object, list, text};
use super::{dashboards, read};

/// Pages with a table of metrics, relative to the checkout.
const PAGES: [&str; 2] = ["docs/reference/metrics.md", "docs/reference/unbound-metrics.md"];

/// What is exported.
#[derive(Debug)]
pub(super) struct Exported {
    /// One set of names for each metric: a histogram has several, of which any will do.
    metrics: Vec<Vec<String>>,
}

impl Exported {
    /// Reads the pages below `root`.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let pages = PAGES
            .iter()
            .map(|page| read(&root.join(page)))
            .collect::<Result<Vec<_>>>()?;
        Ok(Self::of(&pages.concat()))
    }

    /// From the lines of tables that begin with a name of ours and its type.
    pub(super) fn of(text: &str) -> Self {
        let rows = text.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
            let kind = rest.split(' ').next()?;
            name.starts_with("tsutsumi_").then(|| names(name, kind))
        });
        Self {
            metrics: rows.collect(),
        }
    }

    /// Whether a sample of this name is exported.
    pub(super) fn holds(&self, name: &str) -> bool {
        self.metrics.iter().flatten().any(|one| one == name)
    }

    /// Metrics that none of these names shows.
    pub(super) fn unseen(&self, shown: &BTreeSet<&str>) -> Vec<&str> {
        let seen = |names: &&Vec<String>| names.iter().any(|name| shown.contains(name.as_str()));
        let unseen = self.metrics.iter().filter(|names| !seen(names));
        unseen
            .filter_map(|names| names.first())
            .map(String::as_str)
            .collect()
    }
}

fn names(name: &str, kind: &str) -> Vec<String> {
    match kind {
        "histogram" => ["bucket", "count", "sum"]
            .map(|end| format!("{name}_{end}"))
            .into(),
        _ => vec![name.to_owned()],
    }
}

/// Metrics that neither the rendered alerts nor the rendered dashboards show, where both are rendered.
pub(super) fn problems(objects: &[Object], exported: &Exported) -> Vec<String> {
    let dashboards = dashboards::rendered(objects);
    let questions = dashboards
        .iter()
        .filter_map(|(_, dashboard)| dashboard.as_ref().ok())
        .flat_map(dashboards::questions);
    let rules = objects
        .iter()
        .filter(|object| object.kind() == "PrometheusRule")
        .flat_map(|object| list(object.value(), "/spec/groups"))
        .flat_map(|group| list(group, "/rules"));
    let alerts: Vec<String> = rules.map(|rule| text(rule, "/expr").to_owned()).collect();
    if alerts.is_empty() || dashboards.is_empty() {
        return Vec::new();
    }
    let expressions: Vec<String> = alerts.into_iter().chain(questions).collect();
    let shown = expressions
        .iter()
        .flat_map(|expression| of_ours(expression))
        .collect();
    let unseen = exported.unseen(&shown).into_iter();
    unseen
        .map(|metric| format!("no alert and no dashboard shows {metric}"))
        .collect()
}

/// Words of an expression that are metrics of ours.
pub(super) fn of_ours(expression: &str) -> impl Iterator<Item = &str> {
    expression
        .split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
        .filter(|word| word.starts_with("tsutsumi_"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::run;

    /// Helm is not needed for this: names are not made by templates.
    #[test]
    fn alerts_and_dashboards_show_every_metric_and_no_other() {
        let root = run::workspace();
        let exported = Exported::read(&root).unwrap();
        let chart = root.join("charts/tsutsumi");
        let mut texts = vec![read(&chart.join("templates/prometheusrule.yaml")).unwrap()];
        for entry in fs::read_dir(chart.join("files/dashboards")).unwrap() {
            texts.push(read(&entry.unwrap().path()).unwrap());
        }
        assert!(texts.len() > 2, "a dashboard is missing");
        let shown: BTreeSet<&str> = texts.iter().flat_map(|text| of_ours(text)).collect();
        let unknown: Vec<_> = shown.iter().filter(|name| !exported.holds(name)).collect();
        assert_eq!(unknown, Vec::<&&str>::new(), "nothing exports these");
        assert_eq!(
            exported.unseen(&shown),
            Vec::<&str>::new(),
            "no alert and no dashboard shows these"
        );
    }

    #[test]
    fn rows_are_read_and_a_histogram_is_seen_by_any_of_its_samples() {
        let page = "| metric | type |\n| `tsutsumi_a_total` | counter | x |\n| `tsutsumi_b_seconds` | histogram | y |\n\
                    | `TsutsumiA` | fires |\n| `--flag` | `tsutsumi_c` |\n";
        let exported = Exported::of(page);
        assert!(exported.holds("tsutsumi_a_total") && exported.holds("tsutsumi_b_seconds_bucket"));
        for other in ["tsutsumi_a", "tsutsumi_b_seconds", "tsutsumi_c"] {
            assert!(!exported.holds(other), "{other}");
        }
        let expression =
            "histogram_quantile(0.5, rate(tsutsumi_b_seconds_bucket{x=\"y\"}[5m])) > tsutsumi_other";
        let shown: BTreeSet<_> = of_ours(expression).collect();
        assert_eq!(
            shown,
            BTreeSet::from(["tsutsumi_b_seconds_bucket", "tsutsumi_other"])
        );
        assert_eq!(exported.unseen(&shown), ["tsutsumi_a_total"]);
    }
}
