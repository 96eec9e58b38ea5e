//! Where packages come from: the Debian 12 suites that this host's own apt uses.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// The suites that the golden client is made of.
pub(super) const SUITE: &str = "bookworm";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const APT: &str = "/etc/apt";
const LISTS: &str = "/var/lib/apt/lists";

/// One-line apt sources of the Debian 12 suites in the host's configuration.
pub(super) fn host_sources() -> Result<Vec<String>> {
    let mut lines = Vec::new();
    for file in files(&Path::new(APT).join("sources.list.d"))? {
        if file.ends_with(".sources") {
            lines.extend(from_deb822(&read(&file)?));
        } else if file.ends_with(".list") {
            lines.extend(from_one_line(&read(&file)?));
        }
    }
    let classic = Path::new(APT).join("sources.list");
    if classic.exists() {
        lines.extend(from_one_line(&read(&classic.to_string_lossy())?));
    }
    ensure!(!lines.is_empty(), "no suite of Debian 12 ({SUITE}) in the apt configuration under {APT}");
    Ok(lines)
}

/// The dates of the package lists that apt has fetched, so that newer lists make a newer golden client.
pub(super) fn index_dates() -> Result<Vec<String>> {
    let mut dates = Vec::new();
    for file in files(Path::new(LISTS))? {
        if file.contains(SUITE) && file.ends_with("Release") {
            let text = read(&file)?;
            dates.extend(text.lines().find_map(|line| line.strip_prefix("Date:")).map(str::to_owned));
        }
    }
    Ok(dates)
}

fn files(folder: &Path) -> Result<Vec<String>> {
    if !folder.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?;
    let paths = entries.map(|entry| entry.map(|e| e.path().to_string_lossy().into_owned()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>()?;
    paths.sort();
    Ok(paths)
}

fn read(file: &str) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("reading {file}"))
}

fn line(uri: &str, suite: &str, components: &str) -> String {
    format!("deb [signed-by={KEYRING}] {uri} {suite} {components}")
}

fn wanted(suite: &str) -> bool {
    [SUITE, "bookworm-updates", "bookworm-security"].contains(&suite)
}

/// Stanzas of `Field: value` lines (sources.list(5), deb822 style).
fn from_deb822(text: &str) -> Vec<String> {
    let stanza_lines = |stanza: &str| {
        let field = |name: &str| {
            let value = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_default().trim().to_owned()
        };
        if field("Enabled") == "no" || !field("Types").split_whitespace().any(|kind| kind == "deb") {
            return Vec::new();
        }
        let suites = field("Suites");
        let (uris, components) = (field("URIs"), field("Components"));
        let uri = uris.split_whitespace().next().unwrap_or_default();
        suites.split_whitespace().filter(|s| wanted(s)).map(|suite| line(uri, suite, &components)).collect()
    };
    text.split("\n\n").flat_map(stanza_lines).collect()
}

/// `deb [options] uri suite components` lines.
fn from_one_line(text: &str) -> Vec<String> {
    let parse = |raw: &str| {
        let rest = raw.trim().strip_prefix("deb ")?.trim();
        let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
        let mut words = rest.split_whitespace();
        let (uri, suite) = (words.next()?, words.next()?);
        let components: Vec<&str> = words.collect();
        wanted(suite).then(|| line(uri, suite, &components.join(" ")))
    };
    text.lines().filter_map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_of_this_release_become_lines() {
        let text = "Types: deb deb-src\nURIs: http://mirror.test/debian\nSuites: bookworm bookworm-updates trixie\n\
                    Components: main contrib\n\n# off\nEnabled: no\nTypes: deb\nURIs: http://x.test\n\
                    Suites: bookworm\nComponents: main\n\nTypes: deb-src\nURIs: http://y.test\nSuites: bookworm\n";
        let expected =
            |suite| format!("deb [signed-by={KEYRING}] http://mirror.test/debian {suite} main contrib");
        assert_eq!(from_deb822(text), [expected("bookworm"), expected("bookworm-updates")]);
    }

    #[test]
    fn classic_lines_keep_their_mirror() {
        let text = "# comment\ndeb [arch=amd64 trusted=no] http://mirror.test/d bookworm main\n\
                    deb http://mirror.test/d trixie main\ndeb-src http://mirror.test/d bookworm main\n";
        let expected = format!("deb [signed-by={KEYRING}] http://mirror.test/d bookworm main");
        assert_eq!(from_one_line(text), [expected]);
    }
}
