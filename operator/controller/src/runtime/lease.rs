//! Who writes: the holder of one Lease in our namespace, and only while the claim is provably his.
//!
//! A claim ends by this process's own monotonic clock, a grace period before anybody else may take the lease, and is
//! counted from the moment before the renewal was sent. Others' claims are timed from the moment we saw them change,
//! so no two clocks are ever compared. Every change of the Lease carries the resourceVersion it was decided on.
//! Ready-made crates were not taken: they publish no deadline, and take an expired lease without a precondition.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use super::{
    diagnostics::Diagnostics,
    logging::Chain,
    metrics::{CallOutcome, Metrics},
    shutdown::Shutdown,
    writer::{FIELD_MANAGER, FaultSwitch, Writer},
};

/// How long things take around the lease.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timing {
    /// How long a claim counts for others after its last renewal.
    pub(crate) duration: Duration,
    /// How much earlier its holder stops to write.
    pub(crate) grace: Duration,
    /// How often the holder renews, and how long one attempt may take.
    pub(crate) renew_every: Duration,
    /// How often anybody else, or a holder whose renewal failed, looks again.
    pub(crate) retry_every: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(15),
            grace: Duration::from_secs(3),
            renew_every: Duration::from_secs(5),
            retry_every: Duration::from_secs(2),
        }
    }
}

/// Which lease, and who asks for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Seat<'a> {
    /// Its namespace.
    pub(crate) namespace: &'a str,
    /// Its name.
    pub(crate) lease: &'a str,
    /// The name of our pod: a container that starts again in the same pod goes on at once.
    pub(crate) identity: &'a str,
}

/// The right to write, for a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Claim {
    /// No call may begin later than this.
    pub(crate) until: Instant,
    /// No call may be under way later than this: from here on somebody else may write.
    pub(crate) expires: Instant,
}

impl Claim {
    fn counted_from(asked: Instant, timing: &Timing) -> Self {
        let expires = asked + timing.duration;
        Self {
            until: expires - timing.grace,
            expires,
        }
    }
}

/// What the rest of the process sees of the lease; clones see the same.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    claim: watch::Receiver<Option<Claim>>,
    leads: watch::Receiver<bool>,
    metrics: Metrics,
    faults: Arc<FaultSwitch>,
}

impl Leadership {
    /// The claim, as long as a call may begin under it.
    pub(crate) fn claim(&self) -> Option<Claim> {
        let claim = *self.claim.borrow();
        claim.filter(|claim| Instant::now() < claim.until)
    }

    /// What is able to write; it looks at the claim again before each call.
    pub(crate) fn writer(&self) -> Option<Writer> {
        self.claim()
            .map(|_| Writer::new(self.clone(), self.metrics.clone(), Arc::clone(&self.faults)))
    }

    /// Changes when leadership is won or lost, and not at a renewal.
    pub(crate) fn subscribe(&self) -> watch::Receiver<bool> {
        self.leads.clone()
    }
}

/// Keeps the lease; run it for as long as the process may write.
#[derive(Debug)]
pub(crate) struct Keeper {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    /// The Lease as we saw it last, and when we first saw it so.
    seen: Option<(Lease, Instant)>,
    claim: watch::Sender<Option<Claim>>,
    leads: watch::Sender<bool>,
    metrics: Metrics,
    diagnostics: Diagnostics,
}

/// Why the lease was not renewed or taken.
#[derive(Debug, thiserror::Error)]
enum LeaseError {
    /// Somebody changed the Lease meanwhile.
    #[error("somebody else changed the Lease meanwhile")]
    Conflict,
    /// The API server did not answer in time.
    #[error("no answer of the API server in time")]
    Deadline,
    /// The API server refused, or could not be reached.
    #[error("cannot {operation} the Lease")]
    Api {
        /// What was tried.
        operation: &'static str,
        /// What came of it.
        source: kube::Error,
    },
}

