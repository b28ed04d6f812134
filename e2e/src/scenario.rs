//! One test at a time on one cluster: each begins from the same cluster DNS, and one that fails shows what it saw.

mod begin;
mod managed;
mod wire;

use std::{
    env,
    fs::OpenOptions,
    io::{self, Write as _},
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, LogParams};
use serde_json::Value;
use tsutsumi_api::{
    ResolverPolicy,
    conditions::{ConditionType, Reason},
    resolver_policy::ControlStatus,
};
use tsutsumi_model::{ControlId, ControlState};

use crate::{cluster::Cluster, install::NAMESPACE, outside::Outside, place::Place, policy, rig::Rig, wait};

/// How long it may take from a policy to `Ready`: canaries, kubelet's sync, `reload`, a round of probes; also where
/// kubelet and CoreDNS have their usual intervals.
pub const READY: Duration = Duration::from_secs(240);
/// How long it may take until a round of probes has seen a change: the interval of the tests' policies, twice.
pub const SEEN: Duration = Duration::from_secs(90);

/// Tests change cluster DNS, so only one may run. The value counts the failures in a row up to now.
static CLUSTER: Mutex<u32> = Mutex::new(0);
/// After so many failures in a row the cluster is not what it was: more would take minutes each and tell the same.
const GIVEN_UP: u32 = 4;

/// A test while it runs.
pub struct Scenario {
    /// The machine's part.
    pub rig: Rig,
    /// The cluster's part.
    pub cluster: Cluster,
    /// A client outside the cluster.
    pub outside: Place,
    /// What runs outside: a prober and a probe zone.
    running: Vec<Outside>,
}

/// What a test needs before it begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum From {
    /// Cluster DNS as kubeadm installs it, exposed, and tsutsumi installed, with a prober and a probe zone outside.
    Installed,
    /// Cluster DNS as kubeadm installs it, exposed, and nothing of ours.
    Bare,
    /// The CRDs only; cluster DNS as it happens to be.
    Schema,
}

/// Runs a test; its failure is told together with the state of the cluster.
///
/// # Errors
/// As the test fails, or if it could not begin.
pub fn run(from: From, test: impl AsyncFnOnce(&mut Scenario) -> Result<()>) -> Result<()> {
    let mut failures = CLUSTER.lock().unwrap_or_else(PoisonError::into_inner);
    ensure!(
        *failures < GIVEN_UP,
        "not begun: the {GIVEN_UP} tests before this one failed; the first of them tells most"
    );
    let outcome = run_alone(from, test);
    if let Err(error) = &outcome {
        note(error);
    }
    *failures = if outcome.is_ok() { 0 } else { *failures + 1 };
    outcome
}

/// Notes a failure for who runs the suite: `cargo xtask test` repeats it at its end, after all that was said besides.
fn note(error: &anyhow::Error) {
    let Some(path) = env::var_os("TSUTSUMI_FAILURES") else {
        return;
    };
    let thread = thread::current();
    let line = format!("{}: {error:#}\n\n", thread.name().unwrap_or("a test"));
    let file = OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("the failure could not be noted in {}: {error}", path.display());
    }
}

fn run_alone(from: From, test: impl AsyncFnOnce(&mut Scenario) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let start = Instant::now();
        let mut scenario = Box::pin(Scenario::begin(from))
            .await
            .context("preparing the test")?;
        let prepared = start.elapsed().as_secs_f64();
        let outcome = test(&mut scenario).await;
        let all = start.elapsed().as_secs_f64();
        // Past the capture of the harness: whoever makes the suite shorter has to know where its time goes.
        let _ = write!(io::stderr(), "{prepared:.1} + {:.1} s ", all - prepared);
        if outcome.is_err() && from != From::Schema {
            scenario.tell().await;
        }
        outcome
    })
}

impl Scenario {
    /// Applies a policy and waits until it is Ready.
    ///
    /// # Errors
    /// If it is refused or does not become Ready in time.
    pub async fn ready(&self, policy: &Value) -> Result<ResolverPolicy> {
        let name = self
            .cluster
            .apply_policy(policy)
            .await?
            .metadata
            .name
            .context("a policy has a name")?;
        self.becomes_ready(&name).await
    }

    /// Waits until a policy is Ready.
    ///
    /// # Errors
    /// If it does not become so in time.
    pub async fn becomes_ready(&self, name: &str) -> Result<ResolverPolicy> {
        self.reaches(name, "Ready", READY, |policy| {
            policy::is(policy, ConditionType::Ready, "True")
        })
        .await
    }

