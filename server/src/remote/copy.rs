//! `xdcp`: files to many nodes, or from them.

use std::process::Stdio;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::mpsc;

use super::ssh::{NOT_CONNECTED, Remote, SshError, tail};
use crate::app::App;
use crate::wire::power::NodeAnswer;
use crate::wire::remote::CopyRequest;

/// Copies to or from every node, a limited number at a time; an answer for each.
pub(crate) async fn copy(app: &App, request: &CopyRequest, answers: mpsc::Sender<NodeAnswer>) {
    let work = stream::iter(&request.nodes).for_each_concurrent(request.fanout(), |node| {
        let answers = answers.clone();
        async move {
            let result = on_node(app, node, request).await.map(|()| "copied".to_owned());
            // Nobody listens any more: noticed below.
            drop(answers.send(NodeAnswer { name: node.clone(), step: None, result }).await);
        }
    });
    tokio::select! {
        () = work => {}
        // Dropping the work ends every scp.
        () = answers.closed() => {}
        () = app.cancel.cancelled() => {}
    }
}

async fn on_node(app: &App, node: &str, request: &CopyRequest) -> Result<(), String> {
    let mut remote = Remote::of(app, node)?;
    if let Some(user) = &request.user {
        remote.user.clone_from(user);
    }
    let mut files = request.files.clone();
    if files.pull {
        // Several nodes have files of one name: each gets a directory, as xdcp -P does by a suffix.
        files.target = files.target.join(node);
        let made = tokio::fs::create_dir_all(&files.target).await;
        made.map_err(|error| format!("creating {}: {error}", files.target.display()))?;
    }
    let text = |error: SshError| error.to_string();
    let mut scp = remote.scp(&files);
    let scp = scp.stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = scp.spawn().map_err(SshError::Start).map_err(text)?;
    let said = tail(child.stderr.take().expect("it is piped"));
    let ended = async { (said.await, child.wait().await) };
    let (said, status) = match request.seconds {
        None => ended.await,
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds.into()), ended)
            .await
            .map_err(|_| format!("it did not end within {seconds} s and was ended"))?,
    };
    match status.map_err(|error| format!("waiting for scp: {error}"))?.code() {
        Some(0) => Ok(()),
        Some(NOT_CONNECTED) => Err(text(remote.unreachable(said))),
        Some(_) | None => Err(said),
    }
}
