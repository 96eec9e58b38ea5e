//! Kernel modules: which ones this machine's hardware asks for, what they need, and loading them without a modprobe.

mod alias;
mod coldplug;
mod index;
mod loader;

pub use coldplug::{settle, wait_for};
pub use index::ModuleIndex;
pub use loader::{LoadError, Modules};
