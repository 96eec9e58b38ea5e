//! Who may do what, and what is written down of it, seen by an account that is not root.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use crate::site::{Site, outcomes};
use serde_json::json;

/// Runs the command line as `nobody`, whom the group of the daemon's directory lets in.
fn nobody(site: &Site, words: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_sysclone");
    Command::new("setpriv")
        .args(["--reuid=nobody", "--regid=0", "--clear-groups", program])
        .args(words)
        .env("SYSCLONE_SOCKET", site.path("run/api.sock"))
        .output()
        .unwrap()
}

fn site() -> Site {
    let site = Site::started();
    fs::set_permissions(site.path(""), Permissions::from_mode(0o750)).unwrap();
    for (node, group) in [("n1", "compute"), ("n2", "compute"), ("n3", "login")] {
        site.define("node", node, &[("groups", group)]);
    }
    site
}

#[track_caller]
fn allowed(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[track_caller]
fn denied(output: &Output, sentence: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && said.contains("Permission denied for request") && said.contains(sentence),
        "{said}"
    );
}

#[test]
fn rules_decide_for_everybody_but_root() {
    let site = site();
    allowed(&nobody(&site, &["chdef", "n3", "nichosts=a"]));
    let differences = nobody(&site, &["updatenode", "n3", "-S", "--dry-run", "--diff"]);
    assert!(String::from_utf8_lossy(&differences.stderr).contains("shown to root only"), "{differences:?}");

    site.define("policy", "5", &[("name", "nobody"), ("commands", "lsdef,nodels"), ("rule", "allow")]);
    site.define(
        "policy",
        "6",
        &[("name", "nobody"), ("commands", "nodeset,nodech"), ("noderange", "compute"), ("rule", "allow")],
    );
    site.define("policy", "5.5", &[("commands", "nodeset"), ("parameters", "^osimage"), ("rule", "deny")]);
    allowed(&nobody(&site, &["lsdef", "n1"]));
    allowed(&nobody(&site, &["nodeset", "n1,n2", "offline"]));
    allowed(&nobody(&site, &["chdef", "compute", "nichosts=b"]));
    denied(&nobody(&site, &["nodeset", "n1,n3", "offline"]), "nodeset by nobody: no policy rule allows it");
    denied(&nobody(&site, &["nodeset", "n1", "osimage=demo"]), "policy rule 5.5 does not allow it");
    denied(&nobody(&site, &["rmdef", "n1"]), "rmdef by nobody: no policy rule allows it");
    denied(&nobody(&site, &["chdef", "-t", "group", "compute", "nichosts=c"]), "chdef by nobody");
    denied(&nobody(&site, &["audit"]), "audit by nobody");
    denied(&nobody(&site, &["updatenode", "n1", "-S", "--dry-run"]), "updatenode by nobody");
    denied(&nobody(&site, &["verify", "n1"]), "verify by nobody");
    site.define("policy", "4", &[("commands", "lsdef"), ("parameters", "--secrets"), ("rule", "deny")]);
    denied(&nobody(&site, &["lsdef", "n1", "--secrets"]), "policy rule 4 does not allow it");
    // Nobody who may change definitions may give himself more.
    site.define("policy", "7", &[("name", "nobody"), ("rule", "allow")]);
    denied(&nobody(&site, &["chdef", "-t", "policy", "1", "rule=trusted"]), "chdef by nobody: policy rule 7");
    allowed(&nobody(&site, &["chdef", "-t", "site", "clustersite", "domain=x"]));
    site.define("policy", "7", &[("rule", "trusted")]);
    allowed(&nobody(&site, &["chdef", "-t", "policy", "1", "name=nobody", "rule=deny"]));
    denied(&nobody(&site, &["lsdef", "n1"]), "lsdef by nobody: policy rule 1 does");
    assert_eq!(site.nodeset(&["n3"], "offline"), [Ok("offline".to_owned())], "root may");
    let refused = site.try_define("change", "policy", "9", &[("rule", "perhaps")]).unwrap_err();
    assert!(refused.contains("allow, deny or trusted is expected"), "{refused}");
}

#[test]
fn what_is_done_and_denied_is_written_down() {
    let site = site();
    site.define("policy", "5", &[("name", "nobody"), ("commands", "chdef"), ("rule", "allow")]);
    let words = ["chdef", "n1,n2,n4", "bmcpassword=geheim", "mgt=ipmi"];
    nobody(&site, &words);
    denied(&nobody(&site, &["rpower", "n1", "off"]), "");
    denied(&nobody(&site, &["rpower", "n1", "off"]), "");
    assert_eq!(
        outcomes(&site.admin(
            "POST",
            "nodeset",
            Some(json!({ "nodes": ["n1", "gone"], "state": "offline" }))
        ))
        .len(),
        2
    );

    let verb = |words: &[&str]| {
        let socket = site.path("run/api.sock");
        let output = Command::new(env!("CARGO_BIN_EXE_sysclone"))
            .arg("audit")
            .args(words)
            .env("SYSCLONE_SOCKET", socket)
            .output()
            .unwrap();
        allowed(&output);
        String::from_utf8(output.stdout).unwrap()
    };
    let all = verb(&["-n", "3"]);
    let lines: Vec<&str> = all.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    assert_eq!(
        lines,
        [
            "admin:nobody chdef n1,n2,n4 -t node bmcpassword=******** mgt=ipmi (allowed by rule 5; 3 done)",
            "admin:nobody rpower n1 off (DENIED, no rule allows it)",
            "admin:root nodeset n1,gone offline (1 done, 1 failed)",
        ],
        "{all}"
    );
    assert!(!verb(&["-n", "100", "--json"]).contains("geheim"));
    assert_eq!(verb(&["--denied"]).lines().count(), 1, "the same again within a minute is one line");
    assert_eq!(verb(&["--user", "nobody", "--command", "chdef"]).lines().count(), 1);
    assert_eq!(verb(&["--since", "1h", "--user", "nobody"]).lines().count(), 2);
    assert_eq!(verb(&["--since", "2999-01-01"]).lines().count(), 0);
}
