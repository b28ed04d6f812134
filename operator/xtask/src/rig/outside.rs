//! What of the operator's own stands outside the cluster: a prober and a probe zone, as plain processes in the outside
//! namespace. They get the certificates and keys that the operator issued, as a person would copy them to a machine
//! elsewhere.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Rig;
use super::facts::{OUTSIDE, OUTSIDE_GATE_V4, OUTSIDE_V4, OUTSIDE_ZONE_V4};
use super::state::ROOT;
use crate::run;

/// Where each listens for the controller, at an address of its own.
pub(crate) const PORT: u16 = 8443;
const PROBER: &str = "outside-prober";
const ZONE: &str = "outside-zone";
/// Their names among the rig's processes; they are no parts of the cluster.
pub(crate) const PROCESSES: [&str; 2] = [PROBER, ZONE];
/// As the chart names the zone outside, unless told otherwise.
const ZONE_NAME: &str = "probe-outside.tsutsumi.test";

const CERTIFICATE: &[&str] = &["tls.crt", "tls.key", "ca.crt"];

/// A process outside.
struct Part {
    name: &'static str,
    address: &'static str,
    /// Secrets, and the files that are copied from each.
    files: &'static [(&'static str, &'static [&'static str])],
    arguments: Vec<String>,
}

/// Waits for the certificate, then starts the prober in place of an earlier one.
pub(crate) fn prober(rig: &mut Rig, binary: &Path, namespace: &str) -> Result<()> {
    let part = Part {
        name: PROBER,
        address: OUTSIDE_V4,
        files: &[("tsutsumi-prober-tls", CERTIFICATE)],
        arguments: vec![
            "prober".to_owned(),
            "--vantage=outside".to_owned(),
            format!("--listen={OUTSIDE_V4}:{PORT}"),
        ],
    };
    start(rig, binary, namespace, part)
}

/// Waits for the certificate and the keys, then starts the probe zone in place of an earlier one. It answers the pods as
/// they are seen outside: by the address behind the rig's NAT.
pub(crate) fn zone(rig: &mut Rig, binary: &Path, namespace: &str) -> Result<()> {
    let part = Part {
        name: ZONE,
        address: OUTSIDE_ZONE_V4,
        files: &[
            ("tsutsumi-probe-zone-tls", CERTIFICATE),
            ("tsutsumi-probe-zone-keys", &["mark.key", "zone.key"]),
        ],
        arguments: vec![
            "probe-zone".to_owned(),
            format!("--zone={ZONE_NAME}"),
            format!("--allow={OUTSIDE_GATE_V4}/32"),
            format!("--listen={OUTSIDE_ZONE_V4}:53"),
            format!("--control={OUTSIDE_ZONE_V4}:{PORT}"),
            format!("--key-dir={}", folder(ZONE).display()),
        ],
    };
    start(rig, binary, namespace, part)
}

fn folder(name: &str) -> PathBuf {
    Path::new(ROOT).join(name)
}

fn start(rig: &mut Rig, binary: &Path, namespace: &str, part: Part) -> Result<()> {
    ensure!(
        binary.is_file(),
        "{} is not there: build it with `cargo xtask image`",
        binary.display()
    );
    let folder = folder(part.name);
    fs::create_dir_all(&folder)?;
    for (secret, files) in part.files {
        for file in *files {
            let coded = coded(rig, namespace, secret, file)?;
            // Keys are no text.
            let mut decode = run::command("sh");
            decode
                .args(["-euc", "base64 --decode > \"$0\""])
                .arg(folder.join(file));
            run::feed(&mut decode, &coded).with_context(|| format!("writing {file}"))?;
        }
    }
    rig.stop(part.name)?;
    let mut process = run::command("ip");
    process.args(["netns", "exec", OUTSIDE]).arg(binary);
    process
        .args(part.arguments)
        .arg(format!("--admin-address={}:8080", part.address));
    rig.spawn(part.name, process.arg("--tls-dir").arg(folder))?;
    let address = SocketAddr::new(part.address.parse()?, PORT);
    run::wait_for(
        &format!("{} to listen", part.name),
        Duration::from_secs(10),
        || {
            TcpStream::connect(address)
                .with_context(|| format!("{address}; see log/{}.log in {ROOT}", part.name))
                .map(drop)
        },
    )
}

/// A file of a Secret, once it is there, as the API has it.
fn coded(rig: &Rig, namespace: &str, secret: &str, file: &str) -> Result<String> {
    let template = format!("--output=go-template={{{{index .data \"{file}\"}}}}");
    run::wait_for(
        &format!("{file} of Secret {secret}"),
        Duration::from_secs(120),
        || {
            let text = rig.kubectl(&["--namespace", namespace, "get", "secret", secret, &template])?;
            let filled = !text.is_empty() && !text.starts_with('<');
            ensure!(filled, "{file} is not in the Secret {namespace}/{secret} yet");
            Ok(text)
        },
    )
}
