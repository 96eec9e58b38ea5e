//! SSH host keys: of the types that the golden client had, made by the clone's own `ssh-keygen` in its root, at the
//! same time, because large RSA keys take long on slow machines.

use std::path::Path;
use std::thread;

use anyhow::{Context as _, ensure};
use sysclone_exec::{Command, Runner, Tool};

use super::apply::{keeping_times, remove_file, settle_file};

/// The clone's key generator.
pub const KEYGEN: Tool = Tool("ssh-keygen");
const FOLDER: &str = "/etc/ssh";
/// Types that ssh-keygen has had; anything else in an image is refused rather than passed on.
const TYPES: &[&str] = &["rsa", "ecdsa", "ed25519", "dsa"];

/// Makes new keys and returns the public ones, one `authorized_keys` line each. The clone's `/dev` must be there.
///
/// # Errors
/// A type is unknown, or the clone's ssh-keygen failed.
pub fn make_host_keys(
    root: &Path,
    types: &[String],
    hostname: &str,
    runner: &dyn Runner,
) -> anyhow::Result<Vec<String>> {
    if types.is_empty() {
        return Ok(Vec::new());
    }
    for kind in types {
        ensure!(
            TYPES.contains(&kind.as_str()),
            "the image asks for an SSH host key of unknown type '{kind}'"
        );
    }
    keeping_times(root, FOLDER, || {
        thread::scope(|scope| {
            let makers: Vec<_> =
                types.iter().map(|kind| scope.spawn(|| make_one(root, kind, hostname, runner))).collect();
            makers.into_iter().map(|maker| maker.join().expect("key makers do not panic")).collect()
        })
    })
}

fn make_one(root: &Path, kind: &str, hostname: &str, runner: &dyn Runner) -> anyhow::Result<String> {
    let file = format!("{FOLDER}/ssh_host_{kind}_key");
    let public = format!("{file}.pub");
    for old in [&file, &public] {
        let old = root.join(old.trim_start_matches('/'));
        remove_file(&old.to_string_lossy()).with_context(|| format!("removing {}", old.display()))?;
    }
    let comment = format!("root@{hostname}");
    let command =
        Command::new(KEYGEN).args(["-q", "-t", kind, "-N", "", "-C", &comment, "-f", &file]).in_root(root);
    runner.run(&command).with_context(|| format!("making the clone's {kind} host key"))?;
    settle_file(root, &file, 0o600).with_context(|| format!("settling {file}"))?;
    settle_file(root, &public, 0o644).with_context(|| format!("settling {public}"))?;
    let path = root.join(public.trim_start_matches('/'));
    let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use sysclone_exec::{ExecError, Output};

    /// Writes what ssh-keygen would write, with modes that are too open.
    struct Keygen;

    impl Runner for Keygen {
        fn run(&self, command: &Command) -> Result<Output, ExecError> {
            let line = command.line();
            let word =
                |after: &str| line.split_once(after).unwrap().1.split_whitespace().next().unwrap().to_owned();
            let file = Path::new(&word("[in ").trim_end_matches(']')).join(word(" -f /"));
            std::fs::write(&file, "private").unwrap();
            std::fs::write(
                format!("{}.pub", file.display()),
                format!("ssh-{} AAAA {}\n", word(" -t "), word(" -C ")),
            )
            .unwrap();
            Ok(Output::default())
        }
    }

    #[test]
    fn each_type_the_golden_client_had_gets_a_new_key() {
        use std::os::unix::fs::PermissionsExt as _;
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("etc/ssh")).unwrap();
        let types = ["rsa".to_owned(), "ed25519".to_owned()];
        let keys = make_host_keys(root.path(), &types, "n7", &Keygen).unwrap();
        assert_eq!(keys, ["ssh-rsa AAAA root@n7", "ssh-ed25519 AAAA root@n7"]);
        let mode = |name: &str| {
            root.path().join("etc/ssh").join(name).metadata().unwrap().permissions().mode() & 0o777
        };
        assert_eq!((mode("ssh_host_rsa_key"), mode("ssh_host_rsa_key.pub")), (0o600, 0o644));
    }

    #[test]
    fn an_unknown_type_is_not_passed_to_a_program() {
        let root = tempfile::tempdir().unwrap();
        let error = make_host_keys(root.path(), &["-f/etc/passwd".to_owned()], "n7", &Keygen).unwrap_err();
        assert!(error.to_string().contains("unknown type"), "{error}");
        assert!(make_host_keys(root.path(), &[], "n7", &Keygen).unwrap().is_empty());
    }
}
