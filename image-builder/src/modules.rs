//! Chooses kernel modules by list, with everything they need, and writes the index files that module loaders read,
//! for the chosen modules only. Works on a module tree as it lies in a package: no depmod, no running kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::contents::{Contents, Group};
use crate::lists::ModuleList;
use crate::modinfo::{self, ModInfo, canonical};
use crate::tree::read;

/// All modules of one kernel.
#[derive(Debug)]
pub struct ModuleTree {
    directory: PathBuf,
    modules: BTreeMap<String, Module>,
    builtin: BTreeSet<String>,
    /// Aliases without wildcards, to the modules that answer to them.
    aliases: BTreeMap<String, Vec<String>>,
}

#[derive(Debug)]
struct Module {
    /// Relative to the tree's directory.
    path: String,
    info: ModInfo,
}

/// The modules chosen for an initrd.
#[derive(Debug)]
pub struct Selection<'a> {
    tree: &'a ModuleTree,
    /// Names in an order in which they can be loaded.
    order: Vec<String>,
    /// Listed as optional, not in this kernel.
    pub absent: Vec<String>,
}

impl ModuleTree {
    /// Reads what every module below `directory` (`…/lib/modules/<release>`) says about itself.
    ///
    /// # Errors
    /// The directory or a module cannot be read, or there is no module.
    pub fn load(directory: &Path) -> Result<Self> {
        let mut modules = BTreeMap::new();
        let mut files = Vec::new();
        walk(directory, directory, &mut files)?;
        for (name, path) in files {
            let data = modinfo::read_module(&directory.join(&path))?;
            let info = modinfo::parse(&data).with_context(|| format!("reading {path}"))?;
            modules.insert(name, Module { path, info });
        }
        // A kernel may have everything built in; its build says so.
        if modules.is_empty() && !directory.join("modules.builtin").exists() {
            bail!("there is no kernel module below {}", directory.display());
        }
        let mut aliases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (name, module) in &modules {
            for alias in module.info.aliases.iter().filter(|a| !a.contains(['*', '?', '['])) {
                aliases.entry(canonical(alias)).or_default().push(name.clone());
            }
        }
        Ok(Self { directory: directory.to_owned(), modules, builtin: builtin(directory)?, aliases })
    }

    /// Chooses the listed modules and all they need.
    ///
    /// # Errors
    /// Names every module that must be there and is not.
    pub fn select(&self, list: &ModuleList) -> Result<Selection<'_>> {
        let mut selection = Selection { tree: self, order: Vec::new(), absent: Vec::new() };
        let (mut missing, mut seen) = (Vec::new(), BTreeSet::new());
        for group in &list.groups {
            for name in &group.modules {
                if !self.has(name) {
                    missing.push(format!("{name} ({})", group.name));
                }
            }
            selection.absent.extend(group.optional.iter().filter(|name| !self.has(name)).cloned());
            for name in group.modules.iter().chain(&group.optional) {
                self.visit(&canonical(name), &mut selection.order, &mut seen)?;
            }
        }
        if !missing.is_empty() {
            bail!("the kernel in {} lacks these modules: {}", self.directory.display(), missing.join(", "));
        }
        Ok(selection)
    }

    fn has(&self, name: &str) -> bool {
        let name = canonical(name);
        self.modules.contains_key(&name) || self.builtin.contains(&name)
    }

    /// Appends `name` after all that it needs. What is built in or unknown adds nothing.
    fn visit(&self, name: &str, order: &mut Vec<String>, seen: &mut BTreeSet<String>) -> Result<()> {
        let Some(module) = self.modules.get(name) else { return Ok(()) };
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        for wanted in module.info.softdeps.iter().flat_map(|s| modinfo::before(s)) {
            for provider in self.providers(wanted) {
                self.visit(&provider, order, seen)?;
            }
        }
        for needed in &module.info.depends {
            if !self.has(needed) {
                bail!("module {name} needs module {needed}, which is not in {}", self.directory.display());
            }
            self.visit(needed, order, seen)?;
        }
        order.push(name.to_owned());
        Ok(())
    }

    /// Modules that a soft dependency means: one by that name, else all that answer to it. It may mean none.
    fn providers(&self, wanted: &str) -> Vec<String> {
        let name = canonical(wanted);
        if self.has(&name) { vec![name] } else { self.aliases.get(&name).cloned().unwrap_or_default() }
    }
}

