//! Metrics probes against web servers on loopback that behave well, badly, or not at all.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::time::Duration;

use common::{PATIENCE, egress, endpoint, http_responder, observe, read_head, tcp_responder};
use tokio::{io::AsyncWriteExt, net::TcpListener, sync::mpsc};
use tsutsumi_model::{Ask, Failure, MetricName, Saw};

const AMPLE: Duration = Duration::from_secs(5);

async fn fetch(server: std::net::SocketAddr, patience: Duration) -> Saw {
    let mut seen = observe(vec![Ask::Metrics(endpoint(server))], &egress(patience)).await;
    seen.remove(0).saw
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn the_closed_set_comes_back() {
    let page = "go_goroutines 3\ncoredns_plugin_enabled{name=\"acl\"} 1\ncoredns_reload_failed_total 0\n";
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\ncoredns_reload_failed_total 0\n\r\n0\r\n\r\n";
    for (response, names) in [
        (
            ok(page),
            &[
                MetricName::CorednsPluginEnabled,
                MetricName::CorednsReloadFailedTotal,
            ][..],
        ),
        (ok(""), &[]),
        (chunked.to_owned(), &[MetricName::CorednsReloadFailedTotal]),
        // Ends with the connection.
        (
            format!("HTTP/1.1 200 OK\r\n\r\n{page}"),
            &[
                MetricName::CorednsPluginEnabled,
                MetricName::CorednsReloadFailedTotal,
            ],
        ),
    ] {
        let Saw::Metrics(samples) = fetch(http_responder(response.clone()).await, AMPLE).await else {
            panic!("no metrics from {response:?}");
        };
        let found: Vec<_> = samples.iter().map(|sample| sample.name).collect();
        assert_eq!(found, names, "{response:?}");
    }
}

#[tokio::test]
async fn the_request_asks_for_plain_text_and_carries_no_credentials() {
    let (sender, mut heads) = mpsc::channel(1);
    let server = tcp_responder(move |mut stream| {
        let sender = sender.clone();
        async move {
            sender.send(read_head(&mut stream).await).await.unwrap();
            stream.write_all(ok("").as_bytes()).await.unwrap();
        }
    })
    .await;
    fetch(server, AMPLE).await;
    let head = heads.recv().await.unwrap().to_ascii_lowercase();
    let mut lines: Vec<_> = head.lines().filter(|line| !line.is_empty()).collect();
    lines.sort_unstable();
    let host = format!("host: {server}");
    assert_eq!(
        lines,
        [
            "accept-encoding: identity",
            "accept: text/plain;version=0.0.4",
            "connection: close",
            "get /metrics http/1.1",
            &host,
        ]
    );
}

#[tokio::test]
async fn what_is_no_page_is_malformed() {
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let redirect = format!(
        "HTTP/1.1 302 Found\r\nLocation: http://{}/metrics\r\nContent-Length: 0\r\n\r\n",
        elsewhere.local_addr().unwrap()
    );
    let large_header = format!(
        "HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 0\r\n\r\n",
        "x".repeat(20_000)
    );
    let many_headers = format!(
        "HTTP/1.1 200 OK\r\n{}Content-Length: 0\r\n\r\n",
        "X: y\r\n".repeat(100)
    );
    for response in [
        redirect,
        large_header,
        many_headers,
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n".to_owned(),
        "SSH-2.0-OpenSSH_9.6\r\n".to_owned(),
        ok("coredns_build_info{ 1"),
        ok(&"#".repeat(1024 * 1024 + 1)),
        format!("HTTP/1.1 200 OK\r\n\r\n{}", "#".repeat(1024 * 1024 + 1)),
    ] {
        let saw = fetch(http_responder(response.clone()).await, AMPLE).await;
        assert_eq!(
            saw,
            Saw::Nothing(Failure::Malformed),
            "{}",
            &response[..response.len().min(120)]
        );
    }
    // The probe has ended: a connection that it had made would wait to be taken.
    let followed = elsewhere.into_std().unwrap().accept();
    assert_eq!(
        followed.unwrap_err().kind(),
        std::io::ErrorKind::WouldBlock,
        "the redirect was followed"
    );
}

#[tokio::test]
async fn a_page_of_the_full_size_is_read() {
    let saw = fetch(http_responder(ok(&"#".repeat(1024 * 1024))).await, AMPLE).await;
    assert_eq!(saw, Saw::Metrics(vec![]));
}

#[tokio::test]
async fn an_early_end_and_a_closed_port_are_told_apart() {
    let cut = "HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\ncoredns_build_info 1\n";
    for response in ["", cut] {
        let saw = fetch(http_responder(response).await, AMPLE).await;
        assert_eq!(saw, Saw::Nothing(Failure::Closed), "{response:?}");
    }
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let saw = fetch(closed, AMPLE).await;
    assert_eq!(saw, Saw::Nothing(Failure::ConnectionRefused));
}

/// Paused time is sound: the listener's queue takes the connection and nothing is ever sent.
#[tokio::test(start_paused = true)]
async fn silence_is_a_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let saw = fetch(silent.local_addr().unwrap(), PATIENCE).await;
    assert_eq!(saw, Saw::Nothing(Failure::Timeout));
}

/// Paused time is sound: the page never ends, so nothing but the clock can end the wait.
#[tokio::test(start_paused = true)]
async fn a_page_that_drips_ends_with_the_probes_time() {
    let (dripped, mut drops) = mpsc::unbounded_channel();
    let server = tcp_responder(move |mut stream| {
        let dripped = dripped.clone();
        async move {
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(b"#").await.is_ok() {
                let _ = dripped.send(());
                // On the paused clock: without a pause this would be a page that is too long, and not one that drips.
                tokio::time::sleep(PATIENCE / 10).await;
            }
        }
    })
    .await;
    assert_eq!(fetch(server, PATIENCE).await, Saw::Nothing(Failure::Timeout));
    for _ in 0..2 {
        drops.recv().await.unwrap();
    }
}
