//! What a deployment needs on disk: boot files, images, room; and the clock.

use std::time::SystemTime;

use anyhow::{Context as _, Result};

use crate::app::App;
use crate::boot::BootFiles;
use crate::wire::probe::Check;

/// Below this many bytes not even the database is safe.
const LEAST: u64 = 1 << 30;
/// Below this many bytes a capture of an ordinary system may not fit.
const LITTLE: u64 = 10 << 30;

/// The boot directory, read and hashed again.
pub(super) fn boot_files(app: &App) -> Check {
    let subject = "boot files";
    let refill = "run `sysclone-image-builder`";
    let again = match BootFiles::load(&app.config.boot_dir, &app.keys) {
        Ok(again) => again,
        Err(error) => return Check::failed(subject, format!("{:#}", anyhow::Error::new(error)), refill),
    };
    let (files, bytes) = again.size();
    if !again.has_kernel("x86_64") {
        return Check::failed(subject, "there is no kernel or initrd for x86_64", refill);
    }
    if !again.is_same(&app.boot_files.now()) {
        return Check::warning(
            subject,
            "other files than those in service",
            "the next nodeset takes them into service",
        );
    }
    Check::good(subject, format!("{files} files, {} MiB, hashes as listed", bytes >> 20))
}

/// The clock cannot be behind what this server has written already; tickets and certificates need it.
pub(super) fn clock(app: &App) -> Check {
    let newest = || -> Result<SystemTime> {
        let path = app.config.state_dir.join("sysclone.db");
        std::fs::metadata(&path).and_then(|m| m.modified()).context("looking at the database")
    };
    let now = SystemTime::now();
    match newest() {
        Ok(written) if written > now => Check::failed(
            "clock",
            "is behind the time at which the database was written",
            "set it (timedatectl set-ntp true)",
        ),
        Ok(_) => Check::good("clock", "is not behind what was written before"),
        Err(error) => Check::warning("clock", format!("{error:#}"), "look at state_dir"),
    }
}

/// Whether every image is whole. Packs are not read: `sysclone image fsck` does that.
pub(super) fn store(app: &App) -> Check {
    let subject = "image store";
    let look = || -> Result<(usize, Vec<String>)> {
        let images = app.store.images()?;
        let key = app.keys.signing.verifying_key();
        let mut hurt = Vec::new();
        for image in &images {
            if !app.store.missing_of(image, &key)?.is_empty() {
                hurt.push(image.to_string());
            }
        }
        Ok((images.len(), hurt))
    };
    match look() {
        Ok((0, _)) => Check::warning(
            subject,
            "there is no image",
            "capture one: imgcapture <node> -t sysclone -o <name>",
        ),
        Ok((count, hurt)) if hurt.is_empty() => {
            Check::good(subject, format!("{count} images, none lacks a pack"))
        }
        Ok((_, hurt)) => Check::failed(
            subject,
            format!("packs are missing of {}", hurt.join(", ")),
            "sysclone image fsck says which; capture again, or repair from a copy",
        ),
        Err(error) => Check::failed(subject, format!("{error:#}"), "sysclone image fsck"),
    }
}

/// Room for the database and the next capture.
pub(super) fn space(app: &App) -> Check {
    let subject = "disk space";
    let path = &app.config.state_dir;
    let found = match rustix::fs::statvfs(path) {
        Ok(found) => found,
        Err(error) => {
            return Check::failed(subject, error.to_string(), format!("look at {}", path.display()));
        }
    };
    let free = found.f_bavail.saturating_mul(found.f_frsize);
    let text = format!("{} MiB free in {}", free >> 20, path.display());
    let advice = "make room: sysclone image gc, or remove images (sysclone image rm)";
    if free < LEAST {
        Check::failed(subject, text, advice)
    } else if free < LITTLE {
        Check::warning(subject, text, advice)
    } else {
        Check::good(subject, text)
    }
}
