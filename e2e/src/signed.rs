//! Names of the rig's own root that tell who checks signatures: a zone that is well signed, and one whose signatures are
//! missing although the root says that there are some.

use anyhow::{Result, ensure};
use hickory_proto::op::ResponseCode;

use crate::{
    dns::{Question, fresh_below},
    rig::DNS_SERVICE,
    scenario::Scenario,
};

/// A zone that is well signed.
pub const GOOD: &str = "town";
/// A zone whose signatures are missing.
pub const BOGUS: &str = "broken";

/// Fails unless the DNS Service answers what is well signed, and nothing else.
///
/// # Errors
/// If it does not.
pub fn validates(s: &Scenario) -> Result<()> {
    let (good, bogus) = (code(s, GOOD)?, code(s, BOGUS)?);
    ensure!(
        (good, bogus) == (ResponseCode::NoError, ResponseCode::ServFail),
        "a well signed name got {good}, and one without its signature {bogus}"
    );
    Ok(())
}

/// Fails unless the DNS Service answers whatever it gets.
///
/// # Errors
/// If it does not.
pub fn believes_everything(s: &Scenario) -> Result<()> {
    let (good, bogus) = (code(s, GOOD)?, code(s, BOGUS)?);
    ensure!(
        (good, bogus) == (ResponseCode::NoError, ResponseCode::NoError),
        "the path was to check nothing, and a well signed name got {good}, one without its signature {bogus}"
    );
    Ok(())
}

/// What the DNS Service says of a new name below a zone.
fn code(s: &Scenario, zone: &str) -> Result<ResponseCode> {
    Ok(s.ask_inside(DNS_SERVICE, &Question::a(fresh_below(zone)))?.code)
}
