//! The Lease as an object of the API server: read, made, taken, renewed and given back.
//!
//! Every change carries the resourceVersion that it was decided on, so of two who take the same lease one fails. What
//! was seen last is kept with the moment at which it was first seen so, since the times within it are of other clocks.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::coordination::v1::{Lease, LeaseSpec},
    apimachinery::pkg::apis::meta::v1::MicroTime,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::{Seat, Timing};
use crate::runtime::{
    metrics::{CallOutcome, Metrics},
    writer::FIELD_MANAGER,
};

/// One Lease, as one candidate sees it.
#[derive(Debug)]
pub(super) struct LeaseObject {
    api: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    /// The Lease as we saw it last, and when we first saw it so.
    seen: Option<(Lease, Instant)>,
    metrics: Metrics,
}

/// Why the lease was not renewed or taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum LeaseError {
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

impl LeaseObject {
    pub(super) fn new(client: Client, seat: &Seat<'_>, timing: Timing, metrics: Metrics) -> Self {
        Self {
            api: Api::namespaced(client, seat.namespace),
            name: seat.lease.to_owned(),
            identity: seat.identity.to_owned(),
            timing,
            seen: None,
            metrics,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn identity(&self) -> &str {
        &self.identity
    }

    /// What the Lease said last.
    pub(super) fn spec(&self) -> Option<&LeaseSpec> {
        self.seen.as_ref()?.0.spec.as_ref()
    }

    /// After a failure ours may have been renewed, or taken, without our knowing: it is read again. That of somebody
    /// else keeps its clock.
    pub(super) fn doubt(&mut self) {
        self.seen
            .take_if(|(lease, _)| holder(lease) == Some(&self.identity));
    }

    /// Whether the lease is ours, after taking or renewing it where that is allowed.
    pub(super) async fn hold(&mut self) -> Result<bool, LeaseError> {
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

    /// Gives the lease back, where it is ours.
    pub(super) async fn release(&mut self) -> Result<bool, LeaseError> {
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
    pub(super) fn until_free(&self) -> Duration {
        let Some((lease, since)) = &self.seen else {
            return self.timing.retry_every;
        };
        let theirs = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds);
        let duration = theirs
            .and_then(|seconds| u64::try_from(seconds).ok())
            .map_or(self.timing.duration, Duration::from_secs);
        (*since + duration).saturating_duration_since(Instant::now())
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
