//! Plain HTTP: boot files and packs, to be read by anybody on the provisioning network. Packs are encrypted, tickets
//! are given to the node's address only.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use sysclone_image::PackId;

use super::connections::Peer;
use super::respond::{Facts, refuse, send_bytes, send_file};
use crate::app::App;
use crate::boot::{Asker, BootNames, Found};

/// The service for `/boot/…` and `/packs/…`.
pub fn plain_router(app: Arc<App>) -> Router {
    Router::new().fallback(answer).with_state(app)
}

async fn answer(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let (request, _no_body) = request.into_parts();
    let peer = match request.extensions.get::<Peer>() {
        Some(Peer::Network(address)) => address.ip(),
        Some(Peer::Local(_)) | None => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let (method, path) = (request.method.clone(), request.uri.path().to_owned());
    let range = request.headers.get("range").and_then(|range| range.to_str().ok()).map(str::to_owned);
    let answer = if method == Method::GET || method == Method::HEAD {
        find(&app, &request, peer).await
    } else {
        refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are possible here")
    };
    let status = answer.status().as_u16();
    if answer.status().is_success() || answer.status().is_redirection() {
        tracing::debug!(%peer, %method, path, range, status, "served");
    } else {
        tracing::info!(%peer, %method, path, range, status, "refused");
    }
    answer
}

async fn find(app: &Arc<App>, request: &Parts, peer: IpAddr) -> Response<Body> {
    let path = request.uri.path();
    if let Some(name) = path.strip_prefix("/boot/") {
        boot_file(app, request, name, peer).await
    } else if let Some(hash) = path.strip_prefix("/packs/") {
        pack(app, request, hash).await
    } else {
        refuse(StatusCode::NOT_FOUND, "there is nothing under this name")
    }
}

async fn boot_file(app: &Arc<App>, request: &Parts, name: &str, peer: IpAddr) -> Response<Body> {
    let names = BootNames(Arc::clone(app));
    // Who only asks how long a file is has not booted yet.
    let boots = request.method == Method::GET;
    let (method, headers) = (&request.method, &request.headers);
    match names.find(name, Asker { peer, boots }).await {
        Ok(Some(Found::File(file))) => {
            let length = file.bytes.len() as u64;
            let media_type = "application/octet-stream";
            let facts = Facts { length, etag: Some(&file.hash), media_type, immutable: false };
            send_bytes(method, headers, &facts, &file.bytes)
        }
        Ok(Some(Found::Config(text))) => {
            let length = text.len() as u64;
            let facts = Facts { length, etag: None, media_type: "text/plain", immutable: false };
            send_bytes(method, headers, &facts, &text)
        }
        Ok(None) => refuse(StatusCode::NOT_FOUND, "there is no boot file of this name"),
        Err(error) => {
            tracing::error!(name, %peer, %error, "a boot file could not be found");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the server cannot answer now")
        }
    }
}

async fn pack(app: &App, request: &Parts, hash: &str) -> Response<Body> {
    let Ok(id) = hash.parse::<PackId>() else {
        return refuse(StatusCode::NOT_FOUND, "packs are named by 64 lower-case hexadecimal digits");
    };
    let Some(path) = app.store.pack_path(&id) else {
        return refuse(StatusCode::NOT_FOUND, "there is no such pack on this server");
    };
    match send_file(&request.method, &request.headers, hash, &path).await {
        Ok(answer) => answer,
        Err(error) => {
            tracing::error!(pack = hash, %error, "a pack cannot be read");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the pack cannot be read on the server")
        }
    }
}
