//! The real `sysclone` against the real `syscloned`, both as programs, on loopback.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

#[path = "../daemon/site/ports.rs"]
mod ports;
mod xcat;

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

/// How long the daemon may take to come up on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A daemon with a state of its own, which ends with this value.
struct Daemon {
    dir: tempfile::TempDir,
    process: Child,
}

impl Daemon {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().display();
        std::fs::create_dir(dir.path().join("boot")).unwrap();
        let index = r#"{"format": 1, "architectures": {}, "files": []}"#;
        std::fs::write(dir.path().join("boot/boot.json"), index).unwrap();
        let [http, https] = ports::free();
        let config = format!(
            "log = 'warn'\nstate_dir = '{at}/state'\nrun_dir = '{at}/run'\nboot_dir = '{at}/boot'\n[listen]\n\
             address = '127.0.0.1'\ninterface = 'lo'\ndhcp_port = 0\ntftp_port = 0\n\
             http_port = {http}\nhttps_port = {https}\n"
        );
        let path = dir.path().join("sysclone.toml");
        std::fs::write(&path, config).unwrap();
        let notify = dir.path().join("notify.sock");
        let ready = UnixDatagram::bind(&notify).unwrap();
        ready.set_read_timeout(Some(START_LIMIT)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_syscloned"))
            .arg("--config")
            .arg(&path)
            .env("NOTIFY_SOCKET", &notify)
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let daemon = Self { dir, process };
        let mut said = [0; 256];
        let length = ready.recv(&mut said).expect("the daemon says that it is ready");
        assert!(said[..length].starts_with(b"READY=1"), "{:?}", String::from_utf8_lossy(&said[..length]));
        daemon
    }

    /// Runs `sysclone`: its status, output and error output as one text.
    fn cli(&self, words: &str) -> String {
        self.cli_with(words, "")
    }

