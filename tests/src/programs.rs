//! Where the real programs lie, built before the first is started.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

/// Names the folder of programs that are up to date: `make test` has just built them.
const BUILT: &str = "ANOFPDM_BUILT";

/// A program of this workspace, built in the profile of the tests: once for each test executable cargo makes sure that it is
/// there and not older than the code, which `cargo test` alone does not.
pub fn program(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let built = || std::env::var_os(BUILT).map_or_else(build, PathBuf::from);
    FOLDER.get_or_init(built).join(name)
}

/// Python with nibabel, where `make test` could install it; where not, says that `test` is skipped.
pub fn nibabel(test: &str) -> Option<PathBuf> {
    let python = program("../nifti/bin/python");
    if python.exists() {
        return Some(python);
    }
    println!(
        "skipped: {test}: no {} (scripts/python-tools.sh nifti target/nifti)",
        python.display()
    );
    None
}

/// Builds both programs and returns their folder: target/PROFILE, whether this is target/PROFILE/deps/TEST or a program of
/// this crate beside them.
fn build() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_else(|e| panic!("own path: {e}"));
    let folder = own.parent().unwrap_or(&own);
    let folder = match folder.parent() {
        Some(profile) if folder.ends_with("deps") => profile,
        _ => folder,
    };
    let profile: &[&str] = if folder.ends_with("release") {
        &["--release"]
    } else {
        &[]
    };
    let mut build = Command::new(env!("CARGO"));
    // What cargo says of this package to its tests. Build scripts of dependencies (ring's) ask to run again when it changes,
    // and all that stands on them would be compiled anew, now and at the next call from outside.
    for (name, _) in std::env::vars_os() {
        let told = name.to_string_lossy();
        let of_package = told.starts_with("CARGO_PKG_") || told.starts_with("CARGO_MANIFEST_");
        if of_package || told == "OUT_DIR" {
            build.env_remove(&name);
        }
    }
    let built = build
        // The whole workspace, as `make build` does: a part of it would be built anew with other features.
        .args(["build", "--quiet", "--workspace", "--bins"])
        .args(profile)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        // `make slow-tests` sets it for this process; everything would be built anew with it.
        .env_remove("RUSTC_BOOTSTRAP")
        .status()
        .unwrap_or_else(|e| panic!("cargo: {e}"));
    assert!(built.success(), "the programs do not build: {built}");
    folder.to_path_buf()
}
