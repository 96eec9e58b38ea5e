//! xdsh, xdcp and updatenode as they are typed, with scripts in the place of ssh and scp that run here what they are
//! told to run there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output};

use serde_json::json;

use crate::site::{Site, read};

/// Plays ssh and the machine: `down` cannot be reached, all others are this one. Its options are written down.
const SSH: &str = r#"#!/bin/sh
dir=${0%/bin/ssh}
for command; do :; done
printf '%s\n' "$*" >> "$dir/calls"
case "$*" in *'-- 127.0.0.33 '*) echo "ssh: connect to host 127.0.0.33 port 22: No route to host" >&2; exit 255;; esac
cd "$dir/there" && exec sh -c "$command"
"#;

/// Plays scp: paths of the other side are below `there`.
const SCP: &str = r#"#!/bin/bash
dir=${0%/bin/scp}
printf '%s\n' "$*" >> "$dir/calls"
words=()
past=
for word; do
    [ "$past" ] && words+=("${word/#root@127.*:/$dir/there}")
    [ "$word" = -- ] && past=1
done
case "$*" in *root@127.0.0.33:*) echo "ssh: connect to host: No route to host" >&2; exit 255;; esac
exec cp -r "${words[@]}"
"#;

fn site() -> Site {
    let site = Site::started();
    for (node, ip) in [("n1", "127.0.0.31"), ("n2", "127.0.0.32"), ("down", "127.0.0.33")] {
        site.define("node", node, &[("ip", ip), ("groups", "all")]);
    }
    for (name, script) in [("ssh", SSH), ("scp", SCP)] {
        let path = site.path("bin").join(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::create_dir(site.path("there")).unwrap();
    site
}

impl Site {
    fn verb(&self, words: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
        command.args(words).env("SYSCLONE_SOCKET", self.path("run/api.sock")).output().unwrap()
    }
}

/// Both outputs, each with its lines in order, and the exit status.
fn said(output: &Output) -> (Vec<String>, Vec<String>, i32) {
    let sorted = |bytes: &[u8]| {
        let mut lines: Vec<String> = String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    (sorted(&output.stdout), sorted(&output.stderr), output.status.code().unwrap())
}

#[test]
fn a_command_runs_on_every_node_and_each_line_says_where_it_is_from() {
    let site = site();
    let (out, err, status) = said(&site.verb(&["xdsh", "n1,n2", "echo one; echo two >&2"]));
    assert_eq!(
        (out, err, status),
        (vec!["n1: one".into(), "n2: one".into()], vec!["n1: two".into(), "n2: two".into()], 0)
    );

    // One that fails, and one that cannot be reached, fail alone.
    let (out, err, status) = said(&site.verb(&["xdsh", "n1,down", "-s", "test -d nowhere || exit 3"]));
    assert!(out.is_empty() && status == 1, "{out:?} {status}");
    assert!(err[0].contains("cannot reach down by ssh as root@127.0.0.33"), "{err:?}");
    assert!(err.iter().any(|line| line == "n1: Error: exit status 3"), "{err:?}");
    let (out, ..) = said(&site.verb(&["xdsh", "n1-n2", "-z", "exit", "4"]));
    assert_eq!(out, ["n1: Remote_command_failed, error_code=4", "n2: Remote_command_failed, error_code=4"]);
    let (_, err, status) = said(&site.verb(&["xdsh", "n1,nobody", "true"]));
    assert!(err[0].contains("nobody") && status == 1, "{err:?}");

    let (_, err, status) = said(&site.verb(&["xdsh", "n1", "-t", "1", "exec", "sleep", "1000"]));
    assert!(err[0].contains("did not end within 1 s") && status == 1, "{err:?}");
    let calls = String::from_utf8(read(&site.path("calls"))).unwrap();
    assert!(calls.contains("BatchMode=yes") && calls.contains("HostKeyAlias=n1"), "{calls}");
    assert!(site.has_event("nodes-run", "the command 'exit 4' runs on n1,n2"));
}

#[test]
fn a_script_goes_to_the_node_and_does_not_stay_there() {
    let site = site();
    let script = site.path("check script");
    fs::write(&script, "#!/bin/sh\necho \"$# $2\"; echo \"$0\" > ran-as\n").unwrap();
    let output = site.verb(&["xdsh", "n1", "-e", script.to_str().unwrap(), "a b", "it's; exit 5"]);
    assert_eq!(said(&output), (vec!["n1: 2 it's; exit 5".into()], vec![], 0));
    let ran_as = String::from_utf8(read(&site.path("there/ran-as"))).unwrap();
    assert!(!fs::exists(ran_as.trim()).unwrap(), "{ran_as}");
}

#[test]
fn files_go_to_nodes_and_come_back_into_a_directory_for_each() {
    let site = site();
    let file = site.path("motd");
    fs::write(&file, "hello\n").unwrap();
    let output = site.verb(&["xdcp", "n1", file.to_str().unwrap(), "/motd-there"]);
    assert_eq!(said(&output), (vec![], vec![], 0));
    assert_eq!(read(&site.path("there/motd-there")), b"hello\n");
    let back = site.path("back");
    let (_, err, status) = said(&site.verb(&["xdcp", "all", "-P", "/motd-there", back.to_str().unwrap()]));
    assert!(err.len() == 1 && err[0].contains("cannot reach down") && status == 1, "{err:?}");
    for node in ["n1", "n2"] {
        assert_eq!(read(&back.join(node).join("motd-there")), b"hello\n");
    }
    let (_, err, status) = said(&site.verb(&["xdcp", "n1", "/nowhere/at-all", "/x"]));
    assert!(err[0].contains("n1: ") && err[0].contains("at-all") && status == 1, "{err:?}");
}

#[test]
fn updatenode_puts_the_agent_on_a_golden_client_once() {
    let site = crate::capture::site();
    let installed = said(&site.verb(&["updatenode", "golden", "-S"]));
    assert_eq!(installed, (vec!["golden: the agent is installed".into()], vec![], 0));
    assert_eq!(read(&site.path("pushed")), read(&site.path("boot/x86_64/sysclone-agent")));
    let again = said(&site.verb(&["updatenode", "golden", "-S"]));
    assert_eq!(again, (vec!["golden: the agent is up to date".into()], vec![], 0));
}

#[test]
fn shells_are_offered_what_the_daemon_knows() {
    let site = site();
    site.add_image("demo");
    let offered = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
        command.arg("--").arg("sysclone").args(words).env("COMPLETE", "fish");
        let output = command.env("SYSCLONE_SOCKET", site.path("run/api.sock")).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| line.split('\t').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(offered(&["rpower", "n"]), ["n1", "n2"]);
    assert_eq!(offered(&["rpower", "n1,-d"]), ["n1,-down"]);
    assert_eq!(offered(&["nodeset", "n1", "osimage=d"]), ["osimage=demo"]);
    assert_eq!(offered(&["image", "diff", "demo@1", "demo@"]), ["demo@1"]);
    assert_eq!(offered(&["rpower", "n2("]), [""; 0]);
}

#[test]
fn accounts_cannot_be_options_of_ssh_nor_wrong_options_commands() {
    let site = site();
    let body = json!({ "nodes": ["n1"], "command": "true", "user": "-oProxyCommand=x" });
    let answer = site.admin("POST", "run", Some(body));
    assert!(answer.status == 400 && answer.error().contains("is not the name of an account"));
    let (_, err, status) = said(&site.verb(&["xdsh", "n1", "--fanuot", "3", "true"]));
    assert!(err.iter().any(|line| line.contains("--fanuot")) && status == 2, "{err:?}");
    assert!(!site.path("calls").exists());
}
