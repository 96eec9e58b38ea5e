//! One worker: names without data first, then frames as they come. Every chunk is checked before one byte of its
//! frame is written.

use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::atomic::Ordering;

use crossbeam_channel::{Receiver, Sender};

use super::fetch::{Fetched, Turn, fetch};
use super::files::{Files, Write};
use super::job::{ApplyError, ApplyJob};
use super::names::make_special;
use super::plan::{Plan, Request};
use super::report::Tally;
use crate::crypt::PackKey;
use crate::entry::EntryKind;
use crate::id::ChunkHash;
use crate::manifest::Frame;
use crate::pack::{FrameOpener, PackBytes};
use crate::tree::Directories;

/// What is written, and where.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub job: &'a ApplyJob<'a>,
    pub root: BorrowedFd<'a>,
}

/// What every worker needs; the same for all.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub place: Place<'a>,
    pub plan: &'a Plan,
    pub files: &'a Files<'a>,
    pub turn: &'a Turn,
    /// Plain bytes that need not be fetched.
    pub ready: u64,
}

pub(super) struct Worker<'a> {
    work: Work<'a>,
    directories: Directories<'a>,
    opener: FrameOpener,
    /// The key of the pack used last.
    key: Option<(u32, PackKey)>,
    tally: Tally,
}

impl<'a> Worker<'a> {
    pub(super) fn new(work: Work<'a>) -> Result<Self, ApplyError> {
        let opener = FrameOpener::new().map_err(|source| ApplyError::Write {
            doing: "preparing to unpack for",
            path: work.place.job.root.display().to_string(),
            source,
        })?;
        Ok(Self {
            work,
            directories: Directories::new(work.place.root),
            opener,
            key: None,
            tally: Tally::default(),
        })
    }

    /// Does its share of the entries without data, then frames until there are no more. Answers what it counted.
    pub(super) fn run(
        mut self,
        entries: impl Iterator<Item = usize>,
        (from, done): (&Receiver<Fetched>, &Sender<u64>),
    ) -> Result<Tally, ApplyError> {
        for index in entries {
            self.without_data(index)?;
        }
        for fetched in from {
            if self.work.turn.stop.load(Ordering::Relaxed) {
                break;
            }
            let bytes = self.request(fetched)?;
            if done.send(bytes).is_err() {
                break;
            }
        }
        Ok(self.tally)
    }

    fn without_data(&mut self, index: usize) -> Result<(), ApplyError> {
        let entry = &self.work.place.job.manifest.entries[index];
        if matches!(entry.kind, EntryKind::File(_)) {
            let index = u32::try_from(index).expect("a manifest has fewer entries than that");
            return self.work.files.write_empty(index, &mut self.directories, &mut self.tally);
        }
        make_special(entry, &mut self.directories, &mut self.tally)
    }

    fn request(&mut self, mut fetched: Fetched) -> Result<u64, ApplyError> {
        let request = &self.work.plan.requests[fetched.request];
        let mut plain = 0;
        for index in request.frames.clone() {
            let frame = &self.work.place.job.manifest.frames[index];
            let start =
                usize::try_from(frame.offset - request.range.start).expect("a request fits into memory");
            self.frame(index, (&mut fetched.bytes, start..start + frame.stored_len as usize))?;
            plain += u64::from(frame.plain_len);
        }
        Ok(plain)
    }

    /// Writes a frame. One that does not open is charged to whoever gave it and fetched from another; an only giver
    /// gets a second chance, because the frame may have been hurt on the way.
    fn frame(
        &mut self,
        index: usize,
        (fetched, at): (&mut PackBytes, Range<usize>),
    ) -> Result<(), ApplyError> {
        let Work { place: Place { job, .. }, turn, .. } = self.work;
        let frame = &job.manifest.frames[index];
        let range = frame.offset..frame.offset + u64::from(frame.stored_len);
        let request = Request { pack: frame.pack, range, frames: index..index + 1 };
        let Err(mut what) = self.open_and_write(index, &mut fetched.bytes[at.clone()])? else {
            return Ok(());
        };
        let mut blamed = fetched.givers(at);
        for giver in &blamed {
            job.source.charge(*giver);
        }
        for _ in 0..job.source.givers() {
            tracing::warn!(what, givers = ?blamed, "a frame is damaged, fetching it again");
            let mut again = fetch(job, &request, (&blamed, turn))?;
            match self.open_and_write(index, &mut again.bytes)? {
                Ok(()) => return Ok(()),
                Err(reason) => what = reason,
            }
            for giver in again.givers(0..again.bytes.len()) {
                job.source.charge(giver);
                blamed.push(giver);
            }
        }
        Err(self.damaged(index, frame, what))
    }

    fn damaged(&self, index: usize, frame: &Frame, what: &'static str) -> ApplyError {
        let manifest = self.work.place.job.manifest;
        let mut targets = self.work.plan.chunks(index).flat_map(|chunk| self.work.plan.targets(chunk));
        let entry = targets.next().map_or(0, |target| target.entry as usize);
        ApplyError::Damaged {
            image: manifest.image_ref().to_string(),
            pack: manifest.packs[frame.pack as usize].id,
            frame: frame.number,
            path: manifest.entries[entry].display(),
            what,
        }
    }

    /// The inner error says how the frame is damaged; nothing of it was written then.
    fn open_and_write(
        &mut self,
        index: usize,
        sealed: &mut [u8],
    ) -> Result<Result<(), &'static str>, ApplyError> {
        let Work { place: Place { job, .. }, plan, files, .. } = self.work;
        let frame = &job.manifest.frames[index];
        let key = match &mut self.key {
            Some((pack, key)) if *pack == frame.pack => key,
            other => {
                let salt = &job.manifest.packs[frame.pack as usize].salt;
                &mut other.insert((frame.pack, job.key.pack_key(salt))).1
            }
        };
        let plain = match self.opener.open(key, frame.number, (sealed, frame.plain_len)) {
            Ok(plain) => plain,
            Err(what) => return Ok(Err(what)),
        };
        let mut writes = Vec::new();
        for chunk in plan.chunks(index) {
            let record = &job.manifest.chunks[chunk];
            let bytes = &plain[record.offset as usize..(record.offset + record.len) as usize];
            if ChunkHash::of(bytes) != record.hash {
                return Ok(Err("a chunk in it is not the one captured"));
            }
            let targets = plan.wanted(chunk);
            writes.extend(targets.map(|t| Write { entry: t.entry, offset: t.offset, bytes }));
        }
        files.write(&mut writes, &mut self.directories, &mut self.tally).map(Ok)
    }
}
