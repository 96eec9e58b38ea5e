//! Reads an initrd that was built before: one zstd frame of one newc archive, as [`crate::build`] writes it.

use anyhow::{Context, Result, bail, ensure};

use crate::contents::{Contents, Group, Item};

/// More than any initrd of ours unpacks to.
const MAX_ARCHIVE: usize = 1 << 30;
const HEADER: usize = 110;
const KIND: u32 = 0o170_000;

/// What `initrd` holds but kernel modules.
///
/// # Errors
/// It is not an initrd of this builder.
pub(crate) fn without_modules(initrd: &[u8]) -> Result<Contents> {
    let archive = zstd::bulk::decompress(frame(initrd)?, MAX_ARCHIVE).context("unpacking the initrd")?;
    let mut contents = Contents::default();
    let mut rest = &archive[..];
    loop {
        let (member, after) = next(rest)?;
        if member.path == "TRAILER!!!" {
            return Ok(contents);
        }
        rest = after;
        let is_module =
            |folder: &str| member.path == folder || member.path.starts_with(&format!("{folder}/"));
        if !is_module("usr/lib/modules") && !is_module("usr/lib/firmware") {
            let (group, item) = item(&member)?;
            contents.add(member.path, group, item);
        }
    }
}

/// Zeros fill an initrd up to a multiple of four.
fn frame(initrd: &[u8]) -> Result<&[u8]> {
    let length = zstd::zstd_safe::find_frame_compressed_size(initrd).map_err(|code| {
        anyhow::anyhow!("the initrd is no zstd frame: {}", zstd::zstd_safe::get_error_name(code))
    })?;
    Ok(&initrd[..length])
}

struct Member<'a> {
    path: &'a str,
    mode: u32,
    device: (u32, u32),
    data: &'a [u8],
}

fn next(archive: &[u8]) -> Result<(Member<'_>, &[u8])> {
    ensure!(archive.len() >= HEADER && archive.starts_with(b"070701"), "the initrd's archive ends early");
    let field = |number: usize| -> Result<usize> {
        let at = 6 + number * 8;
        let text = std::str::from_utf8(&archive[at..at + 8]).context("a number in the initrd's archive")?;
        usize::from_str_radix(text, 16).context("a number in the initrd's archive")
    };
    let part = |from: usize, length: usize| {
        archive.get(from..from + length).context("the initrd's archive ends early")
    };
    let (size, name_size) = (field(6)?, field(11)?);
    let start = (HEADER + name_size).next_multiple_of(4);
    let name = part(HEADER, name_size.saturating_sub(1))?;
    let member = Member {
        path: std::str::from_utf8(name).context("a name in the initrd's archive")?,
        mode: u32::try_from(field(1)?)?,
        device: (u32::try_from(field(9)?)?, u32::try_from(field(10)?)?),
        data: part(start, size)?,
    };
    Ok((member, archive.get((start + size).next_multiple_of(4)..).unwrap_or_default()))
}

fn item(member: &Member<'_>) -> Result<(Group, Item)> {
    let group = match member.path {
        path if path == "init" || path.ends_with("/sysclone-agent") => Group::Agent,
        path if !path.contains('/') || path.starts_with("etc/") => Group::Base,
        path if path.starts_with("usr/lib") => Group::Libraries,
        _ => Group::Tools,
    };
    let item = match member.mode & KIND {
        0o040_000 => Item::Directory,
        0o020_000 => Item::Device { major: member.device.0, minor: member.device.1 },
        0o100_000 => Item::File { data: member.data.to_vec(), executable: member.mode & 0o111 != 0 },
        0o120_000 => {
            Item::Link(String::from_utf8(member.data.to_vec()).context("a link in the initrd's archive")?)
        }
        mode => bail!("{} in the initrd's archive has the kind {mode:o}", member.path),
    };
    Ok((group, item))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::compress;
    use crate::cpio;

    #[test]
    fn what_was_built_is_read_again_and_its_modules_stay_out() {
        let mut built = Contents::base();
        built.add_program("usr/sbin/sysclone-agent", Group::Agent, "agent");
        built.add("init", Group::Agent, Item::Link("/usr/sbin/sysclone-agent".into()));
        built.add_file("etc/odd", Group::Base, "12345");
        let without = built.clone();
        built.add_file("lib/modules/6.1/kernel/a.ko", Group::Modules, "module");
        let initrd = compress(&cpio::archive(&built)).unwrap();
        let read = without_modules(&initrd).unwrap();
        assert!(read.iter().eq(without.iter()));
        assert!(without_modules(&initrd[..initrd.len() / 2]).is_err());
    }
}
