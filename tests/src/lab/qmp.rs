//! QEMU's machine protocol: one JSON document per line over a unix socket.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::wait;

/// QEMU answers at once or not at all.
const LIMIT: Duration = Duration::from_secs(30);

/// A conversation with one QEMU.
#[derive(Debug)]
pub(crate) struct Qmp {
    stream: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects as soon as QEMU listens at `path`.
    pub(crate) fn connect(path: &Path, mut alive: impl FnMut() -> Result<()>) -> Result<Self> {
        let stream = wait::until("QEMU's control socket", LIMIT, || {
            alive()?;
            Ok(UnixStream::connect(path).ok())
        })?;
        stream.set_read_timeout(Some(LIMIT)).context("preparing QEMU's control socket")?;
        let mut qmp = Self { stream: BufReader::new(stream) };
        qmp.read().context("QEMU's greeting")?;
        qmp.execute("qmp_capabilities")?;
        Ok(qmp)
    }

    /// Runs a command without arguments and returns its answer.
    pub(crate) fn execute(&mut self, command: &str) -> Result<Value> {
        let line = format!("{}\n", serde_json::json!({ "execute": command }));
        self.stream
            .get_mut()
            .write_all(line.as_bytes())
            .with_context(|| format!("telling QEMU to {command}"))?;
        loop {
            let mut answer = self.read().with_context(|| format!("QEMU's answer to {command}"))?;
            if let Some(error) = answer.get("error") {
                bail!("QEMU refuses {command}: {error}");
            }
            // Events arrive between answers and are not for us.
            if let Some(result) = answer.get_mut("return") {
                return Ok(result.take());
            }
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            bail!("QEMU closed its control socket");
        }
        Ok(serde_json::from_str(&line)?)
    }
}
