//! The arguments of every subcommand, checked where they are read.
//!
//! A value becomes its type here or the process does not start; the message names the flag, the value and a right
//! form. Peers are given as addresses, never as names: cluster DNS may be the thing that is broken.

mod managed_resolver;

use std::{
    collections::BTreeSet,
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
    time::Duration,
};

use axum::http::uri::PathAndQuery;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum, error::ErrorKind};
use ipnet::IpNet;
use tsutsumi_engine::managed::hop::AUTHORITY;
use tsutsumi_exporter::SocketPath;
use tsutsumi_model::{DomainName, Endpoint, Port, Vantage};
use tsutsumi_zone::Apex;

use super::outside_zone::OutsideProbeZone;
use managed_resolver::ManagedResolverArgs;

/// tsutsumi enforces DNS policy and proves by live probes that it holds.
#[derive(Debug, Parser)]
#[command(name = "tsutsumi", version)]
pub(crate) struct Args {
    /// How to log.
    #[command(flatten)]
    pub(crate) log: LogArgs,
    /// Which part to run.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How to log.
#[derive(Debug, clap::Args)]
pub(crate) struct LogArgs {
    /// One JSON object a line, or text for a person.
    #[arg(
        long = "log-format",
        env = "TSUTSUMI_LOG_FORMAT",
        default_value = "json",
        global = true
    )]
    pub(crate) format: LogFormat,
    /// What to log: a level, or levels by target, for example `info,kube=warn`.
    #[arg(long = "log", env = "TSUTSUMI_LOG", default_value = "info", global = true)]
    pub(crate) filter: String,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for a person.
    Plain,
}

/// The parts that run.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Watch policies and keep them true.
    Controller(Box<ControllerArgs>),
    /// Answer the controller's probes from where this process stands.
    Prober(ProberArgs),
    /// Serve the signed zone that records how resolvers ask.
    ProbeZone(ProbeZoneArgs),
    /// Ask Unbound's control socket and serve its numbers to Prometheus.
    UnboundMetrics(UnboundMetricsArgs),
    /// Ask another part over HTTP until it answers 200.
    Healthcheck(HealthcheckArgs),
    /// Stop the controller and let every policy go, before an uninstall.
    Release(ReleaseArgs),
}

