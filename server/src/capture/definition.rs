//! The osimage definition of a captured image, with the attributes that xCAT gives it.

use std::sync::Arc;

use sysclone_image::{Header, OsIdentity, StoreError};
use sysclone_protocol::agent::CaptureReply;
use sysclone_protocol::names::ImageName;

use super::CaptureError;
use super::registry::{Capturing, Finished};
use crate::app::App;
use crate::db::{Attributes, DbError, NewEvent, Tx};
use crate::deploy::DeployError;
use crate::wire::ObjectType;

/// xCAT's word for an operating system: `debian12`, `rhels7.9`.
#[must_use]
pub fn osvers(os: &OsIdentity) -> String {
    format!("{}{}", os.id, os.version)
}

/// Makes a new generation known: osimage definition and event. Called once its manifest is in the store; a second
/// time (the agent did not hear the answer) changes nothing.
///
/// # Errors
/// The manifest just written cannot be read, or the database failed; the agent then hands it in again.
pub async fn finish_capture(
    app: &Arc<App>,
    capturing: &Capturing,
    reply: &CaptureReply,
) -> Result<(), DeployError> {
    let owned = Arc::clone(app);
    let image = reply.image.clone();
    let key = app.keys.signing.verifying_key();
    let read = tokio::task::spawn_blocking(move || owned.store.header(&image, &key)).await;
    let header = match read {
        Ok(header) => header.map_err(unreadable)?,
        Err(error) => return Err(DeployError::Refused(format!("internal error: {error}"))),
    };
    let mut tx = app.db.write().await?;
    let created = put_definition(app, &mut tx, (&capturing.image, &header)).await?;
    if capturing.finished.get().is_none() {
        let text = finished_text(capturing, reply, &header);
        let node = Some(capturing.node.as_str());
        tx.event(NewEvent { node, actor: &capturing.actor, kind: "capture-finished", text }).await?;
    }
    tx.commit().await?;
    // Set already when the manifest was handed in twice.
    let _ = capturing.finished.set(Finished { reply: reply.clone(), created });
    Ok(())
}

/// Makes or renews the osimage definition of an image whose newest generation has this header.
///
/// # Errors
/// The database failed.
pub async fn define_image(app: &App, image: &ImageName, header: &Header) -> Result<(), DbError> {
    let mut tx = app.db.write().await?;
    put_definition(app, &mut tx, (image, header)).await?;
    tx.commit().await
}

/// Answers whether it is new.
async fn put_definition(
    app: &App,
    tx: &mut Tx<'_>,
    (image, header): (&ImageName, &Header),
) -> Result<bool, DbError> {
    let name = image.as_str();
    let directory = app.config.store_dir().join("manifests").join(name);
    let present = tx.objects(ObjectType::Osimage, Some(&[name.to_owned()])).await?.remove(name);
    let created = present.is_none();
    let attributes = attributes(present.unwrap_or_default(), header, &directory.display().to_string());
    tx.put_object(ObjectType::Osimage, name, &attributes).await?;
    Ok(created)
}

fn unreadable(error: StoreError) -> DeployError {
    DeployError::Refused(format!("{:#}", anyhow::Error::new(error)))
}

fn finished_text(capturing: &Capturing, reply: &CaptureReply, header: &Header) -> String {
    let inconsistent = match header.inconsistent.len() {
        0 => String::new(),
        some => format!("; {some} files changed while they were read"),
    };
    format!(
        "captured {} from {}: {} entries, {} bytes in files, {} bytes of new packs{inconsistent}",
        reply.image, capturing.node, reply.entries, reply.bytes, reply.new_bytes
    )
}

/// What was there stays, except what the image itself says.
fn attributes(mut present: Attributes, header: &Header, directory: &str) -> Attributes {
    let osvers = osvers(&header.os);
    present.entry("profile".to_owned()).or_insert_with(|| "compute".to_owned());
    for (attr, value) in [
        ("imagetype", "linux"),
        ("osarch", header.arch.as_str()),
        ("osdistroname", &format!("{osvers}-{}", header.arch)),
        ("osname", "Linux"),
        ("osvers", &osvers),
        ("provmethod", "sysclone"),
        ("rootimgdir", directory),
    ] {
        present.insert(attr.to_owned(), value.to_owned());
    }
    present
}

/// Refuses to make an image of a name that is another kind of image.
pub(super) async fn check_definition(app: &App, name: &str) -> Result<(), CaptureError> {
    let mut objects = app.db.objects(ObjectType::Osimage, Some(&[name.to_owned()])).await?;
    let provmethod = objects.remove(name).and_then(|mut attributes| attributes.remove("provmethod"));
    match provmethod.as_deref() {
        None | Some("sysclone") => Ok(()),
        Some(other) => Err(CaptureError::Said(format!(
            "the osimage {name} is defined with provmethod '{other}': capture into another name, or set \
             provmethod=sysclone"
        ))),
    }
}