impl Selection<'_> {
    /// How many modules were chosen.
    #[must_use]
    pub fn count(&self) -> usize {
        self.order.len()
    }

    /// Adds the modules, uncompressed, and their index files under `/lib/modules/<release>`.
    ///
    /// # Errors
    /// A module cannot be read.
    pub fn add_to(&self, contents: &mut Contents, release: &str) -> Result<()> {
        let base = format!("lib/modules/{release}");
        for name in &self.order {
            let module = &self.tree.modules[name];
            let data = modinfo::read_module(&self.tree.directory.join(&module.path))?;
            contents.add_file(&format!("{base}/{}", plain(&module.path)), Group::Modules, data);
        }
        contents.add_file(&format!("{base}/modules.dep"), Group::Modules, self.dependencies());
        contents.add_file(&format!("{base}/modules.alias"), Group::Modules, self.aliases());
        contents.add_file(&format!("{base}/modules.softdep"), Group::Modules, self.soft_dependencies());
        contents.add_file(&format!("{base}/modules.order"), Group::Modules, self.load_order());
        for copied in ["modules.builtin", "modules.builtin.modinfo"] {
            let path = self.tree.directory.join(copied);
            if path.exists() {
                contents.add_file(&format!("{base}/{copied}"), Group::Modules, read(&path)?);
            }
        }
        Ok(())
    }

    /// Firmware files that the chosen modules may ask for.
    pub fn firmware(&self) -> impl Iterator<Item = &str> {
        self.order.iter().flat_map(|name| self.tree.modules[name].info.firmware.iter().map(String::as_str))
    }

    /// `modules.dep`: every module with all it needs, the first to load last, as modprobe expects.
    fn dependencies(&self) -> String {
        let mut text = String::new();
        for name in &self.order {
            let (mut needs, mut seen) = (Vec::new(), BTreeSet::new());
            self.needs(name, &mut needs, &mut seen);
            let paths: Vec<&str> = needs.iter().rev().map(|n| plain(&self.tree.modules[n].path)).collect();
            let line = format!("{}: {}", plain(&self.tree.modules[name].path), paths.join(" "));
            writeln!(text, "{}", line.trim_end()).expect("writing to a String does not fail");
        }
        text
    }

    fn needs(&self, name: &str, order: &mut Vec<String>, seen: &mut BTreeSet<String>) {
        for needed in &self.tree.modules[name].info.depends {
            if self.tree.modules.contains_key(needed) && seen.insert(needed.clone()) {
                self.needs(needed, order, seen);
                order.push(needed.clone());
            }
        }
    }

    fn aliases(&self) -> String {
        self.lines(|name, info| info.aliases.iter().map(|alias| format!("alias {alias} {name}\n")).collect())
    }

    fn soft_dependencies(&self) -> String {
        self.lines(|name, info| {
            info.softdeps.iter().map(|softdep| format!("softdep {name} {softdep}\n")).collect()
        })
    }

    /// `modules.order`: here a true load order, soft dependencies first, so that a simple loader can follow it.
    fn load_order(&self) -> String {
        self.order.iter().map(|name| format!("{}\n", plain(&self.tree.modules[name].path))).collect()
    }

    fn lines(&self, line: impl Fn(&str, &ModInfo) -> String) -> String {
        self.order.iter().map(|name| line(name, &self.tree.modules[name].info)).collect()
    }
}

/// A module's path without the suffix of its compression.
fn plain(path: &str) -> &str {
    let end = path.rfind(".ko").map_or(path.len(), |dot| dot + ".ko".len());
    &path[..end]
}

/// Module files below `directory`, by name; links (`build`, `source`) are not followed.
fn walk(root: &Path, directory: &Path, found: &mut Vec<(String, String)>) -> Result<()> {
    let reading = || format!("reading {}", directory.display());
    for entry in std::fs::read_dir(directory).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let kind = entry.file_type().with_context(reading)?;
        if kind.is_dir() {
            walk(root, &entry.path(), found)?;
        } else if let Some(name) =
            kind.is_file().then(|| entry.file_name()).and_then(|n| modinfo::name_of_file(n.to_str()?))
        {
            let path = entry.path();
            let path =
                path.strip_prefix(root).expect("the walk started at the root").to_string_lossy().into_owned();
            found.push((name, path));
        }
    }
    Ok(())
}

/// Names and aliases of what is built into the kernel.
fn builtin(directory: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let list = directory.join("modules.builtin");
    if list.exists() {
        let text = String::from_utf8_lossy(&read(&list)?).into_owned();
        let files = text.lines().filter_map(|line| line.rsplit('/').next());
        names.extend(files.filter_map(modinfo::name_of_file));
    }
    let statements = directory.join("modules.builtin.modinfo");
    if statements.exists() {
        let data = read(&statements)?;
        let aliases = modinfo::statements(&data).filter(|(key, _)| key.ends_with(".alias"));
        names.extend(aliases.map(|(_, alias)| canonical(alias)));
    }
    Ok(names)
}
