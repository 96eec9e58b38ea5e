//! The machine's clock, set from the server's: file times, keys and logs of the clone should not begin in 1970.

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// A clock that is this close to the server's is left alone.
const CLOSE_SECONDS: i64 = 2;

/// Sets the system clock to the server's `now` (seconds since the epoch) unless it is close already. Returns by how
/// many seconds it was off.
///
/// # Errors
/// The kernel does not let this process set the clock.
pub fn set_from_server(now: i64) -> rustix::io::Result<i64> {
    let off = now - clock_gettime(ClockId::Realtime).tv_sec;
    if off.abs() > CLOSE_SECONDS {
        clock_settime(ClockId::Realtime, Timespec { tv_sec: now, tv_nsec: 0 })?;
    }
    Ok(off)
}

/// Seconds since the epoch by this machine's clock.
#[must_use]
pub fn now() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}
