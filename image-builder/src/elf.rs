//! What a program or library needs to run, read from its ELF file. No program of the target is ever started for it.

use anyhow::{Context, Result};
use goblin::elf::Elf;

/// The needs of one ELF file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    /// The program interpreter (`/lib64/ld-linux-x86-64.so.2`), none for static files and libraries.
    pub interpreter: Option<String>,
    /// Names of shared libraries.
    pub libraries: Vec<String>,
    /// Directories that the file itself adds to the search.
    pub directories: Vec<String>,
}

/// Whether the bytes are an ELF file at all; scripts are not.
pub(crate) fn is_elf(data: &[u8]) -> bool {
    data.starts_with(goblin::elf::header::ELFMAG)
}

/// Reads the needs of the ELF file `data`.
pub(crate) fn needs(data: &[u8]) -> Result<Needs> {
    let elf = Elf::parse(data).context("not a well-formed ELF file")?;
    let directories = elf.rpaths.iter().chain(&elf.runpaths).flat_map(|list| list.split(':'));
    Ok(Needs {
        interpreter: elf.interpreter.map(str::to_owned),
        libraries: elf.libraries.iter().map(|&name| name.to_owned()).collect(),
        directories: directories.filter(|d| d.starts_with('/')).map(str::to_owned).collect(),
    })
}

/// The section `name` of the ELF file `data`, empty when there is none.
pub(crate) fn section<'a>(data: &'a [u8], name: &str) -> Result<&'a [u8]> {
    let elf = Elf::parse(data).context("not a well-formed ELF file")?;
    let Some(header) = elf.section_headers.iter().find(|h| elf.shdr_strtab.get_at(h.sh_name) == Some(name))
    else {
        return Ok(&[]);
    };
    let range = header.file_range().unwrap_or_default();
    data.get(range).with_context(|| format!("section {name} is outside the file"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_real_program_says_what_it_needs() {
        let needs = needs(&std::fs::read("/bin/ls").unwrap()).unwrap();
        assert!(needs.interpreter.is_some_and(|i| i.contains("ld")));
        assert!(needs.libraries.contains(&"libc.so.6".to_owned()), "{:?}", needs.libraries);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let whole = std::fs::read("/bin/ls").unwrap();
        for cut in [4, 20, 64, 100, 4096] {
            assert!(needs(&whole[..cut]).is_err(), "{cut}");
        }
        assert!(!is_elf(b"#!/bin/sh\n"));
    }
}