/// The arguments of `tsutsumi controller`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ControllerArgs {
    /// Our own namespace.
    #[arg(long, env = "POD_NAMESPACE", value_parser = label)]
    pub(crate) namespace: String,
    /// The name of our own pod; it holds the lease under this name.
    #[arg(long, env = "POD_NAME", value_parser = object_name)]
    pub(crate) pod_name: String,
    /// The Lease in our namespace that decides who writes.
    #[arg(long, env = "TSUTSUMI_LEASE_NAME", default_value = "tsutsumi", value_parser = object_name)]
    pub(crate) lease_name: String,
    /// Where metrics, health and diagnostics are served.
    #[arg(long, env = "TSUTSUMI_ADMIN_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT",
          value_parser = listen_address)]
    pub(crate) admin_address: SocketAddr,
    /// The port on which the probers inside the cluster listen; their addresses come from their pods.
    #[arg(long, env = "TSUTSUMI_PROBER_PORT", default_value = "8443", value_parser = port)]
    pub(crate) prober_port: Port,
    /// A namespace whose workloads and Services may be the cluster's DNS; repeat for several.
    #[arg(long = "target-namespace", env = "TSUTSUMI_TARGET_NAMESPACES", value_name = "NAMESPACE",
          value_delimiter = ',', default_value = "kube-system", value_parser = label)]
    pub(crate) target_namespaces: Vec<String>,
    /// A ConfigMap that may be read there, and written where the chart grants it; repeat for several.
    #[arg(
        long = "config-map",
        env = "TSUTSUMI_CONFIG_MAPS",
        value_name = "NAMESPACE/NAME",
        value_delimiter = ',',
        default_value = "kube-system/coredns"
    )]
    pub(crate) config_maps: Vec<ConfigMapName>,
    /// A namespace in which a NetworkPolicy of ours may close ways around cluster DNS; repeat for several.
    #[arg(long = "close-namespace", env = "TSUTSUMI_CLOSE_NAMESPACES", value_name = "NAMESPACE",
          value_delimiter = ',', value_parser = label)]
    pub(crate) close_namespaces: Vec<String>,
    /// Treat every policy as if it said `mode: Audit`; set where the chart grants no right to write.
    #[arg(long, env = "TSUTSUMI_AUDIT_ONLY")]
    pub(crate) audit_only: bool,
    /// A prober outside the cluster; repeat for several.
    #[arg(
        long = "outside-vantage",
        env = "TSUTSUMI_OUTSIDE_VANTAGES",
        value_name = "NAME=ADDRESS:PORT",
        value_delimiter = ','
    )]
    pub(crate) outside_vantages: Vec<OutsideVantage>,
    /// The service account under which canary pods run.
    #[arg(long, env = "TSUTSUMI_CANARY_SERVICE_ACCOUNT", default_value = "tsutsumi-canary",
          value_parser = object_name)]
    pub(crate) canary_service_account: String,
    /// The zone of the probe zone that runs beside us; absent where none does.
    #[arg(long, env = "TSUTSUMI_PROBE_ZONE")]
    pub(crate) probe_zone: Option<DomainName>,
    /// A probe zone outside: its name, its address, where it answers on port 53, and its control port.
    #[arg(long, env = "TSUTSUMI_OUTSIDE_ZONE", value_name = "NAME=ADDRESS:PORT")]
    pub(crate) outside_zone: Option<OutsideProbeZone>,
    /// How managed resolvers run.
    #[command(flatten)]
    pub(crate) managed_resolver: ManagedResolverArgs,
    /// The cluster's DNS domain.
    #[arg(long, env = "TSUTSUMI_CLUSTER_DOMAIN", default_value = "cluster.local")]
    pub(crate) cluster_domain: DomainName,
}

/// The arguments of `tsutsumi prober`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProberArgs {
    /// Where the controller may ask, over mutual TLS.
    #[arg(long, env = "TSUTSUMI_PROBER_LISTEN", default_value = "0.0.0.0:8443", value_name = "ADDRESS:PORT",
          value_parser = listen_address)]
    pub(crate) listen: SocketAddr,
    /// Where metrics and health are served.
    #[arg(long, env = "TSUTSUMI_ADMIN_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT",
          value_parser = listen_address)]
    pub(crate) admin_address: SocketAddr,
    /// The directory that holds `ca.crt`, `tls.crt` and `tls.key`.
    #[arg(long, env = "TSUTSUMI_TLS_DIR", default_value = "/etc/tsutsumi/tls")]
    pub(crate) tls_dir: PathBuf,
    /// From where this prober sees: `inside` the cluster, or `outside` it.
    #[arg(long, env = "TSUTSUMI_VANTAGE", value_parser = vantage)]
    pub(crate) vantage: Vantage,
    /// Where CoreDNS tells over dnstap which names it is asked, while the controller wants to know; absent: nowhere.
    #[arg(long, env = "TSUTSUMI_NAMES_ADDRESS", value_name = "ADDRESS:PORT", value_parser = listen_address)]
    pub(crate) names_address: Option<SocketAddr>,
}

