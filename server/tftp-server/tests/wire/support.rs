//! A server on a free loopback port with a known set of files, and the programs that read from it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use tftp_server::{Events, Files, Opening, Server, Transfer};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// No client needs longer for anything here.
const DEADLINE: Duration = Duration::from_secs(120);

/// A file set in memory.
pub(crate) struct Set(pub HashMap<String, Bytes>);

impl Files for Set {
    fn open<'a>(&'a self, name: &'a str, _peer: SocketAddr) -> Opening<'a> {
        Box::pin(async move { self.0.get(name).cloned() })
    }
}

/// Collects what the server reports.
#[derive(Default)]
pub(crate) struct Log {
    transfers: Mutex<Vec<Transfer>>,
    changed: Notify,
}

impl Events for Log {
    fn finished(&self, transfer: &Transfer) {
        self.transfers.lock().unwrap().push(transfer.clone());
        self.changed.notify_one();
    }
}

impl Log {
    /// The `n`th transfer (from 0), waited for.
    pub(crate) async fn transfer(&self, n: usize) -> Transfer {
        let wait = async {
            loop {
                if let Some(found) = self.transfers.lock().unwrap().get(n) {
                    return found.clone();
                }
                self.changed.notified().await;
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.unwrap_or_else(|_| panic!("transfer {n} never ended"))
    }
}

/// A running server; it is stopped when dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) log: Arc<Log>,
    pub(crate) cancel: CancellationToken,
    pub(crate) task: Option<JoinHandle<()>>,
}

impl Running {
    /// Serves `files`; `adjust` may change the server's settings.
    pub(crate) fn start(files: &[(&str, Bytes)], adjust: impl FnOnce(Server) -> Server) -> Self {
        let set = Set(files.iter().map(|(name, content)| ((*name).to_owned(), content.clone())).collect());
        let log = Arc::new(Log::default());
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), Arc::new(set)).unwrap();
        let server = adjust(server.with_events(log.clone()));
        let address = server.local_addr();
        let cancel = CancellationToken::new();
        let token = cancel.clone();
        let task = tokio::spawn(async move { server.run(token).await.unwrap() });
        Self { address, log, cancel, task: Some(task) }
    }

    pub(crate) fn port(&self) -> String {
        self.address.port().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

/// Bytes that differ from block to block, so that a block out of place is seen.
pub(crate) fn content(length: usize) -> Bytes {
    (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

/// Runs a client in `directory`, waits for its end within the deadline. A missing program fails the test with the name
/// of its package.
pub(crate) async fn run(directory: &Path, package: &str, program: &str, args: &[&str]) -> Output {
    let program = find(program).unwrap_or_else(|| panic!("{program} is needed: apt-get install {package}"));
    let child = tokio::process::Command::new(&program)
        .args(args)
        .current_dir(directory)
        .stdin(std::process::Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(DEADLINE, child).await;
    output.unwrap_or_else(|_| panic!("{} {args:?} did not end", program.display())).unwrap()
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

/// All that a program said.
pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}
