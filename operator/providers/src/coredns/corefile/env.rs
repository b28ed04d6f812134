//! `{%NAME%}` and `{$NAME}`: `replaceEnvVars` of `parse.go`.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Replaces references by their values; a name that is not set is empty. Without an environment nothing is known
/// and the references stay.
pub(super) fn replace<'a>(text: &'a str, env: Option<&BTreeMap<String, String>>) -> Cow<'a, str> {
    match env {
        Some(env) if refers(text) => Cow::Owned(replace_between(
            &replace_between(text, "{%", "%}", env),
            "{$",
            "}",
            env,
        )),
        _ => Cow::Borrowed(text),
    }
}

/// Whether the text may depend on the environment.
pub(super) fn refers(text: &str) -> bool {
    text.contains("{%") || text.contains("{$")
}

/// Values that contain references are expanded again, as upstream does; a chain longer than this is taken for a
/// cycle, which upstream would follow for ever.
const MAX_REPLACEMENTS: usize = 1000;

fn replace_between(text: &str, open: &str, close: &str, env: &BTreeMap<String, String>) -> String {
    let mut text = text.to_owned();
    for _ in 0..MAX_REPLACEMENTS {
        let Some(start) = text.find(open) else { break };
        let Some(length) = text[start..].find(close) else {
            break;
        };
        if length <= open.len() {
            break;
        }
        let end = start + length;
        let name = &text[start + open.len()..end];
        let value = env.get(name).map_or("", String::as_str);
        let reference = text[start..end + close.len()].to_owned();
        text = text.replace(&reference, value);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_syntaxes() {
        let env = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
        assert_eq!(replace("x{$A}y{%A%}{$B}", Some(&env)), "x1y1");
        assert_eq!(replace("{$}{$A}", Some(&env)), "{$}{$A}");
        assert_eq!(replace("{%A", Some(&env)), "{%A");
        assert_eq!(replace("{$A}", None), "{$A}");
    }
}