impl Keeper {
    /// A keeper that does nothing until it runs, and what the others see of it.
    pub(crate) fn new(
        client: Client,
        seat: &Seat<'_>,
        timing: Timing,
        metrics: Metrics,
        diagnostics: Diagnostics,
        faults: FaultSwitch,
    ) -> (Self, Leadership) {
        let (claim, claim_seen) = watch::channel(None);
        let (leads, leads_seen) = watch::channel(false);
        let leadership = Leadership {
            claim: claim_seen,
            leads: leads_seen,
            metrics: metrics.clone(),
            faults: Arc::new(faults),
        };
        let keeper = Self {
            api: Api::namespaced(client, seat.namespace),
            name: seat.lease.to_owned(),
            identity: seat.identity.to_owned(),
            timing,
            seen: None,
            claim,
            leads,
            metrics,
            diagnostics,
        };
        (keeper, leadership)
    }

    /// Takes and renews the lease until shutdown, then gives it back. Whoever writes must have ended before.
    pub(crate) async fn run(mut self, shutdown: Shutdown) {
        while !shutdown.is_requested() {
            let wait = self.round().await;
            tokio::select! {
                () = shutdown.requested() => {}
                () = sleep(wait) => {}
            }
        }
        self.publish(None);
        if let Err(problem) = self.within_limit(Self::release).await {
            tracing::warn!(error = %Chain(&problem), "the lease was not given back; it lapses by itself");
        }
    }

    /// One attempt; says when to make the next.
    async fn round(&mut self) -> Duration {
        let asked = Instant::now();
        self.publish_lapse();
        match self.within_limit(Self::hold).await {
            Ok(true) => {
                self.publish(Some(Claim::counted_from(asked, &self.timing)));
                self.timing.renew_every
            }
            Ok(false) => {
                self.publish(None);
                self.until_free().min(self.timing.retry_every)
            }
            Err(problem) => {
                // Ours may have been renewed, or taken, without our knowing: read it again. That of somebody else keeps
                // its clock.
                self.seen
                    .take_if(|(lease, _)| holder(lease) == Some(&self.identity));
                let left = self.publish_lapse();
                match problem {
                    // Look at once: it is either ours to renew again, or lost.
                    LeaseError::Conflict if left.is_some() => return Duration::from_millis(50),
                    LeaseError::Conflict => {}
                    LeaseError::Deadline | LeaseError::Api { .. } => {
                        tracing::warn!(error = %Chain(&problem), "the lease was not renewed");
                    }
                }
                self.timing.retry_every.min(left.unwrap_or(Duration::MAX))
            }
        }
    }

    /// Whether the lease is ours, after taking or renewing it where that is allowed.
    async fn hold(&mut self) -> Result<bool, LeaseError> {
        // Our own last renewal need not be read again: the precondition fails if anybody has touched it since.
        let known = self
            .seen
            .as_ref()
            .filter(|(lease, _)| holder(lease) == Some(&self.identity));
        if known.is_none() {
            self.look().await?;
        }
        let Some((lease, _)) = &self.seen else {
            return Ok(false);
        };
        let held = holder(lease);
        let ours = held == Some(&self.identity);
        if held.is_some() && !ours && self.until_free() > Duration::ZERO {
            return Ok(false);
        }
        let now = MicroTime(Timestamp::now());
        let mut spec = json!({
            "holderIdentity": self.identity,
            "leaseDurationSeconds": self.timing.duration.as_secs().max(1),
            "renewTime": now,
        });
        if !ours {
            let before = lease
                .spec
                .as_ref()
                .and_then(|spec| spec.lease_transitions)
                .unwrap_or(0);
            spec["acquireTime"] = json!(now);
            spec["leaseTransitions"] = json!(before.saturating_add(1));
        }
        self.patch(spec).await?;
        Ok(true)
    }

    /// Reads the Lease, or makes it; starts its clock anew if it has changed.
    async fn look(&mut self) -> Result<(), LeaseError> {
        let read = self.api.get_opt(&self.name).await;
        let lease = match read.map_err(|source| LeaseError::Api {
            operation: "read",
            source,
        })? {
            Some(lease) => lease,
            None => self.create().await?,
        };
        let same = self
            .seen
            .as_ref()
            .is_some_and(|(seen, _)| seen.resource_version() == lease.resource_version());
        if !same {
            self.seen = Some((lease, Instant::now()));
        }
        Ok(())
    }

