//! Keeps a log readable: the same thing about the same machine is said once in a while.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// How long something stays said.
const QUIET: Duration = Duration::from_secs(60);
/// Keys remembered at most, so that made-up MAC addresses cannot fill the memory.
const MAX_KEYS: usize = 4096;

/// Remembers what was said when.
#[derive(Debug)]
pub(super) struct Limit<K> {
    said: HashMap<K, Said>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    since: u64,
}

impl<K: Eq + Hash> Limit<K> {
    pub(super) fn new() -> Self {
        Self { said: HashMap::new() }
    }

    /// Some when it should be said now, with how many times it was not said since the last time.
    pub(super) fn say(&mut self, key: K, now: Instant) -> Option<u64> {
        if let Some(said) = self.said.get_mut(&key)
            && now.duration_since(said.at) < QUIET
        {
            said.since += 1;
            return None;
        }
        if self.said.len() >= MAX_KEYS {
            self.said.retain(|_, said| now.duration_since(said.at) < QUIET);
        }
        if self.said.len() >= MAX_KEYS {
            // A flood of new keys: saying nothing is better than saying it all.
            return None;
        }
        let before = self.said.insert(key, Said { at: now, since: 0 });
        Some(before.map_or(0, |said| said.since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_thing_is_said_once_a_minute_with_the_number_left_out() {
        let mut limit = Limit::new();
        let start = Instant::now();
        let said: Vec<Option<u64>> =
            [0, 1, 59, 60, 61].map(|s| limit.say("n1", start + Duration::from_secs(s))).into();
        assert_eq!(said, [Some(0), None, None, Some(2), None]);
        assert_eq!(limit.say("n2", start), Some(0));
    }

    #[test]
    fn a_flood_of_new_machines_cannot_grow_the_memory() {
        let mut limit = Limit::new();
        let start = Instant::now();
        let said = (0..100_000).filter(|key| limit.say(*key, start).is_some()).count();
        assert_eq!((said, limit.said.len()), (MAX_KEYS, MAX_KEYS));
        assert_eq!(limit.say(1_000_000, start + QUIET), Some(0));
    }
}
