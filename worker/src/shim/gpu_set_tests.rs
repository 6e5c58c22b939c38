//! What can be known of the libraries of the GPU set without a GPU. Each needs a process of its own, since libtorch_cuda is
//! to be the first of them: `make test-gpu-set` runs them so.

use std::ffi::{CStr, c_char, c_int};
use std::process::Command;

use anofpdm_common::queue::ErrorClass;
use libloading::os::unix::{RTLD_GLOBAL, RTLD_NOW};

use super::kernel;
use crate::torch::DeviceSpec;
use crate::worker_loop::device_failure::{class_in, is_of_a_gpu};

/// Loads libtorch_cuda as a worker on a GPU does; whether there is a GPU does not matter.
fn load_cuda() {
    if let Err(error) = DeviceSpec::Cuda(0).open() {
        let text = error.to_string();
        assert!(text.contains("0 CUDA devices"), "{text}");
    }
}

/// cuDNN compiles kernels with NVRTC, which finds its builtins only where they are loaded already.
#[test]
#[ignore = "needs the GPU set, in a process of its own: make test-gpu-set"]
fn the_compiler_of_cudnn_is_loaded_with_libtorch() {
    load_cuda();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    for name in [kernel::COMPILER, kernel::COMPILER_BUILTINS] {
        assert!(maps.contains(name), "{name} is not loaded");
    }
    let source =
        "extern \"C\" __global__ void f(float* x) { x[threadIdx.x] = __expf(x[threadIdx.x]); }";
    let image = kernel::compile(source, "sm_90", &[]).unwrap();
    assert!(image.starts_with(b"\x7fELF"));
}

/// The text that `library` has for `code`.
fn text_of(library: &libloading::os::unix::Library, function: &[u8], code: c_int) -> String {
    type TextOf = unsafe extern "C" fn(c_int) -> *const c_char;
    // SAFETY: the functions asked for take the number of a code, any number, and return a constant text.
    unsafe {
        let text = library.get::<TextOf>(function).unwrap()(code);
        CStr::from_ptr(text).to_str().unwrap().to_owned()
    }
}

/// The runtime's names of what ends a device for this process, in the order of driver_types.h.
const LOST: [&str; 33] = [
    "cudaErrorInitializationError",
    "cudaErrorCudartUnloading",
    "cudaErrorStubLibrary",
    "cudaErrorInsufficientDriver",
    "cudaErrorDevicesUnavailable",
    "cudaErrorPriorLaunchFailure",
    "cudaErrorNoDevice",
    "cudaErrorDeviceNotLicensed",
    "cudaErrorSoftwareValidityNotEstablished",
    "cudaErrorStartupFailure",
    "cudaErrorDeviceUninitialized",
    "cudaErrorNoKernelImageForDevice",
    "cudaErrorECCUncorrectable",
    "cudaErrorDeviceAlreadyInUse",
    "cudaErrorNvlinkUncorrectable",
    "cudaErrorContained",
    "cudaErrorIllegalAddress",
    "cudaErrorLaunchTimeout",
    "cudaErrorContextIsDestroyed",
    "cudaErrorAssert",
    "cudaErrorHardwareStackError",
    "cudaErrorIllegalInstruction",
    "cudaErrorMisalignedAddress",
    "cudaErrorInvalidAddressSpace",
    "cudaErrorInvalidPc",
    "cudaErrorLaunchFailure",
    "cudaErrorTensorMemoryLeak",
    "cudaErrorSystemNotReady",
    "cudaErrorSystemDriverMismatch",
    "cudaErrorCompatNotSupportedOnDevice",
    "cudaErrorMpsRpcFailure",
    "cudaErrorMpsClientTerminated",
    "cudaErrorExternalDevice",
];

#[test]
#[ignore = "needs the GPU set: make test-gpu-set"]
fn every_failure_that_the_libraries_know_has_the_class_meant() {
    load_cuda();
    let open = |name| kernel::open(name, RTLD_NOW | RTLD_GLOBAL).unwrap();
    let (runtime, cublas) = (open("libcudart.so.13"), open("libcublas.so.13"));
    let mut seen = 0;
    for code in 1..2_000 {
        let name = text_of(&runtime, b"cudaGetErrorName\0", code);
        if name == "unrecognized error code" {
            continue;
        }
        seen += 1;
        let meant = match name.as_str() {
            "cudaErrorMemoryAllocation" => Some(ErrorClass::OutOfMemory),
            // No name, but the same end.
            "cudaErrorUnknown" => Some(ErrorClass::DeviceLost),
            name if LOST.contains(&name) => Some(ErrorClass::DeviceLost),
            _ => None,
        };
        let words = text_of(&runtime, b"cudaGetErrorString\0", code);
        for text in [
            format!("CUDA error: {words}\nSearch for `{name}'"),
            format!("CUDA driver error: {words}"),
            format!("NCCL error in: x.cpp:1\nLast error:\nCuda failure {code} '{words}'"),
        ] {
            assert_eq!(class_in(&text), meant, "{name}: {text}");
            assert!(is_of_a_gpu(&text), "{text}");
        }
    }
    assert!(seen > 100, "{seen} errors of the runtime");
    let mut statuses = 0;
    // Beside libtorch's other libraries: its own wheel.
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    let loaded = |name: &str| {
        let line = maps.lines().find(|line| line.contains(name));
        line.and_then(|line| line.find('/').map(|at| line[at..].to_owned()))
            .unwrap_or_else(|| panic!("{name} is not loaded"))
    };
    let cudnn = open(&loaded("libcudnn.so.9"));
    for code in 1..6_000 {
        let name = text_of(&cudnn, b"cudnnGetErrorString\0", code);
        if name == "CUDNN_UNKNOWN_STATUS" {
            continue;
        }
        statuses += 1;
        let meant = if name.ends_with("ALLOCATION_FAILED") {
            Some(ErrorClass::OutOfMemory)
        } else if name.starts_with("CUDNN_STATUS_EXECUTION_FAILED") {
            Some(ErrorClass::DeviceLost)
        } else {
            None
        };
        assert_eq!(class_in(&format!("cuDNN error: {name}")), meant, "{name}");
    }
    assert!(statuses > 30, "{statuses} statuses of cuDNN");
    for code in 1..30 {
        let name = text_of(&cublas, b"cublasGetStatusName\0", code);
        let meant = match name.as_str() {
            "CUBLAS_STATUS_ALLOC_FAILED" => Some(ErrorClass::OutOfMemory),
            "CUBLAS_STATUS_EXECUTION_FAILED" => Some(ErrorClass::DeviceLost),
            _ => None,
        };
        let text = format!("CUDA error: {name} when calling `cublasCreate(handle)`");
        assert_eq!(class_in(&text), meant, "{text}");
    }
    println!("{seen} errors of the runtime, {statuses} statuses of cuDNN");
}