    /// The same with this on its standard input.
    fn cli_with(&self, words: &str, input: &str) -> String {
        let file = self.dir.path().join("input");
        std::fs::write(&file, input).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_sysclone"))
            .args(words.split(' '))
            .env("SYSCLONE_SOCKET", self.dir.path().join("run/api.sock"))
            .stdin(std::fs::File::open(file).unwrap())
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        format!("{}\n{}{}", output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[test]
fn definitions_go_round() {
    let daemon = Daemon::start();
    let made = |count| format!("0\n{count} object definitions have been created or modified.\n");
    for (words, expected) in [
        ("mkdef -t network -o lab net=10.77.0.0 mask=255.255.255.0 gateway=10.77.0.1", made(1)),
        ("mkdef -t node -o n[1-3] groups=lab,all arch=x86_64", made(3)),
        ("chdef n1 mac=52:54:00:00:00:01 ip=10.77.0.11 netboot=pxe", made(1)),
        ("chdef lab groups-=all", made(3)),
        ("chdef -p n3 groups=rack1,rack2", made(1)),
        ("chdef n9 groups=rack1", made(1) + "New object definitions 'n9' have been created.\n"),
        (
            "lsdef -i groups,ip -c n1,n3",
            "0\nn1: groups=lab\nn1: ip=10.77.0.11\nn3: groups=lab,rack1,rack2\nn3: ip=\n".into(),
        ),
        ("lsdef -s rack1@groups=~lab", "0\nn3  (node)\n".into()),
        ("lsdef -t network", "0\nlab  (network)\n".into()),
        ("mkdef -f -t network -o lab net=10.78.0.0 mask=255.255.255.0", made(1)),
        ("lsdef -t network lab", "0\nObject name: lab\n    mask=255.255.255.0\n    net=10.78.0.0\n".into()),
        (
            "chdef -t site domain=cluster.example",
            made(1) + "New object definitions 'clustersite' have been created.\n",
        ),
        ("lsdef -t site -l", "0\nObject name: clustersite\n    domain=cluster.example\n".into()),
        ("rmdef rack1", "0\n2 object definitions have been removed.\n".into()),
        ("lsdef", "0\nn1  (node)\nn2  (node)\n".into()),
    ] {
        assert_eq!(daemon.cli(words), expected, "{words}");
    }
}

#[test]
fn what_is_refused_is_said_and_the_rest_is_done() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1,n2 groups=all arch=x86_64");
    daemon.cli("chdef n1 mac=52:54:00:00:00:01");
    let failed =
        "Error: One or more errors occured when attempting to create or modify xCAT object definitions.\n";
    let shared = daemon.cli("chdef n2 mac=52:54:00:00:00:01");
    assert_eq!(
        shared,
        format!("1\nError: n2: the MAC address 52:54:00:00:00:01 belongs to node n1\n{failed}")
    );
    let again = daemon.cli("mkdef n2,n3 groups=all");
    assert!(again.starts_with("1\n1 object definitions have been created or modified.\nError: "), "{again}");
    assert!(again.contains("'n2'"), "{again}");
    assert_eq!(
        daemon.cli("nodeset n1,n7 boot"),
        "1\nn1: boot\nError: Invalid nodes and/or groups in noderange: n7\n"
    );
    assert_eq!(
        daemon.cli("nodeset n1 osimage=demo"),
        "1\nn1: Error: Cannot find the OS image demo in the osimage table.\n"
    );
    assert_eq!(daemon.cli("nodeset all stat"), "0\nn1: boot\nn2: boot\nn3: boot\n");
    assert_eq!(daemon.cli("nodestat n1"), "0\nn1: defined\n");
    assert_eq!(daemon.cli("lsdef n5-n1"), "2\nError: 'n5-n1' runs backwards\n");
    let events = daemon.cli("events n1 --json");
    let kinds: Vec<String> = events
        .lines()
        .skip(1)
        .map(|line| {
            serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(kinds, ["object-created", "object-changed", "nodeset"]);
}

#[test]
fn a_mistyped_attribute_selects_nothing_and_is_named() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1,n2 groups=all mgt=ipmi");
    let wrong = "2\nError: 'mtg' is not a valid attribute name for an object type of 'node'.\n";
    for words in ["lsdef mtg!=ipmi", "nodeset all@mtg!~ipmi boot", "nodestat nodehm.mtg==ipmi"] {
        assert_eq!(
            daemon.cli(words),
            wrong.replace("'mtg'", if words.contains("nodehm") { "'nodehm.mtg'" } else { "'mtg'" }),
            "{words}"
        );
    }
    assert_eq!(daemon.cli("lsdef -s nodehm.mgt==ipmi,-nodelist.node==n2"), "0\nn1  (node)\n");
}

#[test]
fn a_group_gives_its_nodes_attributes_computed_from_their_names() {
    let daemon = Daemon::start();
    let changed = "0\n1 object definitions have been created or modified.\n";
    assert_eq!(
        daemon.cli(r"mkdef -t group -o all ip=|\D+(\d+)|10.77.0.($1+10)| bmc=/\z/-bmc/ mgt=ipmi"),
        changed
    );
    daemon.cli("mkdef n01,n2 groups=all");
    daemon.cli("chdef n2 mgt=openbmc");
    assert_eq!(
        daemon.cli("lsdef all -i bmc,ip,mgt -c"),
        "0\nn01: bmc=n01-bmc\nn01: ip=10.77.0.11\nn01: mgt=ipmi\nn2: bmc=n2-bmc\nn2: ip=10.77.0.12\nn2: mgt=openbmc\n"
    );
    assert_eq!(daemon.cli("lsdef -s ip==10.77.0.12"), "0\nn2  (node)\n");
    let wrong = daemon.cli(r"chdef -t group -o all ip=|\D+(\d+|10.77.0.($1)|");
    assert!(wrong.starts_with("1\nError: ") && wrong.contains("of all cannot be computed"), "{wrong}");
    let wrong = daemon.cli(r"chdef n2 ip=|\D+(\d+)|10.77.0.($1+300)|");
    assert!(wrong.contains("10.77.0.302") && wrong.starts_with("1\n"), "{wrong}");
    let wrong = daemon.cli(r"chdef -t group -o all ip=|\D+(\d+)|10.77.0.($1+254)|");
    assert!(wrong.contains("ip would be wrong for n2") && wrong.contains("10.77.0.256"), "{wrong}");
    daemon.cli("chdef n2 ip=10.77.0.9");
    let spared = daemon.cli(r"chdef -t group -o all ip=|\D+(\d+)|10.77.0.($1+254)|");
    assert_eq!(spared, "0\n1 object definitions have been created or modified.\n", "n2 has its own");
}

#[test]
fn a_definition_gets_another_name_and_what_names_it_follows() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1,n2 groups=all arch=x86_64 bmcpassword=secret");
    daemon.cli("mkdef -t group -o static members=n1,n2");
    daemon.cli("mkdef -t network -o lab net=10.77.0.0 mask=255.255.255.0");
    daemon.cli("nodeset n1 offline");
    for (words, expected) in [
        ("chdef -t node -o n1 -n m1", "0\nChanged the object name from n1 to m1.\n"),
        ("chdef -t network -o lab -n net1", "0\nChanged the object name from lab to net1.\n"),
        ("lsdef -t network", "0\nnet1  (network)\n"),
        ("lsdef -s static", "0\nm1  (node)\nn2  (node)\n"),
        ("nodeset m1 stat", "0\nm1: offline\n"),
        ("lsdef m1 -i bmcpassword -c --secrets", "0\nm1: bmcpassword=secret\n"),
        ("chdef n1 -n m2", "1\nError: Could not find an object named 'n1' of type 'node'.\n"),
        ("chdef m1 -n n2", "1\nError: m1: An object named 'n2' of type 'node' is already defined.\n"),
        (
            "chdef -t group -o static -n other",
            "1\nError: static: objects of type 'group' cannot be renamed\n",
        ),
        (
            "chdef m1 -n a/b",
            "1\nError: m1: 'a/b' is not a valid node name (letters, digits, '-', '.', not starting with '-' or '.')\n",
        ),
        ("chdef all -n x", "2\nError: -n is for one object, these are 2\n"),
        ("chdef m1 -n x arch=ppc64", "2\nError: -n takes no attributes: change them before or after\n"),
    ] {
        assert_eq!(daemon.cli(words), expected, "{words}");
    }
}

#[test]
fn a_stanza_file_of_everything_makes_the_same_definitions_elsewhere() {
    let (one, other) = (Daemon::start(), Daemon::start());
    one.cli("mkdef -t network -o lab net=10.77.0.0 mask=255.255.255.0");
    one.cli("mkdef -t osimage -o demo provmethod=sysclone otherpkgdir=/install/post/otherpkgs");
    one.cli(r"mkdef -t group -o all bmc=/\z/-bmc/");
    one.cli("mkdef n1,n2 groups=all,rack1 mgt=ipmi bmcpassword=secret");
    one.cli("chdef n1 mac=52:54:00:00:00:01!n1|52:54:00:00:00:02!n1-ib ip=10.77.0.11");
    one.cli("chdef -t site domain=cluster.example");
    let all = one.cli("lsdef -a -l -z");
    let made = other.cli_with("mkdef -z", all.strip_prefix("0\n").unwrap());
    assert!(made.starts_with("0\n7 object definitions have been created or modified.\n"), "{made}");
    assert!(made.contains("Warning: left out n1 bmcpassword: passwords are masked"), "{made}");
    other.cli("chdef n1,n2 bmcpassword=secret");
    assert_eq!(other.cli("lsdef -a -l -z"), all);

    // One object that cannot be made fails alone; what is not known is kept, and said.
    let more =
        "n3:\n    objtype=node\n    groups=all\n    nonsense=1\n\nn1:\n    objtype=node\n    groups=all\n";
    let said = other.cli_with("mkdef -z", more);
    assert!(said.starts_with("1\n1 object definitions have been created or modified.\n"), "{said}");
    assert!(said.contains("'n1' of type 'node' is already defined"), "{said}");
    assert!(said.contains("Warning: kept, but not used by anything here: node nonsense"), "{said}");
    assert_eq!(other.cli("lsdef n3 -i nonsense -c"), "0\nn3: nonsense=1\n");
    let changed = other.cli_with("chdef -z", more);
    assert_eq!(&changed[..changed.find('\n').unwrap()], "0", "{changed}");
}

/// Names, and for each some attributes: known ones, unknown ones, and values with all that a line can hold.
fn database() -> impl Strategy<Value = BTreeMap<(&'static str, String), BTreeMap<String, String>>> {
    let kind = prop::sample::select(vec!["node", "group", "osimage", "network", "policy", "passwd"]);
    let name = "[a-z][a-z0-9]{0,5}(-[a-z0-9]{1,3})?";
    let attr = prop_oneof![
        prop::sample::select(vec!["groups", "comments", "usercomment", "netboot", "members", "wherevals"])
            .prop_map(str::to_owned),
        "[a-z][a-z0-9_.]{0,8}",
    ];
    let value = prop_oneof![
        "[a-z0-9]{1,8}(,[a-z0-9]{1,8}){0,3}",
        r"/\\z/-[a-z]{1,3}/",
        r"[ -~\u{a1}-\u{17f}]{1,30}",
        "[=:#|/!@$\"']{1,6}",
    ];
    let attributes = prop::collection::btree_map(attr, value, 1..6);
    prop::collection::btree_map((kind, name), attributes, 1..12)
}

#[test]
fn what_lsdef_writes_mkdef_reads_back_to_the_letter() {
    let daemon = Daemon::start();
    let made = std::cell::Cell::new(0_usize);
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    TestRunner::new(config)
        .run(&database(), |objects| {
            let mut file = String::new();
            for ((kind, name), attributes) in &objects {
                file.push_str(&format!("{name}:\n    objtype={kind}\n"));
                attributes.iter().for_each(|(attr, value)| file.push_str(&format!("    {attr}={value}\n")));
            }
            // What is not a valid definition is refused for itself.
            daemon.cli_with("mkdef -z -f", &file);
            let written = daemon.cli("lsdef -a -l -z");
            let again = daemon.cli_with("mkdef -z -f", written.strip_prefix("0\n").unwrap());
            prop_assert!(again.starts_with("0\n"), "{again}");
            prop_assert_eq!(daemon.cli("lsdef -a -l -z"), written.clone());
            made.set(written.matches("objtype=").count());
            Ok(())
        })
        .unwrap();
    assert!(made.get() > 50, "of what was made up, only {} objects were valid", made.get());
}

#[test]
fn tables_are_views_on_the_definitions() {
    let daemon = Daemon::start();
    for (words, expected) in [
        ("nodeadd n[1-3] groups=all,rack1 nodehm.mgt=ipmi nodetype.arch=x86_64", "0\n"),
        ("nodels", "0\nn1\nn2\nn3\n"),
        ("nodels n1 groups", "0\nn1: all,rack1\n"),
        (
            "nodels n2-n3 mgt nodetype.arch",
            "0\nn2: nodehm.mgt: ipmi\nn2: nodetype.arch: x86_64\nn3: nodehm.mgt: ipmi\nn3: nodetype.arch: x86_64\n",
        ),
        ("nodels n1,n9", "1\nn1\nError: Invalid nodes and/or groups in noderange: n9\n"),
        ("nodech n1 groups,=spare ipmi.bmc=n1-bmc", "0\n"),
        ("nodech n1 groups^=rack1", "0\n"),
        ("nodech n2 groups,=spare", "0\n"),
        ("lsdef -s spare", "0\nn1  (node)\nn2  (node)\n"),
        ("gettab node=n1 ipmi.bmc", "0\nn1-bmc\n"),
        ("gettab node=n1 nodelist.groups nodehm.mgt", "0\nnodelist.groups: spare,all\nnodehm.mgt: ipmi\n"),
        ("chtab key=domain site.value=cluster.example", "0\nNew"),
        ("gettab key=domain site.value", "0\ncluster.example\n"),
        ("tabdump site", "0\n#key,value,comments,disable\n\"domain\",\"cluster.example\",,\n"),
        ("chtab node=n1 nodehm.comments=slow", "0\n"),
        ("chtab -d node=n1 ipmi", "0\n"),
        ("gettab node=n1 ipmi.bmc", "0\n"),
        ("noderm n3,n9", "1\nError: Invalid nodes and/or groups in noderange: n9\n"),
        ("nodels all", "0\nn1\nn2\n"),
        ("tabdump nowhere", "2\nError: No such table: nowhere\n"),
        (
            "nodech n1 nodehm.nothing=1",
            "2\nError: 'nodehm.nothing' is not a valid attribute name for an object type of 'node'.\n",
        ),
    ] {
        let expected = expected.strip_suffix("New").unwrap_or(expected);
        assert_eq!(daemon.cli(words), expected, "{words}");
    }
    let dump = daemon.cli("tabdump nodehm");
    let lines: Vec<&str> = dump.lines().collect();
    assert!(lines[1].starts_with("#node,") && lines[1].ends_with(",comments,disable"), "{dump}");
    assert!(lines[2].starts_with("\"n1\",") && lines[2].ends_with(",\"slow\","), "{dump}");
    let all = daemon.cli("tabgrep n1");
    assert!(all.contains("\nnodelist: \"n1\",\"spare,all\"") && all.contains("\nnodehm: \"n1\""), "{all}");
    assert!(daemon.cli("tabdump").contains("\nnodelist\n"));
}

#[test]
fn a_dynamic_group_has_whatever_nodes_fit() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1,n2,n3 groups=all mgt=ipmi arch=x86_64");
    daemon.cli("chdef n3 arch=ppc64le");
    let made = "0\n1 object definitions have been created or modified.\n";
    assert_eq!(daemon.cli("mkdef -t group -o fit -d -w mgt==ipmi -w arch=~^x86"), made);
    assert_eq!(daemon.cli("nodels fit"), "0\nn1\nn2\n");
    daemon.cli("chdef n2 mgt=openbmc");
    assert_eq!(daemon.cli("nodels fit"), "0\nn1\n");
    assert_eq!(daemon.cli("nodels all,-fit"), "0\nn2\nn3\n");
    let shown = daemon.cli("lsdef -t group fit");
    assert!(shown.contains("    grouptype=dynamic\n    wherevals=mgt==ipmi::arch=~^x86\n"), "{shown}");
    assert!(daemon.cli("mkdef -t group -o bad -d -w mgt").starts_with("1\nError: "));
    assert!(
        daemon.cli("mkdef n4 -d -w mgt==ipmi groups=all").starts_with("2\nError: only groups can be dynamic")
    );
}

#[test]
fn nodes_that_the_site_excludes_can_still_be_defined() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1,n2 groups=all");
    assert!(daemon.cli("chdef -t site excludenodes=n(").starts_with("1\nError: "));
    daemon.cli("chdef -t site excludenodes=n2");
    assert_eq!(daemon.cli("nodestat all"), "0\nn1: defined\n");
    let changed = "0\n1 object definitions have been created or modified.\n";
    assert_eq!(daemon.cli("chdef n2 mgt=ipmi"), changed);
    assert_eq!(daemon.cli("lsdef n2 -i mgt -c"), "0\nn2: mgt=ipmi\n");
    assert_eq!(daemon.cli("rmdef n2"), "0\n1 object definitions have been removed.\n");
}

