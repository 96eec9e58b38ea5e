//! Long work in the daemon, followed to its end.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::cli::args::Common;
use crate::cli::client::Client;
use crate::cli::console::{Console, Exit};
use crate::cli::interrupt::unless_interrupted;
use crate::cli::meter::bytes;
use crate::wire::{ImageWork, ImageWorkLine};

/// What runs shorter than this shows no progress.
const QUIET: Duration = Duration::from_secs(2);

/// Has the work done and shows what comes of it. Exit status 1 when something is not as it should be.
pub(super) async fn run(common: &Common, work: &ImageWork, console: &mut Console) -> anyhow::Result<Exit> {
    let client = Client::new(&common.socket);
    match unless_interrupted(follow(&client, work, (common.json, console))).await? {
        Some(exit) => exit,
        None => {
            console.note("\nNo longer watched. What was begun goes on in the daemon to its end.\n")?;
            Ok(Exit::Interrupted)
        }
    }
}

async fn follow(
    client: &Client,
    work: &ImageWork,
    (json, console): (bool, &mut Console),
) -> anyhow::Result<Exit> {
    let started = Instant::now();
    let mut lines = client.post_lines::<ImageWorkLine>("/api/v1/images/work", work).await?;
    let mut status_line = false;
    while let Some(line) = lines.next().await.context("contact with the daemon was lost")? {
        if json {
            console.data(&format!("{}\n", serde_json::to_string(&line)?))?;
        } else if let ImageWorkLine::Progress { bytes: done, of } = &line {
            if console.err_is_terminal && started.elapsed() >= QUIET {
                status_line = true;
                let of = of.map_or_else(String::new, |of| format!(" of {}", bytes(of)));
                console.note(&format!("\r{}{of}\x1b[K", bytes(*done)))?;
            }
        } else if std::mem::take(&mut status_line) {
            console.note("\r\x1b[K")?;
        }
        match line {
            ImageWorkLine::Progress { .. } => {}
            ImageWorkLine::Finding { text } if !json => console.line(&text)?,
            ImageWorkLine::Finding { .. } => {}
            ImageWorkLine::Finished { text, good } => {
                if !json {
                    console.line(&text)?;
                }
                return Ok(Exit::failed_if(!good));
            }
            ImageWorkLine::Failed { reason } => {
                if !json {
                    console.error(&reason)?;
                }
                return Ok(Exit::Failed);
            }
        }
    }
    bail!("the daemon ended before the work did; see its log (journalctl -u syscloned), then ask again")
}
