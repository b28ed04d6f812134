//! A managed resolver's control socket, as an administrator on its node would use it.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;

use crate::process;

/// Has the Unbound of a pod do something, in the words of `unbound-control`.
///
/// # Errors
/// If it has no socket on this machine, or does not say `ok`.
pub fn control(pod: &Pod, words: &str) -> Result<()> {
    let process = process::of_pod(pod, |program| program == "unbound")?;
    let socket = PathBuf::from(format!("/proc/{process}/root/run/unbound/control.sock"));
    let mut stream =
        UnixStream::connect(&socket).with_context(|| format!("connecting to {}", socket.display()))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(format!("UBCT1 {words}\n").as_bytes())?;
    let mut told = String::new();
    stream.read_to_string(&mut told)?;
    ensure!(told.trim() == "ok", "Unbound says to `{words}`: {told}");
    Ok(())
}
