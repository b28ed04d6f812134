//! What a policy for ingress can limit: a closed set of levers, each with the type of its value and its scope.
//!
//! Of two values of a lever the smaller is the stricter, whatever the unit, so each type is ordered that way. A list of
//! [`Limits`] is taken apart field by field, and whoever does so has to name every lever: none is dropped in silence.

use std::{
    cmp::Ordering,
    fmt,
    num::{NonZeroU32, NonZeroU64},
};

/// A length of time in whole seconds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Seconds(pub NonZeroU32);

/// A size in bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Bytes(pub NonZeroU64);

/// A rate in bytes per second.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct BytesPerSecond(pub NonZeroU64);

/// A number of things.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Count(pub NonZeroU32);

/// So many requests in a length of time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Rate {
    /// How many.
    pub count: NonZeroU32,
    /// In which time.
    pub per: Per,
}

/// The time that a rate counts in: what every data plane knows.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Per {
    /// A second.
    Second,
    /// A minute.
    Minute,
    /// An hour.
    Hour,
}

impl Per {
    const fn seconds(self) -> u64 {
        match self {
            Self::Second => 1,
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }
}

impl Ord for Rate {
    /// By requests over time; of two equal ones that with the shorter time, which lets fewer through at once.
    fn cmp(&self, other: &Self) -> Ordering {
        let scaled = |count: NonZeroU32, by: Per| u64::from(count.get()) * by.seconds();
        scaled(self.count, other.per)
            .cmp(&scaled(other.count, self.per))
            .then(self.per.cmp(&other.per))
    }
}

impl PartialOrd for Rate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0)
    }
}

impl fmt::Display for BytesPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes per second", self.0)
    }
}

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per {
            Per::Second => "second",
            Per::Minute => "minute",
            Per::Hour => "hour",
        };
        write!(f, "{} per {per}", self.count)
    }
}

/// Whose configuration a lever is, and so who may set it.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Scope {
    /// A route's: a policy of the route's namespace.
    Route,
    /// A listener's, which all its routes share: a policy of the Gateway's namespace.
    Listener,
    /// A node's, which everybody shares: a policy of the whole cluster.
    Node,
}

/// A value and where it comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit<T, S = ()> {
    /// The value.
    pub value: T,
    /// Where it comes from.
    pub from: S,
}

impl<T> From<T> for Limit<T> {
    fn from(value: T) -> Self {
        Self { value, from: () }
    }
}

/// Makes something else of each value of a list.
pub trait Map<A, B> {
    /// Of one; none drops it.
    fn map<T: Copy + Ord + fmt::Display>(&self, lever: Lever, limit: Limit<T, A>) -> Option<Limit<T, B>>;
}

/// Combines two lists. What only the first one limits stays as it is.
pub trait Combine<S> {
    /// Combines what both say of one lever.
    fn both<T: Copy + Ord + fmt::Display>(&self, one: Limit<T, S>, other: Limit<T, S>) -> Limit<T, S>;

    /// What becomes of a limit that only the other list has.
    fn alone<T>(&self, other: Limit<T, S>) -> Option<Limit<T, S>> {
        Some(other)
    }
}

