//! The root servers (RFC 9609: hints only find the root; priming then asks it).
//!
//! [`NAMED_ROOT`] is IANA's file without its comments. A user's file is read strictly, since a wrong address here is
//! a resolver that never starts.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use tsutsumi_model::DomainName;

/// IANA's `named.root` of 2024-04-18; its last change of an address was `b.root` in 2023.
pub const NAMED_ROOT: &str = include_str!("named.root");

/// Of which day it is.
pub const NAMED_ROOT_DATE: &str = "2024-04-18";

/// Longest file that is read, in bytes; IANA's has 3,300.
const MAX_BYTES: usize = 64 * 1024;

/// Each root server and its addresses.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Hints(BTreeMap<DomainName, BTreeSet<IpAddr>>);

/// What one line says that it must not.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {value:?}: {right}")]
pub struct HintsError {
    /// From 1; 0 speaks of the whole file.
    pub line: usize,
    /// What stands there.
    pub value: String,
    /// What would be right.
    pub right: &'static str,
}

/// Where two sets differ, seen from the first.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Difference {
    /// Servers that only the second has.
    pub missing: Vec<DomainName>,
    /// Servers that only the first has.
    pub extra: Vec<DomainName>,
    /// Servers that both have, with other addresses.
    pub differing: Vec<DomainName>,
}

impl Hints {
    /// Reads a zone file that holds `NS`, `A` and `AAAA` records of the root, one in a line.
    pub fn parse(text: &str) -> Result<Self, HintsError> {
        let whole = |value: &str, right| HintsError {
            line: 0,
            value: value.to_owned(),
            right,
        };
        if text.len() > MAX_BYTES {
            return Err(whole("", "a hints file has at most 64 KiB"));
        }
        let mut named = BTreeSet::new();
        let mut servers: BTreeMap<DomainName, BTreeSet<IpAddr>> = BTreeMap::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |value: &str, right| HintsError {
                line: index + 1,
                value: shortened(value),
                right,
            };
            let content = line.split(';').next().unwrap_or_default();
            let words: Vec<&str> = content.split_ascii_whitespace().collect();
            let Some((&owner, mut rest)) = words.split_first() else {
                continue;
            };
            if let Some((ttl, after)) = rest.split_first()
                && ttl.bytes().all(|byte| byte.is_ascii_digit())
            {
                ttl.parse::<u32>()
                    .map_err(|_| wrong(ttl, "a TTL has at most 32 bits"))?;
                rest = after;
            }
            if let Some((class, after)) = rest.split_first()
                && class.eq_ignore_ascii_case("IN")
            {
                rest = after;
            }
            let [kind, data] = rest else {
                return Err(wrong(line, "a line is `OWNER [TTL] [IN] TYPE DATA`"));
            };
            let name = |text: &str| {
                text.parse()
                    .map_err(|_| wrong(text, "a host name is needed here"))
            };
            match kind.to_ascii_uppercase().as_str() {
                "NS" if owner == "." => {
                    named.insert(name(data)?);
                }
                "NS" => return Err(wrong(owner, "only servers of the root, `.`, belong here")),
                kind @ ("A" | "AAAA") => {
                    let address = data
                        .parse()
                        .ok()
                        .filter(|ip: &IpAddr| ip.is_ipv4() == (kind == "A"));
                    let right = if kind == "A" {
                        "an IPv4 address is needed here"
                    } else {
                        "an IPv6 address is needed here"
                    };
                    let address = address.ok_or_else(|| wrong(data, right))?;
                    if address.is_unspecified() || address.is_multicast() {
                        return Err(wrong(data, "the address of one host is needed here"));
                    }
                    servers.entry(name(owner)?).or_default().insert(address);
                }
                _ => return Err(wrong(kind, "the type must be NS, A or AAAA")),
            }
        }
        if named.is_empty() {
            return Err(whole("", "at least one line `. NS SERVER` is needed"));
        }
        if let Some(bare) = named.iter().find(|name| !servers.contains_key(*name)) {
            return Err(whole(bare.as_str(), "this server needs an A or AAAA line"));
        }
        if let Some(stray) = servers.keys().find(|name| !named.contains(*name)) {
            return Err(whole(stray.as_str(), "this server needs a line `. NS SERVER`"));
        }
        Ok(Self(servers))
    }

    /// Each server with its addresses, in order of name.
    pub fn servers(&self) -> impl Iterator<Item = (&DomainName, &BTreeSet<IpAddr>)> {
        self.0.iter()
    }

    /// Whether it names servers of the Internet's root and nobody else.
    #[must_use]
    pub fn is_internet(&self) -> bool {
        Self::parse(NAMED_ROOT).is_ok_and(|bundled| self.0.keys().all(|name| bundled.0.contains_key(name)))
    }

    /// Where this set differs from `reference`.
    #[must_use]
    pub fn difference(&self, reference: &Self) -> Difference {
        let only = |one: &Self, other: &Self| {
            one.0
                .keys()
                .filter(|name| !other.0.contains_key(*name))
                .cloned()
                .collect()
        };
        let differs = |(name, addresses): (&DomainName, &BTreeSet<IpAddr>)| {
            reference
                .0
                .get(name)
                .is_some_and(|other| other != addresses)
                .then(|| name.clone())
        };
        Difference {
            missing: only(reference, self),
            extra: only(self, reference),
            differing: self.0.iter().filter_map(differs).collect(),
        }
    }
}

