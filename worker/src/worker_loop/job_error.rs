//! How jobs fail: a class for the queue, the full text for people, and whether this worker is to blame.

use std::any::Any;

use anofpdm_common::error_text::error_text;
use anofpdm_common::queue::ErrorClass;
use anofpdm_common::store::artifacts::ArtifactError;

use crate::backend::BackendError;

use super::store_locator::StoreLocatorError;

/// A job that failed, and what kind of failure it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JobError {
    pub(super) class: ErrorClass,
    pub(super) message: String,
    /// Something is wrong with this worker or its disk: it should pause, or it would fail every shard.
    pub(super) caused_here: bool,
    /// Nobody's fault: the job was called off in the middle of something.
    pub(super) called_off: bool,
    /// This process cannot be relied on any more: it must be started again.
    pub(super) restart: bool,
}

impl JobError {
    /// A failure with its causes. What libtorch says of memory and device outweighs `class`.
    pub(super) fn new(class: ErrorClass, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::text(class, error_text(error))
    }

    /// As [`new`](Self::new), from words.
    pub(super) fn text(class: ErrorClass, message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            class: device_failure(&message).unwrap_or(class),
            message,
            caused_here: false,
            called_off: false,
            restart: false,
        }
    }

    /// The same failure, with its cause in this worker or on its disk.
    pub(super) fn caused_here(self) -> Self {
        Self {
            caused_here: true,
            ..self
        }
    }

    /// The end of a job that was called off.
    pub(super) fn called_off() -> Self {
        Self {
            called_off: true,
            ..Self::text(ErrorClass::Transient, "called off")
        }
    }

    /// The same, after which this process must be started again.
    pub(super) fn restart(self) -> Self {
        Self {
            restart: true,
            ..self
        }
    }

    /// The failure of a job that panicked: the `tch` crate panics where libtorch throws.
    pub(super) fn from_panic(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| payload.downcast_ref::<&str>().copied())
            .unwrap_or("a panic without words");
        Self::text(ErrorClass::Transient, without_frames(text))
    }
}

impl From<ArtifactError> for JobError {
    /// What is missing or damaged here may be whole elsewhere; a disk that refuses is this worker's.
    fn from(error: ArtifactError) -> Self {
        let failure = Self::new(ErrorClass::Transient, &error);
        match error {
            ArtifactError::Disk(_) => failure.caused_here(),
            _ => failure,
        }
    }
}

impl From<BackendError> for JobError {
    fn from(error: BackendError) -> Self {
        let class = match error {
            BackendError::Weights(_) | BackendError::Precision(_) => ErrorClass::BadInput,
            BackendError::Transient(_) => ErrorClass::Transient,
        };
        Self::new(class, &error)
    }
}

impl From<StoreLocatorError> for JobError {
    fn from(error: StoreLocatorError) -> Self {
        Self::new(ErrorClass::Transient, &error).caused_here()
    }
}

/// Whether a text of libtorch says that memory is at its end.
pub(crate) fn is_out_of_memory(text: &str) -> bool {
    device_failure(text) == Some(ErrorClass::OutOfMemory)
}

/// What a text of libtorch says about memory or device, if anything.
fn device_failure(text: &str) -> Option<ErrorClass> {
    const MEMORY: [&str; 6] = [
        "CUDA out of memory",
        "CUDA error: out of memory",
        "DefaultCPUAllocator: can't allocate memory",
        "DefaultCPUAllocator: not enough memory",
        "CUBLAS_STATUS_ALLOC_FAILED",
        "CUDNN_STATUS_ALLOC_FAILED",
    ];
    /// After any of these every later call of this process fails too.
    const LOST: [&str; 13] = [
        "device-side assert triggered",
        "unspecified launch failure",
        "an illegal memory access was encountered",
        "an illegal instruction was encountered",
        "misaligned address",
        "the launch timed out and was terminated",
        "uncorrectable ECC error encountered",
        "uncorrectable NVLink error",
        "hardware stack error",
        "is/are busy or unavailable",
        "no CUDA-capable device is detected",
        "driver shutting down",
        "Invalid access of peer GPU memory over nvlink or a hardware error",
    ];
    let any = |texts: &[&str]| texts.iter().any(|known| text.contains(known));
    if any(&MEMORY) {
        Some(ErrorClass::OutOfMemory)
    } else if text.contains("CUDA error: ") && any(&LOST) {
        Some(ErrorClass::DeviceLost)
    } else {
        None
    }
}

