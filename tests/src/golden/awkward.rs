//! Files that a careless copy gets wrong, put on both the root (ext4) and the /var (xfs) filesystem.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr, utimensat,
};
use sysclone_exec::{Command, Runner, System, Tool};

const SETFACL: Tool = Tool("setfacl");
const SETCAP: Tool = Tool("setcap");
const CHATTR: Tool = Tool("chattr");

/// Folders that hold the awkward files, from the root of the golden client.
pub const PLACES: &[&str] = &["srv/awkward", "var/lib/awkward"];

/// Further out than 32-bit offsets reach.
const FAR: u64 = 4 << 30;

/// Fills `folder`, which must be new.
pub(super) fn fill(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).context("creating the folder")?;
    names(folder).context("awkward names")?;
    contents(folder).context("awkward contents")?;
    kinds(folder).context("awkward kinds")?;
    attributes(folder).context("awkward attributes")?;
    times(folder).context("awkward times")?;
    flags(folder).context("awkward flags")
}

fn names(folder: &Path) -> Result<()> {
    let long = "L".repeat(255);
    let names: &[&[u8]] = &[
        b"caf\xe9-latin1-\xff\xfe",
        b"new\nline and\ttab",
        b" leading and trailing space ",
        b"-rf",
        b"*",
        b"back\\slash",
        "日本".as_bytes(),
        long.as_bytes(),
    ];
    for name in names {
        fs::write(folder.join(OsStr::from_bytes(name)), name)?;
    }
    let deep =
        (0..30).fold(folder.join("deep"), |path, level| path.join(format!("{level:02}{}", "n".repeat(60))));
    fs::create_dir_all(&deep)?;
    Ok(fs::write(deep.join("leaf"), "leaf\n")?)
}

fn contents(folder: &Path) -> Result<()> {
    File::create(folder.join("empty"))?;
    let far = File::create(folder.join("sparse-4g"))?;
    far.write_all_at(b"at the start", 0)?;
    far.write_all_at(b"beyond 4 GiB", FAR)?;
    far.set_len(FAR + (1 << 20))?;
    File::create(folder.join("only-a-hole"))?.set_len(10 << 20)?;
    // Patterned, so that a piece in the wrong place shows.
    let mut large = File::create(folder.join("large"))?;
    for block in 0..4096_u32 {
        large.write_all(&blake3::hash(&block.to_le_bytes()).as_bytes().repeat(64))?;
    }
    let links = folder.join("links");
    fs::create_dir(&links)?;
    fs::write(links.join("first"), "one file, many names\n")?;
    for number in 0..20 {
        fs::hard_link(links.join("first"), links.join(format!("name-{number}")))?;
    }
    Ok(fs::hard_link(folder.join("large"), links.join("large-too"))?)
}

fn kinds(folder: &Path) -> Result<()> {
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, mode, 0)?;
    mknodat(CWD, folder.join("char-device"), FileType::CharacterDevice, mode, makedev(1, 3))?;
    mknodat(CWD, folder.join("block-device"), FileType::BlockDevice, mode, makedev(7, 200))?;
    symlink(OsStr::from_bytes(b"/nowhere/\xff"), folder.join("dangling"))?;
    // XFS allows 1023 bytes.
    symlink("x".repeat(1000), folder.join("long-link"))?;
    let odd = folder.join("odd-folder");
    fs::create_dir(&odd)?;
    std::os::unix::fs::chown(&odd, Some(1234), Some(4321))?;
    fs::set_permissions(&odd, Permissions::from_mode(0o3751))?;
    let suid = folder.join("suid");
    fs::write(&suid, "#!")?;
    std::os::unix::fs::chown(&suid, Some(1234), Some(4_000_000_000))?;
    // Changing the owner clears the set-id bits, so the mode comes after it.
    Ok(fs::set_permissions(&suid, Permissions::from_mode(0o6755))?)
}

fn attributes(folder: &Path) -> Result<()> {
    let xattrs = folder.join("xattrs");
    fs::write(&xattrs, "x")?;
    setxattr(&xattrs, "user.comment", b"hello world", XattrFlags::empty())?;
    setxattr(&xattrs, "user.binary", b"\x00\xff\n\r", XattrFlags::empty())?;
    setxattr(&xattrs, "user.empty", b"", XattrFlags::empty())?;
    setxattr(&xattrs, "user.long", &[b'v'; 2000], XattrFlags::empty())?;
    setxattr(&xattrs, "trusted.lab", b"t", XattrFlags::empty())?;
    fs::write(folder.join("acl"), "acl\n")?;
    fs::create_dir(folder.join("acl-folder"))?;
    let acl = |args: &[&str], name: &str| {
        System.run(&Command::new(SETFACL).args(args).arg(folder.join(name))).map(drop)
    };
    acl(&["-m", "u:1234:rw,g:4321:r,m::rw"], "acl")?;
    acl(&["-m", "g:99:rx", "-d", "-m", "u:1234:rwx"], "acl-folder")?;
    let capable = folder.join("capable");
    fs::copy("/bin/true", &capable)?;
    System.run(&Command::new(SETCAP).arg("cap_net_raw,cap_net_bind_service+ep").arg(&capable))?;
    Ok(())
}

fn times(folder: &Path) -> Result<()> {
    for (name, tv_sec, tv_nsec) in [
        ("time-nanoseconds", 1_000_000_000, 123_456_789),
        ("time-before-1970", -86_400 * 365, 999_999_999),
        ("time-2100", 4_102_444_800, 1),
    ] {
        let file = folder.join(name);
        fs::write(&file, name)?;
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &file, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}

/// Last of all: nothing in the folder may have to change afterwards.
fn flags(folder: &Path) -> Result<()> {
    for (name, flag) in [("immutable", "+i"), ("append-only", "+a")] {
        let file = folder.join(name);
        fs::write(&file, name)?;
        System.run(&Command::new(CHATTR).arg(flag).arg(&file))?;
    }
    Ok(())
}
