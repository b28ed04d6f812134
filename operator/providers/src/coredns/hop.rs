//! A `forward` of the root to one server over TLS, whose certificate has a name that is verified.
//!
//! `forward . tls://ADDRESS:PORT { tls_servername NAME; tls FILE }`: CoreDNS reads FILE, the authorities, when it loads
//! the text and never again (`plugin/forward/setup.go`), and does not start without it.

use super::corefile::{Block, Corefile};
use super::forward::Forward;
use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use tsutsumi_model::{DomainName, Endpoint};

/// Who is asked, and by what the server is known.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Encrypted {
    /// Where it is asked.
    pub server: Endpoint,
    /// The name in its certificate.
    pub name: DomainName,
    /// Where CoreDNS finds the authorities that may sign it, PEM.
    pub authorities: FilePath,
}

/// The absolute path of a file: letters, digits and `/._-`, at most 255 of them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FilePath(String);

/// The text is no path that may stand in a Corefile.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is no absolute path of letters, digits and `/._-`, at most 255 of them")]
pub struct NotPath(String);

impl FromStr for FilePath {
    type Err = NotPath;

    fn from_str(text: &str) -> Result<Self, NotPath> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
        if text.starts_with('/') && text.len() <= 255 && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotPath(text.to_owned()))
        }
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FilePath {
    /// The file's name, if it lies right in this folder.
    #[must_use]
    pub fn within(&self, folder: &str) -> Option<&str> {
        let name = self.0.strip_prefix(folder)?.strip_prefix('/')?;
        (!name.is_empty() && !name.contains('/')).then_some(name)
    }
}

impl Encrypted {
    /// The options of its `forward`, in order.
    pub(crate) fn options(&self) -> [String; 2] {
        [
            format!("tls_servername {}", self.name),
            format!("tls {}", self.authorities),
        ]
    }

    /// Reads a `forward`; none unless it has exactly one server, over TLS, with a name and authorities.
    pub(crate) fn of(forward: &Forward<'_>) -> Option<Self> {
        let [server] = forward.to.as_slice() else {
            return None;
        };
        let one = |option| match forward.value(option)?.as_slice() {
            [value] => Some(*value),
            _ => None,
        };
        let server: SocketAddr = server.strip_prefix("tls://")?.parse().ok()?;
        Some(Self {
            server: Endpoint::of(server.ip(), server.port().into())?,
            name: one("tls_servername")?.parse().ok()?,
            authorities: one("tls")?.parse().ok()?,
        })
    }
}

/// The first `forward` of the text that asks over TLS with authorities from a file right in this folder.
#[must_use]
pub fn encrypted_with(text: &str, folder: &str) -> Option<Encrypted> {
    let tree = Corefile::parse(text).ok()?;
    let forwards = tree.blocks().iter().flat_map(Block::directives);
    forwards
        .filter_map(Forward::of)
        .filter_map(|forward| Encrypted::of(&forward))
        .find(|encrypted| encrypted.authorities.within(folder).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_could_say_more_is_refused() {
        for path in ["/etc/ca/0a.crt", "/a_b-c.d"] {
            assert_eq!(
                path.parse::<FilePath>().map(|it| it.to_string()).as_deref(),
                Ok(path)
            );
        }
        for path in [
            "",
            "ca.crt",
            "/a b",
            "/a\n}",
            "/a{$B}",
            "/a\"",
            &format!("/{}", "a".repeat(255)),
        ] {
            assert!(path.parse::<FilePath>().is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_hop_is_read_from_the_text_that_has_it() {
        let text = |to: &str, file: &str| {
            format!(
                ".:53 {{\n forward a.test 192.0.2.9\n forward . {to} {{\n  tls_servername r.test\n  tls {file}\n }}\n}}\n"
            )
        };
        let found = encrypted_with(&text("tls://192.0.2.1:853", "/etc/ca/0a.crt"), "/etc/ca").unwrap();
        assert_eq!(found.server.to_string(), "192.0.2.1:853");
        assert_eq!(found.name.as_str(), "r.test");
        assert_eq!(found.authorities.within("/etc/ca"), Some("0a.crt"));
        for (to, file) in [
            ("192.0.2.1:53", "/etc/ca/0a.crt"),
            ("tls://192.0.2.1:853", "/etc/other/0a.crt"),
            ("tls://192.0.2.1:853", "/etc/ca/deeper/0a.crt"),
            ("tls://192.0.2.1:853 tls://192.0.2.2:853", "/etc/ca/0a.crt"),
        ] {
            assert_eq!(encrypted_with(&text(to, file), "/etc/ca"), None, "{to} {file}");
        }
        assert_eq!(encrypted_with("not a {{ Corefile", "/etc/ca"), None);
    }
}
