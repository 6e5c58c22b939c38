//! Process set-up of libtorch: CUDA loading, devices, threads, versions, and the memory of its tensors.
//!
//! Nothing here computes. It has `unsafe`, as the [shim](crate::shim) has, because loading a shared
//! library, calling a C function and reading memory that C++ owns cannot be checked by the compiler.
#![allow(unsafe_code)]

use std::error::Error;
use std::str::FromStr;
use std::sync::OnceLock;

use anofpdm_common::device::{DeviceName, UnknownDevice};
use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use crate::shim::driver::driver;
use crate::shim::{ShimError, kernel, switches};

pub mod memory;

/// The first driver branch that serves CUDA 13 without a compatibility package (CUDA Toolkit release notes, table of
/// driver versions).
const OLDEST_DRIVER: u32 = 580;

/// What a person asked to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceSpec {
    Cpu,
    /// A CUDA device by its number; `cuda` is number 0.
    Cuda(usize),
}

#[derive(Debug, Clone, thiserror::Error)]
pub enum DeviceError {
    #[error(transparent)]
    Unknown(#[from] UnknownDevice),
    #[error(
        "device {device} asked for, but libtorch_cuda.so does not load: {reason} \
         (install the GPU set with `make setup-gpu`, or use --device cpu)"
    )]
    NoCudaLibrary { device: DeviceSpec, reason: String },
    #[error(
        "device {device} asked for, but {count} CUDA devices are visible: {} (libtorch's CUDA 13 needs driver \
         {OLDEST_DRIVER} or newer; is CUDA_VISIBLE_DEVICES set?)",
        match driver {
            Some(version) => format!("the NVIDIA driver is {version}"),
            None => "no NVIDIA driver is loaded here".to_owned(),
        }
    )]
    NoSuchDevice {
        device: DeviceSpec,
        count: i64,
        /// Version of the driver, where one is loaded.
        driver: Option<String>,
    },
    /// libtorch does not take a setting.
    #[error("device {device} asked for, but libtorch does not take its settings: {error}")]
    Settings {
        device: DeviceSpec,
        error: ShimError,
    },
}

impl FromStr for DeviceSpec {
    type Err = DeviceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(DeviceName::Cpu) => Ok(Self::Cpu),
            Ok(DeviceName::Cuda(number)) => Ok(Self::Cuda(number)),
            Err(unknown) => Err(DeviceError::Unknown(unknown)),
        }
    }
}

impl std::fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
        }
    }
}

impl DeviceSpec {
    /// Makes the device usable and returns it. Call before any other use of libtorch: it caches
    /// whether CUDA is there at the first question.
    pub fn open(self) -> Result<tch::Device, DeviceError> {
        let Self::Cuda(number) = self else {
            return Ok(tch::Device::Cpu);
        };
        load_cuda().map_err(|reason| DeviceError::NoCudaLibrary {
            device: self,
            reason,
        })?;
        let count = tch::Cuda::device_count();
        if !tch::Cuda::is_available() || i64::try_from(number).map_or(true, |n| n >= count) {
            return Err(DeviceError::NoSuchDevice {
                device: self,
                count,
                driver: driver_version(),
            });
        }
        // The choice of algorithm must not depend on timing: same input, same bits.
        tch::Cuda::cudnn_set_benchmark(false);
        switches::keep_comparable().map_err(|error| DeviceError::Settings {
            device: self,
            error,
        })?;
        Ok(tch::Device::Cuda(number))
    }
}

/// What the system's loader said; libloading itself only says which call failed.
pub(crate) fn in_words(error: &libloading::Error) -> String {
    match error.source() {
        Some(reason) => reason.to_string(),
        None => error.to_string(),
    }
}

/// Loads the CUDA half of libtorch once. The linker leaves it out, so that the binary starts on
/// machines without it.
pub(crate) fn load_cuda() -> Result<(), String> {
    static LOADED: OnceLock<Result<(), String>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            // SAFETY: the initialisers of libtorch_cuda only register its kernels and hooks with
            // libtorch_cpu, which is linked and loaded; the bare name is found through the binary's
            // run path or LD_LIBRARY_PATH, as for libtorch_cpu itself.
            let library =
                unsafe { Library::open(Some("libtorch_cuda.so"), RTLD_NOW | RTLD_GLOBAL) }
                    .map_err(|error| in_words(&error))?;
            // The registered hooks are used until the process ends.
            std::mem::forget(library);
            load_compiler();
            Ok(())
        })
        .clone()
}

