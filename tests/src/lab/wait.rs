//! The one place that waits for a state by looking again.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// How often a state is looked at. Short beside everything that the lab waits for.
const POLL: Duration = Duration::from_millis(50);

/// Looks until `probe` finds something.
///
/// # Errors
/// The deadline passes, or the probe itself fails (which ends the waiting at once).
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let started = Instant::now();
    loop {
        if let Some(found) = probe()? {
            return Ok(found);
        }
        if started.elapsed() >= limit {
            bail!("{what}: not within {} s", limit.as_secs());
        }
        thread::sleep(POLL);
    }
}