/// The arguments of `tsutsumi probe-zone`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ProbeZoneArgs {
    /// Where resolvers may ask, over UDP and TCP.
    #[arg(long, env = "TSUTSUMI_ZONE_LISTEN", default_value = "0.0.0.0:5353", value_name = "ADDRESS:PORT",
          value_parser = listen_address)]
    pub(crate) listen: SocketAddr,
    /// Where the controller may ask what arrived, over mutual TLS.
    #[arg(long, env = "TSUTSUMI_ZONE_CONTROL", default_value = "0.0.0.0:8443", value_name = "ADDRESS:PORT",
          value_parser = listen_address)]
    pub(crate) control: SocketAddr,
    /// Where health is served.
    #[arg(long, env = "TSUTSUMI_ADMIN_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT",
          value_parser = listen_address)]
    pub(crate) admin_address: SocketAddr,
    /// The directory that holds `ca.crt`, `tls.crt` and `tls.key`.
    #[arg(long, env = "TSUTSUMI_TLS_DIR", default_value = "/etc/tsutsumi/tls")]
    pub(crate) tls_dir: PathBuf,
    /// The directory that holds `mark.key` and `zone.key`.
    #[arg(long, env = "TSUTSUMI_KEY_DIR", default_value = "/etc/tsutsumi/keys")]
    pub(crate) key_dir: PathBuf,
    /// The name of the zone.
    #[arg(long, env = "TSUTSUMI_ZONE", default_value = "probe.tsutsumi.test")]
    pub(crate) zone: Apex,
    /// A network whose resolvers are answered; repeat for several. Whoever else asks gets no answer.
    #[arg(long = "allow", env = "TSUTSUMI_ZONE_ALLOW", value_name = "NETWORK", value_delimiter = ',',
          required = true, value_parser = network)]
    pub(crate) allow: Vec<IpNet>,
}

/// The arguments of `tsutsumi unbound-metrics`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UnboundMetricsArgs {
    /// Unbound's control socket.
    #[arg(
        long,
        env = "TSUTSUMI_UNBOUND_SOCKET",
        default_value = "/var/run/unbound/control.sock",
        value_name = "PATH"
    )]
    pub(crate) socket: SocketPath,
    /// Where metrics and health are served.
    #[arg(long, env = "TSUTSUMI_ADMIN_ADDRESS", default_value = "0.0.0.0:8080", value_name = "ADDRESS:PORT",
          value_parser = listen_address)]
    pub(crate) admin_address: SocketAddr,
}

/// The arguments of `tsutsumi healthcheck`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HealthcheckArgs {
    /// The IP address to ask.
    #[arg(long, value_parser = address)]
    pub(crate) address: IpAddr,
    /// The port to ask.
    #[arg(long, default_value = "8080", value_parser = port)]
    pub(crate) port: Port,
    /// What to ask for.
    #[arg(long, default_value = "/readyz", value_parser = path)]
    pub(crate) path: PathAndQuery,
    /// How long to go on asking, in seconds, for example `60s`.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = seconds)]
    pub(crate) wait: Duration,
}

/// The arguments of `tsutsumi release`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ReleaseArgs {
    /// Our own namespace.
    #[arg(long, env = "POD_NAMESPACE", value_parser = label)]
    pub(crate) namespace: String,
    /// The controller's Deployment there.
    #[arg(long, value_parser = object_name)]
    pub(crate) deployment: String,
}

/// A ConfigMap, by namespace and name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct ConfigMapName {
    /// Its namespace.
    pub(crate) namespace: String,
    /// Its name.
    pub(crate) name: String,
}

impl ControllerArgs {
    /// The namespaces of CoreDNS where the authorities for the hop to a managed resolver may be written.
    pub(crate) fn hops(&self) -> Vec<&str> {
        let maps = self.config_maps.iter().filter(|map| map.name == AUTHORITY);
        maps.filter(|_| !self.audit_only)
            .map(|map| map.namespace.as_str())
            .collect()
    }
}

impl FromStr for ConfigMapName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (namespace, name) = text
            .split_once('/')
            .ok_or("write NAMESPACE/NAME, for example `kube-system/coredns`")?;
        Ok(Self {
            namespace: label(namespace)?,
            name: object_name(name)?,
        })
    }
}

/// A prober outside the cluster, by the name under which it is reported.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct OutsideVantage {
    /// The name.
    pub(crate) name: String,
    /// Where it listens.
    pub(crate) endpoint: Endpoint,
}

