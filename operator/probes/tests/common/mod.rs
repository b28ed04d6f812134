//! Responders on loopback, each on a port of its own, and certificates of our own making.
#![allow(dead_code, reason = "every test binary uses a part of it")]

use std::{fs, net::SocketAddr, num::NonZeroU32, path::Path, sync::Arc, time::Duration};

use hickory_proto::{
    op::Message,
    rr::{RData, Record, rdata::TXT},
};
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
};
use tsutsumi_model::{
    Ask, DnsQuestion, Endpoint, Observation, Probe, QueryClass, QueryType, Saw, Transport, Vantage,
};
use tsutsumi_probes::{Batch, CA_FILE, CERT_FILE, Egress, KEY_FILE, Role, Rules, run};

pub(crate) const PATIENCE: Duration = Duration::from_millis(300);

/// An egress that may reach loopback and gives up quickly.
pub(crate) fn egress(patience: Duration) -> Arc<Egress> {
    Arc::new(Egress::new(Rules {
        loopback: true,
        patience,
        target_rate: NonZeroU32::new(1000).unwrap(),
        ..Rules::default()
    }))
}

pub(crate) fn endpoint(address: SocketAddr) -> Endpoint {
    Endpoint {
        address: address.ip(),
        port: address.port().try_into().unwrap(),
    }
}

pub(crate) fn question(server: SocketAddr, transport: Transport) -> DnsQuestion {
    DnsQuestion {
        server: endpoint(server),
        transport,
        name: "big.probe.test".parse().unwrap(),
        qtype: QueryType::Txt,
        qclass: QueryClass::In,
        edns: Some(512),
        validator: None,
    }
}

pub(crate) async fn observe(asks: Vec<Ask>, egress: &Arc<Egress>) -> Vec<Observation> {
    let probes: Vec<_> = (10..).zip(asks).map(|(id, ask)| Probe { id, ask }).collect();
    run(Batch::try_from(probes).unwrap(), Vantage::Inside, egress).await
}

/// Asks once, with the patience given.
pub(crate) async fn ask(question: DnsQuestion, patience: Duration) -> Saw {
    let mut seen = observe(vec![Ask::Dns(question)], &egress(patience)).await;
    seen.remove(0).saw
}

/// A DNS server on `address`: for each query, the datagrams to send back.
pub(crate) async fn udp_responder(
    address: &str,
    answer: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) -> SocketAddr {
    let socket = UdpSocket::bind(address).await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            for datagram in answer(&buffer[..length]) {
                socket.send_to(&datagram, client).await.unwrap();
            }
        }
    });
    address
}

/// A server on loopback: `serve` gets every connection.
pub(crate) async fn tcp_responder<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream));
        }
    });
    address
}

/// Reads one DNS message with its length in front.
pub(crate) async fn read_framed(stream: &mut TcpStream) -> Vec<u8> {
    let length = stream.read_u16().await.unwrap();
    let mut message = vec![0; length.into()];
    stream.read_exact(&mut message).await.unwrap();
    message
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&u16::try_from(message.len()).unwrap().to_be_bytes()[..], message].concat()
}

/// Answers the query with so many TXT records of 200 bytes.
pub(crate) fn reply(query: &[u8], records: usize) -> Vec<u8> {
    let mut message = Message::from_vec(query).unwrap().into_response();
    let owner = message.queries[0].name().clone();
    for _ in 0..records {
        let text = TXT::new(vec!["x".repeat(200)]);
        message.add_answer(Record::from_rdata(owner.clone(), 0, RData::TXT(text)));
    }
    message.to_vec().unwrap()
}

/// A web server that answers everything with these bytes and hangs up.
pub(crate) async fn http_responder(response: impl Into<Vec<u8>>) -> SocketAddr {
    let response: Arc<[u8]> = response.into().into();
    tcp_responder(move |mut stream| {
        let response = Arc::clone(&response);
        async move {
            let _request = read_head(&mut stream).await;
            // The prober may hang up on what is too large.
            let _ = stream.write_all(&response).await;
        }
    })
    .await
}

/// Up to the blank line that ends an HTTP header.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// An issuer of certificates. All have the same name, so only their keys tell them apart.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// Certificate and key for the role, usable on either side, so that only the role tells them apart.
    pub(crate) fn issue(&self, role: Role) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![role.dns_name().to_owned()]).unwrap();
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ClientAuth,
            ExtendedKeyUsagePurpose::ServerAuth,
        ];
        (
            params.signed_by(&key, &self.0).unwrap().pem(),
            key.serialize_pem(),
        )
    }

    /// Puts all three files into the directory.
    pub(crate) fn write(&self, dir: &Path, role: Role) {
        self.write_trusting(dir, role, self);
    }

    /// The same, with the peers' issuer being another.
    pub(crate) fn write_trusting(&self, dir: &Path, role: Role, peers: &Self) {
        let (cert, key) = self.issue(role);
        fs::write(dir.join(CA_FILE), peers.pem()).unwrap();
        fs::write(dir.join(CERT_FILE), cert).unwrap();
        fs::write(dir.join(KEY_FILE), key).unwrap();
    }
}