/// libtorch's words without its list of stack frames, which names addresses and no cause. The text comes
/// as Rust prints a string, so its newlines are written out.
fn without_frames(text: &str) -> &str {
    let marks = [
        "\\nException raised from ",
        "\nException raised from ",
        "\\nframe #0: ",
        "\nframe #0: ",
    ];
    marks
        .iter()
        .filter_map(|mark| text.find(mark))
        .min()
        .and_then(|end| text.get(..end))
        .unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use tch::{Device, Kind, Tensor};

    use super::*;

    fn class_of(text: &str) -> ErrorClass {
        JobError::from_panic(&text.to_owned()).class
    }

    #[test]
    fn full_memory() {
        for text in [
            "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.81 GiB of which 11.06 MiB is free.\\nException raised from malloc at /pytorch/c10/cuda/CUDACachingAllocator.cpp:1421 (most recent call first):\\nframe #0: c10::Error::Error\")",
            "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA error: out of memory\\nCUDA kernel errors might be asynchronously reported at some other API call\")",
            "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate 4398046511104 bytes. Error code 12 (Cannot allocate memory)\")",
            "Torch(\"[enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: not enough memory: you tried to allocate 1024 bytes.\")",
            "Torch(\"CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`\")",
        ] {
            assert_eq!(class_of(text), ErrorClass::OutOfMemory, "{text}");
        }
    }

    #[test]
    fn lost_devices() {
        for text in [
            "CUDA error: device-side assert triggered",
            "CUDA error: unspecified launch failure",
            "CUDA error: an illegal memory access was encountered",
            "CUDA error: uncorrectable ECC error encountered",
            "CUDA error: CUDA-capable device(s) is/are busy or unavailable",
            "CUDA error: driver shutting down",
            "CUDA error: the launch timed out and was terminated",
        ] {
            let panic = format!(
                "called `Result::unwrap()` on an `Err` value: Torch(\"{text}\\nCUDA kernel errors might be asynchronously reported at some other API call, so the stacktrace below might be incorrect.\")"
            );
            assert_eq!(class_of(&panic), ErrorClass::DeviceLost, "{text}");
        }
    }

    #[test]
    fn anything_else_may_pass() {
        for text in [
            "called `Result::unwrap()` on an `Err` value: Torch(\"The size of tensor a (3) must match the size of tensor b (4) at non-singleton dimension 0\")",
            "called `Result::unwrap()` on an `Err` value: Torch(\"CUDA error: invalid configuration argument\")",
            "index out of bounds: the len is 3 but the index is 7",
        ] {
            assert_eq!(class_of(text), ErrorClass::Transient, "{text}");
        }
    }

    #[test]
    fn real_panics_are_told_apart() {
        let caught = catch_unwind(|| {
            drop(Tensor::zeros([1 << 50], (Kind::Float, Device::Cpu)));
        });
        let error = JobError::from_panic(caught.unwrap_err().as_ref());
        assert_eq!(error.class, ErrorClass::OutOfMemory, "{}", error.message);
        assert!(!error.message.contains("frame #"), "{}", error.message);

        let caught = catch_unwind(|| {
            drop(Tensor::from_slice(&[1_f32, 2.0]).view([3, 5]));
        });
        let error = JobError::from_panic(caught.unwrap_err().as_ref());
        assert_eq!(error.class, ErrorClass::Transient);
        assert!(error.message.contains("shape"), "{}", error.message);
    }
}
