//! What is wished for and what comes back.

use super::ownership::{OwnedBlock, Ownership, Role, Written};
use crate::coredns::acl::{AclError, Action};
use crate::coredns::bufsize::MessageBytes;
use crate::coredns::corefile::{Block, EditError, SyntaxError};
use crate::coredns::hop::Encrypted;
use crate::coredns::nsid::{self, Nsid, Shown};
use crate::coredns::version::Feature;
use ipnet::IpNet;
use std::num::NonZeroU32;
use tsutsumi_model::{DomainName, Endpoint};

/// What the policy wants of every server block. A field that is not set leaves things as they are.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Desired {
    /// Who is answered.
    pub clients: Option<Clients>,
    /// Largest answer over UDP.
    pub max_message_bytes: Option<MessageBytes>,
    /// Whether clients get an empty answer to ANY; needs `clients`.
    pub any_empty: bool,
    /// Options of every `forward`.
    pub forward: Option<ForwardHardening>,
    /// The zones of our probes; none leads nowhere.
    pub probe: Option<Vec<Lead>>,
    /// Who is asked for every name that nobody else answers.
    pub root: Option<Root>,
    /// Who is told what is asked. Unlike the other wishes, one that is not set takes the line out: it is never in for good.
    pub tap: Option<Endpoint>,
    /// Tells a text from an earlier one that reads the same: what servers showed then proves nothing of this one.
    pub edition: u32,
}

impl Desired {
    pub(crate) fn covers(&self, role: Role) -> bool {
        match role {
            Role::Acl | Role::Guard => self.clients.is_some(),
            Role::BufSize => self.max_message_bytes.is_some(),
            Role::ForwardBrace | Role::ForwardOption => self.forward.is_some(),
            Role::ProbeForward => self.probe.is_some(),
            Role::RootForward => self.root.is_some(),
            Role::Nsid | Role::Tap => true,
        }
    }
}

/// Who is answered, and what happens to the others.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Clients {
    /// Ranges that are answered, in any order.
    pub allow: Vec<IpNet>,
    /// What everybody else gets.
    pub others: Others,
}

/// What happens to a query from outside the ranges.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Others {
    /// No answer.
    Drop,
    /// REFUSED.
    Refuse,
}

impl From<Others> for Action {
    fn from(others: Others) -> Self {
        match others {
            Others::Drop => Self::Drop,
            Others::Refuse => Self::Block,
        }
    }
}

/// Where the names of a probe zone lead, from each server block of the root that forwards it: straight to the zone's own
/// server, so that what reaches it shows how this server asks on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Lead {
    /// The zone.
    pub zone: DomainName,
    /// Its server.
    pub server: Endpoint,
}

/// Who is asked for every name that nobody else answers, in server blocks of the root that forward it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Root {
    /// Whom the Corefile names itself.
    AsItIs,
    /// These servers, over UDP and TCP. What the Corefile names stays behind them and is not asked.
    Servers(Vec<Endpoint>),
    /// This server over TLS. What the Corefile names stays behind it and is not asked.
    Encrypted(Encrypted),
}

impl Root {
    /// The servers as a `forward` names them; none where the Corefile says itself who they are.
    #[must_use]
    pub fn targets(&self) -> Vec<String> {
        match self {
            Self::AsItIs => Vec::new(),
            Self::Servers(servers) => servers.iter().map(Endpoint::to_string).collect(),
            Self::Encrypted(encrypted) => vec![format!("tls://{}", encrypted.server)],
        }
    }
}

/// Options of `forward`.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ForwardHardening {
    /// `expire 0s`: a fresh source port per query, where queries leave over plain UDP.
    pub fresh_ports: bool,
    /// `max_concurrent N`.
    pub max_concurrent: Option<NonZeroU32>,
    /// `failfast_all_unhealthy_upstreams`.
    pub failfast: bool,
}

