//! Tags, going back, removal. Each is an event, with who did it.

use std::sync::Arc;
use std::time::SystemTime;

use sysclone_protocol::names::{ImageName, Pick, TagName};

use super::{ImageError, blocking, selector};
use crate::app::App;
use crate::db::NewEvent;
use crate::wire::{ImageChange, ImageChanged};

/// Makes one change; answers it in a sentence.
///
/// # Errors
/// There is no such generation or tag, something holds it, or the disk refused; then nothing was changed.
pub async fn change(app: &Arc<App>, request: ImageChange, actor: &str) -> Result<ImageChanged, ImageError> {
    let kind = match &request {
        ImageChange::Tag { .. } | ImageChange::Untag { .. } => "image-tagged",
        ImageChange::Rollback { .. } => "image-rolled-back",
        ImageChange::Remove { .. } => "image-removed",
    };
    let owned = Arc::clone(app);
    let text = blocking(move || apply(&owned, &request)).await?;
    app.db.record(NewEvent { node: None, actor, kind, text: text.clone() }).await?;
    Ok(ImageChanged { text })
}

fn apply(app: &App, request: &ImageChange) -> Result<String, ImageError> {
    let store = &app.store;
    match request {
        ImageChange::Tag { image, tag } => {
            let (image, tag) = (store.resolve(&selector(image)?)?, tag.parse::<TagName>()?);
            Ok(match store.tag(&image, &tag)? {
                Some(before) if before == image.generation => format!("{image} has the tag {tag} already"),
                Some(before) => format!("the tag {tag} moved from {}@{before} to {image}", image.name),
                None => format!("{image} has the tag {tag}"),
            })
        }
        ImageChange::Untag { image, tag } => {
            let (image, tag) = (image.parse::<ImageName>()?, tag.parse::<TagName>()?);
            let before = store.untag(&image, &tag)?;
            Ok(format!("{image}@{before} has the tag {tag} no longer"))
        }
        ImageChange::Rollback { image } => {
            let image = store.resolve(&selector(image)?)?;
            let newest = store.rollback(&image, &app.keys.signing)?;
            Ok(format!("{newest} is the newest generation, with the content of {image}"))
        }
        ImageChange::Remove { image, all: false } => {
            let selector = selector(image)?;
            if selector.pick == Pick::Newest {
                let text =
                    format!("say which generation ({image}@3), or --all for every generation of {image}");
                return Err(ImageError::Invalid(text));
            }
            let image = store.resolve(&selector)?;
            store.remove(&image, SystemTime::now())?;
            Ok(format!("{image} is removed; its space is freed by sysclone image gc"))
        }
        ImageChange::Remove { image, all: true } => {
            let image: ImageName = image.parse()?;
            let gone = store.remove_image(&image, SystemTime::now())?.len();
            Ok(format!(
                "all {gone} generations of {image} are removed; their space is freed by sysclone image gc"
            ))
        }
    }
}
