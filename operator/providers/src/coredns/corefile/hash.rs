//! The SHA-512 that CoreDNS's `reload` logs and exports as `coredns_reload_version_info`.
//!
//! It is taken over Go's `json.Marshal` of the parsed server blocks; line numbers are part of it, so a new comment
//! line changes it.

use super::tree::{Block, Corefile, Import, Token};
use sha2::{Digest, Sha512};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Hash of a Corefile that was parsed with all its imports and its environment, in lower-case hexadecimal.
/// `None` if it imports files that are not known, or by a relative path: absolute paths are part of the hash.
#[must_use]
pub fn config_hash(corefile: &Corefile) -> Option<String> {
    let mut imports = corefile
        .blocks()
        .iter()
        .flat_map(Block::imports)
        .chain(corefile.imports());
    if imports.any(Import::is_opaque) {
        return None;
    }
    let mut tokens = corefile
        .blocks()
        .iter()
        .flat_map(Block::directives)
        .flat_map(|directive| &directive.tokens);
    if tokens.any(|token| token.file.as_ref().is_some_and(|file| !file.starts_with('/'))) {
        return None;
    }
    let mut hash = String::new();
    for byte in Sha512::digest(json(corefile).as_bytes()) {
        let _ = write!(hash, "{byte:02x}");
    }
    Some(hash)
}

fn json(corefile: &Corefile) -> String {
    let blocks = corefile.blocks().iter().map(|block| {
        let mut by_name: BTreeMap<&str, Vec<&Token>> = BTreeMap::new();
        for directive in block.directives() {
            by_name
                .entry(&directive.name)
                .or_default()
                .extend(&directive.tokens);
        }
        let keys: Vec<_> = block.keys().iter().map(|key| quoted(key)).collect();
        let tokens: Vec<_> = by_name
            .iter()
            .map(|(name, tokens)| {
                let tokens: Vec<_> = tokens.iter().map(|token| token_json(token)).collect();
                format!("{}:[{}]", quoted(name), tokens.join(","))
            })
            .collect();
        format!(
            "{{\"Keys\":[{}],\"Tokens\":{{{}}}}}",
            keys.join(","),
            tokens.join(",")
        )
    });
    let blocks: Vec<_> = blocks.collect();
    if blocks.is_empty() {
        "null".to_owned()
    } else {
        format!("[{}]", blocks.join(","))
    }
}

fn token_json(token: &Token) -> String {
    let file = quoted(token.file.as_deref().unwrap_or_default());
    format!(
        "{{\"File\":{file},\"Line\":{},\"Text\":{}}}",
        token.line,
        quoted(&token.text)
    )
}

/// A string as Go's `encoding/json` writes it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' | '\0'..='\u{1f}' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_go_marshals_it() {
        let tree = Corefile::parse(". {\n  whoami\n  log <a>\n  log b\n}\n").unwrap();
        let expected = concat!(
            r#"[{"Keys":["."],"Tokens":{"log":[{"File":"","Line":3,"Text":"log"},"#,
            r#"{"File":"","Line":3,"Text":"\u003ca\u003e"},{"File":"","Line":4,"Text":"log"},"#,
            r#"{"File":"","Line":4,"Text":"b"}],"whoami":[{"File":"","Line":2,"Text":"whoami"}]}}]"#
        );
        assert_eq!(json(&tree), expected);
    }

    #[test]
    fn unknown_files_have_no_hash() {
        assert_eq!(
            config_hash(&Corefile::parse(". {\n import x/*.y\n}\n").unwrap()),
            None
        );
    }
}
