//! A site for tests: the real daemon on loopback with high ports and temporary directories, driven by curl.

mod golden;
mod http;
pub(crate) mod ports;

use std::fs;
use std::io::Read as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) use golden::ImageFacts;
pub(crate) use http::Answer;

/// Address of the server; nodes have others of the same network, which the kernel takes for its own too.
pub(crate) const SERVER: &str = "127.0.0.1";
/// A start takes a second or two; busy machines take their time.
const START: Duration = Duration::from_secs(60);

/// One server with its files. Dropped, the server is ended.
pub(crate) struct Site {
    dir: TempDir,
    daemon: Option<Child>,
    pub(crate) http: u16,
    pub(crate) https: u16,
    pub(crate) tftp: u16,
    pub(crate) dhcp: u16,
}

impl Site {
    /// Files of a site, nothing running yet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let [http, https, tftp, dhcp] = ports::free();
        let site = Self { dir, daemon: None, http, https, tftp, dhcp };
        site.write_boot_dir();
        let text = format!(
            "state_dir = '{0}/state'\nrun_dir = '{0}/run'\nboot_dir = '{0}/boot'\nlog = 'info,sysclone_server=debug'\n\
             [listen]\naddress = '{SERVER}'\ninterface = 'lo'\nhttp_port = {http}\nhttps_port = {https}\n\
             tftp_port = {tftp}\ndhcp_port = {dhcp}\n[ssh]\nidentity = '{0}/id'\n",
            site.dir.path().display()
        );
        fs::write(site.path("sysclone.toml"), text).unwrap();
        fs::create_dir(site.path("bin")).unwrap();
        site
    }

    /// A site with a running server.
    pub(crate) fn started() -> Self {
        let mut site = Self::new();
        site.start();
        site
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_boot_dir(&self) {
        let files: [(&str, Vec<u8>); 7] = [
            ("x86_64/kernel", (0..300_000u32).map(|n| (n * 7 % 251) as u8).collect()),
            ("x86_64/initrd.img", vec![b'i'; 100_001]),
            ("x86_64/sysclone-agent", b"#!/bin/sh\necho agent\n".to_vec()),
            ("ppc64le/kernel", vec![b'k'; 1000]),
            ("ppc64le/initrd.img", vec![b'i'; 1000]),
            ("loaders/undionly.kpxe", vec![b'u'; 5000]),
            ("loaders/grub2/powerpc-ieee1275/core.elf", vec![b'g'; 5000]),
        ];
        let mut listed = Vec::new();
        for (name, bytes) in files {
            let path = self.path("boot").join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &bytes).unwrap();
            let blake3 = blake3::hash(&bytes).to_hex().to_string();
            listed.push(json!({ "file": name, "size": bytes.len(), "blake3": blake3 }));
        }
        let index = json!({ "format": 1, "architectures": {}, "files": listed });
        fs::write(self.path("boot/boot.json"), index.to_string()).unwrap();
    }

    /// The daemon as a command, its `ssh` being whatever the test put into `bin`.
    pub(crate) fn command(&self) -> Command {
        let mut path = std::ffi::OsString::from(self.path("bin"));
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        let mut command = Command::new(env!("CARGO_BIN_EXE_syscloned"));
        command.arg("--config").arg(self.path("sysclone.toml")).env("PATH", path).stdin(Stdio::null());
        command
    }

    /// Starts the server and waits until it says that it is ready.
    pub(crate) fn start(&mut self) {
        let command = self.command();
        self.start_as(command);
    }

    /// Starts the server with its store on a file system of this size, which needs root.
    pub(crate) fn start_in_small_store(&mut self, size: &str) {
        let mount = "mount -t tmpfs -o size=$0 tmpfs \"$1\" && shift && exec \"$@\"";
        let inner = self.command();
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", mount, size]).arg(self.path("state/store"));
        command.arg(inner.get_program()).args(inner.get_args()).stdin(Stdio::null());
        for (name, value) in inner.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        self.start_as(command);
    }

    fn start_as(&mut self, mut command: Command) {
        let notify = self.path("notify");
        let _ = fs::remove_file(&notify);
        let socket = UnixDatagram::bind(&notify).unwrap();
        socket.set_read_timeout(Some(START)).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(self.path("log")).unwrap();
        let child = command.env("NOTIFY_SOCKET", &notify).stderr(log).spawn().unwrap();
        self.daemon = Some(child);
        let mut buffer = [0; 256];
        let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
        assert!(buffer[..length].starts_with(b"READY=1"), "{}", self.log());
    }

    /// What the server logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// How many sockets the server has open.
    pub(crate) fn sockets(&self) -> usize {
        let pid = self.daemon.as_ref().expect("it is running").id();
        let files = fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
        // One that was closed just now has no target any more.
        let targets = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// Ends the server as a power cut would, as far as a process can tell.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().expect("it is running");
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Asks the server to end; answers whether it said that all went well.
    pub(crate) fn stop(&mut self) -> bool {
        let mut daemon = self.daemon.take().expect("it is running");
        let pid = rustix::process::Pid::from_child(&daemon);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        daemon.wait().unwrap().success()
    }

    /// Runs the daemon although it cannot start; answers what it said.
    pub(crate) fn refused_start(&self) -> String {
        let mut child = self.command().stderr(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!child.wait().unwrap().success(), "it started: {said}");
        said
    }

    /// Replaces text in the configuration.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let path = self.path("sysclone.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{text}");
        fs::write(path, text.replace(from, to)).unwrap();
    }

    /// A call through the socket.
    pub(crate) fn admin(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let socket = self.path("run/api.sock");
        let mut args = vec![
            "--unix-socket".to_owned(),
            socket.display().to_string(),
            "-X".to_owned(),
            method.to_owned(),
        ];
        let file = self.path("admin-body");
        if let Some(body) = body {
            fs::write(&file, body.to_string()).unwrap();
            args.extend(["-H".into(), "Content-Type: application/json".into()]);
            args.extend(["--data-binary".into(), format!("@{}", file.display())]);
        }
        args.push(format!("http://localhost/api/v1/{path}"));
        self.curl(&args.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Defines an object; everything must be accepted.
    pub(crate) fn define(&self, kind: &str, name: &str, attributes: &[(&str, &str)]) {
        let outcome = self.try_define("change", kind, name, attributes);
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    /// Defines or removes an object.
    pub(crate) fn try_define(
        &self,
        action: &str,
        kind: &str,
        name: &str,
        attributes: &[(&str, &str)],
    ) -> Result<String, String> {
        let attributes: Vec<Value> = attributes
            .iter()
            .map(|(attr, value)| json!({ "name": attr, "value": value, "action": "set" }))
            .collect();
        let body = json!({ "action": action, "type": kind, "names": [name], "attributes": attributes });
        outcomes(&self.admin("POST", "objects", Some(body))).remove(0)
    }

    /// A network for all of loopback, and a node `n1` at 127.0.0.11.
    pub(crate) fn define_node(&self) {
        self.define("network", "lo", &[("net", "127.0.0.0"), ("mask", "255.0.0.0")]);
        self.define("node", "n1", &[("mac", MAC), ("ip", "127.0.0.11"), ("groups", "all,rack1")]);
    }

    /// Writes many nodes straight into the database of the server, restarting it; every 500th has no MAC address.
    pub(crate) fn seed_nodes(&mut self, names: &[String]) {
        assert!(self.stop());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let keys = sysclone_server::trust::Keys::load_or_create(&self.path("state/keys")).unwrap();
            let path = self.path("state/sysclone.db");
            let db = sysclone_server::db::Db::open(&path, &keys.attributes).await.unwrap();
            let mut tx = db.write().await.unwrap();
            for (n, name) in names.iter().enumerate() {
                let mac = format!("52:54:00:01:{:02x}:{:02x}", n >> 8, n & 255);
                let ip = format!("127.1.{}.{}", n >> 8, n & 255);
                let mut attributes: sysclone_server::db::Attributes = [("ip".to_owned(), ip)].into();
                if n % 500 != 0 {
                    attributes.insert("mac".to_owned(), mac);
                }
                let kind = sysclone_server::wire::ObjectType::Node;
                tx.put_object(kind, name, &attributes).await.unwrap();
            }
            tx.commit().await.unwrap();
            db.close().await;
        });
        self.start();
    }

    /// `nodeset n1,… state`.
    pub(crate) fn nodeset(&self, nodes: &[&str], state: &str) -> Vec<Result<String, String>> {
        outcomes(&self.admin("POST", "nodeset", Some(json!({ "nodes": nodes, "state": state }))))
    }

    /// State word and reason of a node.
    pub(crate) fn status(&self, node: &str) -> (String, String) {
        let answer = self.admin("GET", &format!("status?nodes={node}"), None).json();
        let text = |field: &str| answer[0][field].as_str().unwrap_or_default().to_owned();
        (text("state"), text("reason"))
    }

    /// Kind and text of all events so far.
    pub(crate) fn events(&self) -> Vec<(String, String)> {
        let answer = self.admin("GET", "events", None);
        let line = |line: &str| {
            let event: Value = serde_json::from_str(line).unwrap();
            let text = |field: &str| event[field].as_str().unwrap_or_default().to_owned();
            (text("kind"), text("text"))
        };
        answer.text().lines().map(line).collect()
    }

    /// Whether there is an event of this kind whose text holds this.
    pub(crate) fn has_event(&self, kind: &str, part: &str) -> bool {
        self.events().iter().any(|(k, text)| k == kind && text.contains(part))
    }
}

/// The Ethernet address of `n1`.
pub(crate) const MAC: &str = "52:54:00:00:00:01";

/// The outcomes in an answer.
pub(crate) fn outcomes(answer: &Answer) -> Vec<Result<String, String>> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let result = |outcome: &Value| match &outcome["result"] {
        Value::Object(result) if result.contains_key("Ok") => Ok(result["Ok"].as_str().unwrap().to_owned()),
        result => Err(result["Err"].as_str().unwrap().to_owned()),
    };
    answer.json().as_array().unwrap().iter().map(result).collect()
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- log of the server\n{}", self.log());
        }
    }
}

/// Reads a file that must be there.
pub(crate) fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
