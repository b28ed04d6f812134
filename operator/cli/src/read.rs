//! Objects from files of YAML.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde_json::Value;
use tsutsumi_engine::ingress::{Policy, PolicyError, objects::ObjectError, objects::Objects};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It cannot be read.
    #[error("read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is no YAML.
    #[error("read {} as YAML", path.display())]
    Yaml {
        /// Which.
        path: PathBuf,
        /// Why.
        source: Box<serde_saphyr::Error>,
    },
    /// One of its policies cannot be used.
    #[error("read {}", path.display())]
    Policy {
        /// Which.
        path: PathBuf,
        /// Why.
        source: PolicyError,
    },
    /// One of its objects cannot be used.
    #[error("read {}", path.display())]
    Object {
        /// Which.
        path: PathBuf,
        /// Why.
        source: ObjectError,
    },
}

/// What limits are decided from.
#[derive(Default)]
pub(crate) struct Manifests {
    pub(crate) objects: Objects,
    pub(crate) policies: Vec<Policy>,
}

impl Manifests {
    /// Reads all files; what is of no use for limits is passed over.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, ReadError> {
        let mut read = Self::default();
        for path in paths {
            let text = text(path).map_err(|source| ReadError::File {
                path: path.clone(),
                source,
            })?;
            let documents: Vec<Value> =
                serde_saphyr::from_multiple(&text).map_err(|source| ReadError::Yaml {
                    path: path.clone(),
                    source: Box::new(source),
                })?;
            for object in documents.iter().flat_map(items) {
                read.take(path, object)?;
            }
        }
        Ok(read)
    }

    fn take(&mut self, path: &Path, object: &Value) -> Result<(), ReadError> {
        let policy = Policy::read(object).map_err(|source| ReadError::Policy {
            path: path.to_owned(),
            source,
        })?;
        self.policies.extend(policy);
        self.objects
            .take(object)
            .map(drop)
            .map_err(|source| ReadError::Object {
                path: path.to_owned(),
                source,
            })
    }
}

fn text(path: &Path) -> io::Result<String> {
    if path == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        fs::read_to_string(path)
    }
}

/// The objects of a `List`, as kubectl prints them, or the one.
fn items(document: &Value) -> impl Iterator<Item = &Value> {
    let list = document["kind"] == "List";
    let items = document["items"].as_array().filter(|_| list);
    items.into_iter().flatten().chain((!list).then_some(document))
}
