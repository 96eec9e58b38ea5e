//! The server is killed at any moment of a capture: what it has said is safe is there when it starts again, the
//! image is the old or the new one, and the next capture succeeds. `SYSCLONE_KILLS=200` does it longer.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use sysclone_image::{FsckJob, ImageKey, PackId, Store};
use sysclone_protocol::names::{ImageName, ImageRef};
use sysclone_server::trust::Keys;

use crate::capture::{Agent, Capture, site};
use crate::site::{ImageFacts, Site};

/// Kills unless the environment says otherwise.
const ROUNDS: u64 = 3;
/// Long enough on the wire to be hit there.
const BYTES: usize = 24 << 20;

#[test]
fn whenever_the_server_is_killed_the_next_capture_succeeds() {
    let rounds = std::env::var("SYSCLONE_KILLS").map_or(ROUNDS, |n| n.parse().unwrap());
    let mut site = site();
    let mut takes = Duration::from_millis(500);
    for round in 0..rounds {
        let before = newest(&site);
        let capture = Capture::begin(&site, "golden", "demo");
        let agent = Agent::wait(&site);
        let key = key_of(&agent);
        let image = ImageFacts::make("demo", &noise(round, BYTES), &key);
        // Spread over the time that a whole one takes, in an order that does not repeat.
        let delay = takes.mul_f64((round as f64 * 0.618 + 0.3).fract());
        let stored = kill_while(&mut site, (&agent, &image), delay);
        drop(agent.lines);
        capture.break_off();
        site.start();

        let after = newest(&site);
        assert!(after == before || after == before + 1, "after {delay:?}: {before} became {after}");
        let store = assert_sound(&site, &key);
        for pack in &stored {
            assert!(store.has_pack(pack), "after {delay:?}: {pack} was said to be safe");
        }
        let began = Instant::now();
        // Packs that the new generation names are no longer those of a capture that did not finish.
        let staged = if after > before { &[][..] } else { &stored };
        let again = capture_again(&site, (&image, staged));
        takes = began.elapsed();
        assert!(again > before, "{again}");
        let image = ImageRef { name: name(), generation: again };
        let public = keys(&site).signing.verifying_key();
        assert!(assert_sound(&site, &key).verify(&image, &key, &public).unwrap().damage.is_empty());
    }
}

/// Sends an image and kills the server after this long, or when all is sent; answers the packs that the server said
/// it has.
fn kill_while(site: &mut Site, (agent, image): (&Agent, &ImageFacts), delay: Duration) -> Vec<PackId> {
    // The certificate is copied by the first call, while the server still answers.
    assert_eq!(site.agent("GET", "staged", agent.token(), None).status, 200);
    let calls = Calls {
        ca: site.path("ca.pem"),
        url: format!("https://127.0.0.1:{}/agent/v1", site.https),
        token: agent.token().unwrap().to_owned(),
        body: site.path("upload"),
    };
    let (said, heard) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || calls.send(image, &said));
        let until = Instant::now() + delay;
        let mut stored = Vec::new();
        while let Ok(pack) = heard.recv_timeout(until.saturating_duration_since(Instant::now())) {
            stored.extend(pack);
        }
        site.kill();
        // What was said just before is true as well.
        stored.extend(heard.iter().flatten());
        stored
    })
}

/// What curl needs; it fails when the server goes away.
struct Calls {
    ca: std::path::PathBuf,
    url: String,
    token: String,
    body: std::path::PathBuf,
}

impl Calls {
    fn send(&self, image: &ImageFacts, said: &Sender<Option<PackId>>) {
        for (id, bytes) in &image.packs {
            let stored = self.call("PUT", &format!("packs/{id}"), bytes);
            said.send(stored.then_some(*id)).unwrap();
        }
        self.call("POST", "manifest", &image.manifest.encode());
    }

    fn call(&self, method: &str, call: &str, bytes: &[u8]) -> bool {
        fs::write(&self.body, bytes).unwrap();
        let mut curl = Command::new("curl");
        curl.args(["-sSf", "--max-time", "60", "-o", "/dev/null", "-X", method, "--cacert"]).arg(&self.ca);
        curl.args(["-H", &format!("Authorization: Bearer {}", self.token), "--data-binary"]);
        curl.arg(format!("@{}", self.body.display())).arg(format!("{}/{call}", self.url));
        curl.stderr(Stdio::null()).status().unwrap().success()
    }
}

/// A whole capture; the server knows what it got before. Answers the generation.
fn capture_again(site: &Site, (image, stored): (&ImageFacts, &[PackId])) -> u32 {
    let capture = Capture::begin(site, "golden", "demo");
    let agent = Agent::wait(site);
    let staged = site.agent("GET", "staged", agent.token(), None).text();
    for pack in stored {
        assert!(staged.contains(&pack.to_string()), "{pack} is not in {staged}");
    }
    for (id, bytes) in &image.packs {
        let answer = site.agent("PUT", &format!("packs/{id}"), agent.token(), Some(bytes));
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
    }
    let answer = site.agent("POST", "manifest", agent.token(), Some(&image.manifest.encode()));
    assert_eq!(answer.status, 200, "{}", answer.text());
    drop(agent.lines);
    let (_, last) = capture.end();
    let generation = last["image"]["generation"].as_u64().unwrap_or_else(|| panic!("{last}"));
    u32::try_from(generation).unwrap()
}

fn assert_sound(site: &Site, key: &ImageKey) -> Store {
    let store = Store::open(&site.path("state/store")).unwrap();
    let left = fs::read_dir(site.path("state/store/incoming")).unwrap().count();
    assert_eq!(left, 0, "what was being received is gone");
    let image_key = |_: &ImageName| Some(key.clone());
    let public = keys(site).signing.verifying_key();
    let job = FsckJob { key: &public, image_key: &image_key, quarantine: false, progress: &|_, _| () };
    let report = store.fsck(&job).unwrap();
    assert!(report.is_clean(), "{report:?}");
    store
}

fn keys(site: &Site) -> Keys {
    Keys::load_or_create(&site.path("state/keys")).unwrap()
}

fn key_of(agent: &Agent) -> ImageKey {
    ImageKey::from_base64(agent.order["image_key"].as_str().unwrap()).unwrap()
}

fn name() -> ImageName {
    "demo".parse().unwrap()
}

/// The newest generation, or 0.
fn newest(site: &Site) -> u32 {
    Store::open(&site.path("state/store")).unwrap().newest(&name()).unwrap().unwrap_or(0)
}

/// Bytes that no compressor makes smaller, others for each seed.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}
