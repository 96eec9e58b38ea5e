//! Passwords in what is listed: masked, unless asked for, and that is put on record.

use std::sync::Arc;

use super::error::ApiError;
use super::user::Actor;
use crate::app::App;
use crate::db::NewEvent;
use crate::trust::{MASK, is_secret};
use crate::wire::{ObjectType, Objects};

/// Masks the passwords among attributes, or opens them.
pub(super) async fn show_or_mask(
    app: &Arc<App>,
    (kind, objects): (ObjectType, &mut Objects),
    show: bool,
    actor: &Actor,
) -> Result<(), ApiError> {
    let mut shown = Vec::new();
    for (name, attributes) in objects {
        for (attr, value) in attributes.iter_mut().filter(|(attr, _)| is_secret(attr)) {
            *value = match show {
                false => MASK.to_owned(),
                true => match app.keys.attributes.open(attr, value) {
                    Ok(open) => open.reveal().to_owned(),
                    Err(error) => return Err(ApiError::invalid(format!("{name}: {error}"))),
                },
            };
            shown.push(name.clone());
        }
    }
    if show && !shown.is_empty() {
        shown.dedup();
        let text = format!("passwords of {} {} were shown", kind.word(), shown.join(","));
        app.db.record(NewEvent { node: None, actor: &actor.0, kind: "secrets-shown", text }).await?;
    }
    Ok(())
}
