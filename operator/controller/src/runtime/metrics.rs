//! What is counted, under the names that the field uses.
//!
//! Labels come from closed sets or are names of policies, which are few; never from `Debug`, and never from anything
//! that a client of the cluster can choose. A policy that goes takes its series along.

use std::{
    borrow::Cow,
    sync::atomic::AtomicU64,
    time::{Duration, Instant},
};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use prometheus_client::{
    encoding::text,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};
use tsutsumi_api::resolver_policy::ControlStatus;
use tsutsumi_model::{ControlId, ControlState, Evidence};

#[path = "metrics_conditions.rs"]
mod conditions;
#[path = "metrics_labels.rs"]
mod labels;

use self::conditions::Conditions;
use self::labels::{CallLabel, ControlLabel, PolicyLabel, ResultLabel, SecretLabel, StateLabel};

/// Every state, so that exactly one of them can be 1.
const STATES: [ControlState; 7] = [
    ControlState::Attested,
    ControlState::Fail,
    ControlState::Indeterminate,
    ControlState::NotApplicable,
    ControlState::Pass,
    ControlState::Unsupported,
    ControlState::Waived,
];

type Seconds = Gauge<f64, AtomicU64>;

/// The counters of this process; clones count into the same.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    reconcile_duration: Histogram,
    reconciles: Family<ResultLabel, Counter>,
    in_flight: Gauge,
    api_calls: Family<CallLabel, Counter>,
    api_calls_in_flight: Gauge,
    control_state: Family<StateLabel, Gauge>,
    last_verified: Family<ControlLabel, Seconds>,
    valid_until: Family<ControlLabel, Seconds>,
    conditions: Conditions,
    plan_changes: Family<PolicyLabel, Gauge>,
    refused_in_cluster: Family<PolicyLabel, Counter>,
    certificate_not_after: Family<SecretLabel, Seconds>,
    leader: Gauge,
}

/// How a call to the API server ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CallOutcome {
    /// The API server answered that it could not, or nothing answered.
    Error,
    /// The object had changed meanwhile.
    Conflict,
    /// It did not end in time.
    Deadline,
    /// Done.
    Ok,
}

/// One result, as far as metrics show it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ControlSample {
    control: ControlId,
    state: ControlState,
    checked_at: Timestamp,
    valid_until: Timestamp,
}

/// A reconcile under way; without [`Reconciling::finish`] it counts as `cancelled`.
#[derive(Debug)]
pub(crate) struct Reconciling<'a> {
    metrics: &'a Metrics,
    since: Instant,
    category: &'static str,
}

/// A call under way.
#[derive(Debug)]
pub(crate) struct Calling<'a>(&'a Metrics);

