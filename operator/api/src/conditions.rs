//! The condition types and reasons of every policy: closed sets, never string literals elsewhere.

/// The type of a condition.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum ConditionType {
    /// The policy is valid, its target was found, and no other policy holds that target.
    Accepted,
    /// Every instance that serves runs what the policy says.
    Programmed,
    /// Enforce: the three others; Audit: accepted and freshly evaluated.
    Ready,
    /// Only a person can go on.
    Stalled,
    /// Live probes agree, and are fresh.
    Verified,
}

impl ConditionType {
    /// The type as it stands in the status.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Accepted => "Accepted",
            Self::Programmed => "Programmed",
            Self::Ready => "Ready",
            Self::Stalled => "Stalled",
            Self::Verified => "Verified",
        }
    }
}

/// Declares the reasons with the text that stands in the status.
macro_rules! reasons {
    ($($(#[doc = $doc:literal])* $name:ident,)+) => {
        /// Why a condition has its status; what a program may branch on.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Reason {
            $($(#[doc = $doc])* $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What the reason says, as the reference page shows it.
            #[must_use]
            pub const fn about(self) -> &'static str {
                match self {
                    $(Self::$name => concat!($($doc,)*),)+
                }
            }

            /// The reason of a status, if it is one of ours.
            #[must_use]
            pub fn named(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
            }

            /// The reason as it stands in the status.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                }
            }
        }
    };
}

reasons! {
    /// Valid, and nobody else holds the target.
    Accepted,
    /// The policy only audits; nothing is written.
    AuditOnly,
    /// The pods of CoreDNS have not the file by which they know the managed resolver, so it is asked over UDP instead of
    /// TLS; the message says how to mount it.
    AuthorityNotMounted,
    /// The candidate, run by a canary, did worse than the present text.
    CanaryFailed,
    /// An older policy holds the same target.
    Conflicted,
    /// The Corefile as it is now is not one that CoreDNS reads.
    CorefileInvalid,
    /// At least one control failed.
    ControlsFailed,
    /// A field is not what the schema and its rules ask for.
    Invalid,
    /// Every pod that serves shows the identity of the text.
    Loaded,
    /// The allow-list would miss the address of a node or pod.
    LockOut,
    /// Somebody else put their text back twice; tsutsumi has stopped writing.
    OverwrittenBy,
    /// Every probe agrees.
    ProbesAgree,
    /// The managed resolver does not serve yet, or not over TLS; whom cluster DNS asks stays as it is.
    ResolverNotReady,
    /// What the managed resolver is to run was refused; what runs stays.
    ResolverRefused,
    /// A change is on its way.
    RollingOut,
    /// A pod stopped answering after the write; the saved text went back.
    RolledBack,
    /// Results are missing, or older than their date.
    Stale,
    /// Nothing stands in the way.
    Succeeded,
    /// The target is not there (yet).
    TargetNotFound,
    /// This platform owns its Corefile; the message says what to set there.
    Unsupported,
    /// The outcome of at least one control could not be told.
    Undetermined,
    /// It is being watched which names cluster DNS is asked for, before it is led elsewhere.
    Watching,
    /// A name would be answered worse once cluster DNS is led elsewhere; whom it asks stays as it is.
    WouldGetWorse,
}

#[cfg(test)]
mod tests {
    use super::Reason;

    #[test]
    fn reasons_are_what_the_api_server_accepts() {
        for reason in Reason::ALL {
            assert_eq!(Reason::named(reason.as_str()), Some(*reason));
            assert!(reason.as_str().bytes().all(|b| b.is_ascii_alphanumeric()));
        }
    }
}
