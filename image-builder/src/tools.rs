//! Puts programs, with the shared libraries they need, into an initrd. Everything is taken from one tree, whose paths
//! are kept, so that each library is where its loader looks for it.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};

use crate::contents::{Contents, Group, Item, merged_usr};
use crate::elf;
use crate::lists::{LVM_CONF, ToolList, ToolPackage};
use crate::tree::Tree;

/// Where packages put programs.
const PROGRAM_DIRECTORIES: [&str; 4] = ["usr/sbin", "sbin", "usr/bin", "bin"];

/// Where libraries are looked for after a program's own directories; a Debian tree also has one per architecture.
const LIBRARY_DIRECTORIES: [&str; 4] = ["lib64", "usr/lib64", "lib", "usr/lib"];

/// Debian's names of per-architecture library directories.
const MULTIARCH: [&str; 3] = ["x86_64-linux-gnu", "powerpc64le-linux-gnu", "powerpc64-linux-gnu"];

/// Copies programs and libraries from a tree into an initrd.
pub struct Collector<'a> {
    tree: &'a Tree,
    contents: &'a mut Contents,
    missing: BTreeSet<String>,
    absent: Vec<String>,
}

impl<'a> Collector<'a> {
    /// A collector from `tree` into `contents`.
    pub fn new(tree: &'a Tree, contents: &'a mut Contents) -> Self {
        Self { tree, contents, missing: BTreeSet::new(), absent: Vec::new() }
    }

    /// Adds everything on the list and LVM's configuration. Returns the optional programs that were not there.
    ///
    /// # Errors
    /// Names every program and library that must be there and is not.
    pub fn collect(mut self, list: &ToolList) -> Result<Vec<String>> {
        self.all(list)?;
        if !self.missing.is_empty() {
            let missing: Vec<_> = self.missing.into_iter().collect();
            bail!("not found for the initrd: {}", missing.join(", "));
        }
        Ok(self.absent)
    }

    /// Adds what there is of the list. Returns what there is not.
    ///
    /// # Errors
    /// Something that is there cannot be read.
    pub fn collect_what_is_there(mut self, list: &ToolList) -> Result<Vec<String>> {
        self.all(list)?;
        self.absent.extend(self.missing);
        Ok(self.absent)
    }

    fn all(&mut self, list: &ToolList) -> Result<()> {
        for package in &list.packages {
            self.package(package)?;
        }
        self.contents.add_file("etc/lvm/lvm.conf", Group::Base, LVM_CONF);
        Ok(())
    }

    fn package(&mut self, package: &ToolPackage) -> Result<()> {
        for tool in &package.tools {
            if !self.program(tool)? {
                self.missing.insert(format!("{tool} (package {})", package.name));
            }
        }
        for tool in &package.optional {
            if !self.program(tool)? {
                self.absent.push(tool.clone());
            }
        }
        for file in &package.files {
            match self.tree.resolve(file) {
                Some(_) => self.contents.add_file(file, Group::Base, self.tree.read(file)?),
                None => drop(self.missing.insert(format!("{file} (package {})", package.name))),
            }
        }
        for library in &package.libraries {
            self.library(library, &[], &package.name)?;
        }
        self.applets(&package.applets)
    }

    /// Adds a program by name; false when the tree has none.
    fn program(&mut self, name: &str) -> Result<bool> {
        let Some(path) = self.tree.find(&PROGRAM_DIRECTORIES, name) else { return Ok(false) };
        self.add(&path, name, Group::Tools)?;
        Ok(true)
    }

    /// Links to busybox for every applet that is not already there as a program of its own.
    fn applets(&mut self, applets: &[String]) -> Result<()> {
        if applets.is_empty() {
            return Ok(());
        }
        // A missing busybox is already on the list of what is missing.
        let Some(busybox) = self.tree.find(&PROGRAM_DIRECTORIES, "busybox") else { return Ok(()) };
        let data = self.tree.read(&busybox)?;
        let names = applet_names(&data);
        for applet in applets {
            if !names.contains(applet.as_bytes()) {
                self.missing.insert(format!("{applet} (busybox applet)"));
            }
            let taken = ["usr/bin", "usr/sbin"].iter().any(|d| self.contents.has(&format!("{d}/{applet}")));
            // The kernel asks for /sbin/modprobe; people find the others by PATH.
            let directory = if applet == "modprobe" { "usr/sbin" } else { "usr/bin" };
            if !taken {
                let target = Item::Link(format!("/{}", merged_usr(&busybox)));
                self.contents.add(&format!("{directory}/{applet}"), Group::Tools, target);
            }
        }
        Ok(())
    }

