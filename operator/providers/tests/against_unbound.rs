//! The hardened profile, judged by Unbound itself: `TSUTSUMI_UNBOUND` names the folder that its packages were
//! unpacked into. Its own loader starts it, so that it runs beside an older C library.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tsutsumi_model::{Endpoint, Port};
use tsutsumi_providers::coredns::bufsize::MessageBytes;
use tsutsumi_providers::coredns::nsid::Nsid;
use tsutsumi_providers::unbound::anchors::{self, DsRecord};
use tsutsumi_providers::unbound::config::{ClauseKind, Config, Key, Value, Zone};
use tsutsumi_providers::unbound::hints::NAMED_ROOT;
use tsutsumi_providers::unbound::profile::table::SERVER;
use tsutsumi_providers::unbound::profile::{Families, Forward, Profile, Stub, Tls, Validation};

#[test]
fn unbound_accepts_every_variant_and_refuses_a_broken_one() {
    let folder = folder("variants");
    let usual = profile(&folder);
    let ds = |zone: &str| DsRecord::parse(&format!("{zone} DS 1 13 2 {}", "AB".repeat(32))).unwrap();
    let at = |text: &str| Endpoint {
        address: text.parse().unwrap(),
        port: Port::new(5300).unwrap(),
    };
    let stub = |zone: &str, trust_anchor| Stub {
        zone: zone.parse().unwrap(),
        servers: vec![at("192.0.2.1"), at("2001:db8::1")],
        trust_anchor,
    };
    let forward = |zone: Zone, name: Option<&str>| Forward {
        zone,
        servers: vec![at("192.0.2.2")],
        tls_name: name.map(|name| name.parse().unwrap()),
    };
    // Only whether they are there is checked.
    let file = |name: &str| folder.join(name).to_str().unwrap().parse().unwrap();
    let variants = [
        usual.clone(),
        Profile {
            validation: Validation::WhenSigned,
            families: Families::V4,
            ..usual.clone()
        },
        Profile {
            validation: Validation::Off,
            families: Families::V6,
            zone_rate_limit: None,
            ..usual.clone()
        },
        Profile {
            clients: vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()],
            stubs: vec![
                stub("probe.a.test", Some(ds("probe.a.test."))),
                stub("corp.example", None),
            ],
            forwards: vec![
                forward(Zone::ROOT, Some("dns.example")),
                forward("internal.example".parse().unwrap(), None),
            ],
            private_domains: vec!["corp.example".parse().unwrap()],
            avoid_ports: vec![Port::new(9153).unwrap()],
            tls: Some(Tls {
                certificate: file("root.key"),
                key: file("root.key"),
            }),
            authorities: Some(file("root.key")),
            ..usual.clone()
        },
    ];
    for variant in variants {
        let text = variant.render().unwrap();
        let output = check(&folder, &text);
        assert!(
            output.status.success(),
            "{}\n{text}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    let text = usual.render().unwrap();
    // It takes `max-udp-size: many` for a number, so sizes are no good example.
    for (right, wrong) in [
        ("prefetch: yes", "prefetch: maybe"),
        ("ede: yes", "edes: yes"),
        ("root.key", "no.key"),
    ] {
        assert!(text.contains(right));
        assert!(
            !check(&folder, &text.replace(right, wrong)).status.success(),
            "{wrong}"
        );
    }
}

#[test]
fn a_running_unbound_has_our_identity_and_every_value_of_the_table() {
    let folder = folder("running");
    let mut profile = profile(&folder);
    let port = free_port();
    profile.dns_port = port;
    let mut config = profile.config();
    for setting in &mut config.clauses[0].settings {
        if setting.key == Key::Interface {
            setting.value = Value::Server(
                Endpoint {
                    address: [127, 0, 0, 1].into(),
                    port,
                },
                None,
            );
        }
    }
    let unbound = Running::start(&folder, &config);

    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // `localhost. A` with an empty NSID option.
    let query = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\x01\x09localhost\0\0\x01\0\x01\0\0\x29\x10\0\0\0\0\0\0\x04\0\x03\0\0";
    socket.send_to(query, ("127.0.0.1", port.get())).unwrap();
    let mut answer = [0; 1500];
    let length = socket.recv(&mut answer).unwrap();
    let identity = profile.identity.to_string();
    // Option 3, its length, and no byte more or less than the identity.
    let mut option = vec![0, 3, 0, u8::try_from(identity.len()).unwrap()];
    option.extend(identity.bytes());
    let found = answer[..length].windows(option.len()).any(|part| part == option);
    assert!(found, "{}", String::from_utf8_lossy(&answer[..length]));

    let mut wrong = String::new();
    // Unbound does not tell its port lists.
    let told = |key| !matches!(key, Key::OutgoingPortPermit | Key::OutgoingPortAvoid);
    for row in SERVER.iter().filter(|row| told(row.key)) {
        let name = row.key.name();
        let live = unbound.ask(&format!("get_option {name}"));
        let settings = config
            .clauses
            .iter()
            .filter(|clause| clause.kind == ClauseKind::Server);
        let ours: Vec<String> = settings
            .flat_map(|clause| &clause.settings)
            .filter(|setting| setting.key == row.key)
            .map(|setting| plain(&setting.value))
            .collect();
        let live_lines: Vec<&str> = live.lines().map(str::trim).collect();
        let live_lines: Vec<String> = live_lines.iter().map(|line| line.replace('"', "")).collect();
        let same = ours
            .iter()
            .all(|value| live_lines.contains(value) || (value.is_empty() && live_lines.is_empty()));
        if !same {
            writeln!(wrong, "{name}: ours {ours:?}, live {live_lines:?}").unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

fn plain(value: &Value) -> String {
    value.to_string().replace('"', "")
}

struct Running {
    child: Child,
    control: PathBuf,
}

impl Running {
    fn start(folder: &Path, config: &Config) -> Self {
        let file = folder.join("running.conf");
        std::fs::write(&file, config.to_string()).unwrap();
        let child = program("unbound")
            .arg("-d")
            .arg("-c")
            .arg(&file)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut running = Self {
            child,
            control: folder.join("control.sock"),
        };
        let mut lines = BufReader::new(running.child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        while !said.contains("start of service") {
            let line = lines
                .next()
                .unwrap_or_else(|| panic!("it ended: {said}"))
                .unwrap();
            writeln!(said, "{line}").unwrap();
        }
        // Nobody else reads what it says, and it must not block.
        std::thread::spawn(move || lines.for_each(drop));
        running
    }

    fn ask(&self, command: &str) -> String {
        let mut stream = UnixStream::connect(&self.control).unwrap();
        stream.write_all(format!("UBCT1 {command}\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check(folder: &Path, text: &str) -> Output {
    let file = folder.join("checked.conf");
    std::fs::write(&file, text).unwrap();
    program("unbound-checkconf").arg(&file).output().unwrap()
}

fn program(name: &str) -> Command {
    let root =
        std::env::var_os("TSUTSUMI_UNBOUND").expect("TSUTSUMI_UNBOUND must name a folder with Unbound");
    let root = PathBuf::from(root);
    let mut command = Command::new(root.join("usr/lib64/ld-linux-x86-64.so.2"));
    command
        .arg("--library-path")
        .arg(root.join("usr/lib/x86_64-linux-gnu"))
        .arg(root.join("usr/sbin").join(name));
    command.stdin(Stdio::null());
    command
}

fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("unbound").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("root.key"), anchors::ROOT_KEY).unwrap();
    std::fs::write(folder.join("named.root"), NAMED_ROOT).unwrap();
    folder
}

/// Free for UDP and TCP when it was tried.
fn free_port() -> Port {
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return Port::new(address.port()).unwrap();
        }
    }
}

fn profile(folder: &Path) -> Profile {
    let folder = folder.to_str().unwrap();
    Profile {
        clients: vec!["127.0.0.0/8".parse().unwrap()],
        max_message_bytes: MessageBytes::new(1232).unwrap(),
        validation: Validation::Required,
        stubs: Vec::new(),
        forwards: Vec::new(),
        private_domains: Vec::new(),
        identity: Nsid::parse("tsutsumi-0123456789ab").unwrap(),
        tls: None,
        authorities: None,
        avoid_ports: Vec::new(),
        zone_rate_limit: 1000.try_into().ok(),
        families: Families::Both,
        dns_port: Port::new(5353).unwrap(),
        tls_port: Port::new(8853).unwrap(),
        threads: 1.try_into().unwrap(),
        config_directory: folder.parse().unwrap(),
        run_directory: folder.parse().unwrap(),
        loopback_servers: false,
    }
}