    /// Waits until a condition has this status and reason.
    ///
    /// # Errors
    /// If it does not get them in time.
    pub async fn says(
        &self,
        name: &str,
        wanted: ConditionType,
        status: &str,
        reason: Reason,
    ) -> Result<ResolverPolicy> {
        let what = format!("{}={status} for {}", wanted.as_str(), reason.as_str());
        let says = |policy: &ResolverPolicy| {
            policy::condition(policy, wanted)
                .is_some_and(|found| found.status == status && found.reason == reason.as_str())
        };
        self.reaches(name, &what, READY, says).await
    }

    /// Waits until a control comes to an outcome, and returns it.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn control(&self, name: &str, id: ControlId, state: ControlState) -> Result<ControlStatus> {
        self.control_says(name, id, state, &[]).await
    }

    /// Waits until a control comes to an outcome with a message that holds every part, and returns it.
    ///
    /// # Errors
    /// If it does not in time.
    pub async fn control_says(
        &self,
        name: &str,
        id: ControlId,
        state: ControlState,
        parts: &[&str],
    ) -> Result<ControlStatus> {
        let what = format!("{id} is {state} and its message has {parts:?}");
        let says = |policy: &ResolverPolicy| {
            let message = policy::control(policy, id).map_or("", |control| &control.message);
            policy::came_to(policy, id, state) && parts.iter().all(|part| message.contains(part))
        };
        let policy = self.reaches(name, &what, READY, says).await?;
        policy::control(&policy, id).cloned().context("it was there")
    }

    /// Waits until a policy's status is what is wanted.
    ///
    /// # Errors
    /// If it is not in time.
    pub async fn reaches(
        &self,
        name: &str,
        what: &str,
        within: Duration,
        mut reached: impl FnMut(&ResolverPolicy) -> bool,
    ) -> Result<ResolverPolicy> {
        let policies = self.cluster.policies();
        let reached = |policy: Option<&ResolverPolicy>| policy.is_some_and(&mut reached);
        wait::object(&policies, name, what, within, reached)
            .await?
            .context("it was there")
    }

    /// Waits for the end of a round of probes that has not been told yet.
    ///
    /// # Errors
    /// If none ends in time.
    pub async fn next_round(&self, name: &str) -> Result<ResolverPolicy> {
        let checked = |policy: &ResolverPolicy| {
            policy::control(policy, ControlId::Dns01).map(|control| control.checked_at.0)
        };
        let before = checked(&self.cluster.policies().get(name).await?);
        self.reaches(name, "probed again", SEEN, |policy| checked(policy) > before)
            .await
    }

    /// Deletes a policy and waits until it is gone.
    ///
    /// # Errors
    /// If it is not there, or stays.
    pub async fn delete(&self, name: &str) -> Result<()> {
        let policies = self.cluster.policies();
        policies.delete(name, &DeleteParams::default()).await?;
        wait::object(&policies, name, "gone", READY, |found| found.is_none()).await?;
        Ok(())
    }

    /// Ends every controller and starts one anew, which knows only what the cluster says.
    ///
    /// # Errors
    /// If it does not come up.
    pub async fn restart_controller(&self) -> Result<()> {
        self.cluster.scale_controller(0).await?;
        self.cluster.scale_controller(1).await
    }

    /// Prints what a person would look at first.
    async fn tell(&self) {
        let policies = self
            .cluster
            .policies()
            .list(&kube::api::ListParams::default())
            .await;
        for policy in policies.map(|list| list.items).unwrap_or_default() {
            eprintln!(
                "{}",
                serde_json::to_string_pretty(&(&policy.metadata.name, &policy.spec, &policy.status))
                    .unwrap_or_default()
            );
        }
        match self.cluster.corefile().await {
            Ok(text) => eprintln!("the live Corefile:\n{text}"),
            Err(error) => eprintln!("{error:#}"),
        }
        let last = LogParams {
            tail_lines: Some(60),
            ..LogParams::default()
        };
        for pod in self.cluster.controllers().await.unwrap_or_default() {
            let name = pod.metadata.name.unwrap_or_default();
            match self.cluster.within::<Pod>(NAMESPACE).logs(&name, &last).await {
                Ok(log) => eprintln!("{name}:\n{log}"),
                Err(error) => eprintln!("{name} has no log: {error}"),
            }
        }
    }
}
