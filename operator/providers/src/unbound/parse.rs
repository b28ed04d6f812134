//! Reads the line format of `unbound.conf` that [`super::config`] prints, one clause or setting in a line.
//!
//! A subset of what Unbound itself reads: no `include`, no two settings in a line. It is stricter on purpose, since
//! it decides whether a printed text says what was meant.

use super::anchors::DsRecord;
use super::config::{Clause, ClauseKind, Config, Form, Key, Setting, Value};
use tsutsumi_model::Endpoint;

/// A line that cannot be read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct ParseError {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// Reads a whole file.
pub fn parse(text: &str) -> Result<Config, ParseError> {
    let mut config = Config::default();
    for (index, line) in text.split('\n').enumerate() {
        read_line(line, &mut config).map_err(|problem| ParseError {
            line: index + 1,
            problem,
        })?;
    }
    Ok(config)
}

fn read_line(line: &str, config: &mut Config) -> Result<(), &'static str> {
    let line = line.trim_matches([' ', '\t']);
    if line.is_empty() || line.starts_with('#') {
        return Ok(());
    }
    let (name, rest) = line.split_once(':').ok_or("a name and a colon are needed")?;
    let words = words(rest)?;
    if words.is_empty() {
        let kind = ClauseKind::ALL.into_iter().find(|kind| kind.name() == name);
        let kind = kind.ok_or("no such clause")?;
        config.clauses.push(Clause {
            kind,
            settings: Vec::new(),
        });
        return Ok(());
    }
    let clause = config.clauses.last_mut().ok_or("a setting outside a clause")?;
    let fits = |key: &&Key| key.name() == name && key.place().0 == clause.kind;
    let key = *Key::ALL
        .iter()
        .find(fits)
        .ok_or("no such setting in this clause")?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let value = value(key.place().1, &words).ok_or("the value has not the form of this setting")?;
    clause.settings.push(Setting { key, value });
    Ok(())
}

fn words(rest: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut rest = rest.trim_start_matches([' ', '\t']);
    while !rest.is_empty() && !rest.starts_with('#') {
        let (word, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').ok_or("a quote is not closed")?,
            None => rest.split_once([' ', '\t']).unwrap_or((rest, "")),
        };
        if word.contains('\r') || (!rest.starts_with('"') && word.contains(['"', '\''])) {
            return Err("a quote or carriage return inside a word");
        }
        words.push(word.to_owned());
        rest = after.trim_start_matches([' ', '\t']);
    }
    Ok(words)
}

fn value(form: Form, words: &[&str]) -> Option<Value> {
    Some(match (form, words) {
        (Form::YesNo, ["yes"]) => Value::YesNo(true),
        (Form::YesNo, ["no"]) => Value::YesNo(false),
        (Form::Number, [number]) => Value::Number(number.parse().ok()?),
        (Form::Ports, [ports]) => {
            let (first, last) = ports.split_once('-')?;
            Value::Ports(first.parse().ok()?, last.parse().ok()?)
        }
        (Form::Net, [net]) => Value::Net(net.parse().ok()?),
        (Form::Access, [net, "allow"]) => Value::Access(net.parse().ok()?, true),
        (Form::Access, [net, "refuse"]) => Value::Access(net.parse().ok()?, false),
        (Form::NetLimit, [net, limit]) => Value::NetLimit(net.parse().ok()?, limit.parse().ok()?),
        (Form::Server, [server]) => {
            let (at, name) = server
                .split_once('#')
                .map_or((*server, None), |(at, name)| (at, Some(name)));
            let (address, port) = at.split_once('@')?;
            let at = Endpoint {
                address: address.parse().ok()?,
                port: port.parse().ok()?,
            };
            Value::Server(at, name.map(str::parse).transpose().ok()?)
        }
        (Form::Zone, [zone]) => Value::Zone(zone.parse().ok()?),
        (Form::Transparent, [zone, "transparent"]) => Value::Transparent(zone.parse().ok()?),
        (Form::Anchor, [ds]) => Value::Anchor(DsRecord::parse(ds)?),
        (Form::Text, [text]) => Value::Text(text.parse().ok()?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unbound::config::Text;
    use proptest::prelude::*;

    fn any_value(form: Form) -> BoxedStrategy<Value> {
        let net = || {
            (any::<[u8; 4]>(), 0..=32_u8).prop_map(|(ip, bits)| ipnet::IpNet::new(ip.into(), bits).unwrap())
        };
        let zone = || {
            prop_oneof![Just(".".to_owned()), "[a-z0-9_-]{1,9}(\\.[a-z0-9]{1,9}){0,3}"]
                .prop_map(|name| name.parse().unwrap())
        };
        match form {
            Form::YesNo => any::<bool>().prop_map(Value::YesNo).boxed(),
            Form::Number => any::<u64>().prop_map(Value::Number).boxed(),
            Form::Ports => any::<(u16, u16)>().prop_map(|(a, b)| Value::Ports(a, b)).boxed(),
            Form::Net => net().prop_map(Value::Net).boxed(),
            Form::Access => (net(), any::<bool>())
                .prop_map(|(net, allow)| Value::Access(net, allow))
                .boxed(),
            Form::NetLimit => (net(), any::<i32>())
                .prop_map(|(net, n)| Value::NetLimit(net, n))
                .boxed(),
            Form::Server => (
                any::<std::net::IpAddr>(),
                1..=u16::MAX,
                proptest::option::of("[a-z]{1,9}"),
            )
                .prop_map(|(address, port, name)| {
                    Value::Server(
                        Endpoint {
                            address,
                            port: port.try_into().unwrap(),
                        },
                        name.map(|name| name.parse().unwrap()),
                    )
                })
                .boxed(),
            Form::Zone => zone().prop_map(Value::Zone).boxed(),
            Form::Transparent => zone().prop_map(Value::Transparent).boxed(),
            Form::Anchor => (zone(), any::<(u16, u8, [u8; 32])>())
                .prop_map(|(zone, (tag, algorithm, digest))| {
                    Value::Anchor(DsRecord {
                        zone,
                        tag,
                        algorithm,
                        digest,
                    })
                })
                .boxed(),
            Form::Text => any::<String>()
                .prop_map(|text| Value::Text(text.parse().unwrap_or_else(|_| Text::default())))
                .boxed(),
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(settings in proptest::collection::vec(
            proptest::sample::select(Key::ALL.to_vec())
                .prop_flat_map(|key| any_value(key.place().1).prop_map(move |value| Setting { key, value })), 0..20))
        {
            let clauses = settings
                .into_iter()
                .map(|setting| Clause { kind: setting.key.place().0, settings: vec![setting] })
                .collect();
            let config = Config { clauses };
            prop_assert_eq!(parse(&config.to_string()), Ok(config));
        }

        #[test]
        fn no_text_breaks_out(text in "(?s).{0,20}") {
            if let Ok(text) = text.parse::<Text>() {
                let setting = Setting { key: Key::Directory, value: Value::Text(text) };
                let config = Config { clauses: vec![Clause { kind: ClauseKind::Server, settings: vec![setting] }] };
                prop_assert_eq!(config.to_string().lines().count(), 2);
                prop_assert_eq!(parse(&config.to_string()), Ok(config));
            }
        }
    }

    #[test]
    fn what_is_not_of_the_format_is_refused() {
        for bad in [
            "prefetch: yes",
            "server:\nprefetch: maybe",
            "server:\nname: a",
            "server:\ndirectory: \"a",
            "x:",
            "include: a",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
