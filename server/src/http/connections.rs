//! Listening sockets and the connections on them: accepted, served, and ended in good order when the server stops.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// A client that has not sent a whole request head by then is gone; also how long an idle connection is kept.
pub(super) const HEAD_TIME: Duration = Duration::from_secs(120);
/// A TLS handshake takes a few round trips; slow machines take their time with the arithmetic.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// When there are no more file descriptors, accepting again at once would only burn the processor.
const EXHAUSTED: Duration = Duration::from_millis(100);

/// The account of a process on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalUser {
    /// Its number.
    pub uid: u32,
}

/// Who is at the other end; a request extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A machine.
    Network(SocketAddr),
    /// A process here.
    Local(LocalUser),
}

/// What all connections of the server share.
#[derive(Clone)]
struct Shared {
    router: Router,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

/// Serves HTTP over TLS until cancelled.
pub async fn serve_tls(
    (listener, acceptor): (TcpListener, TlsAcceptor),
    router: Router,
    cancel: CancellationToken,
    tasks: TaskTracker,
) {
    let shared = Shared { router, cancel, tasks };
    while let Some((stream, peer)) = accept_tcp(&listener, &shared.cancel).await {
        let (shared_, acceptor) = (shared.clone(), acceptor.clone());
        shared.tasks.spawn(async move {
            let handshake = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream));
            let outcome = tokio::select! {
                outcome = handshake => outcome,
                () = shared_.cancel.cancelled() => return,
            };
            match outcome {
                Ok(Ok(stream)) => serve(stream, Peer::Network(peer), &shared_).await,
                Ok(Err(error)) => tracing::info!(%peer, %error, "TLS handshake failed"),
                Err(_) => tracing::info!(%peer, "TLS handshake took too long"),
            }
        });
    }
}

/// Serves plain HTTP until cancelled.
pub async fn serve_tcp(listener: TcpListener, router: Router, cancel: CancellationToken, tasks: TaskTracker) {
    let shared = Shared { router, cancel, tasks };
    while let Some((stream, peer)) = accept_tcp(&listener, &shared.cancel).await {
        let shared_ = shared.clone();
        shared.tasks.spawn(async move { serve(stream, Peer::Network(peer), &shared_).await });
    }
}

/// Serves HTTP on a unix socket until cancelled.
pub async fn serve_unix(
    listener: UnixListener,
    router: Router,
    cancel: CancellationToken,
    tasks: TaskTracker,
) {
    let shared = Shared { router, cancel, tasks };
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = shared.cancel.cancelled() => return,
        };
        match accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream))) {
            Ok((uid, stream)) => {
                let shared_ = shared.clone();
                shared.tasks.spawn(async move {
                    serve(stream, Peer::Local(LocalUser { uid }), &shared_).await;
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

pub(super) async fn accept_tcp(
    listener: &TcpListener,
    cancel: &CancellationToken,
) -> Option<(tokio::net::TcpStream, SocketAddr)> {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = cancel.cancelled() => return None,
        };
        match accepted {
            Ok((stream, peer)) => {
                // Answers are written whole; waiting for more (Nagle) only delays their last packet.
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%peer, %error, "TCP_NODELAY was refused, the connection is only slower");
                }
                return Some((stream, peer));
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

async fn pause_after(error: &std::io::Error) {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
    if !matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
        tracing::error!(%error, "cannot accept connections");
        tokio::time::sleep(EXHAUSTED).await;
    }
}

async fn serve<S>(stream: S, peer: Peer, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(|request: Request<Incoming>| {
        let mut request = request.map(axum::body::Body::new);
        request.extensions_mut().insert(peer.clone());
        let router = shared.router.clone();
        async move { Ok::<_, Infallible>(router.oneshot(request).await.unwrap_or_else(|never| match never {})) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = shared.cancel.cancelled() => {
            // The answer that is under way is finished, then the connection is closed.
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(?peer, %error, "a connection ended early");
    }
}