    async fn create(&self) -> Result<Lease, LeaseError> {
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            ..ObjectMeta::default()
        };
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let made = self.api.create(&params, &Lease { metadata, spec: None }).await;
        self.count("create", made)
            .map_err(|problem| named(problem, "create"))
    }

    async fn release(&mut self) -> Result<bool, LeaseError> {
        let ours = self
            .seen
            .as_ref()
            .is_some_and(|(lease, _)| holder(lease) == Some(&self.identity));
        if ours {
            self.patch(json!({"holderIdentity": null, "acquireTime": null, "renewTime": null}))
                .await?;
        }
        Ok(ours)
    }

    /// Changes the Lease as it was seen last; a merge, so that fields of others and of newer versions stay.
    async fn patch(&mut self, spec: Value) -> Result<(), LeaseError> {
        let version = self.seen.as_ref().and_then(|(lease, _)| lease.resource_version());
        let body = json!({"metadata": {"resourceVersion": version}, "spec": spec});
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patched = self.api.patch(&self.name, &params, &Patch::Merge(body)).await;
        let lease = self
            .count("patch", patched)
            .map_err(|problem| named(problem, "patch"))?;
        self.seen = Some((lease, Instant::now()));
        Ok(())
    }

    /// How long the lease of somebody else still counts.
    fn until_free(&self) -> Duration {
        let Some((lease, since)) = &self.seen else {
            return self.timing.retry_every;
        };
        let theirs = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = theirs
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.timing.duration, Duration::from_secs);
        (*since + duration).saturating_duration_since(Instant::now())
    }

    /// Bounds an attempt, so that a silent API server cannot hold the loop, and a lost claim is told in time.
    async fn within_limit<T>(
        &mut self,
        attempt: impl AsyncFnOnce(&mut Self) -> Result<T, LeaseError>,
    ) -> Result<T, LeaseError> {
        let limit = self.timing.renew_every.min(self.left().unwrap_or(Duration::MAX));
        timeout(limit, attempt(self))
            .await
            .unwrap_or(Err(LeaseError::Deadline))
    }

    /// How long the claim lasts, where there is one.
    fn left(&self) -> Option<Duration> {
        let until = self.claim.borrow().as_ref()?.until;
        until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// Tells everybody if the claim has ended; else says how long it lasts.
    fn publish_lapse(&self) -> Option<Duration> {
        let left = self.left();
        if left.is_none() {
            self.publish(None);
        }
        left
    }

    fn count<T>(&self, verb: &'static str, result: kube::Result<T>) -> kube::Result<T> {
        let outcome = match &result {
            Ok(_) => CallOutcome::Ok,
            Err(kube::Error::Api(status)) if status.code == 409 => CallOutcome::Conflict,
            Err(_) => CallOutcome::Error,
        };
        self.metrics.observe_call(verb, "Lease".into(), outcome);
        result
    }

    fn publish(&self, claim: Option<Claim>) {
        self.claim.send_replace(claim);
        let leads = claim.is_some();
        let changed = self
            .leads
            .send_if_modified(|led| std::mem::replace(led, leads) != leads);
        if changed {
            tracing::info!(leads, identity = self.identity, "leadership changed");
            self.metrics.set_leader(leads);
        }
        let spec = self.seen.as_ref().and_then(|(lease, _)| lease.spec.as_ref());
        self.diagnostics.put(
            "lease",
            &self.name,
            &json!({"leads": leads, "identity": self.identity, "spec": spec}),
        );
    }
}

fn holder(lease: &Lease) -> Option<&String> {
    lease
        .spec
        .as_ref()?
        .holder_identity
        .as_ref()
        .filter(|holder| !holder.is_empty())
}

fn named(problem: kube::Error, operation: &'static str) -> LeaseError {
    match problem {
        kube::Error::Api(status) if status.code == 409 => LeaseError::Conflict,
        source => LeaseError::Api { operation, source },
    }
}

#[cfg(test)]
#[path = "lease_tests.rs"]
mod tests;
