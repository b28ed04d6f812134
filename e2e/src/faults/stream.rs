//! The events of a watch as they should not come.
//!
//! An API server may cut a watch off, send what it has sent before, or say that it has forgotten what was asked for; a
//! cache between may be late. What it never does, lose an event and go on as if nothing were, ends here in a cut too.

use std::{io, time::Duration};

use futures::{Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde_json::{Value, json};
use tokio::{sync::mpsc, time::timeout};

use super::fault::Gate;

/// How the events of a watch come.
#[derive(Clone, Debug)]
pub enum Spoiling {
    /// The event of this number, from 1, is lost and the connection with it.
    Lose(usize),
    /// Each comes twice.
    Double,
    /// Two that come closely come in the wrong order.
    Swap,
    /// After so many the server has forgotten what follows.
    Expire(usize),
    /// None comes before the gate is open; then all that were held back.
    HoldBack(Gate),
    /// Bookmarks in place of events; when the gate opens the server has forgotten what was between.
    OnlyBookmarks(Gate),
}

/// How long a first event waits for a second to be overtaken by.
const CLOSELY: Duration = Duration::from_millis(150);
/// What the server says when it has forgotten (Kubernetes API concepts, "410 Gone responses").
const EXPIRED: u16 = 410;

/// The lines of a watch, spoiled.
pub(super) fn spoil(
    body: kube::client::Body,
    how: Spoiling,
) -> impl Stream<Item = Result<Bytes, io::Error>> + Send + 'static {
    let (out, lines) = mpsc::channel(64);
    tokio::spawn(pump(body, how, out));
    futures::stream::unfold(lines, |mut lines| async move {
        lines.recv().await.map(|line| (line, lines))
    })
}

type Out = mpsc::Sender<Result<Bytes, io::Error>>;

/// Ends with the watch, or where the connection is to end.
async fn pump(body: kube::client::Body, how: Spoiling, out: Out) {
    let (lines, mut read) = mpsc::channel(64);
    tokio::spawn(split(body, lines));
    let mut number = 0;
    let send = async |line: Vec<u8>| out.send(Ok(Bytes::from(line))).await.is_ok();
    match how {
        Spoiling::HoldBack(gate) => {
            let mut held = Vec::new();
            // Read on, so that the server does not give the watch up.
            loop {
                tokio::select! {
                    () = gate.passed() => break,
                    line = read.recv() => match line {
                        Some(line) => held.push(line),
                        None => break,
                    },
                }
            }
            gate.passed().await;
            for line in held {
                send(line).await;
            }
        }
        Spoiling::OnlyBookmarks(gate) => loop {
            tokio::select! {
                () = gate.passed() => {
                    send(expired()).await;
                    return;
                }
                line = read.recv() => match line {
                    Some(line) => if let Some(bookmark) = bookmark_of(&line) {
                        send(bookmark).await;
                    },
                    None => return,
                },
            }
        },
        Spoiling::Lose(nth) => {
            while let Some(line) = read.recv().await {
                number += 1;
                if number == nth || !send(line).await {
                    let _ = out.send(Err(io::ErrorKind::ConnectionReset.into())).await;
                    return;
                }
            }
        }
        Spoiling::Expire(nth) => {
            while let Some(line) = read.recv().await {
                number += 1;
                if number > nth {
                    send(expired()).await;
                    return;
                }
                if !send(line).await {
                    return;
                }
            }
        }
        Spoiling::Double => {
            while let Some(line) = read.recv().await {
                if !(send(line.clone()).await && send(line).await) {
                    return;
                }
            }
        }
        Spoiling::Swap => {
            while let Some(first) = read.recv().await {
                if let Ok(Some(second)) = timeout(CLOSELY, read.recv()).await
                    && !send(second).await
                {
                    return;
                }
                if !send(first).await {
                    return;
                }
            }
        }
    }
    // What comes after passes.
    while let Some(line) = read.recv().await {
        if !send(line).await {
            return;
        }
    }
}

/// Reads a body line by line.
async fn split(body: kube::client::Body, lines: mpsc::Sender<Vec<u8>>) {
    let mut frames = std::pin::pin!(body.into_data_stream());
    let mut rest = Vec::new();
    while let Some(Ok(bytes)) = frames.next().await {
        rest.extend_from_slice(&bytes);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<_> = rest.drain(..=end).collect();
            if lines.send(line).await.is_err() {
                return;
            }
        }
    }
}

/// A bookmark that says as much of the time as the event did.
fn bookmark_of(line: &[u8]) -> Option<Vec<u8>> {
    let event: Value = serde_json::from_slice(line).ok()?;
    let object = event.get("object")?;
    let mut bookmark = json!({
        "type": "BOOKMARK",
        "object": {
            "apiVersion": object["apiVersion"],
            "kind": object["kind"],
            "metadata": {"resourceVersion": object["metadata"]["resourceVersion"]},
        },
    })
    .to_string()
    .into_bytes();
    bookmark.push(b'\n');
    Some(bookmark)
}

fn expired() -> Vec<u8> {
    let mut line = json!({
        "type": "ERROR",
        "object": {
            "apiVersion": "v1",
            "kind": "Status",
            "metadata": {},
            "status": "Failure",
            "message": "too old resource version",
            "reason": "Expired",
            "code": EXPIRED,
        },
    })
    .to_string()
    .into_bytes();
    line.push(b'\n');
    line
}
