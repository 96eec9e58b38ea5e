//! The server is killed at any moment of a verb that changes things on many nodes: all of them are as before, or all as
//! after. `SYSCLONE_KILLS=200` does it longer.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::site::Site;

/// Kills unless the environment says otherwise: each verb twice.
const ROUNDS: u64 = 10;
/// Enough that a transaction takes a time that can be hit.
const NODES: usize = 300;

#[test]
fn whenever_the_server_is_killed_a_verb_was_done_for_all_nodes_or_for_none() {
    let rounds = std::env::var("SYSCLONE_KILLS").map_or(ROUNDS, |n| n.parse().unwrap());
    let names: Vec<String> = (0..NODES).map(|n| format!("k{n:03}")).collect();
    let mut site = Site::started();
    site.add_image("demo");
    site.seed_nodes(&names);
    let range = format!("k[000-{:03}]", NODES - 1);
    let (one, other) = ("comments=one", "comments=other");
    // What is done wholly, then what the kill falls into.
    let members = format!("members={range}");
    let verbs: [[&[&str]; 2]; 5] = [
        [&["chdef", &range, one, "groups=a,b"], &["chdef", &range, other, "groups=c"]],
        [&["nodeset", &range, "osimage=demo"], &["nodeset", &range, "boot"]],
        [&["nodeset", &range, "boot"], &["nodeset", &range, "osimage=demo"]],
        [&["nodeset", &range, "boot"], &["nodeset", &range, "runcmd=true,shutdown"]],
        [&["chdef", "-t", "group", "-o", "g", "members="], &["chdef", "-t", "group", "-o", "g", &members]],
    ];
    let mut hits = [0; 2];
    for round in 0..rounds {
        let [whole, killed] = verbs[usize::try_from(round).unwrap() % verbs.len()];
        let began = Instant::now();
        verb(&site, whole).status().unwrap();
        let takes = began.elapsed();
        let before = facts(&site);
        // Spread over that time and some more, in an order that does not repeat. The commit is at its end.
        let delay = takes.mul_f64((round as f64 * 0.618 + 0.4).fract() * 1.8);
        let mut running = verb(&site, killed).spawn().unwrap();
        let until = Instant::now() + delay;
        while Instant::now() < until && running.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        site.kill();
        running.wait().unwrap();
        site.start();
        let after = facts(&site);
        let whole = after.iter().all(|facts| facts.len() == 1);
        assert!(whole, "{killed:?} was killed after {delay:?}: {before:?} became {after:?}");
        hits[usize::from(before == after)] += 1;
    }
    println!("done {}, not done {}", hits[0], hits[1]);
}

fn verb(site: &Site, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sysclone"));
    command.args(words).env("SYSCLONE_SOCKET", site.path("run/api.sock"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// What of the nodes is there: comments and groups, and states, each value once. More than one is half a change.
/// Nodes without a MAC address cannot be armed and stay out of the states.
fn facts(site: &Site) -> [BTreeSet<String>; 2] {
    let objects = site.admin("GET", "objects/node", None).json();
    let nodes: Vec<&Value> = objects.as_object().unwrap().values().collect();
    let of = |node: &Value, name: &str| node[name].as_str().unwrap_or_default().to_owned();
    let defined = nodes.iter().map(|node| format!("{} {}", of(node, "comments"), of(node, "groups")));
    let armed = nodes.iter().filter(|node| node["mac"].is_string()).map(|node| of(node, "currstate"));
    let mut facts: [BTreeSet<String>; 2] = [defined.collect(), armed.collect()];
    if nodes.len() != NODES {
        facts[0].insert(format!("{} nodes only", nodes.len()));
    }
    facts
}
