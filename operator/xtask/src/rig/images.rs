//! The images the cluster runs: packed here and loaded into its runtime, since there is no registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::containerd;
use super::state::ROOT;
use crate::image::{self, Entry, Image, NOBODY};
use crate::tools::{self, Version};

/// The pods' holding process.
pub(crate) const PAUSE: &str = "e2e.local/pause:1";

/// Unbound, whatever the tag.
const UNBOUND: &str = "e2e.local/unbound";

/// Name of the image of one CoreDNS release; the version can be read from it.
pub(crate) fn coredns_name(version: &Version) -> String {
    format!("e2e.local/coredns:{version}")
}

/// Name of the image of Unbound.
pub(crate) fn unbound_name() -> String {
    format!("{UNBOUND}:{}", tools::UNBOUND)
}

/// Packs and loads the holding process.
pub(crate) fn import_pause() -> Result<()> {
    let program = Path::new(ROOT).join("pause");
    image::pause(&program)?;
    import(
        "pause",
        &Image {
            name: PAUSE,
            user: NOBODY,
            entrypoint: "/pause",
            files: vec![Entry {
                path: "/pause".to_owned(),
                source: program,
                binds_low_ports: false,
            }],
        },
    )
}

/// Packs and loads one CoreDNS, shaped like upstream's image: no shell, no root, one capability on the file.
pub(crate) fn import_coredns(binary: PathBuf, version: &Version) -> Result<()> {
    import(
        &format!("coredns-{version}"),
        &Image {
            name: &coredns_name(version),
            user: NOBODY,
            entrypoint: "/coredns",
            files: vec![Entry {
                path: "/coredns".to_owned(),
                source: binary,
                binds_low_ports: true,
            }],
        },
    )
}

/// Packs and loads Unbound with the libraries that it loads and nothing else.
pub(crate) fn import_unbound(root: &Path) -> Result<()> {
    let mut files = BTreeMap::new();
    for program in tools::unbound::PROGRAMS {
        files.extend(tools::debian::program(root, program)?);
    }
    import(
        "unbound",
        &Image {
            name: &unbound_name(),
            user: NOBODY,
            entrypoint: "/usr/sbin/unbound",
            files: files.into_iter().map(entry).collect(),
        },
    )
}

/// Name of the image of Envoy.
pub(crate) fn envoy_name() -> String {
    format!("e2e.local/envoy:{}", tools::ENVOY)
}

/// Packs and loads Envoy with the libraries that it loads, from a folder that has them.
pub(crate) fn import_envoy(program: PathBuf, libraries: &Path) -> Result<()> {
    let mut files = tools::debian::loaded(libraries, &program)?;
    files.push(("/usr/local/bin/envoy".to_owned(), program));
    import(
        "envoy",
        &Image {
            name: &envoy_name(),
            user: NOBODY,
            entrypoint: "/usr/local/bin/envoy",
            files: files.into_iter().map(entry).collect(),
        },
    )
}

/// Name of the image of Envoy Gateway.
pub(crate) fn envoy_gateway_name() -> String {
    format!("e2e.local/envoy-gateway:{}", tools::ENVOY_GATEWAY)
}

/// Packs and loads Envoy Gateway.
pub(crate) fn import_envoy_gateway(program: PathBuf) -> Result<()> {
    import(
        "envoy-gateway",
        &Image {
            name: &envoy_gateway_name(),
            user: NOBODY,
            entrypoint: "/usr/local/bin/envoy-gateway",
            files: vec![entry(("/usr/local/bin/envoy-gateway".to_owned(), program))],
        },
    )
}

/// Gives the image of Unbound another tag, for whoever goes by tags: what is in it stays the same.
pub(crate) fn tag_unbound(tag: &Version) -> Result<String> {
    let name = format!("{UNBOUND}:{tag}");
    containerd::tag(&unbound_name(), &name)?;
    Ok(name)
}

/// A file without a capability, by its place in the image and where it is read from.
fn entry((path, source): (String, PathBuf)) -> Entry {
    Entry {
        path,
        source,
        binds_low_ports: false,
    }
}

fn import(file: &str, image: &Image<'_>) -> Result<()> {
    let archive = Path::new(ROOT).join("images").join(format!("{file}.tar"));
    image.write(&archive)?;
    containerd::import(&archive)
}
