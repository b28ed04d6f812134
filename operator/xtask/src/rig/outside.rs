//! The vantage outside the cluster: the operator's own prober as a plain process in the outside namespace. It gets
//! the certificate that the operator issued, as a person would copy it to a machine elsewhere.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::Rig;
use super::facts::{OUTSIDE, OUTSIDE_V4};
use super::state::ROOT;
use crate::run;

/// Where the prober listens.
pub(crate) const PORT: u16 = 8443;
/// Its name among the rig's processes; it is not a part of the cluster.
pub(crate) const PROBER: &str = "outside-prober";
const SECRET: &str = "tsutsumi-prober-tls";

/// Waits for the certificate, then starts the prober in place of an earlier one.
pub(crate) fn start(rig: &mut Rig, binary: &Path, namespace: &str) -> Result<()> {
    ensure!(
        binary.is_file(),
        "{} is not there: build it with `cargo xtask image`",
        binary.display()
    );
    let folder = Path::new(ROOT).join("outside-prober");
    fs::create_dir_all(&folder)?;
    for file in ["tls.crt", "tls.key", "ca.crt"] {
        let template = format!("--output=go-template={{{{index .data \"{file}\" | base64decode}}}}");
        let text = run::wait_for(
            "the outside prober's certificate",
            Duration::from_secs(120),
            || {
                let text = rig.kubectl(&["--namespace", namespace, "get", "secret", SECRET, &template])?;
                ensure!(
                    text.starts_with("-----BEGIN"),
                    "{file} is not in the Secret {namespace}/{SECRET} yet"
                );
                Ok(text)
            },
        )?;
        fs::write(folder.join(file), text).with_context(|| format!("writing {file}"))?;
    }
    rig.stop(PROBER)?;
    let mut prober = run::command("ip");
    prober.args(["netns", "exec", OUTSIDE]).arg(binary).args([
        "prober",
        "--vantage",
        "outside",
        "--listen",
        &format!("0.0.0.0:{PORT}"),
    ]);
    rig.spawn(PROBER, prober.arg("--tls-dir").arg(folder))?;
    let address = SocketAddr::new(OUTSIDE_V4.parse()?, PORT);
    run::wait_for("the outside prober to listen", Duration::from_secs(10), || {
        TcpStream::connect(address)
            .with_context(|| format!("{address}; see log/{PROBER}.log in {ROOT}"))
            .map(drop)
    })
}
