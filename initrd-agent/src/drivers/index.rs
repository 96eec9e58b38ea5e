//! What `/lib/modules/<release>` says: which module answers to which alias, what needs what, what is built in.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};

use super::alias;

/// The indices of one kernel's modules, as depmod wrote them.
#[derive(Debug, Default)]
pub struct ModuleIndex {
    /// Pattern and module name, by the bus before the first colon.
    aliases: HashMap<String, Vec<(String, String)>>,
    /// File of each module, relative to the folder, and the modules it needs, nearest first.
    files: HashMap<String, (PathBuf, Vec<String>)>,
    builtin: HashSet<String>,
    folder: PathBuf,
}

impl ModuleIndex {
    /// Reads the indices in `folder`.
    ///
    /// # Errors
    /// `modules.dep` is not there. The other files may be missing.
    pub fn load(folder: &Path) -> io::Result<Self> {
        let optional = |name: &str| match std::fs::read_to_string(folder.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            outcome => outcome,
        };
        let dependencies = std::fs::read_to_string(folder.join("modules.dep"))?;
        let mut index =
            Self::parse(&dependencies, &optional("modules.alias")?, &optional("modules.builtin")?);
        index.folder = folder.to_owned();
        Ok(index)
    }

    /// Reads the texts of `modules.dep`, `modules.alias` and `modules.builtin`.
    #[must_use]
    pub fn parse(dependencies: &str, aliases: &str, builtin: &str) -> Self {
        let mut index = Self::default();
        for line in dependencies.lines() {
            let Some((file, needs)) = line.split_once(':') else { continue };
            let needs = needs.split_whitespace().map(module_name).collect();
            index.files.insert(module_name(file), (file.into(), needs));
        }
        for line in aliases.lines() {
            let mut words = line.split_whitespace();
            if let (Some("alias"), Some(pattern), Some(module)) = (words.next(), words.next(), words.next()) {
                index.aliases.entry(bus(pattern)).or_default().push((pattern.to_owned(), canonical(module)));
            }
        }
        index.builtin = builtin.lines().map(module_name).collect();
        index
    }

    /// Modules that answer to a device's alias.
    #[must_use]
    pub fn modules_for(&self, modalias: &str) -> Vec<&str> {
        // A pattern may have a star before the first colon (`acpi*:…`), so both spellings are looked up.
        let name = bus(modalias);
        let candidates = [name.clone(), format!("{name}*")];
        let patterns = candidates.iter().filter_map(|bus| self.aliases.get(bus)).flatten();
        let mut found = Vec::new();
        for (pattern, module) in patterns {
            if !found.contains(&module.as_str()) && alias::matches(pattern.as_bytes(), modalias.as_bytes()) {
                found.push(module.as_str());
            }
        }
        found
    }

    /// Whether the kernel has it without a module.
    #[must_use]
    pub fn is_builtin(&self, module: &str) -> bool {
        self.builtin.contains(&canonical(module))
    }

    /// Files to load, in order, so that `module` is there; none when no such module exists.
    #[must_use]
    pub fn load_order(&self, module: &str) -> Option<Vec<(String, PathBuf)>> {
        let name = canonical(module);
        let (file, needs) = self.files.get(&name)?;
        let mut order = Vec::new();
        // depmod lists what a module needs with the deepest dependency last.
        for needed in needs.iter().rev() {
            if let Some((file, _)) = self.files.get(needed) {
                order.push((needed.clone(), self.folder.join(file)));
            }
        }
        order.push((name, self.folder.join(file)));
        Some(order)
    }
}

/// Module names are written with `-` or `_`; the kernel shows `_`.
pub(super) fn canonical(name: &str) -> String {
    name.replace('-', "_")
}

fn module_name(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    canonical(name.split(".ko").next().unwrap_or(name))
}

fn bus(alias: &str) -> String {
    alias.split(':').next().unwrap_or(alias).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko\n\
        kernel/drivers/virtio/virtio.ko:\n\
        kernel/drivers/md/dm-mod.ko.xz:\n";
    const ALIAS: &str = "# Aliases extracted from modules themselves.\n\
        alias virtio:d00000002v* virtio_blk\n\
        alias acpi*:PNP0501:* serial-8250\n\
        alias devname:mapper/control dm-mod\n\
        alias fs-ext4 ext4\n";

    fn index() -> ModuleIndex {
        ModuleIndex::parse(DEP, ALIAS, "kernel/fs/ext4/ext4.ko\nkernel/net/ipv4/tcp-cubic.ko\n")
    }

    #[test]
    fn a_device_finds_its_module_with_what_it_needs_first() {
        assert_eq!(index().modules_for("virtio:d00000002v00001AF4"), ["virtio_blk"]);
        assert_eq!(index().modules_for("acpi:PNP0501:"), ["serial_8250"]);
        assert!(index().modules_for("pci:v1").is_empty());
        let order: Vec<String> =
            index().load_order("virtio-blk").unwrap().into_iter().map(|(name, _)| name).collect();
        assert_eq!(order, ["virtio", "virtio_ring", "virtio_blk"]);
    }

    #[test]
    fn names_are_the_same_with_dash_and_underscore() {
        assert_eq!(index().load_order("dm_mod"), index().load_order("dm-mod"));
        assert!(index().is_builtin("tcp_cubic") && index().is_builtin("ext4") && !index().is_builtin("xfs"));
        assert!(index().load_order("xfs").is_none());
    }
}
