//! The administrators' interface: definitions, ranges, many nodes at once, the event stream.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::site::{MAC, Site, outcomes};
use serde_json::{Value, json};

#[test]
fn definitions_are_made_changed_shown_and_removed() {
    let site = Site::started();
    assert_eq!(
        site.try_define("create", "node", "n1", &[("mac", MAC), ("cons", "ipmi")]),
        Ok("created".into())
    );
    assert_eq!(
        site.try_define("create", "node", "n1", &[]),
        Err("An object named 'n1' of type 'node' is already defined.".into())
    );
    let body = json!({ "action": "change", "type": "node", "names": ["n1"], "attributes": [
        { "name": "groups", "value": "all,rack1", "action": "set" },
        { "name": "groups", "value": "compute,all", "action": "append" },
        { "name": "groups", "value": "rack1", "action": "subtract" },
        { "name": "cons", "value": "", "action": "set" },
    ]});
    assert_eq!(outcomes(&site.admin("POST", "objects", Some(body))), [Ok("changed".to_owned())]);
    let objects = site.admin("GET", "objects/node?names=n1", None).json();
    let expected =
        json!({ "n1": { "mac": MAC, "groups": "all,compute", "status": "defined", "currstate": "boot" } });
    assert_eq!(objects, expected);
    for (attributes, sentence) in [
        ([("mac", "52:54")], "'52:54' is not a valid value for mac"),
        ([("status", "booted")], "'status' is set by the server and cannot be changed."),
        ([("a b", "c")], "'a b' is not a valid attribute name for an object type of 'node'."),
    ] {
        let refused = site.try_define("change", "node", "n1", &attributes).unwrap_err();
        assert!(refused.contains(sentence), "{refused}");
    }
    assert_eq!(site.admin("GET", "objects/node", None).json(), expected, "a refused change changes nothing");
    let refused = site.try_define("create", "node", "n2", &[("mac", "52-54-00-00-00-01")]).unwrap_err();
    assert_eq!(refused, format!("the MAC address {MAC} belongs to node n1"));
    assert_eq!(site.try_define("remove", "node", "n1", &[]), Ok("removed".into()));
    assert_eq!(
        site.try_define("remove", "node", "n1", &[]),
        Err("Could not find an object named 'n1' of type 'node'.".into())
    );
    assert!(site.has_event("object-removed", "node n1 was removed"));
    assert_eq!(site.admin("GET", "objects/cat", None).status, 400);
    assert_eq!(site.admin("GET", "nothing", None).status, 404);
}

#[test]
fn ranges_are_evaluated_over_nodes_and_groups() {
    let site = Site::started();
    for (name, groups) in [("n1", "rack1"), ("n2", "rack1,gpu"), ("n3", "rack2")] {
        site.define("node", name, &[("groups", groups)]);
    }
    site.define("group", "odd", &[("members", "n1,n3")]);
    for (range, nodes) in [
        ("rack1", json!(["n1", "n2"])),
        ("rack1@gpu", json!(["n2"])),
        ("odd", json!(["n1", "n3"])),
        ("all,-n2", json!(["n1", "n3"])),
        ("n[1-2]", json!(["n1", "n2"])),
        ("groups=~gpu", json!(["n2"])),
    ] {
        let answer = site.admin("POST", "noderange", Some(json!({ "range": range }))).json();
        assert_eq!(answer, json!({ "nodes": nodes, "unknown": [] }), "{range}");
    }
    let answer = site.admin("POST", "noderange", Some(json!({ "range": "n1,n9" }))).json();
    assert_eq!(answer, json!({ "nodes": ["n1"], "unknown": ["n9"] }));
    assert_eq!(site.admin("POST", "noderange", Some(json!({ "range": "n[1" }))).status, 400);
}

