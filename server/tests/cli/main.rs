//! The real `sysclone` program against a daemon that answers what the test tells it to.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

mod fake;
mod shells;

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use fake::{Fake, Knows};
use sysclone_protocol::agent::{CaptureReply, Phase};
use sysclone_server::wire::{CaptureProgress, EventRecord, NodeStatus, ObjectType};

/// What one run of the program said.
struct Said {
    out: String,
    err: String,
    status: i32,
}

impl Said {
    /// Status, output and error output as one text, to be compared with one that was looked at.
    fn all(&self) -> String {
        format!("status {}\n--- out\n{}--- err\n{}", self.status, self.out, self.err)
    }
}

fn program(fake: &Fake, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
    command.args(args).env("SYSCLONE_SOCKET", fake.socket());
    command
}

fn run(command: &mut Command) -> Said {
    let output = command.output().unwrap();
    Said {
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
        status: output.status.code().unwrap(),
    }
}

fn sysclone(fake: &Fake, args: &[&str]) -> Said {
    run(&mut program(fake, args))
}

/// Two whole nodes, one without a MAC address, and an image.
fn knows() -> Knows {
    let object = |attributes: &[(&str, &str)]| -> BTreeMap<String, String> {
        attributes.iter().map(|(a, v)| ((*a).to_owned(), (*v).to_owned())).collect()
    };
    let node = |ip: &str| object(&[("groups", "all,compute"), ("ip", ip), ("mac", "52:54:00:00:00:01")]);
    let image = object(&[
        ("imagetype", "linux"),
        ("osarch", "x86_64"),
        ("osdistroname", "debian12-x86_64"),
        ("osname", "Linux"),
        ("osvers", "debian12"),
        ("profile", "compute"),
        ("provmethod", "sysclone"),
    ]);
    Knows {
        objects: BTreeMap::from([
            (
                ObjectType::Node,
                BTreeMap::from([
                    ("n1".to_owned(), node("10.77.0.11")),
                    ("n2".to_owned(), node("10.77.0.12")),
                    ("n3".to_owned(), object(&[("groups", "all"), ("mgt", "ipmi")])),
                ]),
            ),
            (ObjectType::Osimage, BTreeMap::from([("img1".to_owned(), image)])),
        ]),
        ..Knows::default()
    }
}

#[test]
fn lsdef_shows_definitions_in_xcats_forms() {
    let fake = Fake::start(knows());
    for (args, expected) in [
        (&["lsdef"][..], "n1  (node)\nn2  (node)\nn3  (node)\n"),
        (&["lsdef", "-t", "osimage"], "img1  (osimage)\n"),
        (&["lsdef", "-a"], "n1 (node)\nn2 (node)\nn3 (node)\nimg1 (osimage)\n"),
        (&["lsdef", "-s", "n2"], "n2  (node)\n"),
        (
            &["lsdef", "compute", "-i", "mgt,ip", "-c"],
            "n1: ip=10.77.0.11\nn1: mgt=\nn2: ip=10.77.0.12\nn2: mgt=\n",
        ),
        (&["lsdef", "-w", "mgt==ipmi"], "n3  (node)\n"),
        (
            &["lsdef", "-w", "ip=~77", "-w", "ip!=10.77.0.12", "-i", "ip"],
            "Object name: n1\n    ip=10.77.0.11\n",
        ),
        (&["lsdef", "-t", "osimage", "img1", "-i", "provmethod", "-c"], "img1: provmethod=sysclone\n"),
        (
            &["lsdef", "-t", "osimage", "-o", "img1"],
            "Object name: img1\n    imagetype=linux\n    osarch=x86_64\n    osdistroname=debian12-x86_64\n    \
             osname=Linux\n    osvers=debian12\n    profile=compute\n    provmethod=sysclone\n",
        ),
        (
            &["lsdef", "n3", "-z"],
            "# <xCAT data object stanza file>\n\nn3:\n    objtype=node\n    groups=all\n    mgt=ipmi\n",
        ),
        (
            &["lsdef", "-t", "node,osimage", "-l", "-w", "mgt==ipmi"],
            "Object name: n3  (node)\n    groups=all\n    mgt=ipmi\n",
        ),
    ] {
        let said = sysclone(&fake, args);
        assert_eq!((said.out.as_str(), said.err.as_str(), said.status), (expected, "", 0), "{args:?}");
    }
}

