//! Captures through the real interfaces, with a golden client played by a script in the place of ssh.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Command, Stdio};

use crate::site::{ImageFacts, Site};
use serde_json::{Value, json};
use sysclone_image::ImageKey;

/// Plays ssh and the golden client: keeps what is pushed, hands the order to the test and the test's lines to the
/// server. The pipes `order` and `lines` make both wait for each other.
const SSH: &str = r#"#!/bin/sh
dir=${0%/bin/ssh}
for command; do :; done
printf '%s\n' "$*" >> "$dir/ssh-calls"
if [ -e "$dir/unreachable" ]; then echo "ssh: connect to host: No route to host" >&2; exit 255; fi
case $command in
uname*) echo x86_64; sha256sum "$dir/pushed" 2>/dev/null || : ;;
*'capture') cat > "$dir/order"; exec cat "$dir/lines" ;;
*) cat > "$dir/pushed"; sha256sum "$dir/pushed" ;;
esac
"#;

pub(crate) fn site() -> Site {
    let site = Site::started();
    site.define("node", "golden", &[("ip", "127.0.0.21")]);
    let ssh = site.path("bin/ssh");
    fs::write(&ssh, SSH).unwrap();
    fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
    for pipe in ["order", "lines"] {
        assert!(Command::new("mkfifo").arg(site.path(pipe)).status().unwrap().success());
    }
    site
}