/// Loads NVRTC, with which cuDNN compiles kernels that it does not bring. It opens its builtins by bare name, so they must
/// be there before; without them cuDNN falls back to other kernels without a word.
fn load_compiler() {
    for name in [kernel::COMPILER_BUILTINS, kernel::COMPILER] {
        match kernel::open(name, RTLD_NOW | RTLD_GLOBAL) {
            // cuDNN uses it until the process ends.
            Ok(library) => std::mem::forget(library),
            Err(reason) => tracing::warn!(
                reason,
                "{name} does not load: cuDNN cannot compile kernels of its own, and may be slower"
            ),
        }
    }
}

/// Version of the NVIDIA driver of this machine, e.g. `580.65.06`, as its kernel module tells it.
fn driver_version() -> Option<String> {
    let text = std::fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    driver_version_in(&text).map(str::to_owned)
}

/// The first word of the first line that is numbers with points between them.
fn driver_version_in(text: &str) -> Option<&str> {
    let version = |word: &&str| {
        word.contains('.')
            && word
                .split('.')
                .all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
    };
    text.lines().next()?.split_whitespace().find(version)
}

/// Threads inside one operation of libtorch. Part of the numeric profile: it sets how sums are split.
pub fn set_threads(threads: i32) {
    tch::set_num_threads(threads.max(1));
}

unsafe extern "C" {
    /// Version of the loaded libtorch: major, minor and patch in the three highest bytes.
    safe fn aoti_torch_abi_version() -> u64;
}

/// What kind of device this is, for the numeric profile: results of one kind are comparable bit by
/// bit. A GPU is named by its model as the driver tells it, so that two of a kind are one class.
pub fn device_class(device: tch::Device) -> String {
    match device {
        tch::Device::Cuda(number) => gpu_name(number)
            .or_else(gpu_models)
            .unwrap_or_else(|| "cuda".to_owned()),
        _ => "cpu".to_owned(),
    }
}

/// The model of this GPU, asked of the driver.
fn gpu_name(number: usize) -> Option<String> {
    let name = driver().ok()?.name(i32::try_from(number).ok()?).ok()?;
    (!name.is_empty()).then_some(name)
}

/// The UUID of a GPU, `GPU-…` as NVML has it: its number is not NVML's.
pub fn gpu_uuid(device: tch::Device) -> Option<String> {
    let tch::Device::Cuda(number) = device else {
        return None;
    };
    driver().ok()?.uuid(i32::try_from(number).ok()?).ok()
}

/// The models of this machine's GPUs, each once, where the driver names none.
fn gpu_models() -> Option<String> {
    let models: std::collections::BTreeSet<String> = std::fs::read_dir("/proc/driver/nvidia/gpus")
        .ok()?
        .filter_map(|gpu| std::fs::read_to_string(gpu.ok()?.path().join("information")).ok())
        .filter_map(|text| {
            let model = text.lines().find_map(|line| line.strip_prefix("Model:"))?;
            Some(model.trim().to_owned())
        })
        .collect();
    (!models.is_empty()).then(|| models.into_iter().collect::<Vec<_>>().join(" + "))
}

/// Memory of the device, bytes: of the GPU, or of the machine for the CPU; `None` where the system does not say.
pub fn memory_bytes(device: tch::Device) -> Option<u64> {
    match device {
        tch::Device::Cuda(number) => gpu_memory(number),
        _ => machine_memory(&std::fs::read_to_string("/proc/meminfo").ok()?),
    }
}

/// The most memory this process has had at once, bytes; `None` where the system does not say.
pub fn peak_process_memory() -> Option<u64> {
    kibibytes(
        &std::fs::read_to_string("/proc/self/status").ok()?,
        "VmHWM:",
    )
}

/// `MemTotal` of `/proc/meminfo`, which counts in KiB.
fn machine_memory(meminfo: &str) -> Option<u64> {
    kibibytes(meminfo, "MemTotal:")
}

