//! Whatever a resolver tells over dnstap, what is kept of it is a name that may stand in a query and in a report.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tsutsumi_model::DomainName;
use tsutsumi_probes::{Told, told};

fuzz_target!(|payload: &[u8]| {
    if let Told::Question { name, .. } = told(payload) {
        let again: DomainName = name.as_str().parse().expect("a name");
        assert_eq!(again, name);
        assert!(name.as_str().len() <= payload.len());
    }
});
