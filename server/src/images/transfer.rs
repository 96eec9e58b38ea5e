//! Generations as one file: to another server, or as a backup.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sysclone_image::sign::VerifyingKey;
use sysclone_image::{Accept, ExportHead, ExportJob, ImageKey, ImportReport};
use sysclone_protocol::names::{ImageName, ImageRef};

use super::work::Listener;
use super::{ImageError, blocking, image_key, selector};
use crate::app::App;
use crate::capture::define_image;
use crate::wire::ImageWorkLine;

/// What is exported where to.
pub(super) struct Export<'a> {
    pub(super) image: &'a str,
    pub(super) all: bool,
    pub(super) file: &'a Path,
    pub(super) with_key: bool,
}

/// Writes the file under another name first, so that half a one is never taken for a whole one.
pub(super) fn export(
    app: &App,
    wanted: &Export<'_>,
    listener: &Listener,
) -> Result<ImageWorkLine, ImageError> {
    let (image, generations) = if wanted.all {
        let image: ImageName = wanted.image.parse()?;
        let generations = app.store.generations(&image)?;
        (image, generations)
    } else {
        let one = app.store.resolve(&selector(wanted.image)?)?;
        (one.name, vec![one.generation])
    };
    if generations.is_empty() {
        return Err(sysclone_image::StoreError::NoGeneration(image).into());
    }
    let file = wanted.file;
    if fs::symlink_metadata(file).is_ok() {
        return Err(ImageError::Invalid(format!("{} is there already; name a new file", file.display())));
    }
    let image_key = if wanted.with_key { Some(image_key(app, &image)?) } else { None };
    let key = app.keys.signing.verifying_key();
    let progress = |bytes, of| drop(listener.try_send(ImageWorkLine::Progress { bytes, of: Some(of) }));
    let job = ExportJob {
        image: &image,
        generations: &generations,
        key: &key,
        image_key: image_key.as_ref(),
        progress: &progress,
    };
    let part = Part::create(file)?;
    let mut out = BufWriter::new(&part.file);
    let report = app.store.export(&job, &mut out)?;
    out.flush().map_err(failed("writing", file))?;
    drop(out);
    part.publish()?;
    let secret =
        if wanted.with_key { "; it holds the image's key, so keep it as safe as the store" } else { "" };
    let text = format!(
        "{}: {} generations of {image}, {} packs, {} bytes, signed by {}{secret}",
        file.display(),
        report.generations,
        report.packs,
        report.bytes,
        key.to_base64()
    );
    Ok(ImageWorkLine::Finished { text, good: true })
}

/// A file that is being written, removed unless it is published.
struct Part {
    file: File,
    path: PathBuf,
    wanted: PathBuf,
}

impl Part {
    fn create(wanted: &Path) -> Result<Self, ImageError> {
        let mut name = wanted.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let path = wanted.with_file_name(name);
        let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&path);
        Ok(Self { file: file.map_err(failed("creating", &path))?, path, wanted: wanted.to_owned() })
    }

    fn publish(&self) -> Result<(), ImageError> {
        self.file.sync_all().map_err(failed("writing", &self.path))?;
        // Unlike a rename this never replaces what somebody else put there meanwhile.
        fs::hard_link(&self.path, &self.wanted)
            .or_else(|_| fs::rename(&self.path, &self.wanted))
            .map_err(failed("naming", &self.wanted))?;
        let parent = self.wanted.parent().unwrap_or(Path::new("/"));
        File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed("writing", parent))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It has its name by now, or is not wanted.
        let _ = fs::remove_file(&self.path);
    }
}

fn failed(doing: &'static str, path: &Path) -> impl Fn(io::Error) -> ImageError {
    move |source| ImageError::File { doing, path: path.to_owned(), source }
}