impl Metrics {
    /// Registers everything under the prefix `tsutsumi`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let mut ours = Ours(registry.sub_registry_with_prefix("tsutsumi"));
        ours.0.register(
            "build",
            "What runs",
            Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]),
        );
        Self {
            reconcile_duration: ours.add_seconds(
                "reconcile_duration",
                "How long a reconcile took",
                Histogram::new(exponential_buckets(0.001, 2.0, 17)),
            ),
            reconciles: ours.plain("reconciles", "Reconciles by how they ended"),
            in_flight: ours.plain("reconciles_in_flight", "Reconciles under way"),
            api_calls: ours.plain("api_calls", "Calls that change or renew objects"),
            api_calls_in_flight: ours.plain("api_calls_in_flight", "Such calls under way"),
            control_state: ours.plain(
                "control_state",
                "1 for the state that a control is in, 0 for the others",
            ),
            last_verified: ours.seconds(
                "control_last_verified_timestamp",
                "When the control was last evaluated",
            ),
            valid_until: ours.seconds(
                "control_valid_until_timestamp",
                "Later than this, the result counts as unknown",
            ),
            conditions: Conditions::new(ours.plain(
                "policy_condition",
                "1 for each condition of a policy, with its status and reason",
            )),
            plan_changes: ours.plain("plan_changes", "Changes that the plan holds"),
            refused_in_cluster: ours.plain(
                "acl_refused_in_cluster",
                "Queries from inside the cluster that cluster DNS refused",
            ),
            certificate_not_after: ours.seconds(
                "certificate_not_after_timestamp",
                "When the certificate in this Secret ends",
            ),
            leader: ours.plain("leader", "1 while this process holds the lease"),
        }
    }

    /// Counts a reconcile from now on.
    pub(crate) fn reconciling(&self) -> Reconciling<'_> {
        self.in_flight.inc();
        Reconciling {
            metrics: self,
            since: Instant::now(),
            category: "cancelled",
        }
    }

    /// Counts a reconcile that ended; the category is one of a closed set.
    pub(crate) fn observe_reconcile(&self, category: &'static str, took: Duration) {
        self.reconcile_duration.observe(took.as_secs_f64());
        self.reconciles
            .get_or_create(&ResultLabel { result: category })
            .inc();
    }

    /// Counts a call from now on.
    pub(crate) fn calling(&self) -> Calling<'_> {
        self.api_calls_in_flight.inc();
        Calling(self)
    }

    /// Counts a call that ended.
    pub(crate) fn observe_call(&self, verb: &'static str, kind: Cow<'static, str>, outcome: CallOutcome) {
        let outcome = match outcome {
            CallOutcome::Conflict => "conflict",
            CallOutcome::Deadline => "deadline",
            CallOutcome::Error => "error",
            CallOutcome::Ok => "ok",
        };
        self.api_calls
            .get_or_create(&CallLabel { verb, kind, outcome })
            .inc();
    }

    /// Shows the results of a policy, and no others.
    pub(crate) fn set_controls(&self, policy: &str, results: impl IntoIterator<Item = ControlSample>) {
        let mut gone = ControlId::ALL.to_vec();
        for result in results {
            gone.retain(|control| *control != result.control);
            let label = ControlLabel::new(policy, result.control);
            for state in STATES {
                let is = i64::from(state == result.state);
                self.control_state
                    .get_or_create(&StateLabel::new(policy, result.control, state))
                    .set(is);
            }
            self.last_verified
                .get_or_create(&label)
                .set(unix(result.checked_at));
            self.valid_until
                .get_or_create(&label)
                .set(unix(result.valid_until));
        }
        for control in gone {
            self.forget_control(policy, control);
        }
    }

    /// Shows the conditions of a policy, and no others.
    pub(crate) fn set_conditions(&self, policy: &str, conditions: &[Condition]) {
        self.conditions.set(policy, conditions);
    }

    /// How many changes the plan of a policy holds.
    pub(crate) fn set_plan_changes(&self, policy: &str, changes: usize) {
        let changes = i64::try_from(changes).unwrap_or(i64::MAX);
        self.plan_changes
            .get_or_create(&PolicyLabel::new(policy))
            .set(changes);
    }

    /// Adds queries of a policy's servers that were refused inside the cluster since the last look: an increase, not
    /// the total of CoreDNS, which begins anew with each pod.
    pub(crate) fn add_refused_in_cluster(&self, policy: &str, queries: u64) {
        self.refused_in_cluster
            .get_or_create(&PolicyLabel::new(policy))
            .inc_by(queries);
    }

    /// Drops every series of a policy that is gone.
    pub(crate) fn forget(&self, policy: &str) {
        for control in ControlId::ALL {
            self.forget_control(policy, control);
        }
        self.conditions.forget(policy);
        self.plan_changes.remove(&PolicyLabel::new(policy));
        self.refused_in_cluster.remove(&PolicyLabel::new(policy));
    }

    /// When the certificate in a Secret ends.
    pub(crate) fn set_certificate(&self, secret: &'static str, not_after: Timestamp) {
        self.certificate_not_after
            .get_or_create(&SecretLabel { secret })
            .set(unix(not_after));
    }

    /// Whether this process holds the lease.
    pub(crate) fn set_leader(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }

    fn forget_control(&self, policy: &str, control: ControlId) {
        for state in STATES {
            self.control_state
                .remove(&StateLabel::new(policy, control, state));
        }
        let label = ControlLabel::new(policy, control);
        self.last_verified.remove(&label);
        self.valid_until.remove(&label);
    }
}

/// Registers under our prefix and hands back what was registered, so that each name stands once, beside its field.
struct Ours<'a>(&'a mut Registry);

impl Ours<'_> {
    fn plain<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add(name, help, M::default())
    }

    fn seconds<M: Metric + Clone + Default>(&mut self, name: &str, help: &str) -> M {
        self.add_seconds(name, help, M::default())
    }

    fn add<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }

    fn add_seconds<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0
            .register_with_unit(name, help, Unit::Seconds, metric.clone());
        metric
    }
}

/// Everything that is registered, in the text format of `OpenMetrics`.
pub(crate) fn render(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    text::encode(&mut out, registry)?;
    Ok(out)
}

impl Reconciling<'_> {
    /// Says how it ended; the category is one of a closed set.
    pub(crate) fn finish(mut self, category: &'static str) {
        self.category = category;
    }
}

impl Drop for Reconciling<'_> {
    fn drop(&mut self) {
        self.metrics.in_flight.dec();
        self.metrics
            .observe_reconcile(self.category, self.since.elapsed());
    }
}

impl Drop for Calling<'_> {
    fn drop(&mut self) {
        self.0.api_calls_in_flight.dec();
    }
}

impl From<&Evidence> for ControlSample {
    fn from(evidence: &Evidence) -> Self {
        Self {
            control: evidence.verdict.control,
            state: evidence.verdict.state,
            checked_at: evidence.checked_at,
            valid_until: evidence.valid_until,
        }
    }
}

impl From<&ControlStatus> for ControlSample {
    fn from(status: &ControlStatus) -> Self {
        Self {
            control: status.id,
            state: status.state,
            checked_at: status.checked_at.0,
            valid_until: status.valid_until.0,
        }
    }
}

fn unix(at: Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
