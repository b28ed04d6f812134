//! The only way to change anything in the cluster.
//!
//! A [`Writer`] comes from the lease and looks at the claim again before each call, so code without one cannot write
//! and code that lost the lease cannot go on. Every call has a deadline that ends with the claim at the latest; one
//! that is cut off may have been committed, exactly as after a crash. Each call is counted by verb and kind.

use std::{
    borrow::Cow,
    env,
    fmt::{self, Debug},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use json_patch::PatchOperation;
use kube::{
    Api, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::time::{Instant, timeout_at};

use super::{
    lease::Leadership,
    metrics::{CallOutcome, Metrics},
};

/// Under which name the API server records what we own.
pub(crate) const FIELD_MANAGER: &str = "tsutsumi.dev/resolver";

/// How long one call may take.
const CALL_LIMIT: Duration = Duration::from_secs(5);

/// The exit status after an injected fault, told apart from every other end.
pub(crate) const FAULT_EXIT: u8 = 70;

/// What the API server says, without more, when a JSON patch does not apply, which for ours means a failed `test`.
pub(super) const PATCH_DID_NOT_APPLY: &str = "the server rejected our request due to an error in our request";

/// Writes, while the lease is held.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    leadership: Leadership,
    metrics: Metrics,
    faults: Arc<FaultSwitch>,
}

/// What was tried, for a message and for metrics.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Operation {
    verb: &'static str,
    kind: Cow<'static, str>,
    name: String,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} `{}`", self.verb, self.kind, self.name)
    }
}

/// Why a call was not made, or did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteError {
    /// The API server refused, or could not be reached.
    #[error("cannot {operation}")]
    Api {
        /// What was tried.
        operation: Operation,
        /// What came of it.
        source: Box<kube::Error>,
    },
    /// The object is not what the call was decided on, is there already, or belongs to somebody else.
    #[error("cannot {operation}: it has changed meanwhile")]
    Conflict {
        /// What was tried.
        operation: Operation,
        /// What the API server said.
        source: Box<kube::Error>,
    },
    /// It did not end in time, and may or may not have been committed.
    #[error("no answer in time to: {operation}")]
    Deadline {
        /// What was tried.
        operation: Operation,
    },
    /// This process may not write, or no longer.
    #[error("did not {operation}: the lease is not held")]
    LeaseLost {
        /// What was not tried.
        operation: Operation,
    },
}

/// Ends the process after the k-th committed call: a switch for tests of crashes, off unless
/// `TSUTSUMI_FAULT_EXIT_AFTER_WRITE` says k.
#[derive(Debug, Default)]
pub(crate) struct FaultSwitch {
    after: Option<u64>,
    committed: AtomicU64,
}

impl FaultSwitch {
    /// As the environment has it.
    pub(crate) fn from_env() -> Result<Self, String> {
        const NAME: &str = "TSUTSUMI_FAULT_EXIT_AFTER_WRITE";
        match env::var(NAME) {
            Ok(text) => match text.parse() {
                Ok(after @ 1..) => Ok(Self::after(after)),
                _ => Err(format!(
                    "`{text}` is wrong for {NAME}: write a number from 1, for example `3`"
                )),
            },
            Err(_) => Ok(Self::default()),
        }
    }

    fn after(writes: u64) -> Self {
        Self {
            after: Some(writes),
            committed: AtomicU64::new(0),
        }
    }

    /// Counts a committed call; whether the process has to end now.
    fn counts_to_exit(&self) -> bool {
        let committed = self.committed.fetch_add(1, Ordering::SeqCst) + 1;
        self.after == Some(committed)
    }
}

impl Writer {
    pub(super) const fn new(leadership: Leadership, metrics: Metrics, faults: Arc<FaultSwitch>) -> Self {
        Self {
            leadership,
            metrics,
            faults,
        }
    }

    /// Server-side apply of an object in our namespace that is ours outright, so nobody's field there can stand.
    pub(crate) async fn apply_owned<K>(
        &self,
        api: &Api<K>,
        name: &str,
        body: &impl Body,
    ) -> Result<K, WriteError>
    where
        K: Kind,
    {
        let params = PatchParams::apply(FIELD_MANAGER).force();
        self.commit(
            operation::<K>("apply", name),
            api.patch(name, &params, &Patch::Apply(body)),
        )
        .await
    }

    /// Server-side apply of an object among others': a field that is somebody else's is a [`WriteError::Conflict`]. The
    /// manager is another than for what is ours outright.
    pub(crate) async fn apply_shared<K>(
        &self,
        api: &Api<K>,
        name: &str,
        manager: &str,
        body: &impl Body,
    ) -> Result<K, WriteError>
    where
        K: Kind,
    {
        let params = PatchParams::apply(manager);
        self.commit(
            operation::<K>("apply", name),
            api.patch(name, &params, &Patch::Apply(body)),
        )
        .await
    }

    /// Server-side apply of the status; the body carries `apiVersion`, `kind` and `status`.
    pub(crate) async fn apply_status<K>(
        &self,
        api: &Api<K>,
        name: &str,
        body: &impl Body,
    ) -> Result<K, WriteError>
    where
        K: Kind,
    {
        let params = PatchParams::apply(FIELD_MANAGER);
        let patch = Patch::Apply(body);
        self.commit(
            operation::<K>("apply-status", name),
            api.patch_status(name, &params, &patch),
        )
        .await
    }

