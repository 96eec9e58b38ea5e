//! The form of the administrators' interface, whatever the call.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::site::{Answer, Site};
use serde_json::{Value, json};

/// One request over the unix socket, with further arguments for curl.
fn call(site: &Site, path: &str, args: &[&str]) -> Answer {
    let socket = site.path("run/api.sock").display().to_string();
    let url = format!("http://localhost{path}");
    let mut all = vec!["--unix-socket", &socket, &url];
    all.extend(args);
    site.curl(&all)
}

#[test]
fn every_refusal_is_a_document_with_one_sentence() {
    let site = Site::started();
    let json = ["-H", "Content-Type: application/json"];
    let large = site.path("large");
    std::fs::File::create(&large).unwrap().set_len((32 << 20) + 1).unwrap();
    let large = format!("@{}", large.display());
    let with_body = |body| [json[0], json[1], "--data-binary", body];
    for (path, args, status) in [
        ("/api/v1/objects/cat", &[][..], 400),
        ("/api/v1/objects/%FF", &[], 400),
        ("/api/v1/images/%FF", &[], 400),
        ("/api/v1/objects/node?secrets=perhaps", &[], 400),
        ("/api/v1/events?after=never", &[], 400),
        ("/api/v1/status?nodes=a&nodes=b", &[], 400),
        ("/api/v1/noderange", &with_body("{"), 400),
        ("/api/v1/noderange", &with_body("{}"), 422),
        ("/api/v1/noderange", &["--data-binary", "{}"], 415),
        ("/api/v1/objects/batch", &with_body(&large), 413),
        ("/api/v1/noderange", &[], 405),
        ("/api/v1/nothing", &[], 404),
        ("/", &[], 404),
    ] {
        let answer = call(&site, path, args);
        assert_eq!(answer.status, status, "{path} {args:?}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/json"), "{path} {args:?}");
        assert!(!answer.error().is_empty(), "{path} {args:?}");
    }
}

/// All `$ref` in a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(fields) => {
            found.extend(fields.get("$ref").and_then(Value::as_str));
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(values) => values.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn the_document_has_every_call_with_what_it_takes_and_answers() {
    let site = Site::started();
    let document = call(&site, "/api/v1/openapi.json", &[]).json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut pairs = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let place = path.replace("{type}", "node").replace("{image}", "demo");
        let refused = call(&site, &place, &["-X", "OPTIONS"]);
        assert_eq!(refused.status, 405, "{path}");
        let mut allowed: Vec<String> =
            refused.header("allow").unwrap().split(',').map(str::to_lowercase).collect();
        allowed.retain(|method| method != "head");
        allowed.sort();
        let methods = methods.as_object().unwrap();
        assert_eq!(methods.keys().collect::<Vec<_>>(), allowed.iter().collect::<Vec<_>>(), "{path}");
        for (method, operation) in methods {
            pairs += 1;
            let at = format!("{method} {path}");
            assert!(!operation["summary"].as_str().unwrap().is_empty(), "{at}");
            assert_eq!(operation["requestBody"].is_object(), method == "post", "{at}");
            assert_eq!(operation["parameters"][0]["in"] == "path", path.contains('{'), "{at}");
            let responses = operation["responses"].as_object().unwrap();
            assert_eq!(responses.keys().collect::<Vec<_>>(), ["200", "4XX", "5XX"], "{at}");
        }
    }
    assert!(pairs >= 19, "{pairs}");
    let mut found = Vec::new();
    references(&document, &mut found);
    assert!(found.contains(&"#/components/schemas/ErrorReply"));
    for reference in found {
        assert!(document.pointer(&reference[1..]).is_some(), "{reference}");
    }
    assert!(!document.to_string().contains("[`"), "links that lead nowhere");
    let parameters = &document["paths"]["/api/v1/objects/{type}"]["get"]["parameters"];
    assert_eq!(parameters[1]["name"], "names");
    assert_eq!(parameters[1]["schema"]["type"], "string");
}

/// curl on the event stream, as an EventSource would ask.
fn follow(
    site: &Site,
    query: &str,
    last: Option<u64>,
) -> (Child, impl Iterator<Item = (u64, Value)> + use<>) {
    let mut curl = Command::new("curl");
    curl.args(["-sSN", "--max-time", "60", "-H", "Accept: text/event-stream", "--unix-socket"]);
    curl.arg(site.path("run/api.sock")).arg(format!("http://localhost/api/v1/events{query}"));
    if let Some(last) = last {
        curl.args(["-H", &format!("Last-Event-ID: {last}")]);
    }
    let mut child = curl.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let events = std::iter::from_fn(move || {
        let [id, data, end] = [lines.next()?, lines.next()?, lines.next()?];
        assert_eq!(end, "");
        let id = id.strip_prefix("id: ").unwrap().parse().unwrap();
        Some((id, serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap()))
    });
    (child, events)
}

#[test]
fn server_sent_events_are_resumed_without_a_gap_and_end_with_the_server() {
    let mut site = Site::started();
    let (mut curl, mut events) = follow(&site, "?nodes=n1,n2,n3", None);
    site.define("node", "n1", &[]);
    let (first, event) = events.next().unwrap();
    assert_eq!((&event["node"], &event["kind"]), (&json!("n1"), &json!("object-created")));
    assert_eq!(event["id"], first);
    curl.kill().unwrap();
    curl.wait().unwrap();
    site.define("node", "n2", &[]);
    let (mut curl, mut events) = follow(&site, "?nodes=n1,n2,n3&after=0", Some(first));
    let (second, event) = events.next().unwrap();
    assert!(second > first);
    assert_eq!(event["node"], "n2", "what happened while nobody read is read first, and nothing twice");
    site.define("node", "n3", &[]);
    assert_eq!(events.next().unwrap().1["node"], "n3");
    let refused = call(&site, "/api/v1/events", &["-H", "Last-Event-ID: x"]);
    assert_eq!((refused.status, refused.header("content-type")), (400, Some("application/json")));
    assert!(site.stop(), "{}", site.log());
    assert!(events.next().is_none());
    assert!(curl.wait().unwrap().success(), "the stream ends in good order");
}

#[test]
fn readers_of_events_that_vanish_leave_nothing_behind() {
    let site = Site::started();
    site.define("node", "n1", &[]);
    let mut readers: Vec<_> = (0..20).map(|_| follow(&site, "?nodes=n1", None)).collect();
    for (_, events) in &mut readers {
        assert_eq!(events.next().unwrap().1["node"], "n1");
    }
    let without = site.sockets() - readers.len();
    for (mut curl, _) in readers {
        curl.kill().unwrap();
        curl.wait().unwrap();
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while site.sockets() > without {
        assert!(Instant::now() < deadline, "{} sockets are open, {without} are its own", site.sockets());
        thread::yield_now();
    }
}
