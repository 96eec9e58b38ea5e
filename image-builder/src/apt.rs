//! Debian packages, by the system's own apt: it knows the mirrors and checks signatures. Files are kept in a cache and
//! compared with the checksum that apt states before every use. Nothing is installed. For another architecture apt
//! gets lists and a state of its own in the cache, so that the system's stay as they are.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use ring::digest;
use serde::{Deserialize, Serialize};
use sysclone_exec::{Command, Runner, Tool};

use crate::arch::Arch;
use crate::tree::read;

mod private;

const APT_GET: Tool = Tool("apt-get");
const APT_CACHE: Tool = Tool("apt-cache");
const DPKG_DEB: Tool = Tool("dpkg-deb");

/// Programs this module starts.
pub const TOOLS: [Tool; 3] = [APT_GET, APT_CACHE, DPKG_DEB];

/// Packages of one architecture.
pub struct Apt<'a> {
    runner: &'a dyn Runner,
    cache: &'a Path,
    arch: Arch,
    /// What apt is told beside, on every call.
    options: Vec<String>,
}

/// A package file that apt would download.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Listed {
    file: String,
    sha256: String,
}

/// A package that went into an image.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    /// Binary package.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Source package it was built from.
    pub source: String,
    /// Version of the source.
    pub source_version: String,
}

impl<'a> Apt<'a> {
    /// Packages for `arch`, kept in `cache`, which is created when missing.
    ///
    /// # Errors
    /// The cache cannot be created.
    pub fn new(runner: &'a dyn Runner, cache: &'a Path, arch: Arch) -> Result<Self> {
        std::fs::create_dir_all(cache).with_context(|| format!("creating {}", cache.display()))?;
        let mut apt = Self { runner, cache, arch, options: Vec::new() };
        if !arch.is_native() {
            apt.options = private::state(runner, cache, arch)?;
            let update = Command::new(APT_GET).args(["-q", "update"]).args(&apt.options);
            if let Err(error) = runner.run(&update) {
                // A mirror that is being changed has lists that do not fit together for a while; apt goes on with
                // those that do, and with what it had before.
                tracing::warn!("not all lists of packages for {arch} could be fetched: {error}");
            }
        }
        Ok(apt)
    }

    /// The kernel package that the architecture's metapackage depends on.
    ///
    /// # Errors
    /// apt does not know it.
    pub fn newest_kernel(&self) -> Result<String> {
        let meta = self.arch.kernel_package();
        let text = self.show(&[meta.to_owned()])?;
        let kernel = text.lines().flat_map(dependencies).find(|name| name.starts_with("linux-image-"));
        kernel.map(str::to_owned).with_context(|| format!("package {meta} depends on no kernel"))
    }

    /// The library packages that `packages` depend on, directly or by other libraries. Where a dependency leaves a
    /// choice the first is taken, as apt does: the others may hold the same file with other content.
    ///
    /// # Errors
    /// apt does not know one of the packages.
    pub fn libraries_of(&self, packages: &[String]) -> Result<Vec<String>> {
        let mut known: BTreeSet<String> = packages.iter().cloned().collect();
        let (mut libraries, mut asked) = (Vec::new(), packages.to_vec());
        while !asked.is_empty() {
            let text = self.show(&asked)?;
            let names = text.lines().flat_map(dependencies).filter(|name| is_library(name));
            let names: BTreeSet<String> = names.map(str::to_owned).collect();
            asked = names.into_iter().filter(|name| known.insert(name.clone())).collect();
            libraries.extend(asked.iter().cloned());
        }
        libraries.sort();
        Ok(libraries)
    }

    fn show(&self, packages: &[String]) -> Result<String> {
        let names = packages.iter().map(|p| self.qualified(p));
        let show =
            Command::new(APT_CACHE).args(["show", "--no-all-versions"]).args(names).args(&self.options);
        Ok(self.runner.run(&show).with_context(|| self.advice(&packages.join(" ")))?.text())
    }

