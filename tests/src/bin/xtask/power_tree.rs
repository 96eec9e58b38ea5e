//! Files on which byte order could show: sizes, times, owners, attributes and device numbers that need all their bytes.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags, makedev, mknodat, setxattr, utimensat,
};
use sysclone_exec::{Command, Runner, System, Tool};

const CP: Tool = Tool("cp");
const SETFACL: Tool = Tool("setfacl");
const SETCAP: Tool = Tool("setcap");
const CHATTR: Tool = Tool("chattr");

/// Fills `folder`, which must be new. `/etc` is many small files of a real system.
pub(crate) fn fill(folder: &Path) -> Result<()> {
    fs::create_dir(folder).context("creating the folder")?;
    System.run(&Command::new(CP).args(["-a", "/etc"]).arg(folder.join("real"))).context("copying /etc")?;
    contents(folder).context("writing files")?;
    kinds(folder).context("making devices and links")?;
    attributes(folder).context("setting attributes")?;
    times(folder).context("setting times")?;
    let file = folder.join("immutable");
    fs::write(&file, "x")?;
    System.run(&Command::new(CHATTR).arg("+i").arg(&file)).context("setting flags")?;
    Ok(())
}

fn contents(folder: &Path) -> Result<()> {
    let far = File::create(folder.join("sparse"))?;
    far.write_all_at(b"at the start", 0)?;
    far.write_all_at(b"beyond 4 GiB", (4 << 30) + 4096)?;
    far.set_len((4 << 30) + (1 << 20))?;
    // Cut into many chunks at places that its content decides, one part compressible, the other not.
    let mut large = File::create(folder.join("large"))?;
    for number in 0..16_384_u32 {
        let hash = blake3::hash(&number.to_le_bytes());
        let times = if number < 8192 { 1 } else { 32 };
        for _ in 0..times {
            large.write_all(hash.as_bytes())?;
        }
    }
    let mut noise = vec![0; 6 << 20];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
    fs::write(folder.join("noise"), noise)?;
    Ok(fs::hard_link(folder.join("large"), folder.join("large-too"))?)
}

fn kinds(folder: &Path) -> Result<()> {
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP;
    mknodat(CWD, folder.join("fifo"), FileType::Fifo, mode, 0)?;
    mknodat(CWD, folder.join("character"), FileType::CharacterDevice, mode, makedev(0x123, 0x45678))?;
    mknodat(CWD, folder.join("block"), FileType::BlockDevice, mode, makedev(7, 300))?;
    symlink("nowhere", folder.join("dangling"))?;
    let owned = folder.join("owned");
    fs::write(&owned, "x")?;
    chown(&owned, Some(0x0102_0304), Some(4_000_000_000))?;
    // Changing the owner clears the set-id bits, so the mode comes after it.
    Ok(fs::set_permissions(&owned, Permissions::from_mode(0o6751))?)
}

fn attributes(folder: &Path) -> Result<()> {
    let file = folder.join("attributes");
    fs::write(&file, "x")?;
    setxattr(&file, "user.binary", b"\x00\xff\n\r\x01\x02\x03", XattrFlags::empty())?;
    setxattr(&file, "trusted.lab", &[b'v'; 2000], XattrFlags::empty())?;
    System.run(&Command::new(SETFACL).args(["-m", "u:1234:rw,g:4321:r,m::rw"]).arg(&file))?;
    let capable = folder.join("capable");
    fs::copy("/bin/true", &capable)?;
    System.run(&Command::new(SETCAP).arg("cap_net_raw,cap_net_bind_service+ep").arg(&capable))?;
    Ok(())
}

fn times(folder: &Path) -> Result<()> {
    let times = [(1_000_000_000, 123_456_789), (-86_400 * 365, 999_999_999), (4_102_444_800, 1)];
    for (tv_sec, tv_nsec) in times {
        let file = folder.join(format!("time{tv_sec}"));
        fs::write(&file, "x")?;
        let time = Timespec { tv_sec, tv_nsec };
        let times = Timestamps { last_access: time, last_modification: time };
        utimensat(CWD, &file, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    Ok(())
}
