//! Checked values: one declaration gives parser, schema and an example that is also a test.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use tsutsumi_model::Port;

/// The text is not a value of the wanted kind.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{value}` is not {wanted}, for example `{example}`")]
pub struct ValueError {
    value: String,
    wanted: &'static str,
    example: &'static str,
}

/// Declares a string type whose schema and parser agree.
macro_rules! checked_string {
    ($(#[$doc:meta])* $name:ident($inner:ty), $wanted:literal, example $example:literal, max $max:literal,
     pattern $pattern:literal, |$text:ident| $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name($inner);

        impl $name {
            /// A valid value, as documentation.
            pub const EXAMPLE: &'static str = $example;

            /// The value, parsed.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str($text: &str) -> Result<Self, ValueError> {
                let parsed: Option<$inner> = $parse;
                parsed.map(Self).ok_or_else(|| ValueError {
                    value: $text.to_owned(),
                    wanted: $wanted,
                    example: $example,
                })
            }
        }

        impl TryFrom<String> for $name {
            type Error = ValueError;

            fn try_from(text: String) -> Result<Self, ValueError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "maxLength": $max,
                    "pattern": $pattern,
                })
            }
        }
    };
}

checked_string! {
    /// A network in CIDR notation, its host bits clear.
    Cidr(ipnet::IpNet),
    "a network in CIDR notation with clear host bits",
    example "203.0.113.0/24", max 43,
    pattern r"^[0-9a-fA-F:.]+/[0-9]{1,3}$",
    |text| text.parse::<ipnet::IpNet>().ok().filter(|net| net.trunc() == *net)
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

checked_string! {
    /// A resolver to ask: an IP address, and a port where it is not 53.
    Upstream(tsutsumi_model::Endpoint),
    "the address of a resolver, with a port where it is not 53",
    example "192.0.2.53", max 47,
    pattern r"^([0-9.]+(:[0-9]{1,5})?|[0-9a-fA-F:.]+|\[[0-9a-fA-F:.]+\]:[0-9]{1,5})$",
    |text| upstream(text)
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.port.get() == DNS_PORT {
            self.0.address.fmt(f)
        } else {
            self.0.fmt(f)
        }
    }
}

const DNS_PORT: u16 = 53;

/// Nobody answers at no address, at that of a group, or inside the pod that asks.
fn upstream(text: &str) -> Option<tsutsumi_model::Endpoint> {
    let socket: SocketAddr = text
        .parse()
        .or_else(|_| text.parse().map(|address: IpAddr| (address, DNS_PORT).into()))
        .ok()?;
    let (address, port) = (socket.ip(), Port::new(socket.port())?);
    is_one_host(&address).then_some(tsutsumi_model::Endpoint { address, port })
}

const fn is_one_host(address: &IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast() && !address.is_loopback()
}

checked_string! {
    /// One address of a host.
    Address(IpAddr),
    "the address of one host",
    example "192.0.2.53", max 39,
    pattern r"^[0-9a-fA-F:.]+$",
    |text| text.parse().ok().filter(is_one_host)
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

checked_string! {
    /// A length of time, a whole number with one unit: `s`, `m`, `h` or `d`.
    Period(std::time::Duration),
    "a whole number followed by s, m, h or d",
    example "5m", max 8,
    pattern r"^[1-9][0-9]{0,5}[smhd]$",
    |text| period(text)
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (number, unit) = [(86_400, 'd'), (3_600, 'h'), (60, 'm')]
            .into_iter()
            .find(|(size, _)| seconds.is_multiple_of(*size))
            .map_or((seconds, 's'), |(size, unit)| (seconds / size, unit));
        write!(f, "{number}{unit}")
    }
}

checked_string! {
    /// A length of time that may be none, at most 15 minutes: a whole number with one unit, `s` or `m`.
    WatchTime(std::time::Duration),
    "a whole number followed by s or m, at most 15m",
    example "5m", max 4,
    pattern r"^(0|[1-9][0-9]{0,2})[sm]$",
    |text| watch_time(text)
}

impl fmt::Display for WatchTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_secs() {
            seconds if seconds > 0 && seconds.is_multiple_of(60) => write!(f, "{}m", seconds / 60),
            seconds => write!(f, "{seconds}s"),
        }
    }
}

checked_string! {
    /// A number of bytes, whole, with a suffix of powers of 1024 or without: at most 1 TiB.
    Size(std::num::NonZeroU64),
    "a whole number of bytes, with Ki, Mi or Gi or without",
    example "32Ki", max 15,
    pattern r"^[1-9][0-9]{0,12}(Ki|Mi|Gi)?$",
    |text| size(text)
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.get();
        match SUFFIXES.iter().find(|(size, _)| bytes.is_multiple_of(*size)) {
            Some((size, suffix)) => write!(f, "{}{suffix}", bytes / size),
            None => write!(f, "{bytes}"),
        }
    }
}

