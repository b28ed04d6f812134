//! The hardened profile: few wishes in, a whole `unbound.conf` out.
//!
//! It runs as any user in a container whose root is read-only: nothing is written but below
//! [`Profile::run_directory`]. [`table::SERVER`] is the only place where an option gets its value.

pub mod table;

use super::anchors::DsRecord;
use super::config::{Clause, ClauseKind, Config, Key, Setting, Text, Value, Zone};
use super::parse::{self, ParseError};
use crate::coredns::bufsize::MessageBytes;
use crate::coredns::nsid::Nsid;
use ipnet::IpNet;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU8, NonZeroU32};
use tsutsumi_model::{DomainName, Endpoint, Port};

/// The name of the control socket in [`Profile::run_directory`].
pub const CONTROL_SOCKET: &str = "control.sock";

/// What is wished.
#[derive(Clone, Debug)]
pub struct Profile {
    /// Who may ask: the pods of CoreDNS.
    pub clients: Vec<IpNet>,
    /// Longest UDP message in both directions.
    pub max_message_bytes: MessageBytes,
    /// How strictly signatures are checked.
    pub validation: Validation,
    /// Zones asked at their own servers.
    pub stubs: Vec<Stub>,
    /// Zones asked at other resolvers.
    pub forwards: Vec<Forward>,
    /// Zones whose answers may hold private addresses.
    pub private_domains: Vec<DomainName>,
    /// Which text this is.
    pub identity: Nsid,
    /// DNS over TLS for the hop from CoreDNS.
    pub tls: Option<Tls>,
    /// File of authorities for upstreams over TLS.
    pub authorities: Option<Text>,
    /// Ports that no query may come from, beside our own.
    pub avoid_ports: Vec<Port>,
    /// Queries per second to one zone; absent is no limit.
    pub zone_rate_limit: Option<NonZeroU32>,
    /// Address families of the cluster.
    pub families: Families,
    /// Plain DNS; usually 5353.
    pub dns_port: Port,
    /// DNS over TLS; usually 8853.
    pub tls_port: Port,
    /// Threads, one for each core.
    pub threads: NonZeroU8,
    /// Holds `root.key` and `named.root`.
    pub config_directory: Text,
    /// May be written: an `emptyDir`.
    pub run_directory: Text,
    /// Servers on loopback may be asked: only where tests put them.
    pub loopback_servers: bool,
}

/// How strictly signatures are checked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Validation {
    /// Always, whatever the client says.
    Required,
    /// Unless the client switches it off (CD).
    WhenSigned,
    /// Never.
    Off,
}

/// Which address families are used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Families {
    /// IPv4 alone.
    V4,
    /// IPv6 alone.
    V6,
    /// Both.
    Both,
}

/// A zone asked at its own servers.
#[derive(Clone, Debug)]
pub struct Stub {
    /// Which.
    pub zone: DomainName,
    /// Where.
    pub servers: Vec<Endpoint>,
    /// Its key; without one it is not validated.
    pub trust_anchor: Option<DsRecord>,
}

/// A zone asked at other resolvers.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Which; the root for everything.
    pub zone: Zone,
    /// Where.
    pub servers: Vec<Endpoint>,
    /// Over TLS, with this name in the certificate.
    pub tls_name: Option<DomainName>,
}

/// Files of a certificate.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The chain, PEM.
    pub certificate: Text,
    /// The key, PEM.
    pub key: Text,
}

/// The text did not say what was meant.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// It cannot be read back.
    #[error("reading back the printed configuration")]
    Parse(#[from] ParseError),
    /// It reads as something else.
    #[error("the printed configuration reads as another one")]
    Differs,
}

