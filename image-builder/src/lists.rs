//! The lists of what goes into an initrd. They are committed as readable files (`lists/`) and compiled in; an
//! administrator's additions come from the command line.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::arch::Arch;

/// Kernel modules to include.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleList {
    /// In the order of the file.
    #[serde(rename = "group")]
    pub groups: Vec<ModuleGroup>,
}

/// Modules that belong together.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModuleGroup {
    /// For people.
    pub name: String,
    /// Must be in the kernel.
    pub modules: Vec<String>,
    /// Included when the kernel has them.
    #[serde(default)]
    pub optional: Vec<String>,
}

/// Programs to include.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolList {
    /// In the order of the file.
    #[serde(rename = "package")]
    pub packages: Vec<ToolPackage>,
}

/// Programs that come from one Debian package.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolPackage {
    /// The package.
    pub name: String,
    /// Architectures that have it; all unless they are named.
    #[serde(default)]
    pub architectures: Vec<String>,
    /// Programs that must be there.
    pub tools: Vec<String>,
    /// Programs included when they are there.
    #[serde(default)]
    pub optional: Vec<String>,
    /// Other files, by path.
    #[serde(default)]
    pub files: Vec<String>,
    /// busybox commands that get a link.
    #[serde(default)]
    pub applets: Vec<String>,
    /// Libraries that are opened at run time and therefore named nowhere.
    #[serde(default)]
    pub libraries: Vec<String>,
}

/// LVM's configuration in the initrd.
pub(crate) const LVM_CONF: &str = include_str!("../lists/lvm.conf");

impl ModuleList {
    /// The built-in list and the `extra` modules of the administrator, all of which must be there.
    ///
    /// # Errors
    /// The built-in list is malformed.
    pub fn with_extra(extra: &[String]) -> Result<Self> {
        let mut list: Self =
            toml::from_str(include_str!("../lists/modules.toml")).context("lists/modules.toml")?;
        if !extra.is_empty() {
            let group = ModuleGroup { name: "added".into(), modules: extra.to_vec(), optional: Vec::new() };
            list.groups.push(group);
        }
        Ok(list)
    }
}

impl ModuleList {
    /// The built-in list for a kernel that may lack any of it, and the `extra` modules, all of which must be there.
    ///
    /// # Errors
    /// The built-in list is malformed.
    pub fn what_is_there(extra: &[String]) -> Result<Self> {
        let mut list = Self::with_extra(&[])?;
        for group in &mut list.groups {
            group.optional.append(&mut group.modules);
        }
        let group = ModuleGroup { name: "added".into(), modules: extra.to_vec(), optional: Vec::new() };
        list.groups.push(group);
        Ok(list)
    }
}

impl ToolList {
    /// What the built-in list has for an architecture.
    ///
    /// # Errors
    /// It is malformed.
    pub fn built_in(arch: Arch) -> Result<Self> {
        let mut list: Self =
            toml::from_str(include_str!("../lists/tools.toml")).context("lists/tools.toml")?;
        let arch = arch.to_string();
        list.packages
            .retain(|package| package.architectures.is_empty() || package.architectures.contains(&arch));
        Ok(list)
    }

    /// Names of the packages.
    #[must_use]
    pub fn package_names(&self) -> Vec<String> {
        self.packages.iter().map(|p| p.name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_built_in_lists_are_well_formed_and_name_nothing_twice() {
        let modules = ModuleList::with_extra(&["zram".into()]).unwrap();
        let mut seen = BTreeSet::new();
        for name in modules.groups.iter().flat_map(|g| g.modules.iter().chain(&g.optional)) {
            assert!(seen.insert(name.replace('-', "_")), "{name} is listed twice");
        }
        let mut seen = BTreeSet::new();
        let tools = ToolList::built_in(Arch::X86_64).unwrap();
        for name in tools.packages.iter().flat_map(|p| p.tools.iter().chain(&p.optional).chain(&p.applets)) {
            assert!(seen.insert(name), "{name} is listed twice");
        }
    }

    #[test]
    fn machines_are_never_installed_onto_usb_disks() {
        let modules = ModuleList::with_extra(&[]).unwrap();
        for group in modules.groups {
            for name in group.modules.iter().chain(&group.optional) {
                assert!(!matches!(name.as_str(), "usb-storage" | "usb_storage" | "uas"), "{name}");
            }
        }
    }
}
