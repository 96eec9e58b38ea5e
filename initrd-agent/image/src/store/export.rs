//! Generations of one image as one stream: a tar archive that this store and others import.
//!
//! ```text
//! sysclone-export.json          what is in it ([`ExportHead`]), always first
//! manifests/<image>/<number>    as the exporting server signed them
//! packs/ab/<64 hex>             as they are in the store, still encrypted
//! ```
//! Without the image's key an export is of no use to whoever finds it; the key is in it only when that was asked for,
//! and then the file is as secret as the image's `/etc/shadow`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use sysclone_protocol::names::{ImageName, ImageRef, Secret};

use super::{Store, StoreError, files};
use crate::crypt::ImageKey;
use crate::id::PackId;
use crate::manifest::{Manifest, Pack};
use crate::sign::VerifyingKey;

/// The name of the first file.
pub(super) const HEAD_NAME: &str = "sysclone-export.json";
/// The format that this version writes and reads.
pub(super) const FORMAT: u32 = 1;
/// An export that died does not hold its generations longer than this.
const PIN: Duration = Duration::from_secs(86_400);

/// Tells the exports of one process apart.
static EXPORTS: AtomicU64 = AtomicU64::new(1);

/// What is in an export.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportHead {
    /// Version of the format.
    pub format: u32,
    /// The image.
    pub image: ImageName,
    /// Its generations, oldest first.
    pub generations: Vec<u32>,
    /// The public key of the server that signed them, in base64. Whoever imports compares it to what the other
    /// server's administrator says.
    pub manifest_key: String,
    /// The image's key in base64, when it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_key: Option<Secret>,
    /// How many packs there are.
    pub packs: u64,
    /// Bytes of all packs.
    pub bytes: u64,
}

/// What to export.
pub struct ExportJob<'a> {
    /// The image.
    pub image: &'a ImageName,
    /// Which generations.
    pub generations: &'a [u32],
    /// Checks the manifests' signatures, and goes with them.
    pub key: &'a VerifyingKey,
    /// The image's key, when it is to go with them.
    pub image_key: Option<&'a ImageKey>,
    /// Is told of bytes of packs done and in all.
    pub progress: &'a dyn Fn(u64, u64),
}

/// What was exported.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExportReport {
    /// Generations.
    pub generations: u64,
    /// Packs.
    pub packs: u64,
    /// Bytes of packs.
    pub bytes: u64,
}

impl Store {
    /// Writes generations of an image as one archive. They are pinned meanwhile.
    ///
    /// # Errors
    /// A generation is not there, damaged or lacks packs, a pack is damaged, or the archive could not be written. What
    /// was written until then is no whole export, and an import says so.
    pub fn export(&self, job: &ExportJob<'_>, out: &mut dyn Write) -> Result<ExportReport, StoreError> {
        let mut generations = job.generations.to_vec();
        generations.sort_unstable();
        generations.dedup();
        let images: Vec<ImageRef> =
            generations.iter().map(|at| ImageRef { name: job.image.clone(), generation: *at }).collect();
        let number = EXPORTS.fetch_add(1, Ordering::Relaxed);
        let holder = format!("export {number} of process {}", std::process::id());
        let until = SystemTime::now().checked_add(PIN).unwrap_or_else(SystemTime::now);
        let done = images
            .iter()
            .try_for_each(|image| self.pin(image, &holder, until))
            .and_then(|()| self.write_export(job, &images, out));
        for image in &images {
            if let Err(error) = self.unpin(image, &holder) {
                tracing::warn!(%image, %error, "the pin of an export stays until it ends by itself");
            }
        }
        done
    }

    fn write_export(
        &self,
        job: &ExportJob<'_>,
        images: &[ImageRef],
        out: &mut dyn Write,
    ) -> Result<ExportReport, StoreError> {
        let packs = self.packs_to_export(images, job.key)?;
        let bytes = packs.iter().map(|pack| pack.bytes).sum();
        let head = ExportHead {
            format: FORMAT,
            image: job.image.clone(),
            generations: images.iter().map(|image| image.generation).collect(),
            manifest_key: job.key.to_base64(),
            image_key: job.image_key.map(ImageKey::to_base64),
            packs: packs.len() as u64,
            bytes,
        };
        let mut archive = tar::Builder::new(out);
        let text = serde_json::to_vec_pretty(&head).expect("names and numbers are JSON");
        append(&mut archive, HEAD_NAME, (text.len() as u64, &text[..]))?;
        for image in images {
            let sealed = self.manifest_bytes(&image.name, image.generation)?;
            let name = format!("manifests/{}/{}", image.name, image.generation);
            append(&mut archive, &name, (sealed.len() as u64, &sealed[..]))?;
        }
        let mut done = 0;
        for pack in &packs {
            (job.progress)(done, bytes);
            self.append_pack(&mut archive, pack)?;
            done += pack.bytes;
        }
        (job.progress)(done, bytes);
        archive.finish().map_err(StoreError::Export)?;
        Ok(ExportReport { generations: images.len() as u64, packs: packs.len() as u64, bytes })
    }

    /// The packs of these generations, each once, in the order in which they are first needed.
    fn packs_to_export(&self, images: &[ImageRef], key: &VerifyingKey) -> Result<Vec<Pack>, StoreError> {
        let mut packs: Vec<Pack> = Vec::new();
        let mut seen = std::collections::HashSet::new();
        for image in images {
            let manifest: Manifest = self.manifest(image, key)?;
            let missing = self.missing_packs(&manifest);
            if let Some(first) = missing.first() {
                return Err(StoreError::MissingPacks {
                    image: image.name.clone(),
                    missing: missing.len(),
                    first: *first,
                });
            }
            packs.extend(manifest.packs.into_iter().filter(|pack| seen.insert(pack.id)));
        }
        Ok(packs)
    }

    /// Appends a pack, hashed on the way: a damaged one ends the export instead of spoiling it.
    fn append_pack(&self, archive: &mut tar::Builder<&mut dyn Write>, pack: &Pack) -> Result<(), StoreError> {
        let path = self.pack_path(&pack.id).unwrap_or_else(|| self.pack_file(&pack.id));
        let file = File::open(&path).map_err(files::failed("opening", &path))?;
        let mut reader = Hashing { file: file.take(pack.bytes), hasher: blake3::Hasher::new() };
        let name = pack.id.to_string();
        append(archive, &format!("packs/{}/{name}", &name[..2]), (pack.bytes, &mut reader))?;
        let found = PackId(*reader.hasher.finalize().as_bytes());
        if found == pack.id { Ok(()) } else { Err(StoreError::Damaged { pack: pack.id, found }) }
    }
}

/// Appends one file that nobody but its owner reads.
fn append(
    archive: &mut tar::Builder<&mut dyn Write>,
    name: &str,
    (len, bytes): (u64, impl Read),
) -> Result<(), StoreError> {
    let mut header = tar::Header::new_gnu();
    header.set_size(len);
    header.set_mode(0o600);
    header.set_entry_type(tar::EntryType::Regular);
    archive.append_data(&mut header, name, bytes).map_err(StoreError::Export)
}

struct Hashing {
    file: io::Take<File>,
    hasher: blake3::Hasher,
}

impl Read for Hashing {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.file.read(buffer)?;
        self.hasher.update(&buffer[..len]);
        Ok(len)
    }
}
