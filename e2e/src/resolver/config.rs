//! Configurations of the user's resolvers: what the rig needs, what the habits say, and what the how-to says of the probe
//! zone, word for word but for the address and the key.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{FEW_PORTS, Habits, Program, Zone, put, root_server};
use crate::rig::Rig;

/// The page that users follow.
const HOW_TO: &str = include_str!("../../../docs/how-to/own-resolver.md");
/// What stands there for the zone's address, and for its key.
const ADDRESS: &str = "192.0.2.7";
const TAG: &str = "12345";
const DIGEST: &str = "0F1E2D3C4B5A69780F1E2D3C4B5A69780F1E2D3C4B5A69780F1E2D3C4B5A6978";
/// Those of a resolver that asks from few.
const FIRST_PORT: u16 = 5301;
const LAST_PORT: u16 = FIRST_PORT + FEW_PORTS - 1;

/// Where a resolver stands.
pub(super) struct Setting<'a> {
    pub(super) rig: &'a Rig,
    pub(super) folder: &'a Path,
    pub(super) listen: SocketAddr,
}

/// Writes the files of a configuration and returns the main one.
pub(super) fn write(
    program: Program,
    habits: Habits,
    zone: Option<&Zone>,
    setting: &Setting<'_>,
) -> Result<PathBuf> {
    let hints = format!(
        ". 3600 IN NS a.root.town.\na.root.town. 3600 IN A {}\n",
        root_server(setting.rig)
    );
    put(setting.folder, "hints", &hints)?;
    let root_key = setting.rig.root("root.key")?;
    let (_, anchor) = root_key.trim().split_once("DS ").context("the root's key")?;
    let of_zone = zone
        .map(|zone| steps(program, zone))
        .transpose()?
        .unwrap_or_default();
    let (name, text) = match program {
        Program::Bind => ("named.conf", bind(habits, setting, anchor) + &of_zone),
        Program::Knot => ("kresd.conf", knot(habits, setting, anchor, &of_zone)),
        Program::PowerDns => ("recursor.yml", powerdns(habits, setting, anchor, &of_zone)?),
        Program::Unbound => ("unbound.conf", unbound(habits, setting) + &of_zone),
    };
    put(setting.folder, name, &text)
}

/// The text between the marks of the how-to's n-th block below a heading that begins like this.
pub(super) fn fence(heading: &str, number: usize) -> Result<&'static str> {
    let (_, below) = HOW_TO
        .split_once(&format!("\n{heading}"))
        .with_context(|| format!("the how-to has no `{heading}`"))?;
    let text = below
        .split("\n```")
        .nth(2 * number + 1)
        .context("a block of it")?;
    let (_, text) = text.split_once('\n').context("a block has lines")?;
    Ok(text)
}

/// The networks that the how-to goes on to serve beside the resolver's.
pub(super) fn private_networks() -> Result<Vec<Value>> {
    let values: Value = serde_saphyr::from_str(fence("## 1.", 1)?)?;
    let sources = values["probeZone"]["sources"].as_array().context("the sources")?;
    let (_, private) = sources.split_last().context("the last is the resolver's")?;
    Ok(private.to_vec())
}

/// What the how-to says for a program, about this zone.
fn steps(program: Program, zone: &Zone) -> Result<String> {
    let (tag, digest) = &zone.anchor;
    let (address, port) = (zone.server.ip(), zone.server.port());
    let mut text = format!("\n{}\n", fence(&format!("### {}", program.name()), 0)?);
    for mark in ["@", " port ", ":"] {
        text = text.replace(&format!("{ADDRESS}{mark}53"), &format!("{address}{mark}{port}"));
    }
    Ok(text.replace(TAG, tag).replace(DIGEST, digest))
}

fn unbound(habits: Habits, setting: &Setting<'_>) -> String {
    let Setting { folder, listen, .. } = setting;
    let module = if habits.validates {
        "validator iterator"
    } else {
        "iterator"
    };
    let ports = if habits.random_ports {
        String::new()
    } else {
        format!("    outgoing-port-avoid: 0-65535\n    outgoing-port-permit: {FIRST_PORT}-{LAST_PORT}\n")
    };
    format!(
        "server:\n    directory: \"{folder}\"\n    chroot: \"\"\n    username: \"\"\n    pidfile: \"\"\n    use-syslog: no\n    \
         num-threads: 1\n    do-ip6: no\n    interface: {address}@{port}\n    access-control: 0.0.0.0/0 allow\n    \
         root-hints: hints\n    trust-anchor-file: root.key\n    module-config: \"{module}\"\n    \
         edns-buffer-size: {edns}\n    max-udp-size: {edns}\n{ports}remote-control:\n    control-enable: no\n",
        folder = folder.display(),
        address = listen.ip(),
        port = listen.port(),
        edns = habits.edns,
    )
}

