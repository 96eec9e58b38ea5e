//! The install role: from an enrolled node's order to a machine that restarts into its clone.

mod flush;
mod marker;
mod order;
mod reporter;
mod start;
mod steps;
mod tasks;
mod work;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

pub use flush::Flusher;
pub use reporter::Reporter;
pub(crate) use start::bring_up;
pub use steps::Steps;
use sysclone_protocol::cmdline::DiscoverArgs;

use crate::console::{Place, start_logging};
use crate::discover;
use crate::failure;
use crate::init::{WORKER_FAILED, restart};
use crate::session::{FILE, Session};
use start::Started;

/// The CA that signs the server's certificate; the server adds it to the initrd that it serves.
pub const CA_FILE: &str = "/etc/sysclone/ca.pem";
/// A server or a cache that gives a bad initrd is not asked for it in a tight circle, and a console can be read.
const BEFORE_NEXT_BOOT: Duration = Duration::from_secs(10);
/// The key that signs manifests, base64; comes with the CA.
pub const KEY_FILE: &str = "/etc/sysclone/server.pub";

/// Installs this machine and restarts it. Returns only when that failed; the reason is then on the console and in
/// the session file, for the supervisor to tell the server.
#[must_use]
pub fn run(debug: bool) -> ExitCode {
    start_logging(Place::Consoles, debug);
    let cmdline = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    // What cannot be read as a discovery is no installation either, and says so below.
    if let Ok(Some(args)) = DiscoverArgs::parse(&cmdline) {
        return discover::run(&args);
    }
    let began = std::time::Instant::now();
    let done = start::start(began).and_then(|started| match started {
        Started::Install(enrolled) => work::install(*enrolled).map(|()| "restarting into the clone"),
        Started::Tasks(work) => tasks::carry_out(&work.0, work.1),
        Started::Short => {
            std::thread::sleep(BEFORE_NEXT_BOOT);
            Ok("restarting to fetch the initrd again")
        }
    });
    let error = match done {
        Ok(text) => {
            tracing::info!("{text}");
            restart();
            anyhow::anyhow!("the kernel did not restart the machine")
        }
        Err(error) => error,
    };
    let failure = failure::describe(&error);
    let session = Session::load(Path::new(FILE));
    match session {
        Ok(Some(mut session)) => {
            tracing::error!(
                "installation failed in phase {}: {}; disks: {}",
                steps::phase_word(session.phase),
                failure.reason,
                session.disk_state.words()
            );
            session.failure = Some(failure);
            if let Err(error) = session.save(Path::new(FILE)) {
                tracing::error!(%error, "the failure could not be written down for the supervisor");
            }
        }
        Ok(None) => {
            tracing::error!("installation failed before enrolment: {}; disks: untouched", failure.reason)
        }
        Err(error) => tracing::error!(%error, "installation failed: {}", failure.reason),
    }
    ExitCode::from(WORKER_FAILED)
}
