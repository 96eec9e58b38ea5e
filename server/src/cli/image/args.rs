//! What can be typed after `sysclone image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::cli::args::Common;

#[derive(Debug, Args)]
pub(in crate::cli) struct Image {
    #[command(subcommand)]
    pub(in crate::cli) verb: ImageVerb,
}

/// What can be done with images. IMAGE is NAME (the newest generation), NAME@7 or NAME@TAG.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum ImageVerb {
    /// List images
    #[command(version, disable_version_flag = true)]
    List(ImageList),
    /// List the generations of an image
    #[command(version, disable_version_flag = true, after_help = HISTORY_EXAMPLES)]
    History(ImageHistory),
    /// Show everything about a generation but its files
    #[command(version, disable_version_flag = true)]
    Show(OneImage),
    /// List a directory of an image
    #[command(version, disable_version_flag = true, after_help = LS_EXAMPLES)]
    Ls(ImageLs),
    /// Print a file of an image
    #[command(version, disable_version_flag = true, after_help = CAT_EXAMPLES)]
    Cat(ImagePath),
    /// Write a directory or file of an image somewhere, with all its metadata
    #[command(version, disable_version_flag = true, after_help = CHECKOUT_EXAMPLES)]
    Checkout(ImageCheckout),
    /// Make what machines boot from an image's own kernel, modules and firmware
    #[command(version, disable_version_flag = true, after_help = BOOT_FILES_EXAMPLES)]
    BootFiles(ImageBootFiles),
    /// Show what differs between two generations
    #[command(version, disable_version_flag = true, after_help = DIFF_EXAMPLES)]
    Diff(ImageDiff),
    /// Put a tag on a generation, or take one off
    #[command(version, disable_version_flag = true, after_help = TAG_EXAMPLES)]
    Tag(ImageTag),
    /// Make the content of an older generation the newest again
    #[command(version, disable_version_flag = true, after_help = ROLLBACK_EXAMPLES)]
    Rollback(OneImage),
    /// Remove generations
    #[command(version, disable_version_flag = true, after_help = RM_EXAMPLES)]
    Rm(ImageRm),
    /// Read all packs of a generation and check them
    #[command(version, disable_version_flag = true)]
    Verify(OneImage),
    /// Read the whole store and check it
    #[command(version, disable_version_flag = true, after_help = FSCK_EXAMPLES)]
    Fsck(ImageFsck),
    /// Remove what the keep attribute lets go, and free the space of what nothing names any more
    #[command(version, disable_version_flag = true, after_help = GC_EXAMPLES)]
    Gc(ImageGc),
    /// Write generations into one file, for another server or a backup
    #[command(version, disable_version_flag = true, after_help = EXPORT_EXAMPLES)]
    Export(ImageExport),
    /// Take generations from a file that was exported
    #[command(version, disable_version_flag = true, after_help = IMPORT_EXAMPLES)]
    Import(ImageImport),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageList {
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageHistory {
    /// The image
    #[arg(value_name = "NAME")]
    pub(in crate::cli) name: String,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct OneImage {
    /// The generation
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageLs {
    /// The generation
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// Directory or file in it
    #[arg(value_name = "PATH", default_value = "/")]
    pub(in crate::cli) path: String,
    /// Type, mode, owner, group, size, time
    #[arg(short, long)]
    pub(in crate::cli) long: bool,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImagePath {
    /// The generation
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// File in it
    #[arg(value_name = "PATH")]
    pub(in crate::cli) path: String,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageCheckout {
    /// The generation
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// Directory or file in it
    #[arg(value_name = "PATH")]
    pub(in crate::cli) path: String,
    /// Where to: a new or empty directory
    #[arg(value_name = "DIRECTORY")]
    pub(in crate::cli) directory: PathBuf,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageBootFiles {
    /// The generation
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// Its release, as in vmlinuz-RELEASE [default: the newest in the image]
    #[arg(long, value_name = "RELEASE")]
    pub(in crate::cli) kernel: Option<String>,
    /// Also include a module that is not on the list; may be given several times
    #[arg(long = "module", value_name = "NAME")]
    pub(in crate::cli) modules: Vec<String>,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageDiff {
    /// The generation before
    #[arg(value_name = "OLD")]
    pub(in crate::cli) old: String,
    /// The generation after
    #[arg(value_name = "NEW")]
    pub(in crate::cli) new: String,
    /// Only count
    #[arg(long)]
    pub(in crate::cli) stat: bool,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageTag {
    /// The generation; the image's name with --delete
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// The tag
    #[arg(value_name = "TAG")]
    pub(in crate::cli) tag: String,
    /// Take the tag off
    #[arg(short, long)]
    pub(in crate::cli) delete: bool,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageRm {
    /// The generation; the image's name with --all
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// Every generation of the image
    #[arg(long)]
    pub(in crate::cli) all: bool,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageFsck {
    /// Move bad packs away, so that nobody is served from them and the next capture sends them again
    #[arg(long)]
    pub(in crate::cli) quarantine: bool,
    /// Take good packs from another store's directory; moves bad ones away first
    #[arg(long, value_name = "STORE")]
    pub(in crate::cli) repair_from: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageGc {
    /// Only say what would be done
    #[arg(short = 'n', long)]
    pub(in crate::cli) dry_run: bool,
    /// Also rewrite packs of which less than this part is used
    #[arg(long, value_name = "PERCENT", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub(in crate::cli) repack: Option<u8>,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageExport {
    /// The generation
    #[arg(value_name = "IMAGE")]
    pub(in crate::cli) image: String,
    /// File that is made on the server; it must not be there
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Every generation of the image
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// Leave the image's key out: only a server that has it can use the file
    #[arg(long)]
    pub(in crate::cli) without_key: bool,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ImageImport {
    /// File on the server
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Name that the image gets here [default: the name that it had]
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) name: Option<String>,
    /// Trust the server whose images are signed with this key; image export prints it
    #[arg(long, value_name = "KEY")]
    pub(in crate::cli) trust: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) common: Common,
}

const HISTORY_EXAMPLES: &str = "\
Examples:
  sysclone image history compute
  sysclone image history compute --json";

const LS_EXAMPLES: &str = "\
Examples:
  sysclone image ls compute
  sysclone image ls -l compute@3 /etc/ssh";

const CAT_EXAMPLES: &str = "\
Examples:
  sysclone image cat compute /etc/fstab
  sysclone image cat compute@stable /boot/vmlinuz-6.1.0 > vmlinuz";

const CHECKOUT_EXAMPLES: &str = "\
Examples:
  sysclone image checkout compute@3 /etc /root/etc-of-3
  sysclone image checkout compute / /mnt/tree";

const BOOT_FILES_EXAMPLES: &str = "\
Examples:
  sysclone image boot-files compute
  chdef -t osimage -o compute bootkernel=golden
  nodeset rack1 osimage=compute            boots the agent with the kernel of compute
For hardware that no other kernel serves. Once is enough until another kernel is wanted; run it again after
sysclone-image-builder build, which brings a new agent. bootkernel=own goes back.";

const DIFF_EXAMPLES: &str = "\
Examples:
  sysclone image diff compute@3 compute
  sysclone image diff --stat compute@stable compute
The first letter of a line: A added, D removed, M content, m metadata only, T type, R renamed.";

const TAG_EXAMPLES: &str = "\
Examples:
  sysclone image tag compute@7 stable
  nodeset rack1 osimage=compute@stable
  sysclone image tag --delete compute stable";

const ROLLBACK_EXAMPLES: &str = "\
Examples:
  sysclone image rollback compute@5     its content becomes a new generation; nothing is lost";

const RM_EXAMPLES: &str = "\
Examples:
  sysclone image rm compute@2
  sysclone image rm --all old && sysclone image gc";

const FSCK_EXAMPLES: &str = "\
Examples:
  sysclone image fsck
  sysclone image fsck --quarantine && imgcapture golden -t sysclone -o compute
  sysclone image fsck --repair-from /mnt/backup/store
Exit status: 0 all good, 1 damage, 2 wrong usage.";

const GC_EXAMPLES: &str = "\
Examples:
  chdef -t osimage -o compute keep=5,30d   keeps the newest five, and all of the last 30 days
  sysclone image gc --dry-run
  sysclone image gc --repack 30
Tagged generations and those that nodes are being installed with are always kept. The daemon does this daily.";

const EXPORT_EXAMPLES: &str = "\
Examples:
  sysclone image export compute@stable /backup/compute.export
  sysclone image export --all --without-key compute /backup/compute.export";

const IMPORT_EXAMPLES: &str = "\
Examples:
  sysclone image import /backup/compute.export
  sysclone image import --name compute2 --trust hlGR…= /mnt/usb/compute.export";
