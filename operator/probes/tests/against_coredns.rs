//! What CoreDNS itself tells over dnstap arrives, and its answers are the same whether anybody listens or not. The binary
//! is the one that `TSUTSUMI_COREDNS` names; its Corefile gets the line from the code that writes it for the cluster.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

mod common;

use std::{
    env,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use common::{Ca, egress, endpoint};
use hickory_proto::{
    op::{Message, Query},
    rr::RecordType,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, UdpSocket},
    time::{sleep, timeout},
};
use tsutsumi_model::{Collect, Vantage};
use tsutsumi_probes::{Credentials, Prober, ProberClient, Role, serve};
use tsutsumi_providers::coredns::{Desired, Ownership, harden, taps, version::Capabilities};

/// CoreDNS with this collector in its Corefile, or with none.
struct CoreDns {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Drop for CoreDns {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl CoreDns {
    async fn start(collector: Option<SocketAddr>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Below the range from which the kernel takes ports for clients.
        let address = free_address().await;
        // It answers for every name, so that nothing is forwarded to where nobody is.
        let hosts = "hosts {\n        192.0.2.1 wiki.corp.test mail.corp.test\n    }";
        let text = format!(
            ".:{} {{\n    bind 127.0.0.1\n    {hosts}\n    forward . 127.0.0.1:9\n}}\n",
            address.port()
        );
        let wish = Desired {
            tap: collector.map(endpoint),
            ..Desired::default()
        };
        let made = harden(&text, &wish, &Ownership::default(), &Capabilities::unknown()).unwrap();
        assert_eq!(taps(&made.text, &made.ownership).unwrap(), collector.is_some());
        let file = dir.path().join("Corefile");
        std::fs::write(&file, &made.text).unwrap();
        let child = Command::new(env::var_os("TSUTSUMI_COREDNS").expect("the path of a CoreDNS binary"))
            .arg("-conf")
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            address,
            _dir: dir,
        }
    }

    /// Asks until it answers; what it says, but for the id.
    async fn ask(&self, name: &str, kind: RecordType) -> Vec<u8> {
        let mut query = Message::query();
        query.add_query(Query::query(name.parse().unwrap(), kind));
        let query = query.to_vec().unwrap();
        for _ in 0..300 {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            socket.connect(self.address).await.unwrap();
            let _ = socket.send(&query).await;
            let mut answer = vec![0; 512];
            if let Ok(Ok(length)) = timeout(Duration::from_millis(200), socket.recv(&mut answer)).await {
                answer.truncate(length);
                return answer[2..].to_vec();
            }
            // It is not up yet.
            sleep(Duration::from_millis(50)).await;
        }
        panic!("CoreDNS does not answer for {name}");
    }
}

async fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 21_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 8;
    for _ in 0..1_000 {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if UdpSocket::bind(address).await.is_ok() && TcpListener::bind(address).await.is_ok() {
            return address;
        }
    }
    panic!("every port is taken");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_names_that_coredns_is_asked_for_arrive() {
    let (ca, dir) = (Ca::new(), tempfile::tempdir().unwrap());
    ca.write(dir.path(), Role::Prober);
    let own = tempfile::tempdir().unwrap();
    ca.write(own.path(), Role::Controller);
    let [listener, health, names] = [
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
        TcpListener::bind("127.0.0.1:0").await.unwrap(),
    ];
    let (address, collector) = (listener.local_addr().unwrap(), names.local_addr().unwrap());
    tokio::spawn(serve(
        Prober {
            listener,
            health,
            credentials: Credentials::server(dir.path()),
            vantage: Vantage::Inside,
            egress: egress(Duration::from_secs(1)),
            names: Some(names),
        },
        std::future::pending(),
    ));
    let tls = Credentials::controller(own.path()).current().unwrap();
    let client = ProberClient::new(address, Vantage::Inside, tls);
    let asked = Collect {
        peers: vec!["127.0.0.1".parse().unwrap()],
        apart: vec![],
        seconds: 60,
    };
    client.collect(&asked).await.unwrap();
    let coredns = CoreDns::start(Some(collector)).await;
    // The first one may have been asked more than once, until it was up.
    coredns.ask("up.corp.test", RecordType::A).await;
    for _ in 0..3 {
        coredns.ask("wiki.corp.test", RecordType::A).await;
    }
    coredns.ask("mail.corp.test", RecordType::AAAA).await;
    let told = loop {
        let told = client.collect(&asked).await.unwrap();
        if told.names.len() >= 3 {
            break told;
        }
    };
    let times = |name: &str, qtype: RecordType| {
        let same =
            |one: &&tsutsumi_model::AskedName| one.name.as_str() == name && one.qtype == u16::from(qtype);
        told.names.iter().find(same).map(|one| one.times)
    };
    assert_eq!(times("wiki.corp.test", RecordType::A), Some(3), "{told:?}");
    assert_eq!(times("mail.corp.test", RecordType::AAAA), Some(1), "{told:?}");
    assert_eq!(told.unreadable, 0, "{told:?}");
}

#[tokio::test]
async fn answers_are_the_same_whether_anybody_listens_or_not() {
    let plain = CoreDns::start(None).await;
    let before = plain.ask("wiki.corp.test", RecordType::A).await;
    // Nobody is there; somebody is there and says nothing; somebody hangs up.
    let nobody = free_address().await;
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rude = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (silent_at, rude_at) = (silent.local_addr().unwrap(), rude.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = rude.accept().await {
            drop(stream);
        }
    });
    for collector in [nobody, silent_at, rude_at] {
        let tapped = CoreDns::start(Some(collector)).await;
        assert_eq!(tapped.ask("wiki.corp.test", RecordType::A).await, before);
        for _ in 0..100 {
            assert_eq!(tapped.ask("wiki.corp.test", RecordType::A).await, before);
        }
    }
}
