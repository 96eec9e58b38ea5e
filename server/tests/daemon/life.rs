//! The life of a node from nodeset to its boot report, over the real interfaces, with every refusal on the way.

use crate::site::{MAC, Site};
use serde_json::{Value, json};

const CONFIG: &str = "ipxe/52-54-00-00-00-01";
const ADDRESS: &str = "127.0.0.11";

/// The ticket in a boot configuration.
fn ticket(config: &str) -> Option<String> {
    config.split_ascii_whitespace().find_map(|word| word.strip_prefix("sysclone.ticket=")).map(str::to_owned)
}

fn request(node: &str, ticket: &str, mac: &str, attempt: Option<&str>) -> Value {
    json!({
        "node": node, "ticket": ticket, "boot_mac": mac, "agent_version": "1", "attempt": attempt,
        "inventory": { "arch": "x86_64", "nics": [{ "name": "eth0", "mac": mac }], "model": "QEMU\u{1b}[31m" },
    })
}

pub(crate) fn armed() -> Site {
    let site = Site::started();
    site.define_node();
    site.add_image("demo");
    assert_eq!(site.nodeset(&["n1"], "osimage=demo"), [Ok("sysclone debian12-x86_64".to_owned())]);
    site
}

/// Enrols `n1`; answers its order.
pub(crate) fn enroll(site: &Site) -> Value {
    let ticket = ticket(&site.boot_config(CONFIG, ADDRESS)).expect("n1 is armed");
    let answer = site.agent_json("enroll", None, &request("n1", &ticket, MAC, None));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

pub(crate) fn event(site: &Site, order: &Value, event: Value) -> crate::site::Answer {
    site.agent_json("event", order["token"].as_str(), &event)
}

/// What keeps demo@1 from being removed, in words.
fn holders(site: &Site) -> Vec<String> {
    let store = sysclone_image::Store::open(&site.path("state/store")).unwrap();
    let image = "demo@1".parse().unwrap();
    let holders = store.holders(&image, std::time::SystemTime::now()).unwrap();
    holders.iter().map(ToString::to_string).collect()
}

pub(crate) fn report(order: &Value) -> Value {
    json!({
        "node": order["node"], "job": order["job"], "image": order["image"], "kernel": "6.1.0-35-amd64",
        "boot_id": "b", "root_device": "/dev/mapper/vg-root", "hostname": "n1",
    })
}

#[test]
fn a_node_goes_from_defined_to_booted() {
    let site = armed();
    assert_eq!(site.status("n1").0, "armed");
    assert_eq!(site.nodeset(&["n1"], "stat"), [Ok("sysclone debian12-x86_64".to_owned())]);
    let config = site.boot_config(CONFIG, ADDRESS);
    assert!(config.contains("sysclone.node=n1") && config.contains("sysclone.ip=127.0.0.11/8"), "{config}");
    assert_eq!(site.status("n1").0, "booting");
    assert!(!site.has_event("boot-repeated", "did not become an agent"));
    assert_eq!(ticket(&config), ticket(&site.boot_config(CONFIG, ADDRESS)), "the ticket is rendered again");
    assert!(site.has_event("boot-repeated", "did not become an agent"));
    assert!(config.contains(" panic=30"), "a kernel that cannot go on restarts the machine: {config}");

    let mut short = request("n1", &ticket(&config).unwrap(), MAC, None);
    short["initrd_fault"] = json!("its end is missing");
    let refused = site.agent_json("enroll", None, &short);
    assert_eq!(refused.status, 403, "{}", refused.text());
    assert!(site.has_event("initrd-incomplete", "its end is missing") && site.status("n1").0 == "booting");

    let order = enroll(&site);
    assert_eq!(order["image"], json!({ "name": "demo", "generation": 1 }));
    assert_eq!(order["hostname"], "n1");
    assert_eq!(site.status("n1").0, "installing");
    assert_eq!(site.nodeset(&["n1"], "stat"), [Ok("boot".to_owned())]);

    let manifest = site.agent("GET", "manifest", order["token"].as_str(), None);
    assert_eq!((manifest.status, &manifest.body[..8]), (200, &b"SYSCSIG1"[..]));
    assert_eq!(holders(&site), ["the deploy of n1", "nodes that were set to install it"]);
    for phase in ["probe", "plan", "pull"] {
        let answer = event(&site, &order, json!({ "phase": phase, "event": "started" }));
        assert_eq!((answer.status, answer.json()), (200, json!({ "abort": false })));
    }
    event(&site, &order, json!({ "phase": "pull", "event": "progress", "done": 5, "total": 9 }));
    let status = site.admin("GET", "status?nodes=n1", None).json();
    assert_eq!((&status[0]["phase"], &status[0]["progress"]), (&json!("pull"), &json!([5, 9])));
    let early = site.agent_json("report", order["report_token"].as_str(), &report(&order));
    assert_eq!(early.status, 409, "no boot before the end of the installation: {}", early.text());
    for phase in ["identity", "bootloader", "verify", "finish"] {
        event(&site, &order, json!({ "phase": phase, "event": "started" }));
    }
    event(
        &site,
        &order,
        json!({ "phase": "finish", "event": "installed", "host_keys": ["ssh-ed25519 AAAA"] }),
    );
    assert_eq!(site.status("n1").0, "rebooting");
    assert_eq!(holders(&site), ["nodes that were set to install it"]);
    let known = std::fs::read_to_string(site.path("state/known_hosts")).unwrap();
    assert_eq!(known, "n1 ssh-ed25519 AAAA\n");
    assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none());

    let answer = site.agent_json("report", order["report_token"].as_str(), &report(&order));
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(site.status("n1").0, "booted");
    let again = site.agent_json("report", order["report_token"].as_str(), &report(&order));
    assert_eq!(again.status, 200, "a report whose answer was lost may come twice");
    let kinds: Vec<String> = site.events().into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds.iter().filter(|kind| *kind == "node-booted").count(), 1);
    assert!(!site.events().iter().any(|(_, text)| text.contains('\u{1b}')), "an inventory is hostile text");
}

