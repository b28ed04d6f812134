//! The exporter beside a real Unbound with the managed profile: `TSUTSUMI_UNBOUND` names the folder that its packages
//! were unpacked into. Its own loader starts it, so that it runs beside an older C library.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail as tests do"
)]

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener as StdListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::oneshot,
};
use tsutsumi_exporter::{Exporter, serve};
use tsutsumi_model::{Endpoint, Port};
use tsutsumi_providers::{
    coredns::{bufsize::MessageBytes, nsid::Nsid},
    unbound::{
        anchors::ROOT_KEY,
        config::{Key, Value},
        hints::NAMED_ROOT,
        profile::{Families, Profile, Validation},
    },
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_unbound_fills_the_whole_table_and_its_end_is_told() {
    for validation in [Validation::Required, Validation::Off] {
        let mut unbound = Unbound::start(validation);
        let metrics = Metrics::start(&unbound).await;
        let before = metrics.scrape().await;
        assert_eq!(number(&before, "tsutsumi_unbound_up"), Some(1.0));
        assert!(!before.contains("counter_missing"), "{before}");

        unbound.ask("localhost", 1).await;
        unbound.ask("localhost", 28).await;
        unbound.ask("localhost", 65_280).await;
        let after = metrics.scrape().await;
        let moved = |name: &str| number(&after, name).unwrap() - number(&before, name).unwrap();
        for (name, by) in [
            ("tsutsumi_unbound_queries_total", 3.0),
            ("tsutsumi_unbound_queries_by_type_total{type=\"A\"}", 1.0),
            ("tsutsumi_unbound_queries_by_type_total{type=\"AAAA\"}", 1.0),
            ("tsutsumi_unbound_queries_by_type_total{type=\"other\"}", 1.0),
            ("tsutsumi_unbound_answers_total{rcode=\"NOERROR\"}", 3.0),
            ("tsutsumi_unbound_answers_total{rcode=\"SERVFAIL\"}", 0.0),
        ] {
            assert!(
                (moved(name) - by).abs() < 1e-9,
                "{name} moved by {}\n{after}",
                moved(name)
            );
        }

        unbound.stop();
        let silent = metrics.scrape().await;
        let ours =
            |line: &&str| !line.starts_with('#') && !line.starts_with("tsutsumi_unbound_questions_total{");
        assert_eq!(
            silent.lines().filter(ours).collect::<Vec<_>>(),
            ["tsutsumi_unbound_up 0"]
        );
        assert_eq!(
            number(&silent, "tsutsumi_unbound_questions_total{outcome=\"connect\"}"),
            Some(1.0)
        );
        assert_eq!(
            number(&silent, "tsutsumi_unbound_questions_total{outcome=\"ok\"}"),
            Some(2.0)
        );
    }
}

/// The exporter under test.
struct Metrics {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

impl Metrics {
    async fn start(unbound: &Unbound) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = unbound.folder.path().join("control.sock");
        let exporter = Exporter {
            listener,
            socket: socket.to_str().unwrap().parse().unwrap(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(serve(exporter, async {
            let _ = stopped.await;
        }));
        Self { address, _stop: stop }
    }

    async fn scrape(&self) -> String {
        for path in ["/livez", "/readyz"] {
            assert!(self.get(path).await.starts_with("HTTP/1.1 200 "), "{path}");
        }
        let answer = self.get("/metrics").await;
        let (head, page) = answer.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains("application/openmetrics-text"),
            "{head}"
        );
        page.to_owned()
    }

    async fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }
}

fn number(page: &str, name: &str) -> Option<f64> {
    page.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

struct Unbound {
    child: Child,
    address: SocketAddr,
    folder: TempDir,
}

impl Unbound {
    fn start(validation: Validation) -> Self {
        // A short path: a socket's may have 107 bytes.
        let folder = tempfile::Builder::new().prefix("ub").tempdir_in("/tmp").unwrap();
        fs::write(folder.path().join("root.key"), ROOT_KEY).unwrap();
        fs::write(folder.path().join("named.root"), NAMED_ROOT).unwrap();
        let port = free_port();
        let address = SocketAddr::from(([127, 0, 0, 1], port.get()));
        let mut config = profile(folder.path(), port, validation).config();
        for setting in &mut config.clauses[0].settings {
            if setting.key == Key::Interface {
                let address = address.ip();
                setting.value = Value::Server(Endpoint { address, port }, None);
            }
        }
        let file = folder.path().join("unbound.conf");
        fs::write(&file, config.to_string()).unwrap();
        let root =
            std::env::var_os("TSUTSUMI_UNBOUND").expect("TSUTSUMI_UNBOUND must name a folder with Unbound");
        let root = PathBuf::from(root);
        let mut child = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"))
            .arg("--library-path")
            .arg(root.join("usr/lib/x86_64-linux-gnu"))
            .arg(root.join("usr/sbin/unbound"))
            .args(["-d", "-c"])
            .arg(&file)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let unbound = Self {
            child,
            address,
            folder,
        };
        let started = lines
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains("start of service"));
        assert!(started, "Unbound does not start");
        // Nobody else reads what it says, and it must not block.
        std::thread::spawn(move || lines.for_each(drop));
        unbound
    }

    /// Asks for a name of one label and waits for the answer.
    async fn ask(&self, name: &str, qtype: u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let mut query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0".to_vec();
        query.push(u8::try_from(name.len()).unwrap());
        query.extend(name.bytes());
        query.push(0);
        query.extend(qtype.to_be_bytes());
        query.extend([0, 1]);
        socket.send_to(&query, self.address).await.unwrap();
        let mut answer = [0; 1500];
        let length = socket.recv(&mut answer).await.unwrap();
        assert!(length > 12 && answer[..2] == query[..2]);
    }

    fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Unbound {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Free for UDP and TCP when it was tried.
fn free_port() -> Port {
    loop {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        if std::net::UdpSocket::bind(address).is_ok() {
            return Port::new(address.port()).unwrap();
        }
    }
}

fn profile(folder: &Path, port: Port, validation: Validation) -> Profile {
    let folder = folder.to_str().unwrap();
    Profile {
        clients: vec!["127.0.0.0/8".parse().unwrap()],
        max_message_bytes: MessageBytes::new(1232).unwrap(),
        validation,
        stubs: Vec::new(),
        forwards: Vec::new(),
        private_domains: Vec::new(),
        identity: Nsid::parse("tsutsumi-0123456789ab").unwrap(),
        tls: None,
        authorities: None,
        avoid_ports: Vec::new(),
        zone_rate_limit: 1000.try_into().ok(),
        families: Families::V4,
        dns_port: port,
        tls_port: Port::new(8853).unwrap(),
        threads: 2.try_into().unwrap(),
        config_directory: folder.parse().unwrap(),
        run_directory: folder.parse().unwrap(),
        loopback_servers: false,
    }
}
