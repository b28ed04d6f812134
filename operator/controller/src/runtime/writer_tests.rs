use http::{Method, StatusCode};
use json_patch::jsonptr::PointerBuf;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use prometheus_client::registry::Registry;
use serde_json::json;
use tokio::{sync::mpsc, time};

use super::*;
use crate::runtime::{
    metrics,
    shutdown::{Shutdown, Trigger},
    testing::{self, Asked, OneObject, Told},
};

struct Bench {
    leadership: Leadership,
    registry: Registry,
    seen: mpsc::UnboundedReceiver<Asked>,
    client: kube::Client,
    trigger: Trigger,
    keeper: tokio::task::JoinHandle<()>,
}

/// A held lease, and an API server that answers everything else by the closure.
async fn bench(answer: impl Fn(&Asked) -> Told + Send + 'static) -> Bench {
    let lease = OneObject::default();
    let (asked, seen) = mpsc::unbounded_channel();
    let client = testing::client(move |request| {
        if request.path.contains("/leases") {
            return lease.answer(&request);
        }
        let told = answer(&request);
        asked.send(request).unwrap();
        told
    });
    let mut registry = Registry::default();
    let (keeper, leadership) =
        testing::keeper(client.clone(), "dyke-0", &mut registry, FaultSwitch::default());
    let (trigger, shutdown) = Shutdown::pair();
    let keeper = tokio::spawn(keeper.run(shutdown));
    leadership.subscribe().wait_for(|leads| *leads).await.unwrap();
    Bench {
        leadership,
        registry,
        seen,
        client,
        trigger,
        keeper,
    }
}

impl Bench {
    fn config_maps(&self) -> Api<ConfigMap> {
        Api::namespaced(self.client.clone(), "dyke")
    }

    fn counted(&self, line: &str) -> bool {
        metrics::render(&self.registry)
            .unwrap()
            .lines()
            .any(|shown| shown == line)
    }
}

fn echo(_: &Asked) -> Told {
    Told::Answer(StatusCode::OK, json!({"metadata": {"name": "saved"}}))
}

fn guarded_patch() -> json_patch::Patch {
    let test = json_patch::TestOperation {
        path: PointerBuf::parse("/metadata/resourceVersion").unwrap(),
        value: json!("7"),
    };
    json_patch::Patch(vec![PatchOperation::Test(test)])
}

#[tokio::test(start_paused = true)]
async fn applies_name_the_manager_and_force_only_what_is_ours() {
    let mut bench = bench(echo).await;
    let writer = bench.leadership.writer().unwrap();
    let body = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    writer
        .apply_owned(&bench.config_maps(), "saved", &body)
        .await
        .unwrap();
    writer
        .apply_status(&bench.config_maps(), "saved", &body)
        .await
        .unwrap();
    let (owned, status) = (bench.seen.recv().await.unwrap(), bench.seen.recv().await.unwrap());
    assert_eq!(owned.method, Method::PATCH);
    assert_eq!(owned.path, "/api/v1/namespaces/dyke/configmaps/saved");
    assert!(owned.query.contains("force=true"), "{}", owned.query);
    assert_eq!(status.path, "/api/v1/namespaces/dyke/configmaps/saved/status");
    assert!(!status.query.contains("force"), "{}", status.query);
    for query in [owned.query, status.query] {
        assert!(query.contains("fieldManager=tsutsumi.dev%2Fresolver"), "{query}");
    }
    assert!(bench.counted(r#"tsutsumi_api_calls_total{verb="apply",kind="ConfigMap",outcome="ok"} 1"#));
    assert!(
        bench.counted(r#"tsutsumi_api_calls_total{verb="apply-status",kind="ConfigMap",outcome="ok"} 1"#)
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_sent_once_the_lease_is_lost() {
    let mut bench = bench(echo).await;
    let writer = bench.leadership.writer().unwrap();
    bench.trigger.fire();
    (&mut bench.keeper).await.unwrap();
    let outcome = writer
        .json_patch(&bench.config_maps(), "coredns", guarded_patch())
        .await;
    let Err(problem @ WriteError::LeaseLost { .. }) = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(
        problem.to_string(),
        "did not patch ConfigMap `coredns`: the lease is not held"
    );
    assert!(bench.seen.try_recv().is_err(), "a request was sent");
}

#[tokio::test(start_paused = true)]
async fn a_lapsed_claim_stops_a_writer_that_nobody_told() {
    let mut bench = bench(echo).await;
    let writer = bench.leadership.writer().unwrap();
    // As when the whole process stands still: no renewal, and no notice either.
    bench.keeper.abort();
    time::advance(Duration::from_secs(12)).await;
    let outcome = writer.delete(&bench.config_maps(), "saved", Some("u-1")).await;
    assert!(
        matches!(outcome, Err(WriteError::LeaseLost { .. })),
        "{outcome:?}"
    );
    assert!(bench.seen.try_recv().is_err(), "a request was sent");
}

#[tokio::test(start_paused = true)]
async fn a_failed_test_and_a_409_are_conflicts_but_a_bad_object_is_not() {
    let bench = bench(|asked| match asked.path.rsplit('/').next().unwrap() {
        "test" => testing::refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", PATCH_DID_NOT_APPLY),
        "newer" => testing::refusal(StatusCode::CONFLICT, "Conflict", "the object has been modified"),
        _ => testing::refusal(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            "ConfigMap \"bad\" is invalid",
        ),
    })
    .await;
    let writer = bench.leadership.writer().unwrap();
    for (name, conflict) in [("test", true), ("newer", true), ("bad", false)] {
        let problem = writer
            .json_patch(&bench.config_maps(), name, guarded_patch())
            .await
            .unwrap_err();
        assert_eq!(
            matches!(problem, WriteError::Conflict { .. }),
            conflict,
            "{problem:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_ends_by_its_deadline() {
    let bench = bench(|_| Told::Silence).await;
    let writer = bench.leadership.writer().unwrap();
    let before = Instant::now();
    let problem = writer
        .json_patch(&bench.config_maps(), "coredns", guarded_patch())
        .await
        .unwrap_err();
    assert!(matches!(problem, WriteError::Deadline { .. }), "{problem:?}");
    assert_eq!(before.elapsed(), CALL_LIMIT);
    assert!(bench.counted(r#"tsutsumi_api_calls_total{verb="patch",kind="ConfigMap",outcome="deadline"} 1"#));
    assert!(bench.counted("tsutsumi_api_calls_in_flight 0"));
}

#[tokio::test(start_paused = true)]
async fn only_the_object_that_was_meant_is_deleted() {
    let mut bench = bench(|_| testing::refusal(StatusCode::NOT_FOUND, "NotFound", "gone")).await;
    let writer = bench.leadership.writer().unwrap();
    let pods: Api<Pod> = Api::namespaced(bench.client.clone(), "dyke");
    writer.delete(&pods, "canary", Some("u-1")).await.unwrap();
    let asked = bench.seen.recv().await.unwrap();
    assert_eq!(
        (asked.method, &asked.body["preconditions"]["uid"]),
        (Method::DELETE, &json!("u-1"))
    );
}

#[test]
fn the_fault_comes_after_the_counted_write_and_no_other() {
    let faults = FaultSwitch::after(2);
    assert_eq!(
        [(); 4].map(|()| faults.counts_to_exit()),
        [false, true, false, false]
    );
    let off = FaultSwitch::default();
    assert!((0..100).all(|_| !off.counts_to_exit()));
}
