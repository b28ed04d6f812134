//! `tsutsumi controller`: puts the parts together and takes them down in order.
//!
//! What writes ends before the lease is given back, and the lease before the process; whatever ends by itself takes
//! the process down, so that the kubelet starts it anew instead of leaving a part dead.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use kube::Client;
use prometheus_client::registry::Registry;
use tokio::{
    net::TcpListener,
    task::{JoinError, JoinHandle},
    time::timeout,
};

use super::{
    admin::{self, Admin, Readiness},
    args::ControllerArgs,
    certificates::{Certificates, ControllerTls, MarkKeys},
    client::{self, ClientError},
    diagnostics::Diagnostics,
    events::Events,
    lease::{Keeper, Leadership, Seat, Timing},
    logging::LevelHandle,
    metrics::Metrics,
    shutdown::{Shutdown, Trigger},
    writer::FaultSwitch,
};
use crate::resolver_policy;

/// How long the reconcilers may take to end what they do.
const DRAIN_LIMIT: Duration = Duration::from_secs(15);

/// What a reconciler stands on.
pub(crate) struct RunContext {
    /// The arguments.
    pub(crate) args: Arc<ControllerArgs>,
    /// Reads; whatever changes something goes through a writer.
    pub(crate) client: Client,
    /// Who may write.
    pub(crate) leadership: Leadership,
    /// What is counted.
    pub(crate) metrics: Metrics,
    /// What is shown to a person.
    pub(crate) diagnostics: Diagnostics,
    /// What is told to users.
    pub(crate) events: Events,
    /// Our identity towards probers and probe zones.
    pub(crate) tls: ControllerTls,
    /// What seals the names that a probe zone is asked for.
    pub(crate) mark_keys: MarkKeys,
    /// What the process waits for before it counts as ready.
    pub(crate) readiness: Readiness,
    /// When to end.
    pub(crate) shutdown: Shutdown,
}

/// Why the controller does not run, or no longer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    /// There is no API server to talk to.
    #[error("cannot reach the API server")]
    Client {
        /// Why not.
        source: ClientError,
    },
    /// A part ended that should run for ever.
    #[error("the part `{part}` ended by itself")]
    Ended {
        /// Which.
        part: &'static str,
        /// How, where it did not simply return.
        source: Option<JoinError>,
    },
    /// A switch for tests is set wrongly.
    #[error("{problem}")]
    Fault {
        /// Which, and what would be right.
        problem: String,
    },
    /// A port could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// Signals cannot be heard.
    #[error("cannot listen for signals")]
    Signals {
        /// Why not.
        source: io::Error,
    },
}

/// Runs until it is told to stop, or a part ends by itself.
pub(crate) async fn run(args: ControllerArgs, level: LevelHandle) -> Result<(), ControllerError> {
    let shutdown = Shutdown::on_signal().map_err(|source| ControllerError::Signals { source })?;
    let faults = FaultSwitch::from_env().map_err(|problem| ControllerError::Fault { problem })?;
    let address = args.admin_address;
    let listener = TcpListener::bind(address)
        .await
        .map_err(|source| ControllerError::Listen { address, source })?;
    let client = client::connect()
        .await
        .map_err(|source| ControllerError::Client { source })?;

    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let (diagnostics, readiness) = (Diagnostics::default(), Readiness::default());
    let (keeper, leadership) = Keeper::new(
        client.clone(),
        &Seat {
            namespace: &args.namespace,
            lease: &args.lease_name,
            identity: &args.pod_name,
        },
        Timing::default(),
        metrics.clone(),
        diagnostics.clone(),
        faults,
    );
    let (certificates, tls, mark_keys) = Certificates::new(
        client.clone(),
        &args.namespace,
        &args.hops(),
        leadership.clone(),
        metrics.clone(),
    );
    let admin = Admin {
        registry: Arc::new(registry),
        readiness: readiness.clone(),
        diagnostics: diagnostics.clone(),
        level,
    };
    let context = RunContext {
        events: Events::new(client.clone(), &args.pod_name),
        args: Arc::new(args),
        client,
        leadership,
        metrics,
        diagnostics,
        tls,
        mark_keys,
        readiness,
        shutdown: shutdown.clone(),
    };

    let (release, released) = Shutdown::pair();
    let (close, closed) = Shutdown::pair();
    let parts = Parts {
        certificates: tokio::spawn(certificates.run(shutdown.clone())),
        lease: tokio::spawn(keeper.run(released)),
        reconcilers: tokio::spawn(resolver_policy::run(context)),
        admin: tokio::spawn(async move {
            if let Err(problem) = admin::serve(listener, admin, closed).await {
                tracing::error!(error = %problem, "the admin port failed");
            }
        }),
    };
    parts.supervise(&shutdown, &release, &close).await
}

