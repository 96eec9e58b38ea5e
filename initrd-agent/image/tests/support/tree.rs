//! A tree with everything in it that copies usually lose.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{
    AtFlags, CWD, FallocateFlags, FileType, Mode, Timespec, Timestamps, XattrFlags, fallocate, lsetxattr,
    makedev, mkdirat, mknodat, openat, setxattr, utimensat,
};

use super::{run, text};

/// Bytes that no compressor makes smaller, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn time(path: &Path, seconds: i64, nanos: u32) {
    let time = Timespec { tv_sec: seconds, tv_nsec: nanos.into() };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Fills `root`. Immutable files are in it: [`release`] it before it is removed.
pub fn fill(root: &Path) {
    ordinary(root);
    contents(root);
    names(root);
    attributes(root);
    specials(root);
    volatile_and_identity(root);
    time(&root.join("usr/bin"), 1_000_000_000, 123_456_789);
    time(&root.join("usr"), -1_000, 999_999_999);
    time(root, 1_234_567_890, 5);
}

/// Makes what is immutable changeable again.
pub fn release(root: &Path) {
    for (flags, name) in [("-i", "etc/immutable"), ("-a", "var/log/append"), ("-i", "var/fixed")] {
        run("chattr", &[flags, text(&root.join(name))]);
    }
}

fn ordinary(root: &Path) {
    for directory in ["usr/bin", "etc/ssh", "var/log", "var/fixed", "home", "empty", "srv/many"] {
        fs::create_dir_all(root.join(directory)).unwrap();
    }
    for n in 0..600_u32 {
        fs::write(root.join(format!("srv/many/{n}")), format!("file {n}\n").repeat(n as usize % 50)).unwrap();
    }
    fs::write(root.join("usr/bin/tool"), noise(1, 70_000)).unwrap();
    fs::write(root.join("usr/bin/same"), noise(1, 70_000)).unwrap();
    fs::write(root.join("etc/empty"), b"").unwrap();
    fs::set_permissions(root.join("empty"), fs::Permissions::from_mode(0o3770)).unwrap();
    fs::set_permissions(root.join("usr/bin/tool"), fs::Permissions::from_mode(0o755)).unwrap();
    std::os::unix::fs::chown(root.join("home"), Some(1000), Some(1001)).unwrap();
    std::os::unix::fs::chown(root.join("usr/bin/same"), Some(4_000_000_000), Some(7)).unwrap();
    time(&root.join("usr/bin/same"), 4_000_000_000, 1);
    let suid = root.join("usr/bin/suid");
    fs::write(&suid, b"#!\n").unwrap();
    std::os::unix::fs::chown(&suid, Some(3), Some(5)).unwrap();
    fs::set_permissions(&suid, fs::Permissions::from_mode(0o6755)).unwrap();
}

fn contents(root: &Path) {
    fs::write(root.join("var/large"), noise(2, 23 << 20)).unwrap();
    // One byte more and one less than what is cut or gathered somewhere.
    for len in [4095, 4096, 131_072, 131_073, 1 << 20, (4 << 20) - 1, 4 << 20, (4 << 20) + 1] {
        fs::write(root.join(format!("var/len{len}")), noise(len as u64, len)).unwrap();
    }
    fs::write(root.join("var/text"), "the same line again and again\n".repeat(200_000)).unwrap();
    let sparse = File::create(root.join("var/sparse")).unwrap();
    for (offset, len) in [(0, 5000), (3 << 20, 200_000), (20 << 20, 12 << 20), (4 << 30, 10)] {
        sparse.write_all_at(&noise(offset, len), offset).unwrap();
    }
    sparse.set_len((4 << 30) + 99_999).unwrap();
    File::create(root.join("var/hole")).unwrap().set_len(1 << 30).unwrap();
    fs::write(root.join("var/zeros"), vec![0; 3 << 20]).unwrap();
    let mixed = File::create(root.join("var/mixed")).unwrap();
    mixed.write_all_at(&noise(9, 300_000), 0).unwrap();
    mixed.write_all_at(&vec![0; 2 << 20], 300_000).unwrap();
    mixed.write_all_at(b"end", 8 << 20).unwrap();
    let reserved = File::create(root.join("var/reserved")).unwrap();
    fallocate(&reserved, FallocateFlags::empty(), 0, 1 << 20).unwrap();
    reserved.write_all_at(b"x", 0).unwrap();
}

