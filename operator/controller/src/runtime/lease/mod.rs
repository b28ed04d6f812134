//! Who writes: the holder of one Lease in our namespace, and only while the claim is provably his.
//!
//! A claim ends by this process's own monotonic clock, a grace period before anybody else may take the lease, and is
//! counted from the moment before the renewal was sent. Others' claims are timed from the moment we saw them change,
//! so no two clocks are ever compared; how the Lease is read and changed stands in [`object`].
//! Ready-made crates were not taken: they publish no deadline, and take an expired lease without a precondition.

mod object;

use std::{sync::Arc, time::Duration};

use kube::Client;
use serde_json::json;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use self::object::{LeaseError, LeaseObject};
use super::{
    diagnostics::Diagnostics,
    logging::Chain,
    metrics::Metrics,
    shutdown::Shutdown,
    writer::{FaultSwitch, Writer},
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
    object: LeaseObject,
    timing: Timing,
    claim: watch::Sender<Option<Claim>>,
    leads: watch::Sender<bool>,
    metrics: Metrics,
    diagnostics: Diagnostics,
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
            object: LeaseObject::new(client, seat, timing, metrics.clone()),
            timing,
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
        if let Err(problem) = self.within_limit(LeaseObject::release).await {
            tracing::warn!(error = %Chain(&problem), "the lease was not given back; it lapses by itself");
        }
    }

    /// One attempt; says when to make the next.
    async fn round(&mut self) -> Duration {
        let asked = Instant::now();
        self.publish_lapse();
        match self.within_limit(LeaseObject::hold).await {
            Ok(true) => {
                self.publish(Some(Claim::counted_from(asked, &self.timing)));
                self.timing.renew_every
            }
            Ok(false) => {
                self.publish(None);
                self.object.until_free().min(self.timing.retry_every)
            }
            Err(problem) => {
                self.object.doubt();
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

    /// Bounds an attempt, so that a silent API server cannot hold the loop, and a lost claim is told in time.
    async fn within_limit<T>(
        &mut self,
        attempt: impl AsyncFnOnce(&mut LeaseObject) -> Result<T, LeaseError>,
    ) -> Result<T, LeaseError> {
        let limit = self.timing.renew_every.min(self.left().unwrap_or(Duration::MAX));
        timeout(limit, attempt(&mut self.object))
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

    fn publish(&self, claim: Option<Claim>) {
        self.claim.send_replace(claim);
        let leads = claim.is_some();
        let changed = self
            .leads
            .send_if_modified(|led| std::mem::replace(led, leads) != leads);
        if changed {
            tracing::info!(leads, identity = self.object.identity(), "leadership changed");
            self.metrics.set_leader(leads);
        }
        self.diagnostics.put(
            "lease",
            self.object.name(),
            &json!({"leads": leads, "identity": self.object.identity(), "spec": self.object.spec()}),
        );
    }
}

#[cfg(test)]
mod tests;
