//! The form of the administrators' interface, whatever the call.

use crate::site::{Answer, Site};

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
