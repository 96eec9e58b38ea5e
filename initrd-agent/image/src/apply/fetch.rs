//! Fetches packs ahead of the workers, in deploy order.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use crossbeam_channel::Sender;

use super::job::{ApplyError, ApplyJob};
use super::plan::{Plan, Request};
use crate::pack::{Giver, PackBytes};

/// What one request brought.
pub(super) struct Fetched {
    /// Index of the request.
    pub request: usize,
    /// Its bytes.
    pub bytes: PackBytes,
}

/// Shared by the fetching threads: which request is next, and whether to go on.
#[derive(Default)]
pub(super) struct Turn {
    next: AtomicUsize,
    pub stop: AtomicBool,
    /// Bytes fetched by all, those fetched a second time counted again.
    pub fetched: AtomicU64,
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
        let bytes = fetch(job, wanted, (&[], turn))?;
        if to.send(Fetched { request, bytes }).is_err() {
            break;
        }
    }
    Ok(())
}

/// Fetches one range, if possible not from those in `avoid`.
pub(super) fn fetch(
    job: &ApplyJob<'_>,
    wanted: &Request,
    (avoid, turn): (&[Giver], &Turn),
) -> Result<PackBytes, ApplyError> {
    let pack = job.manifest.packs[wanted.pack as usize].id;
    let failed = |source| ApplyError::Fetch {
        image: job.manifest.image_ref().to_string(),
        pack,
        range: wanted.range.clone(),
        source,
    };
    let fetched = job.source.read_from(&pack, wanted.range.clone(), avoid).map_err(failed)?;
    if fetched.bytes.len() as u64 == wanted.range.end - wanted.range.start {
        turn.fetched.fetch_add(fetched.bytes.len() as u64, Ordering::Relaxed);
        Ok(fetched)
    } else {
        Err(failed(std::io::ErrorKind::UnexpectedEof.into()))
    }
}