/// As a zone file; [`Hints::parse`] reads it back.
impl fmt::Display for Hints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, addresses) in &self.0 {
            writeln!(f, ". 3600000 IN NS {name}.")?;
            for address in addresses {
                let kind = if address.is_ipv4() { "A" } else { "AAAA" };
                writeln!(f, "{name}. 3600000 IN {kind} {address}")?;
            }
        }
        Ok(())
    }
}

fn shortened(value: &str) -> String {
    value.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_set_is_thirteen_servers_with_the_new_address_of_b() {
        let hints = Hints::parse(NAMED_ROOT).unwrap();
        assert_eq!(hints.servers().count(), 13);
        assert!(hints.servers().all(|(_, addresses)| addresses.len() == 2));
        let b = &hints.0[&"b.root-servers.net".parse().unwrap()];
        let addresses: Vec<String> = b.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["170.247.170.2", "2801:1b8:10::b"]);
    }

    #[test]
    fn what_is_printed_is_read_back_and_the_internet_s_root_is_told_from_others() {
        let bundled = Hints::parse(NAMED_ROOT).unwrap();
        assert_eq!(Hints::parse(&bundled.to_string()).unwrap(), bundled);
        assert!(bundled.is_internet());
        let own = Hints::parse(". NS a.root.town.\na.root.town. A 192.0.2.1\n").unwrap();
        assert_eq!(
            own.to_string(),
            ". 3600000 IN NS a.root.town.\na.root.town. 3600000 IN A 192.0.2.1\n"
        );
        assert!(!own.is_internet());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, line, value) in [
            ("", 0, ""),
            (". NS a.test.\n", 0, "a.test"),
            (
                ". NS a.test.\na.test. A 1.2.3.4\nb.test. A 1.2.3.4\n",
                0,
                "b.test",
            ),
            ("; x\n. 1 IN NS a.test.\na.test. A 1.2.3\n", 3, "1.2.3"),
            ("a.test. AAAA 1.2.3.4", 1, "1.2.3.4"),
            ("test. NS a.test.", 1, "test."),
            (". MX a.test.", 1, "MX"),
            (". 99999999999 NS a.test.", 1, "99999999999"),
            ("a.test. A 0.0.0.0", 1, "0.0.0.0"),
            (". NS", 1, ". NS"),
        ] {
            let error = Hints::parse(text).unwrap_err();
            assert_eq!(
                (error.line, error.value.as_str()),
                (line, value),
                "{text:?}: {error}"
            );
        }
    }

    #[test]
    fn differences_are_told_apart() {
        let bundled = Hints::parse(NAMED_ROOT).unwrap();
        let old = NAMED_ROOT
            .replace("170.247.170.2", "199.9.14.201")
            .replace("M.ROOT", "Z.ROOT");
        let names = |list: &[DomainName]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
        let found = Hints::parse(&old).unwrap().difference(&bundled);
        assert_eq!(names(&found.missing), "m.root-servers.net");
        assert_eq!(names(&found.extra), "z.root-servers.net");
        assert_eq!(names(&found.differing), "b.root-servers.net");
        assert_eq!(bundled.difference(&bundled), Difference::default());
    }
}
