//! Whether the clone's own initramfs can reach this machine's disks. It was made on the golden client, so it may lack
//! the driver of another disk controller. Making one takes minutes, so it is made again only when a driver is missing.

mod drivers;
mod listing;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use sysclone_bootloaders::disk::with_system_mounts;
use sysclone_exec::{Command, Runner, Tool};
use sysclone_protocol::boot::Initramfs;

pub use drivers::disk_drivers;
pub(crate) use listing::module_names;

use crate::drivers::ModuleIndex;

const UPDATE_INITRAMFS: Tool = Tool("update-initramfs");
const DRACUT: Tool = Tool("dracut");
const MKINITRD: Tool = Tool("mkinitrd");
/// Making an initramfs takes up to eight minutes on an emulated machine.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(1800);

/// A kernel of the clone with its initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kernel {
    /// Name of its file: `vmlinuz-…`, on POWER `vmlinux-…`.
    file: String,
    release: String,
    /// Absolute in the clone.
    image: String,
}

/// What is known about a driver in an initramfs.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Judgement {
    /// All drivers are there.
    Complete,
    /// These are not.
    Missing(Vec<String>),
    /// The initramfs is compressed in a way that is not read here.
    Unreadable,
}

/// Makes sure that the kernel which the clone starts (`/vmlinuz-…` as its boot menu has it) finds `wanted` drivers
/// in its initramfs; has it made again by the clone's own tool otherwise. Returns what a person should know.
///
/// # Errors
/// The clone's tool failed.
pub fn ensure_drivers(
    root: &Path,
    menu_kernel: &str,
    (wanted, generator): (&BTreeSet<String>, Initramfs),
    runner: &dyn Runner,
) -> anyhow::Result<Option<String>> {
    let Some(kernel) = find_initramfs(root, menu_kernel) else {
        return Ok(Some(format!("{menu_kernel} has no initramfs that could be checked for drivers")));
    };
    match judge(root, &kernel, wanted)? {
        Judgement::Complete => return Ok(None),
        Judgement::Unreadable => {
            let image = &kernel.image;
            return Ok(Some(format!("{image} is compressed in a way that cannot be checked for drivers")));
        }
        Judgement::Missing(missing) => {
            tracing::info!("{} lacks {}; making it again", kernel.image, missing.join(", "));
            let Some(command) = generate(generator, &kernel, &missing) else {
                let image = &kernel.image;
                return Ok(Some(format!(
                    "{image} lacks {} and nothing is known to add it",
                    missing.join(", ")
                )));
            };
            let command = command.timeout(TIMEOUT).in_root(root);
            with_system_mounts(root, runner, || {
                runner.run(&command).with_context(|| format!("making {}", kernel.image))
            })?;
        }
    }
    Ok(match judge(root, &kernel, wanted)? {
        Judgement::Missing(still) => Some(format!("{} still lacks {}", kernel.image, still.join(", "))),
        Judgement::Complete | Judgement::Unreadable => None,
    })
}

