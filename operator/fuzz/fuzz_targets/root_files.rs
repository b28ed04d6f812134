//! Files of a user never panic, and an error names a line that is there.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsutsumi_providers::unbound::{anchors, hints::Hints};

fuzz_target!(|text: &str| {
    match Hints::parse(text) {
        Ok(hints) => assert_eq!(hints.difference(&hints), Default::default()),
        Err(error) => assert!(error.line <= text.lines().count()),
    }
    if let Err(error) = anchors::parse_root(text, 0) {
        assert!(error.line <= text.lines().count());
    }
});
