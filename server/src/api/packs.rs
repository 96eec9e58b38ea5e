//! What a capturing agent sends: packs and, last, the manifest that makes them an image.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Request, State};
use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use sysclone_image::sign::{SigningKey, open_digest};
use sysclone_image::{PackId, PutOutcome, Store, StoreError};
use sysclone_protocol::agent::{CaptureReply, StagedPacks};
use sysclone_protocol::names::ImageName;
use tokio::sync::mpsc;

use super::agent::octets;
use super::agent_auth::Bearer;
use super::error::ApiError;
use crate::app::App;
use crate::capture::finish_capture;

/// Largest pack: packs are cut at about 64 MiB, and a pack is never split for its last frame.
const MAX_PACK: u64 = 256 << 20;
/// Pieces of a body that wait for the disk.
const WAITING_PIECES: usize = 16;

/// Runs work that blocks on files beside the asynchronous work.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, ApiError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) => {
            Err(ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("internal error: {error}")))
        }
    }
}

/// `GET parent`: the newest generation's manifest, for reuse of its packs; 304 when the agent has it.
pub(super) async fn parent(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let capturing = bearer.capturing()?;
    let known = headers.get(IF_NONE_MATCH).map(|tag| tag.as_bytes().to_vec());
    let work = move || parent_unless(&app, &capturing.image, known.as_deref());
    blocking(work).await
}

fn parent_unless(app: &App, image: &ImageName, known: Option<&[u8]>) -> Result<Response, StoreError> {
    let Some(generation) = app.store.newest(image)? else {
        return Ok(ApiError::new(StatusCode::NOT_FOUND, "the image has no generation yet").into_response());
    };
    let sealed = app.store.manifest_bytes(image, generation)?;
    if let Some(known) = known {
        let newest = open_digest(&sealed, &app.keys.signing.verifying_key());
        if newest.is_ok_and(|newest| format!("\"{newest}\"").as_bytes() == known) {
            return Ok(StatusCode::NOT_MODIFIED.into_response());
        }
    }
    Ok(octets(sealed))
}

/// `GET staged`: what an interrupted capture has sent already.
pub(super) async fn staged(
    State(app): State<Arc<App>>,
    bearer: Bearer,
) -> Result<Json<StagedPacks>, ApiError> {
    let capturing = bearer.capturing()?;
    let store = Arc::clone(&app.store);
    let key = app.keys.signing.verifying_key();
    let image = capturing.image.clone();
    let work = move || Ok((store.staged(&image)?, store.lost_of_newest(&image, &key)?));
    let (packs, lost) = blocking(work).await?;
    capturing.lost.store(!lost.is_empty(), Ordering::Relaxed);
    let names = |packs: Vec<PackId>| packs.iter().map(PackId::to_string).collect();
    Ok(Json(StagedPacks { packs: names(packs), lost: names(lost) }))
}

/// `PUT packs/{hash}`: streamed to a temporary file, hashed, synced, then named.
pub(super) async fn put_pack(
    State(app): State<Arc<App>>,
    Path(hash): Path<String>,
    bearer: Bearer,
    request: Request,
) -> Result<StatusCode, ApiError> {
    let capturing = bearer.capturing()?;
    let id: PackId = hash.parse().map_err(|error| ApiError::invalid(format!("{error}")))?;
    let body = request.into_body();
    let length = body.size_hint().exact();
    let length =
        length.ok_or_else(|| ApiError::new(StatusCode::LENGTH_REQUIRED, "a pack needs a Content-Length"))?;
    if length > MAX_PACK {
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "a pack is at most 256 MiB"));
    }
    let (pieces, received) = mpsc::channel(WAITING_PIECES);
    let store = Arc::clone(&app.store);
    let image = capturing.image.clone();
    let storing =
        blocking(move || store.put_pack(&image, &id, &mut Pieces { received, piece: Bytes::new() }));
    // The rest of a refused body is read and thrown away, or the sender would see a broken connection, not the reason.
    let (outcome, ()) = tokio::join!(storing, forward(body, pieces));
    match outcome? {
        PutOutcome::Stored(_) => Ok(StatusCode::CREATED),
        PutOutcome::AlreadyThere => Ok(StatusCode::OK),
    }
}

async fn forward(body: Body, pieces: mpsc::Sender<io::Result<Bytes>>) {
    let mut body = body.into_data_stream();
    while let Some(piece) = body.next().await {
        // When nobody takes it any more, the outcome is decided already.
        let _ = pieces.send(piece.map_err(io::Error::other)).await;
    }
}

/// The pieces of a body as something to read from.
struct Pieces {
    received: mpsc::Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.received.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let length = self.piece.len().min(buffer.len());
        buffer[..length].copy_from_slice(&self.piece.split_to(length));
        Ok(length)
    }
}

/// A manifest, or what it differs in from the newest generation.
type Sent = Result<Bytes, BytesRejection>;
/// [`Store::commit`] or [`Store::commit_delta`].
type Commit = fn(&Store, &ImageName, &[u8], &SigningKey) -> Result<CaptureReply, StoreError>;

/// `POST manifest`: the image exists when this is answered, and not before.
pub(super) async fn commit(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    unsigned: Sent,
) -> Result<Json<CaptureReply>, ApiError> {
    make_generation(app, bearer, unsigned, Store::commit).await
}

/// `POST manifest/delta`: the same; 412 when the whole manifest is needed.
pub(super) async fn commit_delta(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    delta: Sent,
) -> Result<Json<CaptureReply>, ApiError> {
    make_generation(app, bearer, delta, Store::commit_delta).await
}

async fn make_generation(
    app: Arc<App>,
    bearer: Bearer,
    sent: Sent,
    commit: Commit,
) -> Result<Json<CaptureReply>, ApiError> {
    let capturing = bearer.capturing()?;
    let sent = sent.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    let owned = Arc::clone(&app);
    app.to_the_end(async move {
        let (store, image) = (Arc::clone(&owned.store), capturing.image.clone());
        let work = Arc::clone(&owned);
        let reply = blocking(move || commit(&store, &image, &sent, &work.keys.signing)).await?;
        finish_capture(&owned, &capturing, &reply).await?;
        if capturing.lost.load(Ordering::Relaxed) {
            let image = capturing.image.clone();
            let work = Arc::clone(&owned);
            blocking(move || {
                heal(&work, &image);
                Ok(())
            })
            .await?;
        }
        Ok(Json(reply))
    })
    .await
}

/// What a capture sent again because it was lost makes older generations whole too. When that fails they stay as they
/// were.
fn heal(app: &App, image: &ImageName) {
    let healed = match app.keys.make_image_key(image) {
        Ok(key) => app.store.heal(image, (&key, &app.keys.signing)).map_err(anyhow::Error::new),
        Err(error) => Err(error.into()),
    };
    match healed {
        Ok(report) => {
            let (healed, degraded) = (report.healed.len(), report.degraded.len());
            tracing::info!(
                image = image.as_str(),
                healed,
                degraded,
                "looked for what older generations lost"
            );
        }
        Err(error) => tracing::warn!(image = image.as_str(), "older generations are not healed: {error:#}"),
    }
}
