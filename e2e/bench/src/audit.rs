//! Counts calls in the API server's audit log, which nobody who is measured can colour.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::subject::Subject;

/// A place in the log.
#[derive(Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    offset: u64,
}

/// How often each call was made, by verb and kind of object.
pub(crate) type Calls = BTreeMap<String, usize>;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    verb: String,
    user: User,
    object_ref: Option<Object>,
}

#[derive(Deserialize)]
struct User {
    username: String,
}

#[derive(Deserialize)]
struct Object {
    resource: Option<String>,
    subresource: Option<String>,
}

impl Mark {
    /// The end of the log as it is now.
    pub(crate) fn now(path: &Path) -> Result<Self> {
        let offset = path.metadata().context("looking at the audit log")?.len();
        Ok(Self {
            path: path.to_owned(),
            offset,
        })
    }

    /// The calls of a subject since then, without watches, which last.
    pub(crate) fn since(&self, subject: Subject) -> Result<Calls> {
        let mut file = File::open(&self.path).context("opening the audit log")?;
        file.seek(SeekFrom::Start(self.offset))?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let mut calls = Calls::new();
        // The last line may still be being written.
        for line in text
            .lines()
            .filter_map(|line| serde_json::from_str::<Line>(line).ok())
        {
            if line.user.username != subject.name() || line.verb == "watch" {
                continue;
            }
            let object = line.object_ref.map_or_else(String::new, |object| {
                let mut name = object.resource.unwrap_or_default();
                if let Some(part) = object.subresource {
                    name = format!("{name}/{part}");
                }
                name
            });
            *calls.entry(format!("{} {object}", line.verb)).or_default() += 1;
        }
        Ok(calls)
    }
}

/// Whether a call renews the lease, which an idle controller may.
pub(crate) fn is_lease(call: &str) -> bool {
    call.ends_with(" leases")
}

/// Whether a call changes something.
pub(crate) fn writes(call: &str) -> bool {
    ["create ", "update ", "patch ", "delete "]
        .iter()
        .any(|verb| call.starts_with(verb))
}
