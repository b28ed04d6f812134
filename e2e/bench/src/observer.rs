//! An independent observer: one watch on each object that a measurement is about. The change and the write that answers
//! it are both timed where they come out of the API server, so what the way from there costs cancels out.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client, ResourceExt as _,
    core::{ApiResource, DynamicObject},
    runtime::{WatchStreamExt as _, watcher},
};
use serde_json::Value;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tsutsumi_api::ResolverPolicy;

/// The policy of every measurement.
pub(crate) const POLICY: &str = "bench";

/// Something came out of a watch.
#[derive(Debug)]
pub(crate) struct Seen {
    /// When.
    pub(crate) at: Instant,
    /// Of which object.
    pub(crate) what: What,
    /// The object as it is now.
    pub(crate) object: Value,
}

/// The objects that are watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum What {
    /// The policy.
    Policy,
    /// The `ConfigMap` with the Corefile.
    Corefile,
    /// The controller's own record of the change.
    Record,
}

/// What was seen and not yet looked at.
#[derive(Debug)]
pub(crate) struct Observer(mpsc::UnboundedReceiver<Seen>);

impl Observer {
    /// Starts the watches.
    pub(crate) fn start(client: &Client) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        let config_map = ApiResource::erase::<ConfigMap>(&());
        let policy = ApiResource::erase::<ResolverPolicy>(&());
        let record = format!("tsutsumi-resolver-{POLICY}");
        let own = crate::subject::NAMESPACE;
        let dns = crate::load::DNS_NAMESPACE;
        for (what, api, name) in [
            (What::Policy, Api::all_with(client.clone(), &policy), POLICY),
            (
                What::Corefile,
                Api::namespaced_with(client.clone(), dns, &config_map),
                "coredns",
            ),
            (
                What::Record,
                Api::namespaced_with(client.clone(), own, &config_map),
                &record,
            ),
        ] {
            tokio::spawn(follow(what, api, name.to_owned(), sender.clone()));
        }
        Self(receiver)
    }

    /// Waits for something that fits.
    pub(crate) async fn wait(
        &mut self,
        limit: Duration,
        what: &str,
        fits: impl Fn(&Seen) -> bool,
    ) -> Result<Seen> {
        let end = Instant::now() + limit;
        loop {
            match timeout_at(end, self.0.recv()).await {
                Ok(Some(seen)) if fits(&seen) => return Ok(seen),
                Ok(Some(_)) => {}
                Ok(None) => bail!("the watches ended while waiting for {what}"),
                Err(_) => bail!("gave up after {} s waiting for {what}", limit.as_secs()),
            }
        }
    }

    /// Waits for a change and for its answer; the two may come by different watches, so in any order.
    pub(crate) async fn wait_both(
        &mut self,
        limit: Duration,
        asks: impl Fn(&Seen) -> bool,
        answers: impl Fn(&Seen) -> bool,
    ) -> Result<(Seen, Seen)> {
        let end = Instant::now() + limit;
        let (mut asked, mut answered) = (None, None);
        while let Ok(Some(seen)) = timeout_at(end, self.0.recv()).await {
            if asked.is_none() && asks(&seen) {
                asked = Some(seen);
            } else if answered.is_none() && answers(&seen) {
                answered = Some(seen);
            }
            if let (Some(_), Some(_)) = (&asked, &answered) {
                break;
            }
        }
        match (asked, answered) {
            (Some(asked), Some(answered)) => Ok((asked, answered)),
            (None, _) => bail!("the change was not seen within {} s", limit.as_secs()),
            (Some(_), None) => bail!("nothing answered the change within {} s", limit.as_secs()),
        }
    }

    /// Forgets what has been seen so far.
    pub(crate) fn forget(&mut self) {
        while self.0.try_recv().is_ok() {}
    }
}

impl Seen {
    /// A field by its JSON pointer.
    pub(crate) fn at(&self, pointer: &str) -> &Value {
        self.object.pointer(pointer).unwrap_or(&Value::Null)
    }
}

async fn follow(
    what: What,
    api: Api<DynamicObject>,
    name: String,
    sender: mpsc::UnboundedSender<Seen>,
) -> Result<()> {
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let mut objects = std::pin::pin!(watcher(api, config).default_backoff().applied_objects());
    while let Some(object) = objects.next().await {
        let at = Instant::now();
        // An interrupted watch is taken up again.
        let Ok(object) = object else { continue };
        let object = serde_json::to_value(&object).with_context(|| object.name_any())?;
        if sender.send(Seen { at, what, object }).is_err() {
            break;
        }
    }
    Ok(())
}
