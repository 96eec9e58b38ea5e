//! What machines boot when the kernel is not the boot directory's own: a captured machine's, for instance, for hardware
//! that no other kernel serves. Agent and programs are those of the initrd that was built before; kernel, modules and
//! firmware are as given.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::arch::Arch;
use crate::build::{add_firmware, compress, put_kernel};
use crate::cpio;
use crate::kernel::Kernel;
use crate::lists::ModuleList;
use crate::modules::ModuleTree;
use crate::output::{ArchFacts, INDEX, Index, Stage};
use crate::report::Report;
use crate::tree::read;
use crate::unpack::without_modules;

/// What to build from.
#[derive(Debug, Clone)]
pub struct Options {
    /// Architecture of the machines to boot.
    pub arch: Arch,
    /// The boot directory, which has an initrd for `arch`.
    pub out: PathBuf,
    /// Folder in it.
    pub name: String,
    /// Kernel file.
    pub kernel: PathBuf,
    /// Its modules.
    pub modules: PathBuf,
    /// Its configuration, which says how an initrd may be packed. Without it the oldest way is taken.
    pub config: Option<PathBuf>,
    /// Directory of firmware files.
    pub firmware: Option<PathBuf>,
    /// Modules that must be there beside those of the list that are.
    pub extra_modules: Vec<String>,
}

/// Builds and publishes.
///
/// # Errors
/// Something is missing, unreadable or not publishable. The directory is then as it was.
pub fn run(options: &Options) -> Result<Report> {
    let started = Instant::now();
    let mut contents = without_modules(&base_initrd(options)?)?;
    let kernel = Kernel::given(&options.kernel, &options.modules)?;
    let modules = ModuleTree::load(&kernel.modules)?;
    let selection = modules.select(&ModuleList::what_is_there(&options.extra_modules)?)?;
    selection.add_to(&mut contents, &kernel.release)?;
    let mut absent = selection.absent.clone();
    if let Some(firmware) = &options.firmware {
        absent.extend(add_firmware(&mut contents, firmware, selection.firmware())?);
    }
    let archive = cpio::archive(&contents);
    let initrd = if knows_zstd(options.config.as_deref())? { compress(&archive)? } else { gzip(&archive)? };
    let mut stage = Stage::new(&options.out)?;
    put_kernel(&mut stage, (&options.name, options.arch), &read(&kernel.image)?)?;
    stage.put(&format!("{}/initrd.img", options.name), &initrd, 0o644)?;
    let facts = ArchFacts { kernel_release: kernel.release.clone(), packages: Vec::new() };
    let index = stage.publish(&options.name, facts)?;
    Ok(Report {
        arch: options.arch.to_string(),
        kernel_release: kernel.release,
        modules: selection.count(),
        groups: contents.sizes(),
        archive_bytes: archive.len() as u64,
        absent,
        took: started.elapsed(),
        index,
    })
}

/// The initrd that was built for this architecture, compared with the list.
fn base_initrd(options: &Options) -> Result<Vec<u8>> {
    let (file, list) = (format!("{}/initrd.img", options.arch), options.out.join(INDEX));
    let advice =
        || format!("{} has no {file}: run 'sysclone-image-builder build' first", options.out.display());
    let index: Index = serde_json::from_slice(&read(&list).with_context(advice)?)
        .with_context(|| format!("reading {}", list.display()))?;
    let listed = index.files.iter().find(|listed| listed.file == file).with_context(advice)?;
    let path = options.out.join(&file);
    let bytes = read(&path)?;
    ensure!(
        blake3::hash(&bytes).to_hex().as_str() == listed.blake3,
        "{} is not the file that {INDEX} lists: run 'sysclone-image-builder build' again",
        path.display()
    );
    Ok(bytes)
}

/// Whether the kernel unpacks zstd; those before 5.9 do not, and whoever has no configuration is not asked.
fn knows_zstd(config: Option<&Path>) -> Result<bool> {
    let Some(config) = config else { return Ok(false) };
    Ok(String::from_utf8_lossy(&read(config)?).lines().any(|line| line == "CONFIG_RD_ZSTD=y"))
}

/// Every kernel unpacks this. The same bytes always: no name and no time are in it.
fn gzip(archive: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzEncoder::new(Vec::new(), Compression::best());
    writer.write_all(archive).context("packing the initrd")?;
    let mut packed = writer.finish().context("packing the initrd")?;
    packed.resize(packed.len().next_multiple_of(4), 0);
    Ok(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zstd_is_for_kernels_that_say_they_know_it() {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config");
        for (text, expected) in [
            ("CONFIG_RD_GZIP=y\nCONFIG_RD_ZSTD=y\n", true),
            ("CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n", false),
        ] {
            std::fs::write(&config, text).unwrap();
            assert_eq!(knows_zstd(Some(&config)).unwrap(), expected, "{text}");
        }
        assert!(!knows_zstd(None).unwrap());
    }
}
