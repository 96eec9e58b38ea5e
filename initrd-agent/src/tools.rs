//! Every program that the initrd must contain. image-builder asks the agent itself for this list
//! (`sysclone-agent tools`), so that the two cannot drift apart.

use std::collections::BTreeSet;

use sysclone_exec::Tool;

use crate::{disk, network};

/// For the console shell, and for `ip`.
const BUSYBOX: Tool = Tool("busybox");

/// The list, sorted, each tool once.
#[must_use]
pub fn required() -> Vec<Tool> {
    let own = [BUSYBOX, network::IP];
    let all: BTreeSet<Tool> =
        own.iter().chain(disk::TOOLS).chain(sysclone_bootloaders::disk::TOOLS).copied().collect();
    all.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_names_programs_once_and_in_order() {
        let tools = required();
        assert!(tools.windows(2).all(|pair| pair[0] < pair[1]), "{tools:?}");
        for needed in ["busybox", "chroot", "ip", "lvm", "mke2fs", "mount", "sfdisk"] {
            assert!(tools.contains(&Tool(needed)), "{needed}");
        }
    }
}
