//! What a NAT makes of source ports, from what is heard before it and behind it.
//!
//! A NAT that keeps ports, or draws them anew from a range as wide, undoes nothing. One whose ports fail a test, or have
//! lost two bits or more, does. One with fewer ports than questions is heard from a few times only, since the rest is
//! lost: so few are too few to acquit, but not to see that they lie close together.

use super::Randomness;

/// Bits that a NAT may take away. Between Linux's range and all ports lie 1.2, and chance moves either by hundredths.
const LOST_BITS: f64 = 2.0;

/// Fewest ports that can show a small block.
pub const FEWEST_OF_A_BLOCK: usize = 8;

/// Ports of a block that is small: 10 bits, where the spread begins to be good.
const BLOCK: u16 = 1024;

/// What lies between a resolver and the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// As random outside as inside.
    Preserved,
    /// The NAT undoes the randomisation.
    Undone,
    /// The ports are bad inside already.
    BadInside,
}

/// Compares the ports before and after a NAT.
#[must_use]
pub fn compare(inside: &Randomness, outside: &Randomness) -> Passage {
    if !inside.flaws().is_empty() {
        Passage::BadInside
    } else if !outside.flaws().is_empty() || outside.bits + LOST_BITS <= inside.bits {
        Passage::Undone
    } else {
        Passage::Preserved
    }
}

/// The lowest and the highest of at least [`FEWEST_OF_A_BLOCK`] ports that lie in one small block; `None` says nothing.
#[must_use]
pub fn small_block(ports: &[u16]) -> Option<(u16, u16)> {
    let (lowest, highest) = (*ports.iter().min()?, *ports.iter().max()?);
    (ports.len() >= FEWEST_OF_A_BLOCK && highest - lowest < BLOCK).then_some((lowest, highest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::tests::GOOD;

    #[test]
    fn a_nat_that_narrows_is_told_from_one_that_keeps() {
        let narrower = |bits| Randomness { bits, ..GOOD };
        let bad = Randomness { distinct: 65, ..GOOD };
        assert_eq!(compare(&GOOD, &GOOD), Passage::Preserved);
        assert_eq!(compare(&GOOD, &narrower(12.81)), Passage::Preserved);
        assert_eq!(compare(&GOOD, &narrower(12.79)), Passage::Undone);
        assert_eq!(compare(&GOOD, &bad), Passage::Undone);
        assert_eq!(compare(&bad, &GOOD), Passage::BadInside);
        assert_eq!(compare(&bad, &bad), Passage::BadInside);
    }

    #[test]
    fn a_few_ports_show_a_block_and_never_by_chance() {
        let block: Vec<u16> = (40_000..40_008).collect();
        assert_eq!(small_block(&block), Some((40_000, 40_007)));
        assert_eq!(small_block(&block[1..]), None, "fewer say nothing");
        let edge = |last| [&block[1..], &[last]].concat();
        assert_eq!(small_block(&edge(41_024)), Some((40_001, 41_024)));
        assert_eq!(small_block(&edge(41_025)), None);
        assert_eq!(small_block(&[]), None);
        // The others have to lie within a block of the lowest; Linux's range is the narrowest honest one.
        let n = i32::try_from(FEWEST_OF_A_BLOCK).unwrap();
        let chance = f64::from(n) * (f64::from(BLOCK) / 28_232.0).powi(n - 1);
        assert!(chance < 1e-8, "{chance}");
    }
}
