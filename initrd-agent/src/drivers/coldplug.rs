//! Gives every device that is there its driver, again and again until no new device appears, and waits for devices
//! that take their time.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::loader::Modules;

/// How often the kernel's device tree is read while waiting. Reading it takes a few milliseconds, and a link or a
/// disk that comes up is noticed within this time.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Loads the drivers of all devices below `devices` (`/sys/devices`) until a round finds no new one. Drivers that the
/// kernel refuses are logged: a machine may have hardware that nobody needs.
pub fn settle(modules: &Modules, devices: &Path) {
    loop {
        let mut aliases = BTreeSet::new();
        collect_aliases(devices, &mut aliases);
        let wanted = modules.untried_for(aliases.iter().map(String::as_str));
        if wanted.is_empty() {
            return;
        }
        for module in wanted {
            if let Err(error) = modules.load(&module) {
                tracing::warn!(
                    module,
                    error = format!("{:#}", anyhow::Error::new(error)),
                    "driver not loaded"
                );
            }
        }
    }
}

/// Gathers the aliases of all devices below a folder. Devices come and go while it is read; what cannot be read is
/// gone.
fn collect_aliases(folder: &Path, aliases: &mut BTreeSet<String>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            collect_aliases(&entry.path(), aliases);
        } else if entry.file_name() == "modalias"
            && let Ok(alias) = std::fs::read_to_string(entry.path())
        {
            let alias = alias.trim();
            if !alias.is_empty() {
                aliases.insert(alias.to_owned());
            }
        }
    }
}

/// Loads drivers until `found` answers, or nothing after `limit`.
pub fn wait_for<T>(
    modules: Option<&Modules>,
    limit: Duration,
    mut found: impl FnMut() -> Option<T>,
) -> Option<T> {
    let began = Instant::now();
    loop {
        if let Some(modules) = modules {
            settle(modules, Path::new("/sys/devices"));
        }
        match found() {
            Some(answer) => return Some(answer),
            None if began.elapsed() >= limit => return None,
            None => std::thread::sleep(LOOK_EVERY),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drivers::loader::tests::Recorder;
    use crate::drivers::{ModuleIndex, Modules};

    #[test]
    fn devices_that_appear_behind_a_driver_get_theirs_too() {
        // Loading the bus driver cannot make a device appear here, so the bus is there from the start and the disk
        // is found in the same walk; each is loaded once.
        let sys = tempfile::tempdir().unwrap();
        for (device, alias) in
            [("pci0/0", "pci:v1"), ("pci0/0/virtio0", "virtio:d2v1"), ("x", ""), ("y", "of:none")]
        {
            let folder = sys.path().join(device);
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join("modalias"), format!("{alias}\n")).unwrap();
        }
        let recorder = Recorder::default();
        let index = ModuleIndex::parse(
            "virtio_pci.ko:\nvirtio_blk.ko:\nbad.ko:\n",
            "alias pci:v* virtio_pci\nalias virtio:d2v* virtio-blk\nalias virtio:d2v* bad\n",
            "",
        );
        let modules = Modules::new(index, Box::new(recorder.clone()));
        settle(&modules, sys.path());
        settle(&modules, sys.path());
        assert_eq!(*recorder.0.lock().unwrap(), ["bad.ko", "virtio_blk.ko", "virtio_pci.ko"]);
    }

    #[test]
    fn waiting_ends_with_the_answer_or_with_the_limit() {
        let mut looks = 0;
        let found = wait_for(None, Duration::from_secs(60), || {
            looks += 1;
            (looks == 2).then_some("disk")
        });
        assert_eq!(found, Some("disk"));
        assert_eq!(wait_for::<()>(None, Duration::ZERO, || None), None);
    }
}