#[test]
fn a_tag_is_what_its_generation_is() {
    let site = Site::started();
    site.define_node();
    site.add_image("demo");
    let store = sysclone_image::Store::open(&site.path("state/store")).unwrap();
    store.tag(&"demo@1".parse().unwrap(), &"stable".parse().unwrap()).unwrap();
    assert_eq!(site.nodeset(&["n1"], "osimage=demo@stable"), [Ok("sysclone debian12-x86_64".to_owned())]);
    assert_eq!(enroll(&site)["image"], json!({ "name": "demo", "generation": 1 }));
}

#[test]
fn a_ticket_is_good_once_for_its_machine_only() {
    let site = armed();
    site.define("node", "n2", &[("mac", "52:54:00:00:00:02"), ("ip", "127.0.0.12")]);
    let ticket = ticket(&site.boot_config(CONFIG, ADDRESS)).unwrap();
    for (body, sentence) in [
        (request("n1", "AAAA", MAC, None), "not one of this server's"),
        (request("n2", &ticket, "52:54:00:00:00:02", None), "another node than n2"),
        (request("n1", &ticket, "52:54:00:00:00:99", None), "not a MAC address of node n1"),
    ] {
        let answer = site.agent_json("enroll", None, &body);
        assert_eq!(answer.status, 403);
        assert!(answer.error().contains(sentence), "{}", answer.error());
        assert!(site.has_event("ticket-refused", sentence), "{sentence}");
    }
    let good = request("n1", &ticket, MAC, Some("attempt 1"));
    let first = site.agent_json("enroll", None, &good);
    assert_eq!(first.status, 200);
    let lost = site.agent_json("enroll", None, &good).json();
    assert_eq!(lost["token"], first.json()["token"], "an answer that was lost is given again");
    let other = site.agent_json("enroll", None, &request("n1", &ticket, MAC, Some("attempt 2")));
    assert!(other.status == 403 && other.error().contains("used already"), "{}", other.text());
    event(&site, &first.json(), json!({ "phase": "probe", "event": "started" }));
    let late = site.agent_json("enroll", None, &good);
    assert!(late.status == 403 && late.error().contains("used already"), "{}", late.text());
}

