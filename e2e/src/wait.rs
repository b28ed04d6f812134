//! Waiting for a level to be reached, with a deadline and the last thing that was seen.
//!
//! Objects are watched. What cannot be watched, an answer on the wire, is asked for again until it is the wanted one.

use std::{fmt::Debug, time::Duration};

use anyhow::{Context, Result, anyhow, bail};
use futures::{StreamExt as _, pin_mut};
use k8s_openapi::serde::{Serialize, de::DeserializeOwned};
use kube::{
    Api, Resource,
    runtime::{WatchStreamExt as _, watcher},
};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

/// How often the wire is asked.
const PACE: Duration = Duration::from_millis(200);

/// Watches one object until `reached` says yes; absence is seen as `None`.
///
/// # Errors
/// If the deadline passes first; the message shows the object as it was last seen.
pub async fn object<K>(
    api: &Api<K>,
    name: &str,
    what: &str,
    within: Duration,
    mut reached: impl FnMut(Option<&K>) -> bool,
) -> Result<Option<K>>
where
    K: Resource + Clone + Debug + DeserializeOwned + Serialize + Send + 'static,
{
    let deadline = Instant::now() + within;
    let stream = watcher::watch_object(api.clone(), name).default_backoff();
    pin_mut!(stream);
    let mut last = None;
    loop {
        match timeout_at(deadline, stream.next()).await {
            Ok(Some(Ok(found))) if reached(found.as_ref()) => return Ok(found),
            Ok(Some(Ok(found))) => last = Some(found),
            // An interrupted watch resumes by itself and is no failure of what is waited for.
            Ok(Some(Err(error))) => eprintln!("a watch was interrupted: {error}"),
            Ok(None) => bail!("the watch of {name} ended"),
            Err(_) => {
                let seen = match last {
                    None => "nothing was seen".to_owned(),
                    Some(None) => "it is not there".to_owned(),
                    Some(Some(object)) => shown(&object),
                };
                bail!(
                    "{name}: not within {} s: {what}. Last seen: {seen}",
                    within.as_secs()
                );
            }
        }
    }
}

/// Asks again and again until the answer is `Ok`; the error of the last try tells what was seen instead.
///
/// # Errors
/// If the deadline passes first.
pub async fn until<T>(what: &str, within: Duration, mut look: impl AsyncFnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + within;
    let mut clock = interval(PACE);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        clock.tick().await;
        match look().await {
            Ok(seen) => return Ok(seen),
            Err(error) if Instant::now() >= deadline => {
                return Err(anyhow!("{error:#}"))
                    .with_context(|| format!("not within {} s: {what}", within.as_secs()));
            }
            Err(_) => {}
        }
    }
}

/// The object without what nobody wants to read.
fn shown(object: &impl Serialize) -> String {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(metadata) = value
        .get_mut("metadata")
        .and_then(serde_json::Value::as_object_mut)
    {
        metadata.remove("managedFields");
    }
    serde_json::to_string_pretty(&value).unwrap_or_default()
}
