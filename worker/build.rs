//! Compiles the shim of libtorch's C++ interface, and gives the binaries, tests and benches of this
//! crate a run path to libtorch, so that `cargo run` and `cargo test` work without LD_LIBRARY_PATH.

use std::path::{Path, PathBuf};

/// The shim in the program: what every machine has.
const SOURCES: [&str; 2] = ["shim/group.cpp", "shim/training.cpp"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=shim");
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
        if let Some(libtorch) = Path::new(&lib).parent() {
            compile_shim(&libtorch.join("include"));
        }
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/lib");
}

fn compile_shim(libtorch: &Path) {
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .opt_level(1)
        .warnings(false)
        .include("shim")
        .include(libtorch)
        .include(PathBuf::from(libtorch).join("torch/csrc/api/include"))
        .define("USE_C10D_GLOO", None)
        .files(SOURCES)
        .compile("anofpdm_shim");
}
