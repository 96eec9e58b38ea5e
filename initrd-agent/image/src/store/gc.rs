//! Takes away packs that nothing names: first into the trash, from which they are still read and come back when they
//! are named again, and at a later run off the disk.
//!
//! A pack is named by the manifests of all generations and by the marks of captures that did not finish. Manifests
//! are read without the store's lock, which takes long; then, with the lock held alone, those that came since are
//! read too and the packs are moved. So a capture or a deploy beside it waits for some renames at most.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sysclone_protocol::names::{ImageName, ImageRef};

use super::{Store, StoreError, files};
use crate::id::PackId;
use crate::sign::VerifyingKey;

/// How long things that nothing names are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GcRule {
    /// A pack is not taken away before it is this old.
    pub grace: Duration,
    /// A pack stays in the trash this long.
    pub trash: Duration,
    /// What an interrupted capture sent is kept this long for the next one.
    pub staged: Duration,
}

impl Default for GcRule {
    /// A day, so that whatever works with a generation that was just removed ends first; a day in the trash, so that
    /// one mistake with the clock deletes nothing; two weeks for a capture to be tried again.
    fn default() -> Self {
        let day = Duration::from_secs(86_400);
        Self { grace: day, trash: day, staged: day * 14 }
    }
}

/// A pack and what it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct StoredPack {
    /// The pack.
    pub id: PackId,
    /// Its size in bytes.
    pub bytes: u64,
}

/// What a collection did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Taken off the disk; their bytes are free.
    pub deleted: Vec<StoredPack>,
    /// Moved into the trash; their bytes will be free later.
    pub trashed: Vec<StoredPack>,
    /// Brought back from the trash, because something names them.
    pub restored: Vec<StoredPack>,
    /// Named by nothing, but too young to go.
    pub waiting: Vec<StoredPack>,
    /// Marks of captures that were never tried again.
    pub marks: u64,
    /// Pins whose time was over.
    pub pins: u64,
}

impl GcReport {
    /// Bytes that are free now.
    #[must_use]
    pub fn freed_bytes(&self) -> u64 {
        self.deleted.iter().map(|pack| pack.bytes).sum()
    }
}

/// One file of a pack, and since when it is where it is.
#[derive(Debug, Clone, Copy)]
struct Found {
    pack: StoredPack,
    since: SystemTime,
}

/// Every file of a pack.
#[derive(Debug, Default)]
struct Inventory {
    packs: Vec<Found>,
    trash: Vec<Found>,
    quarantine: Vec<Found>,
}

fn plan(inventory: &Inventory, named: &HashSet<PackId>, (rule, now): (&GcRule, SystemTime)) -> GcReport {
    // A clock that went back makes an age unknown: young.
    let old = |found: &Found, age: Duration| now.duration_since(found.since).is_ok_and(|since| since >= age);
    let mut report = GcReport::default();
    for found in &inventory.packs {
        match (named.contains(&found.pack.id), old(found, rule.grace)) {
            (true, _) => {}
            (false, true) => report.trashed.push(found.pack),
            (false, false) => report.waiting.push(found.pack),
        }
    }
    for found in &inventory.trash {
        match (named.contains(&found.pack.id), old(found, rule.trash)) {
            (true, _) => report.restored.push(found.pack),
            (false, true) => report.deleted.push(found.pack),
            (false, false) => {}
        }
    }
    // A damaged pack may be of use while there is no good one of its name.
    let whole: HashSet<PackId> = inventory.packs.iter().map(|found| found.pack.id).collect();
    let useless = |found: &&Found| {
        let id = &found.pack.id;
        (!named.contains(id) || whole.contains(id)) && old(found, rule.trash)
    };
    report.deleted.extend(inventory.quarantine.iter().filter(useless).map(|found| found.pack));
    report
}

impl Store {
    /// Collects what nothing names. Run it again later: what goes into the trash now leaves the disk then.
    ///
    /// # Errors
    /// A manifest is damaged (then nothing is taken away, because what it names is not known), or the disk refused
    /// something; what was done until then stays done.
    pub fn gc(&self, key: &VerifyingKey, rule: &GcRule, now: SystemTime) -> Result<GcReport, StoreError> {
        // Reads all manifests, so that little is left to read with the lock.
        self.named(key, &[])?;
        let _alone = self.removing()?;
        let mut pins = 0;
        for image in self.with_directory("pins")? {
            pins += self.remove_old_pins(&image, now)?;
        }
        let old_marks = self.old_marks(rule, now)?;
        for mark in &old_marks {
            files::remove_durably(mark)?;
        }
        let named = self.named(key, &[])?;
        let report = plan(&self.inventory()?, &named, (rule, now));
        self.apply(&report, now)?;
        Ok(GcReport { pins, marks: old_marks.len() as u64, ..report })
    }

    /// What [`Store::gc`] would do.
    ///
    /// # Errors
    /// As for the collection itself.
    pub fn plan_gc(
        &self,
        key: &VerifyingKey,
        rule: &GcRule,
        now: SystemTime,
    ) -> Result<GcReport, StoreError> {
        let mut pins = 0;
        for image in self.with_directory("pins")? {
            pins += self.old_pins(&image, now)?;
        }
        let old_marks = self.old_marks(rule, now)?;
        let named = self.named(key, &old_marks)?;
        let report = plan(&self.inventory()?, &named, (rule, now));
        Ok(GcReport { pins, marks: old_marks.len() as u64, ..report })
    }

