//! How long to wait before trying again.

use std::hash::{BuildHasher as _, RandomState};
use std::time::{Duration, Instant};

use super::call::CallError;

/// First pause. A server that restarts is back within a second or two.
const FIRST: Duration = Duration::from_millis(500);
/// Longest pause: short enough that a node goes on soon after the server is back, long enough that thousands of
/// waiting nodes are no load.
const LONGEST: Duration = Duration::from_secs(15);

/// Pauses that double up to a limit, each with a random part so that nodes do not all come back at once.
#[derive(Debug, Clone)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next pause: between half of the current step and all of it.
    pub fn pause(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(LONGEST);
        step / 2 + step.mul_f64(random_fraction() / 2.0)
    }

    /// Starts over after a success.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// A number in 0..1 that differs between machines. Every `RandomState` has keys of its own, which is random enough
/// for spreading load.
fn random_fraction() -> f64 {
    let bits = RandomState::new().hash_one(std::process::id()) >> 32;
    f64::from(u32::try_from(bits).expect("the upper half of 64 bits is 32 bits")) / f64::from(u32::MAX)
}

/// How long a failure that may pass is put up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// For as long as it takes.
    Endless,
    /// For this long since the last success.
    For(Duration),
}

/// How long an internal error of the server is put up with even by the endlessly patient: a database that is
/// locked comes back, a fault in the server does not.
const SERVER_FAULT: Duration = Duration::from_secs(300);

/// Calls until it succeeds, is refused, or patience ends.
///
/// # Errors
/// The last failure.
pub(super) fn retry<T>(
    what: &'static str,
    patience: Patience,
    mut call: impl FnMut() -> Result<T, CallError>,
) -> Result<T, CallError> {
    let began = Instant::now();
    let mut backoff = Backoff::default();
    loop {
        let error = match call() {
            Ok(answer) => return Ok(answer),
            Err(error) => error,
        };
        let limit = match (&error, patience) {
            (CallError::Refused { .. } | CallError::Garbled { .. }, _) => return Err(error),
            (CallError::Busy { status: 500, .. }, Patience::Endless) => Patience::For(SERVER_FAULT),
            (CallError::Busy { .. } | CallError::Unreachable { .. }, patience) => patience,
        };
        if matches!(limit, Patience::For(limit) if began.elapsed() >= limit) {
            return Err(error);
        }
        let pause = backoff.pause();
        let reason = format!("{:#}", anyhow::Error::new(error));
        tracing::warn!(what, reason, pause_ms = pause.as_millis(), "no answer yet, trying again");
        std::thread::sleep(pause);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_limit_and_differ() {
        let mut backoff = Backoff::default();
        let pauses: Vec<Duration> = (0..12).map(|_| backoff.pause()).collect();
        assert!(pauses[0] >= FIRST / 2 && pauses[0] <= FIRST, "{pauses:?}");
        assert!(pauses.iter().all(|p| *p <= LONGEST), "{pauses:?}");
        assert!(pauses[8..].iter().all(|p| *p >= LONGEST / 2), "{pauses:?}");
        assert!(pauses[8..].windows(2).any(|p| p[0] != p[1]), "{pauses:?}");
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
    }

    #[test]
    fn a_refusal_is_not_tried_again_but_an_absent_server_is() {
        let mut calls = 0;
        let refused: Result<(), CallError> = retry("test", Patience::Endless, || {
            calls += 1;
            Err(CallError::Refused { status: 403, error: "used ticket".into() })
        });
        assert_eq!(
            (refused.unwrap_err().to_string(), calls),
            ("the server refused (403): used ticket".into(), 1)
        );
        let mut calls = 0;
        let answer = retry("test", Patience::Endless, || {
            calls += 1;
            if calls < 3 { Err(CallError::Busy { status: 503, error: "starting".into() }) } else { Ok(calls) }
        });
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn patience_ends() {
        let busy = || CallError::Busy { status: 503, error: "starting".into() };
        let ended: Result<(), CallError> = retry("test", Patience::For(Duration::ZERO), || Err(busy()));
        assert_eq!(ended.unwrap_err().to_string(), busy().to_string());
    }
}
