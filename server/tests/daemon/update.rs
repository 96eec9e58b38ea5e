//! Updates of clones as they are typed, with a script in the place of ssh that plays the agent on each node.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use crate::life::{armed, enroll, event, report};
use crate::site::{Answer, ImageFacts, Site, read};

/// Plays ssh and the machines: 127.0.0.39 is down, 127.0.0.38 is of another architecture. An agent keeps its order and
/// says what is in `lines-ADDRESS`; when that is a pipe, it says what the test says.
const SSH: &str = r#"#!/bin/sh
dir=${0%/bin/ssh}
at=
for command; do [ "$at" = next ] && at=$command; [ "$command" = -- ] && [ -z "$at" ] && at=next; done
[ "$at" = 127.0.0.39 ] && { echo "ssh: connect to host: No route to host" >&2; exit 255; }
machine=x86_64
[ "$at" = 127.0.0.38 ] && machine=ppc64le
case $command in
uname*) echo $machine; sha256sum "$dir/pushed-$at" 2>/dev/null || : ;;
*'update') read -r order; printf '%s\n' "$order" > "$dir/order-$at"; cat "$dir/lines-$at"
    if [ -e "$dir/cut-$at" ]; then echo "Timeout, server not responding." >&2; exit 255; fi ;;
*) cat > "$dir/pushed-$at"; sha256sum "$dir/pushed-$at" ;;
esac
"#;

/// Clones of `demo@1`, of which there is `demo@2`.
struct Fleet {
    site: Site,
    old: ImageFacts,
    new: ImageFacts,
}

fn fleet() -> Fleet {
    let site = Site::started();
    let ssh = site.path("bin/ssh");
    fs::write(&ssh, SSH).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    let network = [("net", "127.0.0.0"), ("mask", "255.0.0.0")];
    site.define("network", "lo", &network);
    let old = generation(&site, "one");
    let nodes = ["n1", "n2", "n3", "down"];
    for (node, last) in [("n1", 1), ("n2", 2), ("n3", 3), ("down", 9)] {
        let (mac, ip) = (format!("52:54:00:00:03:0{last}"), format!("127.0.0.3{last}"));
        let own = [("mac", mac.as_str()), ("ip", ip.as_str()), ("arch", "x86_64"), ("groups", "all,rack1")];
        site.define("node", node, &own);
    }
    for outcome in site.nodeset(&nodes, "osimage=demo") {
        outcome.unwrap();
    }
    let new = generation(&site, "two");
    Fleet { site, old, new }
}

fn generation(site: &Site, content: &str) -> ImageFacts {
    let tree = tempfile::tempdir_in("/var/tmp").unwrap();
    fs::write(tree.path().join("file"), content).unwrap();
    site.add_image_of("demo", tree.path())
}

fn finished(image: &str, drift: Option<u64>) -> Value {
    json!({ "update": "finished", "image": image, "changed": 2, "fetched_bytes": 1_500_000, "drift": drift,
        "reboot": ["the kernel is another"] })
}

fn plan(path: &str) -> Value {
    json!({ "update": "plan", "from": "demo@1", "to": "demo@2", "digest": "is not relied on",
        "changes": [{ "path": path, "change": { "kind": "content" }, "why": "golden", "bytes": 2000 }],
        "fetch_bytes": 1_500_000, "write_bytes": 2000, "kept": [{ "path": "/etc/fstab", "reason": "identity" }] })
}

impl Fleet {
    /// What the agent on the node with this address says.
    fn says(&self, last: u8, lines: &[Value]) {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        fs::write(self.site.path(&format!("lines-127.0.0.3{last}")), text).unwrap();
    }

    fn order(&self, last: u8) -> Value {
        serde_json::from_slice(&read(&self.site.path(&format!("order-127.0.0.3{last}")))).unwrap()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
        command.args(words).env("SYSCLONE_SOCKET", self.site.path("run/api.sock")).stdin(Stdio::null());
        command
    }

