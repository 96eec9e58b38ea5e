//! imgcapture.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::args::Imgcapture;
use super::client::Client;
use super::console::{Console, Exit, Usage, plain};
use super::interrupt::unless_interrupted;
use super::meter::{Meter, Sample, bytes, grouped};
use super::targets;
use crate::wire::{CaptureProgress, CaptureRequest};

/// Said when a person stopped a capture.
const STOPPED: &str = "Stopped. No new image was made; what was sent already is used by the next capture.\n";

/// Captures a node, and shows how it goes. Closing the connection stops it, so an interrupted run leaves nothing
/// working behind it.
pub(super) async fn run(args: &Imgcapture, console: &mut Console) -> anyhow::Result<Exit> {
    let osimage = checked(args)?;
    let client = Client::new(&args.common.socket);
    let Some(node) = only_node(&client, &args.node, console).await? else { return Ok(Exit::Failed) };
    let terminal = console.err_is_terminal;
    let mut view = View {
        console,
        meter: Meter::new(terminal),
        json: args.common.json,
        verbose: args.common.verbose,
        started: Instant::now(),
        step: Duration::ZERO,
        status_line: false,
    };
    let request = CaptureRequest { node, osimage, strict: args.strict, live: args.live };
    match unless_interrupted(follow(&client, &request, &mut view)).await? {
        Some(ended) => ended,
        None => {
            view.clear()?;
            view.console.note(STOPPED)?;
            Ok(Exit::Interrupted)
        }
    }
}

/// The osimage's name, if the arguments ask for something that exists.
fn checked(args: &Imgcapture) -> Result<String, Usage> {
    if args.kind != "sysclone" {
        return Err(Usage(format!("'{}' is not a type that can be captured; use -t sysclone.", args.kind)));
    }
    let missing = || Usage("You must specify osimage name if you are using \"sysclone\".".to_owned());
    args.osimage.clone().ok_or_else(missing)
}

/// The node to capture. With several it would be chance which one becomes the image, so none is taken.
async fn only_node(client: &Client, range: &str, console: &mut Console) -> anyhow::Result<Option<String>> {
    let (mut nodes, missed) = targets::known(client, range, console).await?;
    if nodes.len() > 1 {
        let text = format!("imgcapture captures one node, and '{range}' is {} of them.", nodes.len());
        return Err(Usage(text).into());
    }
    Ok(nodes.pop().filter(|_| !missed))
}

/// What is on the screen.
struct View<'a> {
    console: &'a mut Console,
    meter: Meter,
    json: bool,
    verbose: bool,
    started: Instant,
    /// When the current step began, from the start.
    step: Duration,
    /// Whether the terminal's last line is progress.
    status_line: bool,
}

async fn follow(client: &Client, request: &CaptureRequest, view: &mut View<'_>) -> anyhow::Result<Exit> {
    let mut lines = client.post_lines::<CaptureProgress>("/api/v1/capture", request).await?;
    while let Some(line) = lines.next().await.context("the capture lost contact with the daemon")? {
        if view.json {
            view.console.data(&format!("{}\n", serde_json::to_string(&line)?))?;
        } else {
            view.show(&line)?;
        }
        match line {
            CaptureProgress::Finished(_) => return Ok(Exit::Done),
            CaptureProgress::Failed { .. } => return Ok(Exit::Failed),
            CaptureProgress::Step { .. }
            | CaptureProgress::Progress { .. }
            | CaptureProgress::Warning { .. } => {}
        }
    }
    view.clear()?;
    bail!(
        "the daemon ended before the capture did; see its log (journalctl -u syscloned), then capture again"
    )
}

impl View<'_> {
    fn show(&mut self, line: &CaptureProgress) -> anyhow::Result<()> {
        match line {
            CaptureProgress::Step { text } => {
                self.end_step()?;
                self.console.line(text)
            }
            CaptureProgress::Progress { files, bytes, total, sent } => {
                let sample = Sample { files: *files, bytes: *bytes, total: *total, sent: *sent };
                match self.meter.take(self.started.elapsed(), sample) {
                    Some(text) => self.status(&text),
                    None => Ok(()),
                }
            }
            CaptureProgress::Warning { text } => {
                self.clear()?;
                self.console.note(&format!("Warning: {}\n", plain(text)))
            }
            CaptureProgress::Finished(reply) => {
                self.end_step()?;
                let entries = grouped(reply.entries);
                let (size, new) = (bytes(reply.bytes), bytes(reply.new_bytes));
                self.console.line(&format!("{}: {entries} files, {size}, {new} new", reply.image))
            }
            CaptureProgress::Failed { reason } => {
                self.clear()?;
                self.console.error(reason)
            }
        }
    }

    fn status(&mut self, text: &str) -> anyhow::Result<()> {
        if self.console.err_is_terminal {
            self.status_line = true;
            self.console.note(&format!("\r{text}\x1b[K"))
        } else {
            self.console.note(&format!("{text}\n"))
        }
    }

    fn clear(&mut self) -> anyhow::Result<()> {
        if std::mem::take(&mut self.status_line) { self.console.note("\r\x1b[K") } else { Ok(()) }
    }

    /// Ends what the screen says of the step before.
    fn end_step(&mut self) -> anyhow::Result<()> {
        self.clear()?;
        let now = self.started.elapsed();
        let took = now.saturating_sub(self.step);
        let first = std::mem::replace(&mut self.step, now) == Duration::ZERO;
        if self.verbose && !first {
            self.console.note(&format!("  took {:.1} s\n", took.as_secs_f64()))?;
        }
        Ok(())
    }
}
