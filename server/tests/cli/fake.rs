//! A daemon of a few lines: it answers on a unix socket what a test tells it to, and keeps definitions in memory.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{self, StreamExt};
use sysclone_protocol::agent::ErrorReply;
use sysclone_server::noderange::{NodeSource, Range};
use sysclone_server::wire::{
    AttributeAction, CaptureProgress, CaptureRequest, ChangeAction, ChangeRequest, EventRecord, NodeStatus,
    NodesetRequest, ObjectType, Objects, Outcome, RangeReply, RangeRequest,
};
use tokio::net::UnixListener;

/// How long a test waits for something that must happen.
const DEADLINE: Duration = Duration::from_secs(20);

/// What the fake knows and what it has seen.
#[derive(Default)]
pub(crate) struct Knows {
    pub(crate) objects: BTreeMap<ObjectType, Objects>,
    /// Answers to questions for statuses, one after another; the last one stays.
    pub(crate) statuses: VecDeque<Vec<NodeStatus>>,
    pub(crate) capture: Vec<CaptureProgress>,
    /// Whether a capture goes on after its lines.
    pub(crate) capture_hangs: bool,
    pub(crate) events: Vec<EventRecord>,
    /// Ranges, requests and events of connections, as they came.
    pub(crate) seen: Vec<String>,
}

/// The fake and the way to it. It ends with the test's process.
pub(crate) struct Fake {
    pub(crate) dir: tempfile::TempDir,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    knows: Mutex<Knows>,
    changed: Condvar,
}

impl Shared {
    fn with<T>(&self, act: impl FnOnce(&mut Knows) -> T) -> T {
        let result = act(&mut self.knows.lock().unwrap());
        self.changed.notify_all();
        result
    }
}

impl Fake {
    pub(crate) fn start(knows: Knows) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let shared = Arc::new(Shared { knows: Mutex::new(knows), changed: Condvar::new() });
        let listener = std::os::unix::net::UnixListener::bind(dir.path().join("api.sock")).unwrap();
        listener.set_nonblocking(true).unwrap();
        let state = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = UnixListener::from_std(listener).unwrap();
                axum::serve(listener, routes(state)).await.unwrap();
            });
        });
        Self { dir, shared }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Knows) -> T) -> T {
        self.shared.with(act)
    }

    /// Waits until the fake has seen this.
    pub(crate) fn wait_for(&self, seen: &str) {
        let knows = self.shared.knows.lock().unwrap();
        let missing = |knows: &mut Knows| !knows.seen.iter().any(|line| line == seen);
        let (knows, late) = self.shared.changed.wait_timeout_while(knows, DEADLINE, missing).unwrap();
        assert!(!late.timed_out(), "never saw '{seen}', only {:?}", knows.seen);
    }
}

fn routes(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/api/v1/noderange", post(noderange))
        .route("/api/v1/objects/{kind}", get(objects))
        .route("/api/v1/objects", post(change))
        .route("/api/v1/nodeset", post(nodeset))
        .route("/api/v1/status", get(status))
        .route("/api/v1/capture", post(capture))
        .route("/api/v1/events", get(events))
        .with_state(shared)
}

type Shares = State<Arc<Shared>>;
type Asked = Query<BTreeMap<String, String>>;

fn refused(error: String) -> Response {
    (StatusCode::BAD_REQUEST, Json(ErrorReply { error })).into_response()
}

async fn noderange(State(shared): Shares, Json(request): Json<RangeRequest>) -> Response {
    shared.with(|knows| {
        knows.seen.push(format!("range {}", request.range));
        let nodes = knows.objects.get(&ObjectType::Node).cloned().unwrap_or_default();
        match request.range.parse::<Range>().and_then(|range| range.evaluate(&Nodes(nodes))) {
            Ok(found) => Json(RangeReply { nodes: found.nodes, unknown: found.unknown }).into_response(),
            Err(error) => refused(error.to_string()),
        }
    })
}

struct Nodes(Objects);

