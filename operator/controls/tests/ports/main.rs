//! The rule for ports and ids against simulated sources, honest and bad: a small and fixed part of what `cargo xtask bench
//! --ports` tries.

mod sources;
mod trials;

use sources::{Expected, SOURCES};
use trials::{Count, SIZES, count, count_whole};

/// The page whose tables come from here.
const PAGE: &str = include_str!("../../../../docs/concepts/port-randomness.md");

#[test]
fn honest_sources_are_accused_at_most_once_in_a_thousand_samples() {
    let mut all = Count::default();
    for source in SOURCES
        .iter()
        .filter(|source| source.expected == Expected::Honest)
    {
        for n in SIZES {
            let one = count(source, n, 1000);
            assert_eq!(
                one.not_great, one.accused,
                "{} is great or accused, at {n}",
                source.name
            );
            all.trials += one.trials;
            all.accused += one.accused;
        }
    }
    for n in SIZES {
        let whole = count_whole(n, 500);
        all.trials += whole.trials;
        all.accused += whole.accused;
    }
    assert!(all.trials > 10_000 && all.rate() <= 0.001, "{all:?}");
}

#[test]
fn bad_sources_are_judged_as_their_line_says() {
    let mut faults = Vec::new();
    for source in &SOURCES {
        for n in SIZES {
            let count = || count(source, n, 100);
            let wrong = match source.expected {
                Expected::CaughtFrom(size) if n >= size => count().accused < 99,
                Expected::Partly if n == 256 => !(5..=98).contains(&count().accused),
                Expected::Unseen => count().accused > 1,
                Expected::Honest | Expected::Partly | Expected::CaughtFrom(_) => false,
            };
            if wrong {
                faults.push(format!(
                    "{} at {n}: {:?}, but {:?}",
                    source.name,
                    source.expected,
                    count()
                ));
            }
        }
    }
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn some_sources_are_found_by_one_test_alone() {
    let alone = |name: &str| {
        let source = SOURCES.iter().find(|source| source.name == name).unwrap();
        let count = count(source, 256, 100);
        let often = count.by_flaw.iter().filter(|(_, times)| **times >= 99);
        often.map(|(flaw, _)| flaw.clone()).collect::<Vec<_>>()
    };
    assert_eq!(alone("pool of 100 sockets"), ["FewDistinct"]);
    assert_eq!(alone("stride with jitter of 200"), ["ClusteredStep"]);
    assert_eq!(alone("ids: 15 bits"), ["Uneven"]);
    assert_eq!(alone("counter with gaps, +1 to +5,000"), ["Correlated"]);
}

#[test]
fn the_bound_is_the_known_one() {
    let bound = |accused| {
        let count = Count {
            trials: 1000,
            accused,
            ..Count::default()
        };
        format!("{:.6}", count.upper_bound())
    };
    // The rule of three, and tables of the Poisson law.
    assert_eq!(
        [bound(0), bound(1), bound(10)],
        ["0.002996", "0.004744", "0.016962"]
    );
}

#[test]
fn the_page_shows_the_limits_that_are_in_force() {
    assert!(
        PAGE.contains(&trials::limits()),
        "run `cargo xtask bench --ports`:\n{}",
        trials::limits()
    );
}
