//! What the agent on the golden client is given, and the agent itself.

use ring::digest::{SHA256, digest};
use sysclone_protocol::agent::CaptureOrder;
use sysclone_protocol::names::{ImageName, ImageRef, Secret};

use super::CaptureError;
use super::ssh::{Remote, RemoteCommand};
use crate::app::App;
use crate::wire::ObjectType;

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
/// Runs the capture.
pub(super) const CAPTURE: RemoteCommand =
    RemoteCommand { what: "the capture", text: "/var/lib/sysclone/sysclone-agent capture" };

/// Puts the agent for the machine's architecture there, unless it is there; checked by its hash either way.
pub(super) async fn place_agent(app: &App, remote: &Remote) -> Result<(), CaptureError> {
    let looked = remote.output(LOOK, b"").await?;
    let mut lines = looked.lines();
    let arch = arch(lines.next().unwrap_or_default()).map_err(|machine| {
        CaptureError::Said(format!("{} is a {machine} machine, which is not known here", remote.node))
    })?;
    let path = app.config.boot_dir.join(arch).join("sysclone-agent");
    let agent = tokio::fs::read(&path).await.map_err(|error| {
        CaptureError::Said(format!(
            "there is no agent for {arch} ({}: {error}): sysclone-image-builder --arch {arch}",
            path.display()
        ))
    })?;
    let wanted = hex(digest(&SHA256, &agent).as_ref());
    if lines.next().and_then(checksum) == Some(&wanted) {
        return Ok(());
    }
    let pushed = remote.output(PUSH, &agent).await?;
    if pushed.lines().last().and_then(checksum) == Some(&wanted) {
        Ok(())
    } else {
        let node = &remote.node;
        Err(CaptureError::Said(format!(
            "the agent that arrived on {node} is not the one that was sent to it"
        )))
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

/// The order for a capture of `image`.
pub(super) async fn make_order(
    app: &App,
    image: &ImageName,
    token: Secret,
) -> Result<CaptureOrder, CaptureError> {
    let name = image.as_str();
    let mut objects = app.db.objects(ObjectType::Osimage, Some(&[name.to_owned()])).await?;
    let excludes = objects.remove(name).and_then(|mut attributes| attributes.remove("excludes"));
    let excludes = excludes.unwrap_or_default();
    let generation = app.store.newest(image)?.unwrap_or(0) + 1;
    Ok(CaptureOrder {
        server: app.config.listen.agent_url(),
        ca_pem: app.keys.tls.ca_pem().to_owned(),
        token,
        image: ImageRef { name: image.clone(), generation },
        image_key: app.keys.make_image_key(image)?.to_base64(),
        manifest_key: app.keys.signing.verifying_key().to_base64(),
        pack_source: app.config.listen.pack_url(),
        excludes: excludes.split(',').map(str::trim).filter(|p| !p.is_empty()).map(str::to_owned).collect(),
    })
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
