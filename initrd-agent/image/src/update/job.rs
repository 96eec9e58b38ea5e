//! What an update is told, and what it plans.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use sysclone_protocol::update::{KeptPath, PlannedChange};

use super::keep::Keep;
use crate::exclude::Excludes;
use crate::manifest::Manifest;

/// One update of a running machine.
#[derive(Clone, Copy)]
pub struct UpdateJob<'a> {
    /// The machine's root.
    pub root: &'a Path,
    /// Its mount points that the image covers, the root itself need not be among them.
    pub mount_points: &'a [PathBuf],
    /// What it is to be like; from [`crate::sign::open`].
    pub wanted: &'a Manifest,
    /// The generation that it had last; what is in neither is nobody's business but the node's.
    pub base: Option<&'a Manifest>,
    /// Paths that an earlier generation brought and that were not removed then.
    pub held_before: &'a HashSet<Vec<u8>>,
    /// What is left alone.
    pub keep: &'a Keep,
    /// Directory of journal and cache; it exists, and only root reads it.
    pub state: &'a Path,
    /// Files that were changed here stay.
    pub keep_local: bool,
    /// Files that no generation brought are removed.
    pub delete_local: bool,
    /// Every file is read, whatever is remembered of it.
    pub read_all: bool,
    /// Special paths.
    pub special: &'a Special,
    /// Threads that read.
    pub threads: usize,
}

/// Paths that an update treats in a way of their own.
#[derive(Debug, Clone, Default)]
pub struct Special {
    /// Put into place last, when all that they name is there.
    pub late: Excludes,
    /// Not removed yet, and why.
    pub held: (Excludes, String),
    /// Kept when only this machine changed them: made from its own hardware.
    pub made_here: Excludes,
}

/// What an update would do, for people and programs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// By path.
    pub changes: Vec<PlannedChange>,
    /// What differs and stays.
    pub kept: Vec<KeptPath>,
    /// Names that no generation brought.
    pub local: u64,
    /// Bytes of packs to fetch.
    pub fetch_bytes: u64,
    /// Bytes of file content to write.
    pub write_bytes: u64,
    /// Bytes of files that were read to find out.
    pub read_bytes: u64,
}