fn names(root: &Path) {
    let names = root.join("names");
    fs::create_dir(&names).unwrap();
    let odd: [&[u8]; 9] = [
        b"\xff\xfe\x80",
        b"new\nline",
        b" ",
        b"-rf",
        b"quote'\"",
        b"back\\slash",
        b"*",
        b"\x01\x7f",
        &[b'n'; 255],
    ];
    for name in odd {
        fs::write(names.join(OsStr::from_bytes(name)), name).unwrap();
    }
    symlink("", names.join("never")).unwrap_err();
    symlink("/etc/passwd", names.join("absolute")).unwrap();
    symlink(OsStr::from_bytes(b"../\xff"), names.join("odd target")).unwrap();
    // btrfs allows the shortest longest target.
    symlink("t".repeat(1000), names.join("long target")).unwrap();
    time(&names.join("absolute"), 77, 77);
    std::os::unix::fs::lchown(names.join("absolute"), Some(11), Some(12)).unwrap();
    fs::hard_link(names.join("*"), names.join("again")).unwrap();
    fs::hard_link(names.join("*"), root.join("usr/bin/and again")).unwrap();
    fs::hard_link(names.join("absolute"), names.join("linked link")).unwrap();
}

fn attributes(root: &Path) {
    let tool = root.join("usr/bin/ping");
    fs::write(&tool, noise(3, 40_000)).unwrap();
    std::os::unix::fs::chown(&tool, Some(0), Some(33)).unwrap();
    run("setcap", &["cap_net_raw,cap_net_admin+ep", text(&tool)]);
    run("setfacl", &["-m", "u:1234:rwx,g:55:r--", text(&tool)]);
    run("setfacl", &["-d", "-m", "u:77:r-x", text(&root.join("home"))]);
    let empty = XattrFlags::empty();
    setxattr(&tool, "user.comment", b"caf\xe9", empty).unwrap();
    setxattr(&tool, "user.empty", b"", empty).unwrap();
    setxattr(root.join("home"), "user.directory", b"d", empty).unwrap();
    setxattr(root.join("var/large"), "trusted.large", &noise(4, 2000), empty).unwrap();
    setxattr(&tool, "security.selinux", b"system_u:object_r:bin_t:s0\0", empty).unwrap();
    lsetxattr(root.join("names/absolute"), "security.selinux", b"system_u:object_r:etc_t:s0\0", empty)
        .unwrap();
    setxattr(root, "user.root", b"r", empty).unwrap();
    fs::write(root.join("etc/immutable"), b"fixed\n").unwrap();
    fs::write(root.join("var/log/append"), b"line\n").unwrap();
    fs::write(root.join("var/fixed/inside"), b"inside\n").unwrap();
    time(&root.join("var/fixed"), 99, 99);
    run("chattr", &["+i", text(&root.join("etc/immutable"))]);
    run("chattr", &["+a", text(&root.join("var/log/append"))]);
    run("chattr", &["+i", text(&root.join("var/fixed"))]);
}

fn specials(root: &Path) {
    let dev = root.join("devices");
    fs::create_dir(&dev).unwrap();
    let mode = Mode::from_raw_mode(0o620);
    mknodat(CWD, dev.join("null"), FileType::CharacterDevice, mode, makedev(1, 3)).unwrap();
    mknodat(CWD, dev.join("high"), FileType::CharacterDevice, mode, makedev(300, 200_000)).unwrap();
    mknodat(CWD, dev.join("disk"), FileType::BlockDevice, mode, makedev(8, 17)).unwrap();
    mknodat(CWD, dev.join("pipe"), FileType::Fifo, mode, 0).unwrap();
    std::os::unix::fs::chown(dev.join("disk"), Some(0), Some(6)).unwrap();
    setxattr(dev.join("null"), "security.selinux", b"system_u:object_r:null_t:s0\0", XattrFlags::empty())
        .unwrap();
    time(&dev.join("pipe"), 55, 44);
    drop(std::os::unix::net::UnixListener::bind(dev.join("socket")).unwrap());
}

/// Adds a path that is longer than any system call takes; rsync cannot read it.
pub fn deep(root: &Path) {
    let directory = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    let mut at = openat(CWD, root, directory, Mode::empty()).unwrap();
    for _ in 0..25 {
        let name = "d".repeat(250);
        mkdirat(&at, &name, Mode::from_raw_mode(0o751)).unwrap();
        at = openat(&at, &name, directory, Mode::empty()).unwrap();
    }
    let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
    let file = openat(&at, "at the bottom", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
}

fn volatile_and_identity(root: &Path) {
    for (directory, name) in [
        ("tmp", "scratch"),
        ("run", "pid"),
        ("proc", "mounts"),
        ("var/tmp", "x"),
        ("var/lib/sysclone", "sysclone-agent"),
        ("etc", "machine-id"),
        ("etc", "hostname"),
        ("etc/ssh", "ssh_host_ed25519_key"),
    ] {
        fs::create_dir_all(root.join(directory)).unwrap();
        fs::write(root.join(directory).join(name), b"not in the image").unwrap();
    }
    fs::write(root.join("etc/hosts"), b"127.0.0.1 localhost\n").unwrap();
    fs::write(root.join("swapfile"), b"swap").unwrap();
}
