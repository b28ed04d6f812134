//! The documents speak of files and tests that are there: a link leads to a file, and a test that is said to hold
//! something exists under that name; metrics, alerts and the environment are listed as the code has them. Documents
//! that nobody checks go stale without a word.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::run;

/// Documents at the top; the others are found below `docs`.
const TOP: [&str; 5] = [
    "README.md",
    "ARCHITECTURE.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "CHANGELOG.md",
];

#[test]
fn every_test_and_file_that_the_documents_name_is_there() {
    let root = run::workspace();
    let mut faults = Vec::new();
    for page in pages(&root) {
        let text = fs::read_to_string(&page).unwrap();
        let folder = page.parent().unwrap_or(&root);
        let missing_links = links(&text).filter(|link| !folder.join(link).exists());
        let missing_tests = spans(&text).filter(|span| !is_there(&root, span));
        let shown = page.strip_prefix(&root).unwrap_or(&page).display();
        faults.extend(
            missing_links
                .chain(missing_tests)
                .map(|what| format!("{shown}: `{what}` is not there")),
        );
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn what_is_missing_is_found() {
    let text = "see [a](no/such.md#part), [b](https://example.org) and `operator/x.rs::gone`";
    assert_eq!(links(text).collect::<Vec<_>>(), ["no/such.md"]);
    let root = run::workspace();
    let gone: Vec<_> = spans(text).filter(|span| !is_there(&root, span)).collect();
    assert_eq!(gone, ["operator/x.rs::gone"]);
    assert!(!is_there(&root, "operator/xtask/src/docs.rs::no_such_test"));
    assert!(is_there(
        &root,
        "operator/xtask/src/docs.rs::what_is_missing_is_found"
    ));
}

#[test]
fn every_metric_has_its_line() {
    let source = read("operator/controller/src/runtime/metrics.rs");
    let registered: BTreeSet<&str> = source
        .split("ours.")
        .skip(1)
        .filter_map(|call| call.split('"').nth(1))
        .collect();
    let page = read("docs/reference/metrics.md");
    let listed: BTreeSet<&str> = first_cells(&page)
        .filter_map(|cell| cell.strip_prefix("tsutsumi_"))
        .map(|name| {
            // What the text format appends for counters, units and information.
            let ends = ["_total", "_seconds", "_info"];
            ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
        })
        .collect();
    assert!(registered.len() > 10, "{registered:?}");
    assert_eq!(listed, registered, "docs/reference/metrics.md");
}

#[test]
fn every_alert_has_its_line() {
    let source = read("charts/tsutsumi/templates/prometheusrule.yaml");
    let alerts: BTreeSet<&str> = source
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    let page = read("docs/reference/metrics.md");
    let listed: BTreeSet<&str> = first_cells(&page)
        .filter(|cell| cell.starts_with("Tsutsumi"))
        .collect();
    assert_eq!(listed, alerts, "docs/reference/metrics.md");
}

#[test]
fn every_variable_of_the_environment_has_its_line() {
    let source = [
        read("operator/controller/src/runtime/args.rs"),
        read("operator/controller/src/runtime/args/managed_resolver.rs"),
    ]
    .concat();
    let taken: BTreeSet<&str> = source
        .split("env = \"")
        .skip(1)
        .filter_map(|rest| rest.split('"').next())
        .collect();
    let page = read("docs/reference/environment.md");
    let (ours, _) = page.split_once("## Ports").unwrap();
    let listed: BTreeSet<&str> = spans(ours)
        .filter(|span| span.contains('_') && span.chars().all(|c| c == '_' || c.is_ascii_uppercase()))
        .collect();
    assert!(taken.len() > 10, "{taken:?}");
    assert_eq!(listed, taken, "docs/reference/environment.md");
}

fn read(path: &str) -> String {
    fs::read_to_string(run::workspace().join(path)).unwrap()
}

/// What stands in backticks at the beginning of a table's lines.
fn first_cells(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
}

fn pages(root: &Path) -> Vec<PathBuf> {
    let mut pages: Vec<_> = TOP.iter().map(|page| root.join(page)).collect();
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages
}

/// Where the page's links lead within the checkout, without the part behind `#`.
fn links(text: &str) -> impl Iterator<Item = &str> {
    text.split("](").skip(1).filter_map(|rest| {
        let target = rest.split(')').next()?.split('#').next()?;
        let elsewhere = target.is_empty() || target.contains("://");
        (!elsewhere).then_some(target)
    })
}

/// What stands between backticks.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A span that names a path of the checkout, or a test as `path.rs::name`, names one that exists.
fn is_there(root: &Path, span: &str) -> bool {
    let known = ["operator/", "e2e/", "docs/", "charts/", "crds/"];
    if span.contains(|c: char| c.is_whitespace() || "<*{…[".contains(c))
        || !known.iter().any(|folder| span.starts_with(folder))
    {
        return true;
    }
    match span.split_once("::") {
        Some((file, name)) => {
            fs::read_to_string(root.join(file)).is_ok_and(|source| source.contains(&format!("fn {name}(")))
        }
        None => root.join(span).exists(),
    }
}
