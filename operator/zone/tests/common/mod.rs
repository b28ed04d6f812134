//! A zone with keys of our own making, in this process or under way on loopback.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use hickory_proto::{
    op::{Edns, Message, Query as Question},
    rr::{Name, RecordType},
};
use ipnet::IpNet;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::oneshot,
    task::JoinHandle,
    time::timeout,
};
use tsutsumi_model::{Mark, MarkKey, ZoneName};
use tsutsumi_probes::{CA_FILE, CERT_FILE, Credentials, KEY_FILE, Ports, Role};
use tsutsumi_zone::{Apex, KeyDir, Keys, MARK_KEY, ProbeZone, ZONE_KEY, Zone, ZoneKey, serve};

pub(crate) const MARK: [u8; 32] = [7; 32];
pub(crate) const SAMPLE: u32 = 0xabc;
/// Far beyond anything on loopback; where it is waited for in vain, the test fails anyway.
pub(crate) const HANG: Duration = Duration::from_secs(20);

pub(crate) fn apex() -> Apex {
    "probe.tsutsumi.test".parse().unwrap()
}

pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.unwrap().as_secs()
}

pub(crate) fn zone_key() -> String {
    KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)
        .unwrap()
        .serialize_pem()
}

pub(crate) fn zone(key: &str) -> Zone {
    let keys = Keys {
        mark: MarkKey::new(MARK),
        zone: Arc::new(ZoneKey::read(key.as_bytes()).unwrap()),
    };
    Zone::new(&apex(), keys).unwrap()
}

pub(crate) fn mark(name: ZoneName, number: u16) -> Mark {
    Mark {
        name,
        sample: SAMPLE,
        number,
        expires: u32::try_from(now()).unwrap() + 600,
    }
}

pub(crate) fn marked(mark: Mark) -> Name {
    named(&mark.label(&MarkKey::new(MARK)), mark.name)
}

pub(crate) fn named(label: &str, name: ZoneName) -> Name {
    let below = if name == ZoneName::Insecure {
        "insecure."
    } else {
        ""
    };
    Name::from_ascii(format!("{label}.{below}{}.", apex())).unwrap()
}

pub(crate) fn query(name: &Name, qtype: RecordType, offer: Option<u16>) -> Message {
    let mut message = Message::query();
    message.metadata.id = 0x1234;
    message.add_query(Question::query(name.clone(), qtype));
    if let Some(size) = offer {
        let mut edns = Edns::new();
        edns.set_max_payload(size).set_dnssec_ok(true);
        message.set_edns(edns);
    }
    message
}

/// A zone under way, with its files.
pub(crate) struct Running {
    pub(crate) tls: TempDir,
    pub(crate) keys: TempDir,
    pub(crate) dns: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) stop: oneshot::Sender<()>,
    pub(crate) task: JoinHandle<()>,
}

pub(crate) fn write_keys(dir: &Path, key: &str) {
    fs::write(dir.join(MARK_KEY), MARK).unwrap();
    fs::write(dir.join(ZONE_KEY), key).unwrap();
}

/// Serves 127.0.0.1 and 127.0.0.3 alone, and has its keys when this returns.
pub(crate) async fn start(ca: &Ca, key: &str) -> Running {
    let running = start_without_keys(ca).await;
    write_keys(running.keys.path(), key);
    wait_until_ready(&running).await;
    running
}

pub(crate) async fn wait_until_ready(running: &Running) {
    let ready = async { while status(running.health, "/readyz").await != 200 {} };
    timeout(HANG, ready).await.expect("it gets ready");
}

pub(crate) async fn start_without_keys(ca: &Ca) -> Running {
    let (tls, keys) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    ca.write(tls.path(), Role::Zone);
    let (udp, tcp) = both().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let health = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dns = udp.local_addr().unwrap();
    let (control, health_address) = (listener.local_addr().unwrap(), health.local_addr().unwrap());
    let zone = ProbeZone {
        apex: apex(),
        keys: KeyDir::new(keys.path()),
        allow: ["127.0.0.1/32", "127.0.0.3/32"]
            .map(|network| network.parse::<IpNet>().unwrap())
            .to_vec(),
        udp,
        tcp,
        control: Ports {
            listener,
            health,
            credentials: Credentials::server(tls.path()),
        },
    };
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(serve(zone, async {
        let _ = stopped.await;
    }));
    Running {
        tls,
        keys,
        dns,
        control,
        health: health_address,
        stop,
        task,
    }
}

/// Two sockets with one port, of all addresses of loopback.
async fn both() -> (UdpSocket, TcpListener) {
    loop {
        let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        if let Ok(tcp) = TcpListener::bind(udp.local_addr().unwrap()).await {
            return (udp, tcp);
        }
    }
}

pub(crate) async fn socket(from: &str, to: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((from, 0)).await.unwrap();
    socket.connect(to).await.unwrap();
    socket
}

pub(crate) async fn receive(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = vec![0; 65_535];
    let length = timeout(HANG, socket.recv(&mut buffer))
        .await
        .expect("an answer")
        .unwrap();
    buffer.truncate(length);
    buffer
}

pub(crate) async fn over_udp(to: SocketAddr, message: &[u8]) -> Vec<u8> {
    let socket = socket("127.0.0.1", to).await;
    socket.send(message).await.unwrap();
    receive(&socket).await
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

pub(crate) async fn dial(from: &str, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

pub(crate) async fn over_tcp(to: SocketAddr, message: &[u8]) -> Vec<u8> {
    over_tcp_from("127.0.0.1", to, message).await
}

pub(crate) async fn over_tcp_from(from: &str, to: SocketAddr, message: &[u8]) -> Vec<u8> {
    let mut stream = dial(from, to).await;
    stream.write_all(&framed(message)).await.unwrap();
    let mut answer = vec![0; stream.read_u16().await.unwrap().into()];
    stream.read_exact(&mut answer).await.unwrap();
    answer
}

/// The status of an answer over plain HTTP.
pub(crate) async fn status(to: SocketAddr, path: &str) -> u16 {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text.split(' ').nth(1).unwrap().parse().unwrap()
}

/// An issuer of certificates.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The three files for the role, usable on either side, so that only the role tells them apart.
    pub(crate) fn write(&self, dir: &Path, role: Role) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![role.dns_name().to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        let cert = params.signed_by(&key, &self.0).unwrap().pem();
        fs::write(dir.join(CA_FILE), self.0.pem()).unwrap();
        fs::write(dir.join(CERT_FILE), cert).unwrap();
        fs::write(dir.join(KEY_FILE), key.serialize_pem()).unwrap();
    }
}
