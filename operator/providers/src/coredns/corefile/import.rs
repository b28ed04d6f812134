//! What `import` brings: snippets of the same file, files that the caller supplies, or the unknown.

use super::lexer::lex;
use super::tree::Token;
use std::collections::BTreeMap;
use std::rc::Rc;

/// What CoreDNS would find around the Corefile.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// Importable files. A key with a `/` is an absolute path; any other is a file name, as in a ConfigMap's
    /// data, and fits whatever directory the pattern names.
    pub files: BTreeMap<String, String>,
    /// Environment of the process; `None` leaves references as they are written.
    pub env: Option<BTreeMap<String, String>>,
    /// Whether `files` holds all there is: then a pattern that fits nothing brings nothing, as in CoreDNS, and
    /// a plain name that fits nothing is an error. Otherwise it is opaque.
    pub complete: bool,
}

impl Surroundings {
    /// Only these files are known.
    #[must_use]
    pub fn with_files(files: BTreeMap<String, String>) -> Self {
        Self {
            files,
            ..Self::default()
        }
    }

    /// Words of every file that fits, sorted by name as `filepath.Glob` does; `None` if no file is known.
    pub(super) fn find(&self, pattern: &str) -> Option<Vec<Token>> {
        let name_pattern = pattern.rsplit('/').next().unwrap_or(pattern);
        let mut found = None;
        for (name, text) in &self.files {
            let fits = if name.contains('/') {
                matches(pattern, name)
            } else {
                matches(name_pattern, name)
            };
            if fits {
                let file: Rc<str> = if name.contains('/') {
                    Rc::from(name.as_str())
                } else {
                    Rc::from(format!(
                        "{}{name}",
                        &pattern[..pattern.len() - name_pattern.len()]
                    ))
                };
                let words = lex(text).into_iter().map(|word| Token {
                    text: word.text,
                    line: word.line,
                    file: Some(Rc::clone(&file)),
                    lexeme: None,
                    snippet: None,
                });
                found.get_or_insert_with(Vec::new).extend(words);
            }
        }
        found
    }
}

/// Whether CoreDNS refuses the pattern because it has more than one wildcard.
pub(super) fn has_too_many_wildcards(pattern: &str) -> bool {
    let count = |wildcard: char| pattern.matches(wildcard).count();
    count('*') > 1 || count('?') > 1 || (pattern.contains('[') && pattern.contains(']'))
}

/// Whether `filepath.Glob` refuses the pattern: a bracket that is not closed, or nothing behind a backslash.
pub(super) fn is_malformed(pattern: &str) -> bool {
    let mut chars = pattern.chars();
    while let Some(c) = chars.next() {
        if c == '[' || (c == '\\' && chars.next().is_none()) {
            return true;
        }
    }
    false
}

/// `filepath.Match` for patterns with at most one `*` and one `?`; neither fits a `/`.
fn matches(pattern: &str, name: &str) -> bool {
    let Some(p) = pattern.chars().next() else {
        return name.is_empty();
    };
    let rest = &pattern[p.len_utf8()..];
    if p == '\\' {
        let Some(literal) = rest.chars().next() else {
            return false;
        };
        return name
            .strip_prefix(literal)
            .is_some_and(|name| matches(&rest[literal.len_utf8()..], name));
    }
    if p == '*' {
        return name
            .char_indices()
            .map(|(at, _)| at)
            .chain([name.len()])
            .take_while(|at| !name[..*at].contains('/'))
            .any(|at| matches(rest, &name[at..]));
    }
    match name.chars().next() {
        Some(n) if n == p || (p == '?' && n != '/') => matches(rest, &name[n.len_utf8()..]),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_star() {
        assert!(matches(
            "/etc/coredns/custom/*.override",
            "/etc/coredns/custom/a.override"
        ));
        assert!(!matches(
            "/etc/coredns/custom/*.override",
            "/etc/coredns/custom/b/a.override"
        ));
        assert!(!matches("*.override", "a.server"));
        assert!(matches("a?c*", "abcdef"));
        assert!(matches("*", ""));
        assert!(matches("a\\*", "a*") && !matches("a\\*", "ab"));
        assert!(is_malformed("a[b") && is_malformed("a\\") && !is_malformed("a\\[b"));
    }
}
