//! One deployment from beginning to end.
//!
//! Memory, beside the manifest and some 20 bytes per extent: two requests being fetched, four waiting, one per
//! worker (4 MiB each), and per worker one unpacked frame; below 110 MiB with sixteen workers and the frames of 1 MiB
//! that captures make, below 256 MiB with the largest frames the format allows.

use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use crossbeam_channel::{bounded, unbounded};

use super::fetch::{self, Turn};
use super::files::Files;
use super::job::{ApplyError, ApplyJob, ApplyProgress, ApplyReport, Before};
use super::plan::{Plan, chunks_of, file_data};
use super::report::Tally;
use super::survey::survey;
use super::worker::{Place, Work, Worker};
use super::{leftovers, names};
use crate::entry::EntryKind;
use crate::tree::open_root;

/// Threads that fetch: while one waits for an answer, the other receives.
const FETCHERS: usize = 2;
/// Requests that wait for a worker.
const AHEAD: usize = 4;
/// More workers than this only wait for the disk, and each needs memory.
pub(super) const MAX_WORKERS: usize = 16;

/// Writes an image. `progress` is called on the calling thread only.
///
/// # Errors
/// Anything that could not be fetched, verified or written. Attributes and flags that a file system does not have
/// are warnings in the report, except capabilities and ACLs.
pub fn apply(job: &ApplyJob<'_>, progress: &dyn Fn(ApplyProgress)) -> Result<ApplyReport, ApplyError> {
    let root = open_root(job.root)
        .map_err(|source| ApplyError::Root { path: job.root.display().to_string(), source })?;
    let root = root.as_fd();
    let place = Place { job, root };
    let mut plan = Plan::new(job.manifest);
    let files = Files::new(job.manifest);
    let turn = Turn::default();
    let mut tally = Tally::default();
    if let Before::Interrupted(spare) = job.before {
        leftovers::allow_changes(job.manifest, root)?;
        leftovers::remove_others(job.manifest, root, spare)?;
    }
    names::make_directories(job.manifest, root, &mut tally)?;
    let mut ready = 0;
    if job.before != Before::Nothing {
        let survey = survey(place, &plan, &files)?;
        tally.add(survey.tally);
        tally.report.kept_bytes = survey.bytes;
        ready = plan.leave_out(job.manifest, survey.whole);
    }
    let work = Work { place, plan: &plan, files: &files, turn: &turn, ready };
    match write_data(work, progress) {
        Ok(written) => tally.add(written),
        Err(error) => {
            files.remove_incomplete(root);
            return Err(error);
        }
    }
    names::make_hard_links(job.manifest, root, &mut tally)?;
    let file_systems = names::finish_directories(job.manifest, root, &mut tally)?;
    names::forbid_changes(job.manifest, root, &mut tally)?;
    names::sync(&file_systems)?;
    tally.report.fetched_bytes = turn.fetched.into_inner();
    tally.report.needed_bytes =
        plan.requests.iter().map(|request| request.range.end - request.range.start).sum();
    Ok(tally.into_report())
}

/// Runs fetchers and workers; the first error ends all.
fn write_data(work: Work<'_>, progress: &dyn Fn(ApplyProgress)) -> Result<Tally, ApplyError> {
    let workers = work.place.job.threads.clamp(1, MAX_WORKERS);
    let without_data = without_data(work);
    let share = without_data.len().div_ceil(workers).max(1);
    let (to_workers, fetched) = bounded(AHEAD);
    let (done, progressed) = unbounded::<u64>();
    std::thread::scope(|scope| {
        let mut running = Vec::new();
        for worker in 0..workers {
            let (fetched, done) = (fetched.clone(), done.clone());
            let entries = without_data.chunks(share).nth(worker).unwrap_or_default().iter().copied();
            running.push(scope.spawn(move || {
                let result = Worker::new(work).and_then(|worker| worker.run(entries, (&fetched, &done)));
                work.turn.stop.fetch_or(result.is_err(), Ordering::Relaxed);
                result
            }));
        }
        drop((fetched, done));
        let mut fetching = Vec::new();
        for _ in 0..FETCHERS {
            let to_workers = to_workers.clone();
            fetching.push(scope.spawn(move || {
                let result = fetch::run(work.place.job, work.plan, (work.turn, &to_workers));
                work.turn.stop.fetch_or(result.is_err(), Ordering::Relaxed);
                result
            }));
        }
        drop(to_workers);
        let mut so_far = ApplyProgress { done: work.ready, total: work.plan.total };
        progress(so_far);
        // Ends when all workers have.
        for bytes in progressed {
            so_far.done += bytes;
            progress(so_far);
        }
        for thread in fetching {
            thread.join().map_err(|_| ApplyError::Stopped)??;
        }
        let mut tally = Tally::default();
        for thread in running {
            tally.add(thread.join().map_err(|_| ApplyError::Stopped)??);
        }
        Ok(tally)
    })
}

/// Entries that need nothing fetched: links, devices, pipes, files that are empty or all holes and zeros.
fn without_data(work: Work<'_>) -> Vec<usize> {
    let needs_nothing = |kind: &EntryKind| match kind {
        EntryKind::Directory | EntryKind::HardLink { .. } => false,
        EntryKind::File(_) => file_data(kind).is_some_and(|data| chunks_of(data).next().is_none()),
        EntryKind::Symlink { .. }
        | EntryKind::CharDevice { .. }
        | EntryKind::BlockDevice { .. }
        | EntryKind::Fifo => true,
    };
    let entries = work.place.job.manifest.entries.iter().enumerate();
    entries.filter(|(_, entry)| needs_nothing(&entry.kind)).map(|(index, _)| index).collect()
}
