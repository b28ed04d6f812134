//! Time stands still here unless everybody waits; then it jumps to the next timer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use super::*;
use crate::runtime::{
    shutdown::Trigger,
    testing::{self, OneObject, Told},
};

struct Candidate {
    leadership: Leadership,
    trigger: Trigger,
    task: JoinHandle<()>,
    /// While set, the API server does not answer this candidate.
    cut_off: Arc<AtomicBool>,
}

fn candidate(lease: &OneObject, identity: &str) -> Candidate {
    let (lease, cut_off) = (lease.clone(), Arc::new(AtomicBool::new(false)));
    let cut = Arc::clone(&cut_off);
    let client = testing::client(move |asked| {
        if cut.load(Ordering::SeqCst) {
            Told::Silence
        } else {
            lease.answer(&asked)
        }
    });
    let (keeper, leadership) =
        testing::keeper(client, identity, &mut Registry::default(), FaultSwitch::default());
    let (trigger, shutdown) = Shutdown::pair();
    let task = tokio::spawn(keeper.run(shutdown));
    Candidate {
        leadership,
        trigger,
        task,
        cut_off,
    }
}

impl Candidate {
    async fn leads(&self) {
        self.leadership
            .subscribe()
            .wait_for(|leads| *leads)
            .await
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_makes_the_lease_and_renews_it() {
    let lease = OneObject::default();
    let first = candidate(&lease, "first");
    assert!(first.leadership.writer().is_none());
    first.leads().await;
    let taken = first.leadership.claim().unwrap();
    let mut claims = first.leadership.claim.clone();
    claims.mark_unchanged();
    claims.changed().await.unwrap();
    assert!(first.leadership.claim().unwrap().until > taken.until);
    let spec = &lease.get().unwrap()["spec"];
    assert_eq!(
        (&spec["holderIdentity"], &spec["leaseTransitions"]),
        (&json!("first"), &json!(1))
    );
}

#[tokio::test(start_paused = true)]
async fn a_claim_ends_before_anybody_else_may_take_it() {
    let lease = OneObject::default();
    let first = candidate(&lease, "first");
    first.leads().await;
    let second = candidate(&lease, "second");
    first.cut_off.store(true, Ordering::SeqCst);
    let last = first.leadership.claim().unwrap();
    second.leads().await;
    assert!(
        Instant::now() >= last.expires,
        "taken before the first claim had expired"
    );
    assert_eq!(first.leadership.claim(), None);
    assert!(first.leadership.writer().is_none());
    assert!(!*first.leadership.subscribe().borrow(), "the loss was not told");
    // At most the lease and one look later.
    assert!(
        Instant::now() <= last.expires + Duration::from_secs(2),
        "taken too late"
    );
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_late_finds_the_lease_taken() {
    let lease = OneObject::default();
    let first = candidate(&lease, "first");
    first.leads().await;
    let second = candidate(&lease, "second");
    first.cut_off.store(true, Ordering::SeqCst);
    second.leads().await;
    first.cut_off.store(false, Ordering::SeqCst);
    for _ in 0..40 {
        sleep(Duration::from_secs(1)).await;
        assert!(first.leadership.claim().is_none());
        assert!(second.leadership.claim().is_some());
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_hands_over_at_the_next_look() {
    let lease = OneObject::default();
    let first = candidate(&lease, "first");
    first.leads().await;
    let second = candidate(&lease, "second");
    let before = Instant::now();
    first.trigger.fire();
    first.task.await.unwrap();
    assert_eq!(first.leadership.claim(), None);
    second.leads().await;
    assert!(
        before.elapsed() <= Timing::default().retry_every,
        "{:?}",
        before.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn a_touched_lease_is_looked_at_again_before_it_is_renewed() {
    let lease = OneObject::default();
    let first = candidate(&lease, "first");
    first.leads().await;
    lease.change(|object| object["metadata"]["labels"] = json!({"touched": "yes"}));
    let mut claims = first.leadership.claim.clone();
    claims.mark_unchanged();
    let before = first.leadership.claim().unwrap();
    claims
        .wait_for(|claim| claim.is_some_and(|claim| claim != before))
        .await
        .unwrap();
    assert_eq!(lease.get().unwrap()["metadata"]["labels"]["touched"], "yes");

    lease.change(|object| object["spec"]["holderIdentity"] = json!("thief"));
    first
        .leadership
        .subscribe()
        .wait_for(|leads| !*leads)
        .await
        .unwrap();
    assert_eq!(lease.get().unwrap()["spec"]["holderIdentity"], "thief");
}

#[tokio::test(start_paused = true)]
async fn a_restarted_container_goes_on_at_once() {
    let lease = OneObject::default();
    let first = candidate(&lease, "first");
    first.leads().await;
    first.task.abort();
    let before = Instant::now();
    let again = candidate(&lease, "first");
    again.leads().await;
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert_eq!(lease.get().unwrap()["spec"]["leaseTransitions"], 1);
}
