//! What either end bears of a peer that is slow or says too much.
//!
//! Time is paused once only the clock can end the wait: a handshake over real sockets needs the real one.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::{error::Error, net::SocketAddr, sync::Arc, time::Duration};

use common::{Ca, egress};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::Notify,
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tsutsumi_model::Vantage;
use tsutsumi_probes::{CallError, Credentials, Prober, ProberClient, ProberError, Role, serve};

const HOUR: Duration = Duration::from_secs(3600);

fn client(ca: &Ca, address: SocketAddr) -> (ProberClient, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    ca.write(dir.path(), Role::Controller);
    let tls = Credentials::controller(dir.path()).current().unwrap();
    (ProberClient::new(address, Vantage::Inside, tls), dir)
}

/// Something with a prober's certificate that does with its one connection what it likes.
async fn impostor<F>(ca: &Ca, act: impl FnOnce(TlsStream<TcpStream>) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let dir = tempfile::tempdir().unwrap();
    ca.write(dir.path(), Role::Prober);
    let tls = Credentials::server(dir.path()).current().unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(tls).accept(stream).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        act(stream).await;
    });
    address
}

#[tokio::test]
async fn a_handshake_that_does_not_come_ends_the_connection() {
    let dir = tempfile::tempdir().unwrap();
    Ca::new().write(dir.path(), Role::Prober);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let prober = Prober {
        listener,
        health: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        credentials: Credentials::server(dir.path()),
        vantage: Vantage::Inside,
        egress: egress(HOUR),
        names: None,
    };
    tokio::spawn(serve(prober, std::future::pending()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    tokio::time::pause();
    let ended = timeout(HOUR, stream.read(&mut [0; 16])).await;
    assert_eq!(ended.expect("the connection stays open").unwrap(), 0);
}

#[tokio::test]
async fn a_prober_that_shakes_no_hands_is_given_up_before_the_batch_is() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (client, _files) = client(&Ca::new(), silent.local_addr().unwrap());
    tokio::time::pause();
    let error = client.run(vec![]).await.unwrap_err();
    assert!(
        matches!(
            error,
            ProberError::Call(CallError::Deadline {
                doing: "the connection",
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_prober_that_never_answers_is_given_up() {
    let ca = Ca::new();
    let asked = Arc::new(Notify::new());
    let heard = Arc::clone(&asked);
    let address = impostor(&ca, |stream| async move {
        let _open = stream;
        heard.notify_one();
        std::future::pending::<()>().await;
    })
    .await;
    let (client, _files) = client(&ca, address);
    let run = tokio::spawn(async move { client.run(vec![]).await });
    asked.notified().await;
    tokio::time::pause();
    let error = timeout(HOUR, run)
        .await
        .expect("it waits for ever")
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(
            error,
            ProberError::Call(CallError::Deadline {
                doing: "the request",
                ..
            })
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_not_kept() {
    let ca = Ca::new();
    let address = impostor(&ca, |mut stream| async move {
        let mut wrote = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        // A little more than is taken.
        for _ in 0..=32 {
            if wrote.is_ok() {
                wrote = stream.write_all(&vec![b' '; 1024 * 1024]).await;
            }
        }
    })
    .await;
    let (client, _files) = client(&ca, address);
    let error = client.run(vec![]).await.unwrap_err();
    let cause = error.source().map(ToString::to_string).unwrap_or_default();
    assert!(cause.contains("larger than"), "{error:?}");
}

#[tokio::test]
async fn of_a_long_refusal_the_beginning_is_told() {
    let ca = Ca::new();
    let address = impostor(&ca, |mut stream| async move {
        let body = "no\u{1b}".repeat(1000);
        let head = format!("HTTP/1.1 500 No\r\nContent-Length: {}\r\n\r\n", body.len());
        stream.write_all((head + &body).as_bytes()).await.unwrap();
        let _ = stream.shutdown().await;
    })
    .await;
    let (client, _files) = client(&ca, address);
    let error = client.run(vec![]).await.unwrap_err();
    let ProberError::Call(CallError::Refused {
        status: 500, reason, ..
    }) = &error
    else {
        panic!("{error:?}");
    };
    assert_eq!(reason.chars().count(), 256, "{reason}");
    assert!(reason.is_ascii() && !reason.contains('\u{1b}'), "{reason}");
}
