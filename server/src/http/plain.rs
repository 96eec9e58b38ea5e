//! What plain HTTP serves: boot files and packs, to be read by anybody on the provisioning network. Packs are encrypted, tickets
//! are given to the node's address only.

use std::fs::File;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode};
use sysclone_image::PackId;

use super::content::Content;
use super::respond::{Facts, answer_bytes, answer_file, refuse};
use crate::app::App;
use crate::boot::{Asker, BootNames, Found};
use crate::metrics::Answered;

/// Answers a request for `/boot/…` or `/packs/…`.
pub(super) async fn answer(app: &Arc<App>, request: &Parts, peer: IpAddr) -> Response<Content> {
    let (method, path) = (&request.method, request.uri.path());
    let range = request.headers.get("range").and_then(|range| range.to_str().ok());
    let answer = if method == Method::GET || method == Method::HEAD {
        find(app, request, peer).await
    } else {
        refuse(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD are possible here")
    };
    let status = answer.status().as_u16();
    if answer.status().is_success() || answer.status().is_redirection() {
        app.counters.http(if path.starts_with("/packs/") { Answered::Pack } else { Answered::Boot });
        tracing::debug!(%peer, %method, path, range, status, "served");
    } else {
        app.counters.http(Answered::Refused);
        tracing::info!(%peer, %method, path, range, status, "refused");
    }
    answer
}

async fn find(app: &Arc<App>, request: &Parts, peer: IpAddr) -> Response<Content> {
    let path = request.uri.path();
    if let Some(name) = path.strip_prefix("/boot/") {
        boot_file(app, request, name, peer).await
    } else if let Some(hash) = path.strip_prefix("/packs/") {
        pack(app, request, hash).await
    } else {
        refuse(StatusCode::NOT_FOUND, "there is nothing under this name")
    }
}

async fn boot_file(app: &Arc<App>, request: &Parts, name: &str, peer: IpAddr) -> Response<Content> {
    let names = BootNames(Arc::clone(app));
    // Who only asks how long a file is has not booted yet.
    let boots = request.method == Method::GET;
    let (method, headers) = (&request.method, &request.headers);
    match names.find(name, Asker { peer, boots }).await {
        Ok(Some(Found::File(file))) => {
            let length = file.bytes.len() as u64;
            let media_type = "application/octet-stream";
            let facts = Facts { length, etag: Some(&file.hash), media_type, immutable: false };
            answer_bytes(method, headers, &facts, &file.bytes)
        }
        Ok(Some(Found::Config(text))) => {
            let length = text.len() as u64;
            let facts = Facts { length, etag: None, media_type: "text/plain", immutable: false };
            answer_bytes(method, headers, &facts, &text)
        }
        Ok(None) => refuse(StatusCode::NOT_FOUND, "there is no boot file of this name"),
        Err(error) => {
            tracing::error!(name, %peer, %error, "a boot file could not be found");
            refuse(StatusCode::SERVICE_UNAVAILABLE, "the server cannot answer now")
        }
    }
}

async fn pack(app: &Arc<App>, request: &Parts, hash: &str) -> Response<Content> {
    let Ok(id) = hash.parse::<PackId>() else {
        return refuse(StatusCode::NOT_FOUND, "packs are named by 64 lower-case hexadecimal digits");
    };
    let opened = match app.store.open_cached_pack(&id) {
        Some(file) => with_length(file).map(Some),
        None => {
            let opening = Arc::clone(app);
            let opened = tokio::task::spawn_blocking(move || open(&opening, &id)).await;
            opened.map_err(io::Error::other).flatten()
        }
    };
    match opened {
        Ok(Some((file, length))) => {
            let media_type = "application/octet-stream";
            let facts = Facts { length, etag: Some(hash), media_type, immutable: true };
            answer_file(&request.method, &request.headers, &facts, file)
        }
        Ok(None) => refuse(StatusCode::NOT_FOUND, "there is no such pack on this server"),
        Err(error) => {
            tracing::error!(pack = hash, %error, "a pack cannot be read");
            refuse(StatusCode::INTERNAL_SERVER_ERROR, "the pack cannot be read on the server")
        }
    }
}

/// The pack and its length; none when it is not in the store.
fn open(app: &App, id: &PackId) -> io::Result<Option<(File, u64)>> {
    let Some(path) = app.store.pack_path(id) else { return Ok(None) };
    with_length(File::open(path)?).map(Some)
}

fn with_length(file: File) -> io::Result<(File, u64)> {
    let length = file.metadata()?.len();
    Ok((file, length))
}
