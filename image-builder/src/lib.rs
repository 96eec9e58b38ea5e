//! Builds what network-booted machines start from: a kernel, an initrd with the agent and its tools, and the network
//! boot loaders. The same inputs give the same bytes. See `sysclone-image-builder --help` for use.

pub mod apt;
pub mod arch;
pub mod build;
pub mod contents;
pub mod cpio;
mod elf;
pub mod kernel;
pub mod lists;
pub mod loaders;
mod modinfo;
pub mod modules;
pub mod other_kernel;
pub mod output;
pub mod report;
pub mod tools;
pub mod tree;
mod unpack;
