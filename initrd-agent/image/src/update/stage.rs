//! Makes everything ready beside what runs: new versions are fetched, verified and brought to the disk in the slots of
//! their file systems. Content that is on this machine already is copied, everything else fetched.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, fstatvfs, ftruncate, open, openat};
use rustix::io::{Errno, pwrite};

use super::clear::remove_slots;
use super::error::{UpdateError, call};
use super::journal::{Journal, MountPath, Op, OpKind, Progress, Touched};
use super::keep::STAGING;
use super::look::{attributes_of, tree_paths};
use super::plan::{Act, Planned};
use super::swap::SLOTS;
use crate::apply::{ApplyJob, ApplyProgress, Before, apply, chunks_of, file_data};
use crate::crypt::ImageKey;
use crate::entry::{Entry, EntryKind, InodeFlags, Meta, display, split};
use crate::id::ChunkHash;
use crate::manifest::Manifest;
use crate::pack::PackSource;
use crate::readback::read_exact;
use crate::tables::compact;
use crate::tree::Directories;
use crate::walk::Node;

/// Room that stays free on every file system.
const RESERVE_BYTES: u64 = 16 << 20;
const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);

/// An update that is ready: on the disk, verified, with its journal.
pub struct Staged {
    /// What finishes it, and undoes it.
    pub journal: Journal,
    /// Bytes of packs fetched.
    pub fetched_bytes: u64,
    /// What the file systems refused and can do without.
    pub warnings: Vec<String>,
}

/// A place on this machine where a chunk is.
#[derive(Debug, Clone, Copy)]
struct Place {
    node: usize,
    offset: u64,
}

/// What goes into one slot.
struct Slotted {
    /// Index of the step.
    step: usize,
    mount: usize,
    slot: u32,
}

