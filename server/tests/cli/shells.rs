//! Completion and manual pages, judged by the shells and by mandoc.

use std::path::Path;
use std::process::Command;

/// Links to the program under test, and a shell that has them in its path.
struct Shells {
    directory: tempfile::TempDir,
}

impl Shells {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sysclone"), directory.path().join("sysclone"))
            .unwrap();
        let shells = Self { directory };
        shells.run("bash", "sysclone install-links \"$1\"");
        shells
    }

    fn run(&self, shell: &str, script: &str) -> String {
        let path = std::env::var("PATH").unwrap();
        let here = self.directory.path();
        let mut command = Command::new(shell);
        command.arg("-c").arg(script).args([Path::new("x"), here]).current_dir(here);
        let output = command.env("PATH", format!("{}:{path}", here.display())).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{shell}: {}\n{said}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }

    /// What bash offers when TAB is pressed behind these words, with an empty last one.
    fn offered(&self, words: &str) -> Vec<String> {
        let script = format!(
            "source <(sysclone completions bash); COMP_WORDS=({words} ''); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             COMP_TYPE=9; function=$(complete -p {} | sed 's/.*-F \\([^ ]*\\).*/\\1/'); $function; \
             printf '%s\\n' \"${{COMPREPLY[@]}}\"",
            words.split(' ').next().unwrap()
        );
        self.run("bash", &script).lines().map(str::to_owned).collect()
    }
}

#[test]
fn bash_completes_verbs_and_what_the_grammar_knows() {
    let shells = Shells::new();
    let verbs = shells.offered("sysclone");
    assert!(
        ["nodeset", "image", "imgcapture"].iter().all(|verb| verbs.contains(&(*verb).to_owned())),
        "{verbs:?}"
    );
    assert!(shells.offered("sysclone image").contains(&"checkout".to_owned()));
    assert!(shells.offered("nodeset n1").contains(&"osimage=".to_owned()));
    assert!(shells.offered("lsdef -t").contains(&"osimage".to_owned()));
}

#[test]
fn other_shells_understand_their_scripts() {
    let shells = Shells::new();
    for shell in ["zsh", "fish"] {
        shells.run("bash", &format!("sysclone completions {shell} > script.{shell}"));
        shells.run(shell, &format!("{shell} -n script.{shell}"));
    }
}

#[test]
fn every_verb_has_a_page_that_mandoc_reads() {
    let shells = Shells::new();
    let said = shells.run("bash", "sysclone man-pages pages && mandoc -T lint -W error pages/*.8");
    assert!(said.contains(" pages in pages"), "{said}");
    let page = shells.run("bash", "mandoc -T utf8 pages/nodeset.8 | col -b");
    assert!(page.contains("NODESET(8)") && page.contains("nodeset rack[1-4] osimage=demo"), "{page}");
    let below = shells.run("bash", "mandoc -T utf8 pages/sysclone-image-checkout.8 | col -b");
    assert!(below.contains("sysclone image checkout compute@3 /etc"), "{below}");
}