    /// Downloads what is not in the cache, compares every file with apt's checksum, and unpacks all into `root`.
    ///
    /// # Errors
    /// A package is unknown, cannot be downloaded, or does not match its checksum.
    pub fn unpack(&self, packages: &[String], root: &Path) -> Result<Vec<Package>> {
        let listed = self.list(packages)?;
        let wanted: Vec<&Listed> = listed.iter().filter(|l| self.check(l).is_err()).collect();
        if !wanted.is_empty() {
            tracing::info!(packages = wanted.len(), cache = %self.cache.display(), "downloading packages");
            for file in &wanted {
                remove_if_there(&self.cache.join(&file.file))?;
            }
            let names: Vec<&str> = wanted.iter().filter_map(|l| l.file.split('_').next()).collect();
            self.runner
                .run(&self.download().args(names.iter().map(|n| self.qualified(n))).in_dir(self.cache))?;
        }
        let mut unpacked = Vec::new();
        for file in &listed {
            self.check(file)?;
            unpacked.push(self.unpack_one(&self.cache.join(&file.file), root)?);
        }
        unpacked.sort();
        Ok(unpacked)
    }

    fn unpack_one(&self, file: &Path, root: &Path) -> Result<Package> {
        self.runner.run(&Command::new(DPKG_DEB).arg("-x").arg(file).arg(root))?;
        let format = "${Package}\t${Version}\t${source:Package}\t${source:Version}\n";
        let text =
            self.runner.run(&Command::new(DPKG_DEB).args(["-W", "--showformat", format]).arg(file))?.text();
        let fields: Vec<&str> = text.trim_end().split('\t').collect();
        let [name, version, source, source_version] = fields.as_slice() else {
            bail!("dpkg-deb describes {} as '{}'", file.display(), text.trim_end());
        };
        let owned = |text: &&str| (*text).to_owned();
        Ok(Package {
            name: owned(name),
            version: owned(version),
            source: owned(source),
            source_version: owned(source_version),
        })
    }

    /// What apt would download. Asked in an empty directory, because apt leaves out what is already there.
    fn list(&self, packages: &[String]) -> Result<Vec<Listed>> {
        let empty = tempfile::tempdir().context("creating a temporary directory")?;
        let names = packages.iter().map(|p| self.qualified(p));
        let uris = self.download().arg("--print-uris").args(names).in_dir(empty.path());
        let text = self.runner.run(&uris).with_context(|| self.advice(&packages.join(" ")))?.text();
        text.lines().filter(|l| l.starts_with('\'')).map(listed).collect()
    }

    fn download(&self) -> Command {
        // Root may write into any cache; apt's own user may not.
        Command::new(APT_GET).args(["-q", "-o", "APT::Sandbox::User=root", "download"]).args(&self.options)
    }

    fn check(&self, listed: &Listed) -> Result<()> {
        let path = self.cache.join(&listed.file);
        let found = hex(digest::digest(&digest::SHA256, &read(&path)?).as_ref());
        if found != listed.sha256 {
            bail!("{} has SHA256 {found}, apt states {}", path.display(), listed.sha256);
        }
        Ok(())
    }

    fn qualified(&self, package: &str) -> String {
        format!("{package}:{}", self.arch.debian())
    }

    fn advice(&self, packages: &str) -> String {
        format!("apt does not find {packages} for {}: run 'apt-get update'", self.arch.debian())
    }
}

