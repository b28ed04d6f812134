//! Whether names came in letters of both cases, as a resolver sends them that mixes them at random ("0x20"): whoever
//! forges an answer has to guess the case of each letter too. It is told and never demanded: it is no standard, a
//! forwarder such as CoreDNS passes letters on as they came, and some servers answer in letters of their own.

use super::real;

/// How many names came in letters of both cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letters {
    /// Names with letters of both cases.
    pub mixed: usize,
    /// All names that arrived.
    pub names: usize,
}

impl Letters {
    /// Share of the mixed names, from 0 to 1; 0 if none arrived.
    #[must_use]
    pub fn share(&self) -> f64 {
        match self.names {
            0 => 0.0,
            names => real(self.mixed) / real(names),
        }
    }

    /// A sentence with the numbers.
    #[must_use]
    pub fn sentence(&self) -> String {
        match (self.mixed, self.names) {
            (_, 0) => "no name arrived".to_owned(),
            (0, names) => format!("none of {names} names came in mixed case: 0x20 is not used"),
            // Rounded down, so that only all are 100 %.
            (mixed, names) => format!(
                "{mixed} of {names} names came in mixed case (0x20), {:.0} %",
                (self.share() * 100.0).floor()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_told_and_nothing_is_judged() {
        let told = |mixed, names| Letters { mixed, names }.sentence();
        assert_eq!(told(0, 0), "no name arrived");
        assert_eq!(
            told(0, 256),
            "none of 256 names came in mixed case: 0x20 is not used"
        );
        assert_eq!(told(255, 256), "255 of 256 names came in mixed case (0x20), 99 %");
        assert_eq!(
            told(256, 256),
            "256 of 256 names came in mixed case (0x20), 100 %"
        );
        let share = |mixed, names| Letters { mixed, names }.share();
        assert_eq!((share(0, 0), share(64, 256)), (0.0, 0.25));
    }
}