    fn verb(&self, words: &[&str]) -> (String, String, i32) {
        said(&self.command(words).output().unwrap())
    }
}

/// Both outputs, the lines of errors in order, and the exit status.
fn said(output: &Output) -> (String, String, i32) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut errors: Vec<String> = text(&output.stderr).lines().map(str::to_owned).collect();
    errors.sort();
    (text(&output.stdout), errors.join("\n"), output.status.code().unwrap())
}

#[test]
fn a_range_is_planned_as_groups_and_updated() {
    let fleet = fleet();
    for (last, path) in [(1, "/etc/a"), (2, "/etc/a"), (3, "/etc/b")] {
        fleet.says(last, &[plan(path), finished("demo@2", None)]);
    }
    let (out, err, status) = fleet.verb(&["updatenode", "all", "-S", "--dry-run"]);
    let expected = "\
2 nodes identical: 1 path, 1.5 MB to fetch; 1 differ: n3
n1,n2 (2 nodes): demo@1 to demo@2: 1 path, 1.5 MB to fetch
  c /etc/a  (golden client, 2.0 kB)
  stays: /etc/fstab (identity)
n3: demo@1 to demo@2: 1 path, 1.5 MB to fetch
  c /etc/b  (golden client, 2.0 kB)
  stays: /etc/fstab (identity)
";
    assert_eq!((out.as_str(), status), (expected, 1), "{err}");
    assert!(err.contains("down: Error: cannot reach down by ssh"), "{err}");
    assert!(err.contains("1 node cannot be reached; they can be updated when they are back: down"), "{err}");
    let order = fleet.order(1);
    assert_eq!((&order["image_key"], &order["action"]["do"]), (&Value::Null, &json!("plan")));
    assert!(!fleet.site.has_event("update-started", ""), "nothing is changed");

    let (out, _, status) = fleet.verb(&["updatenode", "n1-n3", "-S", "--max-failures", "0"]);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    let line = |node: &str| {
        format!("{node}: demo@2: 2 paths changed, 1.5 MB fetched; restart the machine: the kernel is another")
    };
    assert_eq!((lines, status), (vec![&*line("n1"), &*line("n2"), &*line("n3")], 0));
    let order = fleet.order(1);
    assert_eq!((&order["image"]["generation"], &order["node"]), (&json!(2), &json!("n1")));
    assert!(order["image_key"].is_string() && order["keep_local"] == json!(false));
    assert!(order["node_token"].is_string(), "it can ask from now on");
    assert!(fleet.site.has_event("update-finished", "n1 is like demo@2: 2 paths changed, 1500000 bytes"));

    fleet.says(1, &[finished("demo@2", Some(3))]);
    let (out, _, status) = fleet.verb(&["verify", "n1"]);
    assert_eq!(
        (out.as_str(), status),
        ("n1: demo@2: 3 paths not as captured; restart the machine: the kernel is another\n", 1)
    );
    let (out, ..) = fleet.verb(&["nodestat", "n1,down", "--drift"]);
    let shown: Vec<&str> = out.lines().collect();
    assert_eq!(shown[0], "down: demo@1, not verified, the newest is demo@2");
    assert!(
        shown[1].starts_with("n1: demo@2 since 20") && shown[1].contains("Z, 3 paths differ (20"),
        "{out}"
    );
    let drift = fleet.site.admin("GET", "synced?nodes=n1", None).json();
    assert_eq!((&drift[0]["drift"], &drift[0]["newest"]), (&json!(3), &Value::Null));
    assert_eq!(drift[0]["reboot"], json!(["the kernel is another"]));

    fleet.verb(&["updatenode", "n1", "-S"]);
    assert_eq!(fleet.order(1)["node_token"], order["node_token"], "it is the one that it has");
    fleet.says(1, &[finished("demo@1", None)]);
    let (out, ..) = fleet.verb(&["updatenode", "n1", "-S", "--rollback"]);
    assert!(out.starts_with("n1: back at demo@1: 2 paths changed"), "{out}");
    assert!(fleet.site.has_event("rolled-back", "n1 is like demo@1"));
    fleet.says(1, &[finished("what it was", None)]);
    assert_eq!(fleet.verb(&["updatenode", "n1", "-S", "--rollback"]).2, 0);
    assert!(fleet.verb(&["nodestat", "n1", "--drift"]).0.starts_with("n1: demo@1, not verified"));
}