/// The packages that a line of a package description depends on; nothing for other lines.
fn dependencies(line: &str) -> impl Iterator<Item = &str> {
    let list =
        line.strip_prefix("Depends: ").or_else(|| line.strip_prefix("Pre-Depends: ")).unwrap_or_default();
    // `name:arch (>= version) | other, …`
    list.split(',')
        .filter_map(|d| d.split(['|', '(', ':']).next())
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

/// Debian Policy 8.1: packages of shared libraries are called lib…; zlib1g is older than that.
fn is_library(package: &str) -> bool {
    package.starts_with("lib") || package.starts_with("zlib")
}

/// Reads one line of `apt-get download --print-uris`: `'uri' file size SHA256:hash`.
fn listed(line: &str) -> Result<Listed> {
    let words: Vec<&str> = line.split(' ').collect();
    let [_, file, _, hash] = words.as_slice() else { bail!("apt-get wrote '{line}'") };
    let sha256 = hash.strip_prefix("SHA256:").with_context(|| format!("apt states no SHA256 for {file}"))?;
    if file.contains('/') {
        bail!("apt names the file '{file}', which is not a plain name");
    }
    Ok(Listed { file: (*file).to_owned(), sha256: sha256.to_owned() })
}

fn remove_if_there(path: &PathBuf) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(e).with_context(|| format!("removing {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use sysclone_exec::Script;

    use super::*;

    #[test]
    fn the_newest_kernel_is_what_the_metapackage_depends_on() {
        let script = Script::new().on(
            "apt-cache show --no-all-versions linux-image-amd64:amd64",
            "Package: linux-image-amd64\nDepends: linux-image-6.1.0-56-amd64 (= 6.1.192-2)\n",
        );
        let cache = tempfile::tempdir().unwrap();
        let apt = Apt::new(&script, cache.path(), Arch::X86_64).unwrap();
        assert_eq!(apt.newest_kernel().unwrap(), "linux-image-6.1.0-56-amd64");
    }

    #[test]
    fn libraries_are_followed_and_of_a_choice_the_first_is_taken() {
        let script = Script::new()
            .on("apt-get indextargets", "http://d/debian/|Debian|Debian|bookworm\n")
            .on("apt-get -q update -o APT::Architecture=ppc64el -o APT::Architectures=ppc64el", "")
            .on("apt-cache show --no-all-versions lvm2:ppc64el libgcc-s1:ppc64el", "Package: lvm2\nPre-Depends: libc6 (>= 2.36)\nDepends: dmsetup (>= 2), libsystemd0 | libelogind0 (>= 1), zlib1g:any\n")
            .on("apt-cache show --no-all-versions libc6:ppc64el libsystemd0:ppc64el zlib1g:ppc64el", "Depends: libgcc-s1, libcrypt1\n")
            .on("apt-cache show --no-all-versions libcrypt1:ppc64el", "Depends: libc6\n");
        let cache = tempfile::tempdir().unwrap();
        let apt = Apt::new(&script, cache.path(), Arch::Ppc64le).unwrap();
        let found = apt.libraries_of(&["lvm2".into(), "libgcc-s1".into()]).unwrap();
        assert_eq!(found, ["libc6", "libcrypt1", "libsystemd0", "zlib1g"]);
    }

    #[test]
    fn a_cached_file_that_does_not_match_is_fetched_again_and_then_refused() {
        let uri = "'http://d/x_1_amd64.deb' x_1_amd64.deb 4 SHA256:00\n";
        let script = Script::new().on("apt-get", uri).on("apt-get", "");
        let cache = tempfile::tempdir().unwrap();
        std::fs::write(cache.path().join("x_1_amd64.deb"), "evil").unwrap();
        let apt = Apt::new(&script, cache.path(), Arch::X86_64).unwrap();
        assert!(apt.unpack(&["x".into()], cache.path()).is_err());
        assert!(!cache.path().join("x_1_amd64.deb").exists());
        assert_eq!(script.lines()[1], "apt-get -q -o APT::Sandbox::User=root download x:amd64");
    }

    #[test]
    fn odd_answers_of_apt_are_errors() {
        assert!(listed("'u' f 1 SHA256:ab").is_ok());
        for line in ["'u' f 1", "'u' f 1 MD5Sum:ab", "'u' ../f 1 SHA256:ab"] {
            assert!(listed(line).is_err(), "{line}");
        }
    }
}
