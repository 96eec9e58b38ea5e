//! How the daemon starts and stops, and what it says when it cannot.

use std::fs;
use std::net::TcpListener;
use std::process::Command;

use crate::site::Site;

#[test]
fn it_starts_stops_and_starts_again() {
    let mut site = Site::started();
    assert!(site.admin("GET", "status", None).status == 200);
    assert!(site.stop(), "{}", site.log());
    site.start();
    assert!(site.has_event("server-started", ""));
}

#[test]
fn what_keeps_it_from_starting_is_said_with_the_key() {
    let site = Site::new();
    let held = TcpListener::bind(("127.0.0.1", site.http)).unwrap();
    let said = site.refused_start();
    assert!(said.contains("listen.http_port") && said.contains("another program has it"), "{said}");
    drop(held);

    site.configure("address = '127.0.0.1'", "address = '192.0.2.1'");
    let said = site.refused_start();
    assert!(said.contains("listen.address") && said.contains("not an address of this machine"), "{said}");
    site.configure("address = '192.0.2.1'", "address = '127.0.0.1'");

    fs::write(site.path("boot/x86_64/kernel"), "other").unwrap();
    let said = site.refused_start();
    assert!(said.contains("boot_dir") && said.contains("kernel"), "{said}");
    fs::remove_file(site.path("boot/boot.json")).unwrap();
    let said = site.refused_start();
    assert!(said.contains("sysclone-image-builder"), "{said}");

    site.configure("[ssh]", "[remote]");
    let said = site.refused_start();
    assert!(said.contains("remote") && said.contains("sysclone.toml"), "{said}");
}

#[test]
fn two_daemons_do_not_share_a_state_directory() {
    let site = Site::started();
    let said = site.refused_start();
    assert!(said.contains("another syscloned is running with state_dir"), "{said}");
    assert_eq!(site.admin("GET", "status", None).status, 200, "the first goes on");
}

#[test]
fn the_shipped_configuration_is_printed() {
    let output = Command::new(env!("CARGO_BIN_EXE_syscloned")).arg("--print-config").output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), sysclone_server::config::SHIPPED);
}
