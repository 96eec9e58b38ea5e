//! What there is.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use sysclone_image::StoreError;
use sysclone_protocol::names::{ImageName, ImageRef, TagName};

use super::{ImageError, blocking, image_key, selector};
use crate::app::App;
use crate::wire::{ImageAccess, ImageLine};

/// Every generation of one image or of all, oldest first.
///
/// # Errors
/// The name is none, there is no such image, or the store cannot be read. What is wrong with one generation stands in
/// its line.
pub async fn list(app: &Arc<App>, name: Option<&str>) -> Result<Vec<ImageLine>, ImageError> {
    let wanted = name.map(str::parse::<ImageName>).transpose()?;
    let app = Arc::clone(app);
    blocking(move || {
        let images = match &wanted {
            Some(image) if app.store.newest(image)?.is_none() => {
                return Err(StoreError::NoGeneration(image.clone()).into());
            }
            Some(image) => vec![image.clone()],
            None => app.store.images()?,
        };
        let mut lines = Vec::new();
        for image in images {
            let generations = app.store.generations(&image)?;
            let tags: Vec<(TagName, u32)> = app.store.tags(&image)?.into_iter().collect();
            let newest = generations.iter().max().copied();
            for generation in generations {
                let of_this = tags.iter().filter(|(_, at)| *at == generation);
                let tags = of_this.map(|(tag, _)| tag.to_string()).collect();
                let image = ImageRef { name: image.clone(), generation };
                lines.push(ImageLine { newest: Some(generation) == newest, tags, ..line(&app, &image) });
            }
        }
        Ok(lines)
    })
    .await
}

/// What a generation's manifest says of it.
fn line(app: &App, image: &ImageRef) -> ImageLine {
    let mut line = ImageLine {
        image: image.to_string(),
        newest: false,
        captured_at: String::new(),
        source: String::new(),
        os: String::new(),
        arch: String::new(),
        entries: 0,
        bytes: 0,
        stored_bytes: 0,
        tags: Vec::new(),
        problem: None,
    };
    let manifest = match app.store.manifest(image, &app.keys.signing.verifying_key()) {
        Ok(manifest) => manifest,
        Err(error) => {
            line.problem = Some(format!("{:#}", anyhow::Error::new(error)));
            return line;
        }
    };
    let at = Timestamp::from_second(manifest.header.captured_at).unwrap_or_default();
    line.captured_at = at.to_string();
    line.source.clone_from(&manifest.header.source);
    line.os.clone_from(&manifest.header.os.name);
    line.arch.clone_from(&manifest.header.arch);
    line.entries = manifest.entries.len() as u64;
    line.bytes = manifest.file_bytes();
    line.stored_bytes = manifest.packs.iter().map(|pack| pack.bytes).sum();
    let missing = app.store.missing_packs(&manifest);
    line.problem = missing.first().map(|first| {
        let rest = missing.len() - 1;
        format!("pack {first} and {rest} others are not whole in the store: sysclone image fsck says what they hold")
    });
    line
}

/// Everything that is needed to read a generation.
///
/// # Errors
/// There is no such generation, or its key cannot be read.
pub async fn access(app: &Arc<App>, image: &str) -> Result<ImageAccess, ImageError> {
    let selector = selector(image)?;
    let app = Arc::clone(app);
    blocking(move || {
        let image = app.store.resolve(&selector)?;
        let sealed = app.store.manifest_bytes(&image.name, image.generation)?;
        let key = image_key(&app, &image.name)?;
        Ok(ImageAccess {
            image: image.to_string(),
            manifest: STANDARD.encode(sealed),
            manifest_key: app.keys.signing.verifying_key().to_base64(),
            image_key: key.to_base64(),
            store: app.config.store_dir().display().to_string(),
            boot_dir: app.config.boot_dir.display().to_string(),
        })
    })
    .await
}