#[test]
fn a_ticket_is_given_to_the_address_of_its_node_only() {
    let site = armed();
    let other = site.boot_config(CONFIG, "127.0.0.66");
    assert!(ticket(&other).is_none(), "{other}");
    assert!(site.has_event("boot-refused", "127.0.0.66"));
    assert_eq!(site.status("n1").0, "armed", "a stranger's question changes nothing");
    assert_eq!(site.get(&format!("/boot/{CONFIG}"), &["--head", "--interface", ADDRESS]).status, 200);
    assert_eq!(site.status("n1").0, "armed", "nor does a question for the size");
}

#[test]
fn an_expired_ticket_is_refused_and_boots_the_disk() {
    let mut site = armed();
    let ticket_text = ticket(&site.boot_config(CONFIG, ADDRESS)).unwrap();
    site.stop();
    let sql = "UPDATE job SET expires_at = 1000";
    let done = std::process::Command::new("python3")
        .args([
            "-c",
            "import sqlite3,sys; c=sqlite3.connect(sys.argv[1]); c.execute(sys.argv[2]); c.commit()",
        ])
        .arg(site.path("state/sysclone.db"))
        .arg(sql)
        .status()
        .unwrap();
    assert!(done.success());
    site.start();
    assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none());
    let answer = site.agent_json("enroll", None, &request("n1", &ticket_text, MAC, None));
    assert!(answer.error().contains("expired at 1970-01-01T00:00:01Z"), "{}", answer.text());
    assert!(site.status("n1").1.contains("expired"), "{:?}", site.status("n1"));
}

#[test]
fn tokens_open_nothing_but_their_own_calls() {
    let site = armed();
    let order = enroll(&site);
    let (install, report_token) = (order["token"].as_str(), order["report_token"].as_str());
    assert_eq!(site.agent("GET", "manifest", None, None).status, 401);
    assert_eq!(site.agent("GET", "manifest", Some("nonsense"), None).status, 401);
    assert_eq!(site.agent("GET", "manifest", report_token, None).status, 403);
    assert_eq!(site.agent("GET", "parent", install, None).status, 403);
    assert_eq!(site.agent("GET", "staged", install, None).status, 403);
    let pack = format!("packs/{}", blake3::hash(b"x").to_hex());
    assert_eq!(site.agent("PUT", &pack, install, Some(b"x")).status, 403);
    assert_eq!(site.agent("POST", "manifest", install, Some(b"x")).status, 403);
    assert_eq!(site.agent_json("report", install, &report(&order)).status, 403);
    assert_eq!(site.agent_json("event", report_token, &json!({})).status, 403);
    assert_eq!(site.agent_json("event", install, &json!({ "phase": 7 })).status, 400);
    assert_eq!(site.agent("GET", "nothing", install, None).status, 404);
    assert_eq!(site.agent("DELETE", "manifest", install, None).status, 405);
    let large = vec![b' '; (1 << 20) + 1];
    assert_eq!(site.agent("POST", "event", install, Some(&large)).status, 413);
}

#[test]
fn a_failure_is_told_with_its_phase_and_the_state_of_the_disks() {
    let site = armed();
    let order = enroll(&site);
    event(&site, &order, json!({ "phase": "plan", "event": "started" }));
    let failed = json!({
        "phase": "plan", "event": "failed", "reason": "no disk fits", "detail": "sda is 4 GiB",
        "disk_state": "untouched",
    });
    assert_eq!(event(&site, &order, failed).status, 200);
    let (state, reason) = site.status("n1");
    assert_eq!((state.as_str(), reason.as_str()), ("failed", "no disk fits; the disks are untouched"));
    assert!(site.has_event("node-failed", "sda is 4 GiB"));
    assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none(), "a failed node boots its disk");
    let next = event(&site, &order, json!({ "phase": "clear", "event": "started" }));
    assert_eq!(next.json(), json!({ "abort": true }));
    assert_eq!(site.nodeset(&["n1"], "osimage"), [Ok("sysclone debian12-x86_64".to_owned())]);
    assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_some());
}

