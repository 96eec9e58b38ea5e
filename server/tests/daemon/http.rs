//! Boot files and packs as curl and tftp clients get them.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::Command;

use crate::site::{SERVER, Site, read};

#[test]
fn boot_files_come_whole_in_parts_and_as_heads() {
    let site = Site::started();
    let kernel = read(&site.path("boot/x86_64/kernel"));
    let whole = site.get("/boot/x86_64/kernel", &[]);
    assert_eq!((whole.status, &whole.body), (200, &kernel));
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(etag, format!("\"{}\"", blake3::hash(&kernel).to_hex()));
    // GRUB looks for just this spelling.
    assert!(whole.headers.contains("\r\nContent-Length: 300000\r\n"), "{}", whole.headers);
    assert_eq!(whole.header("accept-ranges"), Some("bytes"));

    let head = site.get("/boot/x86_64/kernel", &["--head"]);
    assert_eq!((head.status, head.header("content-length")), (200, Some("300000")));

    let part = site.get("/boot/x86_64/kernel", &["-r", "1000-1999"]);
    assert_eq!((part.status, &part.body[..]), (206, &kernel[1000..2000]));
    assert_eq!(part.header("content-range"), Some("bytes 1000-1999/300000"));
    let tail = site.get("/boot/x86_64/kernel", &["-r", "-7"]);
    assert_eq!((tail.status, &tail.body[..]), (206, &kernel[299_993..]));
    let beyond = site.get("/boot/x86_64/kernel", &["-r", "300000-"]);
    assert_eq!((beyond.status, beyond.header("content-range")), (416, Some("bytes */300000")));

    let current = format!("If-Range: {etag}");
    assert_eq!(site.get("/boot/x86_64/kernel", &["-r", "0-0", "-H", &current]).status, 206);
    assert_eq!(site.get("/boot/x86_64/kernel", &["-r", "0-0", "-H", "If-Range: \"old\""]).status, 200);
    let same = format!("If-None-Match: {etag}");
    assert_eq!(site.get("/boot/x86_64/kernel", &["-H", &same]).status, 304);
}

#[test]
fn an_interrupted_download_is_resumed_by_curl() {
    let site = Site::started();
    let kernel = read(&site.path("boot/x86_64/kernel"));
    let file = site.path("partial");
    std::fs::write(&file, &kernel[..123_456]).unwrap();
    let url = format!("http://{SERVER}:{}/boot/x86_64/kernel", site.http);
    let status = Command::new("curl").args(["-sS", "-C", "-", "-o"]).arg(&file).arg(url).status().unwrap();
    assert!(status.success());
    assert_eq!(read(&file), kernel);
}

#[test]
fn one_connection_serves_many_requests() {
    let site = Site::started();
    let url = format!("http://{SERVER}:{}/boot/undionly.kpxe", site.http);
    let output = Command::new("curl")
        .args(["-sS", "-w", "%{num_connects} ", "-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null"])
        .args([&url, &url, &url])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), "1 0 0");
}

#[test]
fn the_initrd_carries_what_makes_it_trust_the_server() {
    let site = Site::started();
    let initrd = site.get("/boot/x86_64/initrd.img", &[]).body;
    let generic = read(&site.path("boot/x86_64/initrd.img"));
    let segment = initrd.len() - generic.len();
    assert!(initrd.ends_with(&generic) && segment.is_multiple_of(4));
    assert_eq!(&initrd[..6], b"070701");
    let segment = String::from_utf8_lossy(&initrd[..segment]).into_owned();
    assert!(segment.contains(&String::from_utf8(read(&site.path("state/keys/ca.pem"))).unwrap()));
    assert!(segment.contains("etc/sysclone/server.pub"));
}

