//! Any tree, captured from any file system, becomes the same tree on any other, by the word of programs that are not
//! ours. `SYSCLONE_CASES=1000 cargo test -p sysclone-image --test property` tries a thousand trees.
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::path::Path;

use proptest::test_runner::{Config, TestCaseError, TestRunner};
use support::plant::{self, Planted};
use support::volume::Volume;
use support::{Site, options, oracle, random};

const KINDS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// Trees that are tried unless the environment says otherwise.
const CASES: u32 = 3;
/// Names in a tree at most.
const NAMES: usize = 60;

#[test]
fn any_tree_is_the_same_on_every_file_system() {
    let cases = std::env::var("SYSCLONE_CASES").map_or(CASES, |n| n.parse().unwrap());
    let volumes = KINDS.map(|kind| (kind, Volume::new(kind)));
    let config = Config {
        cases,
        max_shrink_iters: 1000,
        max_shrink_time: 60_000,
        failure_persistence: None,
        ..Config::default()
    };
    let result = TestRunner::new(config).run(&(0..KINDS.len(), random::tree(NAMES)), |(golden, tree)| {
        check(&volumes, &volumes[golden], &tree)
    });
    result.unwrap_or_else(|error| panic!("{error}"));
}

/// Captures the tree from one volume, applies it to all; changes it, captures it again, and applies that.
fn check(
    volumes: &[(&str, Volume)],
    (kind, golden): &(&str, Volume),
    tree: &random::Tree,
) -> Result<(), TestCaseError> {
    let root = golden.root().join("golden");
    // What a case before left when it failed in the middle.
    for left in
        volumes.iter().flat_map(|(_, volume)| ["golden", "clone"].map(|name| volume.root().join(name)))
    {
        if left.exists() {
            plant::remove(&left);
        }
    }
    let planted = Planted::new(&root, tree);
    let site = Site::new();
    golden.remount(kind);
    let first = site.commit(&site.capture(options(&root), None));
    let mut wrong = applied(volumes, (&site, &first), &root);
    if wrong.is_empty() {
        planted.change(&tree.edits);
        golden.remount(kind);
        let second = site.commit(&site.capture(options(&root), Some(&first)));
        wrong = applied(volumes, (&site, &second), &root);
    }
    plant::remove(&root);
    if wrong.is_empty() { Ok(()) } else { Err(TestCaseError::fail(format!("from {kind}: {wrong:#?}"))) }
}

fn applied(
    volumes: &[(&str, Volume)],
    (site, manifest): (&Site, &sysclone_image::Manifest),
    golden: &Path,
) -> Vec<String> {
    let mut wrong: Vec<String> = Vec::new();
    wrong.extend(manifest.header.inconsistent.iter().map(|notice| format!("inconsistent: {notice:?}")));
    for (kind, volume) in volumes {
        let clone = volume.root().join("clone");
        std::fs::create_dir(&clone).unwrap();
        match site.apply(manifest, &clone) {
            Err(error) => wrong.push(format!("to {kind}: {error:?}")),
            Ok(report) => {
                wrong.extend(report.warnings.iter().map(|warning| format!("to {kind}: {warning:?}")));
                for (kind, volume) in volumes {
                    volume.remount(kind);
                }
                let found = oracle::differences(golden, &clone);
                wrong.extend(found.into_iter().map(|difference| format!("to {kind}: {difference}")));
            }
        }
        plant::remove(&clone);
    }
    wrong
}
