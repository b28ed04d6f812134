//! Prints the tables of `docs/concepts/port-randomness.md`: how often the rule accuses honest sources, and how often it
//! finds bad ones. Always the same on any machine. `cargo xtask bench --ports` runs it, optimised, and keeps them.

#[path = "../tests/ports/sources.rs"]
mod sources;
#[path = "../tests/ports/trials.rs"]
mod trials;

use std::fmt::Write as _;
use std::io::Write as _;

use sources::{Expected, SOURCES, Source, What};
use trials::{Count, SIZES, count, count_whole};

/// Samples of each honest source and size.
const HONEST: usize = 300_000;

/// Samples of each bad source and size.
const BAD: usize = 20_000;

fn main() -> std::io::Result<()> {
    let text = format!(
        "### Limits\n\n{}\n### Honest sources\n\n{}\n### Bad sources\n\n{}",
        trials::limits(),
        honest(),
        bad()
    );
    std::io::stdout().write_all(text.as_bytes())
}

fn honest() -> String {
    let mut text = format!(
        "{} samples of each source and size. The upper bound holds with 95 % confidence.\n\n",
        grouped(HONEST)
    );
    text.push_str("| source | n | accused | per 1,000 | upper bound |\n|---|---|---|---|---|\n");
    let mut row = |name: &str, n: usize, count: &Count| {
        let _ = writeln!(
            text,
            "| {name} | {n} | {} | {:.3} | {:.3} |",
            count.accused,
            count.rate() * 1000.0,
            // Upwards, as it is a bound.
            (count.upper_bound() * 1e6).ceil() / 1e3
        );
    };
    for source in SOURCES
        .iter()
        .filter(|source| source.expected == Expected::Honest)
    {
        for n in SIZES {
            row(source.name, n, &count(source, n, HONEST));
        }
    }
    for n in SIZES {
        let name = "a whole measurement: ports inside and after NAT, ids";
        row(name, n, &count_whole(n, HONEST));
    }
    text
}

fn bad() -> String {
    let mut text = format!(
        "{} samples of each source and size: how many of 100 are accused, and of what more than half of those of 256 \
         are.\n\n",
        grouped(BAD)
    );
    text.push_str("| source | 64 | 128 | 256 | accused of |\n|---|---|---|---|---|\n");
    for source in SOURCES
        .iter()
        .filter(|source| source.expected != Expected::Honest)
    {
        let counts = SIZES.map(|n| count(source, n, BAD));
        let shares = counts.each_ref().map(share);
        let [.., largest] = &counts;
        let _ = writeln!(
            text,
            "| {} | {} | {} |",
            source.name,
            shares.join(" | "),
            accusations(source, largest)
        );
    }
    text
}

fn accusations(source: &Source, count: &Count) -> String {
    let often = count
        .by_flaw
        .iter()
        .filter(|(_, times)| **times * 2 > count.trials);
    let names: Vec<_> = often.map(|(flaw, _)| format!("`{flaw}`")).collect();
    match (names.is_empty(), source.what) {
        (false, _) => names.join(", "),
        (true, What::Ports) if count.not_great * 2 > count.trials => "seldom, but `Good` at best".to_owned(),
        (true, _) => "–".to_owned(),
    }
}

/// Rounded down, so that 100 are all.
fn share(count: &Count) -> String {
    let hundredths = count.accused * 10_000 / count.trials;
    match hundredths {
        10_000 => "100".to_owned(),
        _ => format!("{}.{:02}", hundredths / 100, hundredths % 100),
    }
}

fn grouped(count: usize) -> String {
    format!("{},{:03}", count / 1000, count % 1000)
}
