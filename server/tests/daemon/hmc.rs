//! Power and network boot of partitions behind an HMC or IVM, through real ssh. What answers there is a fake.

use std::fs;
use std::process::Command;

use crate::hmc_sshd::{Hmc, make_key};
use crate::site::{MAC, Site};

const PROFILE: &str = "it's $(id)";
const SYSTEM: &str = "Server 9117";

fn site() -> (Site, Hmc) {
    let site = Site::started();
    make_key(&site.path("id"));
    let hmc = Hmc::start(site.path("hmc"), &site.path("id"));
    let mac = MAC.replace(':', "");
    let machine = format!("system='{SYSTEM}' profile='it'\\''s $(id)' name='lp 1' mac={mac}\n");
    fs::write(hmc.path("machine"), machine).unwrap();
    site.define("network", "lo", &[("net", "127.0.0.0"), ("mask", "255.0.0.0")]);
    let hcp = hmc.hcp();
    let lpar = [("mgt", "hmc"), ("hcp", &*hcp), ("id", "3"), ("pprofile", PROFILE), ("parent", SYSTEM)];
    site.define("node", "n1", &[&lpar[..], &[("mac", MAC), ("ip", "127.0.0.11")]].concat());
    site.add_image("demo");
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let user = String::from_utf8(user).unwrap();
    for method in ["hmc", "ivm"] {
        site.define("passwd", method, &[("username", user.trim())]);
    }
    (site, hmc)
}

