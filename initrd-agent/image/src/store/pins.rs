//! Pins: a deploy or an export that needs a generation says so, and until when at the latest, so that one that died
//! does not hold it for ever. A pinned generation is not removed and its packs are not rewritten.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use sysclone_protocol::names::{ImageName, ImageRef};

use super::{Store, StoreError, files};

/// One use of a generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pin {
    /// The generation.
    pub generation: u32,
    /// Who needs it, in words (`job 17`).
    pub holder: String,
    /// When it ends by itself.
    pub until: SystemTime,
}

#[derive(Serialize, Deserialize)]
struct Written {
    holder: String,
    until_seconds: u64,
}

impl Store {
    fn pin_directory(&self, image: &ImageName) -> PathBuf {
        self.root.join("pins").join(image.as_str())
    }

    fn pin_file(&self, image: &ImageRef, holder: &str) -> PathBuf {
        // Sixteen digits tell holders apart; the holder's own words are in the file.
        let hash = blake3::hash(holder.as_bytes()).to_hex();
        self.pin_directory(&image.name).join(format!("{}.{}", image.generation, &hash[..16]))
    }

    /// Holds a generation for `holder` until a time, or changes until when it does.
    ///
    /// # Errors
    /// There is no such generation, or the disk refused it.
    pub fn pin(&self, image: &ImageRef, holder: &str, until: SystemTime) -> Result<(), StoreError> {
        let _named = self.naming()?;
        self.require_generation(image)?;
        let until_seconds = until.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let written = Written { holder: holder.to_owned(), until_seconds };
        let text = serde_json::to_string(&written).expect("text and a number are JSON");
        self.write_small(&self.pin_file(image, holder), &text)
    }

    /// Lets a generation go; nothing happens when `holder` does not hold it.
    ///
    /// # Errors
    /// The disk refused it.
    pub fn unpin(&self, image: &ImageRef, holder: &str) -> Result<(), StoreError> {
        files::remove_durably(&self.pin_file(image, holder)).map(drop)
    }

    /// Who needs which generation of an image at this time.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn pins(&self, image: &ImageName, now: SystemTime) -> Result<Vec<Pin>, StoreError> {
        let mut pins = self.all_pins(image)?;
        pins.retain(|(_, pin)| pin.until > now);
        Ok(pins.into_iter().map(|(_, pin)| pin).collect())
    }

    /// Takes away pins whose time is over; answers how many. The store's lock must be held alone.
    pub(super) fn remove_old_pins(&self, image: &ImageName, now: SystemTime) -> Result<u64, StoreError> {
        let mut removed = 0;
        for (path, pin) in self.all_pins(image)? {
            if pin.until <= now {
                removed += u64::from(files::remove_durably(&path)?);
            }
        }
        Ok(removed)
    }

    /// How many pins there are whose time is over.
    pub(super) fn old_pins(&self, image: &ImageName, now: SystemTime) -> Result<u64, StoreError> {
        Ok(self.all_pins(image)?.iter().filter(|(_, pin)| pin.until <= now).count() as u64)
    }

    fn all_pins(&self, image: &ImageName) -> Result<Vec<(PathBuf, Pin)>, StoreError> {
        let directory = self.pin_directory(image);
        let mut pins = Vec::new();
        for name in files::names(&directory)? {
            let number = name.split_once('.').and_then(|(number, _)| number.parse().ok());
            let Some(generation) = number else { continue };
            let path = directory.join(name);
            // One that was let go since is no pin.
            let Some(text) = files::read_text(&path)? else { continue };
            let written: Written = serde_json::from_str(&text)
                .map_err(|error| files::failed("reading", &path)(std::io::Error::other(error)))?;
            let until = UNIX_EPOCH.checked_add(Duration::from_secs(written.until_seconds));
            // A time that cannot be told is one that does not come.
            let until = until.unwrap_or(UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX) * 2));
            pins.push((path, Pin { generation, holder: written.holder, until }));
        }
        pins.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(pins)
    }
}