    /// A JSON patch; start it with a `test` on what it was decided on, whose failure is a [`WriteError::Conflict`].
    pub(crate) async fn json_patch<K>(
        &self,
        api: &Api<K>,
        name: &str,
        patch: json_patch::Patch,
    ) -> Result<K, WriteError>
    where
        K: Kind,
    {
        let tests = patch
            .iter()
            .any(|operation| matches!(operation, PatchOperation::Test(_)));
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let patch = Patch::<()>::Json(patch);
        let call = api.patch(name, &params, &patch);
        let outcome = self.commit(operation::<K>("patch", name), call).await;
        outcome.map_err(|problem| if tests { problem.test_failed() } else { problem })
    }

    /// Creates an object; one of that name that is there already is a [`WriteError::Conflict`].
    pub(crate) async fn create<K>(&self, api: &Api<K>, object: &K) -> Result<K, WriteError>
    where
        K: Kind + Serialize,
    {
        let name = object.meta().name.clone().unwrap_or_default();
        let params = PostParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        self.commit(operation::<K>("create", &name), api.create(&params, object))
            .await
    }

    /// Deletes the object of this uid, and no other of its name; that it is gone already is a success. Without a uid
    /// whatever bears the name goes: only where the name itself is ours alone.
    pub(crate) async fn delete<K>(
        &self,
        api: &Api<K>,
        name: &str,
        uid: Option<&str>,
    ) -> Result<(), WriteError>
    where
        K: Kind,
    {
        let preconditions = uid.map(|uid| Preconditions {
            uid: Some(uid.to_owned()),
            resource_version: None,
        });
        let params = DeleteParams {
            preconditions,
            ..DeleteParams::default()
        };
        let call = async {
            match api.delete(name, &params).await {
                Err(kube::Error::Api(status)) if status.is_not_found() => Ok(()),
                outcome => outcome.map(|_| ()),
            }
        };
        self.commit(operation::<K>("delete", name), call).await
    }

    /// Publishes an Event; the caller builds the call, this bounds and counts it.
    pub(super) async fn event(
        &self,
        about: &str,
        call: impl Future<Output = kube::Result<()>>,
    ) -> Result<(), WriteError> {
        let operation = Operation {
            verb: "create",
            kind: "Event".into(),
            name: about.to_owned(),
        };
        self.commit(operation, call).await
    }

    async fn commit<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, WriteError> {
        let Some(claim) = self.leadership.claim() else {
            return Err(WriteError::LeaseLost { operation });
        };
        let calling = self.metrics.calling();
        let limit = claim.expires.min(Instant::now() + CALL_LIMIT);
        let outcome = timeout_at(limit, call).await;
        drop(calling);
        let (label, outcome) = match outcome {
            Err(_) => (
                CallOutcome::Deadline,
                Err(WriteError::Deadline {
                    operation: operation.clone(),
                }),
            ),
            Ok(Ok(value)) => (CallOutcome::Ok, Ok(value)),
            Ok(Err(source)) => {
                let problem = WriteError::told(operation.clone(), source);
                let conflict = matches!(problem, WriteError::Conflict { .. });
                (
                    if conflict {
                        CallOutcome::Conflict
                    } else {
                        CallOutcome::Error
                    },
                    Err(problem),
                )
            }
        };
        self.metrics
            .observe_call(operation.verb, operation.kind.clone(), label);
        if outcome.is_ok() && self.faults.counts_to_exit() {
            tracing::error!(%operation, "ending as TSUTSUMI_FAULT_EXIT_AFTER_WRITE says");
            std::process::exit(FAULT_EXIT.into());
        }
        outcome
    }
}

impl WriteError {
    fn told(operation: Operation, source: kube::Error) -> Self {
        let conflict = matches!(&source, kube::Error::Api(status) if status.code == 409);
        let source = Box::new(source);
        if conflict {
            Self::Conflict { operation, source }
        } else {
            Self::Api { operation, source }
        }
    }

    /// Whether the API server said no, rather than nothing or that it has trouble of its own.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Conflict { .. } => true,
            Self::Api { source, .. } => {
                matches!(source.as_ref(), kube::Error::Api(status) if (400..500).contains(&status.code) && status.code != 429)
            }
            Self::Deadline { .. } | Self::LeaseLost { .. } => false,
        }
    }

    /// A failed `test` is told as 422 without a cause; a schema violation carries one, and another message.
    fn test_failed(self) -> Self {
        match self {
            Self::Api { operation, source } if is_failed_test(&source) => {
                Self::Conflict { operation, source }
            }
            other => other,
        }
    }
}

/// What can be written: any type of Kubernetes or of ours.
pub(crate) trait Kind: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned {}
impl<K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned> Kind for K {}

/// What can stand in a request.
pub(crate) trait Body: Serialize + Debug {}
impl<B: Serialize + Debug> Body for B {}

fn operation<K: Kind>(verb: &'static str, name: &str) -> Operation {
    Operation {
        verb,
        kind: K::kind(&()),
        name: name.to_owned(),
    }
}

/// Whether a `test` of a JSON patch did not hold.
pub(super) fn is_failed_test(problem: &kube::Error) -> bool {
    matches!(problem, kube::Error::Api(status) if status.code == 422 && status.message == PATCH_DID_NOT_APPLY)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