#[test]
fn whoever_sits_at_a_terminal_sees_the_plan_and_is_asked() {
    let fleet = fleet();
    fleet.says(1, &[plan("/etc/a"), finished("demo@2", None)]);
    let failed = json!({ "update": "failed", "reason": "no plan", "state": "unchanged" });
    fleet.says(2, &[failed]);
    let typed = |answer: &str, words: &str| {
        let program = format!("{} {words}", env!("CARGO_BIN_EXE_sysclone"));
        let mut script = Command::new("script")
            .args(["-qec", &program, "/dev/null"])
            .env("SYSCLONE_SOCKET", fleet.site.path("run/api.sock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Open until the end: its end would be one of the answers.
        let mut keys = script.stdin.take().unwrap();
        keys.write_all(answer.as_bytes()).unwrap();
        let mut screen = String::new();
        script.stdout.take().unwrap().read_to_string(&mut screen).unwrap();
        (screen, script.wait().unwrap().code().unwrap())
    };
    let (screen, status) = typed("n\n", "updatenode n1 -S");
    assert!(screen.contains("  c /etc/a  (golden client, 2.0 kB)") && status == 1, "{screen}");
    assert!(screen.contains("Update 1 node? [y/N] ") && screen.contains("Nothing was changed."), "{screen}");
    assert!(!fleet.site.has_event("update-started", ""));

    let (screen, status) = typed("y\n", "updatenode n1,n2 -S");
    assert!(screen.contains("n2: Error: no plan; the node is unchanged"), "{screen}");
    assert!(screen.contains("Update 1 node? [y/N] ") && status == 1, "{screen}");
    assert!(screen.contains("n1: demo@2: 2 paths changed, 1.5 MB fetched"), "{screen}");
    assert!(!fleet.site.has_event("update-started", "n2"), "it had no plan");
    let (screen, status) = typed("", "updatenode n1 -S --json");
    assert!(screen.contains("say --yes, or --dry-run") && status == 2, "{screen}");
}

#[test]
fn no_further_node_is_begun_when_too_many_failed() {
    let fleet = fleet();
    let failed = json!({ "update": "failed", "reason": "no space left on /", "state": "unchanged" });
    fleet.says(1, &[finished("demo@2", None)]);
    fleet.says(2, &[failed]);
    let words = ["updatenode", "n1-n3", "-S", "--yes", "--fanout", "1", "--max-failures", "0"];
    let (out, err, status) = fleet.verb(&words);
    assert!(out.starts_with("n1: demo@2: 2 paths changed") && status == 1, "{out}");
    let expected = "Error: 1 node not begun, because too many failed: n3\n\
                    n2: Error: no space left on /; the node is unchanged";
    assert_eq!(err, expected);
    assert!(
        fleet.site.has_event("update-failed", "update of n2 failed: no space left on /; it is unchanged")
    );
    let (out, ..) = fleet.verb(&["updatenode", "n2", "-S", "--json"]);
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = json!({ "update": "ended", "done": 0, "failed": ["n2"], "unreachable": [], "not_tried": [] });
    assert_eq!(lines.last(), Some(&last));
    // A node that goes down by its update is no node that was off: it counts.
    fleet.says(1, &[json!({ "update": "step", "text": "swapping" })]);
    fs::write(fleet.site.path("cut-127.0.0.31"), "").unwrap();
    let (_, err, _) = fleet.verb(&["updatenode", "n1,n3", "-S", "--fanout", "1", "--max-failures", "0"]);
    assert!(err.contains("n1: Error: the connection was lost while the agent was at work: Timeout"), "{err}");
    assert!(err.contains("not begun, because too many failed: n3"), "{err}");
    // An agent that ends without a word has not updated anything.
    fleet.says(3, &[]);
    let (_, err, _) = fleet.verb(&["updatenode", "n3", "-S"]);
    assert!(err.contains("n3: Error: the agent ended without a word"), "{err}");
}

#[test]
fn a_token_reads_the_ordered_manifest_until_the_update_ends() {
    let fleet = fleet();
    let site = &fleet.site;
    for pipe in ["order-127.0.0.31", "lines-127.0.0.31"] {
        assert!(Command::new("mkfifo").arg(site.path(pipe)).status().unwrap().success());
    }
    let mut running = fleet.command(&["updatenode", "n1", "-S"]).stdout(Stdio::null()).spawn().unwrap();
    let order = fleet.order(1);
    let mut agent = OpenOptions::new().write(true).open(site.path("lines-127.0.0.31")).unwrap();
    let token = order["token"].as_str();
    let manifest = site.agent("GET", "manifest", token, None);
    assert_eq!(manifest.status, 200);
    let key = order["manifest_key"].as_str().unwrap();
    let key = sysclone_image::sign::VerifyingKey::from_base64(key).unwrap();
    assert_eq!(
        sysclone_image::sign::open(&manifest.body, &key).unwrap().digest().to_string(),
        digest(&fleet, 2, &key)
    );
    assert_eq!(site.manifest_unless(token, &digest(&fleet, 2, &key)).status, 304);
    assert_eq!(site.manifest_unless(token, &digest(&fleet, 1, &key)).status, 200);
    let delta = site.agent("GET", "manifest/delta/1", token, None);
    let old = stored(&fleet, 1, &key);
    let made = sysclone_image::sign::open_delta(&delta.body, &old, &key).unwrap();
    assert_eq!(made.header.generation, 2);
    assert_eq!(site.agent("GET", "manifest/delta/1", token, None).body, delta.body);
    assert_eq!(site.agent("GET", "manifest/delta/7", token, None).status, 404);
    assert_eq!(site.agent("GET", "parent", token, None).status, 403, "it is for no other call");

    let (_, err, _) = fleet.verb(&["updatenode", "n1", "-S"]);
    assert!(err.contains("it is being updated to demo@2 by admin:"), "{err}");
    writeln!(agent, "{}", finished("demo@2", None)).unwrap();
    drop(agent);
    assert!(running.wait().unwrap().success());
    assert_eq!(site.agent("GET", "manifest", token, None).status, 401, "the token died");
    assert_eq!(fleet.old.packs.len() + fleet.new.packs.len(), 2);
}

fn stored(
    fleet: &Fleet,
    generation: u32,
    key: &sysclone_image::sign::VerifyingKey,
) -> sysclone_image::Manifest {
    let store = sysclone_image::Store::open(&fleet.site.path("state/store")).unwrap();
    store.manifest(&format!("demo@{generation}").parse().unwrap(), key).unwrap()
}

fn digest(fleet: &Fleet, generation: u32, key: &sysclone_image::sign::VerifyingKey) -> String {
    stored(fleet, generation, key).digest().to_string()
}

#[test]
fn rules_go_along_those_of_the_node_first() {
    let fleet = fleet();
    let site = &fleet.site;
    let refused = site.try_define("change", "group", "rack1", &[("updateexcludes", "/a,[x")]).unwrap_err();
    assert!(refused.contains("updateexcludes") && refused.contains("'['"), "{refused}");
    site.define("osimage", "demo", &[("updateexcludes", "# everywhere,/srv/**")]);
    site.define("group", "rack1", &[("updateexcludes", "/etc/rack/")]);
    site.define("node", "n1", &[("updateexcludes", "+ /srv/keep, /etc/motd")]);
    let text = "rule '/etc/motd' of node n1 leaves it alone";
    fleet.says(1, &[json!({ "update": "explained", "text": text })]);
    let (out, err, status) = fleet.verb(&["updatenode", "n1", "-S", "--explain", "/etc/motd"]);
    assert_eq!((out, status), (format!("n1: {text}\n"), 0), "{err}");
    let rules = json!([
        { "rule": "+ /srv/keep", "from": "node n1" },
        { "rule": "/etc/motd", "from": "node n1" },
        { "rule": "/etc/rack/", "from": "group rack1" },
        { "rule": "/srv/**", "from": "osimage demo" },
    ]);
    let order = fleet.order(1);
    assert_eq!(
        (&order["rules"], &order["action"]),
        (&rules, &json!({ "do": "explain", "path": "/etc/motd" }))
    );
    let (_, err, status) = fleet.verb(&["updatenode", "n1", "-S", "--explain", "motd"]);
    assert!(err.contains("absolute path") && status == 2, "{err}");
}

#[test]
fn what_cannot_be_updated_is_refused_before_anything_is_done() {
    let fleet = fleet();
    let site = &fleet.site;
    site.define("node", "golden", &[("ip", "127.0.0.34")]);
    site.define("node", "power", &[("ip", "127.0.0.38")]);
    fs::write(site.path("boot/ppc64le/sysclone-agent"), "agent").unwrap();
    let refused = |words: &[&str]| {
        let (_, err, status) = fleet.verb(words);
        assert_eq!(status, 1, "{err}");
        err
    };
    let err = refused(&["updatenode", "golden", "-S", "--image", "demo"]);
    assert!(err.contains("golden: Error: it is the golden client of demo@2"), "{err}");
    let err = refused(&["updatenode", "power", "-S", "--image", "demo@1"]);
    assert!(err.contains("it is a ppc64le machine, demo@1 is for x86_64"), "{err}");
    assert!(refused(&["updatenode", "n1", "-S", "--image", "demo@7"]).contains("demo@7"));
    assert!(refused(&["verify", "golden"]).contains("it is no clone"));
    assert!(refused(&["updatenode", "n1", "-S", "--image", "../x"]).contains("../x"));
    for pack in fleet.new.packs.keys().map(ToString::to_string) {
        fs::remove_file(site.path("state/store/packs").join(&pack[..2]).join(pack)).unwrap();
    }
    assert!(refused(&["updatenode", "n1", "-S"]).contains("of image demo@2 is missing in the image store"));
    assert!(!site.path("order-127.0.0.31").exists(), "no agent was started");

    let (out, ..) = fleet.verb(&["updatenode", "golden", "-S"]);
    assert!(out.starts_with("golden: the agent is "), "{out}");
}

/// `n1` after its first boot, with the token that it asks with.
fn booted() -> (Site, String) {
    let site = armed();
    let order = enroll(&site);
    event(&site, &order, json!({ "phase": "finish", "event": "started" }));
    event(&site, &order, json!({ "phase": "finish", "event": "installed" }));
    let answer = site.agent_json("report", order["report_token"].as_str(), &report(&order)).json();
    (site, answer["node_token"].as_str().unwrap().to_owned())
}

#[test]
fn a_clone_asks_by_itself_and_updates_itself_only_when_it_may() {
    let (site, token) = booted();
    generation(&site, "two");
    let ask = |action: &str| {
        site.agent_json("update", Some(&token), &json!({ "node": "n1", "action": { "do": action } }))
    };
    let plan = ask("plan").json();
    assert_eq!((&plan["image"]["generation"], &plan["image_key"]), (&json!(2), &Value::Null));
    let verify = ask("verify").json();
    assert_eq!(verify["image"]["generation"], 1, "it is compared with what it has");
    assert_eq!(site.agent("GET", "manifest", plan["token"].as_str(), None).status, 401, "a later order came");
    assert_eq!(site.agent("GET", "manifest", verify["token"].as_str(), None).status, 200);
    assert_eq!(site.agent("GET", "manifest", Some(&token), None).status, 403, "its own token reads nothing");
    let refused = ask("apply");
    assert!(refused.status == 403 && refused.error().contains("updatepull=yes"), "{}", refused.text());
    let other = json!({ "node": "n2", "action": { "do": "plan" } });
    assert_eq!(site.agent_json("update", Some(&token), &other).status, 403);

    site.define("node", "n1", &[("updatepull", "yes")]);
    let order = ask("apply").json();
    assert!(
        order["image_key"].is_string() && site.has_event("update-started", "update of n1 begins, demo@2")
    );
    let report = json!({ "image": "demo@2", "changed": 1, "fetched_bytes": 2 });
    assert_eq!(site.agent_json("synced", order["token"].as_str(), &report).status, 200);
    assert_eq!(site.agent_json("synced", order["token"].as_str(), &report).status, 401, "it is over");
    assert!(site.has_event("update-finished", "n1 is like demo@2: 1 paths changed"));
    assert_eq!(site.admin("GET", "synced?nodes=n1", None).json()[0]["image"], "demo@2");
}

#[test]
fn a_clone_that_starts_says_what_it_has_and_chooses_no_other_image() {
    let (site, token) = booted();
    generation(&site, "two");
    site.define("node", "n1", &[("updatepull", "yes")]);
    let tree = tempfile::tempdir_in("/var/tmp").unwrap();
    site.add_image_of("secret", tree.path());
    let ask = |action: &str, image: &str| {
        let (name, generation) = image.split_once('@').unwrap();
        let image = json!({ "name": name, "generation": generation.parse::<u32>().unwrap() });
        let body = json!({ "node": "n1", "action": { "do": action }, "image": image, "started": true });
        site.agent_json("update", Some(&token), &body)
    };
    let known = || site.admin("GET", "synced?nodes=n1", None).json()[0]["image"].clone();
    ask("plan", "demo@2");
    assert_eq!(known(), "demo@2", "its start finished an update");
    ask("plan", "secret@1");
    assert_eq!(known(), "demo@2");
    for (action, image) in [("apply", "secret@1"), ("apply", "demo@1"), ("rollback", "secret@1")] {
        let order = ask(action, "demo@2").json();
        let report = json!({ "image": image, "changed": 1, "fetched_bytes": 2 });
        let answer = site.agent_json("synced", order["token"].as_str(), &report);
        assert!(answer.status != 200, "{action} {image}: {}", answer.text());
        assert_eq!(known(), "demo@2", "{action} {image}");
    }
}

#[test]
fn a_clones_token_ends_with_what_it_was_given_for() {
    let ask = |site: &Site, token: &str| {
        site.agent_json("update", Some(token), &json!({ "node": "n1", "action": { "do": "plan" } })).status
    };
    let (site, token) = booted();
    assert_eq!(ask(&site, &token), 200);
    let mac =
        site.admin("GET", "objects/node?names=n1", None).json()["n1"]["mac"].as_str().unwrap().to_owned();
    site.define("node", "n1", &[("mac", "52:54:00:00:99:99")]);
    assert_eq!(ask(&site, &token), 401, "it is another machine");
    site.define("node", "n1", &[("mac", &mac)]);
    assert_eq!(ask(&site, &token), 200);
    site.nodeset(&["n1"], "osimage=demo").remove(0).unwrap();
    assert_eq!(ask(&site, &token), 200, "nothing has become of that yet");
    enroll(&site);
    assert_eq!(ask(&site, &token), 401, "it is installed anew");
    let (site, token) = booted();
    site.try_define("remove", "node", "n1", &[]).unwrap();
    assert_eq!(ask(&site, &token), 401, "there is no such node");
}

impl Site {
    /// Asks for the ordered manifest, unless it is this one.
    fn manifest_unless(&self, token: Option<&str>, known: &str) -> Answer {
        let header = format!("If-None-Match: \"{known}\"");
        self.agent_call(("GET", "manifest"), token, vec!["-H".into(), header])
    }
}
