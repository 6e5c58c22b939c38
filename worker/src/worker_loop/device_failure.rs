//! What the texts of libtorch, CUDA, cuDNN, cuBLAS and NCCL say about memory and device: libtorch tells failures in words
//! alone.

use anofpdm_common::queue::ErrorClass;

/// No memory was to be had, whoever says it.
const MEMORY: [&str; 11] = [
    "CUDA out of memory",
    "CUDA_ERROR_OUT_OF_MEMORY",
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    // cuDNN 8.
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
    // No plan of a convolution found room for its workspace: memory is nearly full.
    "GET was unable to find an engine to execute this computation",
    "FIND was unable to find an engine to execute this computation",
    // The run-time compiler, in the words of its header.
    "NVRTC_ERROR_OUT_OF_MEMORY",
];

/// The device did not do what it was told: what else it holds is not to be trusted.
const LOST: [&str; 2] = [
    "CUBLAS_STATUS_EXECUTION_FAILED",
    // Also with an ending that names the library below.
    "CUDNN_STATUS_EXECUTION_FAILED",
];

/// What comes before the runtime's words: from libtorch, from libtorch about the driver, from NCCL.
const RUNTIME: [&str; 3] = ["CUDA error: ", "CUDA driver error: ", "Cuda failure "];

const RUNTIME_MEMORY: &str = "out of memory";

/// The runtime's words (`cudaGetErrorString`) after which every later call of this process fails too, or with which the
/// device serves no program of ours at all.
const RUNTIME_LOST: [&str; 33] = [
    "initialization error",
    "driver shutting down",
    "CUDA driver is a stub library",
    "CUDA driver version is insufficient for CUDA runtime version",
    "CUDA-capable device(s) is/are busy or unavailable",
    "unspecified launch failure",
    "no CUDA-capable device is detected",
    "device doesn't have valid Grid license",
    "integrity checks failed",
    "startup failure in cuda runtime",
    "invalid device context",
    "no kernel image is available for execution on the device",
    "uncorrectable ECC error encountered",
    "exclusive-thread device already in use by a different thread",
    "uncorrectable NVLink error",
    "Invalid access of peer GPU memory over nvlink or a hardware error",
    "an illegal memory access was encountered",
    "the launch timed out and was terminated",
    "context is destroyed",
    "device-side assert triggered",
    "hardware stack error",
    "an illegal instruction was encountered",
    "misaligned address",
    "operation not supported on global/shared address space",
    "invalid program counter",
    "tensor memory not completely freed",
    "system not yet initialized",
    "system has unsupported display driver / cuda driver combination",
    "forward compatibility was attempted on non supported HW",
    "the MPS client has been terminated by the server",
    "an async error has occured in external entity outside of CUDA",
    "unknown error",
    "the remote procedural call between the MPS server and the MPS client failed",
];

/// The same by the driver's names (`cuGetErrorName`), as our own calls of it tell them.
const DRIVER_LOST: [&str; 21] = [
    "CUDA_ERROR_NOT_INITIALIZED",
    "CUDA_ERROR_DEINITIALIZED",
    "CUDA_ERROR_DEVICE_UNAVAILABLE",
    "CUDA_ERROR_NO_DEVICE",
    "CUDA_ERROR_INVALID_CONTEXT",
    "CUDA_ERROR_NO_BINARY_FOR_GPU",
    "CUDA_ERROR_ECC_UNCORRECTABLE",
    "CUDA_ERROR_NVLINK_UNCORRECTABLE",
    "CUDA_ERROR_CONTAINED",
    "CUDA_ERROR_ILLEGAL_ADDRESS",
    "CUDA_ERROR_LAUNCH_TIMEOUT",
    "CUDA_ERROR_CONTEXT_IS_DESTROYED",
    "CUDA_ERROR_ASSERT",
    "CUDA_ERROR_HARDWARE_STACK_ERROR",
    "CUDA_ERROR_ILLEGAL_INSTRUCTION",
    "CUDA_ERROR_MISALIGNED_ADDRESS",
    "CUDA_ERROR_INVALID_ADDRESS_SPACE",
    "CUDA_ERROR_INVALID_PC",
    "CUDA_ERROR_LAUNCH_FAILED",
    "CUDA_ERROR_SYSTEM_NOT_READY",
    "CUDA_ERROR_UNKNOWN",
];

