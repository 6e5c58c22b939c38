//! Compiles the shim of libtorch's C++ interface, and gives the binaries, tests and benches of this
//! crate a run path to libtorch, so that `cargo run` and `cargo test` work without LD_LIBRARY_PATH.

use std::path::{Path, PathBuf};

/// The shim in the program: what every machine has.
const SOURCE: &str = "shim/shim.cpp";
/// The shim beside it: what needs CUDA.
const NCCL_SOURCE: &str = "shim/nccl.cpp";
const NCCL_LIBRARY: &str = "libanofpdm_nccl.so";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=shim");
    // Clippy links nothing, and its builds share nothing with others.
    if std::env::var_os("CLIPPY_ARGS").is_some() {
        return;
    }
    if let Ok(lib) = std::env::var("DEP_TCH_LIBTORCH_LIB") {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{lib}");
        if let Some(libtorch) = Path::new(&lib).parent() {
            compiler(libtorch)
                .define("USE_C10D_GLOO", None)
                .file(SOURCE)
                .compile("anofpdm_shim");
            // libtorch_cuda has a Gloo of its own, and torch-sys names it first: with the GPU set the linker would take
            // the shim's few symbols of Gloo there, and the program would need CUDA to start.
            println!("cargo:rustc-link-search=native={lib}");
            println!("cargo:rustc-link-lib=dylib=torch_cpu");
            if std::env::var_os("CARGO_FEATURE_NCCL").is_some() {
                build_nccl(libtorch);
            }
        }
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,$ORIGIN/lib");
}

fn compiler(libtorch: &Path) -> cc::Build {
    let include = libtorch.join("include");
    let mut build = cc::Build::new();
    build
        .cpp(true)
        .std("c++17")
        .opt_level(1)
        .warnings(false)
        .include("shim")
        .include(include.join("torch/csrc/api/include"))
        .include(include);
    build
}

/// A library of its own in the build folder, which the run path then names.
fn build_nccl(libtorch: &Path) {
    let nvidia = libtorch.join("nvidia");
    let folder = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut command = compiler(libtorch)
        .include(nvidia.join("cu13/include"))
        .include(nvidia.join("nccl/include"))
        .define("USE_C10D_NCCL", None)
        .define("USE_NCCL", None)
        .pic(true)
        .get_compiler()
        .to_command();
    let status = command
        .args(["-w", "-shared", NCCL_SOURCE, "-o"])
        .arg(folder.join(NCCL_LIBRARY))
        .arg("-L")
        .arg(libtorch.join("lib"))
        .arg("-L")
        .arg(nvidia.join("cu13/lib"))
        .args(["-Wl,--no-as-needed", "-ltorch_cuda", "-lc10_cuda"])
        .args(["-ltorch_cpu", "-lc10", "-l:libcudart.so.13"])
        .args(["-Wl,-z,defs", "-Wl,--allow-shlib-undefined"])
        .status();
    match status {
        Ok(status) if status.success() => {}
        outcome => panic!(
            "{NCCL_LIBRARY} cannot be built ({outcome:?}): the feature nccl needs the headers and libraries of \
             `make setup-gpu` under {}",
            nvidia.display()
        ),
    }
    println!("cargo:rustc-link-arg=-Wl,-rpath,{}", folder.display());
}