/// The tasks, each of which runs until it is asked to end.
struct Parts {
    certificates: JoinHandle<()>,
    lease: JoinHandle<()>,
    reconcilers: JoinHandle<()>,
    admin: JoinHandle<()>,
}

impl Parts {
    /// Waits for the wish to stop, or for a part that ends without it; then takes down what is left, in order.
    async fn supervise(
        mut self,
        shutdown: &Shutdown,
        release: &Trigger,
        close: &Trigger,
    ) -> Result<(), ControllerError> {
        let early = tokio::select! {
            biased;
            () = shutdown.requested() => None,
            ended = &mut self.certificates => Some(("certificates", ended)),
            ended = &mut self.lease => Some(("lease", ended)),
            ended = &mut self.reconcilers => Some(("reconcilers", ended)),
            ended = &mut self.admin => Some(("admin", ended)),
        };
        if let Some((part, ended)) = early {
            // No part may write after this: the process is gone before the lease could be anybody else's.
            return Err(ControllerError::Ended {
                part,
                source: ended.err(),
            });
        }
        drain("reconcilers", self.reconcilers).await;
        drain("certificates", self.certificates).await;
        release.fire();
        drain("lease", self.lease).await;
        close.fire();
        drain("admin", self.admin).await;
        Ok(())
    }
}

/// Waits for a part to end, for a while; then cuts it off, which equals a crash.
async fn drain(part: &'static str, mut task: JoinHandle<()>) {
    match timeout(DRAIN_LIMIT, &mut task).await {
        Ok(Ok(())) => {}
        Ok(Err(problem)) => tracing::error!(part, error = %problem, "a part failed while ending"),
        Err(_) => {
            tracing::warn!(part, "a part did not end in time");
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    fn part(name: &'static str, until: Shutdown, order: &Arc<Mutex<Vec<&'static str>>>) -> JoinHandle<()> {
        let order = Arc::clone(order);
        tokio::spawn(async move {
            until.requested().await;
            order.lock().unwrap().push(name);
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_writes_ends_before_the_lease_is_given_back() {
        let order = Arc::default();
        let ((stop, stopping), (release, released), (close, closed)) =
            (Shutdown::pair(), Shutdown::pair(), Shutdown::pair());
        let slow = Arc::clone(&order);
        let asked = stopping.clone();
        let parts = Parts {
            certificates: part("certificates", stopping.clone(), &order),
            lease: part("lease", released, &order),
            reconcilers: tokio::spawn(async move {
                asked.requested().await;
                tokio::time::sleep(Duration::from_secs(3)).await;
                slow.lock().unwrap().push("reconcilers");
            }),
            admin: part("admin", closed, &order),
        };
        stop.fire();
        parts.supervise(&stopping, &release, &close).await.unwrap();
        assert_eq!(
            *order.lock().unwrap(),
            ["certificates", "reconcilers", "lease", "admin"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_ends_by_itself_ends_the_process() {
        let order = Arc::default();
        let ((_stop, stopping), (release, released), (close, closed)) =
            (Shutdown::pair(), Shutdown::pair(), Shutdown::pair());
        let parts = Parts {
            certificates: part("certificates", stopping.clone(), &order),
            lease: tokio::spawn(async {}),
            reconcilers: part("reconcilers", released, &order),
            admin: part("admin", closed, &order),
        };
        let outcome = parts.supervise(&stopping, &release, &close).await;
        assert!(
            matches!(
                outcome,
                Err(ControllerError::Ended {
                    part: "lease",
                    source: None
                })
            ),
            "{outcome:?}"
        );
    }
}