fn cli(site: &Site, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
    let output = command.args(words).env("SYSCLONE_SOCKET", site.path("run/api.sock")).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// What a verb that has to fail says.
fn refused(site: &Site, words: &[&str]) -> String {
    let (status, out, err) = cli(site, words);
    assert_eq!((status, out.as_str()), (1, ""), "{words:?}: {err}");
    err
}

fn stat(site: &Site) -> String {
    refused(site, &["rpower", "n1", "stat", "--retries", "0"])
}

#[test]
fn a_partition_is_switched_by_its_number_and_names_are_single_words() {
    let (site, hmc) = site();
    for (action, said) in
        [("stat", "off"), ("on", "on"), ("stat", "on"), ("boot", "on reset"), ("off", "off")]
    {
        let result = cli(&site, &["rpower", "n1", action]);
        assert_eq!(result, (0, format!("n1: {said}\n"), String::new()), "{action}");
    }
    let calls = hmc.calls();
    assert!(calls.contains("chsysstate|-r|lpar|-m|Server 9117|--id|3|-o|on|-f|it's $(id)|\n"), "{calls}");
    assert!(calls.contains("|-o|shutdown|--immed|--restart|\n"), "{calls}");
    let err = refused(&site, &["rsetboot", "n1", "net"]);
    assert!(err.contains("rnetboot boots it from the network"), "{err}");
}

#[test]
fn partitions_of_an_ivm_have_no_profile_to_be_switched_on_with() {
    let (site, hmc) = site();
    fs::write(hmc.path("ivm"), "").unwrap();
    let err = refused(&site, &["rpower", "n1", "on"]);
    assert!(err.contains("An invalid parameter was entered: -f"), "the fake is no IVM: {err}");
    site.define("node", "n1", &[("mgt", "ivm")]);
    assert_eq!(cli(&site, &["rpower", "n1", "on"]), (0, "n1: on\n".into(), String::new()));
    site.nodeset(&["n1"], "osimage=demo");
    assert_eq!(cli(&site, &["rnetboot", "n1"]), (0, "n1: Success\n".into(), String::new()));
    hmc.admit(&hmc.path("host_key.pub"));
    assert!(stat(&site).contains("on the IVM 127.0.0.1"));
}

#[test]
fn a_partition_boots_from_the_network_once_something_is_set_for_it() {
    let (site, hmc) = site();
    let err = refused(&site, &["rnetboot", "n1"]);
    assert!(err.contains("Node is in boot state") && hmc.calls().is_empty(), "{err}");
    site.nodeset(&["n1"], "osimage=demo");
    // The network does not answer at first.
    fs::write(hmc.path("silent"), "").unwrap();
    assert_eq!(cli(&site, &["rnetboot", "n1"]), (0, "n1: Success\n".into(), String::new()));
    let calls = hmc.calls();
    let boots: Vec<&str> = calls.lines().filter(|line| line.starts_with("lpar_netboot")).collect();
    let mac = MAC.replace(':', "");
    assert_eq!(boots.len(), 2, "{calls}");
    assert!(
        boots[0].starts_with(&format!("lpar_netboot|-t|ent|-f|-i|-s|auto|-d|auto|-m|{mac}|-S|")),
        "{calls}"
    );
    assert!(boots[0].contains("|-C|127.0.0.11|-G|127.0.0.1|-K|255.0.0.0|"), "{calls}");
    assert!(boots[0].ends_with("|lp 1|it's $(id)|Server 9117|"), "{calls}");
    assert!(site.has_event("power", "Network boot proceeding"));
}

#[test]
fn what_the_hmc_says_comes_with_what_to_do() {
    let (site, hmc) = site();
    site.nodeset(&["n1"], "osimage=demo");
    let netboot = || refused(&site, &["rnetboot", "n1"]);
    fs::write(hmc.path("no-adapter"), "").unwrap();
    let err = netboot();
    for part in ["No network adapters found", "Quitting.", "add a network adapter to the partition's profile"]
    {
        assert!(err.contains(part), "{part}: {err}");
    }
    assert_eq!(hmc.calls().matches("lpar_netboot|").count(), 1, "asked again in vain");
    fs::remove_file(hmc.path("no-adapter")).unwrap();
    site.define("node", "n1", &[("mac", "52:54:00:04:2d:ab")]);
    site.nodeset(&["n1"], "osimage=demo");
    let err = netboot();
    assert!(err.contains("can not find mac address 525400042dab") && err.contains("compare mac"), "{err}");

    let switch_on = || refused(&site, &["rpower", "n1", "on"]);
    for (attribute, value, words, advice) in [
        ("pprofile", "other", "The profile other does not exist", "compare pprofile"),
        ("parent", "lp 1", "HSCL8018 The managed system lp 1 was not found", "compare parent"),
    ] {
        let right = if attribute == "parent" { SYSTEM } else { PROFILE };
        site.define("node", "n1", &[(attribute, value)]);
        fs::remove_file(hmc.path("on")).ok();
        let err = switch_on();
        assert!(err.contains(words) && err.contains(advice), "{err}");
        site.define("node", "n1", &[(attribute, right)]);
    }
    site.define("node", "n1", &[("id", "9")]);
    let err = stat(&site);
    assert!(err.contains("No results were found.") && err.contains("compare id with"), "{err}");
}

#[test]
fn a_connection_that_ends_under_way_leaves_it_open_what_was_done() {
    let (site, hmc) = site();
    site.nodeset(&["n1"], "osimage=demo");
    fs::write(hmc.path("cut"), "").unwrap();
    let err = refused(&site, &["rnetboot", "n1"]);
    assert!(err.contains("closed by remote host") && err.contains("it may have done it"), "{err}");
    assert_eq!(hmc.calls().matches("lpar_netboot|").count(), 1, "asked again, although it may be under way");
    // The advice, followed.
    assert_eq!(cli(&site, &["rpower", "n1", "stat"]), (0, "n1: on\n".into(), String::new()));
}

#[test]
fn an_hmc_is_known_by_its_host_key_and_knows_the_server_by_its_key() {
    let (site, mut hmc) = site();
    let fine = || assert_eq!(cli(&site, &["rpower", "n1", "stat"]), (0, "n1: off\n".into(), String::new()));
    fine();
    let public = fs::read_to_string(hmc.path("host_key.pub")).unwrap();
    let known = fs::read_to_string(site.path("state/known_hosts")).unwrap();
    assert!(known.contains(public.split(' ').nth(1).unwrap()), "the key was not kept: {known}");

    hmc.install();
    let err = stat(&site);
    let advice = err.split('`').nth(1).expect("a command to type");
    assert!(err.contains("host key of the HMC 127.0.0.1 is not the one that is known"), "{err}");
    assert!(Command::new("sh").args(["-c", advice]).output().unwrap().status.success(), "{advice}");
    fine();

    hmc.admit(&hmc.path("host_key.pub"));
    let err = stat(&site);
    assert!(err.contains("Permission denied (publickey)") && err.contains("with mkauthkeys"), "{err}");

    hmc.stop();
    let err = stat(&site);
    assert!(err.contains("cannot reach the HMC 127.0.0.1 by ssh") && err.contains("refused"), "{err}");
}
