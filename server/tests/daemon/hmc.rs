//! Power and network boot of partitions behind an HMC. Both ssh and the HMC are a fake: a script in ssh's place that
//! hands the command's text to a shell, where scripts named like the HMC's commands answer with its texts.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use crate::site::{MAC, Site};

const SSH: &str = r#"#!/bin/sh
dir=${0%/bin/ssh}
for command; do :; done
case "$*" in
*'-- away '*) echo "ssh: connect to host away port 22: No route to host" >&2; exit 255;;
*'-- stranger '*) echo "Host key verification failed." >&2; exit 255;;
*'-- lost '*) echo "Timeout, server lost not responding." >&2; exit 255;;
esac
PATH=$dir/hmc:$PATH dir=$dir exec sh -c "$command"
"#;

const LSSYSCFG: &str = r#"#!/bin/sh
printf '%s|' lssyscfg "$@" >> "$dir/calls"; echo >> "$dir/calls"
case "$*" in *lpar_ids=9*) echo "No results were found."; exit 0;; esac
[ -e "$dir/on" ] && echo "Running,lp 1" || echo "Not Activated,lp 1"
"#;

const CHSYSSTATE: &str = r#"#!/bin/sh
printf '%s|' chsysstate "$@" >> "$dir/calls"; echo >> "$dir/calls"
case "$*" in *'-o on'*|*--restart*) touch "$dir/on";; *) rm -f "$dir/on";; esac
"#;

const LPAR_NETBOOT: &str = r##"#!/bin/sh
printf '%s|' lpar_netboot "$@" >> "$dir/calls"; echo >> "$dir/calls"
echo "# Connecting to lp 1"
echo "# Connected"
[ -e "$dir/no-adapter" ] && { echo "lpar_netboot: can not find mac address 42DAB."; exit 0; }
[ -e "$dir/silent" ] && { rm "$dir/silent"; echo "lpar_netboot: network boot failed"; exit 1; }
touch "$dir/on"
echo "# Network boot proceeding, lpar_netboot is exiting."
"##;

fn site() -> Site {
    let site = Site::started();
    site.define("network", "lo", &[("net", "127.0.0.0"), ("mask", "255.0.0.0")]);
    let lpar =
        [("mgt", "hmc"), ("hcp", "hmc1"), ("id", "3"), ("pprofile", "it's $(id)"), ("parent", "Server 9117")];
    site.define("node", "n1", &[&lpar[..], &[("mac", MAC), ("ip", "127.0.0.11")]].concat());
    site.add_image("demo");
    fs::create_dir(site.path("hmc")).unwrap();
    for (name, script) in [
        ("bin/ssh", SSH),
        ("hmc/lssyscfg", LSSYSCFG),
        ("hmc/chsysstate", CHSYSSTATE),
        ("hmc/lpar_netboot", LPAR_NETBOOT),
    ] {
        let path = site.path(name);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    site
}

fn calls(site: &Site) -> String {
    fs::read_to_string(site.path("calls")).unwrap()
}

fn cli(site: &Site, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
    let output = command.args(words).env("SYSCLONE_SOCKET", site.path("run/api.sock")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn a_partition_is_switched_by_its_number_and_names_are_single_words() {
    let site = site();
    for (action, said) in
        [("stat", "off"), ("on", "on"), ("stat", "on"), ("boot", "on reset"), ("off", "off")]
    {
        let result = cli(&site, &["rpower", "n1", action]);
        assert_eq!(result, (0, format!("n1: {said}\n"), String::new()), "{action}");
    }
    let calls = calls(&site);
    assert!(calls.contains("chsysstate|-r|lpar|-m|Server 9117|--id|3|-o|on|-f|it's $(id)|\n"), "{calls}");
    assert!(calls.contains("|-o|shutdown|--immed|--restart|\n"), "{calls}");
    let (status, _, err) = cli(&site, &["rsetboot", "n1", "net"]);
    assert!(status == 1 && err.contains("rnetboot boots it from the network"), "{err}");
}

#[test]
fn a_partition_boots_from_the_network_once_something_is_set_for_it() {
    let site = site();
    let (status, out, err) = cli(&site, &["rnetboot", "n1"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("Node is in boot state") && !site.path("calls").exists(), "{err}");
    site.nodeset(&["n1"], "osimage=demo");
    // The network does not answer at first.
    fs::write(site.path("silent"), "").unwrap();
    assert_eq!(cli(&site, &["rnetboot", "n1"]), (0, "n1: Success\n".into(), String::new()));
    let calls = calls(&site);
    let boots: Vec<&str> = calls.lines().filter(|line| line.starts_with("lpar_netboot")).collect();
    let mac = MAC.replace(':', "");
    assert_eq!(boots.len(), 2, "{calls}");
    assert!(
        boots[0].starts_with(&format!("lpar_netboot|-t|ent|-f|-i|-s|auto|-d|auto|-m|{mac}|-S|")),
        "{calls}"
    );
    assert!(boots[0].contains("|-C|127.0.0.11|-G|"), "{calls}");
    assert!(boots[0].ends_with("|lp 1|it's $(id)|Server 9117|"), "{calls}");
    assert!(site.has_event("power", "Network boot proceeding"));
}

#[test]
fn what_the_hmc_says_comes_with_what_to_do() {
    let site = site();
    site.nodeset(&["n1"], "osimage=demo");
    fs::write(site.path("no-adapter"), "").unwrap();
    let (status, out, err) = cli(&site, &["rnetboot", "n1"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(err.contains("can not find mac address 42DAB") && err.contains("compare mac"), "{err}");
    assert_eq!(calls(&site).matches("lpar_netboot|").count(), 1, "asked again in vain");
    for (attribute, value, part) in [
        ("id", "9", "compare id with"),
        ("hcp", "stranger", "known_hosts"),
        ("hcp", "lost", "it may have done it"),
        ("hcp", "away", "cannot reach the HMC away by ssh"),
    ] {
        site.define("node", "n1", &[(attribute, value)]);
        let (status, _, err) = cli(&site, &["rpower", "n1", "stat", "--retries", "0"]);
        assert!(status == 1 && err.contains(part), "{part}: {err}");
    }
}