impl Planned<'_> {
    /// Bytes of packs to fetch, and bytes of content to write.
    pub(super) fn amount(&self) -> (u64, u64) {
        let wanted = self.wanted.manifest;
        let (mut needed, mut write) = (HashSet::new(), 0);
        for (_, data) in self.contents() {
            for (chunk, _) in chunks_of(data) {
                write += u64::from(wanted.chunks[chunk as usize].len);
                needed.insert(chunk);
            }
        }
        let here = self.places(&needed);
        let missing = needed.iter().filter(|chunk| !here.contains_key(&wanted.chunks[**chunk as usize].hash));
        let frames: HashSet<u32> = missing.map(|chunk| wanted.chunks[*chunk as usize].frame).collect();
        let fetch = frames.iter().map(|frame| u64::from(wanted.frames[*frame as usize].stored_len)).sum();
        (fetch, write)
    }

    /// Where chunks of the wanted generation are on this machine.
    fn places(&self, needed: &HashSet<u32>) -> HashMap<ChunkHash, Place> {
        let wanted = self.wanted.manifest;
        let needed: HashSet<ChunkHash> = needed.iter().map(|c| wanted.chunks[*c as usize].hash).collect();
        let mut places = HashMap::new();
        if needed.is_empty() {
            return places;
        }
        for (node, path, read) in self.look.all_read() {
            let sides = [Some(&self.wanted), self.base.as_ref()].into_iter().flatten();
            let found = sides.filter_map(|side| Some((side, side.file(path)?)));
            let mut found = found.filter(|(side, data)| read.content == Some(side.content(data)));
            let Some((side, data)) = found.next() else { continue };
            for (chunk, offset) in chunks_of(data) {
                let hash = side.manifest.chunks[chunk as usize].hash;
                if needed.contains(&hash) {
                    places.insert(hash, Place { node, offset });
                }
            }
        }
        places
    }

    /// Fetches and prepares everything. Until the journal that this returns goes forward, nothing has changed but for
    /// the slots. The version before the last update is forgotten.
    ///
    /// # Errors
    /// No room, or something could not be fetched, verified or written; what was prepared is removed when there is no
    /// room, and used by the next attempt otherwise.
    pub fn stage(
        &self,
        (key, source): (&ImageKey, &dyn PackSource),
        progress: &dyn Fn(ApplyProgress),
    ) -> Result<Staged, UpdateError> {
        let job = self.job;
        match Journal::load(job.state)? {
            Some(journal) if journal.is_unfinished() => {
                return Err(UpdateError::Unfinished { to: journal.to });
            }
            Some(journal) => journal.discard((job.root, job.state))?,
            None => {}
        }
        let mounts = self.mounts();
        let slotted = self.slotted(&mounts);
        self.check_room(&mounts, &slotted)?;
        let (mut fetched_bytes, mut warnings) = (0, Vec::new());
        let mut ready = self.make_slots(&mounts, &slotted);
        for mount in mounts.iter().enumerate() {
            if ready.is_err() {
                break;
            }
            let filled = self.fill(mount, &slotted, (key, source, progress));
            ready = filled.map(|report| {
                fetched_bytes += report.0;
                warnings.extend(report.1);
            });
        }
        if let Err(error) = ready {
            if is_full(&error) {
                for mount in &mounts {
                    remove_slots(&job.root.join(path_of(mount)))?;
                }
            }
            return Err(error);
        }
        let journal = self.journal(&mounts, &slotted)?;
        journal.save(job.state)?;
        Ok(Staged { journal, fetched_bytes, warnings })
    }

    /// Mount points that have steps, as paths of the tree.
    fn mounts(&self) -> Vec<Vec<u8>> {
        let mut used: Vec<Vec<u8>> = Vec::new();
        let all = tree_paths(self.job.mount_points);
        for step in &self.steps {
            let mount = mount_of(&all, &step.path);
            if !used.contains(&mount) {
                used.push(mount);
            }
        }
        used
    }

    fn slotted(&self, mounts: &[Vec<u8>]) -> Vec<Slotted> {
        let all = tree_paths(self.job.mount_points);
        let place = |path: &[u8]| {
            let mount = mount_of(&all, path);
            mounts.iter().position(|used| *used == mount).expect("every step's mount is among them")
        };
        let numbered = (0..).zip(self.steps.iter().enumerate());
        numbered.map(|(slot, (step, s))| Slotted { step, mount: place(&s.path), slot }).collect()
    }

    fn check_room(&self, mounts: &[Vec<u8>], slotted: &[Slotted]) -> Result<(), UpdateError> {
        let mut directories = Directories::new(self.root.as_fd());
        let mut seen = HashSet::new();
        for (number, mount) in mounts.iter().enumerate() {
            let mut content = 0;
            for one in slotted.iter().filter(|one| one.mount == number) {
                let Act::Put { entry, .. } = self.steps[one.step].act else { continue };
                let inode = self.wanted.inode(entry);
                if !seen.insert(inode) {
                    continue;
                }
                let kind = &self.wanted.manifest.entries[inode].kind;
                let chunks = file_data(kind).into_iter().flat_map(chunks_of);
                // Blocks are whole, and a name takes a little, too.
                content += 4096
                    + chunks
                        .map(|(chunk, _)| u64::from(self.wanted.manifest.chunks[chunk as usize].len))
                        .sum::<u64>();
            }
            let handle = directories.get(mount).map_err(call("opening", display(mount)))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let stat = openat(handle, ".", flags, Mode::empty()).and_then(fstatvfs);
            let stat = stat.map_err(call("asking for the room on", display(mount)))?;
            let available = stat.f_bavail.saturating_mul(stat.f_frsize);
            let needed = content + RESERVE_BYTES;
            // A slot that an interrupted attempt filled has its room already.
            if content > 0 && needed > available + self.staged_bytes(mount) {
                return Err(UpdateError::Room { mount: display(mount), available, needed });
            }
        }
        Ok(())
    }

    fn slots_path(&self, mount: &[u8]) -> PathBuf {
        self.job.root.join(path_of(mount)).join(STAGING).join(SLOTS)
    }

    fn staged_bytes(&self, mount: &[u8]) -> u64 {
        let Ok(entries) = fs::read_dir(self.slots_path(mount)) else { return 0 };
        entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|meta| meta.len()).sum()
    }

    /// Makes the slots' directories, with copies of what is on this machine.
    fn make_slots(&self, mounts: &[Vec<u8>], slotted: &[Slotted]) -> Result<(), UpdateError> {
        for mount in mounts {
            let path = self.slots_path(mount);
            let root = self.job.root.join(path_of(mount));
            let made = fs::metadata(&root).and_then(|before| {
                make_private(&root.join(STAGING))?;
                make_private(&path)?;
                // Nothing shows yet, but for the slots themselves.
                let time = fs::FileTimes::new().set_modified(before.modified()?);
                if let Err(error) = fs::File::open(&root)?.set_times(time) {
                    // The root of a FAT has no time.
                    tracing::debug!(root = %root.display(), %error, "its time is not as it was");
                }
                Ok(())
            });
            made.map_err(call("making", path.display().to_string()))?;
        }
        let needed = self.contents().flat_map(|(_, data)| chunks_of(data)).map(|(chunk, _)| chunk).collect();
        let here = self.places(&needed);
        let mut seen = HashSet::new();
        let mut directories = Directories::new(self.root.as_fd());
        for one in slotted {
            let Act::Put { entry, .. } = self.steps[one.step].act else { continue };
            let inode = self.wanted.inode(entry);
            if seen.insert(inode) && file_data(&self.wanted.manifest.entries[inode].kind).is_some() {
                let path = self.slots_path(&mounts[one.mount]).join(one.slot.to_string());
                let copied = self.copy_known(&path, (inode, &here), &mut directories);
                copied.map_err(call("writing", path.display().to_string()))?;
            }
        }
        Ok(())
    }

    /// Copies the chunks of a file that are on this machine. What cannot be read is fetched; all is verified later.
    fn copy_known(
        &self,
        path: &std::path::Path,
        (inode, here): (usize, &HashMap<ChunkHash, Place>),
        directories: &mut Directories<'_>,
    ) -> io::Result<()> {
        let manifest = self.wanted.manifest;
        let data = file_data(&manifest.entries[inode].kind).expect("only files are copied");
        let known: Vec<(u32, u64)> = chunks_of(data)
            .filter(|(chunk, _)| here.contains_key(&manifest.chunks[*chunk as usize].hash))
            .collect();
        if known.is_empty() {
            return Ok(());
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let slot = match open(path, flags, Mode::RUSR | Mode::WUSR) {
            Ok(slot) => slot,
            // An interrupted attempt made it.
            Err(Errno::EXIST) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        ftruncate(&slot, data.size)?;
        let mut buffer = Vec::new();
        for (chunk, offset) in known {
            let chunk = &manifest.chunks[chunk as usize];
            let place = here[&chunk.hash];
            let from = &self.look.nodes[place.node].path;
            let (parent, name) = split(from).unwrap_or((b"", b"."));
            let Ok(parent) = directories.get(parent) else { continue };
            let Ok(file) = openat(parent, name, READ, Mode::empty()) else { continue };
            buffer.resize(chunk.len as usize, 0);
            if !read_exact(file.as_fd(), &mut buffer, place.offset) {
                continue;
            }
            let mut done = 0;
            while done < buffer.len() {
                match pwrite(&slot, &buffer[done..], offset + done as u64) {
                    Ok(n) => done += n,
                    Err(Errno::INTR) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    /// Fetches what is missing in the slots of one file system, verifies all of them, and brings them to the disk.
    fn fill(
        &self,
        (number, mount): (usize, &Vec<u8>),
        slotted: &[Slotted],
        (key, source, progress): (&ImageKey, &dyn PackSource, &dyn Fn(ApplyProgress)),
    ) -> Result<(u64, Vec<String>), UpdateError> {
        let part = self.part(number, slotted);
        let path = self.slots_path(mount);
        let before = Before::Interrupted(&[]);
        let threads = self.job.threads;
        let job = ApplyJob { manifest: &part, key, source, root: &path, before, threads };
        let report = apply(&job, progress)?;
        let warnings = report.warnings.into_iter();
        Ok((report.fetched_bytes, warnings.map(|w| format!("{} ({} times)", w.what, w.count)).collect()))
    }

    /// The slots of one file system as an image.
    fn part(&self, mount: usize, slotted: &[Slotted]) -> Manifest {
        let wanted = self.wanted.manifest;
        let meta = Meta { mode: 0o700, ..Meta::default() };
        let mut entries = vec![Entry { path: Vec::new(), kind: EntryKind::Directory, meta }];
        let mut first: HashMap<usize, u32> = HashMap::new();
        for one in slotted.iter().filter(|one| one.mount == mount) {
            let Act::Put { entry, .. } = self.steps[one.step].act else { continue };
            let inode = self.wanted.inode(entry);
            let path = one.slot.to_string().into_bytes();
            let described = &wanted.entries[inode];
            let position = u32::try_from(entries.len()).expect("a part has no more entries than the whole");
            entries.push(match first.get(&inode) {
                Some(known) => {
                    Entry { path, kind: EntryKind::HardLink { first: *known }, meta: Meta::default() }
                }
                None => {
                    first.insert(inode, position);
                    let flags = InodeFlags { immutable: false, append: false, ..described.meta.flags };
                    let meta = Meta { flags, ..described.meta.clone() };
                    Entry { path, kind: described.kind.clone(), meta }
                }
            });
        }
        let tables = (wanted.chunks.clone(), wanted.frames.clone(), wanted.packs.clone());
        let (chunks, frames, packs) = compact(&mut entries, tables);
        Manifest {
            header: wanted.header.clone(),
            layout: wanted.layout.clone(),
            boot: wanted.boot.clone(),
            entries,
            chunks,
            frames,
            packs,
        }
    }

    fn journal(&self, mounts: &[Vec<u8>], slotted: &[Slotted]) -> Result<Journal, UpdateError> {
        let mut directories = Directories::new(self.root.as_fd());
        let mut ops = Vec::with_capacity(slotted.len());
        for one in slotted {
            let step = &self.steps[one.step];
            let mut flags = |node: usize| -> Result<InodeFlags, UpdateError> {
                let node = &self.look.nodes[node];
                if !matches!(node.status.file_type(), FileType::RegularFile | FileType::Directory) {
                    return Ok(InodeFlags::default());
                }
                let read = attributes_of(&mut directories, node);
                Ok(forbidding(read.map_err(call("looking at", display(&node.path)))?.1))
            };
            let kind = match step.act {
                Act::Put { entry, over } => {
                    let described = self.wanted.described(entry);
                    OpKind::Put {
                        directory: described.kind == EntryKind::Directory,
                        old_flags: over.map(&mut flags).transpose()?.unwrap_or_default(),
                        new_flags: forbidding(described.meta.flags),
                    }
                }
                Act::Remove { node } => OpKind::Remove { old_flags: flags(node)? },
                Act::Meta { entry, node } => {
                    let node = &self.look.nodes[node];
                    let old = meta_of(&mut directories, node);
                    let old = old.map_err(call("looking at", display(&node.path)))?;
                    OpKind::Meta { old, new: self.wanted.manifest.entries[entry].meta.clone() }
                }
            };
            let mount = u32::try_from(one.mount).expect("there are fewer mount points than that");
            ops.push(Op { path: step.path.clone(), mount, slot: one.slot, late: step.late, kind });
        }
        let base = self.base.as_ref().map(|base| base.manifest.image_ref().to_string());
        Ok(Journal {
            from: base,
            to: self.wanted.manifest.image_ref().to_string(),
            progress: Progress::Applying,
            mounts: mounts.iter().cloned().map(MountPath).collect(),
            ops,
            touched: self.touched.iter().filter_map(|path| self.touch(path)).collect(),
        })
    }

    fn touch(&self, path: &[u8]) -> Option<Touched> {
        let here = self.look.at(path).map(|(_, node)| node);
        let here = here.filter(|node| node.status.file_type() == FileType::Directory);
        let wanted = self.wanted.at(path).or_else(|| {
            let made = self.wanted.made.iter().map(|index| &self.wanted.manifest.entries[*index]);
            made.into_iter().find(|entry| entry.path == path)
        });
        let wanted = wanted.filter(|entry| entry.kind == EntryKind::Directory);
        let old = here.map(|node| node.status.modified);
        let new = wanted.map(|entry| entry.meta.mtime).or(old)?;
        let old_flags = here.map(|node| forbidding(node.flags)).unwrap_or_default();
        let new_flags = wanted.map_or(old_flags, |entry| forbidding(entry.meta.flags));
        Some(Touched { path: path.to_vec(), old, new, old_flags, new_flags })
    }
}

/// Makes a directory whose files inherit nothing.
fn make_private(path: &std::path::Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(error),
    }
    match rustix::fs::lremovexattr(path, "system.posix_acl_default") {
        Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn forbidding(flags: InodeFlags) -> InodeFlags {
    InodeFlags { immutable: flags.immutable, append: flags.append, ..InodeFlags::default() }
}

fn meta_of(directories: &mut Directories<'_>, node: &Node) -> io::Result<Meta> {
    let (xattrs, flags) = attributes_of(directories, node)?;
    let status = &node.status;
    Ok(Meta {
        mode: u16::try_from(status.mode & 0o7777).unwrap_or_default(),
        uid: status.uid,
        gid: status.gid,
        mtime: status.modified,
        flags,
        xattrs,
    })
}

/// The deepest mount point above a path.
fn mount_of(all: &HashSet<Vec<u8>>, path: &[u8]) -> Vec<u8> {
    let above = |mount: &&Vec<u8>| path.strip_prefix(&mount[..]).is_some_and(|rest| rest.starts_with(b"/"));
    all.iter().filter(above).max_by_key(|mount| mount.len()).cloned().unwrap_or_default()
}

fn path_of(mount: &[u8]) -> &std::ffi::OsStr {
    std::os::unix::ffi::OsStrExt::from_bytes(mount)
}

/// Whether there was no room.
fn is_full(error: &UpdateError) -> bool {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = source {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(Errno::from_io_error(error), Some(Errno::NOSPC | Errno::DQUOT));
        }
        source = error.source();
    }
    false
}
