//! Discovery, as [`crate::wire::discover`] has its documents, and what machines that are being discovered call.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use sysclone_protocol::discover::{Reply, Report};

use super::error::ApiError;
use super::extract::Body;
use super::permit::{Act, permit};
use super::user::Actor;
use crate::app::App;
use crate::discover::{self, Heard};
use crate::policy::About;
use crate::wire::Outcome;
use crate::wire::discover::{Discovered, DiscoveredChange, DiscoveryStatus, DiscoverySwitch, Which};

/// `POST agent/v1/discover`: the one call of a machine that is nobody's.
pub(super) async fn report(
    State(app): State<Arc<App>>,
    report: Result<Json<Report>, JsonRejection>,
) -> Result<Json<Reply>, ApiError> {
    let report = super::agent::body(report)?;
    let owned = Arc::clone(&app);
    match app.to_the_end(async move { discover::hear(&owned, report).await }).await? {
        Heard::Reply(reply) => Ok(Json(reply)),
        Heard::Nobodys => Err(ApiError::new(
            StatusCode::FORBIDDEN,
            "this machine's address is lent to it no more: boot again to get another",
        )),
    }
}

/// `GET discovered`.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    actor: Actor,
) -> Result<Json<Vec<Discovered>>, ApiError> {
    permit(&app, &actor, Act::read(&["nodediscoverls"], About::Nothing)).await?;
    Ok(Json(app.db.discovered().await?))
}

/// `POST discovered`.
pub(super) async fn change(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<DiscoveredChange>,
) -> Result<Json<Vec<Outcome>>, ApiError> {
    let which = match &request.which {
        Which::Uuid(uuid) => format!("-u {uuid}"),
        Which::Mac(mac) => format!("--mac {mac}"),
        Which::Method(method) => format!("-t {method}"),
    };
    let (parameters, nodes) = match &request.node {
        Some(node) => (format!("{which} -n {node}"), vec![node.clone()]),
        None => (format!("-r {which}"), Vec::new()),
    };
    let about = if nodes.is_empty() { About::Nothing } else { About::Nodes(&nodes) };
    let permit = permit(&app, &actor, Act::write(&["nodediscoverdef"], parameters, about)).await?;
    let owned = Arc::clone(&app);
    app.to_the_end(async move {
        let outcomes = discover::change_discovered(&owned, &request, &actor.0).await?;
        let outcomes = outcomes.map_err(ApiError::invalid)?;
        permit.done(&owned, &outcomes).await;
        Ok(Json(outcomes))
    })
    .await
}

/// `GET discovery`.
pub(super) async fn status(
    State(app): State<Arc<App>>,
    actor: Actor,
) -> Result<Json<DiscoveryStatus>, ApiError> {
    permit(&app, &actor, Act::read(&["nodediscoverstatus"], About::Nothing)).await?;
    Ok(Json(discover::status(&app).await?))
}

/// `POST discovery`.
pub(super) async fn switch(
    State(app): State<Arc<App>>,
    actor: Actor,
    Body(request): Body<DiscoverySwitch>,
) -> Result<Json<DiscoveryStatus>, ApiError> {
    let verbs: &[&str] = if request.on { &["nodediscoverstart"] } else { &["nodediscoverstop"] };
    let about = if request.nodes.is_empty() { About::Nothing } else { About::Nodes(&request.nodes) };
    permit(&app, &actor, Act::write(verbs, request.nodes.join(","), about)).await?;
    let owned = Arc::clone(&app);
    app.to_the_end(async move {
        let switched = discover::switch(&owned, &request, &actor.0).await?;
        switched.map(Json).map_err(ApiError::invalid)
    })
    .await
}
