//! What is read prints and reads as the same again, so no leaf breaks out of its line or quotes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsutsumi_providers::unbound::parse::parse;

fuzz_target!(|text: &str| {
    let Ok(config) = parse(text) else { return };
    assert_eq!(parse(&config.to_string()), Ok(config));
});
