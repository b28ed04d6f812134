//! `acl [ZONES...] { ACTION [type QTYPE...] [net SOURCE...] }`: who is answered.
//!
//! Rules are tried in order and the first that fits decides; where none fits, the query passes
//! (`plugin/acl/acl.go`). Words that depend on the environment, and IPv4-mapped ranges, leave a rule uncertain:
//! it may then fit anything and can be relied upon for nothing.

use super::addresses::AddressSet;
use super::corefile::{Block, Directive, Dispenser, Token};
use ipnet::IpNet;
use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

/// What happens to a query that a rule fits.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Action {
    /// The query passes, and no later rule is tried.
    Allow,
    /// REFUSED.
    Block,
    /// No answer.
    Drop,
    /// An empty NOERROR.
    Filter,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "allow",
            Self::Block => "block",
            Self::Drop => "drop",
            Self::Filter => "filter",
        })
    }
}

/// Query types that a rule fits.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Types {
    /// Every type.
    All,
    /// Only these, in upper case.
    Only(BTreeSet<String>),
}

impl Types {
    /// Whether the type is among them.
    #[must_use]
    pub fn contain(&self, query_type: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(types) => types.contains(query_type),
        }
    }
}

/// One line of an `acl`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// What happens.
    pub action: Action,
    /// To queries of which types.
    pub types: Types,
    /// From which addresses; `None` for every address.
    pub nets: Option<Vec<IpNet>>,
    /// Whether all words were understood; if not, types and addresses may be more or fewer.
    pub certain: bool,
}

impl Policy {
    /// The addresses that the rule may fit.
    #[must_use]
    pub fn addresses(&self) -> AddressSet {
        match &self.nets {
            Some(nets) if self.certain => AddressSet::of(nets),
            _ => AddressSet::all(),
        }
    }
}

/// As it is written into a Corefile.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.action.fmt(f)?;
        if let Types::Only(types) = &self.types {
            f.write_str(" type")?;
            types.iter().try_for_each(|name| write!(f, " {name}"))?;
        }
        if let Some(nets) = &self.nets {
            f.write_str(" net")?;
            nets.iter().try_for_each(|net| write!(f, " {net}"))?;
        }
        Ok(())
    }
}

/// One `acl` directive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// Names under which it applies, in lower case with a final dot; empty for all that the block serves.
    pub zones: Vec<String>,
    /// Its lines.
    pub policies: Vec<Policy>,
}

impl Rule {
    /// Whether it surely applies to every name.
    #[must_use]
    pub fn covers_block(&self) -> bool {
        self.zones.is_empty() || self.zones.iter().any(|zone| zone == ".")
    }

    fn applies_to(&self, name: &str) -> bool {
        self.zones.is_empty() || self.zones.iter().any(|zone| is_under(name, zone))
    }
}

/// What happens to a query.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Decision {
    /// It passes.
    Passed,
    /// It is refused, dropped or filtered; never [`Action::Allow`].
    Denied(Action),
}

/// What the plugin would not accept.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct AclError {
    /// Line in its own file.
    pub line: usize,
    /// What was found and what was expected.
    pub what: String,
}

/// The rules of the block, in order.
pub fn of(block: &Block) -> Result<Vec<Rule>, AclError> {
    read(Dispenser::of(block, "acl"))
}

/// The rules of some of a block's directives, in order.
pub fn of_directives<'a>(directives: impl IntoIterator<Item = &'a Directive>) -> Result<Vec<Rule>, AclError> {
    let acls = directives.into_iter().filter(|directive| directive.name == "acl");
    read(Dispenser::over(acls.flat_map(|directive| &directive.tokens)))
}

/// What the rules do with a query for `name`.
#[must_use]
pub fn decide(rules: &[Rule], name: &str, address: IpAddr, query_type: &str) -> Decision {
    for rule in rules.iter().filter(|rule| rule.applies_to(name)) {
        let fits =
            |policy: &&Policy| policy.types.contain(query_type) && policy.addresses().contains(address);
        match rule.policies.iter().find(fits).map(|policy| policy.action) {
            None => {}
            Some(Action::Allow) => return Decision::Passed,
            Some(denial) => return Decision::Denied(denial),
        }
    }
    Decision::Passed
}

fn read(mut words: Dispenser<'_>) -> Result<Vec<Rule>, AclError> {
    let mut rules = Vec::new();
    while words.step().is_some() {
        let zones = words
            .remaining_args()
            .iter()
            .map(|zone| normal_zone(&zone.text))
            .collect();
        let mut policies = Vec::new();
        while let Some(action) = words.step_block() {
            policies.push(policy(action, &words.remaining_args())?);
        }
        rules.push(Rule { zones, policies });
    }
    Ok(rules)
}