#[test]
fn a_capture_without_an_address_says_what_to_do() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n1 groups=all arch=x86_64");
    let said = daemon.cli("imgcapture n1 -t sysclone -o demo");
    assert!(said.starts_with("1\n") && said.contains("Error: "), "{said}");
    assert_eq!(daemon.cli("lsdef -t osimage"), "0\nCould not find any object definitions to display.\n");
}

#[test]
fn objects_are_selected_by_what_they_have() {
    let daemon = Daemon::start();
    daemon.cli("mkdef n[1-3] groups=all mgt=ipmi");
    daemon.cli("mkdef n4 groups=all mgt=kvm");
    assert_eq!(
        daemon.cli("chdef -t node -w mgt==ipmi -w groups=~all netboot=pxe -V"),
        "0\nThe database was updated for the following objects:\nn1\nn2\nn3\n3 object definitions have been created \
         or modified.\n"
    );
    assert_eq!(daemon.cli("lsdef n4 -i netboot"), "0\nObject name: n4\n    netboot=\n");
    assert_eq!(
        daemon.cli("chdef n1,n4 -w mgt!=ipmi netboot=grub2"),
        "0\n1 object definitions have been created or modified.\n"
    );
    assert!(daemon.cli("chdef n9 -w mgt==ipmi a=b").contains("Could not find an object named 'n9'"));
    assert_eq!(
        daemon.cli("chdef -t node -w mgt==hmc a=b"),
        "0\nNo object fits the conditions; nothing was changed.\n"
    );
    assert!(daemon.cli("mkdef n9 -w mgt==ipmi a=b").contains("mkdef takes -w together with -d only"));
    assert!(daemon.cli("chdef -w mgt a=b").starts_with("2\n"), "half a condition");
    assert_eq!(daemon.cli("rmdef -t node -w netboot==pxe"), "0\n3 object definitions have been removed.\n");
    assert_eq!(daemon.cli("lsdef"), "0\nn4  (node)\n");
}