    fn apply(&self, report: &GcReport, now: SystemTime) -> Result<(), StoreError> {
        for pack in &report.restored {
            self.bring_back(&pack.id)?;
        }
        for pack in &report.deleted {
            for directory in ["trash", "quarantine"] {
                files::remove_one(&self.root.join(directory), &pack.id.to_string())?;
            }
        }
        for pack in &report.trashed {
            let place = self.pack_file(&pack.id);
            files::touch(&place, now)?;
            files::move_file(&place, &self.trash_file(&pack.id))?;
        }
        Ok(())
    }

    /// All packs that are named, by manifests and by marks other than these.
    fn named(&self, key: &VerifyingKey, without: &[PathBuf]) -> Result<HashSet<PackId>, StoreError> {
        let mut named = HashSet::new();
        let mut images = HashSet::new();
        for image in self.images()? {
            for generation in self.generations(&image)? {
                let image = ImageRef { name: image.clone(), generation };
                match self.packs_of(&image, key) {
                    Ok(packs) => named.extend(packs.iter().map(|pack| pack.id)),
                    // Removed since it was listed.
                    Err(StoreError::NoSuchImage(_)) => continue,
                    Err(error) => return Err(error),
                }
                images.insert(image);
            }
        }
        self.known.keep(&|image| images.contains(image));
        for image in self.with_directory("staged")? {
            let directory = self.staged_directory(&image);
            for name in files::names(&directory)? {
                if !without.contains(&directory.join(&name)) {
                    named.extend(name.parse::<PackId>().ok());
                }
            }
        }
        Ok(named)
    }

    fn old_marks(&self, rule: &GcRule, now: SystemTime) -> Result<Vec<PathBuf>, StoreError> {
        let mut old = Vec::new();
        for image in self.with_directory("staged")? {
            let marks = list(&self.staged_directory(&image))?;
            let is_old = |since| now.duration_since(since).is_ok_and(|age| age >= rule.staged);
            old.extend(marks.into_iter().filter(|(_, _, since)| is_old(*since)).map(|(path, ..)| path));
        }
        Ok(old)
    }

    /// Images that have something in this part of the store.
    fn with_directory(&self, part: &str) -> Result<Vec<ImageName>, StoreError> {
        Ok(files::names(&self.root.join(part))?.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// All packs that are in their place.
    pub(super) fn packs(&self) -> Result<Vec<PackId>, StoreError> {
        Ok(self.inventory()?.packs.iter().map(|found| found.pack.id).collect())
    }

    fn inventory(&self) -> Result<Inventory, StoreError> {
        let mut packs = Vec::new();
        for directory in files::names(&self.root.join("packs"))? {
            packs.extend(packs_in(&self.root.join("packs").join(directory))?);
        }
        Ok(Inventory {
            packs,
            trash: packs_in(&self.root.join("trash"))?,
            quarantine: packs_in(&self.root.join("quarantine"))?,
        })
    }
}

fn packs_in(directory: &Path) -> Result<Vec<Found>, StoreError> {
    let files = list(directory)?.into_iter();
    let found = files.filter_map(|(path, bytes, since)| {
        let id = path.file_name()?.to_str()?.parse().ok()?;
        Some(Found { pack: StoredPack { id, bytes }, since })
    });
    let mut found: Vec<Found> = found.collect();
    found.sort_by_key(|found| found.pack);
    Ok(found)
}

/// The files of a directory with their sizes and when they were last changed.
fn list(directory: &Path) -> Result<Vec<(PathBuf, u64, SystemTime)>, StoreError> {
    let mut files = Vec::new();
    for name in files::names(directory)? {
        let path = directory.join(name);
        match path.metadata().and_then(|metadata| Ok((metadata.len(), metadata.modified()?))) {
            // Moved or removed since it was listed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(files::failed("reading", &path)(error)),
            Ok((bytes, since)) => files.push((path, bytes, since)),
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn packs_go_when_nothing_names_them_and_they_are_old_enough() {
        let now = SystemTime::UNIX_EPOCH + HOUR * 100_000;
        let rule = GcRule { grace: HOUR * 24, trash: HOUR * 10, ..GcRule::default() };
        // Number, hours since.
        let found = |packs: &[(u8, u32)]| -> Vec<Found> {
            let found = packs.iter().map(|(id, hours)| Found {
                pack: StoredPack { id: PackId([*id; 32]), bytes: u64::from(*id) },
                since: now - HOUR * *hours,
            });
            found.collect()
        };
        let inventory = Inventory {
            packs: found(&[(1, 1000), (2, 24), (3, 23), (4, 1000)]),
            trash: found(&[(11, 1000), (12, 10), (13, 9)]),
            quarantine: found(&[(21, 1000), (22, 1000), (23, 1), (4, 1000)]),
        };
        let named = [1, 4, 11, 21].map(|id| PackId([id; 32])).into();
        let ids = |packs: &[StoredPack]| packs.iter().map(|pack| pack.bytes).collect::<Vec<_>>();
        let report = plan(&inventory, &named, (&rule, now));
        assert_eq!(ids(&report.trashed), [2]);
        assert_eq!(ids(&report.waiting), [3]);
        assert_eq!(ids(&report.deleted), [12, 22, 4]);
        assert_eq!(ids(&report.restored), [11]);
        assert_eq!(report.freed_bytes(), 38);
        let before = plan(&inventory, &named, (&rule, SystemTime::UNIX_EPOCH));
        assert!(
            before.trashed.is_empty() && before.deleted.is_empty(),
            "a clock that went back takes nothing"
        );
    }
}
