//! Fetches packs ahead of the workers, in deploy order.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::Sender;

use super::job::{ApplyError, ApplyJob};
use super::plan::{Plan, Request};

/// What one request brought.
pub(super) struct Fetched {
    /// Index of the request.
    pub request: usize,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Shared by the fetching threads: which request is next, and whether to go on.
#[derive(Default)]
pub(super) struct Turn {
    next: AtomicUsize,
    pub stop: AtomicBool,
}

/// Fetches until all requests are taken, somebody says stop, or a fetch fails.
pub(super) fn run(
    job: &ApplyJob<'_>,
    plan: &Plan,
    (turn, to): (&Turn, &Sender<Fetched>),
) -> Result<(), ApplyError> {
    while !turn.stop.load(Ordering::Relaxed) {
        let request = turn.next.fetch_add(1, Ordering::Relaxed);
        let Some(wanted) = plan.requests.get(request) else { break };
        let bytes = fetch(job, wanted)?;
        if to.send(Fetched { request, bytes }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Fetches one range.
pub(super) fn fetch(job: &ApplyJob<'_>, wanted: &Request) -> Result<Vec<u8>, ApplyError> {
    let pack = job.manifest.packs[wanted.pack as usize].id;
    let failed = |source| ApplyError::Fetch {
        image: job.manifest.image_ref().to_string(),
        pack,
        range: wanted.range.clone(),
        source,
    };
    let bytes = job.source.read(&pack, wanted.range.clone()).map_err(failed)?;
    if bytes.len() as u64 == wanted.range.end - wanted.range.start {
        Ok(bytes)
    } else {
        Err(failed(std::io::ErrorKind::UnexpectedEof.into()))
    }
}
