//! How long to wait for an answer before sending again: RFC 6298's estimate, with bounds that fit a local network.

use std::time::Duration;

/// Before anything was measured.
const INITIAL: Duration = Duration::from_secs(1);
/// Below this a busy client's scheduling looks like loss. On a local network it is fifty round trips.
const MIN: Duration = Duration::from_millis(5);
/// Repeated losses do not make the wait longer than this: a ROM that was busy for a second should go on at once.
const MAX: Duration = Duration::from_secs(1);
/// What is kept of a longer wait once the client answers again, until there is a new measurement.
const AFTER_LOSS: Duration = Duration::from_millis(200);

/// A running estimate of the retransmission timeout.
#[derive(Debug, Clone)]
pub(crate) struct RetransmitTimer {
    smoothed: Option<Duration>,
    variation: Duration,
    timeout: Duration,
}

impl RetransmitTimer {
    pub(crate) fn new() -> Self {
        Self { smoothed: None, variation: Duration::ZERO, timeout: INITIAL }
    }

    /// The wait to use now.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Takes in a measured round trip, which must not be of anything sent twice (Karn's algorithm).
    pub(crate) fn measured(&mut self, round_trip: Duration) {
        let smoothed = match self.smoothed {
            None => {
                self.variation = round_trip / 2;
                round_trip
            }
            Some(smoothed) => {
                self.variation = (self.variation * 3 + smoothed.abs_diff(round_trip)) / 4;
                (smoothed * 7 + round_trip) / 8
            }
        };
        self.smoothed = Some(smoothed);
        self.timeout = (smoothed + self.variation * 4).clamp(MIN, MAX);
    }

    /// Nothing came in time: wait twice as long.
    pub(crate) fn back_off(&mut self) {
        self.timeout = (self.timeout * 2).min(MAX);
    }

    /// The client has answered, though it cannot be told to which copy. The longer wait is kept within reason, because
    /// the network may have become slow (Karn's algorithm).
    pub(crate) fn answered(&mut self) {
        if self.smoothed.is_some() {
            self.timeout = self.timeout.min(AFTER_LOSS);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_measured_network_within_its_bounds() {
        for (round_trip_us, at_least_ms, at_most_ms) in
            [(50, 5, 5), (5_000, 5, 20), (100_000, 100, 150), (9_000_000, 1000, 1000)]
        {
            let mut timer = RetransmitTimer::new();
            for _ in 0..50 {
                timer.measured(Duration::from_micros(round_trip_us));
            }
            let timeout = timer.timeout().as_millis();
            assert!((at_least_ms..=at_most_ms).contains(&timeout), "{round_trip_us} us gave {timeout} ms");
        }
    }

    #[test]
    fn backing_off_doubles_to_the_bound_and_a_measurement_ends_it() {
        let mut timer = RetransmitTimer::new();
        timer.measured(Duration::from_micros(100));
        let waits: Vec<u128> = (0..9)
            .map(|_| {
                timer.back_off();
                timer.timeout().as_millis()
            })
            .collect();
        assert_eq!(waits, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
        timer.answered();
        assert_eq!(timer.timeout(), AFTER_LOSS);
        timer.measured(Duration::from_micros(100));
        assert_eq!(timer.timeout(), MIN);
    }
}
