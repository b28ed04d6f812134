//! `unbound.conf` as a typed tree, and its printer.
//!
//! A clause holds settings, a setting is a [`Key`] and a [`Value`]. Every leaf is a number or a checked text, so none
//! can end its line or its quotes. [`super::parse`] reads the same format back without sharing code with the printer.

use super::anchors::DsRecord;
use ipnet::IpNet;
use std::fmt;
use std::str::FromStr;
use tsutsumi_model::{DomainName, Endpoint};

/// The whole file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// In order.
    pub clauses: Vec<Clause>,
}

/// A clause and its settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Clause {
    /// Which.
    pub kind: ClauseKind,
    /// In order.
    pub settings: Vec<Setting>,
}

/// One line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Setting {
    /// What is set.
    pub key: Key,
    /// To what.
    pub value: Value,
}

/// The clauses that are written here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ClauseKind {
    /// `server:`
    Server,
    /// `remote-control:`
    Control,
    /// `stub-zone:`, asked without recursion.
    Stub,
    /// `forward-zone:`, asked with recursion.
    Forward,
}

impl ClauseKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Server, Self::Control, Self::Stub, Self::Forward];

    /// As it is written.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Control => "remote-control",
            Self::Stub => "stub-zone",
            Self::Forward => "forward-zone",
        }
    }
}

/// A value, by its form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Value {
    /// `yes` or `no`.
    YesNo(bool),
    /// A count, or a size in bytes.
    Number(u64),
    /// First and last port.
    Ports(u16, u16),
    /// A network.
    Net(IpNet),
    /// Who may ask: `allow`, else `refuse`.
    Access(IpNet, bool),
    /// A limit of a network, -1 for none.
    NetLimit(IpNet, i32),
    /// `ADDRESS@PORT`, and the name that a certificate must carry.
    Server(Endpoint, Option<DomainName>),
    /// A zone.
    Zone(Zone),
    /// A zone whose local data is not made up: `transparent`.
    Transparent(Zone),
    /// A key to start validation from.
    Anchor(DsRecord),
    /// Anything else, between quotes.
    Text(Text),
}

/// The form of a key's value.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Form {
    /// [`Value::YesNo`]
    YesNo,
    /// [`Value::Number`]
    Number,
    /// [`Value::Ports`]
    Ports,
    /// [`Value::Net`]
    Net,
    /// [`Value::Access`]
    Access,
    /// [`Value::NetLimit`]
    NetLimit,
    /// [`Value::Server`]
    Server,
    /// [`Value::Zone`]
    Zone,
    /// [`Value::Transparent`]
    Transparent,
    /// [`Value::Anchor`]
    Anchor,
    /// [`Value::Text`]
    Text,
}

/// A zone; the root has no [`DomainName`].
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Zone(Option<DomainName>);

impl Zone {
    /// `.`
    pub const ROOT: Self = Self(None);

    /// Owner name as in a message, lower case (RFC 4034, 6.2).
    pub(crate) fn wire(&self) -> Vec<u8> {
        let labels = self.0.iter().flat_map(|name| name.as_str().split('.'));
        let mut wire: Vec<u8> = labels
            .flat_map(|label| {
                [u8::try_from(label.len()).unwrap_or(0)]
                    .into_iter()
                    .chain(label.bytes())
            })
            .collect();
        wire.push(0);
        wire
    }
}

impl From<DomainName> for Zone {
    fn from(name: DomainName) -> Self {
        Self(Some(name))
    }
}

impl FromStr for Zone {
    type Err = tsutsumi_model::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "." {
            Ok(Self::ROOT)
        } else {
            text.parse().map(|name| Self(Some(name)))
        }
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(name) => write!(f, "{name}."),
            None => f.write_str("."),
        }
    }
}

/// A text that stands between quotes: letters, digits, blanks and `/._-+@:`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Text(String);

/// The text could end its quotes, or its line.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} may hold only letters, digits, blanks and `/._-+@:`")]
pub struct NotText(String);

impl FromStr for Text {
    type Err = NotText;

    fn from_str(text: &str) -> Result<Self, NotText> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b" /._-+@:".contains(&b);
        if text.len() <= 1024 && text.bytes().all(fits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotText(text.to_owned()))
        }
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::YesNo(value) => f.write_str(if *value { "yes" } else { "no" }),
            Self::Number(value) => write!(f, "{value}"),
            Self::Ports(first, last) => write!(f, "{first}-{last}"),
            Self::Net(net) => write!(f, "{net}"),
            Self::Access(net, allow) => write!(f, "{net} {}", if *allow { "allow" } else { "refuse" }),
            Self::NetLimit(net, limit) => write!(f, "{net} {limit}"),
            Self::Server(at, name) => {
                write!(f, "{}@{}", at.address, at.port)?;
                name.iter().try_for_each(|name| write!(f, "#{name}"))
            }
            Self::Zone(zone) => write!(f, "\"{zone}\""),
            Self::Transparent(zone) => write!(f, "\"{zone}\" transparent"),
            Self::Anchor(ds) => write!(f, "\"{ds}\""),
            Self::Text(text) => write!(f, "\"{text}\""),
        }
    }
}

impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clauses.iter().try_for_each(|clause| {
            writeln!(f, "{}:", clause.kind.name())?;
            clause
                .settings
                .iter()
                .try_for_each(|Setting { key, value }| writeln!(f, "    {}: {value}", key.name()))
        })
    }
}

macro_rules! keys {
    ($($clause:ident $variant:ident $name:literal $form:ident;)*) => {
        /// What can be set; each is described in `unbound.conf(5)`.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Key { $(#[doc = $name] $variant,)* }

        impl Key {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As it is written.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Where it belongs, and the form of its value.
            #[must_use]
            pub fn place(self) -> (ClauseKind, Form) {
                match self { $(Self::$variant => (ClauseKind::$clause, Form::$form),)* }
            }
        }
    };
}