/// A value of a list of the kernel's, which counts in KiB, in bytes.
fn kibibytes(list: &str, name: &str) -> Option<u64> {
    let line = list.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Total memory of a GPU, asked of the driver.
fn gpu_memory(number: usize) -> Option<u64> {
    driver().ok()?.memory(i32::try_from(number).ok()?).ok()
}

/// Version of the libtorch in use, e.g. `2.11.0`. Part of the numeric profile.
pub fn libtorch_version() -> String {
    let [major, minor, patch, ..] = aoti_torch_abi_version().to_be_bytes();
    format!("{major}.{minor}.{patch}")
}

/// The vector instructions libtorch chooses on this CPU: `avx512`, `avx2` or `default`.
/// Part of the numeric profile. Follows libtorch's own rule, with its `ATEN_CPU_CAPABILITY` override.
pub fn cpu_capability() -> &'static str {
    let forced = std::env::var("ATEN_CPU_CAPABILITY").unwrap_or_default();
    match forced.as_str() {
        "avx512" => return "avx512",
        "avx2" => return "avx2",
        "default" => return "default",
        _ => {}
    }
    detected_capability()
}

#[cfg(target_arch = "x86_64")]
fn detected_capability() -> &'static str {
    let fma = std::is_x86_feature_detected!("fma");
    if fma
        && std::is_x86_feature_detected!("avx512vl")
        && std::is_x86_feature_detected!("avx512bw")
        && std::is_x86_feature_detected!("avx512dq")
    {
        "avx512"
    } else if fma && std::is_x86_feature_detected!("avx2") {
        "avx2"
    } else {
        "default"
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn detected_capability() -> &'static str {
    "default"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_names() {
        assert_eq!("cpu".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cpu);
        assert_eq!("cuda".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(0));
        assert_eq!("cuda:3".parse::<DeviceSpec>().unwrap(), DeviceSpec::Cuda(3));
        assert_eq!(DeviceSpec::Cuda(3).to_string(), "cuda:3");
        for wrong in ["", "gpu", "cuda:", "cuda:-1", "cuda:x", "CPU"] {
            let message = wrong.parse::<DeviceSpec>().unwrap_err().to_string();
            assert!(message.contains("one of cpu, cuda, cuda:N"), "{message}");
        }
    }

    #[test]
    fn what_the_loader_said_names_the_library() {
        // SAFETY: there is no such library, so nothing is loaded.
        let error = unsafe { Library::open(Some("libnowhere.so.1"), RTLD_NOW) }.unwrap_err();
        let words = in_words(&error);
        assert!(words.starts_with("libnowhere.so.1: cannot open"), "{words}");
    }

    #[test]
    fn a_gpu_that_is_not_there_is_told_with_its_driver() {
        let proprietary = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.183.01  Sun May 12 19:39:15 UTC 2024\n\
            GCC version:  gcc version 12.2.0 (Debian 12.2.0-14)\n";
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\n";
        assert_eq!(driver_version_in(proprietary), Some("535.183.01"));
        assert_eq!(driver_version_in(open), Some("580.65.06"));
        assert_eq!(driver_version_in("NVRM version: none\n12.2.0\n"), None);
        let told = |driver: Option<&str>| {
            let (device, count) = (DeviceSpec::Cuda(0), 0);
            let driver = driver.map(str::to_owned);
            DeviceError::NoSuchDevice {
                device,
                count,
                driver,
            }
            .to_string()
        };
        let old = told(driver_version_in(proprietary));
        assert!(
            old.contains("is 535.183.01") && old.contains("driver 580 or newer"),
            "{old}"
        );
        assert!(told(None).contains("no NVIDIA driver"), "{}", told(None));
    }

    #[test]
    fn memory_of_the_machine() {
        let text = "MemFree:  1 kB\nMemTotal:       16384 kB\nSwapTotal: 2 kB\n";
        assert_eq!(machine_memory(text), Some(16 << 20));
        assert_eq!(machine_memory("MemTotal: many kB"), None);
        assert!(memory_bytes(tch::Device::Cpu).is_some_and(|bytes| bytes > 64 << 20));
    }

    #[test]
    fn version_is_the_pinned_one() {
        assert_eq!(libtorch_version(), "2.11.0");
    }
}
