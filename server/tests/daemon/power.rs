//! Power and boot order of machines behind simulated BMCs.

use std::process::Command;

use crate::bmc::{Bmc, PASSWORD, USER};
use crate::site::Site;

/// Runs the command line; its status, output and error output.
fn cli(site: &Site, words: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sysclone"))
        .args(words)
        .env("SYSCLONE_SOCKET", site.path("run/api.sock"))
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

fn site_with(bmc: &Bmc) -> Site {
    let site = Site::started();
    let port = bmc.port.to_string();
    site.define(
        "node",
        "n1",
        &[
            ("mgt", "ipmi"),
            ("bmc", "127.0.0.1"),
            ("bmcport", &port),
            ("bmcusername", USER),
            ("bmcpassword", PASSWORD),
            ("groups", "all"),
        ],
    );
    site
}

#[test]
fn rpower_speaks_ipmi_and_xcats_words() {
    let bmc = Bmc::start();
    let site = site_with(&bmc);
    for (action, said, on) in [
        ("stat", "off", false),
        ("boot", "off on", true),
        ("state", "on", true),
        ("boot", "on reset", true),
        ("on", "on", true),
        ("reset", "reset", true),
        ("softoff", "softoff", true),
        ("off", "off", false),
        ("reset", "off", false),
        ("on", "on", true),
    ] {
        let result = cli(&site, &["rpower", "n1", action]);
        assert_eq!(result, (0, format!("n1: {said}\n"), String::new()), "{action}");
        assert_eq!(bmc.is_on(), on, "{action}");
    }
    let told = bmc.told();
    assert_eq!(
        told,
        ["set power 1", "set reset 1", "set reset 1", "set shutdown 1", "set power 0", "set power 1"]
    );
    assert!(site.has_event("power-asked", "rpower boot was asked for"));
    assert!(site.has_event("power", "rpower boot: on reset"));
    assert!(!site.has_event("power-asked", "stat"));
}

#[test]
fn rsetboot_sets_reads_back_and_says_what_the_bmc_does_not_take() {
    let bmc = Bmc::start();
    let site = site_with(&bmc);
    // This simulator takes the device and never marks it as valid, as many BMCs do; xCAT says then that it is inactive.
    for (device, told) in [("net", "set boot pxe"), ("cd", "set boot cdrom"), ("default", "set boot none")] {
        let result = cli(&site, &["rsetboot", "n1", device, "-u"]);
        assert_eq!(result, (0, "n1: boot override inactive\n".into(), String::new()), "{device}");
        assert_eq!(bmc.told().last().map(String::as_str), Some(told));
    }
    let (status, out, err) = cli(&site, &["rsetboot", "n1", "floppy"]);
    assert_eq!((status, out.as_str()), (1, ""));
    assert!(
        err.contains("n1: Error: 127.0.0.1 port") && err.contains("did not take boot device floppy"),
        "{err}"
    );
    assert_eq!(cli(&site, &["rsetboot", "n1", "stat"]).1, "n1: boot override inactive\n");
}

#[test]
fn a_bad_node_fails_alone_and_says_what_to_do() {
    let bmc = Bmc::start();
    let site = site_with(&bmc);
    let port = bmc.port.to_string();
    let bmc_at = [("mgt", "ipmi"), ("bmc", "127.0.0.1"), ("bmcport", port.as_str()), ("groups", "all")];
    let login = |user, password| [&bmc_at[..], &[("bmcusername", user), ("bmcpassword", password)]].concat();
    site.define("node", "wrong", &login(USER, "other"));
    site.define("node", "stranger", &login("nobody", PASSWORD));
    site.define("node", "bare", &[("groups", "all")]);
    let (status, out, err) = cli(&site, &["rpower", "all", "stat"]);
    assert_eq!((status, out.as_str()), (1, "n1: off\n"));
    for part in [
        "wrong: Error: 127.0.0.1 port",
        "refuses the login of user 'nobody'",
        "check bmcusername and bmcpassword",
        "bare: Error: mgt is not set: `chdef bare mgt=ipmi`",
    ] {
        assert!(err.contains(part), "no '{part}' in {err}");
    }
    assert!(!site.log().contains(PASSWORD) && !err.contains(PASSWORD), "the password was written down");
}

#[test]
fn rinstall_sets_boots_and_restarts_and_one_bad_node_fails_alone() {
    let bmc = Bmc::start();
    let site = site_with(&bmc);
    site.define("network", "lo", &[("net", "127.0.0.0"), ("mask", "255.0.0.0")]);
    site.define("node", "n1", &[("mac", crate::site::MAC), ("ip", "127.0.0.11")]);
    site.define("node", "n2", &[("groups", "all"), ("mgt", "ipmi"), ("bmc", "127.0.0.1")]);
    site.add_image("demo");
    let (status, out, err) = cli(&site, &["rinstall", "all", "osimage=demo", "-V"]);
    assert_eq!(status, 1, "{out}{err}");
    assert_eq!(
        out,
        "Provision node(s): n1 n2\nn1: sysclone debian12-x86_64\nn1: boot override inactive\nn1: off on\n"
    );
    assert_eq!(err, "n2: Error: nodeset: No MAC address available for this node\n");
    assert_eq!(bmc.told(), ["set boot pxe", "set power 1"]);
    assert_eq!(site.status("n1").0, "armed");
    let (status, out, _) = cli(&site, &["rinstall", "n1", "osimage=demo", "--json"]);
    let answers: Vec<serde_json::Value> = serde_json::from_str(&out).unwrap();
    let steps: Vec<&str> = answers.iter().map(|answer| answer["step"].as_str().unwrap()).collect();
    assert_eq!((status, steps), (0, vec!["nodeset", "rsetboot", "rpower"]), "{out}");
    assert_eq!(bmc.told().last().map(String::as_str), Some("set reset 1"));
    for state in ["stat", "offline", "install"] {
        assert_eq!(cli(&site, &["rinstall", "n1", state]).0, 2, "{state}");
    }
    assert_eq!(bmc.told().len(), 4, "a restart that nobody asked for: {:?}", bmc.told());
}

#[test]
fn rnetboot_boots_what_has_something_to_do_and_nothing_else_unless_forced() {
    let bmc = Bmc::start();
    let site = site_with(&bmc);
    site.define("network", "lo", &[("net", "127.0.0.0"), ("mask", "255.0.0.0")]);
    site.define("node", "n1", &[("mac", crate::site::MAC), ("ip", "127.0.0.11")]);
    site.add_image("demo");
    let (status, out, err) = cli(&site, &["rnetboot", "n1"]);
    let idle = "Node is in boot state. Use nodeset command before rnetboot or use -F option with rnetboot";
    assert_eq!((status, out.as_str(), err), (1, "", format!("n1: Error: {idle}\n")));
    assert!(bmc.told().is_empty(), "{:?}", bmc.told());
    site.nodeset(&["n1"], "osimage=demo");
    let (status, out, err) = cli(&site, &["rnetboot", "n1,n9"]);
    assert_eq!((status, out.as_str()), (1, "n1: Success\n"), "{err}");
    assert!(err.contains("Invalid nodes and/or groups in noderange: n9"), "{err}");
    assert_eq!(bmc.told(), ["set boot pxe", "set power 1"]);
    site.nodeset(&["n1"], "boot");
    let (status, out, _) = cli(&site, &["rnetboot", "n1", "-F", "-V"]);
    assert_eq!((status, out.as_str()), (0, "n1: boot override inactive\nn1: Success\n"));
}

#[test]
fn passwords_are_sealed_in_the_database_and_masked_for_people() {
    let bmc = Bmc::start();
    let mut site = site_with(&bmc);
    let shown = cli(&site, &["lsdef", "n1", "-i", "bmcpassword", "-c"]);
    assert_eq!(shown, (0, "n1: bmcpassword=********\n".into(), String::new()));
    let shown = cli(&site, &["lsdef", "n1", "-i", "bmcpassword", "-c", "--secrets"]);
    assert_eq!(shown, (0, format!("n1: bmcpassword={PASSWORD}\n"), String::new()));
    assert!(site.has_event("secrets-shown", "passwords of node n1 were shown"));
    // What is shown to people is not a password, and a change of something else leaves the password alone.
    let refused = cli(&site, &["chdef", "n1", "bmcpassword=********"]);
    assert!(refused.0 != 0 && refused.2.contains("lsdef --secrets"), "{refused:?}");
    assert_eq!(cli(&site, &["chdef", "n1", "comments=x"]).0, 0);
    assert_eq!(cli(&site, &["rpower", "n1", "stat"]).1, "n1: off\n");
    let refused = cli(&site, &["chdef", "n1", &format!("bmcpassword={PASSWORD}\u{7}")]);
    assert!(refused.0 != 0 && !refused.2.contains(PASSWORD), "{refused:?}");
    assert!(site.stop());
    for name in ["sysclone.db", "sysclone.db-wal"] {
        let bytes = std::fs::read(site.path("state").join(name)).unwrap_or_default();
        let found = bytes.windows(PASSWORD.len()).any(|window| window == PASSWORD.as_bytes());
        assert!(!found, "the password is in {name}");
    }
    assert!(!site.log().contains(PASSWORD), "the password was logged");
}

#[test]
fn wrong_usage_asks_nobody() {
    let site = Site::started();
    site.define_node();
    for (words, error) in [
        (&["rpower", "n1"][..], "Unsupported command"),
        (&["rpower", "n1", "suspend"], "unsupported command power suspend"),
        (&["rsetboot", "n1", "usb"], "unsupported command setboot usb"),
    ] {
        let (status, out, err) = cli(&site, words);
        assert_eq!((status, out.as_str()), (2, ""), "{words:?}");
        assert!(err.contains(error), "{err}");
    }
    let (status, _, err) = cli(&site, &["rpower", "nobody", "stat"]);
    assert!(status == 1 && err.contains("nobody"), "{status} {err}");
}