#[test]
fn nothing_else_is_served_and_nothing_can_be_written() {
    let site = Site::started();
    for path in [
        "/",
        "/boot/",
        "/boot/boot.json",
        "/boot/x86_64/sysclone-agent",
        "/boot/../state/sysclone.db",
        "/boot/..%2f..%2fetc/passwd",
        "/boot//etc/passwd",
        "/boot/ipxe/52-54-00-00-00-99",
        "/packs/",
        "/packs/../sysclone.db",
        "/packs/0000000000000000000000000000000000000000000000000000000000000000",
        "/agent/v1/enroll",
        "/api/v1/status",
    ] {
        assert_eq!(site.get(path, &[]).status, 404, "{path}");
    }
    for method in ["PUT", "POST", "DELETE"] {
        let answer = site.get("/boot/x86_64/kernel", &["-X", method]);
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET, HEAD")), "{method}");
    }
}

#[test]
fn packs_come_from_the_store_with_ranges() {
    let site = Site::started();
    let made = site.add_image("demo");
    let (id, bytes) = made.packs.first_key_value().unwrap();
    let whole = site.get(&format!("/packs/{id}"), &[]);
    assert_eq!((whole.status, &whole.body), (200, bytes));
    assert_eq!(whole.header("etag").unwrap(), format!("\"{id}\""));
    let part = site.get(&format!("/packs/{id}"), &["-r", "10-29"]);
    assert_eq!((part.status, &part.body[..]), (206, &bytes[10..30]));
    let head = site.get(&format!("/packs/{id}"), &["--head"]);
    assert_eq!(head.header("content-length").unwrap(), bytes.len().to_string());
}

#[test]
fn tftp_clients_get_the_same_files_and_configurations() {
    let site = Site::started();
    site.define_node();
    let fetch = |name: &str| {
        let url = format!("tftp://{SERVER}:{}/{name}", site.tftp);
        let output = Command::new("curl").args(["-sS", "--max-time", "60", &url]).output().unwrap();
        output.status.success().then_some(output.stdout)
    };
    assert_eq!(fetch("undionly.kpxe").unwrap(), read(&site.path("boot/loaders/undionly.kpxe")));
    let config = fetch("pxelinux.cfg/01-52-54-00-00-00-01").unwrap();
    assert!(String::from_utf8(config).unwrap().contains("LOCALBOOT"));
    assert_eq!(fetch("boot.json"), None);
}

/// What the server answers to these bytes until it closes the connection.
fn said(site: &Site, bytes: &str) -> String {
    let mut stream = TcpStream::connect((SERVER, site.http)).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[test]
fn clients_that_know_only_parts_of_http_are_understood() {
    let site = Site::started();
    let old = said(&site, "GET /boot/none HTTP/1.0\r\n\r\n");
    assert!(old.starts_with("HTTP/1.0 404 Not Found\r\n") && old.contains("Connection: close\r\n"), "{old}");
    let both = "HEAD /boot/undionly.kpxe HTTP/1.1\r\n\r\nGET /none HTTP/1.1\r\nConnection: close\r\n\r\n";
    let answers = said(&site, both);
    let (first, second) = answers.split_once("\r\n\r\n").unwrap();
    assert!(
        first.starts_with("HTTP/1.1 200 OK\r\n") && second.starts_with("HTTP/1.1 404 Not Found"),
        "{answers}"
    );
    // What follows a refused head is no second request.
    let put = "PUT /none HTTP/1.1\r\nContent-Length: 40\r\n\r\nGET /boot/undionly.kpxe HTTP/1.1\r\n\r\n";
    let refused = said(&site, put);
    assert!(refused.starts_with("HTTP/1.1 405 ") && refused.matches("HTTP/1.1").count() == 1, "{refused}");
    assert!(said(&site, "no request\r\n\r\n").starts_with("HTTP/1.1 400 Bad Request\r\n"));
    let long = format!("GET / HTTP/1.1\r\nA: {}\r\n\r\n", "a".repeat(20_000));
    assert!(said(&site, &long).starts_with("HTTP/1.1 431 "));
}
