//! What Prometheus is told.

use std::time::{Duration, Instant};

use crate::site::{SERVER, Site, ports};

/// The value of a sample.
fn value(metrics: &str, sample: &str) -> u64 {
    let found = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no {sample} in {metrics}")).parse().unwrap()
}

#[test]
fn metrics_count_what_was_done_and_name_nobody() {
    let mut site = Site::new();
    let [port] = ports::free();
    let tftp = format!("tftp_port = {}", site.tftp);
    site.configure(&tftp, &format!("{tftp}\nmetrics = '{SERVER}:{port}'"));
    site.start();
    let made = site.add_image("demo");
    site.define("network", "lo", &[("net", "127.0.0.0"), ("mask", "/8")]);
    site.define_node();
    site.define("node", "othernode", &[]);
    let url = format!("http://{SERVER}:{port}/metrics");
    let scrape = || site.curl(&[&url]);
    let before = scrape();
    assert_eq!(before.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let before = before.text();
    assert_eq!(value(&before, "sysclone_nodes{state=\"defined\"}"), 2);
    assert_eq!(value(&before, "sysclone_pack_sent_bytes_total"), 0);
    assert!(value(&before, "sysclone_store_filesystem_free_bytes") > 0);

    assert_eq!(site.nodeset(&["n1"], "osimage=demo"), [Ok("sysclone debian12-x86_64".to_owned())]);
    let pack = made.packs.keys().next().unwrap().to_string();
    let sent = site.get(&format!("/packs/{pack}"), &[]).body.len() as u64;
    assert_eq!(site.get("/boot/x86_64/kernel", &[]).status, 200);
    assert_eq!(site.get("/packs/none", &[]).status, 404);
    let tftp = format!("tftp://{SERVER}:{}/undionly.kpxe", site.tftp);
    let loader =
        std::process::Command::new("curl").args(["-sS", "--max-time", "30", &tftp]).output().unwrap();
    assert_eq!(loader.stdout.len(), 5000);
    // The server counts when its own end of a transfer is done, a moment after the client has all.
    let deadline = Instant::now() + Duration::from_secs(30);
    let after = loop {
        assert!(Instant::now() < deadline, "{}", scrape().text());
        let after = scrape().text();
        let tftp = value(&after, "sysclone_tftp_transfers_total{outcome=\"done\"}");
        if tftp == 1 && value(&after, "sysclone_pack_sent_bytes_total") > 0 {
            break after;
        }
    };
    for (sample, expected) in [
        ("sysclone_nodes{state=\"defined\"}", 1),
        ("sysclone_nodes{state=\"armed\"}", 1),
        ("sysclone_deployments_running", 0),
        ("sysclone_captures_running", 0),
        ("sysclone_updates_running", 0),
        ("sysclone_pack_sent_bytes_total", sent),
        ("sysclone_tftp_sent_bytes_total", 5000),
        ("sysclone_http_answers_total{kind=\"boot\"}", 1),
        ("sysclone_http_answers_total{kind=\"pack\"}", 1),
        ("sysclone_http_answers_total{kind=\"refused\"}", 1),
        ("sysclone_events_total{kind=\"node-armed\"}", 1),
        (
            "sysclone_events_total{kind=\"object-created\"}",
            value(&before, "sysclone_events_total{kind=\"object-created\"}"),
        ),
        ("sysclone_dhcp_packets_total{what=\"offer\"}", 0),
    ] {
        assert_eq!(value(&after, sample), expected, "{sample} in {after}");
    }
    for name in ["othernode", "demo", "root", "127.0.0"] {
        assert!(!after.contains(name), "{name} in {after}");
    }
    let refused = site.curl(&[&format!("http://{SERVER}:{port}/api/v1/status")]);
    assert_eq!((refused.status, refused.header("content-type")), (404, Some("application/json")));
    assert_eq!(site.get("/metrics", &[]).status, 404, "not where nodes boot from");
    assert!(site.stop(), "{}", site.log());
}
