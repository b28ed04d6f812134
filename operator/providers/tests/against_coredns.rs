//! The corpus, judged by the CoreDNS binary that `TSUTSUMI_COREDNS` names.
//!
//! CoreDNS has no way to check a file without serving it. So it is started, and what it says first decides: its
//! banner means that it serves; a message tells at which stage it stopped. Errors of plugins carry `plugin/NAME:`,
//! those of the grammar say `Error during parsing` or `Syntax error` without it. Everything that gets as far as a
//! plugin, an address or a socket has passed the grammar.

#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use proptest::prelude::{prop_assert_eq, prop_assume};
use proptest::test_runner::{Config, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::net::{TcpListener, UdpSocket};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc;
use std::time::Duration;
use tsutsumi_model::Endpoint;
use tsutsumi_providers::coredns::bufsize::MessageBytes;
use tsutsumi_providers::coredns::corefile::{Corefile, Surroundings, config_hash};
use tsutsumi_providers::coredns::custom::{Channel, harden_override};
use tsutsumi_providers::coredns::hop::Encrypted;
use tsutsumi_providers::coredns::version::Capabilities;
use tsutsumi_providers::coredns::{
    Clients, Desired, ForwardHardening, Lead, Others, Ownership, Root, TAP_PORT, harden,
};

#[derive(Debug, PartialEq)]
enum Verdict {
    Accepts,
    Rejects(String),
    /// It stopped at a directive that it does not know, before the end of the grammar.
    Undecided,
}

#[test]
fn the_corpus_is_judged_alike() {
    let binary = binary();
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in corpus() {
        let real = judge(&binary, &file);
        let ours = Corefile::parse_with(&std::fs::read_to_string(&file).unwrap(), &surroundings());
        count += 1;
        if real != Verdict::Undecided && ours.is_ok() != (real == Verdict::Accepts) {
            wrong.push(format!(
                "{}: CoreDNS {real:?}, here {:?}",
                file.display(),
                ours.err()
            ));
        }
    }
    assert!(count >= 40, "only {count} files were found");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Words in any order, to find where the two grammars differ.
#[test]
fn random_texts_are_judged_alike() {
    let binary = binary();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("random");
    std::fs::create_dir_all(&directory).unwrap();
    let words = [
        ".:0",
        "a.test:0",
        "whoami",
        "errors",
        "{",
        "}",
        "{",
        "}",
        " ",
        " ",
        "\n",
        "\n",
        "\n",
        "\n",
        "\"",
        "#x",
        "(a)",
        "(a) {\nerrors\n}\n",
        ".:0 {\n",
        "\n}\n",
        "import a",
        "import *.none",
        ",",
        "\r\n",
        "\\",
        "{$CORPUS_KEY}",
        "log",
    ];
    let text = proptest::collection::vec(proptest::sample::select(words.to_vec()), 1..12);
    // The same texts every time; `PROPTEST_CASES` makes it more of them.
    let config = Config {
        max_global_rejects: 100_000,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(config.rng_algorithm);
    let result = TestRunner::new_with_rng(config, random).run(&text, |words| {
        let file = directory.join(format!("{}.corefile", std::process::id()));
        let text = words.concat();
        std::fs::write(&file, &text).unwrap();
        let real = judge(&binary, &file);
        let ours = Corefile::parse_with(&text, &surroundings());
        prop_assume!(real != Verdict::Undecided);
        let accepts = real == Verdict::Accepts;
        prop_assert_eq!(ours.is_ok(), accepts, "{:?}: {:?}, {:?}", text, real, ours.err());
        Ok(())
    });
    result.unwrap();
}

/// What CoreDNS serves it still serves after hardening, and nothing is written twice that may stand only once.
#[test]
fn hardened_files_are_served() {
    let binary = binary();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("hardened");
    std::fs::create_dir_all(&directory).unwrap();
    for (name, text) in surroundings().files {
        std::fs::write(directory.join(name), text).unwrap();
    }
    let mut count = 0;
    for file in corpus() {
        if !first_words(&binary, &file, "CoreDNS-1.").0 {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let hardened = harden(&text, &desired(), &Ownership::default(), &Capabilities::unknown());
        let hardened = hardened.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let copy = directory.join(file.file_name().unwrap());
        std::fs::write(&copy, &hardened.text).unwrap();
        let (serves, output) = first_words(&binary, &copy, "CoreDNS-1.");
        assert!(serves, "{}: {output}\n{}", file.display(), hardened.text);
        count += 1;
    }
    assert!(count >= 30, "only {count} files were served");
}

/// The file for a platform that owns the Corefile, beside files of others before and behind it.
#[test]
fn overrides_are_served() {
    let binary = binary();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("overrides");
    std::fs::create_dir_all(directory.join("custom")).unwrap();
    let main = ".:0 {\n    errors\n    import custom/*.override\n    whoami\n    reload\n}\n";
    std::fs::write(directory.join("Corefile"), main).unwrap();
    let file = |name: &str, text: &str| std::fs::write(directory.join("custom").join(name), text).unwrap();
    let others = [
        (
            "a.override",
            "bufsize 4096\nacl {\n    allow net 192.0.2.0/24\n}\n",
        ),
        ("z.override", "bufsize 512\nacl {\n    drop type ANY\n}\n"),
    ];
    let others: BTreeMap<_, _> = others
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .into();
    for (name, text) in &others {
        file(name, text);
    }
    let channel = Channel {
        corefile: main,
        name: "tsutsumi.override",
        others: &others,
        present: None,
    };
    let made = harden_override(&channel, &desired(), &Capabilities::unknown()).unwrap();
    file(channel.name, &made.text);
    let (serves, output) = first_words(&binary, &directory.join("Corefile"), "CoreDNS-1.");
    assert!(serves, "{output}\n{}", made.text);
}

/// CoreDNS itself answers as the rules say: a foreign allowance is narrowed, and each answer bears our identity.
#[test]
fn a_hardened_server_answers_clients_only() {
    let binary = binary();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    for (allow, query_type, expected) in [
        ("10.0.0.0/8", A, Answer { rcode: 5, records: 0 }),
        ("10.0.0.0/8", ANY, Answer { rcode: 5, records: 0 }),
        ("127.0.0.0/8", A, Answer { rcode: 0, records: 2 }),
        ("127.0.0.0/8", ANY, Answer { rcode: 0, records: 0 }),
    ] {
        let port = free_port();
        let text = format!(
            ".:{port} {{\n    bind 127.0.0.1\n    acl {{\n        allow net 127.0.0.0/8\n    }}\n    whoami\n}}\n"
        );
        let mut desired = desired();
        desired.clients = Some(Clients {
            allow: vec![allow.parse().unwrap()],
            others: Others::Refuse,
        });
        let made = harden(&text, &desired, &Ownership::default(), &Capabilities::unknown()).unwrap();
        let file = directory.join(format!("answers-{port}.corefile"));
        std::fs::write(&file, &made.text).unwrap();
        let (mut child, serves, output) = start(&binary, &file, "CoreDNS-1.");
        let answer = serves.then(|| ask(port, query_type));
        child.kill().unwrap();
        child.wait().unwrap();
        let (answer, bytes) = answer.unwrap_or_else(|| panic!("{output}"));
        assert_eq!(answer, expected, "{allow} {query_type}\n{}", made.text);
        let identity = made.identity.ours.to_string();
        assert!(
            bytes
                .windows(identity.len())
                .any(|window| window == identity.as_bytes()),
            "{bytes:?}"
        );
    }
}

/// CoreDNS hands on from one `forward` to the next in the order of the text, and only what the earlier ones do not take:
/// whoever is asked for `a.test` today is asked with ours in front, but where it was the root's.
#[test]
fn only_what_the_root_s_forward_takes_goes_to_ours() {
    let binary = binary();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let except = "{\n        except a.test\n    }";
    // Servers are told apart by how many records they answer: 1 the root's, 2 the zone's, 3 ours.
    for (what, lines, before, after) in [
        ("the root's alone", "forward . {root}", 1, 3),
        (
            "the zone's behind it",
            "forward . {root}\n    forward a.test {zone}",
            1,
            3,
        ),
        (
            "the zone's before it",
            "forward a.test {zone}\n    forward . {root}",
            2,
            2,
        ),
        (
            "excepted",
            "forward . {root} {except}\n    forward a.test {zone}",
            2,
            2,
        ),
        (
            "a second root",
            "forward . {root} {except}\n    forward . {zone}",
            2,
            2,
        ),
    ] {
        let [port, root, zone, ours] = [(); 4].map(|()| free_port());
        let lines = lines
            .replace("{root}", &format!("127.0.0.1:{root}"))
            .replace("{zone}", &format!("127.0.0.1:{zone}"))
            .replace("{except}", except);
        let behind = [root, zone, ours].into_iter().zip(1..).map(|(port, records)| {
            let answers: Vec<String> = (1..=records)
                .map(|last| format!("        answer \"{{{{ .Name }}}} 60 IN A 192.0.2.{last}\"\n"))
                .collect();
            let answers = answers.concat();
            format!(".:{port} {{\n    bind 127.0.0.1\n    template IN A . {{\n{answers}    }}\n}}\n")
        });
        let text =
            format!(".:{port} {{\n    bind 127.0.0.1\n    {lines}\n}}\n") + &behind.collect::<String>();
        let wish = Desired {
            root: Some(Root::Servers(vec![
                Endpoint::of("127.0.0.1".parse().unwrap(), ours.into()).unwrap(),
            ])),
            ..Desired::default()
        };
        let made = harden(&text, &wish, &Ownership::default(), &Capabilities::unknown()).unwrap();
        for (text, expected) in [(&text, before), (&made.text, after)] {
            let file = directory.join(format!("leads-{port}.corefile"));
            std::fs::write(&file, text).unwrap();
            let (mut child, serves, output) = start(&binary, &file, "CoreDNS-1.");
            let answer = serves.then(|| ask(port, A));
            child.kill().unwrap();
            child.wait().unwrap();
            let (answer, _) = answer.unwrap_or_else(|| panic!("{output}"));
            let expected = Answer {
                rcode: 0,
                records: expected,
            };
            assert_eq!(answer, expected, "{what}\n{text}");
        }
    }
}

/// A port on which nobody listens, over UDP or TCP. It lies below the range from which the kernel takes the ports of
/// clients, so that nobody gets it between this look and the server's start.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 20_000 + u16::try_from(std::process::id() % 1_000).unwrap() * 10;
    (0..10_000)
        .map(|_| first + NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| {
            UdpSocket::bind(("127.0.0.1", *port)).is_ok() && TcpListener::bind(("127.0.0.1", *port)).is_ok()
        })
        .unwrap()
}

const A: u8 = 1;
const ANY: u8 = 255;

#[derive(Debug, PartialEq)]
struct Answer {
    rcode: u8,
    /// Records besides OPT.
    records: u8,
}

/// Asks for `a.test.` with an empty NSID option (RFC 5001).
fn ask(port: u16, query_type: u8) -> (Answer, Vec<u8>) {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    query.extend(b"\x01a\x04test\0\0");
    query.extend([query_type, 0, 1]);
    query.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 3, 0, 0]);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(&query, ("127.0.0.1", port)).unwrap();
    let mut buffer = vec![0; 4096];
    let length = socket.recv(&mut buffer).unwrap();
    buffer.truncate(length);
    let records = buffer[7] + buffer[9] + buffer[11] - 1;
    (
        Answer {
            rcode: buffer[3] & 15,
            records,
        },
        buffer,
    )
}

#[test]
fn the_hash_is_predicted() {
    let binary = binary();
    let mut compared = 0;
    for file in corpus()
        .iter()
        .filter(|file| file.to_string_lossy().contains("hash-"))
    {
        let text = std::fs::read_to_string(file).unwrap();
        let predicted = config_hash(&Corefile::parse_with(&text, &surroundings()).unwrap()).unwrap();
        let (_, output) = first_words(&binary, file, "SHA512 = ");
        let logged = output
            .rsplit_once("SHA512 = ")
            .map(|(_, hash)| hash.trim().to_owned());
        assert_eq!(logged, Some(predicted), "{}: {output}", file.display());
        compared += 1;
    }
    assert!(compared >= 2, "only {compared} files were compared");
}

/// CoreDNS reads the authorities when it loads the text, and does not serve without them.
#[test]
fn a_hop_over_tls_is_served_exactly_with_its_authorities() {
    let binary = binary();
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("encrypted");
    std::fs::create_dir_all(&directory).unwrap();
    let authorities = directory.join("authority.crt");
    let wish = Desired {
        root: Some(Root::Encrypted(Encrypted {
            server: Endpoint::of("192.0.2.1".parse().unwrap(), 853).unwrap(),
            name: "resolver.tsutsumi.test".parse().unwrap(),
            authorities: authorities.to_str().unwrap().parse().unwrap(),
        })),
        ..desired()
    };
    let text = ".:0 {\n    forward . 9.9.9.9\n}\n";
    let hardened = harden(text, &wish, &Ownership::default(), &Capabilities::unknown()).unwrap();
    let file = directory.join("Corefile");
    std::fs::write(&file, &hardened.text).unwrap();
    let known = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/coredns/authority.crt");
    std::fs::copy(known, &authorities).unwrap();
    let (serves, output) = first_words(&binary, &file, "CoreDNS-1.");
    assert!(serves, "{output}\n{}", hardened.text);
    std::fs::remove_file(&authorities).unwrap();
    let (serves, output) = first_words(&binary, &file, "CoreDNS-1.");
    assert!(!serves && output.contains("authority.crt"), "{output}");
}

fn desired() -> Desired {
    Desired {
        clients: Some(Clients {
            allow: vec!["10.0.0.0/8".parse().unwrap()],
            others: Others::Refuse,
        }),
        max_message_bytes: MessageBytes::new(1232).ok(),
        any_empty: true,
        forward: Some(ForwardHardening {
            fresh_ports: true,
            max_concurrent: NonZeroU32::new(9),
            failfast: true,
        }),
        probe: Some(
            [
                ("probe.tsutsumi.test", "10.96.0.20"),
                ("probe-outside.tsutsumi.test", "192.0.2.53"),
            ]
            .map(|(zone, server)| Lead {
                zone: zone.parse().unwrap(),
                server: Endpoint::of(server.parse().unwrap(), 53).unwrap(),
            })
            .into(),
        ),
        root: Some(Root::Servers(vec![
            Endpoint::of("10.96.0.30".parse().unwrap(), 53).unwrap(),
        ])),
        // Nobody listens there.
        tap: Endpoint::of("127.0.0.1".parse().unwrap(), TAP_PORT.into()),
        edition: 0,
    }
}

fn judge(binary: &OsString, file: &Path) -> Verdict {
    let (serves, output) = first_words(binary, file, "CoreDNS-1.");
    let grammar = |line: &&str| {
        !line.contains("plugin/")
            && (line.contains("Error during parsing: ") || line.contains("Syntax error: "))
    };
    match output.lines().find(grammar) {
        Some(line) if !serves && line.contains("Unknown directive") => Verdict::Undecided,
        Some(line) if !serves => Verdict::Rejects(line.to_owned()),
        _ => Verdict::Accepts,
    }
}

/// Runs CoreDNS until it says `until` or ends. Returns whether it said so, and all that it said.
fn first_words(binary: &OsString, file: &Path, until: &str) -> (bool, String) {
    let (mut child, found, output) = start(binary, file, until);
    child.kill().unwrap();
    child.wait().unwrap();
    (found, output)
}

fn start(binary: &OsString, file: &Path, until: &str) -> (Child, bool, String) {
    let mut child = Command::new(binary)
        .args(["-dns.port", "0", "-conf"])
        .arg(file)
        .current_dir(file.parent().unwrap())
        .env_clear()
        .envs(environment())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, said) = mpsc::channel();
    let streams: [Box<dyn Read + Send>; 2] = [
        Box::new(child.stdout.take().unwrap()),
        Box::new(child.stderr.take().unwrap()),
    ];
    for stream in streams {
        let lines = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let _ = lines.send(line);
            }
        });
    }
    drop(lines);
    let mut output = String::new();
    let mut found = false;
    for line in said {
        found |= line.contains(until);
        output.push_str(&line);
        output.push('\n');
        if found {
            break;
        }
    }
    (child, found, output)
}

fn binary() -> OsString {
    std::env::var_os("TSUTSUMI_COREDNS").expect("TSUTSUMI_COREDNS must name a CoreDNS binary")
}

fn environment() -> BTreeMap<String, String> {
    [
        ("CORPUS_KEY", ".:0"),
        ("CORPUS_ARG", "30"),
        ("CORPUS_DIRECTIVE", "errors"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into()
}

fn surroundings() -> Surroundings {
    let directory = corpus_directory().join("accepts");
    let files = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.extension().is_some_and(|extension| extension == "part"));
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let files = files
        .map(|path| (name(&path), std::fs::read_to_string(&path).unwrap()))
        .collect();
    Surroundings {
        files,
        env: Some(environment()),
        complete: true,
    }
}

fn corpus_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/corpus")
}

fn corpus() -> Vec<PathBuf> {
    let mut files = Vec::new();
    for directory in ["accepts", "rejects"] {
        for entry in std::fs::read_dir(corpus_directory().join(directory)).unwrap() {
            files.push(entry.unwrap().path());
        }
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "corefile"));
    files.sort();
    files
}
