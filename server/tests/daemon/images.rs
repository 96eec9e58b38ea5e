//! `sysclone image …` as it is typed, against the real daemon and a store with real generations.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::site::{Site, read};

/// What a verb answered.
struct Said {
    status: i32,
    out: Vec<u8>,
    text: String,
}

impl Said {
    /// All that was printed, when the exit status is this.
    #[track_caller]
    fn with(self, status: i32) -> String {
        assert_eq!(self.status, status, "{}", self.text);
        self.text
    }
}

impl Site {
    fn image(&self, words: &[&str]) -> Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
        command.arg("image").args(words).env("SYSCLONE_SOCKET", self.path("run/api.sock"));
        let output = command.output().unwrap();
        let text =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        Said { status: output.status.code().unwrap(), out: output.stdout, text }
    }

    fn packs(&self) -> Vec<PathBuf> {
        let directories = fs::read_dir(self.path("state/store/packs")).unwrap();
        let files = directories.flat_map(|directory| fs::read_dir(directory.unwrap().path()).unwrap());
        files.map(|file| file.unwrap().path()).collect()
    }
}

/// A tree, and what is changed in it for the next generation.
fn tree() -> TempDir {
    let tree = tempfile::tempdir_in("/var/tmp").unwrap();
    let at = |name: &str| tree.path().join(name);
    for directory in ["etc/ssh", "usr/bin", "srv/old"] {
        fs::create_dir_all(at(directory)).unwrap();
    }
    fs::write(at("etc/motd"), "first\n").unwrap();
    fs::write(at("etc/ssh/sshd_config"), "Port 22\n").unwrap();
    let noise: Vec<u8> = (0..300_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    fs::write(at("srv/old/data"), noise).unwrap();
    fs::write(at("usr/bin/tool"), b"\x7fELF tool").unwrap();
    fs::set_permissions(at("usr/bin/tool"), Permissions::from_mode(0o4755)).unwrap();
    symlink("tool", at("usr/bin/link")).unwrap();
    fs::hard_link(at("usr/bin/tool"), at("usr/bin/hard")).unwrap();
    let setfattr = ["-n", "user.note", "-v", "kept"];
    assert!(Command::new("setfattr").args(setfattr).arg(at("etc/motd")).status().unwrap().success());
    tree
}

fn change(tree: &Path) {
    fs::write(tree.join("etc/motd"), "second\n").unwrap();
    fs::rename(tree.join("srv/old"), tree.join("srv/new")).unwrap();
    fs::remove_file(tree.join("etc/ssh/sshd_config")).unwrap();
    fs::set_permissions(tree.join("usr/bin/tool"), Permissions::from_mode(0o755)).unwrap();
    fs::write(tree.join("etc/added"), "new").unwrap();
}

/// What rsync would still have to do to make both equal, by content and by everything that it looks at.
fn differences(ours: &Path, golden: &Path) -> String {
    let mut rsync = Command::new("rsync");
    rsync.args(["-aHAXSni", "--checksum", "--delete"]).arg(format!("{}/", golden.display())).arg(ours);
    let output = rsync.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn generations_are_listed_compared_and_read_without_mounting_anything() {
    let (site, golden) = (Site::started(), tree());
    site.add_image_of("demo", golden.path());
    let first = tempfile::tempdir_in("/var/tmp").unwrap();
    let copy = first.path().join("copy");
    assert!(Command::new("cp").arg("-a").args([golden.path(), &copy]).status().unwrap().success());
    change(golden.path());
    site.add_image_of("demo", golden.path());

    let list = site.image(&["list"]).with(0);
    assert!(list.contains("demo@2") && !list.contains("demo@1"), "{list}");
    let history = site.image(&["history", "demo"]).with(0);
    assert!(history.contains("demo@1") && history.contains("golden"), "{history}");
    let shown = site.image(&["show", "demo@1"]).with(0);
    assert!(shown.contains("Debian 12 (x86_64)"), "{shown}");

    let diff = site.image(&["diff", "demo@1", "demo"]).with(0);
    for line in [
        "A /etc/added\n",
        "M /etc/motd\n",
        "D /etc/ssh/sshd_config\n",
        "R /srv/old/data -> /srv/new/data\n",
        "m /usr/bin/tool\n",
    ] {
        assert!(diff.contains(line), "{line:?} in {diff}");
    }
    assert_eq!(site.image(&["cat", "demo@1", "/etc/motd"]).out, b"first\n");
    assert_eq!(site.image(&["cat", "demo", "srv/new/data"]).out, read(&copy.join("srv/old/data")));
    let missing = site.image(&["cat", "demo", "/etc/ssh/sshd_config"]).with(1);
    assert!(missing.contains("demo@2 has no /etc/ssh/sshd_config"), "{missing}");
    assert_eq!(site.image(&["ls", "demo", "/etc"]).with(0), "added\nmotd\nssh\n");
    let long = site.image(&["ls", "-l", "demo@1", "/usr/bin"]).with(0);
    assert!(long.lines().any(|line| line.starts_with("-4755") && line.ends_with(" tool")), "{long}");
    assert!(long.contains("link -> tool"), "{long}");

    let out = first.path().join("out");
    site.image(&["checkout", "demo@1", "/", out.to_str().unwrap()]).with(0);
    assert_eq!(differences(&out, &copy), "");
    let again = site.image(&["checkout", "demo", "/", out.to_str().unwrap()]).with(1);
    assert!(again.contains("is not empty"), "{again}");
    let part = first.path().join("part");
    site.image(&["checkout", "demo", "/usr", part.to_str().unwrap()]).with(0);
    assert_eq!(differences(&part, &golden.path().join("usr")), "");
}

#[test]
fn a_tagged_generation_stays_and_an_older_one_becomes_the_newest_again() {
    let (site, golden) = (Site::started(), tree());
    site.add_image_of("demo", golden.path());
    change(golden.path());
    site.add_image_of("demo", golden.path());

    site.image(&["tag", "demo@1", "stable"]).with(0);
    assert_eq!(site.image(&["cat", "demo@stable", "/etc/motd"]).out, b"first\n");
    let held = site.image(&["rm", "demo@1"]).with(1);
    assert!(held.contains("stable"), "{held}");
    let which = site.image(&["rm", "demo"]).with(1);
    assert!(which.contains("say which generation"), "{which}");
    assert!(site.image(&["rollback", "demo@stable"]).with(0).contains("demo@3 is the newest"));
    assert_eq!(site.image(&["cat", "demo", "/etc/motd"]).out, b"first\n");
    assert_eq!(site.image(&["diff", "demo@1", "demo@3"]).with(0).lines().count(), 1, "only the sum");

    site.image(&["rm", "demo@2"]).with(0);
    assert!(!site.image(&["history", "demo"]).with(0).contains("demo@2"));
    // What just lost its name is not freed at once: somebody may be reading it.
    assert!(site.image(&["gc"]).with(0).contains("too young to go"));
    assert_eq!(site.image(&["cat", "demo@1", "/etc/motd"]).out, b"first\n");
    assert!(site.has_event("image-rolled-back", "demo@3") && site.has_event("image-removed", "demo@2"));
}

#[test]
fn keep_lets_old_generations_go_but_not_a_tagged_one() {
    let (site, golden) = (Site::started(), tree());
    for round in 0..4 {
        fs::write(golden.path().join("etc/motd"), format!("{round}\n")).unwrap();
        site.add_image_of("demo", golden.path());
    }
    site.image(&["tag", "demo@2", "stable"]).with(0);
    let refused = site.try_define("change", "osimage", "demo", &[("keep", "five")]).unwrap_err();
    assert!(refused.contains("30d"), "{refused}");
    site.define("osimage", "demo", &[("keep", "1")]);
    let planned = site.image(&["gc", "--dry-run"]).with(0);
    assert!(planned.contains("demo@3 would be removed") && !planned.contains("demo@2"), "{planned}");
    assert!(site.image(&["history", "demo"]).with(0).contains("demo@1"), "a plan only");
    site.image(&["gc"]).with(0);
    let left = site.image(&["history", "demo"]).with(0);
    let names: Vec<&str> = left.lines().skip(1).map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(names, ["demo@2", "demo@4"]);
}

#[test]
fn a_damaged_store_says_what_it_lost_and_is_repaired_from_a_copy() {
    let (site, golden) = (Site::started(), tree());
    site.add_image_of("demo", golden.path());
    site.image(&["verify", "demo"]).with(0);
    let backup = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = site.path("state/store");
    assert!(Command::new("cp").arg("-a").arg(&store).arg(backup.path()).status().unwrap().success());
    let pack = site.packs().remove(0);
    let file = fs::OpenOptions::new().read(true).write(true).open(&pack).unwrap();
    let (mut byte, middle) = ([0], file.metadata().unwrap().len() / 2);
    file.read_exact_at(&mut byte, middle).unwrap();
    file.write_all_at(&[byte[0] ^ 1], middle).unwrap();

    let verified = site.image(&["verify", "demo"]).with(1);
    let id = pack.file_name().unwrap().to_str().unwrap().to_owned();
    assert!(verified.contains(&id) && verified.contains("/srv/old/data"), "{verified}");
    let checked = site.image(&["fsck"]).with(1);
    assert!(checked.contains(&id) && checked.contains("demo@1 loses"), "{checked}");
    let from = backup.path().join("store");
    let repaired = site.image(&["fsck", "--repair-from", from.to_str().unwrap()]).with(0);
    assert!(repaired.contains("1 packs taken"), "{repaired}");
    site.image(&["verify", "demo"]).with(0);
    site.image(&["fsck"]).with(0);
}

#[test]
fn an_exported_image_comes_into_another_server_that_was_told_to_trust_it() {
    let (site, other, golden) = (Site::started(), Site::started(), tree());
    site.add_image_of("demo", golden.path());
    change(golden.path());
    site.add_image_of("demo", golden.path());
    let file = site.path("demo.export");
    let file = file.to_str().unwrap();
    let exported = site.image(&["export", "--all", "demo", file]).with(0);
    let key = exported.split("signed by ").nth(1).unwrap().split(';').next().unwrap();
    assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(site.image(&["export", "demo", file]).with(1).contains("is there already"));

    let refused = other.image(&["import", file]).with(1);
    assert!(refused.contains(key) && refused.contains("--trust"), "{refused}");
    let half = site.path("half.export");
    let whole = read(Path::new(file));
    fs::write(&half, &whole[..whole.len() / 2]).unwrap();
    other.image(&["import", "--trust", key, half.to_str().unwrap()]).with(1);
    assert_eq!(other.image(&["list"]).with(0).lines().count(), 1, "half an export makes no image");
    let imported = other.image(&["import", "--trust", key, file]).with(0);
    assert!(imported.contains("demo@1, demo@2"), "{imported}");
    assert_eq!(other.image(&["cat", "demo", "/etc/motd"]).out, b"second\n");
    other.image(&["verify", "demo@1"]).with(0);
    let again = other.image(&["import", "--trust", key, file]).with(0);
    assert!(again.contains(" 0 new packs"), "{again}");
    let defined = other.admin("GET", "objects/osimage?names=demo", None).text();
    assert!(defined.contains("sysclone") && defined.contains("debian12"), "{defined}");

    let closed = site.path("closed.export");
    let closed = closed.to_str().unwrap();
    site.image(&["export", "--without-key", "demo", closed]).with(0);
    let refused = other.image(&["import", "--trust", key, "--name", "copy", closed]).with(1);
    assert!(refused.contains("--without-key"), "{refused}");
    // The key of demo is here from the first time.
    other.image(&["import", "--trust", key, closed]).with(0);
}
