//! Which source of packs is asked next: the best one that works. Pure; the clock is an argument.

use std::time::{Duration, Instant};

/// A source that failed is left alone for this long at first, twice as long after every further failure.
const REST: Duration = Duration::from_secs(1);
/// No failure keeps a source away for longer: it may have been restarted.
const LONGEST_REST: Duration = Duration::from_secs(60);
/// A source that gave wrong bytes is left alone for this long at once.
const LIAR_RESTS: Duration = Duration::from_secs(60);
/// A source that gave wrong bytes this often is asked only when no other is left. Once may be a wire's fault.
const LIES: u32 = 3;

/// The sources in the order of preference, with what is known of each.
#[derive(Debug)]
pub(super) struct Sources {
    known: Vec<Source>,
}

#[derive(Debug, Clone, Default)]
struct Source {
    /// Failures since it last answered well.
    failures: u32,
    /// Wrong bytes it gave, ever.
    lies: u32,
    /// When it may be asked again.
    rests_until: Option<Instant>,
}

impl Sources {
    /// This many sources of which nothing is known, best first.
    pub(super) fn new(count: usize) -> Self {
        Self { known: vec![Source::default(); count] }
    }

    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// Every source once, in the order in which they are to be asked: those that work, best first; then those that
    /// rest, the one first whose rest ends first; at the end those to avoid and those that lie.
    pub(super) fn order(&self, avoid: &[usize], now: Instant) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.known.len()).collect();
        order.sort_by_key(|index| {
            let source = &self.known[*index];
            let rest =
                source.rests_until.map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
            (avoid.contains(index), source.lies >= LIES, rest, *index)
        });
        order
    }

    /// Whether asking this source now would disturb its rest.
    pub(super) fn rests(&self, index: usize, now: Instant) -> bool {
        self.known[index].rests_until.is_some_and(|until| until > now)
    }

    /// It gave what it was asked for.
    pub(super) fn answered(&mut self, index: usize, now: Instant) {
        let rests = self.rests(index, now);
        let source = &mut self.known[index];
        source.failures = 0;
        // Wrong bytes arrive as well as right ones do; that it answers does not end a liar's rest.
        if source.lies == 0 || !rests {
            source.rests_until = None;
        }
    }

    /// It did not answer, broke off, or does not have the pack.
    pub(super) fn failed(&mut self, index: usize, now: Instant) {
        let source = &mut self.known[index];
        let rest = REST.saturating_mul(1 << source.failures.min(16)).min(LONGEST_REST);
        source.failures += 1;
        source.rests_until = source.rests_until.max(Some(now + rest));
    }

    /// It gave bytes that are not what was captured.
    pub(super) fn lied(&mut self, index: usize, now: Instant) {
        let source = &mut self.known[index];
        source.lies += 1;
        source.rests_until = source.rests_until.max(Some(now + LIAR_RESTS));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_best_source_that_works_comes_first() {
        let now = Instant::now();
        let mut sources = Sources::new(3);
        assert_eq!(sources.order(&[], now), [0, 1, 2]);
        sources.failed(0, now);
        assert_eq!(sources.order(&[], now), [1, 2, 0]);
        sources.failed(1, now + SECOND / 2);
        assert_eq!(
            sources.order(&[], now + SECOND / 2),
            [2, 0, 1],
            "who rested longest is asked before the other"
        );
        assert_eq!(sources.order(&[], now + SECOND), [0, 2, 1], "the best one is back after its rest");
    }

    #[test]
    fn every_failure_doubles_the_rest_up_to_a_limit_and_an_answer_ends_it() {
        let now = Instant::now();
        let mut sources = Sources::new(1);
        for rest in [1, 2, 4, 8, 16, 32, 60, 60] {
            sources.known[0].rests_until = None;
            sources.failed(0, now);
            assert!(sources.rests(0, now + SECOND * rest - SECOND / 2), "{rest}");
            assert!(!sources.rests(0, now + SECOND * rest), "{rest}");
        }
        sources.answered(0, now);
        assert!(!sources.rests(0, now));
        sources.failed(0, now);
        assert!(!sources.rests(0, now + SECOND));
    }

    #[test]
    fn a_liar_is_left_alone_and_after_three_lies_the_last_to_be_asked() {
        let now = Instant::now();
        let mut sources = Sources::new(2);
        sources.lied(0, now);
        assert_eq!(sources.order(&[], now), [1, 0]);
        sources.answered(0, now);
        assert!(sources.rests(0, now), "an answer is no proof of honesty");
        assert_eq!(sources.order(&[], now + LIAR_RESTS), [0, 1]);
        sources.lied(0, now);
        sources.lied(0, now);
        sources.failed(1, now + LIAR_RESTS);
        assert_eq!(sources.order(&[], now + LIAR_RESTS), [1, 0], "even a source that is away is preferred");
    }

    #[test]
    fn who_is_to_be_avoided_is_asked_when_nobody_else_is_left() {
        let now = Instant::now();
        let sources = Sources::new(3);
        assert_eq!(sources.order(&[0, 2], now), [1, 0, 2]);
        assert_eq!(sources.order(&[0, 1, 2], now), [0, 1, 2]);
    }
}
