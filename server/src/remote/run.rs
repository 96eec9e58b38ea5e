//! `xdsh`: what an administrator typed, on many nodes at a time.

use std::process::Stdio;
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::Child;
use tokio::sync::mpsc;

use super::ssh::{NOT_CONNECTED, Remote, SshError};
use crate::app::App;
use crate::wire::remote::{RunLine, RunRequest, Said, Stream};

/// Longest line that is passed on as one.
const MAX_LINE: usize = 64 << 10;
/// How much of the end of the error output tells why ssh failed.
const TAIL: usize = 1024;

/// Where the lines go. When nobody takes them any more, what runs is ended.
pub(crate) type Told = mpsc::Sender<RunLine>;

/// Runs the command on every node, a limited number at a time. Each node ends with one line that says how.
pub(crate) async fn run(app: &App, request: &RunRequest, lines: Told) {
    let work = stream::iter(&request.nodes).for_each_concurrent(request.fanout(), |node| {
        let lines = lines.clone();
        async move {
            let result = on_node(app, node, request, &lines).await;
            let said = Said::Ended { result: result.map_err(|error| error.to_string()) };
            // Nobody listens any more: noticed below.
            drop(lines.send(RunLine { node: node.clone(), said }).await);
        }
    });
    tokio::select! {
        () = work => {}
        // Dropping the work ends every ssh.
        () = lines.closed() => {}
        () = app.cancel.cancelled() => {}
    }
}

/// Why there is no exit status.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error("{0}")]
    Definition(String),
    #[error(transparent)]
    Ssh(#[from] SshError),
    #[error("it did not end within {0} s and was ended")]
    TooLong(u32),
    #[error("a signal ended ssh")]
    Signal,
    #[error("talking to ssh: {0}")]
    Pipe(#[from] std::io::Error),
}

async fn on_node(app: &App, node: &str, request: &RunRequest, lines: &Told) -> Result<i32, RunError> {
    let mut remote = Remote::of(app, node).map_err(RunError::Definition)?;
    if let Some(user) = &request.user {
        remote.user.clone_from(user);
    }
    let text = request.script.as_ref().map_or_else(|| request.command.clone(), |_| script(&request.command));
    let mut ssh = remote.ssh(&text);
    let input = if request.script.is_some() { Stdio::piped() } else { Stdio::null() };
    let ssh = ssh.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = ssh.spawn().map_err(SshError::Start)?;
    let talk = talk(&mut child, (node, request), lines);
    let tail = match request.seconds {
        None => talk.await?,
        Some(seconds) => tokio::time::timeout(Duration::from_secs(seconds.into()), talk)
            .await
            .map_err(|_| RunError::TooLong(seconds))??,
    };
    match child.wait().await?.code() {
        Some(NOT_CONNECTED) => Err(remote.unreachable(tail).into()),
        Some(status) => Ok(status),
        None => Err(RunError::Signal),
    }
}

/// A file of its own on the node, so that its first line names what runs it; gone when it has run.
fn script(arguments: &str) -> String {
    format!(
        "f=$(mktemp) && trap 'rm -f \"$f\"' EXIT && cat > \"$f\" && chmod 0700 \"$f\" && \"$f\" {arguments} < /dev/null"
    )
}

/// Passes everything on until both outputs have ended; answers the end of the error output.
async fn talk(
    child: &mut Child,
    (node, request): (&str, &RunRequest),
    lines: &Told,
) -> std::io::Result<String> {
    let (stdin, out, err) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut tail = String::new();
    let feed = async {
        if let (Some(mut stdin), Some(script)) = (stdin, &request.script) {
            // One that ends before it has read everything has its own exit status to tell.
            drop(stdin.write_all(script.as_bytes()).await);
            drop(stdin.shutdown().await);
        }
        Ok(())
    };
    let mut of_out = |text| line(node, Stream::Out, text);
    let mut of_err = |text: String| {
        tail.push_str(&text);
        tail.push(' ');
        let surplus = tail.len().saturating_sub(TAIL);
        tail.drain(..tail.ceil_char_boundary(surplus));
        line(node, Stream::Err, text)
    };
    let out = pass(out.expect("it is piped"), &mut of_out, lines);
    let err = pass(err.expect("it is piped"), &mut of_err, lines);
    tokio::try_join!(feed, out, err)?;
    Ok(tail.trim_end().to_owned())
}

fn line(node: &str, stream: Stream, text: String) -> RunLine {
    RunLine { node: node.to_owned(), said: Said::Line { stream, text } }
}

/// Sends what is read, line by line; one without end is cut.
async fn pass(
    mut from: impl AsyncRead + Unpin,
    make: &mut impl FnMut(String) -> RunLine,
    lines: &Told,
) -> std::io::Result<()> {
    let (mut rest, mut buffer) = (Vec::new(), vec![0; 16 << 10]);
    loop {
        let read = from.read(&mut buffer).await?;
        rest.extend_from_slice(&buffer[..read]);
        let mut from = 0;
        while let Some(end) = next_end(&rest[from..], read == 0) {
            let text = rest[from..from + end].strip_suffix(b"\n").unwrap_or(&rest[from..from + end]);
            // Nobody listens any more: whoever runs this ends.
            drop(lines.send(make(String::from_utf8_lossy(text).into_owned())).await);
            from += end;
        }
        rest.drain(..from);
        if read == 0 {
            return Ok(());
        }
    }
}

/// Where the first line of these bytes ends, behind its line end; none while more must be read.
fn next_end(bytes: &[u8], last: bool) -> Option<usize> {
    let end = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n').map(|at| at + 1);
    end.or_else(|| (bytes.len() >= MAX_LINE).then_some(MAX_LINE))
        .or_else(|| (last && !bytes.is_empty()).then_some(bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_passed_on_as_they_are_and_endless_ones_are_cut() {
        let (told, mut lines) = mpsc::channel(16);
        let mut input = b"one\n\nlast \xff".to_vec();
        input.splice(0..0, vec![b'x'; MAX_LINE + 3]);
        pass(&input[..], &mut |text| line("n1", Stream::Out, text), &told).await.unwrap();
        drop(told);
        let mut texts = Vec::new();
        while let Some(RunLine { said: Said::Line { text, .. }, .. }) = lines.recv().await {
            texts.push(text);
        }
        assert_eq!(texts[0].len(), MAX_LINE);
        assert_eq!(texts[1..], ["xxxone", "", "last \u{fffd}"]);
    }
}
