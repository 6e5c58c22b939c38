//! Libraries that pretend to be the driver's, for tests.

use std::path::PathBuf;
use std::process::Command;

/// `source`, C, compiled with these options; the library lies in the folder and goes with it.
pub(crate) fn stub_library(source: &str, options: &[&str]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("stub.c");
    let library = folder.path().join("libstub.so");
    std::fs::write(&text, source).unwrap();
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &text])
        .args(options)
        .status();
    assert!(compiled.unwrap().success());
    (folder, library)
}