keys! {
    Server DoDaemonize "do-daemonize" YesNo;
    Server Username "username" Text;
    Server Chroot "chroot" Text;
    Server Directory "directory" Text;
    Server Pidfile "pidfile" Text;
    Server UseSyslog "use-syslog" YesNo;
    Server Logfile "logfile" Text;
    Server LogTimeAscii "log-time-ascii" YesNo;
    Server NumThreads "num-threads" Number;
    Server Interface "interface" Server;
    Server Port "port" Number;
    Server TlsPort "tls-port" Number;
    Server TlsServiceKey "tls-service-key" Text;
    Server TlsServicePem "tls-service-pem" Text;
    Server IncomingNumTcp "incoming-num-tcp" Number;
    Server TlsCertBundle "tls-cert-bundle" Text;
    Server DoIp4 "do-ip4" YesNo;
    Server DoIp6 "do-ip6" YesNo;
    Server AccessControl "access-control" Access;
    Server MaxUdpSize "max-udp-size" Number;
    Server EdnsBufferSize "edns-buffer-size" Number;
    Server OutgoingPortPermit "outgoing-port-permit" Ports;
    Server OutgoingPortAvoid "outgoing-port-avoid" Ports;
    Server OutgoingRange "outgoing-range" Number;
    Server NumQueriesPerThread "num-queries-per-thread" Number;
    Server SoReuseport "so-reuseport" YesNo;
    Server UseCapsForId "use-caps-for-id" YesNo;
    Server QnameMinimisation "qname-minimisation" YesNo;
    Server QnameMinimisationStrict "qname-minimisation-strict" YesNo;
    Server AggressiveNsec "aggressive-nsec" YesNo;
    Server HardenGlue "harden-glue" YesNo;
    Server HardenDnssecStripped "harden-dnssec-stripped" YesNo;
    Server HardenBelowNxdomain "harden-below-nxdomain" YesNo;
    Server HardenShortBufsize "harden-short-bufsize" YesNo;
    Server HardenLargeQueries "harden-large-queries" YesNo;
    Server HardenUnverifiedGlue "harden-unverified-glue" YesNo;
    Server HardenUnknownAdditional "harden-unknown-additional" YesNo;
    Server HardenReferralPath "harden-referral-path" YesNo;
    Server HardenAlgoDowngrade "harden-algo-downgrade" YesNo;
    Server IterScrubPromiscuous "iter-scrub-promiscuous" YesNo;
    Server IterScrubNs "iter-scrub-ns" Number;
    Server IterScrubCname "iter-scrub-cname" Number;
    Server IterScrubRrsig "iter-scrub-rrsig" Number;
    Server MaxGlobalQuota "max-global-quota" Number;
    Server MaxSentCount "max-sent-count" Number;
    Server MaxQueryRestarts "max-query-restarts" Number;
    Server UnwantedReplyThreshold "unwanted-reply-threshold" Number;
    Server DoNotQueryLocalhost "do-not-query-localhost" YesNo;
    Server PrivateAddress "private-address" Net;
    Server PrivateDomain "private-domain" Zone;
    Server LocalZone "local-zone" Transparent;
    Server DomainInsecure "domain-insecure" Zone;
    Server ModuleConfig "module-config" Text;
    Server TrustAnchorFile "trust-anchor-file" Text;
    Server TrustAnchor "trust-anchor" Anchor;
    Server ValPermissiveMode "val-permissive-mode" YesNo;
    Server IgnoreCdFlag "ignore-cd-flag" YesNo;
    Server ValCleanAdditional "val-clean-additional" YesNo;
    Server TrustAnchorSignaling "trust-anchor-signaling" YesNo;
    Server RootKeySentinel "root-key-sentinel" YesNo;
    Server RootHints "root-hints" Text;
    Server Prefetch "prefetch" YesNo;
    Server PrefetchKey "prefetch-key" YesNo;
    Server MinimalResponses "minimal-responses" YesNo;
    Server HideIdentity "hide-identity" YesNo;
    Server HideVersion "hide-version" YesNo;
    Server DenyAny "deny-any" YesNo;
    Server ServeExpired "serve-expired" YesNo;
    Server ServeExpiredTtl "serve-expired-ttl" Number;
    Server ServeExpiredClientTimeout "serve-expired-client-timeout" Number;
    Server Ratelimit "ratelimit" Number;
    Server RatelimitFactor "ratelimit-factor" Number;
    Server RatelimitBackoff "ratelimit-backoff" YesNo;
    Server IpRatelimit "ip-ratelimit" Number;
    Server WaitLimit "wait-limit" Number;
    Server WaitLimitNetblock "wait-limit-netblock" NetLimit;
    Server DiscardTimeout "discard-timeout" Number;
    Server JostleTimeout "jostle-timeout" Number;
    Server NegCacheSize "neg-cache-size" Number;
    Server Ede "ede" YesNo;
    Server ValLogLevel "val-log-level" Number;
    Server Nsid "nsid" Text;
    Server ExtendedStatistics "extended-statistics" YesNo;
    Server StatisticsCumulative "statistics-cumulative" YesNo;
    Server AnswerCookie "answer-cookie" YesNo;
    Control ControlEnable "control-enable" YesNo;
    Control ControlInterface "control-interface" Text;
    Control ControlUseCert "control-use-cert" YesNo;
    Stub StubName "name" Zone;
    Stub StubAddr "stub-addr" Server;
    Forward ForwardName "name" Zone;
    Forward ForwardAddr "forward-addr" Server;
    Forward ForwardTls "forward-tls-upstream" YesNo;
}
