//! What the agent on the golden client is given.

use sysclone_protocol::agent::CaptureOrder;
use sysclone_protocol::names::{ImageName, ImageRef, Secret};

use super::CaptureError;
use crate::app::App;
use crate::remote::RemoteCommand;
use crate::wire::{CaptureRequest, ObjectType};

/// Runs the capture.
pub(super) const CAPTURE: RemoteCommand =
    RemoteCommand { what: "the capture", text: "/var/lib/sysclone/sysclone-agent capture" };

/// The order for a capture of `image`.
pub(super) async fn make_order(
    app: &App,
    (image, request): (&ImageName, &CaptureRequest),
    token: Secret,
) -> Result<CaptureOrder, CaptureError> {
    let name = image.as_str();
    let mut objects = app.db.objects(ObjectType::Osimage, Some(&[name.to_owned()])).await?;
    let excludes = objects.remove(name).and_then(|mut attributes| attributes.remove("excludes"));
    let excludes = excludes.unwrap_or_default();
    let generation = app.store.newest(image)?.unwrap_or(0) + 1;
    Ok(CaptureOrder {
        server: app.config.listen.agent_url(),
        ca_pem: app.keys.tls.ca_pem().to_owned(),
        token,
        image: ImageRef { name: image.clone(), generation },
        image_key: app.keys.make_image_key(image)?.to_base64(),
        manifest_key: app.keys.signing.verifying_key().to_base64(),
        pack_source: app.config.listen.pack_url(),
        strict: request.strict,
        live: request.live,
        excludes: excludes.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect(),
    })
}
