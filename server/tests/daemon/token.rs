//! Administration over the network by programs with tokens; curl is the program.

use std::process::Command;

use serde_json::{Value, json};

use crate::site::{Answer, Site, outcomes, ports};

/// A site that listens for programs, and the address.
fn site() -> (Site, String) {
    let mut site = Site::new();
    let [port] = ports::free();
    let tftp = format!("tftp_port = {}", site.tftp);
    site.configure(&tftp, &format!("{tftp}\napi = '127.0.0.1:{port}'"));
    site.start();
    site.define_node();
    std::fs::copy(site.path("state/keys/ca.pem"), site.path("ca.pem")).unwrap();
    (site, format!("https://127.0.0.1:{port}/api/v1"))
}

fn sysclone(site: &Site, words: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_sysclone"))
        .args(words)
        .env("SYSCLONE_SOCKET", site.path("run/api.sock"))
        .output()
        .unwrap();
    (
        output.status.success(),
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).trim().to_owned(),
    )
}

/// A call with a token.
fn call(site: &Site, (url, token): (&str, &str), body: Option<Value>) -> Answer {
    let (ca, header) = (site.path("ca.pem").display().to_string(), format!("Authorization: Bearer {token}"));
    let mut args = vec!["--cacert", &ca, "-H", &header];
    let body = body.map(|body| body.to_string());
    if let Some(body) = &body {
        args.extend(["-H", "Content-Type: application/json", "--data-binary", body]);
    }
    args.push(url);
    site.curl(&args)
}

#[test]
fn a_token_does_what_policy_says_and_is_named_in_the_audit_log() {
    let (site, api) = site();
    let (made, token) = sysclone(&site, &["token", "create", "ci", "--expires", "1h"]);
    assert!(made && token.len() == 64, "{token}");
    let nodeset = |node: &str| {
        let body = json!({ "nodes": [node], "state": "offline" });
        call(&site, (&format!("{api}/nodeset"), &token), Some(body))
    };
    assert_eq!(call(&site, (&format!("{api}/status"), &token), None).json()[0]["node"], "n1");
    assert_eq!(nodeset("n1").status, 403, "without rules it may only ask");
    site.define("node", "n2", &[("groups", "other")]);
    let rule = [("name", "token:ci"), ("commands", "nodeset"), ("noderange", "rack1"), ("rule", "allow")];
    site.define("policy", "5", &rule);
    assert_eq!(outcomes(&nodeset("n1")), [Ok("offline".to_owned())]);
    assert!(nodeset("n2").error().contains("nodeset by token:ci: no policy rule allows it"));
    let (_, audit) = sysclone(&site, &["audit", "--user", "token:ci"]);
    assert!(audit.contains("token:ci nodeset n1 offline (allowed by rule 5; 1 done)"), "{audit}");
    assert!(audit.contains("token:ci nodeset n2 offline (DENIED, no rule allows it)"), "{audit}");
    assert!(!site.log().contains(&token) && !audit.contains(&token), "the token was written down");
    let file = std::fs::read(site.path("state/sysclone.db")).unwrap();
    assert!(!file.windows(64).any(|window| window == token.as_bytes()), "the token is kept");
}

#[test]
fn what_is_roots_stays_roots() {
    let (site, api) = site();
    let (_, token) = sysclone(&site, &["token", "create", "ci"]);
    site.define("policy", "1", &[("name", "token:ci"), ("rule", "trusted")]);
    site.define("node", "n1", &[("bmcpassword", "geheim")]);
    let at = |call: &str| format!("{api}/{call}");
    assert_eq!(call(&site, (&at("objects/node?secrets=true"), &token), None).status, 403);
    assert!(!call(&site, (&at("objects/node"), &token), None).text().contains("geheim"));
    assert_eq!(call(&site, (&at("tokens"), &token), None).status, 403);
    assert_eq!(call(&site, (&at("tokens"), &token), Some(json!({ "name": "more" }))).status, 403);
    let run = json!({ "nodes": ["n1"], "command": "true" });
    assert_eq!(call(&site, (&at("run"), &token), Some(run.clone())).status, 403);
    assert_eq!(call(&site, (&at("run"), "made-up"), Some(run)).status, 401);
}

#[test]
fn tokens_that_are_not_good_are_refused_and_that_is_written_down() {
    let (site, api) = site();
    let status = format!("{api}/status");
    assert_eq!(call(&site, (&status, "made-up"), None).status, 401);
    assert!(site.has_event("token-refused", "127.0.0.1 showed a token that is not good"));
    let without = site.curl(&["--cacert", &site.path("ca.pem").display().to_string(), &status]);
    assert!(without.status == 401 && without.error().contains("sysclone token create"), "{}", without.text());
    let (_, short) = sysclone(&site, &["token", "create", "short", "--expires", "1s"]);
    let (_, token) = sysclone(&site, &["token", "create", "ci"]);
    assert_eq!(
        sysclone(&site, &["token", "create", "ci"]).1,
        "Error: there is a token 'ci' already; revoke it first, or take another name"
    );
    assert!(!sysclone(&site, &["token", "create", "a b"]).0);
    let listed = sysclone(&site, &["token", "list"]).1;
    assert!(
        listed.contains("ci: made ") && listed.contains(", good for ever") && !listed.contains(&token),
        "{listed}"
    );
    assert_eq!(call(&site, (&status, &token), None).status, 200);
    // Its second ends.
    let began = std::time::Instant::now();
    while call(&site, (&status, &short), None).status != 401 {
        assert!(began.elapsed().as_secs() < 60, "it does not end");
    }
    assert!(sysclone(&site, &["token", "revoke", "ci"]).0);
    assert_eq!(call(&site, (&status, &token), None).status, 401);
    assert_eq!(sysclone(&site, &["token", "revoke", "ci"]).1, "Error: there is no token 'ci'");
}