fn bind(habits: Habits, setting: &Setting<'_>, anchor: &str) -> String {
    let Setting { folder, listen, .. } = setting;
    let port = if habits.random_ports {
        String::new()
    } else {
        format!("    use-v4-udp-ports {{ range {FIRST_PORT} {LAST_PORT}; }};\n")
    };
    let (key, digest) = anchor.rsplit_once(' ').unwrap_or((anchor, ""));
    format!(
        "options {{\n    directory \"{folder}\";\n    pid-file none;\n    listen-on port {listen_port} {{ {address}; }};\n    \
         listen-on-v6 {{ none; }};\n    recursion yes;\n    allow-query {{ any; }};\n    allow-recursion {{ any; }};\n    \
         dnssec-validation {validation};\n    edns-udp-size {edns};\n    max-udp-size {edns};\n{port}}};\ncontrols {{ }};\n\
         zone \".\" {{ type hint; file \"hints\"; }};\ntrust-anchors {{ \".\" static-ds {key} \"{digest}\"; }};\n",
        folder = folder.display(),
        address = listen.ip(),
        listen_port = listen.port(),
        validation = if habits.validates { "yes" } else { "no" },
        edns = habits.edns,
    )
}

fn knot(habits: Habits, setting: &Setting<'_>, anchor: &str, of_zone: &str) -> String {
    let Setting { rig, listen, .. } = setting;
    let trusts = |line: &&str| habits.validates || !line.starts_with("trust_anchors.add");
    let own = format!("trust_anchors.add('. DS {anchor}')");
    let lines: Vec<&str> = std::iter::once(own.as_str())
        .chain(of_zone.lines())
        .filter(trusts)
        .collect();
    format!(
        "net.listen('{address}', {port}, {{ kind = 'dns' }})\nnet.ipv6 = false\nnet.bufsize({edns}, {edns})\n\
         cache.size = 10 * MB\nmodules = {{ 'hints > iterate' }}\nmodules.unload('ta_update')\n\
         modules.unload('ta_signal_query')\nhints.root({{ ['a.root.town.'] = '{root}' }})\ntrust_anchors.remove('.')\n{lines}\n",
        address = listen.ip(),
        port = listen.port(),
        edns = habits.edns,
        root = root_server(rig),
        lines = lines.join("\n"),
    )
}

fn powerdns(habits: Habits, setting: &Setting<'_>, anchor: &str, of_zone: &str) -> Result<String> {
    let Setting { folder, listen, .. } = setting;
    let mut config = json!({
        "incoming": {
            "listen": [listen],
            "allow_from": ["0.0.0.0/0"],
            "udp_truncation_threshold": habits.edns,
        },
        "outgoing": {
            "edns_bufsize": habits.edns,
            // The addresses of the rig are those of documentation, which it would not ask.
            "dont_query": [],
        },
        "dnssec": {
            "validation": if habits.validates { "validate" } else { "off" },
            "trustanchors": [{"name": ".", "dsrecords": [anchor]}],
        },
        "recursor": {
            "hint_file": folder.join("hints"),
            "socket_dir": folder,
            "security_poll_suffix": "",
            "threads": 1,
        },
    });
    if !habits.random_ports {
        // What `single_socket` does not do.
        config["outgoing"]["udp_source_port_min"] = FIRST_PORT.into();
        config["outgoing"]["udp_source_port_max"] = LAST_PORT.into();
    }
    let of_zone: Value = serde_saphyr::from_str(of_zone)?;
    merge(&mut config, of_zone);
    // JSON is YAML.
    Ok(config.to_string())
}

/// Adds the other's keys, and its elements to lists.
fn merge(into: &mut Value, other: Value) {
    match (into, other) {
        (Value::Object(into), Value::Object(other)) => {
            for (key, value) in other {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (Value::Array(into), Value::Array(other)) => into.extend(other),
        (into, other) => *into = other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_how_to_is_followed_with_the_zone_s_own_address_and_key() {
        let zone = Zone {
            server: "192.0.2.99:30153".parse().unwrap(),
            anchor: ("77".into(), "AB".repeat(32)),
        };
        for program in Program::ALL {
            let text = steps(program, &zone).unwrap();
            let name = program.name();
            assert!(
                text.contains("192.0.2.99") && text.contains("30153"),
                "{name}: {text}"
            );
            assert!(
                text.contains("77 13 2") && text.contains(&zone.anchor.1),
                "{name}: {text}"
            );
            assert!(!text.contains(ADDRESS) && !text.contains(TAG), "{name}: {text}");
        }
        assert_eq!(private_networks().unwrap().len(), 5);
    }

    #[test]
    fn lists_grow_and_keys_are_added() {
        let mut into = json!({"a": {"b": [1]}, "c": 1});
        merge(&mut into, json!({"a": {"b": [2], "d": 3}}));
        assert_eq!(into, json!({"a": {"b": [1, 2], "d": 3}, "c": 1}));
    }
}