#[test]
fn nodeset_boot_takes_back_a_ticket_and_stops_an_agent() {
    let site = armed();
    let old = ticket(&site.boot_config(CONFIG, ADDRESS)).unwrap();
    assert_eq!(site.nodeset(&["n1"], "boot"), [Ok("boot".to_owned())]);
    assert_eq!(site.status("n1").0, "defined");
    assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none());
    let answer = site.agent_json("enroll", None, &request("n1", &old, MAC, None));
    assert!(answer.error().contains("withdrawn"), "{}", answer.text());
    assert_eq!(site.nodeset(&["n1"], "offline"), [Ok("offline".to_owned())]);
    assert_eq!(site.nodeset(&["n1"], "stat"), [Ok("offline".to_owned())]);

    site.nodeset(&["n1"], "osimage=demo@1")[0].as_ref().unwrap();
    let order = enroll(&site);
    event(&site, &order, json!({ "phase": "probe", "event": "started" }));
    site.nodeset(&["n1"], "boot")[0].as_ref().unwrap();
    assert_eq!(
        event(&site, &order, json!({ "phase": "plan", "event": "started" })).json(),
        json!({ "abort": true })
    );
    let (state, reason) = site.status("n1");
    assert!(state == "failed" && reason.contains("withdrawn by admin:"), "{state}: {reason}");
}

#[test]
fn nothing_is_forgotten_when_the_server_is_killed() {
    let mut site = armed();
    site.define("node", "n2", &[("mac", "52:54:00:00:00:02"), ("ip", "127.0.0.12")]);
    site.nodeset(&["n2"], "osimage=demo")[0].as_ref().unwrap();
    let before = ticket(&site.boot_config(CONFIG, ADDRESS)).unwrap();
    site.kill();
    site.start();
    assert_eq!(site.status("n1").0, "booting");
    assert_eq!(site.status("n2").0, "armed");
    assert_eq!(ticket(&site.boot_config(CONFIG, ADDRESS)).unwrap(), before);
    let order = enroll(&site);
    site.kill();
    site.start();
    let used = site.agent_json("enroll", None, &request("n1", &before, MAC, None));
    assert!(used.status == 403 && used.error().contains("used already"), "{}", used.text());
    assert_eq!(event(&site, &order, json!({ "phase": "probe", "event": "started" })).status, 200);
    assert_eq!(site.status("n1").0, "installing");
    assert_eq!(site.agent("GET", "manifest", order["token"].as_str(), None).status, 200);
}

/// The enrolment of an agent that can go on with an interrupted installation.
fn resuming(site: &Site, serial: Option<&str>) -> crate::site::Answer {
    let ticket = ticket(&site.boot_config(CONFIG, ADDRESS)).expect("n1 may go on");
    let mut request = request("n1", &ticket, MAC, None);
    request["can_resume"] = json!(true);
    request["inventory"]["serial"] = json!(serial);
    site.agent_json("enroll", None, &request)
}

#[test]
fn a_machine_that_restarts_in_an_installation_goes_on_with_it_but_not_for_ever() {
    let mut site = armed();
    let first = ticket(&site.boot_config(CONFIG, ADDRESS)).unwrap();
    let mut order = enroll(&site);
    assert_eq!(order["resume"], json!(false));
    let job = order["job"].clone();
    event(&site, &order, json!({ "phase": "pull", "event": "started" }));
    assert!(ticket(&site.boot_config(CONFIG, "127.0.0.66")).is_none());
    assert_eq!(site.status("n1").0, "installing", "a stranger's question changes nothing");
    for number in 0..3 {
        let again = ticket(&site.boot_config(CONFIG, ADDRESS)).expect("a ticket to go on with");
        assert_ne!(first, again, "a burnt ticket stays burnt");
        assert_eq!(site.status("n1").0, "resuming");
        assert!(site.has_event("node-state", "the machine restarted in pull"), "{number}");
        if number == 0 {
            site.kill();
            site.start();
        }
        assert_eq!(
            ticket(&site.boot_config(CONFIG, ADDRESS)),
            Some(again),
            "one boot may ask more than once"
        );
        let told = event(&site, &order, json!({ "phase": "identity", "event": "started" }));
        assert_eq!(told.json(), json!({ "abort": true }), "the agent before must stop");
        let answer = resuming(&site, None);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let late = event(&site, &order, json!({ "phase": "identity", "event": "started" }));
        assert_eq!(late.status, 401, "its token is no more");
        order = answer.json();
        assert_eq!((&order["resume"], &order["job"]), (&json!(true), &job));
        assert_eq!(site.status("n1").0, "installing");
        let clear = event(&site, &order, json!({ "phase": "clear", "event": "started" }));
        assert_eq!(clear.status, 409, "disks are cleared once: {}", clear.text());
    }
    for _ in 0..10 {
        assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none());
    }
    let (state, reason) = site.status("n1");
    assert!(state == "failed" && reason.contains("once too often"), "{state}: {reason}");
}

