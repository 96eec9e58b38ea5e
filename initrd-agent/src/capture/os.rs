//! Which operating system this is, by the names that xCAT gives them (`debian12`, `centos7.8`, `rhels8.9`,
//! `sles15.5`): id and version put together are its `osvers`.

use std::path::Path;

use sysclone_image::OsIdentity;

/// The files that say it.
#[derive(Debug, Default)]
struct ReleaseFiles {
    os_release: Option<String>,
    /// `centos-release`, `rocky-release`, … or `redhat-release`: the minor version that os-release may not have.
    redhat_release: Option<String>,
    /// SLES 10 and 11.
    suse_release: Option<String>,
}

const REDHAT_RELEASES: &[&str] =
    &["etc/centos-release", "etc/almalinux-release", "etc/rocky-release", "etc/redhat-release"];

/// Reads the operating system below `root`; unknown parts are empty.
#[must_use]
pub(super) fn identify(root: &Path) -> OsIdentity {
    let read = |path: &str| std::fs::read_to_string(root.join(path)).ok();
    parse(&ReleaseFiles {
        os_release: read("etc/os-release").or_else(|| read("usr/lib/os-release")),
        redhat_release: REDHAT_RELEASES.iter().find_map(|path| read(path)),
        suse_release: read("etc/SuSE-release"),
    })
}

fn parse(files: &ReleaseFiles) -> OsIdentity {
    let os = files.os_release.as_deref().unwrap_or_default();
    let redhat = files.redhat_release.as_deref().unwrap_or_default().lines().next().unwrap_or_default();
    let suse = files.suse_release.as_deref().unwrap_or_default();
    let from_os_release = |key: &str| field(os, key, '=').unwrap_or_default();
    let first_of_suse = suse.lines().next().unwrap_or_default();
    let name = [from_os_release("PRETTY_NAME"), redhat.to_owned(), first_of_suse.to_owned()];
    OsIdentity {
        id: id(&from_os_release("ID"), redhat, suse),
        version: version(&from_os_release("VERSION_ID"), redhat, suse),
        name: name.into_iter().find(|name| !name.is_empty()).unwrap_or_default(),
    }
}

/// xCAT's word for a distribution.
fn id(os_release: &str, redhat: &str, suse: &str) -> String {
    let redhat = redhat.to_ascii_lowercase();
    let stream = redhat.contains("stream");
    let word = match os_release {
        "rhel" if redhat.contains("workstation") => "rhelw",
        "rhel" if redhat.contains("client") => "rhelc",
        "rhel" => "rhels",
        "almalinux" => "alma",
        "centos" if stream => "centos-stream",
        "" if redhat.starts_with("red hat enterprise linux workstation") => "rhelw",
        "" if redhat.starts_with("red hat enterprise linux client") => "rhelc",
        "" if redhat.starts_with("red hat enterprise linux") => "rhels",
        "" if redhat.starts_with("centos") => "centos",
        "" if redhat.starts_with("fedora") => "fedora",
        "" if suse.to_ascii_lowercase().contains("suse linux enterprise server") => "sles",
        "" => "linux",
        other => other,
    };
    word.to_owned()
}

fn version(os_release: &str, redhat: &str, suse: &str) -> String {
    // os-release of CentOS 7 says 7, its own file 7.8.2003: two numbers are what xCAT keeps.
    let detailed: String = redhat
        .split_whitespace()
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
        .map(|word| word.split('.').take(2).collect::<Vec<_>>().join("."))
        .unwrap_or_default();
    if !os_release.is_empty() {
        return if detailed.starts_with(os_release) { detailed } else { os_release.to_owned() };
    }
    match (field(suse, "VERSION", '='), field(suse, "PATCHLEVEL", '=')) {
        (Some(version), Some(level)) if level != "0" => format!("{version}.{level}"),
        (Some(version), _) => version,
        (None, _) => detailed,
    }
}

/// The value of `key` in lines of `KEY="value"` or `KEY = value`.
fn field(text: &str, key: &str, separator: char) -> Option<String> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(separator)?;
        (name.trim() == key).then(|| value.trim().trim_matches(['"', '\'']).to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// os-release, redhat-release, SuSE-release, id, version.
    const TABLE: &[(&str, &str, &str, &str, &str)] = &[
        (
            "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nVERSION_ID=\"12\"\nID=debian\n",
            "",
            "",
            "debian",
            "12",
        ),
        ("ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"22.04\"\n", "", "", "ubuntu", "22.04"),
        ("ID=\"centos\"\nVERSION_ID=\"7\"\n", "CentOS Linux release 7.8.2003 (Core)\n", "", "centos", "7.8"),
        ("ID=\"centos\"\nVERSION_ID=\"9\"\n", "CentOS Stream release 9\n", "", "centos-stream", "9"),
        (
            "ID=\"rhel\"\nVERSION_ID=\"8.9\"\n",
            "Red Hat Enterprise Linux release 8.9 (Ootpa)\n",
            "",
            "rhels",
            "8.9",
        ),
        (
            "ID=\"almalinux\"\nVERSION_ID=\"8.9\"\n",
            "AlmaLinux release 8.9 (Midnight Oncilla)\n",
            "",
            "alma",
            "8.9",
        ),
        ("ID=\"rocky\"\nVERSION_ID=\"9.3\"\n", "Rocky Linux release 9.3 (Blue Onyx)\n", "", "rocky", "9.3"),
        ("ID=\"sles\"\nVERSION_ID=\"15.5\"\n", "", "", "sles", "15.5"),
        ("", "Red Hat Enterprise Linux Server release 6.4 (Santiago)\n", "", "rhels", "6.4"),
        ("", "CentOS release 5.9 (Final)\n", "", "centos", "5.9"),
        ("", "", "SUSE Linux Enterprise Server 11 (x86_64)\nVERSION = 11\nPATCHLEVEL = 3\n", "sles", "11.3"),
        ("", "", "SUSE Linux Enterprise Server 10 (ppc)\nVERSION = 10\nPATCHLEVEL = 4\n", "sles", "10.4"),
        ("", "", "", "linux", ""),
    ];

    #[test]
    fn systems_have_the_names_that_xcat_gives_them() {
        for (os, redhat, suse, id, version) in TABLE {
            let files = ReleaseFiles {
                os_release: Some((*os).to_owned()),
                redhat_release: Some((*redhat).to_owned()),
                suse_release: Some((*suse).to_owned()),
            };
            let found = parse(&files);
            assert_eq!((found.id.as_str(), found.version.as_str()), (*id, *version), "{os}{redhat}{suse}");
        }
        assert_eq!(parse(&ReleaseFiles::default()).id, "linux");
    }
}
