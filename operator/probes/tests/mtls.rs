//! Controller and prober over mutual TLS on loopback: who is let in, and what happens when certificates change.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::{error::Error, fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use common::{Ca, egress, question, reply, udp_responder};
use rustls::{
    ClientConfig, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, ring},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
    task::JoinHandle,
};
use tokio_rustls::TlsConnector;
use tsutsumi_model::{Ask, Collect, Probe, Saw, Transport, Vantage};
use tsutsumi_probes::{
    BatchError, CERT_FILE, CallError, Credentials, KEY_FILE, Prober, ProberClient, ProberError, Role, serve,
};

/// A prober under way, with its certificate files.
struct Running {
    dir: TempDir,
    address: SocketAddr,
    health: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

async fn start(dir: TempDir) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let health = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, health_address) = (listener.local_addr().unwrap(), health.local_addr().unwrap());
    let prober = Prober {
        listener,
        health,
        credentials: Credentials::server(dir.path()),
        vantage: Vantage::Outside,
        egress: egress(Duration::from_secs(5)),
        names: None,
    };
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(prober, async {
        let _ = stopped.await;
    }));
    Running {
        dir,
        address,
        health: health_address,
        stop,
        task,
    }
}

fn files(write: impl FnOnce(&Path)) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path());
    dir
}

async fn prober(ca: &Ca) -> Running {
    start(files(|dir| ca.write(dir, Role::Prober))).await
}

fn client(address: SocketAddr, dir: &TempDir) -> ProberClient {
    let tls = Credentials::controller(dir.path()).current().unwrap();
    ProberClient::new(address, Vantage::Outside, tls)
}

/// The error with its causes, as a log would show it.
fn chain(error: &ProberError) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

async fn refusal(client: &ProberClient) -> String {
    chain(&client.run(vec![]).await.expect_err("the batch went through"))
}

#[tokio::test]
async fn a_batch_goes_there_and_its_observations_come_back() {
    let ca = Ca::new();
    let prober = prober(&ca).await;
    let dir = files(|dir| ca.write(dir, Role::Controller));
    let server = udp_responder("127.0.0.1:0", |query| vec![reply(query, 3)]).await;
    let asked = vec![Probe {
        id: 7,
        ask: Ask::Dns(question(server, Transport::Udp)),
    }];
    let seen = client(prober.address, &dir).run(asked.clone()).await.unwrap();
    assert_eq!(seen.len(), 1);
    assert_eq!((&seen[0].probe, seen[0].vantage), (&asked[0], Vantage::Outside));
    assert!(
        matches!(&seen[0].saw, Saw::Answer(answer) if answer.answers == 3),
        "{seen:?}"
    );
}

#[tokio::test]
async fn a_controller_of_a_foreign_issuer_is_refused() {
    let (ca, foreign) = (Ca::new(), Ca::new());
    let prober = prober(&ca).await;
    let dir = files(|dir| foreign.write_trusting(dir, Role::Controller, &ca));
    let why = refusal(&client(prober.address, &dir)).await;
    assert!(why.contains("UnknownCA") || why.contains("DecryptError"), "{why}");
}

#[tokio::test]
async fn a_client_of_another_role_is_refused() {
    let ca = Ca::new();
    let prober = prober(&ca).await;
    let dir = files(|dir| ca.write(dir, Role::Prober));
    let why = refusal(&client(prober.address, &dir)).await;
    assert!(why.contains("BadCertificate"), "{why}");
}

#[tokio::test]
async fn a_prober_of_another_role_or_issuer_is_not_trusted() {
    let (ca, foreign) = (Ca::new(), Ca::new());
    let dir = files(|dir| ca.write(dir, Role::Controller));

    let wrong_role = start(files(|dir| ca.write(dir, Role::Controller))).await;
    let why = refusal(&client(wrong_role.address, &dir)).await;
    assert!(why.contains("not valid for name"), "{why}");

    let wrong_issuer = start(files(|dir| foreign.write_trusting(dir, Role::Prober, &ca))).await;
    let why = refusal(&client(wrong_issuer.address, &dir)).await;
    assert!(why.contains("BadSignature"), "{why}");
}

