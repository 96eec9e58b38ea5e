//! Network boot: the files that loaders fetch and the configurations that are made for each machine. One name space
//! for TFTP and HTTP; nothing outside the list can be named.

mod cpio;
mod entry;
mod files;
mod serve;
mod service;

pub use entry::{Ticketed, boot_entry};
pub(crate) use entry::{image_folder, is_golden};
pub use files::{BootFile, BootFiles, BootFilesError};
pub(crate) use serve::is_armed;
pub use serve::{Asker, BootNames, Found};
pub use service::BootService;