/// Marks of a text about a GPU, whatever it says.
const OF_A_GPU: [&str; 7] = [
    "CUDA",
    "cuDNN",
    "CUDNN_STATUS_",
    "CUBLAS_STATUS_",
    "NVRTC_ERROR_",
    "NCCL",
    "Cuda failure",
];

/// What a text says about memory or device: [`ErrorClass::OutOfMemory`], [`ErrorClass::DeviceLost`] or nothing.
pub fn class_in(text: &str) -> Option<ErrorClass> {
    let any = |texts: &[&str]| texts.iter().any(|known| text.contains(known));
    let said = |words: &[&str]| {
        runtime_words(text).any(|said| words.iter().any(|known| said.starts_with(known)))
    };
    if any(&MEMORY) || said(&[RUNTIME_MEMORY]) {
        Some(ErrorClass::OutOfMemory)
    } else if any(&LOST) || any(&DRIVER_LOST) || said(&RUNTIME_LOST) {
        Some(ErrorClass::DeviceLost)
    } else {
        None
    }
}

/// Whether a text is about a GPU: what happens there may pass by itself, unlike an operation that libtorch refuses.
pub fn is_of_a_gpu(text: &str) -> bool {
    OF_A_GPU.iter().any(|mark| text.contains(mark))
}

/// Where the words of the runtime begin in `text`. NCCL puts a number before them, and marks around.
fn runtime_words(text: &str) -> impl Iterator<Item = &str> {
    RUNTIME.iter().flat_map(move |mark| {
        text.match_indices(mark).filter_map(move |(at, _)| {
            let said = text.get(at + mark.len()..)?;
            Some(said.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ' || c == '\''))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_memory_in_the_words_of_every_library() {
        for text in [
            "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 139.81 GiB",
            "CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported",
            "CUDA driver error: out of memory",
            "a kernel cannot be loaded: CUDA_ERROR_OUT_OF_MEMORY",
            "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
            "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_HOST_ALLOCATION_FAILED",
            "GET was unable to find an engine to execute this computation",
            "FIND was unable to find an engine to execute this computation",
            "NCCL error in: ProcessGroupNCCL.cpp:1, unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'",
            "DefaultCPUAllocator: can't allocate memory: you tried to allocate 4398046511104 bytes",
        ] {
            assert_eq!(class_in(text), Some(ErrorClass::OutOfMemory), "{text}");
        }
    }

    #[test]
    fn lost_devices_in_the_words_of_every_library() {
        for text in RUNTIME_LOST {
            for mark in ["CUDA error: ", "CUDA driver error: ", "Cuda failure 719 '"] {
                let text = format!("Torch(\"{mark}{text}\\nCUDA kernel errors might be\")");
                assert_eq!(class_in(&text), Some(ErrorClass::DeviceLost), "{text}");
            }
        }
        for text in [
            "CUDA error: CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm(handle)`",
            "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED",
            "cuDNN error: CUDNN_STATUS_EXECUTION_FAILED_CUDART",
            "a kernel cannot be launched: CUDA_ERROR_ILLEGAL_ADDRESS",
        ] {
            assert_eq!(class_in(text), Some(ErrorClass::DeviceLost), "{text}");
        }
    }

    #[test]
    fn what_may_pass_is_told_from_what_libtorch_refuses() {
        for (text, of_a_gpu) in [
            ("CUDA error: invalid configuration argument", true),
            (
                "CUDA error: CUBLAS_STATUS_INTERNAL_ERROR when calling `f`",
                true,
            ),
            ("cuDNN error: CUDNN_STATUS_NOT_INITIALIZED", true),
            ("NCCL error in: x.cpp:1, remote process exited", true),
            (
                "The size of tensor a (3) must match the size of tensor b (4)",
                false,
            ),
            // The runtime's words alone are anybody's.
            ("unknown error", false),
            ("out of memory", false),
        ] {
            assert_eq!(class_in(text), None, "{text}");
            assert_eq!(is_of_a_gpu(text), of_a_gpu, "{text}");
        }
    }
}