fn policy(word: &Token, args: &[&Token]) -> Result<Policy, AclError> {
    let mut certain = !word.is_unknown();
    let action = match word.text.to_lowercase().as_str() {
        "allow" => Action::Allow,
        "block" => Action::Block,
        "filter" => Action::Filter,
        "drop" => Action::Drop,
        // Whatever the environment says: taken for the least strict.
        _ if word.is_unknown() => Action::Allow,
        _ => return Err(refuse(word, "`allow`, `block`, `filter` or `drop`")),
    };
    let (mut types, mut nets) = (None, None);
    let mut args = args.iter().peekable();
    while let Some(section) = args.next() {
        let mut values = Vec::new();
        while let Some(value) = args.next_if(|word| !is_section(&word.text)) {
            values.push(*value);
        }
        if section.is_unknown() || values.iter().any(|value| value.is_unknown()) {
            certain = false;
            continue;
        }
        if !is_section(&section.text) || values.is_empty() {
            return Err(refuse(section, "`type` or `net`, followed by values"));
        }
        let star = values.iter().position(|value| value.text == "*");
        values.truncate(star.unwrap_or(values.len()));
        if section.text.eq_ignore_ascii_case("type") {
            add_types(
                types.get_or_insert_with(|| Types::Only(BTreeSet::new())),
                &values,
                star.is_some(),
            )?;
        } else {
            certain &= add_nets(
                nets.get_or_insert_with(|| Some(Vec::new())),
                &values,
                star.is_some(),
            )?;
        }
    }
    Ok(Policy {
        action,
        types: types.unwrap_or(Types::All),
        nets: nets.unwrap_or_default(),
        certain,
    })
}

fn add_types(types: &mut Types, values: &[&Token], star: bool) -> Result<(), AclError> {
    for value in values {
        let shaped = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-';
        match types {
            // `None` is the name of type 0, which the plugin uses for "every type".
            _ if value.text == "None" => *types = Types::All,
            _ if value.text != "Reserved" && !value.text.chars().all(shaped) => {
                return Err(refuse(value, "a query type in upper case"));
            }
            Types::Only(only) => {
                only.insert(value.text.clone());
            }
            Types::All => {}
        }
    }
    if star {
        *types = Types::All;
    }
    Ok(())
}

/// Returns whether every range was understood.
fn add_nets(nets: &mut Option<Vec<IpNet>>, values: &[&Token], star: bool) -> Result<bool, AclError> {
    let mut certain = true;
    for value in values {
        let net = parse_net(&value.text).ok_or_else(|| refuse(value, "an address or a CIDR range"))?;
        certain &= !matches!(net, IpNet::V6(net) if net.addr().to_ipv4_mapped().is_some());
        if let Some(nets) = nets {
            nets.push(net);
        }
    }
    if star {
        *nets = None;
    }
    Ok(certain)
}

/// `net.ParseCIDR` after the plugin's own completion of single addresses.
fn parse_net(text: &str) -> Option<IpNet> {
    let (address, length) = text
        .split_once('/')
        .map_or((text, None), |(address, length)| (address, Some(length)));
    let address: IpAddr = address.parse().ok()?;
    let length = match length {
        None => {
            if address.is_ipv4() {
                32
            } else {
                128
            }
        }
        Some(digits) if digits.chars().all(|c| c.is_ascii_digit()) => digits.parse().ok()?,
        Some(_) => return None,
    };
    IpNet::new(address, length).ok().map(|net| net.trunc())
}

fn is_section(word: &str) -> bool {
    word.eq_ignore_ascii_case("type") || word.eq_ignore_ascii_case("net")
}

fn normal_zone(zone: &str) -> String {
    let zone = zone.to_lowercase();
    if zone.ends_with('.') { zone } else { zone + "." }
}

fn is_under(name: &str, zone: &str) -> bool {
    let name = normal_zone(name);
    zone == "." || name == zone || name.strip_suffix(zone).is_some_and(|rest| rest.ends_with('.'))
}

fn refuse(word: &Token, expected: &str) -> AclError {
    AclError {
        line: word.line,
        what: format!("`acl` has {:?} where {expected} is expected", word.text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coredns::corefile::Corefile;

    fn rules(body: &str) -> Result<Vec<Rule>, AclError> {
        of(&Corefile::parse(&format!(". {{\n{body}\n}}\n")).unwrap().blocks()[0])
    }

    #[test]
    fn first_match_decides() {
        let rules =
            rules("acl {\nfilter type ANY net 10.0.0.0/8\nallow net 10.0.0.0/8 ::1\nblock\n}").unwrap();
        let decide = |address: &str, kind| decide(&rules, "a.b.", address.parse().unwrap(), kind);
        assert_eq!(decide("10.1.1.1", "A"), Decision::Passed);
        assert_eq!(decide("10.1.1.1", "ANY"), Decision::Denied(Action::Filter));
        assert_eq!(decide("::1", "ANY"), Decision::Passed);
        assert_eq!(decide("11.1.1.1", "A"), Decision::Denied(Action::Block));
    }

    #[test]
    fn zones_and_later_rules() {
        let rules = rules("acl Example.ORG {\ndrop net *\n}\nacl {\nblock type A\n}").unwrap();
        let decide = |name, kind| decide(&rules, name, "1.1.1.1".parse().unwrap(), kind);
        assert_eq!(decide("x.example.org.", "AAAA"), Decision::Denied(Action::Drop));
        assert_eq!(decide("xexample.org.", "AAAA"), Decision::Passed);
        assert_eq!(decide("xexample.org.", "A"), Decision::Denied(Action::Block));
    }

    #[test]
    fn refused_and_uncertain() {
        for bad in [
            "permit",
            "allow net",
            "allow 10.0.0.0/8",
            "allow net 10.0.0.0/33",
            "allow type any",
            "allow net 10.0.0.0/8 }",
        ] {
            assert!(rules(&format!("acl {{\n{bad}\n}}")).is_err(), "{bad}");
        }
        let certain = |line: &str| rules(&format!("acl {{\n{line}\n}}")).unwrap()[0].policies[0].certain;
        assert!(!certain("block net {$NET}"));
        assert!(!certain("block net ::ffff:10.0.0.0/104"));
        assert!(certain("block type A AAAA net 10.0.0.1 type TXT"));
    }
}
