//! What an order must fulfil before anything is written.

use std::collections::BTreeMap;

use anyhow::{Context as _, ensure};
use sysclone_image::sign::{self, VerifyingKey};
use sysclone_image::{ImageKey, Manifest};
use sysclone_protocol::agent::InstallOrder;
use sysclone_protocol::inventory::Inventory;
use sysclone_protocol::layout::Layout;
use sysclone_protocol::plan::InstallPlan;

use crate::drivers::Modules;

/// Opens the signed manifest with the key that came with the initrd and checks that it is the ordered one.
pub(super) fn open_manifest(
    sealed: &[u8],
    pinned_key: &str,
    order: &InstallOrder,
    inventory: &Inventory,
) -> anyhow::Result<Manifest> {
    let pinned = VerifyingKey::from_base64(pinned_key).context("reading the key in the initrd")?;
    let named = VerifyingKey::from_base64(&order.manifest_key).context("reading the order's manifest key")?;
    ensure!(
        pinned == named,
        "the order's manifest key is not the one in this initrd; was the initrd served by another server?"
    );
    let manifest =
        sign::open(sealed, &pinned).with_context(|| format!("opening the manifest of {}", order.image))?;
    ensure!(
        manifest.image_ref() == order.image,
        "the server sent the manifest of {} instead of {}",
        manifest.image_ref(),
        order.image
    );
    ensure!(
        manifest.header.arch == inventory.arch,
        "image {} is for {}, this machine is {}",
        order.image,
        manifest.header.arch,
        inventory.arch
    );
    Ok(manifest)
}

/// The image's key.
pub(super) fn image_key(order: &InstallOrder) -> anyhow::Result<ImageKey> {
    ImageKey::from_base64(order.image_key.reveal()).context("reading the image's key")
}

/// Layout disk labels and the device nodes that the plan gives them.
pub(super) fn devices(plan: &InstallPlan) -> BTreeMap<String, String> {
    plan.disks.iter().map(|disk| (disk.label.clone(), disk.facts.device())).collect()
}

/// Loads what the kernel needs for the layout's volumes and filesystems.
///
/// # Errors
/// A filesystem or the device mapper is neither in the kernel nor in the initrd.
pub(super) fn load_drivers(layout: &Layout, modules: Option<&Modules>) -> anyhow::Result<()> {
    let Some(modules) = modules else { return Ok(()) };
    for (module, needed) in kernel_modules(layout) {
        match modules.load(&module) {
            Ok(()) => {}
            Err(error) if needed => {
                return Err(error).with_context(|| format!("preparing the kernel for {module}"));
            }
            Err(error) => tracing::debug!(module, error = %error, "not loaded"),
        }
    }
    Ok(())
}

/// Modules for a layout in load order, and whether the installation needs them.
fn kernel_modules(layout: &Layout) -> Vec<(String, bool)> {
    let mut modules: Vec<(String, bool)> = Vec::new();
    let mut add = |name: &str, needed| {
        if !modules.iter().any(|(known, _)| known == name) {
            modules.push((name.to_owned(), needed));
        }
    };
    if !layout.volume_groups.is_empty() {
        add("dm_mod", true);
    }
    for filesystem in &layout.filesystems {
        match filesystem.kind.as_str() {
            "swap" => {}
            // The kernel asks for checksums by an alias that only a modprobe would resolve; old kernels have them as
            // a module, new ones inside.
            kind @ ("ext2" | "ext3" | "ext4") => {
                add("crc32c_generic", false);
                // ext4's driver serves all three.
                add("ext4", true);
                add(kind, false);
            }
            kind @ ("xfs" | "btrfs") => {
                add("crc32c_generic", false);
                add(kind, true);
            }
            "vfat" => {
                add("nls_cp437", false);
                add("nls_ascii", false);
                add("nls_iso8859_1", false);
                add("vfat", true);
            }
            other => add(other, true),
        }
    }
    modules
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_protocol::layout::{DeviceRef, Filesystem, FsFeatures, VolumeGroup};

    fn filesystem(kind: &str) -> Filesystem {
        Filesystem {
            device: DeviceRef::WholeDisk { disk: "vda".into() },
            kind: kind.into(),
            uuid: None,
            label: None,
            mount_point: None,
            options: None,
            used_bytes: 0,
            features: FsFeatures::default(),
            subvolumes: vec![],
        }
    }

    #[test]
    fn a_layout_names_the_modules_it_needs_once() {
        let group = VolumeGroup {
            name: "vg0".into(),
            uuid: String::new(),
            extent_bytes: 4 << 20,
            physical_volumes: vec![],
            logical_volumes: vec![],
        };
        let layout = Layout {
            disks: vec![],
            volume_groups: vec![group],
            filesystems: vec![filesystem("ext4"), filesystem("xfs"), filesystem("ext4"), filesystem("swap")],
        };
        let needed: Vec<String> =
            kernel_modules(&layout).into_iter().filter(|(_, needed)| *needed).map(|(name, _)| name).collect();
        assert_eq!(needed, ["dm_mod", "ext4", "xfs"]);
    }
}
