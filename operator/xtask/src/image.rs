//! Container images without a container engine: one layer of files on nothing, as an OCI layout in a tar archive
//! that also carries Docker's `manifest.json`, so that `ctr image import` and `docker load` both take it.
//! The same files give the same bytes: fixed order, owner and time, and no compression.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use crate::run;

/// The target of everything that goes into an image: static, so that it runs on nothing.
pub(crate) const TARGET: &str = "x86_64-unknown-linux-musl";
/// The user of images that need no rights, as in distroless ones.
pub(crate) const NOBODY: &str = "65532:65532";

/// What an image holds and how it starts.
pub(crate) struct Image<'a> {
    /// Name and tag that Pods write.
    pub(crate) name: &'a str,
    /// `UID:GID`, or empty for root.
    pub(crate) user: &'a str,
    /// The program that starts.
    pub(crate) entrypoint: &'a str,
    /// What lies in it.
    pub(crate) files: Vec<Entry>,
}

/// One program of an image.
pub(crate) struct Entry {
    /// Absolute path in the image.
    pub(crate) path: String,
    /// Where it is read from.
    pub(crate) source: PathBuf,
    /// Carries the file capability to bind ports below 1024, as upstream's CoreDNS image does: without
    /// `NET_BIND_SERVICE` in its container such a file does not even start.
    pub(crate) binds_low_ports: bool,
}

impl Image<'_> {
    /// Writes the archive, whole or not at all.
    pub(crate) fn write(&self, archive: &Path) -> Result<()> {
        let folder = archive.parent().context("the archive needs a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("creating {}", folder.display()))?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        self.pack(file.as_file_mut())
            .with_context(|| format!("packing {}", self.name))?;
        file.as_file_mut().flush()?;
        file.persist(archive)
            .with_context(|| format!("naming {}", archive.display()))?;
        Ok(())
    }

    fn pack(&self, out: &mut File) -> Result<()> {
        let layer = self.layer()?;
        let layer_digest = digest(&layer);
        let config = serde_json::to_vec(&json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": [self.entrypoint],
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "User": self.user,
                "WorkingDir": "/",
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        }))?;
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &layer)],
        }))?;
        let mut entry = descriptor("application/vnd.oci.image.manifest.v1+json", &manifest);
        let tag = self.name.rsplit_once(':').map_or("latest", |(_, tag)| tag);
        entry["annotations"] =
            json!({"io.containerd.image.name": self.name, "org.opencontainers.image.ref.name": tag});
        let index = serde_json::to_vec(&json!({"schemaVersion": 2, "manifests": [entry]}))?;
        let docker = serde_json::to_vec(&json!([{
            "Config": blob(&digest(&config)),
            "RepoTags": [self.name],
            "Layers": [blob(&layer_digest)],
        }]))?;
        let mut tar = Builder::new(out);
        put(
            &mut tar,
            "oci-layout",
            br#"{"imageLayoutVersion":"1.0.0"}"#,
            0o644,
        )?;
        put(&mut tar, "index.json", &index, 0o644)?;
        put(&mut tar, "manifest.json", &docker, 0o644)?;
        for bytes in [&config, &manifest, &layer] {
            put(&mut tar, &blob(&digest(bytes)), bytes, 0o644)?;
        }
        tar.into_inner()?;
        Ok(())
    }

    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for Entry {
            path,
            source,
            binds_low_ports,
        } in &self.files
        {
            let bytes = fs::read(source).with_context(|| format!("reading {}", source.display()))?;
            if *binds_low_ports {
                tar.append_pax_extensions([("SCHILY.xattr.security.capability", &NET_BIND_SERVICE[..])])?;
            }
            put(&mut tar, path.trim_start_matches('/'), &bytes, 0o755)?;
        }
        Ok(tar.into_inner()?)
    }
}

