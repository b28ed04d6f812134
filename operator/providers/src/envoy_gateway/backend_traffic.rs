//! `BackendTrafficPolicy`: what goes on to a route's backends.

use std::num::NonZeroU32;

use serde_json::{Map, Value, json};
use tsutsumi_model::{Lever, Limits, Per, Rate};

use super::{
    Rendered, Unsupported, carried,
    spec::{Unreadable, tighten},
    unless_in_force,
};

/// The most rules that Envoy Gateway takes in one list.
const MAX_RULES: usize = 16;

/// What a policy of ours on one route says, beside what is in force there. Each of the `proxies` counts by itself, so each
/// gets its share.
///
/// # Errors
/// If a value that is in force cannot be compared with ours: what stands there stays.
pub fn backend_traffic<S>(
    limits: &Limits<S>,
    proxies: NonZeroU32,
    in_force: Option<&Map<String, Value>>,
) -> Result<Rendered, Unreadable> {
    let Limits {
        // Not of a route.
        tcp_handshake: _,
        tls_handshake: _,
        request_headers: _,
        whole_request: _,
        idle: _,
        connections: _,
        header_bytes: _,
        concurrent_streams: _,
        client_requests,
        client_burst,
        client_connections,
        client_bandwidth,
        body_bytes,
    } = limits;
    let mut spec = carried(in_force);
    tighten(&mut spec, &["requestBuffer", "limit"], body_bytes.as_ref())?;
    if let Some(limit) = client_requests {
        add_rules(&mut spec, share(limit.value, proxies))?;
    }
    let lacking = [
        (
            client_burst.is_some(),
            Lever::ClientBurst,
            "Envoy Gateway's buckets hold what one unit of time allows",
            "a burst is as large as `perClient.requests.count`",
        ),
        (
            client_connections.is_some(),
            Lever::ClientConnections,
            "Envoy Gateway counts the connections of all clients together",
            "`limits.connections` limits them all",
        ),
        (
            client_bandwidth.is_some(),
            Lever::ClientBandwidth,
            "Envoy Gateway shares a bandwidth among all clients",
            "a `bandwidthLimit` of your own limits them all",
        ),
    ];
    let unsupported = lacking
        .into_iter()
        .filter(|(wished, ..)| *wished)
        .map(|(_, lever, why, nearest)| Unsupported { lever, why, nearest });
    Ok(Rendered {
        spec: unless_in_force(spec, in_force),
        unsupported: unsupported.collect(),
    })
}

/// Adds a bucket for each client to the rules that stand there: of all that match the strictest holds.
fn add_rules(spec: &mut Map<String, Value>, rate: Rate) -> Result<(), Unreadable> {
    let unit = match rate.per {
        Per::Second => "Second",
        Per::Minute => "Minute",
        Per::Hour => "Hour",
    };
    // One family's network matches nobody of the other.
    let ours = ["0.0.0.0/0", "::/0"].map(|all| {
        json!({
            "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": all}}],
            "limit": {"requests": rate.count, "unit": unit},
        })
    });
    let unreadable = |present: &Value| Unreadable {
        path: "rateLimit.local.rules".to_owned(),
        value: present.to_string(),
        wanted: format!("{} more rules; {MAX_RULES} are the most", ours.len()),
    };
    let limits = spec.entry("rateLimit").or_insert_with(|| json!({}));
    let Some(limits) = limits.as_object_mut() else {
        return Err(unreadable(limits));
    };
    let local = limits.entry("local").or_insert_with(|| json!({}));
    let Some(local) = local.as_object_mut() else {
        return Err(unreadable(local));
    };
    let rules = local.entry("rules").or_insert_with(|| json!([]));
    match rules.as_array_mut() {
        Some(rules) if rules.len() + ours.len() <= MAX_RULES => {
            rules.extend(ours);
            Ok(())
        }
        _ => Err(unreadable(rules)),
    }
}