/// A hardened text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hardened {
    /// The new text.
    pub text: String,
    /// What its server blocks answer to NSID.
    pub identity: Identity,
    /// What is different from the text given; empty exactly if nothing is.
    pub changes: Vec<Change>,
    /// To be kept for the next run.
    pub ownership: Ownership,
    /// What was wished for and not done, or needs a person's eye.
    pub notes: Vec<Note>,
}

/// A text without what we wrote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Restored {
    /// The new text.
    pub text: String,
    /// What was taken out.
    pub removed: Vec<Change>,
    /// What the record holds and the text does not, or not as it was written. Whatever stands there stays.
    pub altered: Vec<Change>,
}

/// What tells over the wire which text a server runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The hash of the text; what blocks of ours show.
    pub ours: Nsid,
    /// What each block shows. A foreign `nsid` is kept: there the identity proves nothing.
    pub blocks: Vec<BlockIdentity>,
}

/// What one server block shows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlockIdentity {
    /// Its addresses.
    pub keys: Vec<String>,
    /// What it answers to NSID; `None` without the plugin.
    pub shows: Option<Shown>,
}

impl BlockIdentity {
    pub(crate) fn of(block: &Block) -> Self {
        Self {
            keys: block.keys().to_vec(),
            shows: nsid::of(block),
        }
    }
}

/// One difference.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Addresses of the server block.
    pub block: Vec<String>,
    /// What happened.
    pub made: Made,
    /// What it is for.
    pub role: Role,
    /// Its words.
    pub text: String,
}

/// What happened to a directive of ours.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Made {
    /// It is new.
    Added,
    /// Its place or white space is new.
    Moved,
    /// It is no longer as it was written.
    Lost,
    /// It is gone.
    Removed,
}

impl Change {
    pub(crate) fn of(keys: &[String], written: &Written, made: Made) -> Self {
        Self {
            block: keys.to_vec(),
            made,
            role: written.role,
            text: written.tokens.join(" "),
        }
    }

    pub(crate) fn is_same_text(&self, other: &Self) -> bool {
        self.block == other.block && self.role == other.role && self.text == other.text
    }
}