#[test]
fn thousands_of_nodes_are_set_at_once_and_a_bad_one_fails_alone() {
    let mut site = Site::started();
    site.add_image("demo");
    site.define("network", "lo", &[("net", "127.0.0.0"), ("mask", "/8")]);
    let names: Vec<String> = (0..2500).map(|n| format!("n{n}")).collect();
    site.seed_nodes(&names);
    let all: Vec<&str> = names.iter().map(String::as_str).chain(["ghost"]).collect();
    let began = Instant::now();
    let outcomes = site.nodeset(&all, "osimage=demo");
    let took = began.elapsed();
    println!("nodeset of {} nodes took {took:?}", all.len());
    assert!(took < Duration::from_secs(60), "{took:?}");
    let good = outcomes.iter().filter(|outcome| outcome.as_deref() == Ok("sysclone debian12-x86_64")).count();
    assert_eq!(good, 2495);
    assert_eq!(outcomes[500], Err("No MAC address available for this node".into()));
    assert_eq!(outcomes[2500], Err("Could not find an object named 'ghost' of type 'node'.".into()));
    let states = site.admin("GET", "status", None).json();
    let armed = states.as_array().unwrap().iter().filter(|status| status["state"] == "armed").count();
    assert_eq!(armed, 2495);
}

#[test]
fn nodeset_says_what_is_wrong_in_the_words_that_scripts_know() {
    let site = Site::started();
    site.define_node();
    let set = |state: &str| site.nodeset(&["n1"], state).remove(0).unwrap_err();
    assert_eq!(set("osimage=none"), "Cannot find the OS image none in the osimage table.");
    assert_eq!(set("osimage=../x"), "Cannot find the OS image ../x in the osimage table.");
    assert_eq!(set("osimage"), "OS image name must be specified in nodetype.provmethod");
    site.define("osimage", "empty", &[("provmethod", "sysclone")]);
    assert!(set("osimage=empty").contains("has not been captured"));
    site.define("osimage", "other", &[("provmethod", "netboot")]);
    assert!(set("osimage=other").contains("provmethod 'netboot'"));
    let made = site.add_image("demo");
    assert_eq!(set("osimage=demo@7"), "there is no image demo@7");
    assert_eq!(set("osimage=demo@stable"), "image demo has no tag 'stable'");
    for (attr, value, sentence) in [
        ("arch", "ppc64le", "the node is ppc64le, but the OS image demo@1 is for x86_64"),
        ("serialport", "0", "serialport defined, but no serialspeed for this node in nodehm table"),
        ("installdisk", "vdz:serial=1", "installdisk names the disk vdz, but demo@1 has vda"),
        ("ip", "", "the node n1 has no address: chdef -t node -o n1 ip=<address>"),
    ] {
        let before = site.admin("GET", "objects/node?names=n1", None).json();
        site.define("node", "n1", &[(attr, value)]);
        assert_eq!(set("osimage=demo"), sentence);
        site.define("node", "n1", &[(attr, before["n1"][attr].as_str().unwrap_or_default())]);
    }
    let unknown = site.admin("POST", "nodeset", Some(json!({ "nodes": ["n1"], "state": "dance" })));
    assert_eq!((unknown.status, unknown.error().as_str()), (422, "Unknown state dance requested"));
    let id = made.packs.keys().next().unwrap().to_string();
    std::fs::remove_file(site.path("state/store/packs").join(&id[..2]).join(&id)).unwrap();
    assert_eq!(set("osimage=demo"), format!("pack {id} of image demo@1 is missing in the image store"));
}

#[test]
fn events_are_streamed_as_they_happen_and_only_those_of_the_nodes_asked_for() {
    let site = Site::started();
    let socket = site.path("run/api.sock");
    let mut curl = Command::new("curl")
        .args(["-sSN", "--max-time", "60", "--unix-socket"])
        .arg(&socket)
        .arg("http://localhost/api/v1/events?follow=true&nodes=n2")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(curl.stdout.take().unwrap());
    for name in ["n1", "n2"] {
        site.define("node", name, &[]);
    }
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let event: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&event["node"], &event["kind"]), (&json!("n2"), &json!("object-created")));
    assert!(event["actor"].as_str().unwrap().starts_with("admin:"));
    let id = event["id"].as_i64().unwrap();
    assert!(site.admin("GET", &format!("events?after={id}"), None).body.is_empty());
    curl.kill().unwrap();
    curl.wait().unwrap();
}
