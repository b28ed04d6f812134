//! The corpus, judged here; `against_coredns` has the same files judged by CoreDNS.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use proptest::prelude::*;
use std::path::Path;
use tsutsumi_providers::coredns::corefile::{Corefile, Surroundings};

fn each(directory: &str, check: impl Fn(&str, &str)) {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("testdata/corpus")
        .join(directory);
    let mut count = 0;
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "corefile") {
            check(
                &path.display().to_string(),
                &std::fs::read_to_string(&path).unwrap(),
            );
            count += 1;
        }
    }
    assert!(count >= 20, "only {count} files were found");
}

#[test]
fn accepted_files_print_as_they_were_read() {
    each("accepts", |path, text| match Corefile::parse(text) {
        Ok(tree) => assert_eq!(tree.print(), text, "{path}"),
        Err(error) => panic!("{path}: {error}"),
    });
}

#[test]
fn rejected_files_name_a_line() {
    let complete = Surroundings {
        env: Some(std::collections::BTreeMap::new()),
        complete: true,
        ..Surroundings::default()
    };
    each("rejects", |path, text| {
        match Corefile::parse_with(text, &complete) {
            Ok(_) => panic!("{path} was accepted"),
            Err(error) => assert!(error.line > 0, "{path}: {error}"),
        }
    });
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_accepted_prints_as_it_was_read(
        text in "(\\.|[a#\\\\\"{} \r\n\t,]|\\(a\\)|import a|\\{\\$X\\}|\u{feff}|\u{3000}){0,40}",
    ) {
        if let Ok(tree) = Corefile::parse(&text) {
            prop_assert_eq!(tree.print(), text);
        }
    }
}
