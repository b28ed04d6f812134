//! The controls, one file each: what is demanded, which observations prove it, what to do when they do not.
//!
//! A judge is a pure function of a [`Dossier`], which holds everything it may look at. It says `Pass` only where every
//! probe that the control needs was planned, was made and came back well: a probe that is missing is a doubt, never
//! good news. [`catalogue`] is the only list of controls.

pub mod catalogue;
pub mod dns_01;
pub mod dns_02;
pub mod dns_03;
pub mod dns_04;
pub mod dns_05;
pub mod dns_06;
pub mod dns_07;
pub mod dns_09;
pub mod dns_11;
pub mod dns_12;
pub mod dossier;
mod ledger;
mod outcome;
pub mod randomness;
pub mod root;
pub mod round;
mod text;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod scene;

pub use catalogue::{CATALOGUE, Control, Level, control, judge, judge_all};
pub use dossier::{
    AclLeak, Around, Asked, Availability, Dossier, Hole, KnownVersion, Others, PodFacts, Target,
    VersionSource,
};
pub use ledger::{Judgement, MAX_DECIDING};
pub use root::{Bundled, Root, Servers, Source, Start};
pub use round::{Aim, Lever, Place, Purpose, Round, Sentinel, Step, Trial, Warmed};
pub use text::{EXPECTED_MAX, MESSAGE_MAX, OBSERVED_MAX, bounded};
