//! The host keys of nodes, as ssh keeps them. A golden client's are learnt at the first capture; those of a clone are
//! told by its agent, over a connection that is trusted, so a machine that was installed anew is not taken for another.

use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// ssh itself appends to the file; our own rewriting is at least one at a time.
static REWRITING: Mutex<()> = Mutex::new(());

/// Puts `keys` (lines of `type base64 [comment]`) in the place of what was known of `node`. Anything that is not such
/// a line is left out.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn remember_host_keys(path: &Path, node: &str, keys: &[String]) -> io::Result<()> {
    let _one_at_a_time = REWRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let old = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        other => other?,
    };
    let new = path.with_extension("new");
    std::fs::write(&new, replaced(&old, node, keys))?;
    std::fs::rename(new, path)
}

fn replaced(old: &str, node: &str, keys: &[String]) -> String {
    let others = old.lines().filter(|line| line.split_ascii_whitespace().next() != Some(node));
    let own = keys.iter().filter_map(|key| key_of(key)).map(|key| format!("{node} {key}"));
    others.map(str::to_owned).chain(own).map(|line| line + "\n").collect()
}

/// The two words that are a key.
fn key_of(line: &str) -> Option<String> {
    let mut words = line.split_ascii_whitespace();
    let (kind, key) = (words.next()?, words.next()?);
    let word = |text: &str, more: &str| {
        text.bytes().all(|b| b.is_ascii_alphanumeric() || more.as_bytes().contains(&b))
    };
    (word(kind, "-@.") && word(key, "+/=")).then(|| format!("{kind} {key}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_one_node_are_replaced_and_no_line_can_be_smuggled_in() {
        let old = "n1 ssh-rsa OLD\nn10 ssh-rsa OTHER\n";
        let keys =
            ["ssh-ed25519 AAAA root@n1", "ssh-rsa B\nn10 ssh-rsa EVIL", "* evil;", "x"].map(str::to_owned);
        let new = replaced(old, "n1", &keys);
        assert_eq!(new, "n10 ssh-rsa OTHER\nn1 ssh-ed25519 AAAA\nn1 ssh-rsa B\n");
    }

    #[test]
    fn the_file_is_made_when_it_is_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("known_hosts");
        remember_host_keys(&path, "n1", &["ssh-rsa AAAA".to_owned()]).unwrap();
        remember_host_keys(&path, "n1", &["ssh-rsa BBBB".to_owned()]).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "n1 ssh-rsa BBBB\n");
    }
}