#[test]
fn only_the_machine_that_began_an_installation_goes_on_with_it() {
    let site = armed();
    let order = enroll(&site);
    event(&site, &order, json!({ "phase": "pull", "event": "started" }));
    let other = resuming(&site, Some("S2"));
    assert!(other.status == 403 && other.error().contains("another machine"), "{}", other.text());
    let ticket_text = ticket(&site.boot_config(CONFIG, ADDRESS)).unwrap();
    let old = site.agent_json("enroll", None, &request("n1", &ticket_text, MAC, None));
    assert!(old.status == 403 && old.error().contains("too old to go on"), "{}", old.text());
    assert_eq!(resuming(&site, None).status, 200);
    assert_eq!(site.nodeset(&["n1"], "boot"), [Ok("boot".to_owned())]);
    assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none(), "what was taken back does not go on");
}

#[test]
fn before_the_first_write_an_installation_simply_begins_again() {
    let site = armed();
    let order = enroll(&site);
    event(&site, &order, json!({ "phase": "plan", "event": "started" }));
    let again = enroll(&site);
    assert_eq!((&again["resume"], &again["job"]), (&json!(false), &order["job"]));
    let clear = event(&site, &again, json!({ "phase": "clear", "event": "started" }));
    assert_eq!(clear.status, 200, "{}", clear.text());
}

#[test]
fn a_machine_whose_disk_may_start_by_itself_is_never_written_to_again() {
    let site = armed();
    let order = enroll(&site);
    event(&site, &order, json!({ "phase": "bootloader", "event": "started" }));
    for _ in 0..10 {
        assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none());
    }
    let (state, reason) = site.status("n1");
    assert!(state == "failed" && reason.contains("restarted before the installation was over"), "{reason}");
}

#[test]
fn a_locked_database_is_waited_for() {
    let site = armed();
    let order = enroll(&site);
    let hold = "import sqlite3, sys\n\
                c = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
                c.execute('BEGIN IMMEDIATE')\n\
                print('held', flush=True)\n\
                sys.stdin.read()\n\
                c.execute('ROLLBACK')\n";
    let mut holder = std::process::Command::new("python3")
        .args(["-c", hold])
        .arg(site.path("state/sysclone.db"))
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut held = [0; 5];
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut held).unwrap();
    let answer = std::thread::scope(|scope| {
        let answer = scope.spawn(|| event(&site, &order, json!({ "phase": "probe", "event": "started" })));
        // Reading goes on meanwhile; the writer gets its turn when the other process lets go.
        assert_eq!(site.status("n1").0, "installing");
        drop(holder.stdin.take());
        answer.join().unwrap()
    });
    holder.wait().unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(site.has_event("node-state", "installing demo@1: probe"));
}

#[test]
fn a_removed_node_has_no_agent_and_no_ticket() {
    let site = armed();
    let order = enroll(&site);
    assert_eq!(site.try_define("remove", "node", "n1", &[]), Ok("removed".to_owned()));
    assert_eq!(event(&site, &order, json!({ "phase": "probe", "event": "started" })).status, 401);
    assert_eq!(site.get(&format!("/boot/{CONFIG}"), &[]).status, 404);
    site.define_node();
    assert_eq!(site.status("n1").0, "defined");
}

/// Enrols `n1` with an agent that can work from memory; answers its order.
fn enroll_for_tasks(site: &Site) -> Value {
    let ticket = ticket(&site.boot_config(CONFIG, ADDRESS)).expect("n1 is armed");
    let mut body = request("n1", &ticket, MAC, Some("attempt"));
    let old = site.agent_json("enroll", None, &body);
    assert!(old.status == 403 && old.error().contains("too old for '"), "{}", old.text());
    body["can_do_tasks"] = json!(true);
    let answer = site.agent_json("enroll", None, &body);
    assert_eq!(answer.status, 200, "{}", answer.text());
    let again = site.agent_json("enroll", None, &body);
    assert_eq!(again.json()["token"], answer.json()["token"], "an answer that was lost is given again");
    answer.json()
}

