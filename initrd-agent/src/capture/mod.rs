//! The capture role: reads the running golden client into packs and a manifest, and tells the server over the
//! connection that started it.

mod attempt;
mod boot;
mod hooks;
mod janitor;
mod known;
mod names;
mod os;
mod output;
mod view;
mod work;

use std::process::ExitCode;
use std::time::Duration;

pub(crate) use boot::boot_facts;
pub use janitor::run_cleanup;
pub use known::{Kept, hand_in, parent};
pub use output::Lines;
pub(crate) use view::leave_the_others;

use crate::console::{Place, start_logging};
use crate::failure::describe;

/// Priority of a capture on a machine that has other work to do. Disk schedulers derive their priority from it.
const NICE: i32 = 10;

/// How long the server may be away in the middle of a capture. What was sent is kept, so trying again later loses
/// little, while a golden client should not be read for ever.
const SERVER_AWAY: Duration = Duration::from_secs(600);

/// Captures this machine: the order comes on standard input, lines for the server go to standard output.
#[must_use]
pub fn run(debug: bool) -> ExitCode {
    start_logging(Place::Stderr, debug);
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::warn!(%error, "the capture runs at full priority");
    }
    let lines = Lines::start(std::io::stdout());
    match work::capture(std::io::stdin(), &lines) {
        Ok(reply) => {
            lines.finished(reply);
            ExitCode::SUCCESS
        }
        Err(error) => {
            let failure = describe(&error);
            tracing::error!("capture failed: {}", failure.reason);
            lines.failed(failure.reason);
            ExitCode::FAILURE
        }
    }
}