impl Profile {
    /// The tree.
    #[must_use]
    pub fn config(&self) -> Config {
        let set = |key, value| Setting { key, value };
        let server = table::SERVER.iter();
        let server = server.flat_map(|row| (row.values)(self).into_iter().map(|value| set(row.key, value)));
        let mut clauses = vec![Clause {
            kind: ClauseKind::Server,
            settings: server.collect(),
        }];
        let socket = path(&self.run_directory, &format!("/{CONTROL_SOCKET}"));
        let mut control = vec![set(Key::ControlEnable, Value::YesNo(true))];
        control.extend(socket.into_iter().map(|value| set(Key::ControlInterface, value)));
        control.push(set(Key::ControlUseCert, Value::YesNo(false)));
        clauses.push(Clause {
            kind: ClauseKind::Control,
            settings: control,
        });
        for stub in &self.stubs {
            let mut settings = vec![set(Key::StubName, Value::Zone(stub.zone.clone().into()))];
            settings.extend(
                stub.servers
                    .iter()
                    .map(|at| set(Key::StubAddr, Value::Server(*at, None))),
            );
            clauses.push(Clause {
                kind: ClauseKind::Stub,
                settings,
            });
        }
        for forward in &self.forwards {
            let mut settings = vec![set(Key::ForwardName, Value::Zone(forward.zone.clone()))];
            let server = |at: &Endpoint| set(Key::ForwardAddr, Value::Server(*at, forward.tls_name.clone()));
            settings.extend(forward.servers.iter().map(server));
            settings.push(set(Key::ForwardTls, Value::YesNo(forward.tls_name.is_some())));
            clauses.push(Clause {
                kind: ClauseKind::Forward,
                settings,
            });
        }
        Config { clauses }
    }

    /// The file, once it has been read back as the same tree.
    pub fn render(&self) -> Result<String, RenderError> {
        let config = self.config();
        let text = config.to_string();
        if parse::parse(&text)? == config {
            Ok(text)
        } else {
            Err(RenderError::Differs)
        }
    }

    fn validates(&self) -> bool {
        self.validation != Validation::Off
    }

    fn with_tls(&self, value: impl Fn(&Tls) -> Value) -> Vec<Value> {
        self.tls.iter().map(value).collect()
    }

    fn interfaces(&self) -> Vec<Value> {
        let mut ports = vec![self.dns_port];
        ports.extend(self.tls.as_ref().map(|_| self.tls_port));
        let v4 = (self.families != Families::V6).then_some(Ipv4Addr::UNSPECIFIED.into());
        let v6 = (self.families != Families::V4).then_some(Ipv6Addr::UNSPECIFIED.into());
        let at = |address| {
            ports
                .iter()
                .map(move |port| Value::Server(Endpoint { address, port: *port }, None))
        };
        v4.into_iter().chain(v6).flat_map(at).collect()
    }

    fn access(&self) -> Vec<Value> {
        let everybody = ["0.0.0.0/0", "::/0"]
            .into_iter()
            .filter_map(|net| net.parse().ok());
        let refused = everybody.map(|net| Value::Access(net, false));
        refused
            .chain(self.clients.iter().map(|net| Value::Access(*net, true)))
            .collect()
    }

    fn avoided(&self) -> Vec<Value> {
        let ports = [self.dns_port, self.tls_port]
            .into_iter()
            .chain(self.avoid_ports.iter().copied());
        ports.map(|port| Value::Ports(port.get(), port.get())).collect()
    }

    fn carried(&self) -> impl Iterator<Item = Zone> {
        let forwards = self.forwards.iter().map(|forward| forward.zone.clone());
        self.stubs
            .iter()
            .map(|stub| stub.zone.clone().into())
            .chain(forwards.filter(|zone| *zone != Zone::ROOT))
    }

    fn anchors(&self) -> Vec<Value> {
        let stubs = self.stubs.iter().filter(|_| self.validates());
        stubs
            .filter_map(|stub| stub.trust_anchor.clone())
            .map(Value::Anchor)
            .collect()
    }

    fn unsigned(&self) -> Vec<Value> {
        let stubs = self
            .stubs
            .iter()
            .filter(|stub| self.validates() && stub.trust_anchor.is_none());
        stubs.map(|stub| Value::Zone(stub.zone.clone().into())).collect()
    }
}

fn yes_no(value: bool) -> Vec<Value> {
    vec![Value::YesNo(value)]
}

fn number(value: u64) -> Vec<Value> {
    vec![Value::Number(value)]
}

fn text(text: &str) -> Vec<Value> {
    text.parse().map(Value::Text).into_iter().collect()
}

fn path(folder: &Text, file: &str) -> Vec<Value> {
    text(&format!("{folder}{file}"))
}

fn private() -> Vec<Value> {
    let nets = [
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "169.254.0.0/16",
        "fd00::/8",
        "fe80::/10",
    ];
    nets.iter()
        .filter_map(|net| net.parse().ok())
        .map(Value::Net)
        .collect()
}
