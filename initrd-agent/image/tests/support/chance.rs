//! Chance that can be repeated: the same seed gives the same numbers.

/// SplitMix64.
pub struct Chance(u64);

impl Chance {
    /// From `SYSCLONE_SEED`, or another one each time; the seed is printed, so a failure shows it.
    pub fn from_environment() -> Self {
        let seed = std::env::var("SYSCLONE_SEED").map_or_else(|_| random(), |seed| seed.parse().unwrap());
        eprintln!("SYSCLONE_SEED={seed}");
        Self(seed)
    }

    /// Below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % end
    }

    /// One of these.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }
}

fn random() -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::hash::RandomState::new().build_hasher().finish()
}

/// A number of rounds: that of the environment, or `quick`.
pub fn rounds(variable: &str, quick: u32) -> u32 {
    std::env::var(variable).map_or(quick, |n| n.parse().unwrap())
}
