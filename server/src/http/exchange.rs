//! Plain HTTP connections: requests in, boot files and packs out, one after the other. The other listeners speak HTTP
//! through hyper; this one does not, because the kernel sends packs straight from the page cache.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{Method, StatusCode, Version};
use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connections::{HEAD_TIME, accept_tcp};
use super::content::{Content, send_answer};
use super::heading::{Heading, parse_heading, render_heading};
use super::plain::answer;
use super::respond::refuse;
use crate::app::App;

/// The longest head of a request.
const MAX_HEAD: usize = 16 << 10;
/// Room for the heads that are usual.
const HEAD_SIZE: usize = 2 << 10;
/// How long, and how much, is still read from a client whose request was refused, so that it sees the answer before
/// the connection's end.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: u64 = 1 << 20;

/// Serves boot files and packs over plain HTTP until cancelled.
pub async fn serve_plain(
    listener: TcpListener,
    app: Arc<App>,
    cancel: CancellationToken,
    tasks: TaskTracker,
) {
    while let Some((stream, peer)) = accept_tcp(&listener, &cancel).await {
        let (app, cancel) = (Arc::clone(&app), cancel.clone());
        tasks.spawn(async move {
            if let Err(error) = serve(stream, (&app, peer), &cancel).await {
                tracing::debug!(%peer, %error, "a connection ended early");
            }
        });
    }
}

async fn serve(
    mut stream: TcpStream,
    (app, peer): (&Arc<App>, SocketAddr),
    cancel: &CancellationToken,
) -> io::Result<()> {
    let mut received = BytesMut::new();
    loop {
        let head = tokio::time::timeout(HEAD_TIME, receive(&mut stream, &mut received));
        let head = tokio::select! {
            head = head => head,
            () = cancel.cancelled() => return Ok(()),
        };
        let Some(head) = head?? else { return Ok(()) };
        let Heading { request, keep, .. } = match head {
            Ok(heading) => heading,
            Err(status) => return turn_away(&mut stream, status).await,
        };
        let keep = keep && !cancel.is_cancelled();
        let (parts, content) = answer(app, &request, peer.ip()).await.into_parts();
        let content = if request.method == Method::HEAD { Content::Empty } else { content };
        let head = render_heading(&parts, request.version, keep);
        // Only packs are sent from files.
        let pack_bytes = if let Content::File(_, range) = &content { range.end - range.start } else { 0 };
        send_answer(&stream, &head, content).await?;
        app.counters.pack_sent(pack_bytes);
        if !keep {
            return linger(&mut stream).await;
        }
    }
}

/// The next request; none when the client has closed the connection.
async fn receive(
    stream: &mut TcpStream,
    received: &mut BytesMut,
) -> io::Result<Option<Result<Heading, StatusCode>>> {
    loop {
        match parse_heading(received) {
            Ok(Some(heading)) => {
                received.advance(heading.length);
                return Ok(Some(Ok(heading)));
            }
            Ok(None) if received.len() < MAX_HEAD => {}
            Ok(None) => return Ok(Some(Err(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE))),
            Err(status) => return Ok(Some(Err(status))),
        }
        received.reserve(HEAD_SIZE);
        if stream.read_buf(received).await? == 0 {
            return Ok(None);
        }
    }
}

async fn turn_away(stream: &mut TcpStream, status: StatusCode) -> io::Result<()> {
    let (parts, content) = refuse(status, "this is no request that can be answered").into_parts();
    send_answer(stream, &render_heading(&parts, Version::HTTP_11, false), content).await?;
    linger(stream).await
}

/// RFC 9112, section 9.6: closing at once would reset the connection and take the answer away.
async fn linger(stream: &mut TcpStream) -> io::Result<()> {
    rustix::net::shutdown(&*stream, rustix::net::Shutdown::Write)?;
    let mut rest = stream.take(LINGER_BYTES);
    let read = async { tokio::io::copy(&mut rest, &mut tokio::io::sink()).await };
    // Whether the client ends the connection or time does makes no difference.
    drop(tokio::time::timeout(LINGER, read).await);
    Ok(())
}