impl NodeSource for Nodes {
    fn nodes(&self) -> Vec<String> {
        self.0.keys().cloned().collect()
    }
    fn has_node(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
    fn group(&self, name: &str) -> Option<Vec<String>> {
        let member =
            |node: &&String| self.0[*node].get("groups").is_some_and(|g| g.split(',').any(|g| g == name));
        let members: Vec<String> = self.0.keys().filter(member).cloned().collect();
        (!members.is_empty()).then_some(members)
    }
    fn has_attribute(&self, name: &str) -> bool {
        ["groups", "mgt", "ip"].contains(&name)
    }
    fn attribute(&self, node: &str, name: &str) -> Option<String> {
        self.0.get(node)?.get(name).cloned()
    }
}

async fn objects(State(shared): Shares, Path(kind): Path<ObjectType>, Query(asked): Asked) -> Json<Objects> {
    let all = shared.with(|knows| knows.objects.get(&kind).cloned().unwrap_or_default());
    let chosen = |name: &String| asked.get("names").is_none_or(|names| names.split(',').any(|n| n == name));
    Json(all.into_iter().filter(|(name, _)| chosen(name)).collect())
}

async fn change(State(shared): Shares, Json(request): Json<ChangeRequest>) -> Json<Vec<Outcome>> {
    shared.with(|knows| {
        let objects = knows.objects.entry(request.kind).or_default();
        let outcome =
            |name: &String| Outcome { name: name.clone(), result: changed(objects, name, &request) };
        Json(request.names.iter().map(outcome).collect())
    })
}

fn changed(objects: &mut Objects, name: &str, request: &ChangeRequest) -> Result<String, String> {
    match request.action {
        ChangeAction::Create if objects.contains_key(name) => {
            return Err(format!("A definition for '{name}' already exists."));
        }
        ChangeAction::Remove => {
            let missing = || format!("Could not find an object named '{name}' of type 'osimage'.");
            return objects.remove(name).map(|_| "removed".to_owned()).ok_or_else(missing);
        }
        ChangeAction::Replace => drop(objects.remove(name)),
        ChangeAction::Create | ChangeAction::Change => {}
    }
    let bad = request.attributes.iter().find(|change| change.name == "colour");
    if let Some(change) = bad {
        return Err(format!("'{}' is not a valid attribute name for an object type of 'node'.", change.name));
    }
    let text = if objects.contains_key(name) { "changed" } else { "created" };
    let object = objects.entry(name.to_owned()).or_default();
    for change in &request.attributes {
        let old = object.remove(&change.name).unwrap_or_default();
        let mut list: Vec<&str> = old.split(',').filter(|item| !item.is_empty()).collect();
        let value = match change.action {
            AttributeAction::Set => change.value.clone(),
            AttributeAction::Append | AttributeAction::Prepend => {
                list.push(&change.value);
                list.join(",")
            }
            AttributeAction::Subtract => {
                list.retain(|item| *item != change.value);
                list.join(",")
            }
        };
        if !value.is_empty() {
            object.insert(change.name.clone(), value);
        }
    }
    Ok(text.to_owned())
}

async fn nodeset(State(shared): Shares, Json(request): Json<NodesetRequest>) -> Response {
    if request.state == "osimage=nope" {
        return refused("Cannot find the OS image nope in the osimage table.".to_owned());
    }
    shared.with(|knows| {
        knows.seen.push(format!("nodeset {} {}", request.nodes.join(","), request.state));
        let outcome = |name: &String| Outcome {
            name: name.clone(),
            result: match knows.objects[&ObjectType::Node][name].contains_key("mac") {
                true => Ok("sysclone debian12-x86_64".to_owned()),
                false => Err("No MAC address available for this node".to_owned()),
            },
        };
        Json(request.nodes.iter().map(outcome).collect::<Vec<_>>()).into_response()
    })
}

async fn status(State(shared): Shares, Query(asked): Asked) -> Json<Vec<NodeStatus>> {
    shared.with(|knows| {
        let now = match knows.statuses.len() {
            0 => Vec::new(),
            1 => knows.statuses[0].clone(),
            _ => knows.statuses.pop_front().unwrap(),
        };
        let chosen = |s: &NodeStatus| asked["nodes"].split(',').any(|name| name == s.node);
        Json(now.into_iter().filter(chosen).collect())
    })
}

async fn capture(State(shared): Shares, Json(request): Json<CaptureRequest>) -> Response {
    let (lines, hangs) = shared.with(|knows| {
        knows.seen.push(format!("capture {} {}", request.node, request.osimage));
        (std::mem::take(&mut knows.capture), knows.capture_hangs)
    });
    let dropped = Dropped(shared);
    let lines = stream::iter(lines.into_iter().map(|line| Ok(json_line(&line))));
    let tail = if hangs { stream::pending().left_stream() } else { stream::empty().right_stream() };
    let body = lines.chain(tail).map(move |line: Result<Bytes, std::io::Error>| {
        let _lives_as_long_as_the_stream = &dropped;
        line
    });
    Body::from_stream(body).into_response()
}

/// Notes when the peer has gone.
struct Dropped(Arc<Shared>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.with(|knows| knows.seen.push("capture connection closed".to_owned()));
    }
}

async fn events(State(shared): Shares, Query(asked): Asked) -> Response {
    let events = shared.with(|knows| knows.events.clone());
    let after: i64 = asked["after"].parse().unwrap();
    let lines =
        events.into_iter().filter(move |e| e.id > after).map(|e| Ok::<_, std::io::Error>(json_line(&e)));
    Body::from_stream(stream::iter(lines.collect::<Vec<_>>())).into_response()
}

fn json_line(document: &impl serde::Serialize) -> Bytes {
    let mut line = serde_json::to_vec(document).unwrap();
    line.push(b'\n');
    line.into()
}
