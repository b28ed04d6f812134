//! `ClientTrafficPolicy`: what clients may do at a listener.

use serde_json::{Map, Value};
use tsutsumi_model::{Lever, Limits};

use super::{
    Rendered, Unsupported, carried,
    spec::{Unreadable, tighten},
    unless_in_force,
};

/// What a policy of ours on one listener says, beside what is in force there.
///
/// # Errors
/// If a value that is in force cannot be compared with ours: what stands there stays.
pub fn client_traffic<S>(
    limits: &Limits<S>,
    in_force: Option<&Map<String, Value>>,
) -> Result<Rendered, Unreadable> {
    let Limits {
        // Not of a listener.
        tcp_handshake: _,
        client_requests: _,
        client_burst: _,
        client_connections: _,
        client_bandwidth: _,
        body_bytes: _,
        tls_handshake,
        request_headers,
        whole_request,
        idle,
        connections,
        header_bytes,
        concurrent_streams,
    } = limits;
    let mut spec = carried(in_force);
    for (limit, path) in [
        (tls_handshake, &["timeout", "tcp", "tlsHandshakeTimeout"]),
        // Who says nothing at all is looked at before the handshake begins.
        (tls_handshake, &["timeout", "tcp", "connectionInspectionTimeout"]),
        (
            request_headers,
            &["timeout", "http", "requestHeadersReceivedTimeout"],
        ),
        (whole_request, &["timeout", "http", "requestReceivedTimeout"]),
        (idle, &["timeout", "http", "idleTimeout"]),
    ] {
        tighten(&mut spec, path, limit.as_ref())?;
    }
    for (limit, path) in [
        (connections, &["connection", "connectionLimit", "value"][..]),
        (concurrent_streams, &["http2", "maxConcurrentStreams"]),
    ] {
        tighten(&mut spec, path, limit.as_ref())?;
    }
    let unsupported = header_bytes.iter().map(|_| Unsupported {
        lever: Lever::HeaderBytes,
        why: "Envoy Gateway 1.9 has no field for it",
        nearest: "Envoy itself takes at most 60 KiB",
    });
    Ok(Rendered {
        spec: unless_in_force(spec, in_force),
        unsupported: unsupported.collect(),
    })
}

#[cfg(test)]
mod tests {
    use std::num::{NonZeroU32, NonZeroU64};

    use serde_json::json;
    use tsutsumi_model::{Bytes, Count, Seconds};

    use super::*;

    fn all() -> Limits {
        let seconds = |value| Some(Seconds(NonZeroU32::new(value).unwrap()).into());
        let count = |value| Some(Count(NonZeroU32::new(value).unwrap()).into());
        Limits {
            tls_handshake: seconds(10),
            request_headers: seconds(11),
            whole_request: seconds(60),
            idle: seconds(61),
            connections: count(10_000),
            header_bytes: Some(Bytes(NonZeroU64::new(32_768).unwrap()).into()),
            concurrent_streams: count(100),
            ..Limits::default()
        }
    }

    #[test]
    fn every_lever_of_a_listener_is_set_or_said_to_be_unsupported() {
        let rendered = client_traffic(&all(), None).unwrap();
        assert_eq!(
            Value::Object(rendered.spec),
            json!({
                "timeout": {
                    "tcp": {"tlsHandshakeTimeout": "10s", "connectionInspectionTimeout": "10s"},
                    "http": {
                        "requestHeadersReceivedTimeout": "11s",
                        "requestReceivedTimeout": "60s",
                        "idleTimeout": "61s",
                    },
                },
                "connection": {"connectionLimit": {"value": 10_000}},
                "http2": {"maxConcurrentStreams": 100},
            })
        );
        let lacking: Vec<Lever> = rendered.unsupported.iter().map(|lack| lack.lever).collect();
        assert_eq!(lacking, [Lever::HeaderBytes]);
    }

    #[test]
    fn what_is_in_force_is_carried_and_never_made_looser() {
        let theirs = json!({
            "targetRefs": [{"kind": "Gateway", "name": "public"}],
            "timeout": {"http": {"idleTimeout": "5s", "requestReceivedTimeout": "1h"}},
            "connection": {"connectionLimit": {"value": 2, "closeDelay": "1s"}},
            "headers": {"enableEnvoyHeaders": true},
        });
        let spec = client_traffic(&all(), theirs.as_object()).unwrap().spec;
        assert_eq!(spec.get("targetRefs"), None);
        assert_eq!(spec["timeout"]["http"]["idleTimeout"], "5s");
        assert_eq!(spec["timeout"]["http"]["requestReceivedTimeout"], "60s");
        assert_eq!(
            spec["connection"]["connectionLimit"],
            json!({"value": 2, "closeDelay": "1s"})
        );
        assert_eq!(spec["headers"], theirs["headers"]);
    }

    #[test]
    fn nothing_is_said_where_all_of_it_is_in_force() {
        let first = client_traffic(&all(), None).unwrap().spec;
        assert!(client_traffic(&all(), Some(&first)).unwrap().spec.is_empty());
        assert!(
            client_traffic(&Limits::<()>::default(), Some(&first))
                .unwrap()
                .spec
                .is_empty()
        );
        assert!(
            client_traffic(&Limits::<()>::default(), None)
                .unwrap()
                .spec
                .is_empty()
        );
    }

    #[test]
    fn what_cannot_be_compared_is_an_error_that_names_it() {
        let theirs = json!({"timeout": {"http": {"idleTimeout": "soon"}}});
        let error = client_traffic(&all(), theirs.as_object()).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("spec.timeout.http.idleTimeout is `\"soon\"`"),
            "{error}"
        );
    }
}
