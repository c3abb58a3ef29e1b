//! Finds test data that is too large, or not ours, to keep beside the code.

use std::path::PathBuf;

/// A folder of the unpacked source package of llama-cpp-python below `ARGAND_TEST_DATA`: its `models` hold
/// vocabularies and chat templates. `None`, with a line that says why, when there is none.
pub fn llama_cpp_models(what: &str) -> Option<PathBuf> {
    let Some(root) = std::env::var_os("ARGAND_TEST_DATA").map(PathBuf::from) else {
        eprintln!("skipped {what}: ARGAND_TEST_DATA is not set to a folder with an unpacked llama_cpp_python source");
        return None;
    };
    let inside = std::fs::read_dir(&root).into_iter().flatten().flatten().map(|entry| entry.path());
    let candidates = std::iter::once(root.clone()).chain(inside);
    let found = candidates.map(|dir| dir.join("vendor/llama.cpp/models")).find(|dir| dir.is_dir());
    if found.is_none() {
        eprintln!("skipped {what}: no vendor/llama.cpp/models below {}", root.display());
    }
    found
}
