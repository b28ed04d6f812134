//! `forward FROM TO... { OPTION... }`: a typed view of each stanza. An option given twice counts as given last, but for
//! `except`, which adds up.

use super::corefile::{Directive, Line};

/// One `forward` stanza.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Forward<'a> {
    /// The name whose queries are forwarded.
    pub from: &'a str,
    /// The servers asked.
    pub to: Vec<&'a str>,
    /// Whether it has braces.
    pub has_options: bool,
    lines: Vec<Line<'a>>,
}

impl<'a> Forward<'a> {
    /// Reads a directive; `None` if it names no servers.
    #[must_use]
    pub fn of(directive: &'a Directive) -> Option<Self> {
        let mut lines = directive.lines();
        if directive.name != "forward" || lines.is_empty() {
            return None;
        }
        let head = lines.remove(0);
        let mut args = head.words.iter().skip(1).map(|token| token.text.as_str());
        let from = args.next()?;
        let to: Vec<_> = args.collect();
        let has_options = directive.tokens.iter().any(|token| token.text == "{");
        (!to.is_empty()).then_some(Self {
            from,
            to,
            has_options,
            lines,
        })
    }

    /// Whether the option is set.
    #[must_use]
    pub fn has(&self, option: &str) -> bool {
        self.value(option).is_some()
    }

    /// The option's arguments, from where it stands last.
    #[must_use]
    pub fn value(&self, option: &str) -> Option<Vec<&'a str>> {
        let line = self
            .lines
            .iter()
            .rfind(|line| line.words.first().is_some_and(|word| word.text == option))?;
        Some(
            line.words
                .iter()
                .skip(1)
                .map(|token| token.text.as_str())
                .collect(),
        )
    }

    /// The arguments of an option that may be given several times, from everywhere that it stands.
    #[must_use]
    pub fn values(&self, option: &str) -> Vec<&'a str> {
        let lines = self.lines.iter().filter(|line| line.depth == 1);
        let named = lines.filter(|line| line.words.first().is_some_and(|word| word.text == option));
        let words = named.flat_map(|line| line.words.iter().skip(1));
        words.map(|token| token.text.as_str()).collect()
    }

    /// Whether some query leaves over plain UDP, where the source port is a defence.
    #[must_use]
    pub fn uses_udp(&self) -> bool {
        let encrypted = |to: &&str| to.starts_with("tls://") || to.starts_with("https://");
        !self.has("force_tcp") && !self.to.iter().all(encrypted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coredns::corefile::Corefile;

    #[test]
    fn options() {
        let tree = Corefile::parse(
            ". {\n forward . 1.1.1.1 tls://2.2.2.2 {\n  expire 10s\n  expire 0s\n  force_tcp\n }\n}\n",
        )
        .unwrap();
        let forward = Forward::of(&tree.blocks()[0].directives()[0]).unwrap();
        assert_eq!(
            (forward.from, forward.to.as_slice()),
            (".", ["1.1.1.1", "tls://2.2.2.2"].as_slice())
        );
        assert_eq!(forward.value("expire"), Some(vec!["0s"]));
        assert!(forward.has_options && !forward.uses_udp() && !forward.has("max_concurrent"));
    }

    #[test]
    fn exceptions_add_up() {
        let tree = Corefile::parse(
            ". {\n forward . 1.1.1.1 {\n  except a.town\n  expire 0s\n  except b.town 10.0.0.0/8\n }\n}\n",
        )
        .unwrap();
        let forward = Forward::of(&tree.blocks()[0].directives()[0]).unwrap();
        assert_eq!(forward.values("except"), ["a.town", "b.town", "10.0.0.0/8"]);
    }
}