/// Builds the operator's own binary and packs it; returns the archive and the image's name.
pub(crate) fn operator() -> Result<(PathBuf, String)> {
    let binary = run::step("built the static release binary", || {
        ensure_target()?;
        let mut cargo = run::cargo();
        cargo.env("CC_x86_64_unknown_linux_musl", "musl-gcc");
        cargo.args([
            "build",
            "--release",
            "--package",
            "tsutsumi-controller",
            "--bin",
            "tsutsumi",
        ]);
        run::output(cargo.args(["--target", TARGET]))?;
        Ok(operator_binary())
    })?;
    let name = format!("ghcr.io/tsutsumi-dev/tsutsumi:{}", env!("CARGO_PKG_VERSION"));
    let archive = run::target().join("image/tsutsumi.tar");
    let files = vec![Entry {
        path: "/tsutsumi".to_owned(),
        source: binary,
        binds_low_ports: false,
    }];
    Image {
        name: &name,
        user: NOBODY,
        entrypoint: "/tsutsumi",
        files,
    }
    .write(&archive)?;
    Ok((archive, name))
}

/// Where the operator's static binary lies once it is built.
pub(crate) fn operator_binary() -> PathBuf {
    run::target().join(TARGET).join("release/tsutsumi")
}

/// Compiles the pods' holding process.
pub(crate) fn pause(out: &Path) -> Result<()> {
    ensure_target()?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("pause.rs");
    let mut rustc = run::command("rustc");
    rustc.current_dir(run::workspace()).args([
        "--edition=2024",
        "-Copt-level=s",
        "-Cpanic=abort",
        "-Cstrip=symbols",
    ]);
    run::output(rustc.args(["--target", TARGET, "-o"]).arg(out).arg(source)).map(drop)
}

/// Adds the static target to the toolchain where it is missing; `rust-toolchain.toml` names it, but rustup does not
/// follow that file where automatic installation is switched off.
fn ensure_target() -> Result<()> {
    let workspace = run::workspace();
    let library = run::output(run::command("rustc").current_dir(&workspace).args([
        "--print",
        "target-libdir",
        "--target",
        TARGET,
    ]))?;
    if Path::new(library.trim()).is_dir() {
        return Ok(());
    }
    run::output(
        run::command("rustup")
            .current_dir(&workspace)
            .args(["target", "add", TARGET]),
    )
    .map(drop)
}

/// `CAP_NET_BIND_SERVICE`, effective and permitted, as Linux stores it (`vfs_cap_data`, revision 2).
const NET_BIND_SERVICE: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn put(tar: &mut Builder<impl std::io::Write>, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
    let mut header = Header::new_ustar();
    header.set_entry_type(EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, bytes)?;
    Ok(())
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": format!("sha256:{}", digest(bytes)), "size": bytes.len()})
}

fn digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

fn blob(digest: &str) -> String {
    format!("blobs/sha256/{digest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(folder: &Path, name: &str) -> Vec<u8> {
        let source = folder.join(name);
        fs::write(&source, "program").unwrap();
        let archive = folder.join(format!("{name}.tar"));
        let files = vec![Entry {
            path: "/program".to_owned(),
            source,
            binds_low_ports: true,
        }];
        Image {
            name: "e2e.local/test:1",
            user: NOBODY,
            entrypoint: "/program",
            files,
        }
        .write(&archive)
        .unwrap();
        fs::read(archive).unwrap()
    }

    #[test]
    fn the_same_files_give_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(packed(folder.path(), "one"), packed(folder.path(), "two"));
    }

    #[test]
    fn every_blob_is_named_by_its_own_digest() {
        let folder = tempfile::tempdir().unwrap();
        let bytes = packed(folder.path(), "one");
        let mut blobs = 0;
        for entry in tar::Archive::new(&bytes[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = entry.path().unwrap().to_string_lossy().into_owned();
            let Some(name) = path.strip_prefix("blobs/sha256/") else {
                continue;
            };
            let mut content = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
            assert_eq!(digest(&content), name);
            blobs += 1;
        }
        assert_eq!(blobs, 3);
    }

    #[test]
    fn an_unreadable_file_leaves_no_archive() {
        let folder = tempfile::tempdir().unwrap();
        let archive = folder.path().join("out.tar");
        let files = vec![Entry {
            path: "/x".to_owned(),
            source: folder.path().join("absent"),
            binds_low_ports: false,
        }];
        assert!(
            Image {
                name: "x:1",
                user: "",
                entrypoint: "/x",
                files
            }
            .write(&archive)
            .is_err()
        );
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