impl fmt::Display for OutsideVantage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.endpoint)
    }
}

impl FromStr for OutsideVantage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let right = "write NAME=ADDRESS:PORT with an IP address, for example `office=192.0.2.7:8443`";
        let (name, address) = text.split_once('=').ok_or_else(|| right.to_owned())?;
        let name = label(name)?;
        let address: SocketAddr = address.parse().map_err(|_| right.to_owned())?;
        let port = Port::new(address.port()).ok_or_else(|| format!("port 0 is no port: {right}"))?;
        let address = address.ip();
        Ok(Self {
            name,
            endpoint: Endpoint { address, port },
        })
    }
}

impl Args {
    /// The rules that span several values; what breaks one ends the process like any other bad argument.
    pub(crate) fn checked(self) -> Self {
        match self.problem() {
            Some(problem) => Self::command().error(ErrorKind::ValueValidation, problem).exit(),
            None => self,
        }
    }

    fn problem(&self) -> Option<String> {
        let Command::Controller(controller) = &self.command else {
            return None;
        };
        let zone = controller.outside_zone.as_ref();
        let zone = zone.and_then(|zone| zone.problem(controller.probe_zone.as_ref()));
        let mut names = BTreeSet::new();
        let mut vantages = controller.outside_vantages.iter();
        let twice = vantages.find(|vantage| !names.insert(&vantage.name));
        let twice = twice.map(|twice| {
            format!(
                "invalid value '{twice}' for '--outside-vantage': the name `{}` is used twice; give each its own",
                twice.name
            )
        });
        zone.or(twice)
    }
}

/// A label of RFC 1123, as namespaces have it.
fn label(text: &str) -> Result<String, String> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-');
    fits.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`{text}` must be 1 to 63 lower-case letters, digits and hyphens, for example `tsutsumi-system`"
        )
    })
}

/// The name of an object: labels of RFC 1123 joined by dots.
fn object_name(text: &str) -> Result<String, String> {
    let fits = text.len() <= 253 && text.split('.').all(|part| label(part).is_ok());
    fits.then(|| text.to_owned()).ok_or_else(|| {
        format!(
            "`{text}` must be at most 253 lower-case letters, digits, hyphens and dots, for example `tsutsumi-0`"
        )
    })
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        "write ADDRESS:PORT with an IP address, for example `0.0.0.0:8080` or `[::]:8080`".to_owned()
    })
}

/// One with host bits set is mostly a mistake about its size.
fn network(text: &str) -> Result<IpNet, String> {
    text.parse()
        .ok()
        .filter(|network: &IpNet| network.trunc() == *network)
        .ok_or_else(|| "write ADDRESS/BITS with no bit set behind them, for example `10.0.0.0/8`".to_owned())
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse()
        .map_err(|_| "write an IP address, for example `192.0.2.7`".to_owned())
}

fn path(text: &str) -> Result<PathAndQuery, String> {
    let parsed = text.parse().ok().filter(|_| text.starts_with('/'));
    parsed.ok_or_else(|| "write a path that begins with a slash, for example `/readyz`".to_owned())
}

/// Whole seconds with their unit.
fn seconds(text: &str) -> Result<Duration, String> {
    text.strip_suffix('s')
        .and_then(|number| number.parse().ok())
        .filter(|seconds| (1..=3600).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "write 1 to 3600 seconds, for example `60s`".to_owned())
}

fn port(text: &str) -> Result<Port, String> {
    text.parse()
        .map_err(|_| "write a number from 1 to 65535, for example `8443`".to_owned())
}

fn vantage(text: &str) -> Result<Vantage, String> {
    match text {
        "inside" => Ok(Vantage::Inside),
        "outside" => Ok(Vantage::Outside),
        _ => Err("write `inside` or `outside`".to_owned()),
    }
}

#[cfg(test)]
#[path = "args_tests.rs"]
mod tests;