    /// Adds the file at `path`, the link that leads to it when `path` is one, and all it needs.
    fn add(&mut self, path: &str, user: &str, group: Group) -> Result<()> {
        let real =
            self.tree.resolve(path).with_context(|| format!("{path}, needed by {user}, is not there"))?;
        if merged_usr(path) != merged_usr(&real) {
            self.contents.add(path, group, Item::Link(format!("/{}", merged_usr(&real))));
        }
        if self.contents.has(&real) {
            return Ok(());
        }
        let data = self.tree.read(&real)?;
        let needs = match elf::is_elf(&data) {
            true => elf::needs(&data).with_context(|| format!("reading {real}"))?,
            false => elf::Needs::default(),
        };
        self.contents.add_program(&real, group, data);
        if let Some(interpreter) = &needs.interpreter {
            self.add(interpreter, &real, Group::Libraries)?;
        }
        for library in &needs.libraries {
            self.library(library, &needs.directories, &real)?;
        }
        Ok(())
    }

    fn library(&mut self, name: &str, own_directories: &[String], user: &str) -> Result<()> {
        let mut directories: Vec<String> = own_directories.to_vec();
        for base in LIBRARY_DIRECTORIES {
            directories.extend(MULTIARCH.iter().map(|m| format!("{base}/{m}")));
            directories.push(base.to_owned());
        }
        let directories: Vec<&str> = directories.iter().map(String::as_str).collect();
        match self.tree.find(&directories, name) {
            Some(path) => self.add(&path, user, Group::Libraries),
            None => {
                self.missing.insert(format!("{name} (library, needed by {user})"));
                Ok(())
            }
        }
    }
}

/// All that may be a name in busybox: its applets stand in it one after another, each ended by a zero byte.
fn applet_names(busybox: &[u8]) -> BTreeSet<&[u8]> {
    busybox.split(|&byte| byte == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(tools: &[&str], optional: &[&str]) -> ToolList {
        let words = |w: &[&str]| w.iter().map(|&t| t.to_owned()).collect();
        let package = ToolPackage {
            architectures: vec![],
            name: "p".into(),
            tools: words(tools),
            optional: words(optional),
            files: vec![],
            applets: vec![],
            libraries: vec![],
        };
        ToolList { packages: vec![package] }
    }

    #[test]
    fn a_program_comes_with_its_libraries_and_its_loader() {
        let mut contents = Contents::base();
        let absent =
            Collector::new(&Tree::new("/"), &mut contents).collect(&list(&["ls"], &["none"])).unwrap();
        assert_eq!(absent, ["none"]);
        let has = |end: &str| contents.iter().any(|(path, _)| path.ends_with(end));
        assert!(has("/ls") && has("/libc.so.6") && has("/libselinux.so.1") && has("/libpcre2-8.so.0"));
        let loader = elf::needs(&std::fs::read("/bin/ls").unwrap()).unwrap().interpreter.unwrap();
        assert!(contents.has(&loader), "{loader}");
    }

    #[test]
    fn everything_that_is_missing_is_named_at_once() {
        let mut contents = Contents::base();
        let error = Collector::new(&Tree::new("/"), &mut contents)
            .collect(&list(&["no-a", "no-b"], &[]))
            .unwrap_err();
        assert_eq!(error.to_string(), "not found for the initrd: no-a (package p), no-b (package p)");
        let (tree, list) = (Tree::new("/"), list(&["no-a", "ls"], &["no-b"]));
        let absent = Collector::new(&tree, &mut contents).collect_what_is_there(&list).unwrap();
        assert_eq!(absent, ["no-b", "no-a (package p)"]);
    }

    #[test]
    fn applets_are_whole_names() {
        let busybox = std::fs::read("/bin/busybox").unwrap();
        let names = applet_names(&busybox);
        assert!(names.contains(b"modprobe".as_slice()));
        assert!(!names.contains(b"modprob".as_slice()));
    }
}
