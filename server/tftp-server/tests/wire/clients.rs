//! Real clients that others wrote read from the server: tftp-hpa, atftp and curl.

use std::path::Path;

use crate::support::{Running, content, run, said};
use bytes::Bytes;
use tftp_server::{Failure, Outcome};

/// Reads `name` with a client and gives the bytes it wrote.
async fn fetch(client: &str, options: &[&str], server: &Running, name: &str) -> Result<Vec<u8>, String> {
    let directory = tempfile::tempdir().unwrap();
    let port = server.port();
    let url = format!("tftp://127.0.0.1:{port}/{name}");
    let (package, program, mut args): (&str, &str, Vec<&str>) = match client {
        "tftp-hpa" => ("tftp-hpa", "tftp", vec!["127.0.0.1", &port]),
        "atftp" => ("atftp", "atftp", vec!["--get", "-r", name, "-l", "got"]),
        "curl" => ("curl", "curl", vec!["-sS", "-o", "got", "--max-time", "100"]),
        other => panic!("no client {other}"),
    };
    args.extend(options);
    match client {
        "tftp-hpa" => args.extend(["-c", "get", name, "got"]),
        "atftp" => args.extend(["127.0.0.1", &port]),
        _ => args.push(&url),
    }
    let output = run(directory.path(), package, program, &args).await;
    read_result(&directory.path().join("got"), &output)
}

/// What was written if the client was content; tftp-hpa ends with 0 even when it says "Error code".
fn read_result(got: &Path, output: &std::process::Output) -> Result<Vec<u8>, String> {
    let text = said(output);
    if !output.status.success() || text.contains("Error") || text.contains("error") {
        return Err(format!("{}: {text}", output.status));
    }
    // curl writes no file for empty content.
    Ok(std::fs::read(got).unwrap_or_default())
}

/// Clients with their options; each must read every file.
const CLIENTS: &[(&str, &[&str])] = &[
    ("tftp-hpa", &["-m", "binary"]),
    ("atftp", &[]),
    ("atftp", &["--option", "blksize 1428"]),
    ("atftp", &["--option", "tsize", "--option", "timeout 3"]),
    ("atftp", &["--option", "blksize 1428", "--option", "windowsize 16"]),
    ("atftp", &["--option", "windowsize 64"]),
    ("curl", &[]),
    ("curl", &["--tftp-no-options"]),
    ("curl", &["--tftp-blksize", "8"]),
    ("curl", &["--tftp-blksize", "1468"]),
    ("curl", &["--tftp-blksize", "65464"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn every_client_reads_files_of_every_shape() {
    let files: Vec<(String, Bytes)> =
        [0, 1, 511, 512, 513, 1428, 1468 * 3, 100_000].map(|n| (format!("{n}"), content(n))).into();
    let borrowed: Vec<(&str, Bytes)> = files.iter().map(|(n, c)| (n.as_str(), c.clone())).collect();
    let server = Running::start(&borrowed, |server| server);
    for (client, options) in CLIENTS {
        for (name, expected) in &files {
            let got = fetch(client, options, &server, name).await;
            assert!(got.as_ref() == Ok(&expected.to_vec()), "{client} {options:?} {name}: {:?}", got.err());
        }
    }
}

/// 40 MB in blocks of 512 bytes pass block 65535.
#[tokio::test(flavor = "multi_thread")]
async fn block_numbers_roll_over_with_every_client() {
    let big = content(40_000_000);
    let server = Running::start(&[("big", big.clone())], |server| server);
    let clients: [(&str, &[&str]); 4] = [
        ("tftp-hpa", &["-m", "binary"]),
        ("atftp", &[]),
        ("atftp", &["--option", "windowsize 16"]),
        ("curl", &["--tftp-blksize", "512"]),
    ];
    for (n, (client, options)) in clients.into_iter().enumerate() {
        let got = fetch(client, options, &server, "big").await.unwrap();
        assert!(got == big, "{client} {options:?} read {} bytes", got.len());
        let transfer = server.log.transfer(n).await;
        assert_eq!((transfer.outcome, transfer.acknowledged_bytes), (Outcome::Done, 40_000_000), "{client}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_file_is_refused_with_the_code_for_it() {
    let server = Running::start(&[("there", content(10))], |server| server);
    for (client, options, expected) in [
        ("tftp-hpa", &["-m", "binary"][..], "file not found"),
        ("atftp", &[], "file not found"),
        // Its code for "file not found"; the text of some versions is about something else.
        ("curl", &["--path-as-is"], "exit status: 68"),
    ] {
        for name in ["missing", "../there", "/there", "./there", "there/"] {
            let error = fetch(client, options, &server, name).await.unwrap_err();
            assert!(error.to_lowercase().contains(expected), "{client} {name}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn netascii_is_refused_with_a_reason() {
    let server = Running::start(&[("there", content(10))], |server| server);
    let requests: [(&str, &[&str], &str); 3] = [
        ("tftp-hpa", &["-m", "ascii"], "there"),
        ("atftp", &["--option", "mode netascii"], "there"),
        ("curl", &[], "there;mode=netascii"),
    ];
    for (n, (client, options, name)) in requests.into_iter().enumerate() {
        let got = fetch(client, options, &server, name).await;
        assert!(got.is_err(), "{client} {got:?}");
        let Outcome::Failed(Failure::Refused { code, reason }) = server.log.transfer(n).await.outcome else {
            panic!("{client} was not refused");
        };
        assert_eq!(code.0, 4, "{client}");
        assert!(reason.contains("netascii") && reason.contains("octet"), "{client}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn writing_is_refused() {
    let server = Running::start(&[], |server| server);
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("mine"), b"data").unwrap();
    let url = format!("tftp://127.0.0.1:{}/mine", server.port());
    let output =
        run(directory.path(), "curl", "curl", &["-sS", "-T", "mine", "--max-time", "20", &url]).await;
    assert!(!output.status.success());
    let Outcome::Failed(Failure::Refused { code, .. }) = server.log.transfer(0).await.outcome else {
        panic!("not refused");
    };
    assert_eq!(code.0, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_clients_read_at_once() {
    let big = content(300_000);
    let server = Running::start(&[("big", big.clone())], |server| server);
    let reads = (0..20).map(|_| fetch("curl", &["--tftp-blksize", "1428"], &server, "big"));
    for (n, got) in futures(reads).await.into_iter().enumerate() {
        assert!(got.unwrap() == big, "client {n}");
    }
}

/// All of `futures` at once, in one task.
async fn futures<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, slot) in running.iter_mut().zip(&mut done) {
            if slot.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *slot = Some(value);
            }
        }
        if done.iter().all(Option::is_some) { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
    done.into_iter().flatten().collect()
}