fn find_initramfs(root: &Path, menu_kernel: &str) -> Option<Kernel> {
    let file = menu_kernel.rsplit('/').next()?;
    let release = file.split_once('-')?.1;
    let names =
        [format!("initrd.img-{release}"), format!("initramfs-{release}.img"), format!("initrd-{release}")];
    let image = names.iter().map(|name| format!("/boot/{name}")).find(|path| below(root, path).is_file())?;
    Some(Kernel { file: file.to_owned(), release: release.to_owned(), image })
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn judge(root: &Path, kernel: &Kernel, wanted: &BTreeSet<String>) -> anyhow::Result<Judgement> {
    let folder = ["lib/modules", "usr/lib/modules"].map(|folder| root.join(folder).join(&kernel.release));
    let folder = folder.iter().find(|folder| folder.is_dir());
    let Some(index) = folder.and_then(|folder| ModuleIndex::load(folder).ok()) else {
        return Ok(Judgement::Complete);
    };
    // What the clone's kernel has built in, or does not know by this name, is not the initramfs's business.
    let needed: Vec<&String> =
        wanted.iter().filter(|name| !index.is_builtin(name) && index.load_order(name).is_some()).collect();
    if needed.is_empty() {
        return Ok(Judgement::Complete);
    }
    let image = below(root, &kernel.image);
    let reading = || format!("reading {}", image.display());
    let file = std::fs::File::open(&image).with_context(reading)?;
    let Some(present) = module_names(std::io::BufReader::new(file)).with_context(reading)? else {
        return Ok(Judgement::Unreadable);
    };
    let missing: Vec<String> = needed.into_iter().filter(|name| !present.contains(*name)).cloned().collect();
    Ok(if missing.is_empty() { Judgement::Complete } else { Judgement::Missing(missing) })
}

fn generate(generator: Initramfs, kernel: &Kernel, missing: &[String]) -> Option<Command> {
    let Kernel { file, release, image } = kernel;
    match generator {
        Initramfs::InitramfsTools => Some(Command::new(UPDATE_INITRAMFS).args(["-u", "-k", release])),
        Initramfs::Dracut => {
            let drivers = missing.join(" ");
            Some(Command::new(DRACUT).args(["--force", "--add-drivers", &drivers, image, release]))
        }
        Initramfs::Mkinitrd => {
            let drivers = missing.join(" ");
            let name = image.rsplit('/').next().unwrap_or(image);
            Some(Command::new(MKINITRD).args(["-k", file, "-i", name, "-m", &drivers]))
        }
        Initramfs::Unknown => None,
    }
}

#[cfg(test)]
mod tests {
    use super::listing::tests::archive;
    use super::*;
    use sysclone_exec::Script;

    fn clone_with(modules: &[&str]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("lib/modules/6.1.0-9-amd64");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::create_dir_all(root.path().join("boot")).unwrap();
        std::fs::write(
            folder.join("modules.dep"),
            "k/nvme.ko: k/nvme-core.ko\nk/nvme-core.ko:\nk/ahci.ko:\n",
        )
        .unwrap();
        std::fs::write(folder.join("modules.builtin"), "k/sd_mod.ko\n").unwrap();
        let names: Vec<String> = modules.iter().map(|m| format!("usr/lib/modules/6.1/{m}.ko")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        std::fs::write(root.path().join("boot/initrd.img-6.1.0-9-amd64"), archive(&names)).unwrap();
        root
    }

    fn wanted(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn an_initramfs_with_all_drivers_is_left_alone() {
        let root = clone_with(&["nvme", "ext4"]);
        let script = Script::new();
        let wanted = wanted(&["nvme", "sd_mod", "unknown_to_this_kernel"]);
        let told = ensure_drivers(
            root.path(),
            "/vmlinuz-6.1.0-9-amd64",
            (&wanted, Initramfs::InitramfsTools),
            &script,
        );
        assert_eq!(told.unwrap(), None);
        assert!(script.lines().is_empty());
    }

    #[test]
    fn a_missing_driver_has_it_made_again_by_the_clones_tool() {
        for (generator, kernel, line) in [
            (Initramfs::InitramfsTools, "vmlinuz", "update-initramfs -u -k 6.1.0-9-amd64"),
            (
                Initramfs::Mkinitrd,
                "vmlinuz",
                "mkinitrd -k vmlinuz-6.1.0-9-amd64 -i initrd.img-6.1.0-9-amd64 -m ahci",
            ),
            // POWER's are not compressed.
            (
                Initramfs::Mkinitrd,
                "vmlinux",
                "mkinitrd -k vmlinux-6.1.0-9-amd64 -i initrd.img-6.1.0-9-amd64 -m ahci",
            ),
            (
                Initramfs::Dracut,
                "vmlinuz",
                "dracut --force --add-drivers ahci /boot/initrd.img-6.1.0-9-amd64 6.1.0-9-amd64",
            ),
        ] {
            let root = clone_with(&["nvme"]);
            let script = Script::lenient();
            let wanted = wanted(&["ahci", "nvme"]);
            let kernel = format!("/{kernel}-6.1.0-9-amd64");
            let told = ensure_drivers(root.path(), &kernel, (&wanted, generator), &script).unwrap();
            let ran: Vec<String> =
                script.lines().into_iter().filter(|line| !line.contains("mount")).collect();
            assert_eq!(ran, [format!("[in {}] {line}", root.path().display())]);
            assert_eq!(script.lines().len(), 9);
            assert_eq!(told.unwrap(), "/boot/initrd.img-6.1.0-9-amd64 still lacks ahci");
        }
    }

    #[test]
    fn what_cannot_be_checked_is_said() {
        let root = clone_with(&[]);
        std::fs::write(root.path().join("boot/initrd.img-6.1.0-9-amd64"), b"\xfd7zXZ\0rest").unwrap();
        let wanted = wanted(&["ahci"]);
        let ask = |kernel| {
            ensure_drivers(root.path(), kernel, (&wanted, Initramfs::Unknown), &Script::new()).unwrap()
        };
        assert!(ask("/vmlinuz-6.1.0-9-amd64").unwrap().contains("cannot be checked"));
        assert!(ask("/vmlinuz-5.0").unwrap().contains("no initramfs"));
    }
}