/// A proxy's share of a rate: never more than asked for by all together, and never nothing, since that would be a block. Where
/// the rate has fewer requests than there are proxies, it is told over a longer time.
fn share(rate: Rate, proxies: NonZeroU32) -> Rate {
    let longer = match rate.per {
        Per::Second => Some(Per::Minute),
        Per::Minute => Some(Per::Hour),
        Per::Hour => None,
    };
    match (NonZeroU32::new(rate.count.get() / proxies), longer) {
        (Some(count), _) => Rate { count, per: rate.per },
        (None, Some(per)) => {
            let count = rate.count.saturating_mul(SIXTY);
            share(Rate { count, per }, proxies)
        }
        (None, None) => Rate {
            count: NonZeroU32::MIN,
            per: rate.per,
        },
    }
}

const SIXTY: NonZeroU32 = NonZeroU32::new(60).expect("60 is not 0");

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;
    use tsutsumi_model::{Bytes, BytesPerSecond, Count};

    use super::*;

    const ONE: NonZeroU32 = NonZeroU32::MIN;

    fn rate(count: u32, per: Per) -> Rate {
        Rate {
            count: NonZeroU32::new(count).unwrap(),
            per,
        }
    }

    fn all() -> Limits {
        Limits {
            client_requests: Some(rate(50, Per::Second).into()),
            client_burst: Some(Count(NonZeroU32::new(100).unwrap()).into()),
            client_connections: Some(Count(NonZeroU32::new(50).unwrap()).into()),
            client_bandwidth: Some(BytesPerSecond(NonZeroU64::new(1024).unwrap()).into()),
            body_bytes: Some(Bytes(NonZeroU64::new(1_048_576).unwrap()).into()),
            ..Limits::default()
        }
    }

    fn rule(all: &str, requests: u32) -> Value {
        json!({
            "clientSelectors": [{"sourceCIDR": {"type": "Distinct", "value": all}}],
            "limit": {"requests": requests, "unit": "Second"},
        })
    }

    #[test]
    fn every_lever_of_a_route_is_set_or_said_to_be_unsupported() {
        let rendered = backend_traffic(&all(), ONE, None).unwrap();
        assert_eq!(
            Value::Object(rendered.spec),
            json!({
                "requestBuffer": {"limit": "1048576"},
                "rateLimit": {"local": {"rules": [rule("0.0.0.0/0", 50), rule("::/0", 50)]}},
            })
        );
        let lacking: Vec<Lever> = rendered.unsupported.iter().map(|lack| lack.lever).collect();
        assert_eq!(
            lacking,
            [
                Lever::ClientBurst,
                Lever::ClientConnections,
                Lever::ClientBandwidth
            ]
        );
    }

    #[test]
    fn rules_of_others_stay_and_each_proxy_gets_its_share() {
        let theirs = json!({
            "mergeType": "StrategicMerge",
            "rateLimit": {"local": {"rules": [{"limit": {"requests": 4, "unit": "Minute"}}]}},
        });
        let two = NonZeroU32::new(2).unwrap();
        let spec = backend_traffic(&all(), two, theirs.as_object()).unwrap().spec;
        assert_eq!(spec.get("mergeType"), None);
        assert_eq!(
            spec["rateLimit"]["local"]["rules"],
            json!([
                theirs["rateLimit"]["local"]["rules"][0],
                rule("0.0.0.0/0", 25),
                rule("::/0", 25)
            ])
        );
    }

    #[test]
    fn rules_that_leave_no_room_are_told() {
        let theirs = json!({"rateLimit": {"local": {"rules": vec![rule("10.0.0.0/8", 1); 15]}}});
        let error = backend_traffic(&all(), ONE, theirs.as_object()).unwrap_err();
        assert!(error.to_string().contains("16 are the most"), "{error}");
    }

    proptest! {
        #[test]
        fn the_shares_are_no_more_than_the_whole_and_never_nothing(
            count in 1_u32..5000,
            per in prop::sample::select(vec![Per::Second, Per::Minute]),
            proxies in 1_u32..60,
        ) {
            let (whole, proxies) = (rate(count, per), NonZeroU32::new(proxies).unwrap());
            let share = share(whole, proxies);
            let together = Rate {
                count: share.count.saturating_mul(proxies),
                per: share.per,
            };
            prop_assert!(together.per > whole.per || together <= whole, "{share}");
            let over_an_hour = |rate: Rate| u64::from(rate.count.get()) * match rate.per {
                Per::Second => 3600,
                Per::Minute => 60,
                Per::Hour => 1,
            };
            prop_assert!(over_an_hour(together) <= over_an_hour(whole), "{share}");
        }
    }
}