/// Takes the generations in, and makes the osimage definition that `nodeset` asks for.
pub(super) async fn import(
    app: &Arc<App>,
    file: &Path,
    (name, trust): (Option<String>, Option<String>),
    listener: Listener,
) -> Result<ImageWorkLine, ImageError> {
    let wanted = Wanted {
        name: name.as_deref().map(str::parse).transpose()?,
        trust: trust.as_deref().map(VerifyingKey::from_base64).transpose().map_err(|error| {
            ImageError::Invalid(format!("the key to trust: {error}; image export prints it"))
        })?,
    };
    let (owned, path) = (Arc::clone(app), file.to_owned());
    let report = blocking(move || read(&owned, &path, &wanted, &listener)).await?;
    let newest = report.images.iter().max_by_key(|image| image.generation).cloned();
    if let Some(newest) = newest {
        let key = app.keys.signing.verifying_key();
        let owned = Arc::clone(app);
        let (image, header) =
            blocking(move || Ok((newest.clone(), owned.store.header(&newest, &key)?))).await?;
        define_image(app, &image.name, &header).await?;
    }
    let images: Vec<String> = report.images.iter().map(ImageRef::to_string).collect();
    let text = format!(
        "imported {} from {}: {} new packs, {} bytes; {} packs were here already",
        images.join(", "),
        file.display(),
        report.new_packs,
        report.new_bytes,
        report.known_packs
    );
    Ok(ImageWorkLine::Finished { text, good: true })
}

struct Wanted {
    name: Option<ImageName>,
    trust: Option<VerifyingKey>,
}

fn read(app: &App, path: &Path, wanted: &Wanted, listener: &Listener) -> Result<ImportReport, ImageError> {
    let file = File::open(path).map_err(failed("opening", path))?;
    let of = file.metadata().ok().map(|metadata| metadata.len());
    let mut from = Counting { file: BufReader::new(file), bytes: 0, of, listener };
    let mut accept = |head: &ExportHead| accept(app, head, wanted);
    Ok(app.store.import(&mut from, &app.keys.signing, &mut accept)?)
}

/// Whether this export may come in, and as what.
fn accept(app: &App, head: &ExportHead, wanted: &Wanted) -> Result<Accept, String> {
    let image = wanted.name.clone().unwrap_or_else(|| head.image.clone());
    let signer = VerifyingKey::from_base64(&head.manifest_key).map_err(|error| error.to_string())?;
    let ours = app.keys.signing.verifying_key();
    if signer != ours && wanted.trust.as_ref() != Some(&signer) {
        return Err(format!(
            "it is signed by another server, with the key {}; ask its administrator whether this is the key, then \
             give it: --trust {0}",
            head.manifest_key
        ));
    }
    let chain = |error: crate::trust::KeyFileError| format!("{:#}", anyhow::Error::new(error));
    let here = app.keys.image_key(&image).map_err(chain)?;
    let comes = head.image_key.as_ref().map(|key| ImageKey::from_base64(key.reveal())).transpose();
    let image_key = match (here, comes.map_err(|error| error.to_string())?) {
        (Some(here), Some(comes)) if here.to_base64().reveal() != comes.to_base64().reveal() => {
            return Err(format!(
                "there is another image {image} here; import it as another one: --name NAME"
            ));
        }
        (Some(key), _) => key,
        (None, Some(key)) => {
            app.keys.keep_image_key(&image, &key).map_err(chain)?;
            key
        }
        (None, None) => {
            return Err(format!(
                "it was exported without its key, and this server has none for {image}; export it again without \
                 --without-key"
            ));
        }
    };
    Ok(Accept { image, image_key, manifest_key: signer })
}

/// Tells how far it is.
struct Counting<'a> {
    file: BufReader<File>,
    bytes: u64,
    of: Option<u64>,
    listener: &'a Listener,
}

impl Read for Counting<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(buffer)?;
        let before = self.bytes >> 24;
        self.bytes += read as u64;
        if self.bytes >> 24 != before {
            // A listener that is slow or gone misses some of these lines.
            drop(self.listener.try_send(ImageWorkLine::Progress { bytes: self.bytes, of: self.of }));
        }
        Ok(read)
    }
}
