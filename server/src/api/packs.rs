//! What a capturing agent sends: packs and, last, the manifest that makes them an image.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::body::{Body, HttpBody as _};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use sysclone_image::{PackId, PutOutcome, StoreError};
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

/// `GET parent`: the newest generation's manifest, for reuse of its packs.
pub(super) async fn parent(State(app): State<Arc<App>>, bearer: Bearer) -> Result<Response, ApiError> {
    let capturing = bearer.capturing()?;
    let store = Arc::clone(&app.store);
    let bytes = blocking(move || match store.newest(&capturing.image)? {
        Some(generation) => store.manifest_bytes(&capturing.image, generation).map(Some),
        None => Ok(None),
    });
    match bytes.await? {
        Some(bytes) => Ok(octets(bytes)),
        None => Err(ApiError::new(StatusCode::NOT_FOUND, "the image has no generation yet")),
    }
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

/// `POST manifest`: the image exists when this is answered, and not before.
pub(super) async fn commit(
    State(app): State<Arc<App>>,
    bearer: Bearer,
    unsigned: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<Json<CaptureReply>, ApiError> {
    let capturing = bearer.capturing()?;
    let unsigned = unsigned.map_err(|error| ApiError::new(error.status(), error.body_text()))?;
    let owned = Arc::clone(&app);
    app.to_the_end(async move {
        let (store, image) = (Arc::clone(&owned.store), capturing.image.clone());
        let work = Arc::clone(&owned);
        let reply = blocking(move || store.commit(&image, &unsigned, &work.keys.signing)).await?;
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