/// Declares the levers once: the list of values, the closed set of their names, and what each is.
macro_rules! levers {
    ($($(#[$doc:meta])* $field:ident: $type:ty, $name:ident, $path:literal, $scope:ident;)+) => {
        /// One thing that can be limited.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Lever {
            $($(#[$doc])* $name,)+
        }

        impl Lever {
            /// Every lever, in the order of a policy's fields.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its field in a policy, below `spec`.
            #[must_use]
            pub const fn field(self) -> &'static str {
                match self {
                    $(Self::$name => $path,)+
                }
            }

            /// Whose configuration it is.
            #[must_use]
            pub const fn scope(self) -> Scope {
                match self {
                    $(Self::$name => Scope::$scope,)+
                }
            }
        }

        /// A value for each lever that is limited.
        #[derive(Clone, Debug, Eq, PartialEq)]
        pub struct Limits<S = ()> {
            $($(#[$doc])* pub $field: Option<Limit<$type, S>>,)+
        }

        impl<S> Default for Limits<S> {
            fn default() -> Self {
                Self { $($field: None,)+ }
            }
        }

        impl<S> Limits<S> {
            /// Makes something else of each value.
            #[must_use]
            pub fn map<B>(self, how: &impl Map<S, B>) -> Limits<B> {
                Limits {
                    $($field: self.$field.and_then(|limit| how.map(Lever::$name, limit)),)+
                }
            }

            /// Combines two lists, lever by lever.
            #[must_use]
            pub fn combine(self, other: Self, how: &impl Combine<S>) -> Self {
                Self {
                    $($field: match (self.$field, other.$field) {
                        (Some(one), Some(other)) => Some(how.both(one, other)),
                        (Some(one), None) => Some(one),
                        (None, other) => other.and_then(|other| how.alone(other)),
                    },)+
                }
            }

            /// Whether nothing is limited.
            #[must_use]
            pub const fn is_empty(&self) -> bool {
                $(self.$field.is_none())&&+
            }

            /// Each lever that is limited, with its value as it is printed, in the order of a policy's fields.
            pub fn iter(&self) -> impl Iterator<Item = (Lever, String, &S)> {
                [
                    $(self.$field.as_ref().map(|limit| (Lever::$name, limit.value.to_string(), &limit.from)),)+
                ]
                .into_iter()
                .flatten()
            }
        }
    };
}

levers! {
    /// How long a TCP handshake may take.
    tcp_handshake: Seconds, TcpHandshake, "handshake.tcp", Node;
    /// How long a TLS handshake may take.
    tls_handshake: Seconds, TlsHandshake, "handshake.tls", Listener;
    /// How long the head of a request may take.
    request_headers: Seconds, RequestHeaders, "timeouts.requestHeaders", Listener;
    /// How long a whole request may take.
    whole_request: Seconds, WholeRequest, "timeouts.wholeRequest", Listener;
    /// How long a connection may stay without a request.
    idle: Seconds, Idle, "timeouts.idle", Listener;
    /// How many requests one client may make.
    client_requests: Rate, ClientRequests, "perClient.requests", Route;
    /// How many requests one client may make at once.
    client_burst: Count, ClientBurst, "perClient.requests.burst", Route;
    /// How many connections one client may have.
    client_connections: Count, ClientConnections, "perClient.connections", Route;
    /// How fast one client may be sent to.
    client_bandwidth: BytesPerSecond, ClientBandwidth, "perClient.bandwidth", Route;
    /// How many connections there may be.
    connections: Count, Connections, "limits.connections", Listener;
    /// How large the head of a request may be.
    header_bytes: Bytes, HeaderBytes, "limits.headerBytes", Listener;
    /// How large the body of a request may be.
    body_bytes: Bytes, BodyBytes, "limits.bodyBytes", Route;
    /// How many requests one connection may carry at a time.
    concurrent_streams: Count, ConcurrentStreams, "limits.concurrentStreams", Listener;
}

impl fmt::Display for Lever {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.field())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(count: u32, per: Per) -> Rate {
        Rate {
            count: NonZeroU32::new(count).unwrap(),
            per,
        }
    }

    #[test]
    fn rates_are_ordered_by_requests_over_time() {
        let ordered = [
            rate(59, Per::Hour),
            rate(1, Per::Minute),
            rate(60, Per::Hour),
            rate(59, Per::Minute),
            rate(1, Per::Second),
            rate(60, Per::Minute),
            rate(3600, Per::Hour),
            rate(u32::MAX, Per::Hour),
            rate(u32::MAX, Per::Second),
        ];
        assert!(ordered.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(rate(100, Per::Minute).to_string(), "100 per minute");
    }

    #[test]
    fn every_lever_has_a_field_of_its_own() {
        let mut fields: Vec<&str> = Lever::ALL.iter().map(|lever| lever.field()).collect();
        fields.sort_unstable();
        fields.dedup();
        assert_eq!(fields.len(), Lever::ALL.len());
    }

    #[test]
    fn what_is_limited_is_listed_in_order() {
        let limits = Limits {
            idle: Some(Limit {
                value: Seconds(NonZeroU32::MIN),
                from: "b",
            }),
            tls_handshake: Some(Limit {
                value: Seconds(NonZeroU32::MIN),
                from: "a",
            }),
            ..Limits::default()
        };
        let listed: Vec<_> = limits.iter().collect();
        assert_eq!(
            listed,
            [
                (Lever::TlsHandshake, "1s".to_owned(), &"a"),
                (Lever::Idle, "1s".to_owned(), &"b")
            ]
        );
    }
}