/// From the largest.
const SUFFIXES: [(u64, &str); 3] = [(1 << 30, "Gi"), (1 << 20, "Mi"), (1 << 10, "Ki")];

/// Parses what [`Size`] prints.
fn size(text: &str) -> Option<std::num::NonZeroU64> {
    let (number, size) = SUFFIXES
        .iter()
        .find_map(|(size, suffix)| Some((text.strip_suffix(suffix)?, *size)))
        .unwrap_or((text, 1));
    let canonical = !number.starts_with('0') && number.bytes().all(|digit| digit.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| canonical)?;
    let bytes = number.checked_mul(size).filter(|bytes| *bytes <= 1 << 40)?;
    std::num::NonZeroU64::new(bytes)
}

/// Parses what [`WatchTime`] prints.
fn watch_time(text: &str) -> Option<std::time::Duration> {
    let time = match text {
        "0s" | "0m" => std::time::Duration::ZERO,
        _ => period(text).filter(|_| text.ends_with(['s', 'm']))?,
    };
    (time.as_secs() <= 15 * 60).then_some(time)
}

/// Parses what [`Period`] prints.
fn period(text: &str) -> Option<std::time::Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let size = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let canonical = (1..=6).contains(&number.len())
        && !number.starts_with('0')
        && number.bytes().all(|digit| digit.is_ascii_digit());
    let number: u64 = number.parse().ok().filter(|_| canonical)?;
    Some(std::time::Duration::from_secs(number * size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_parse_and_print_as_they_are() {
        assert_eq!(Cidr::EXAMPLE.parse::<Cidr>().unwrap().to_string(), Cidr::EXAMPLE);
        assert_eq!(
            Period::EXAMPLE.parse::<Period>().unwrap().to_string(),
            Period::EXAMPLE
        );
    }

    #[test]
    fn upstreams_are_addresses_of_one_host() {
        assert_eq!(
            Upstream::EXAMPLE.parse::<Upstream>().unwrap().to_string(),
            Upstream::EXAMPLE
        );
        for text in ["192.0.2.53:5353", "2001:db8::53", "[2001:db8::53]:5353"] {
            assert_eq!(text.parse::<Upstream>().unwrap().to_string(), text);
        }
        assert_eq!(
            Address::EXAMPLE.parse::<Address>().unwrap().to_string(),
            Address::EXAMPLE
        );
        for text in [
            "resolver.example",
            "192.0.2.53:53",
            "127.0.0.1",
            "::",
            "224.0.0.251",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
        for text in [
            "",
            "resolver.example",
            "192.0.2.53:0",
            "192.0.2.53:65536",
            "[2001:db8::53]",
            "0.0.0.0",
            "127.0.0.1",
            "::1",
            "224.0.0.251:5353",
            "192.0.2.0/24",
        ] {
            assert!(text.parse::<Upstream>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn host_bits_are_refused_and_the_error_shows_what_would_be_right() {
        let error = "203.0.113.7/24".parse::<Cidr>().unwrap_err().to_string();
        assert!(
            error.contains("203.0.113.7/24") && error.contains("203.0.113.0/24"),
            "{error}"
        );
    }

    #[test]
    fn a_watch_may_be_none_and_lasts_at_most_fifteen_minutes() {
        for text in ["0s", "5s", "90s", "1m", "15m"] {
            assert_eq!(text.parse::<WatchTime>().unwrap().to_string(), text);
        }
        for text in ["", "0", "16m", "901s", "1h", "05m", "-1s"] {
            assert!(text.parse::<WatchTime>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn sizes_are_whole_and_print_with_the_largest_suffix() {
        for text in [Size::EXAMPLE, "1", "1023", "1Gi", "1024Gi"] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), text);
        }
        assert_eq!("2048".parse::<Size>().unwrap().to_string(), "2Ki");
        for text in [
            "",
            "0",
            "Ki",
            "01Ki",
            "1.5Mi",
            "1k",
            "1 Ki",
            "+1",
            "1025Gi",
            "99999999999999999999",
        ] {
            assert!(text.parse::<Size>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn periods_have_one_unit() {
        for text in [
            "", "m", "5", "5 m", "05m", "+5m", "1h30m", "0s", "5w", "1234567s", "é",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text:?}");
        }
        assert_eq!("92d".parse::<Period>().unwrap().get().as_secs(), 92 * 86_400);
        assert_eq!("90s".parse::<Period>().unwrap().to_string(), "90s");
    }
}
