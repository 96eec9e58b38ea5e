//! Keeps what strangers can cause without end from filling the event log.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The same thing is said again after this time.
const AGAIN: Duration = Duration::from_secs(60);
/// Different things said within that time; beyond this, nothing new is said.
const MANY: usize = 1000;

/// Remembers what was said lately.
#[derive(Debug, Default)]
pub struct Said(Mutex<HashMap<String, Instant>>);

impl Said {
    /// Whether this was not said lately; then it counts as said now.
    pub fn is_new(&self, what: &str) -> bool {
        self.is_new_at(what, Instant::now())
    }

    fn is_new_at(&self, what: &str, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.retain(|_, at| now.duration_since(*at) < AGAIN);
        if said.contains_key(what) || said.len() >= MANY {
            return false;
        }
        said.insert(what.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_once_in_a_while_and_no_flood_gets_through() {
        let said = Said::default();
        let start = Instant::now();
        assert!(said.is_new_at("a", start));
        assert!(!said.is_new_at("a", start + AGAIN / 2));
        assert!(said.is_new_at("a", start + AGAIN));
        let said_of_a_flood = (0..2 * MANY).filter(|n| said.is_new_at(&n.to_string(), start + AGAIN)).count();
        assert_eq!(said_of_a_flood, MANY - 1);
    }
}