#[test]
fn definitions_begin_with_a_template() {
    let daemon = Daemon::start();
    let listed = daemon.cli("lsdef --template");
    assert!(
        listed.contains("x86_64-ipmi-template (node)") && listed.contains("operator-template (policy)"),
        "{listed}"
    );
    assert!(daemon.cli("lsdef --template x86_64-kvm-template").contains("vmhost=REQUIRED"));
    assert_eq!(
        daemon.cli("mkdef --template x86_64-ipmi-template n1 ip=10.0.0.1"),
        "1\nError: The attribute \"bmc,mac\" must be specified!\n"
    );
    let made = "0\n1 object definitions have been created or modified.\n";
    let given = "ip=10.0.0.1 mac=52:54:00:00:00:01 bmc=10.1.0.1 groups=rack1";
    assert_eq!(daemon.cli(&format!("mkdef --template x86_64-ipmi-template n1 {given}")), made);
    assert_eq!(daemon.cli("mkdef --template n1 n2 ip=10.0.0.2 mac=52:54:00:00:00:02"), made);
    let second = daemon.cli("lsdef n2");
    for attribute in ["arch=x86_64", "bmc=10.1.0.1", "groups=rack1", "ip=10.0.0.2", "mgt=ipmi"] {
        assert!(second.contains(attribute), "{attribute}: {second}");
    }
    assert!(
        daemon
            .cli("mkdef --template none n3 a=b")
            .contains("the template object named 'none' of type 'node'")
    );
}

#[test]
fn a_stanza_file_brings_back_what_was_written() {
    let daemon = Daemon::start();
    daemon.cli("mkdef -t group -o compute mgt=ipmi bmc=/\\z/-bmc/");
    daemon.cli("mkdef n1,n2 groups=compute,all ip=10.0.0.1");
    daemon.cli("mkdef n1 -f groups=compute,all ip=10.0.0.1 arch=x86_64");
    daemon.cli("mkdef -t policy -o 5 name=anna rule=allow");
    assert!(daemon.cli("lsdef n1").contains("bmc=n1-bmc"), "shown as it comes to");
    let written = daemon.cli("lsdef -a -l -z");
    assert!(
        !written.contains("n1-bmc") && written.contains("bmc=/\\z/-bmc/"),
        "kept as it was said: {written}"
    );
    let other = Daemon::start();
    let taken = other.cli_with("mkdef -z", written.strip_prefix("0\n").unwrap());
    assert!(taken.starts_with("0\n"), "{taken}");
    assert_eq!(other.cli("lsdef -a -l -z"), written);
    assert!(other.cli("lsdef n1").contains("bmc=n1-bmc"));
}
