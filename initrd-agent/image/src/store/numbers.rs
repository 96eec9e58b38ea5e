//! The highest number that an image ever gave, so that `name@7` never means two things.

use std::path::PathBuf;

use sysclone_protocol::names::ImageName;

use super::files::{self, Incoming};
use super::{Store, StoreError};

impl Store {
    fn number_file(&self, image: &ImageName) -> PathBuf {
        self.root.join("numbers").join(image.as_str())
    }

    /// The highest number that a generation of this image has or had; 0 when there was none.
    pub(super) fn last_number(&self, image: &ImageName) -> Result<u32, StoreError> {
        let kept = self.read_number(&self.number_file(image))?.unwrap_or(0);
        Ok(kept.max(self.newest(image)?.unwrap_or(0)))
    }

    /// Remembers the highest number before its generation is removed. The store's lock must be held alone.
    pub(super) fn keep_last_number(&self, image: &ImageName) -> Result<(), StoreError> {
        let last = self.last_number(image)?;
        if self.read_number(&self.number_file(image))? == Some(last) {
            return Ok(());
        }
        self.write_small(&self.number_file(image), &format!("{last}\n"))
    }

    /// A number that stands alone in a small file; none when there is no file.
    pub(super) fn read_number(&self, path: &std::path::Path) -> Result<Option<u32>, StoreError> {
        let Some(text) = files::read_text(path)? else { return Ok(None) };
        let wrong = |error| files::failed("reading", path)(std::io::Error::other(error));
        text.trim().parse().map(Some).map_err(wrong)
    }

    /// Writes a small file whole, in the place of one that is there.
    pub(super) fn write_small(&self, path: &std::path::Path, text: &str) -> Result<(), StoreError> {
        files::make_directory(path.parent().expect("the store's files are in directories"))?;
        let mut incoming = Incoming::create(&self.incoming())?;
        incoming.write(text.as_bytes())?;
        incoming.replace(path)
    }
}