#[tokio::test]
async fn a_client_without_certificate_an_old_protocol_and_plain_text_are_refused() {
    let ca = Ca::new();
    let prober = prober(&ca).await;
    let (cert, key) = ca.issue(Role::Controller);
    let identity = || {
        let chain = vec![CertificateDer::from_pem_slice(cert.as_bytes()).unwrap()];
        (chain, PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap())
    };
    let config = |versions: &[&'static SupportedProtocolVersion]| {
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(TrustsAll(ring::default_provider())))
    };
    let (chain, key) = identity();
    let honest = config(&[&TLS13]).with_client_auth_cert(chain, key).unwrap();
    let response = raw(
        prober.address,
        honest,
        "GET /v1/probe HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await;
    assert!(
        response.unwrap().starts_with("HTTP/1.1 405"),
        "the way to ask is itself at fault"
    );

    let anonymous = config(&[&TLS13]).with_no_client_auth();
    let why = raw(prober.address, anonymous, "GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(
        why.as_ref().is_err_and(|why| why.contains("CertificateRequired")),
        "{why:?}"
    );

    let (chain, key) = identity();
    let old = config(&[&TLS12]).with_client_auth_cert(chain, key).unwrap();
    let why = raw(prober.address, old, "").await;
    assert!(
        why.as_ref().is_err_and(|why| why.contains("ProtocolVersion")),
        "{why:?}"
    );

    let mut plain = TcpStream::connect(prober.address).await.unwrap();
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn rotated_certificates_count_from_the_next_connection_on() {
    let (before, after) = (Ca::new(), Ca::new());
    let prober = prober(&before).await;
    let old = files(|dir| before.write(dir, Role::Controller));
    client(prober.address, &old).run(vec![]).await.unwrap();

    after.write(prober.dir.path(), Role::Prober);
    let why = refusal(&client(prober.address, &old)).await;
    assert!(why.contains("BadSignature"), "{why}");
    after.write(old.path(), Role::Controller);
    client(prober.address, &old).run(vec![]).await.unwrap();
}

#[tokio::test]
async fn certificate_files_that_cannot_be_used_leave_the_former_in_place() {
    let ca = Ca::new();
    let prober = prober(&ca).await;
    let dir = files(|dir| ca.write(dir, Role::Controller));
    let client = client(prober.address, &dir);
    client.run(vec![]).await.unwrap();

    // The certificate is new, the key is not yet.
    let (cert, key) = ca.issue(Role::Prober);
    fs::write(prober.dir.path().join(CERT_FILE), cert).unwrap();
    client.run(vec![]).await.unwrap();
    fs::write(prober.dir.path().join(KEY_FILE), key).unwrap();
    client.run(vec![]).await.unwrap();
    fs::remove_file(prober.dir.path().join(KEY_FILE)).unwrap();
    client.run(vec![]).await.unwrap();
    assert!(status(prober.health, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_prober_is_ready_when_its_certificate_files_are_there_and_alive_before() {
    let ca = Ca::new();
    let prober = start(tempfile::tempdir().unwrap()).await;
    assert!(status(prober.health, "/livez").await.starts_with("HTTP/1.1 200"));
    assert!(status(prober.health, "/readyz").await.starts_with("HTTP/1.1 503"));
    assert!(
        status(prober.health, "/v1/probe")
            .await
            .starts_with("HTTP/1.1 404")
    );
    let dir = files(|dir| ca.write(dir, Role::Controller));
    let error = client(prober.address, &dir).run(vec![]).await.unwrap_err();
    assert!(
        matches!(error, ProberError::Call(CallError::Handshake { .. })),
        "{error:?}"
    );

    ca.write(prober.dir.path(), Role::Prober);
    assert!(status(prober.health, "/readyz").await.starts_with("HTTP/1.1 200"));
    client(prober.address, &dir).run(vec![]).await.unwrap();
}

#[tokio::test]
async fn a_prober_that_stands_elsewhere_is_not_believed() {
    let ca = Ca::new();
    let prober = prober(&ca).await;
    let dir = files(|dir| ca.write(dir, Role::Controller));
    let server = udp_responder("127.0.0.1:0", |query| vec![reply(query, 1)]).await;
    let tls = Credentials::controller(dir.path()).current().unwrap();
    let client = ProberClient::new(prober.address, Vantage::Inside, tls);
    let ask = Ask::Dns(question(server, Transport::Udp));
    let error = client.run(vec![Probe { id: 1, ask }]).await.unwrap_err();
    assert!(matches!(error, ProberError::WrongVantage { .. }), "{error:?}");
}

#[tokio::test]
async fn what_is_no_batch_is_refused_on_either_side() {
    let ca = Ca::new();
    let prober = prober(&ca).await;
    let dir = files(|dir| ca.write(dir, Role::Controller));
    let server = "192.0.2.1:53".parse().unwrap();
    let twice = vec![
        Probe {
            id: 1,
            ask: Ask::Dns(question(server, Transport::Udp)),
        };
        2
    ];
    let body = serde_json::to_string(&twice).unwrap();
    let error = client(prober.address, &dir).run(twice).await.unwrap_err();
    assert!(
        matches!(error, ProberError::Batch(BatchError::SameId { id: 1 })),
        "{error:?}"
    );

    let config = Credentials::controller(dir.path()).current().unwrap();
    let post = |body: &str| {
        format!(
            "POST /v1/probe HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (request, status) in [
        (post(&body), "HTTP/1.1 400"),
        (post("["), "HTTP/1.1 400"),
        (
            post("[{\"id\": 1, \"ask\": {\"Shell\": \"id\"}}]"),
            "HTTP/1.1 422",
        ),
        (post(&" ".repeat(1024 * 1024 + 1)), "HTTP/1.1 413"),
        (
            format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)),
            "HTTP/1.1 431",
        ),
    ] {
        let response = raw(prober.address, (*config).clone(), &request).await.unwrap();
        assert!(response.starts_with(status), "{status}: {response}");
    }
}

#[tokio::test]
async fn nobody_there_names_the_address() {
    let ca = Ca::new();
    let dir = files(|dir| ca.write(dir, Role::Controller));
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let why = refusal(&client(closed, &dir)).await;
    assert!(why.starts_with(&format!("cannot connect to {closed}: ")), "{why}");
}

#[tokio::test]
async fn a_prober_ends_when_it_is_told_to() {
    let ca = Ca::new();
    let prober = prober(&ca).await;
    let dir = files(|dir| ca.write(dir, Role::Controller));
    let client = client(prober.address, &dir);
    client.run(vec![]).await.unwrap();
    prober.stop.send(()).unwrap();
    prober.task.await.unwrap();
    assert!(client.run(vec![]).await.is_err());
}

async fn status(health: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(health).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    response
}

/// Sends the bytes over TLS of this kind and reads what comes; the error is that of TLS.
async fn raw(address: SocketAddr, config: ClientConfig, request: &str) -> Result<String, String> {
    let name = ServerName::try_from(Role::Prober.dns_name()).unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let connected = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    let (mut reader, mut writer) = tokio::io::split(connected.map_err(|error| error.to_string())?);
    let sending = async {
        // The prober may answer and hang up before it has read everything.
        let _ = writer.write_all(request.as_bytes()).await;
        let _ = writer.flush().await;
    };
    let reading = async {
        let mut response = Vec::new();
        let outcome = reader.read_to_end(&mut response).await;
        match outcome {
            Err(error) if response.is_empty() => Err(error.to_string()),
            _ => Ok(String::from_utf8(response).unwrap()),
        }
    };
    tokio::join!(sending, reading).1
}

/// For a client that is up to no good.
#[derive(Debug)]
struct TrustsAll(CryptoProvider);

impl ServerCertVerifier for TrustsAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[tokio::test]
async fn a_prober_without_a_port_for_names_says_how_to_give_it_one() {
    let ca = Ca::new();
    let prober = prober(&ca).await;
    let dir = files(|dir| ca.write(dir, Role::Controller));
    let asked = Collect {
        peers: vec![],
        apart: vec![],
        seconds: 1,
    };
    let error = client(prober.address, &dir).collect(&asked).await.unwrap_err();
    assert!(error.to_string().contains("--names-address"), "{error}");
}
