//! Loads module files into the running kernel.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::index::{ModuleIndex, canonical};

/// Why a module that is needed is not there.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No file for it.
    #[error("kernel module {module} is not in the initrd and not in the kernel")]
    Unknown {
        /// Its name.
        module: String,
    },
    /// The kernel refused it.
    #[error("loading kernel module {file}")]
    Refused {
        /// Its file.
        file: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Puts one module file into the kernel; a trait so that tests need no kernel.
pub(super) trait Insert: Send + Sync {
    fn insert(&self, file: &Path) -> io::Result<()>;
}

struct Kernel;

impl Insert for Kernel {
    fn insert(&self, file: &Path) -> io::Result<()> {
        let file = std::fs::File::open(file)?;
        match rustix::system::finit_module(file, c"", 0) {
            // Loaded already, by us in another thread or by the kernel itself.
            Ok(()) | Err(rustix::io::Errno::EXIST) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// The modules of the running kernel, and which of them have been loaded. May be used by several threads at once.
pub struct Modules {
    index: ModuleIndex,
    insert: Box<dyn Insert>,
    /// Modules that were tried, with the kernel's refusal if there was one. The lock makes a second thread wait for
    /// a module that the first is loading.
    tried: Mutex<HashMap<String, Option<i32>>>,
}

impl Modules {
    /// Modules of the running kernel.
    ///
    /// # Errors
    /// The initrd has none for it.
    pub fn of_running_kernel() -> io::Result<Self> {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Ok(Self::new(ModuleIndex::load(&Path::new("/lib/modules").join(release))?, Box::new(Kernel)))
    }

    pub(super) fn new(index: ModuleIndex, insert: Box<dyn Insert>) -> Self {
        Self { index, insert, tried: Mutex::default() }
    }

    /// Modules that answer to these device aliases and have not been tried.
    pub(super) fn untried_for<'a>(&self, aliases: impl IntoIterator<Item = &'a str>) -> Vec<String> {
        let tried = self.tried.lock().expect("no holder panics");
        let wanted: HashSet<&str> =
            aliases.into_iter().flat_map(|alias| self.index.modules_for(alias)).collect();
        let mut wanted: Vec<String> =
            wanted.into_iter().filter(|name| !tried.contains_key(*name)).map(str::to_owned).collect();
        wanted.sort();
        wanted
    }

    /// Makes sure that the kernel has `module`, loading what it needs before it.
    ///
    /// # Errors
    /// There is no such module, or the kernel refused it or one that it needs.
    pub fn load(&self, module: &str) -> Result<(), LoadError> {
        if self.index.is_builtin(module) {
            return Ok(());
        }
        let order =
            self.index.load_order(module).ok_or_else(|| LoadError::Unknown { module: module.to_owned() })?;
        for (name, file) in order {
            if self.index.is_builtin(&name) {
                continue;
            }
            self.load_one(name, file)?;
        }
        Ok(())
    }

    fn load_one(&self, name: String, file: PathBuf) -> Result<(), LoadError> {
        let mut tried = self.tried.lock().expect("no holder panics");
        let known = tried.get(&name).copied();
        let refusal = match known {
            Some(refusal) => refusal.map(io::Error::from_raw_os_error),
            None => {
                let outcome = self.insert.insert(&file).err();
                tracing::debug!(module = name, ok = outcome.is_none(), "kernel module");
                let code = outcome.as_ref().map(|error| error.raw_os_error().unwrap_or_default());
                tried.insert(name, code);
                outcome
            }
        };
        refusal.map_or(Ok(()), |source| Err(LoadError::Refused { file, source }))
    }

    /// How many modules were loaded.
    #[must_use]
    pub fn loaded(&self) -> usize {
        self.tried.lock().expect("no holder panics").values().filter(|refusal| refusal.is_none()).count()
    }

    /// Whether the kernel has it built in, or there is a module for it.
    #[must_use]
    pub fn knows(&self, module: &str) -> bool {
        let module = canonical(module);
        self.index.is_builtin(&module) || self.index.load_order(&module).is_some()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::sync::Arc;

    /// Remembers what was inserted, and refuses names with `bad` in them.
    #[derive(Clone, Default)]
    pub(in crate::drivers) struct Recorder(pub(in crate::drivers) Arc<Mutex<Vec<String>>>);

    impl Insert for Recorder {
        fn insert(&self, file: &Path) -> io::Result<()> {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            self.0.lock().unwrap().push(name.clone());
            if name.contains("bad") { Err(io::Error::from_raw_os_error(19)) } else { Ok(()) }
        }
    }

    #[test]
    fn each_module_is_loaded_once_after_what_it_needs() {
        let recorder = Recorder::default();
        let dep = "a.ko: b.ko c.ko\nb.ko: c.ko\nc.ko:\nbad.ko:\nd.ko: bad.ko\n";
        let modules = Modules::new(ModuleIndex::parse(dep, "", "x/e.ko"), Box::new(recorder.clone()));
        modules.load("b").unwrap();
        modules.load("a").unwrap();
        modules.load("e").unwrap();
        assert_eq!(*recorder.0.lock().unwrap(), ["c.ko", "b.ko", "a.ko"]);
        for _ in 0..2 {
            let error = modules.load("d").unwrap_err().to_string();
            assert_eq!(error, "loading kernel module bad.ko");
        }
        assert_eq!(recorder.0.lock().unwrap().len(), 4);
        assert!(matches!(modules.load("nothing"), Err(LoadError::Unknown { .. })));
        assert_eq!(modules.loaded(), 3);
    }
}
