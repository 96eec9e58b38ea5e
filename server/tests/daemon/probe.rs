//! The check before a deployment, at a server that lacks something and at one that has it.

use std::process::Command;

use serde_json::Value;

use crate::site::Site;

/// What `sysclone probe --json` prints, and its exit status.
fn probe(site: &Site) -> (Vec<Value>, Option<i32>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
    command.args(["probe", "--json", "--socket"]).arg(site.path("run/api.sock"));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let checks = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"));
    (checks, output.status.code())
}

fn verdict<'a>(checks: &'a [Value], subject: &str) -> &'a str {
    let check = checks.iter().find(|check| check["subject"] == subject);
    check.and_then(|check| check["verdict"].as_str()).unwrap_or_else(|| panic!("no {subject} in {checks:?}"))
}

#[test]
fn probe_finds_what_is_missing_and_is_content_when_it_is_there() {
    let site = Site::started();
    let (checks, status) = probe(&site);
    for subject in ["address", "http", "https", "tftp", "nodes", "boot files", "clock"] {
        assert_eq!(verdict(&checks, subject), "good", "{subject}: {checks:?}");
    }
    assert_eq!((verdict(&checks, "network"), verdict(&checks, "image store")), ("failed", "warning"));
    assert_eq!(status, Some(1), "no network is defined");
    let advice = checks.iter().find(|check| check["subject"] == "network").map(|check| &check["advice"]);
    assert!(advice.is_some_and(|advice| advice.as_str().is_some_and(|a| a.contains("mkdef -t network"))));

    site.define("network", "lo", &[("net", "127.0.0.0"), ("mask", "255.0.0.0")]);
    let (checks, _) = probe(&site);
    assert_eq!((verdict(&checks, "network"), verdict(&checks, "nodes")), ("good", "good"));
    site.define("node", "n1", &[("mac", "52:54:00:00:00:01")]);
    assert_eq!(verdict(&probe(&site).0, "nodes"), "warning", "it has no ip");

    std::fs::write(site.path("boot/x86_64/kernel"), "other").unwrap();
    let (checks, status) = probe(&site);
    assert_eq!((verdict(&checks, "boot files"), status), ("failed", Some(1)));
}