/// What was not done, and why.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Note {
    /// A plugin answers everybody, whatever `acl` says.
    #[error("`{directive}` in {block:?} answers before `acl` is asked; remove it")]
    AnswersBeforeAcl {
        /// Addresses of the server block.
        block: Vec<String>,
        /// The plugin.
        directive: String,
    },
    /// The block's text is in an imported file.
    #[error("server block {block:?} is written in an imported file, which has to be hardened itself")]
    BlockElsewhere {
        /// Its addresses.
        block: Vec<String>,
    },
    /// A larger size stands where it takes effect before ours.
    #[error(
        "server block {block:?} sets a larger `bufsize` before the place where ours can stand; the first counts"
    )]
    BufSizeBefore {
        /// Its addresses.
        block: Vec<String>,
    },
    /// The size is set by something that cannot be read, or may be.
    #[error(
        "server block {block:?} may set `bufsize` in an imported file or by a variable; it was not overruled"
    )]
    BufSizeUnknown {
        /// Its addresses.
        block: Vec<String>,
    },
    /// Queries leave encrypted, or over TCP.
    #[error("`forward {from}` in {block:?} needs no fresh ports: it does not use UDP")]
    EncryptedForward {
        /// Addresses of the server block.
        block: Vec<String>,
        /// The name forwarded.
        from: String,
    },
    /// Somebody set `expire`.
    #[error(
        "`forward {from}` in {block:?} has `expire {value}` of somebody else; remove it to get fresh source ports"
    )]
    ForeignExpire {
        /// Addresses of the server block.
        block: Vec<String>,
        /// The name forwarded.
        from: String,
        /// Its value.
        value: String,
    },
    /// Somebody set `nsid`.
    #[error("server block {block:?} has an `nsid` of somebody else, so it cannot prove which text it runs")]
    ForeignNsid {
        /// Addresses of the server block.
        block: Vec<String>,
    },
    /// Somebody else is told what is asked, and this release cannot tell two.
    #[error(
        "server block {block:?} has, or may have, a `dnstap` of somebody else, beside which ours would stop it before \
         CoreDNS 1.10.1; it was not written"
    )]
    ForeignTap {
        /// Addresses of the server block.
        block: Vec<String>,
    },
    /// The stanza is in imported text, or cannot be changed in this channel.
    #[error("`forward {from}` in {block:?} cannot be hardened: it is not written in this text")]
    ForwardElsewhere {
        /// Addresses of the server block.
        block: Vec<String>,
        /// The name forwarded.
        from: String,
    },
    /// Nothing forwards the root, or only imported text does.
    #[error("no server block of this text forwards the root, so nothing leads to {servers}")]
    NothingLeads {
        /// Whom it should lead to.
        servers: String,
    },
    /// This release cannot do it.
    #[error("{feature:?} needs CoreDNS {} or later", feature.since())]
    Lacks {
        /// What it lacks.
        feature: Feature,
    },
    /// The block's detection of loops asks from 127.0.0.1.
    #[error("server block {block:?} uses `loop`, and 127.0.0.1 is not among the clients: loops go unnoticed")]
    LoopUnnoticed {
        /// Addresses of the server block.
        block: Vec<String>,
    },
    /// A variable stands where a directive's name is expected.
    #[error("server block {block:?} has the directive {name:?}, which was taken for anything")]
    OpaqueDirective {
        /// Addresses of the server block.
        block: Vec<String>,
        /// As it is written.
        name: String,
    },
    /// The file imports others that are not known.
    #[error(
        "server block {block:?} imports {pattern:?}, which is not known; rules in it were taken for anything"
    )]
    OpaqueImport {
        /// Addresses of the server block.
        block: Vec<String>,
        /// The pattern.
        pattern: String,
    },
    /// Whole server blocks may be imported.
    #[error(
        "server blocks may come from {pattern:?}, which is not known; those files have to be hardened themselves"
    )]
    OpaqueBlocks {
        /// The pattern.
        pattern: String,
    },
    /// A rule before ours lets others through.
    #[error(
        "server block {block:?} has an `allow` before the place where ours can stand; it lets {outside} ranges through"
    )]
    AllowedBefore {
        /// Addresses of the server block.
        block: Vec<String>,
        /// How many ranges beyond the clients.
        outside: usize,
    },
    /// The block does not read the file that we may write.
    #[error("server block {block:?} does not import our file, so nothing can be set in it")]
    NotImported {
        /// Addresses of the server block.
        block: Vec<String>,
    },
}

/// Why nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HardenError {
    /// A foreign `acl` is one that the plugin refuses.
    #[error("the acl of server block {block:?} cannot be read")]
    Acl {
        /// Addresses of the server block.
        block: Vec<String>,
        /// Why.
        #[source]
        source: AclError,
    },
    /// The text cannot be edited so.
    #[error("the directives cannot be put into the Corefile")]
    Edit(#[source] EditError),
    /// Nobody would be answered.
    #[error("the list of clients is empty, and everybody would be locked out; name at least one range")]
    NoClients,
    /// The new text would not be read as meant.
    #[error("the new Corefile would not mean what it should: {what}")]
    NotFaithful {
        /// What is not as it should be.
        what: &'static str,
    },
    /// CoreDNS does not accept the text either.
    #[error("the Corefile is not accepted by CoreDNS's grammar")]
    Syntax(#[source] SyntaxError),
}

impl Ownership {
    pub(crate) fn signed(mut self, identity: &Nsid) -> Self {
        for written in self.blocks.iter_mut().flat_map(|block| &mut block.written) {
            if written.role == Role::Nsid {
                written.tokens = vec!["nsid".to_owned(), identity.to_string()];
            }
        }
        self
    }

    /// Adds what an earlier run wrote and this one did not touch.
    pub(crate) fn joined(mut self, retained: Vec<(usize, OwnedBlock)>) -> Self {
        for (_, kept) in retained {
            match self
                .blocks
                .iter_mut()
                .find(|block| block.keys == kept.keys && block.nth == kept.nth)
            {
                Some(block) => block.written.extend(kept.written),
                None => self.blocks.push(kept),
            }
        }
        self
    }
}