#[test]
fn lsdef_names_what_is_missing_and_shows_the_rest() {
    let fake = Fake::start(knows());
    insta::assert_snapshot!(sysclone(&fake, &["lsdef", "n3,nope", "-i", "mgt"]).all(), @r"
    status 1
    --- out
    Object name: n3
        mgt=ipmi
    --- err
    Error: Could not find an object named 'nope' of type 'node'.
    ");
    insta::assert_snapshot!(sysclone(&fake, &["lsdef", "-t", "osimage", "img1,img2", "-s"]).all(), @r"
    status 1
    --- out
    img1  (osimage)
    --- err
    Error: Could not find an object named 'img2' of type 'osimage'.
    ");
    insta::assert_snapshot!(sysclone(&fake, &["lsdef", "-t", "network"]).all(), @r"
    status 0
    --- out
    --- err
    Could not find any object definitions to display.
    ");
}

#[test]
fn json_is_for_programs() {
    let fake = Fake::start(knows());
    let said = sysclone(&fake, &["lsdef", "n3", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let expected = serde_json::json!([
        {"name": "n3", "type": "node", "attributes": {"groups": "all", "mgt": "ipmi"}}
    ]);
    assert_eq!(found, expected);
    let said = sysclone(&fake, &["nodeset", "n1,n3", "osimage=img1", "--json"]);
    let found: serde_json::Value = serde_json::from_str(&said.out).unwrap();
    let expected = serde_json::json!([
        {"name": "n1", "result": "sysclone debian12-x86_64"},
        {"name": "n3", "error": "No MAC address available for this node"}
    ]);
    assert_eq!((found, said.status), (expected, 1));
}

#[test]
fn definitions_are_made_changed_and_removed() {
    let fake = Fake::start(knows());
    let one = "1 object definitions have been created or modified.\n";
    for (args, expected) in [
        (
            &["mkdef", "-t", "node", "-o", "n[7-9]", "groups=all"][..],
            "3 object definitions have been created or modified.\n",
        ),
        (&["mkdef", "-f", "n7", "groups=all", "ip=10.77.0.17"], one),
        (&["chdef", "n7", "groups+=rack1"], one),
        (&["chdef", "-p", "n7", "groups=rack2"], one),
        (&["chdef", "-m", "-t", "node", "-o", "n7", "groups=rack1"], one),
        (&["chdef", "n7", "ip="], one),
        (&["lsdef", "n7"], "Object name: n7\n    groups=all,rack2\n"),
        (
            &["chdef", "n9,n10", "ip=10.77.0.19"],
            "2 object definitions have been created or modified.\nNew object definitions 'n10' have been created.\n",
        ),
        (
            &["chdef", "-t", "osimage", "-o", "img9", "profile=x"],
            "1 object definitions have been created or modified.\nNew object definitions 'img9' have been created.\n",
        ),
        (
            &["chdef", "-t", "site", "domain=cluster.example"],
            "1 object definitions have been created or modified.\nNew object definitions 'clustersite' have been created.\n",
        ),
        (
            &["chdef", "-V", "n9", "ip="],
            "The database was updated for the following objects:\nn9\n1 object definitions have been created or modified.\n",
        ),
        (&["rmdef", "n7-n10"], "4 object definitions have been removed.\n"),
        (&["rmdef", "-t", "osimage", "-o", "img9"], "1 object definitions have been removed.\n"),
    ] {
        let said = sysclone(&fake, args);
        assert_eq!((said.out.as_str(), said.err.as_str(), said.status), (expected, "", 0), "{args:?}");
    }
}

#[test]
fn changes_that_fail_are_named_and_the_others_are_done() {
    let fake = Fake::start(knows());
    insta::assert_snapshot!(sysclone(&fake, &["mkdef", "n1,n5", "groups=all"]).all(), @r"
    status 1
    --- out
    1 object definitions have been created or modified.
    --- err
    Error: A definition for 'n1' already exists.
    Error: One or more errors occured when attempting to create or modify xCAT object definitions.
    ");
    insta::assert_snapshot!(sysclone(&fake, &["chdef", "n1", "colour=red"]).all(), @r"
    status 1
    --- out
    --- err
    Error: n1: 'colour' is not a valid attribute name for an object type of 'node'.
    Error: One or more errors occured when attempting to create or modify xCAT object definitions.
    ");
    insta::assert_snapshot!(sysclone(&fake, &["rmdef", "-t", "osimage", "none"]).all(), @r"
    status 1
    --- out
    No objects have been removed from the xCAT database.
    --- err
    Error: Could not find an object named 'none' of type 'osimage'.
    ");
}

#[test]
fn nodeset_sets_the_good_nodes_and_names_the_bad_ones() {
    let fake = Fake::start(knows());
    insta::assert_snapshot!(sysclone(&fake, &["nodeset", "n1-n4", "osimage=img1"]).all(), @r"
    status 1
    --- out
    n1: sysclone debian12-x86_64
    n2: sysclone debian12-x86_64
    --- err
    Error: Invalid nodes and/or groups in noderange: n4
    n3: Error: No MAC address available for this node
    ");
    let said = sysclone(&fake, &["nodeset", "compute", "stat"]);
    assert_eq!((said.err.as_str(), said.status), ("", 0));
    insta::assert_snapshot!(sysclone(&fake, &["nodeset", "n1", "osimage=nope"]).all(), @r"
    status 1
    --- out
    --- err
    Error: Cannot find the OS image nope in the osimage table.
    ");
    let said = sysclone(&fake, &["nodeset", "n9", "boot"]);
    assert_eq!((said.out.as_str(), said.status), ("", 1));
    fake.with(|knows| assert!(!knows.seen.contains(&"nodeset  boot".to_owned())));
}

#[test]
fn wrong_usage_is_status_2_and_asks_nothing() {
    let fake = Fake::start(knows());
    for (args, error) in [
        (
            &["mkdef", "-t", "colour", "-o", "x", "a=b"][..],
            "Error: Type 'colour' is not a valid xCAT object type. Valid types: boottarget, firmware, group, kit, \
             kitcomponent, kitrepo, monitoring, network, node, notification, osdistro, osdistroupdate, osimage, \
             passwd, policy, rack, route, site, zone.\n",
        ),
        (
            &["mkdef", "n5"],
            "Error: No object definitions have been created or modified: no attributes were specified.\n",
        ),
        (
            &["chdef", "ip=1"],
            "Error: No object names of type 'node' were provided.\nUsage: see --help, with examples.\n",
        ),
        (&["chdef", "n1", "n2", "ip=1"], "Error: noderange can not contain spaces. 'n2' is a second one.\n"),
        (&["chdef", "-o", "n1", "n2", "ip=1"], "Error: names are given by '-o', and again as 'n2'.\n"),
        (
            &["rmdef"],
            "Error: No object names of type 'node' were provided.\nUsage: see --help, with examples.\n",
        ),
        (&["rmdef", "n1", "ip=1"], "Error: rmdef takes no attributes; 'ip' is one.\n"),
        (&["nodeset", "n1", "install"], "Error: Unknown state install requested\n"),
        (
            &["nodeset", "n1)", "boot"],
            "Error: ')' cannot stand here in the noderange; parts are separated by ',' or '@'\n",
        ),
        (&["lsdef", "n3-n1"], "Error: 'n3-n1' runs backwards\n"),
        (
            &["imgcapture", "n1", "-t", "sysclone"],
            "Error: You must specify osimage name if you are using \"sysclone\".\n",
        ),
        (
            &["imgcapture", "n1", "-t", "diskless", "-o", "x"],
            "Error: 'diskless' is not a type that can be captured; use -t sysclone.\n",
        ),
        (
            &["imgcapture", "compute", "-o", "x"],
            "Error: imgcapture captures one node, and 'compute' is 2 of them.\n",
        ),
    ] {
        let said = sysclone(&fake, args);
        assert_eq!((said.out.as_str(), said.err.as_str(), said.status), ("", error, 2), "{args:?}");
    }
    for args in
        [&["lsdef", "-l", "-s"][..], &["lsdef", "-c"], &["chdef", "-p", "-m", "n1", "a=b"], &["frob"], &[]]
    {
        assert_eq!(sysclone(&fake, args).status, 2, "{args:?}");
    }
    assert_eq!(sysclone(&fake, &["lsdef", "--help"]).status, 0);
}

#[test]
fn files_of_nodes_are_read_by_the_program_not_the_daemon() {
    let fake = Fake::start(knows());
    let list = fake.dir.path().join("nodes");
    std::fs::write(&list, "# today\nn1 first\nn3: on\n").unwrap();
    let said = sysclone(&fake, &["lsdef", "-s", &format!("^{}", list.display())]);
    assert_eq!((said.out.as_str(), said.status), ("n1  (node)\nn3  (node)\n", 0));
    fake.wait_for("range (n1,n3)");
    let said = sysclone(&fake, &["lsdef", "^/no/such/list"]);
    assert_eq!(
        said.err,
        "Error: cannot read the nodes in /no/such/list: No such file or directory (os error 2)\n"
    );
    assert_eq!(said.status, 1);
}

#[test]
fn links_make_the_verbs_programs() {
    let fake = Fake::start(knows());
    let bin = fake.dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    let link = || sysclone(&fake, &["install-links", bin.to_str().unwrap()]);
    assert_eq!((link().status, link().status), (0, 0));
    let said = run(Command::new(bin.join("lsdef")).arg("-s").arg("n1").env("SYSCLONE_SOCKET", fake.socket()));
    assert_eq!(said.out, "n1  (node)\n");
    std::fs::remove_file(bin.join("chdef")).unwrap();
    std::fs::write(bin.join("chdef"), "another program").unwrap();
    let said = link();
    assert_eq!(said.status, 1);
    assert!(said.err.ends_with("chdef exists and is something else; --force replaces it\n"), "{}", said.err);
    assert_eq!(std::fs::read_to_string(bin.join("chdef")).unwrap(), "another program");
}

#[test]
fn a_daemon_that_is_not_there_is_explained() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("api.sock");
    let at = socket.to_str().unwrap();
    let sysclone = || run(Command::new(env!("CARGO_BIN_EXE_sysclone")).args(["lsdef", "--socket", at]));
    let said = sysclone();
    assert!(
        said.err.starts_with(&format!("Error: syscloned is not running: there is no socket {at}.")),
        "{}",
        said.err
    );
    assert_eq!((said.out.as_str(), said.status), ("", 1));
    drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
    let said = sysclone();
    assert!(said.err.starts_with("Error: syscloned is not running: nothing answers on"), "{}", said.err);
}

#[test]
fn a_socket_without_permission_is_explained() {
    if rustix::process::geteuid().is_root() {
        // Root may use every socket; another user has to try.
        let fake = Fake::start(knows());
        std::fs::set_permissions(fake.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::set_permissions(fake.socket(), PermissionsExt::from_mode(0o660)).unwrap();
        let program = fake.dir.path().join("sysclone");
        // By another program: a copy that is open for writing here could not be run while another test starts one.
        let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_sysclone")).arg(&program).status().unwrap();
        assert!(copied.success());
        let mut command = Command::new(program);
        command.uid(65534).gid(65534);
        let said = run(command.arg("lsdef").env("SYSCLONE_SOCKET", fake.socket()));
        assert!(said.err.starts_with("Error: no permission to use"), "{}", said.err);
        assert_eq!(said.status, 1);
    } else {
        let fake = Fake::start(knows());
        std::fs::set_permissions(fake.socket(), PermissionsExt::from_mode(0o000)).unwrap();
        let said = sysclone(&fake, &["lsdef"]);
        assert!(said.err.starts_with("Error: no permission to use"), "{}", said.err);
    }
}

#[test]
fn output_that_nobody_reads_ends_the_program_quietly() {
    let fake = Fake::start(knows());
    let mut child =
        program(&fake, &["lsdef", "-a", "-l"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut err = String::new();
    child.stderr.take().unwrap().read_to_string(&mut err).unwrap();
    assert_eq!((err.as_str(), child.wait().unwrap().code()), ("", Some(0)));
}

fn finished() -> CaptureProgress {
    CaptureProgress::Finished(CaptureReply {
        image: "demo@2".parse().unwrap(),
        entries: 41_234,
        bytes: 1_710_000_000,
        new_bytes: 12_300_000,
    })
}

fn step(text: &str) -> CaptureProgress {
    CaptureProgress::Step { text: text.to_owned() }
}

#[test]
fn imgcapture_tells_its_steps() {
    let warning = CaptureProgress::Warning { text: "/var/log/x changed while it was read".to_owned() };
    let progress = CaptureProgress::Progress { files: 1, bytes: 2, total: 3, sent: 1 };
    let created = step("The osimage definition for demo was created.");
    let capture = vec![step("Preparing osimage demo on n1."), progress, warning, created, finished()];
    let fake = Fake::start(Knows { capture, ..knows() });
    insta::assert_snapshot!(sysclone(&fake, &["imgcapture", "n1", "-t", "sysclone", "-o", "demo"]).all(), @r"
    status 0
    --- out
    Preparing osimage demo on n1.
    The osimage definition for demo was created.
    demo@2: 41,234 files, 1.7 GB, 12.3 MB new
    --- err
    Warning: /var/log/x changed while it was read
    ");
    fake.wait_for("capture n1 demo");
}

#[test]
fn imgcapture_says_why_it_failed() {
    let reason = "connecting to n1: Connection refused".to_owned();
    let fake = Fake::start(Knows { capture: vec![CaptureProgress::Failed { reason }], ..knows() });
    let said = sysclone(&fake, &["imgcapture", "n1", "-o", "demo"]);
    assert_eq!(said.all(), "status 1\n--- out\n--- err\nError: connecting to n1: Connection refused\n");
    let fake = Fake::start(Knows { capture: vec![step("Reading.")], ..knows() });
    let said = sysclone(&fake, &["imgcapture", "n1", "-o", "demo"]);
    assert!(said.err.starts_with("Error: the daemon ended before the capture did"), "{}", said.err);
    assert_eq!(said.status, 1);
}

#[test]
fn an_interrupted_imgcapture_closes_its_connection() {
    let fake = Fake::start(Knows { capture: vec![step("Reading.")], capture_hangs: true, ..knows() });
    let mut child = program(&fake, &["imgcapture", "n1", "-o", "demo"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 8];
    child.stdout.as_mut().unwrap().read_exact(&mut first).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(130));
    let err = String::from_utf8(ended.stderr).unwrap();
    assert!(err.starts_with("Stopped. No new image was made"), "{err}");
    fake.wait_for("capture connection closed");
}

fn status(node: &str, state: &str, phase: Option<Phase>, reason: Option<&str>) -> NodeStatus {
    NodeStatus {
        tasks: None,
        node: node.to_owned(),
        state: state.to_owned(),
        phase,
        progress: phase.map(|_| (1, 4)),
        image: Some("demo@2".to_owned()),
        reason: reason.map(str::to_owned),
        since: "2026-01-02T03:04:05Z".to_owned(),
    }
}

#[test]
fn nodestat_says_where_nodes_stand() {
    let now = vec![
        status("n1", "installing", Some(Phase::Pull), None),
        status("n2", "armed", None, Some("waits for a network boot")),
    ];
    let fake = Fake::start(Knows { statuses: [now].into(), ..knows() });
    insta::assert_snapshot!(sysclone(&fake, &["nodestat", "compute"]).all(), @r"
    status 0
    --- out
    n1: installing demo@2: pull 25 %
    n2: armed demo@2, waits for a network boot
    --- err
    ");
    assert_eq!(sysclone(&fake, &["nodestat", "n1,nope"]).status, 1);
}

#[test]
fn watch_ends_when_all_nodes_have() {
    let pull = || status("n1", "installing", Some(Phase::Pull), None);
    let booted = |node| status(node, "booted", None, None);
    let steps = [
        vec![pull(), status("n2", "armed", None, None)],
        vec![pull(), booted("n2")],
        vec![booted("n1"), booted("n2")],
    ];
    let fake = Fake::start(Knows { statuses: steps.into(), ..knows() });
    insta::assert_snapshot!(sysclone(&fake, &["watch", "compute"]).all(), @r"
    status 0
    --- out
    2026-01-02T03:04:05Z n1: installing demo@2: pull
    2026-01-02T03:04:05Z n2: armed demo@2
    2026-01-02T03:04:05Z n2: booted demo@2
    2026-01-02T03:04:05Z n1: booted demo@2
    --- err
    2 booted, 0 failed
    ");
}

#[test]
fn watch_fails_with_the_nodes_that_did() {
    let failed = status("n1", "failed", Some(Phase::Plan), Some("no disk fits"));
    let fake = Fake::start(Knows { statuses: [vec![failed]].into(), ..knows() });
    insta::assert_snapshot!(sysclone(&fake, &["watch", "compute"]).all(), @r"
    status 1
    --- out
    2026-01-02T03:04:05Z n1: failed demo@2 in plan: no disk fits
    n2: failed: its definition was removed
    --- err
    n1: Error: failed demo@2 in plan: no disk fits
    n2: Error: failed: its definition was removed
    0 booted, 2 failed
    ");
}

#[test]
fn watch_gives_up_when_its_time_is_over() {
    let fake = Fake::start(Knows { statuses: [vec![status("n1", "armed", None, None)]].into(), ..knows() });
    insta::assert_snapshot!(sysclone(&fake, &["watch", "n1", "--timeout", "1s"]).all(), @r"
    status 1
    --- out
    2026-01-02T03:04:05Z n1: armed demo@2
    --- err
    n1: Error: armed demo@2
    0 booted, 0 failed, 1 not finished in time
    ");
}

#[test]
fn events_are_one_line_each() {
    let event = |id, node: Option<&str>, text: &str| EventRecord {
        id,
        at: "2026-01-02T03:04:05Z".to_owned(),
        node: node.map(str::to_owned),
        actor: "admin:root".to_owned(),
        kind: "node-armed".to_owned(),
        text: text.to_owned(),
    };
    let events =
        vec![event(1, Some("n1"), "demo@2"), event(2, None, "\x1b[31mred"), event(3, Some("n3"), "x")];
    let fake = Fake::start(Knows { events, ..knows() });
    let said = sysclone(&fake, &["events", "--after", "1"]);
    assert_eq!(
        said.out,
        "2026-01-02T03:04:05Z - node-armed: \u{fffd}[31mred (admin:root)\n\
         2026-01-02T03:04:05Z n3 node-armed: x (admin:root)\n"
    );
    let said = sysclone(&fake, &["events", "compute", "--json"]);
    let found: serde_json::Value = serde_json::from_str(said.out.trim()).unwrap();
    assert_eq!((found["id"].as_i64(), said.status), (Some(1), 0));
}