/// What `cuobjdump` says of a compiled kernel.
#[derive(Debug)]
struct Budget {
    registers: u32,
    stack: u32,
}

/// The numbers behind `REG:` and `STACK:` of each function.
fn budgets(text: &str) -> Vec<(String, Budget)> {
    let mut found = Vec::new();
    let mut function = String::new();
    for line in text.lines() {
        let line = line.trim();
        if let Some(name) = line.strip_prefix("Function ") {
            function = name.trim_end_matches(':').to_owned();
        }
        let number = |mark: &str| {
            let rest = line.split(mark).nth(1)?;
            rest.split_whitespace().next()?.parse().ok()
        };
        if let (Some(registers), Some(stack)) = (number("REG:"), number("STACK:")) {
            found.push((function.clone(), Budget { registers, stack }));
        }
    }
    found
}

/// Instructions of the longest loop of a function: from the target of a branch back to the branch.
fn longest_loop(sass: &str, function: &str) -> Option<usize> {
    let start = sass.find(&format!("Function : {function}"))?;
    let body = sass.get(start..)?;
    let body = body
        .get(1..)
        .and_then(|rest| rest.find("Function : "))
        .map_or(body, |end| body.get(..end).unwrap_or(body));
    let address = |text: &str| usize::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let mut longest = None;
    for line in body.lines() {
        let Some((at, rest)) = line
            .trim()
            .strip_prefix("/*")
            .and_then(|line| line.split_once("*/"))
        else {
            continue;
        };
        let Some((_, target)) = rest
            .split(';')
            .next()
            .and_then(|rest| rest.split_once("BRA"))
        else {
            continue;
        };
        // Some branches name a predicate before the target.
        let target = target
            .split([' ', ','])
            .filter(|word| word.starts_with("0x"));
        let target = target.filter_map(address).next_back();
        if let (Some(at), Some(target)) = (address(at), target)
            && target < at
        {
            longest = longest.max(Some((at - target) / 16 + 1));
        }
    }
    longest
}

/// The kernels live in registers: a spill, or one register too many for two blocks a multiprocessor, would show in no
/// result.
#[test]
#[ignore = "needs the GPU set and ANOFPDM_CUOBJDUMP: make test-gpu-set"]
fn the_kernels_keep_to_their_registers() {
    let cuobjdump = std::env::var_os("ANOFPDM_CUOBJDUMP").unwrap();
    let folder = tempfile::tempdir().unwrap();
    for architecture in ["sm_80", "sm_90", "sm_100"] {
        for (input, out) in [(0, 0), (1, 1), (1, 0), (2, 2), (2, 0)] {
            let image = super::group_norm::compiled(architecture, input, out).unwrap();
            let path = folder
                .path()
                .join(format!("{architecture}-{input}-{out}.cubin"));
            std::fs::write(&path, image).unwrap();
            let said = |option: &str| {
                let output = Command::new(&cuobjdump)
                    .arg(option)
                    .arg(&path)
                    .output()
                    .unwrap();
                assert!(output.status.success(), "{output:?}");
                String::from_utf8(output.stdout).unwrap()
            };
            let kernels = budgets(&said("--dump-resource-usage"));
            let names: Vec<&str> = kernels.iter().map(|(name, _)| name.as_str()).collect();
            for name in ["moments", "lines", "apply"] {
                assert!(names.contains(&name), "{names:?}");
            }
            for (name, budget) in &kernels {
                assert!(budget.stack == 0, "{architecture} {name}: {budget:?}");
                assert!(budget.registers <= 48, "{architecture} {name}: {budget:?}");
            }
            let length = longest_loop(&said("--dump-sass"), "apply").unwrap();
            println!("{architecture} {input} -> {out}: {kernels:?}, loop of apply {length}");
            assert!(
                (40..=MOST_IN_LOOP).contains(&length),
                "{architecture}: {length}"
            );
        }
    }
}

/// Instructions of `apply`'s loop, which serves four values: 188 to 231 as compiled by NVRTC 13.0 for the kinds and
/// architectures above.
const MOST_IN_LOOP: usize = 240;
