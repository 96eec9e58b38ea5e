//! Gives a fuzz target every input that is kept for it. A module of each crate that has targets, so that the ordinary
//! tests hold what fuzzing found.

use std::path::Path;

/// Runs `target` on the inputs in `fuzz/corpus/<name>`; there must be some.
pub(crate) fn replay(name: &str, target: fn(&[u8])) {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let corpus =
        here.ancestors().map(|above| above.join("fuzz/corpus").join(name)).find(|path| path.is_dir());
    let corpus = corpus.unwrap_or_else(|| panic!("there is no fuzz/corpus/{name}: put a real input there"));
    let mut inputs = 0;
    for file in std::fs::read_dir(&corpus).unwrap() {
        let file = file.unwrap().path();
        eprintln!("{}", file.display());
        target(&std::fs::read(&file).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", corpus.display());
}