#[test]
fn a_node_works_from_memory_without_an_image() {
    let site = Site::started();
    site.define_node();
    let state = "runcmd=lsblk -o NAME,SIZE,shutdown";
    assert_eq!(site.nodeset(&["n1"], state), [Ok(state.to_owned())]);
    assert_eq!(site.nodeset(&["n1"], "stat"), [Ok(state.to_owned())]);
    let order = enroll_for_tasks(&site);
    let steps = json!([{ "task": "run", "command": "lsblk -o NAME,SIZE" }, { "task": "shutdown" }]);
    assert_eq!((&order["tasks"], order.get("image")), (&steps, None));
    assert_eq!(site.status("n1").0, "running");
    assert_eq!(site.nodeset(&["n1"], "stat"), [Ok("boot".to_owned())], "once");
    assert_eq!(site.agent("GET", "manifest", order["token"].as_str(), None).status, 409);
    let said = [
        json!({ "phase": "task", "event": "started" }),
        json!({ "phase": "task", "event": "note", "text": "vda 1G" }),
        json!({ "phase": "task", "event": "worked" }),
    ];
    for body in said {
        let answer = event(&site, &order, body);
        assert_eq!((answer.status, answer.json()), (200, json!({ "abort": false })));
    }
    assert_eq!(site.status("n1").0, "done");
    assert!(site.has_event("agent-note", "vda 1G"));
    assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none());
}

#[test]
fn a_machine_that_waits_learns_what_it_is_wanted_for() {
    let site = armed();
    assert_eq!(site.nodeset(&["n1"], "standby"), [Ok("standby".to_owned())]);
    let order = enroll_for_tasks(&site);
    let alive = json!({ "phase": "task", "event": "progress", "done": 0, "total": 0 });
    assert_eq!(event(&site, &order, alive.clone()).json(), json!({ "abort": false }));
    assert_eq!(site.nodeset(&["n1"], "osimage=demo"), [Ok("sysclone debian12-x86_64".to_owned())]);
    assert_eq!(event(&site, &order, alive).json(), json!({ "abort": true }));
    assert_eq!(enroll(&site)["image"], json!({ "name": "demo", "generation": 1 }));
}

#[test]
fn a_restart_ends_a_shell_but_fails_a_command() {
    let site = Site::started();
    site.define_node();
    for (state, ended) in [("shell", "done"), ("runcmd=sleep 99", "failed")] {
        assert_eq!(site.nodeset(&["n1"], state), [Ok(state.to_owned())]);
        enroll_for_tasks(&site);
        assert!(ticket(&site.boot_config(CONFIG, ADDRESS)).is_none());
        assert_eq!(site.status("n1").0, ended, "{state}");
    }
    let body = json!({ "nodes": ["n1"], "state": "shell,standby" });
    let refused = site.admin("POST", "nodeset", Some(body)).error();
    assert!(refused.contains("nothing can come after shell"), "{refused}");
}

/// Open Firmware stays where it is when a loader gives up, and goes on to the disk when there is none.
#[test]
fn open_firmware_gets_a_loader_only_when_there_is_something_to_load() {
    let site = Site::started();
    site.define_node();
    site.define("node", "n1", &[("arch", "ppc64le")]);
    let core = |address: &str, more: &[&str]| {
        let options = [&["--interface", address][..], more].concat();
        site.get("/boot/grub2/powerpc-ieee1275/core.elf", &options).status
    };
    assert_eq!((core(ADDRESS, &[]), core(ADDRESS, &["--head"])), (404, 200));
    assert_eq!(core("127.0.0.66", &[]), 200, "a machine that nobody defined may be told what to do");
    assert_eq!(site.nodeset(&["n1"], "shell"), [Ok("shell".to_owned())]);
    assert_eq!(core(ADDRESS, &[]), 200);
    enroll_for_tasks(&site);
    assert_eq!(core(ADDRESS, &[]), 404, "it restarted and is not to do it again");
    assert_eq!(site.status("n1").0, "done");
}
