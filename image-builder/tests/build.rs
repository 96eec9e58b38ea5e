//! Whole builds by the real command from real Debian packages, judged by cpio, depmod and comparison of bytes.

#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use sysclone_image_builder::output::Index;

/// A stand-in for the agent: says which tools it starts. Nothing in a build looks inside it.
const AGENT: &str = "#!/bin/sh\necho lvm mdadm sfdisk mkfs.ext4 sh\n";

fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// Runs the builder with its working directory, umask and package cache as given.
fn builder(out: &Path, cache: &Path, umask: &str, extra: &[&str]) -> Output {
    let agent = scratch().join("agent.sh");
    Command::new("sh")
        .args([
            "-c",
            "umask \"$0\"; exec \"$@\"",
            umask,
            env!("CARGO_BIN_EXE_sysclone-image-builder"),
            "build",
        ])
        .arg("--agent")
        .arg(agent)
        .arg("--out")
        .arg(out)
        .arg("--cache")
        .arg(cache)
        .args(extra)
        .current_dir(out.parent().expect("the output has a parent"))
        .output()
        .expect("sh starts")
}

fn fresh(name: &str) -> PathBuf {
    let dir = scratch().join(name);
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir).expect("the scratch directory can be written");
    dir
}

/// The build that the tests look at, made once.
fn built() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        use std::os::unix::fs::PermissionsExt;
        let agent = scratch().join("agent.sh");
        std::fs::write(&agent, AGENT).expect("the scratch directory can be written");
        std::fs::set_permissions(&agent, std::fs::Permissions::from_mode(0o755)).expect("the file is ours");
        let out = fresh("first").join("boot");
        let run = builder(&out, &scratch().join("cache"), "022", &[]);
        assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
        out
    })
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let index: Index = serde_json::from_slice(&std::fs::read(dir.join("boot.json")).unwrap()).unwrap();
    let mut files: BTreeMap<_, _> =
        index.files.into_iter().map(|f| (f.file.clone(), std::fs::read(dir.join(f.file)).unwrap())).collect();
    files.insert("boot.json".into(), std::fs::read(dir.join("boot.json")).unwrap());
    files
}

/// The initrd unpacked by GNU cpio.
fn unpacked() -> &'static Path {
    static UNPACKED: OnceLock<PathBuf> = OnceLock::new();
    UNPACKED.get_or_init(|| {
        let dir = fresh("unpacked");
        // The frame is followed by up to three zero bytes, which only the kernel expects.
        let initrd = std::fs::read(built().join("x86_64/initrd.img")).unwrap();
        let mut archive = Vec::new();
        let mut decoder = zstd::Decoder::new(initrd.as_slice()).unwrap().single_frame();
        std::io::copy(&mut decoder, &mut archive).unwrap();
        std::fs::write(dir.join("archive"), archive).unwrap();
        let cpio = Command::new("cpio")
            .args(["-idm", "--quiet", "--nonmatching", "dev/*"])
            .stdin(std::fs::File::open(dir.join("archive")).unwrap())
            .current_dir(&dir)
            .status()
            .unwrap();
        assert!(cpio.success());
        dir
    })
}

#[test]
fn the_same_inputs_give_the_same_bytes_anywhere_at_any_time_under_any_umask() {
    let first = built();
    let elsewhere = fresh("somewhere/else");
    let cache = fresh("other-cache");
    for package in std::fs::read_dir(scratch().join("cache")).unwrap() {
        let package = package.unwrap().path();
        std::fs::hard_link(&package, cache.join(package.file_name().unwrap())).unwrap();
    }
    let second = elsewhere.join("out");
    let run = builder(&second, &cache, "077", &[]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let (first, second) = (files(first), files(&second));
    assert_eq!(first.keys().collect::<Vec<_>>(), second.keys().collect::<Vec<_>>());
    for (name, data) in &first {
        assert!(data == &second[name], "{name} differs");
    }
}

#[test]
fn the_index_states_every_file_and_its_digest() {
    let index: Index = serde_json::from_slice(&std::fs::read(built().join("boot.json")).unwrap()).unwrap();
    let names: BTreeSet<_> = index.files.iter().map(|f| f.file.as_str()).collect();
    for name in [
        "x86_64/kernel",
        "x86_64/initrd.img",
        "x86_64/sysclone-agent",
        "loaders/undionly.kpxe",
        "loaders/lpxelinux.0",
        "loaders/ldlinux.c32",
        "loaders/grub2/i386-pc/core.0",
    ] {
        assert!(names.contains(name), "{name}");
    }
    for file in &index.files {
        let data = std::fs::read(built().join(&file.file)).unwrap();
        assert_eq!((file.size, &file.blake3), (data.len() as u64, &blake3::hash(&data).to_hex().to_string()));
    }
    let facts = &index.architectures["x86_64"];
    assert!(facts.packages.iter().any(|p| p.name == format!("linux-image-{}", facts.kernel_release)));
}

#[test]
fn the_module_index_is_what_depmod_makes_of_the_same_modules() {
    let root = unpacked();
    let release = std::fs::read_dir(root.join("lib/modules")).unwrap().next().unwrap().unwrap().file_name();
    let dir = root.join("lib/modules").join(&release);
    let lines = |name: &str| -> BTreeSet<String> {
        let text = std::fs::read_to_string(dir.join(name)).unwrap();
        text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect()
    };
    // The order of what a module needs is not unique; the set is.
    let needs = |name: &str| -> BTreeMap<String, BTreeSet<String>> {
        let split = |line: String| {
            let (module, needs) = line.split_once(':').expect("modules.dep has a colon on every line");
            (module.to_owned(), needs.split_whitespace().map(str::to_owned).collect())
        };
        lines(name).into_iter().map(split).collect()
    };
    // depmod replaces the files it is compared with.
    let ours = (needs("modules.dep"), lines("modules.alias"), lines("modules.softdep"));
    let depmod = Command::new("/sbin/depmod").arg("-b").arg(root).arg(&release).output().unwrap();
    assert!(depmod.status.success(), "{}", String::from_utf8_lossy(&depmod.stderr));
    assert_eq!(ours.0, needs("modules.dep"));
    assert_eq!(ours.1, lines("modules.alias"));
    assert_eq!(ours.2, lines("modules.softdep"));
}

#[test]
fn modules_come_after_what_they_need_in_the_load_order() {
    let root = unpacked();
    let release = std::fs::read_dir(root.join("lib/modules")).unwrap().next().unwrap().unwrap().path();
    let order = std::fs::read_to_string(release.join("modules.order")).unwrap();
    let place: BTreeMap<&str, usize> = order.lines().enumerate().map(|(n, line)| (line, n)).collect();
    for line in std::fs::read_to_string(release.join("modules.dep")).unwrap().lines() {
        let Some((module, needs)) = line.split_once(':') else { continue };
        for needed in needs.split_whitespace() {
            assert!(place[needed] < place[module], "{module} comes before {needed}");
        }
    }
}

#[test]
fn what_is_missing_is_named_and_nothing_is_replaced() {
    let out = built();
    let before = files(out);
    let cache = scratch().join("cache");
    for (extra, named) in [
        (vec!["--module", "no_such_driver"], "no_such_driver"),
        (vec!["--tree", "/proc"], "lvm (package lvm2)"),
        (vec!["--kernel", "/none", "--modules", "/none"], "/none"),
    ] {
        let run = builder(out, &cache, "022", &extra);
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(1), "{extra:?}: {text}");
        assert!(text.contains(named), "{extra:?}: {text}");
    }
    assert!(before == files(out));
}
