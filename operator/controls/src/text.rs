//! Sentences for the status: bounded, sorted, and counted rather than cut where a list is long.

use std::collections::BTreeSet;

/// The longest `expected`, in characters, as the status bounds it.
pub const EXPECTED_MAX: usize = 512;
/// The longest `observed`, in characters.
pub const OBSERVED_MAX: usize = 1024;
/// The longest `message`, in characters.
pub const MESSAGE_MAX: usize = 2048;

/// How many items a list shows before it counts the rest.
const SHOWN: usize = 6;

/// The text, cut to so many characters with `…` as the last one.
#[must_use]
pub fn bounded(text: &str, max: usize) -> String {
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some(_) => text.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
    }
}

/// The first items of a sorted list, then how many more there are.
pub(crate) fn listed(items: &BTreeSet<String>) -> String {
    let mut text = items
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join("; ");
    if items.len() > SHOWN {
        text = format!("{text}; and {} more", items.len() - SHOWN);
    }
    text
}

/// `1 pod`, `2 pods`.
pub(crate) fn counted(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cutting_keeps_whole_characters_and_counts_them() {
        assert_eq!(bounded("堤防", 2), "堤防");
        assert_eq!(bounded("堤防です", 3), "堤防…");
        assert_eq!(bounded("", 3), "");
        assert_eq!(
            bounded(&"あ".repeat(2000), OBSERVED_MAX).chars().count(),
            OBSERVED_MAX
        );
    }

    #[test]
    fn long_lists_are_counted() {
        let items: BTreeSet<String> = (0..9).map(|n| n.to_string()).collect();
        assert_eq!(listed(&items), "0; 1; 2; 3; 4; 5; and 3 more");
        assert_eq!(listed(&BTreeSet::new()), "");
    }
}
