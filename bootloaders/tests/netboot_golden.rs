//! The configurations that loaders read, compared byte for byte with files that real loaders have booted from; those of
//! Petitboot and yaboot are as xCAT writes them and no such loader has read them yet.
//! `UPDATE_GOLDEN=1 cargo test -p sysclone-bootloaders` rewrites them.

use std::path::Path;

use sysclone_bootloaders::netboot::{
    Action, Entry, Headline, HttpServer, Install, KernelArgs, Loader, ValueError, render,
};

const LOADERS: [(Loader, &str); 5] = [
    (Loader::Ipxe, "ipxe"),
    (Loader::Pxelinux, "pxelinux"),
    (Loader::Grub2, "grub2"),
    (Loader::Petitboot, "petitboot"),
    (Loader::Yaboot, "yaboot"),
];

#[expect(clippy::unwrap_used, reason = "the address is a constant")]
fn install(headline: &str, args: &str) -> Result<Entry, ValueError> {
    Ok(Entry {
        headline: Headline::new(headline),
        action: Action::Install(Install {
            http: HttpServer("10.77.0.1:8080".parse().unwrap()),
            kernel: "x86_64/kernel".parse()?,
            initrd: "x86_64/initrd.img".parse()?,
            args: args.parse::<KernelArgs>()?,
        }),
    })
}

fn local() -> Entry {
    Entry { headline: Headline::new("boot"), action: Action::Local }
}

#[expect(clippy::unwrap_used, reason = "runs only in tests")]
fn compare(name: &str, rendered: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, rendered).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    assert_eq!(rendered, golden, "{name} changed; review it, then run with UPDATE_GOLDEN=1");
}

#[test]
fn configurations_are_as_committed() {
    let args = "sysclone.server=https://10.77.0.1:8443 sysclone.node=target sysclone.ip=10.77.0.12/24 \
                sysclone.ticket=abc-_123 BOOTIF=01-52-54-00-77-00-02 console=tty0 console=ttyS0,115200";
    for (loader, name) in LOADERS {
        compare(
            &format!("{name}-install"),
            &render(loader, &install("sysclone debian12-x86_64", args).unwrap()),
        );
        compare(&format!("{name}-local"), &render(loader, &local()));
    }
}

#[test]
fn hostile_headlines_add_no_line_and_no_word() {
    for headline in ["x\nreboot", "x\r\nLABEL evil", "x\\", "x'; reboot; '", "${filename}", "é\u{2028}reboot"]
    {
        for (loader, _) in LOADERS {
            let tame = render(loader, &local());
            let hostile = render(loader, &Entry { headline: Headline::new(headline), action: Action::Local });
            let others = |text: &str| {
                text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect::<Vec<_>>()
            };
            assert_eq!(hostile.lines().count(), tame.lines().count(), "{headline:?}");
            assert_eq!(others(&hostile), others(&tame), "{headline:?}");
            assert!(!hostile.contains("\\\n"), "a comment must not swallow the next line: {headline:?}");
        }
    }
}

#[test]
fn kernel_arguments_never_add_a_line_or_a_command() {
    for args in
        ["a=$(reboot)", "a=;reboot;", "a=$b", "a=`reboot`", "a=b||reboot", "a={x}", "a=b;", "a>b", "$cmd"]
    {
        for (loader, _) in LOADERS {
            let tame = render(loader, &install("x", "quiet").unwrap());
            let hostile = render(loader, &install("x", args).unwrap());
            let word = if loader == Loader::Grub2 { format!("'{args}'") } else { args.to_owned() };
            let quiet = if loader == Loader::Grub2 { "'quiet'" } else { "quiet" };
            assert_eq!(hostile, tame.replace(quiet, &word), "{args:?}");
        }
    }
    for args in ["a\nreboot", "a ; reboot", "a || reboot", "x='", "x=\"", "x=${y}", "a \\"] {
        assert!(install("x", args).is_err(), "{args:?}");
    }
}
