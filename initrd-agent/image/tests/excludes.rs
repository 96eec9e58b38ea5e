//! Exclude rules mean what rsync takes them to mean: rsync judges random lists of rules on one tree.
#![allow(clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestRunner};
use sysclone_image::Excludes;

const NAMES: [&str; 9] = ["a", "b", "ab", "bb", "a1", ".a", "a*", "a\\b", "[a]"];

/// Every name in every directory, two levels deep, and a few names below.
fn tree() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for top in NAMES {
        for middle in NAMES {
            let directory = root.path().join(top).join(middle);
            fs::create_dir_all(&directory).unwrap();
            for leaf in ["a", "ab", "a*"] {
                fs::write(directory.join(leaf), "").unwrap();
            }
        }
        fs::write(root.path().join(top).join("file"), "").unwrap();
        fs::write(root.path().join(format!("{top}file")), "").unwrap();
    }
    root
}

/// What rsync would copy.
fn by_rsync(root: &Path, rules: &[String]) -> BTreeSet<Vec<u8>> {
    let mut command = Command::new("rsync");
    command.args(["-rn", "--out-format=%n"]).args(rules.iter().map(|rule| format!("--exclude={rule}")));
    let output = command.arg(format!("{}/", root.display())).arg("/nonexistent/").output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{rules:?}: {said}");
    let lines = output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines = lines.filter(|line| !line.starts_with(b"created directory"));
    lines.map(|line| line.strip_suffix(b"/").unwrap_or(line).to_vec()).filter(|name| name != b".").collect()
}

/// What we would capture.
fn by_us(root: &Path, rules: &[String]) -> BTreeSet<Vec<u8>> {
    let excludes = Excludes::parse(rules).unwrap();
    let mut kept = BTreeSet::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            let is_directory = entry.file_type().unwrap().is_dir();
            let path = entry.path().strip_prefix(root).unwrap().as_os_str().as_bytes().to_vec();
            if !excludes.matches(&path, is_directory) {
                kept.insert(path);
                if is_directory {
                    open.push(entry.path());
                }
            }
        }
    }
    kept
}

fn pattern() -> impl Strategy<Value = String> {
    let piece = select(vec![
        "a",
        "b",
        "ab",
        "file",
        "1",
        ".",
        "*",
        "**",
        "?",
        "[ab]",
        "[!a]",
        "[^b*]",
        "[[:alpha:]]",
        "[a-b1]",
        "\\*",
        "\\",
        "[]a]",
        "[\\]a]",
    ]);
    let word = prop::collection::vec(piece, 1..4).prop_map(|pieces| pieces.concat());
    let path = prop::collection::vec(word, 1..4).prop_map(|words| words.join("/"));
    let prefix = select(vec!["", "", "/", "+ ", "+ /", "- "]);
    let suffix = select(vec!["", "", "", "/", "/*", "/**", "/***"]);
    (prefix, path, suffix).prop_map(|(prefix, path, suffix)| format!("{prefix}{path}{suffix}"))
}

#[test]
fn rules_mean_what_they_mean_to_rsync() {
    let cases = std::env::var("SYSCLONE_CASES").map_or(60, |n| n.parse().unwrap());
    let tree = tree();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rules = prop::collection::vec(pattern(), 1..4)
        .prop_filter("rules that we refuse", |rules| Excludes::parse(rules).is_ok());
    let result = TestRunner::new(config).run(&rules, |rules| {
        let (rsync, ours) = (by_rsync(tree.path(), &rules), by_us(tree.path(), &rules));
        let shown = |some: &BTreeSet<Vec<u8>>, other: &BTreeSet<Vec<u8>>| {
            let only = some.difference(other).take(5).map(|name| name.escape_ascii().to_string());
            only.collect::<Vec<_>>()
        };
        prop_assert_eq!(shown(&rsync, &ours), Vec::<String>::new(), "kept by rsync alone");
        prop_assert_eq!(shown(&ours, &rsync), Vec::<String>::new(), "kept by us alone");
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}