/// An `imgcapture` that runs: curl reading its lines.
pub(crate) struct Capture {
    curl: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Capture {
    pub(crate) fn begin(site: &Site, node: &str, osimage: &str) -> Self {
        let body = json!({ "node": node, "osimage": osimage }).to_string();
        let mut curl = Command::new("curl")
            .args(["-sSN", "--max-time", "120", "--unix-socket"])
            .arg(site.path("run/api.sock"))
            .args(["-H", "Content-Type: application/json", "-d", &body, "http://localhost/api/v1/capture"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(curl.stdout.take().unwrap());
        Self { curl, lines }
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
    }

    /// All that is still said, and the last line.
    pub(crate) fn end(mut self) -> (Vec<Value>, Value) {
        let mut text = String::new();
        self.lines.read_to_string(&mut text).unwrap();
        assert!(self.curl.wait().unwrap().success());
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let last = lines.pop().expect("a capture ends with a word");
        (lines, last)
    }

    /// Ctrl-C at `imgcapture`.
    pub(crate) fn break_off(mut self) {
        self.curl.kill().unwrap();
        self.curl.wait().unwrap();
    }
}

/// The agent on the golden client, played by the test.
pub(crate) struct Agent {
    pub(crate) order: Value,
    pub(crate) lines: File,
}

impl Agent {
    /// Waits until the server has started it.
    pub(crate) fn wait(site: &Site) -> Self {
        let order = fs::read(site.path("order")).unwrap();
        let lines = OpenOptions::new().write(true).open(site.path("lines")).unwrap();
        Self { order: serde_json::from_slice(&order).unwrap(), lines }
    }

    fn say(&mut self, line: &Value) {
        writeln!(self.lines, "{line}").unwrap();
    }

    pub(crate) fn token(&self) -> Option<&str> {
        self.order["token"].as_str()
    }

    fn image(&self) -> ImageFacts {
        let key = ImageKey::from_base64(self.order["image_key"].as_str().unwrap()).unwrap();
        ImageFacts::make("demo", &vec![b'y'; 100_000], &key)
    }

    /// Sends all packs and the manifest.
    fn hand_in(&self, site: &Site, image: &ImageFacts) -> crate::site::Answer {
        for (id, bytes) in &image.packs {
            assert_eq!(site.agent("PUT", &format!("packs/{id}"), self.token(), Some(bytes)).status, 201);
            assert_eq!(site.agent("PUT", &format!("packs/{id}"), self.token(), Some(bytes)).status, 200);
        }
        site.agent("POST", "manifest", self.token(), Some(&image.manifest.encode()))
    }
}

fn steps(lines: &[Value]) -> Vec<&str> {
    lines.iter().filter(|line| line["capture"] == "step").map(|line| line["text"].as_str().unwrap()).collect()
}

#[test]
fn a_capture_makes_an_image_and_its_definition() {
    let site = site();
    let mut capture = Capture::begin(&site, "golden", "demo");
    assert_eq!(capture.line()["text"], "Preparing osimage demo on golden.");
    let mut agent = Agent::wait(&site);
    assert_eq!(
        fs::read(site.path("pushed")).unwrap(),
        fs::read(site.path("boot/x86_64/sysclone-agent")).unwrap()
    );
    assert_eq!(agent.order["image"], json!({ "name": "demo", "generation": 1 }));
    assert_eq!(site.agent("GET", "parent", agent.token(), None).status, 404);
    agent.say(&json!({ "capture": "step", "text": "reading files" }));
    agent.say(&json!({ "capture": "progress", "files": 1, "bytes": 2, "total": 3, "sent": 4 }));
    agent.say(&json!({ "capture": "inconsistent", "path": "var/log/x", "reason": "changed while read" }));
    let image = agent.image();
    let answer = agent.hand_in(&site, &image);
    assert_eq!(answer.status, 200, "{}", answer.text());
    agent.say(&json!({ "capture": "finished", "image": { "name": "demo", "generation": 1 },
        "entries": 2, "bytes": 100_000, "new_bytes": 1 }));
    drop(agent.lines);
    let (lines, last) = capture.end();
    assert_eq!((&last["capture"], &last["image"]["generation"]), (&json!("finished"), &json!(1)));
    assert!(steps(&lines)[0].starts_with("Getting osimage \"demo\" from golden to "));
    assert!(steps(&lines).contains(&"reading files"));
    assert_eq!(*steps(&lines).last().unwrap(), "The osimage definition for demo was created.");
    assert!(lines.iter().any(|line| line["text"] == "/var/log/x: changed while read"));

    let objects = site.admin("GET", "objects/osimage?names=demo", None).json();
    let store = site.path("state/store/manifests/demo");
    assert_eq!(
        objects["demo"],
        json!({
            "imagetype": "linux", "osarch": "x86_64", "osdistroname": "debian12-x86_64", "osname": "Linux",
            "osvers": "debian12", "profile": "compute", "provmethod": "sysclone",
            "rootimgdir": store.to_str().unwrap(),
        })
    );
    assert!(store.join("1").is_file());
    assert!(site.has_event("capture-finished", "captured demo@1 from golden"));
    let calls = fs::read_to_string(site.path("ssh-calls")).unwrap();
    assert!(calls.contains("StrictHostKeyChecking=accept-new") && calls.contains("-- 127.0.0.21"), "{calls}");

    // Again: the agent is there, the definition too.
    let capture = Capture::begin(&site, "golden", "demo");
    let agent = Agent::wait(&site);
    assert_eq!(agent.order["image"]["generation"], 2);
    assert_eq!(site.agent("GET", "parent", agent.token(), None).status, 200);
    let pushes = fs::read_to_string(site.path("ssh-calls")).unwrap().matches("cat > /var/lib").count();
    assert_eq!(pushes, 1, "an agent that is there is not sent again");
    let mut image = agent.image();
    image.manifest.header.source = "golden again".into();
    assert_eq!(agent.hand_in(&site, &image).status, 200);
    drop(agent.lines);
    let (lines, last) = capture.end();
    assert_eq!(last["image"]["generation"], 2);
    assert!(steps(&lines).last().unwrap().starts_with("Using the existing osimage \"demo\" defined on "));
}

#[test]
fn an_agent_that_knows_the_generation_before_sends_the_difference() {
    let site = site();
    let capture = Capture::begin(&site, "golden", "demo");
    let agent = Agent::wait(&site);
    let image = agent.image();
    assert_eq!(site.parent_unless(agent.token(), &image.manifest).status, 404);
    let whole =
        site.agent("POST", "manifest/delta", agent.token(), Some(&image.manifest.delta(&image.manifest)));
    assert_eq!(whole.status, 404, "the first generation has none before it");
    assert_eq!(agent.hand_in(&site, &image).status, 200);
    drop(agent.lines);
    capture.end();

    let capture = Capture::begin(&site, "golden", "demo");
    let agent = Agent::wait(&site);
    let parent = image.manifest;
    assert_eq!(site.parent_unless(agent.token(), &parent).status, 304);
    let mut manifest = parent.clone();
    manifest.header.source = "golden again".into();
    assert_eq!(site.parent_unless(agent.token(), &manifest).status, 200, "that is another");
    let other = manifest.delta(&manifest);
    assert_eq!(site.agent("POST", "manifest/delta", agent.token(), Some(&other)).status, 412);
    let mut damaged = manifest.delta(&parent);
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(site.agent("POST", "manifest/delta", agent.token(), Some(&damaged)).status, 412);
    let delta = manifest.delta(&parent);
    let made = site.agent("POST", "manifest/delta", agent.token(), Some(&delta)).json();
    assert_eq!(made["image"]["generation"], 2);
    // The answer was lost: the same again is refused, and the whole makes no third generation.
    assert_eq!(site.agent("POST", "manifest/delta", agent.token(), Some(&delta)).status, 412);
    let again = site.agent("POST", "manifest", agent.token(), Some(&manifest.encode())).json();
    assert_eq!(again["image"]["generation"], 2);
    drop(agent.lines);
    assert_eq!(capture.end().1["image"]["generation"], 2);
}

#[test]
fn what_is_refused_leaves_nothing_behind() {
    let site = site();
    let capture = Capture::begin(&site, "golden", "demo");
    let agent = Agent::wait(&site);
    let image = agent.image();
    let (id, bytes) = image.packs.first_key_value().unwrap();
    let early = site.agent("POST", "manifest", agent.token(), Some(&image.manifest.encode()));
    assert!(early.status == 409 && early.error().contains(&id.to_string()), "{}", early.text());
    let mut damaged = bytes.clone();
    damaged[10] ^= 1;
    let answer = site.agent("PUT", &format!("packs/{id}"), agent.token(), Some(&damaged));
    assert!(answer.status == 422 && answer.error().contains("damaged on the way"), "{}", answer.text());
    assert_eq!(site.get(&format!("/packs/{id}"), &[]).status, 404);
    assert_eq!(site.agent("PUT", "packs/../x", agent.token(), Some(b"x")).status, 404);
    assert_eq!(site.agent("PUT", "packs/short", agent.token(), Some(b"x")).status, 400);
    assert_eq!(site.agent("POST", "manifest", agent.token(), Some(b"rubbish")).status, 422);
    assert_eq!(site.agent("GET", "staged", agent.token(), None).json(), json!({ "packs": [], "lost": [] }));
    assert_eq!(site.agent("PUT", &format!("packs/{id}"), agent.token(), Some(bytes)).status, 201);
    assert_eq!(
        site.agent("GET", "staged", agent.token(), None).json(),
        json!({ "packs": [id.to_string()], "lost": [] })
    );

    let other = Capture::begin(&site, "golden", "demo");
    let (_, last) = other.end();
    assert!(last["reason"].as_str().unwrap().contains("is being captured from golden by admin:"), "{last}");

    let Agent { mut lines, order } = agent;
    writeln!(lines, "{}", json!({ "capture": "failed", "reason": "reading /dev/vda: I/O error" })).unwrap();
    drop(lines);
    let (_, last) = capture.end();
    assert_eq!(last, json!({ "capture": "failed", "reason": "on golden: reading /dev/vda: I/O error" }));
    assert_eq!(site.agent("GET", "staged", order["token"].as_str(), None).status, 401, "the token died");
    assert_eq!(site.admin("GET", "objects/osimage", None).json(), json!({}));
    assert!(!site.path("state/store/manifests/demo").exists());
    assert!(site.has_event("capture-failed", "I/O error"));
}

#[test]
fn packs_that_the_store_lost_are_asked_for_again_and_the_older_generation_is_whole_by_them() {
    let site = site();
    let hand_in = |lost: &[String]| {
        let capture = Capture::begin(&site, "golden", "demo");
        let agent = Agent::wait(&site);
        let mut image = agent.image();
        image.manifest.header.source = format!("golden without {}", lost.len());
        let staged = site.agent("GET", "staged", agent.token(), None).json();
        assert_eq!(staged, json!({ "packs": [], "lost": lost }));
        assert_eq!(agent.hand_in(&site, &image).status, 200);
        let key = agent.order["manifest_key"].as_str().unwrap().to_owned();
        drop(agent.lines);
        capture.end();
        (image.packs.keys().map(ToString::to_string).collect::<Vec<_>>(), key)
    };
    let (packs, key) = hand_in(&[]);
    for pack in &packs {
        fs::remove_file(site.path("state/store/packs").join(&pack[..2]).join(pack)).unwrap();
    }
    hand_in(&packs);
    let store = sysclone_image::Store::open(&site.path("state/store")).unwrap();
    let key = sysclone_image::sign::VerifyingKey::from_base64(&key).unwrap();
    for generation in ["demo@1", "demo@2"] {
        assert_eq!(store.degraded(&generation.parse().unwrap(), &key).unwrap(), None, "{generation}");
    }
}

#[test]
fn an_interrupted_capture_ends_the_agent_and_can_be_done_again() {
    let site = site();
    let capture = Capture::begin(&site, "golden", "demo");
    let agent = Agent::wait(&site);
    capture.break_off();
    // The pipe has no reader any more once ssh is gone.
    let Agent { mut lines, .. } = agent;
    let line = json!({ "capture": "step", "text": "x" }).to_string();
    while writeln!(lines, "{line}").is_ok() {
        std::thread::yield_now();
    }
    drop(lines);
    // The next one waits for the first to be over; it is refused as long as that is not.
    loop {
        let mut capture = Capture::begin(&site, "golden", "demo");
        if capture.line()["capture"] == "step" {
            drop(Agent::wait(&site));
            assert!(capture.end().1["reason"].as_str().unwrap().contains("without handing in an image"));
            return;
        }
    }
}

#[test]
fn what_cannot_be_captured_is_said_with_what_was_tried() {
    let site = site();
    let failed = |node: &str, image: &str| {
        let (_, last) = Capture::begin(&site, node, image).end();
        last["reason"].as_str().unwrap().to_owned()
    };
    assert_eq!(failed("nobody", "demo"), "Could not find an object named 'nobody' of type 'node'.");
    assert!(failed("golden", "../x").contains("not a valid image name"));
    site.define("osimage", "netboot", &[("provmethod", "netboot")]);
    assert!(failed("golden", "netboot").contains("provmethod 'netboot'"));
    File::create(site.path("unreachable")).unwrap();
    let reason = failed("golden", "demo");
    for part in ["cannot reach golden by ssh as root@127.0.0.21", "port 22", "/id", "No route to host"] {
        assert!(reason.contains(part), "{reason}");
    }
    fs::remove_file(site.path("unreachable")).unwrap();
    fs::remove_file(site.path("boot/x86_64/sysclone-agent")).unwrap();
    assert!(failed("golden", "demo").contains("sysclone-image-builder --arch x86_64"));
}

#[test]
fn a_full_disk_is_said_and_what_was_sent_before_is_kept() {
    let mut site = site();
    assert!(site.stop());
    // A private mount that only this server sees: a store of 1 MiB.
    site.start_in_small_store("1m");
    let capture = Capture::begin(&site, "golden", "demo");
    let agent = Agent::wait(&site);
    let image = agent.image();
    let (id, bytes) = image.packs.first_key_value().unwrap();
    assert_eq!(site.agent("PUT", &format!("packs/{id}"), agent.token(), Some(bytes)).status, 201);
    let large: Vec<u8> = (0..4_000_000u32).flat_map(u32::to_le_bytes).collect();
    let too_much = format!("packs/{}", blake3::hash(&large).to_hex());
    let answer = site.agent("PUT", &too_much, agent.token(), Some(&large));
    assert!(
        answer.status == 507 && answer.error().contains("no space left in the image store"),
        "{}",
        answer.text()
    );
    assert_eq!(
        site.agent("GET", "staged", agent.token(), None).json(),
        json!({ "packs": [id.to_string()], "lost": [] })
    );
    assert_eq!(site.get(&format!("/{too_much}"), &[]).status, 404);
    let Agent { mut lines, .. } = agent;
    writeln!(
        lines,
        "{}",
        json!({ "capture": "failed", "reason": "the server refused (507): no space left" })
    )
    .unwrap();
    drop(lines);
    assert_eq!(capture.end().1["capture"], "failed");
    assert_eq!(site.admin("GET", "objects/osimage", None).json(), json!({}));
}
