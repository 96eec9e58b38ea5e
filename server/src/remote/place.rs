//! The agent on a running machine: one static file, put there by ssh and checked by its hash.

use ring::digest::{SHA256, digest};

use super::ssh::{Remote, RemoteCommand, SshError};
use crate::app::App;

/// Where the agent goes: a directory that is never captured, on a file system that programs may run from.
const LOOK: RemoteCommand = RemoteCommand {
    what: "looking at the machine",
    text: "uname -m && { sha256sum /var/lib/sysclone/sysclone-agent 2>/dev/null || :; }",
};
const PUSH: RemoteCommand = RemoteCommand {
    what: "putting the agent there",
    text: "set -e; umask 077; mkdir -p /var/lib/sysclone; cat > /var/lib/sysclone/sysclone-agent.new; \
           chmod 0700 /var/lib/sysclone/sysclone-agent.new; \
           mv -f /var/lib/sysclone/sysclone-agent.new /var/lib/sysclone/sysclone-agent; \
           sha256sum /var/lib/sysclone/sysclone-agent",
};
/// Why the agent is not there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
    /// Not for this machine.
    #[error("{0}")]
    Said(String),
    /// ssh failed.
    #[error(transparent)]
    Ssh(#[from] SshError),
}

/// An agent that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Architecture of the machine.
    pub(crate) arch: &'static str,
    /// Whether it was put there just now.
    pub(crate) new: bool,
}

/// Puts the agent for the machine's architecture there, unless it is there; checked by its hash either way.
pub(crate) async fn place_agent(app: &App, remote: &Remote) -> Result<Placed, PlaceError> {
    let looked = remote.output(LOOK, b"").await?;
    let mut lines = looked.lines();
    let arch = arch(lines.next().unwrap_or_default()).map_err(|machine| {
        PlaceError::Said(format!("{} is a {machine} machine, which is not known here", remote.node))
    })?;
    let path = app.config.boot_dir.join(arch).join("sysclone-agent");
    let agent = tokio::fs::read(&path).await.map_err(|error| {
        PlaceError::Said(format!(
            "there is no agent for {arch} ({}: {error}): sysclone-image-builder --arch {arch}",
            path.display()
        ))
    })?;
    let wanted = hex(digest(&SHA256, &agent).as_ref());
    if lines.next().and_then(checksum) == Some(&wanted) {
        return Ok(Placed { arch, new: false });
    }
    let pushed = remote.output(PUSH, &agent).await?;
    if pushed.lines().last().and_then(checksum) == Some(&wanted) {
        Ok(Placed { arch, new: true })
    } else {
        let node = &remote.node;
        Err(PlaceError::Said(format!("the agent that arrived on {node} is not the one that was sent to it")))
    }
}

/// The first word of a line of sha256sum.
fn checksum(line: &str) -> Option<&str> {
    line.split_ascii_whitespace().next()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Our word for what `uname -m` says. A 32-bit userland has a 64-bit kernel nowhere that matters here.
fn arch(machine: &str) -> Result<&'static str, String> {
    match machine.trim() {
        "x86_64" => Ok("x86_64"),
        "ppc64le" => Ok("ppc64le"),
        "ppc64" => Ok("ppc64"),
        other => Err(other.chars().filter(char::is_ascii_graphic).take(40).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_and_checksums_are_read() {
        assert_eq!(arch("x86_64\n"), Ok("x86_64"));
        assert_eq!(arch("i686"), Err("i686".into()));
        assert_eq!(checksum("abc  /var/lib/x"), Some("abc"));
        assert_eq!(hex(digest(&SHA256, b"").as_ref())[..8], *"e3b0c442");
    }
}
