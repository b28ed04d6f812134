use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use http::{Method, StatusCode};
use prometheus_client::registry::Registry;
use serde_json::Value;

use super::*;
use crate::runtime::{
    testing::{self, Asked, OneObject, Told},
    writer::FaultSwitch,
};

/// Secrets as the chart makes them, and how often each was written.
#[derive(Clone, Default)]
struct Secrets(Arc<Mutex<BTreeMap<String, (u32, Value)>>>);

impl Secrets {
    fn answer(&self, asked: &Asked) -> Told {
        let name = asked.path.rsplit('/').next().unwrap().to_owned();
        let mut secrets = self.0.lock().unwrap();
        let empty = || (0, json!({"metadata": {"name": name, "resourceVersion": "1"}}));
        let (writes, secret) = secrets.entry(name.clone()).or_insert_with(empty);
        if asked.method == Method::PATCH {
            let patch: Patch = serde_json::from_value(asked.body.clone()).unwrap();
            if json_patch::patch(secret, &patch).is_err() {
                return testing::refusal(StatusCode::CONFLICT, "Conflict", "changed");
            }
            *writes += 1;
            secret["metadata"]["resourceVersion"] = json!((*writes + 1).to_string());
        }
        Told::Answer(StatusCode::OK, secret.clone())
    }

    fn writes(&self) -> Vec<u32> {
        self.0
            .lock()
            .unwrap()
            .values()
            .map(|(writes, _)| *writes)
            .collect()
    }

    fn empty(&self, name: &str) {
        self.0.lock().unwrap().get_mut(name).unwrap().1["data"] = json!({});
    }
}

async fn keeper(secrets: &Secrets, hops: &[&str]) -> (Certificates, ControllerTls, MarkKeys, Writer) {
    let (lease, secrets) = (OneObject::default(), secrets.clone());
    let client = testing::client(move |asked| {
        if asked.path.contains("/leases") {
            lease.answer(&asked)
        } else {
            secrets.answer(&asked)
        }
    });
    let mut registry = Registry::default();
    let (keeper, leadership) =
        testing::keeper(client.clone(), "dyke-0", &mut registry, FaultSwitch::default());
    let (trigger, shutdown) = Shutdown::pair();
    tokio::spawn(async move {
        let _held = trigger;
        keeper.run(shutdown).await;
    });
    leadership.subscribe().wait_for(|leads| *leads).await.unwrap();
    let writer = leadership.writer().unwrap();
    let metrics = Metrics::register(&mut registry);
    let (certificates, tls, mark_keys) = Certificates::new(client, "dyke", hops, leadership, metrics);
    (certificates, tls, mark_keys, writer)
}

#[tokio::test]
async fn empty_secrets_are_filled_once() {
    let secrets = Secrets::default();
    let (certificates, tls, mark_keys, writer) = keeper(&secrets, &[]).await;
    assert!(tls.client_config().is_none() && mark_keys.newest().is_none());
    let now = Timestamp::now();
    certificates.keep(&writer, now).await.unwrap();
    assert_eq!(secrets.writes(), [1; 5]);
    assert!(tls.client_config().is_some() && mark_keys.newest().is_some());
    certificates.keep(&writer, now).await.unwrap();
    assert_eq!(secrets.writes(), [1; 5], "a second look wrote again");
}

#[tokio::test]
async fn an_emptied_authority_is_replaced_with_all_that_it_issued() {
    let secrets = Secrets::default();
    let (certificates, _, _, writer) = keeper(&secrets, &[]).await;
    let now = Timestamp::now();
    certificates.keep(&writer, now).await.unwrap();
    secrets.empty(CA_SECRET);
    certificates.keep(&writer, now).await.unwrap();
    // By name: the authority, the controller, the zone's keys, which no authority made, the zone, the prober.
    assert_eq!(secrets.writes(), [2, 2, 1, 2, 2]);
}

#[tokio::test]
async fn the_hop_gets_its_certificates_and_coredns_their_authorities_once() {
    let objects = Secrets::default();
    let (certificates, _, _, writer) = keeper(&objects, &["kube-system"]).await;
    let now = Timestamp::now();
    certificates.keep(&writer, now).await.unwrap();
    certificates.keep(&writer, now).await.unwrap();
    assert_eq!(objects.writes(), [1; 7]);
    let kept = objects.0.lock().unwrap();
    let map = kept[AUTHORITY].1["data"].as_object().unwrap();
    let file = map.keys().next().unwrap();
    let secret = kept[RESOLVER_TLS].1["data"].as_object().unwrap();
    assert_eq!((map.len(), secret.len()), (1, 3));
    assert!(map[file].as_str().unwrap().starts_with("-----BEGIN CERTIFICATE"));
    let text = serde_json::to_string(map).unwrap();
    assert!(!text.contains("KEY"), "no key leaves the Secret: {text}");
}

#[test]
fn a_write_begins_with_what_was_read() {
    let read = Secret {
        metadata: kube::api::ObjectMeta {
            resource_version: Some("7".into()),
            ..Default::default()
        },
        ..Default::default()
    };
    let patch = json!(replace_data(
        &read,
        &[("ca.crt".to_owned(), b"x".to_vec())].into()
    ));
    assert_eq!(
        patch[0],
        json!({"op": "test", "path": "/metadata/resourceVersion", "value": "7"})
    );
    assert_eq!(
        patch[1],
        json!({"op": "add", "path": "/data", "value": {"ca.crt": "eA=="}})
    );
}
