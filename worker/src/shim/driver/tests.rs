//! The driver's functions beside a library that has them and no GPU.

use super::*;
use crate::stub_library::stub_library;

fn stub() -> Driver {
    let (_folder, library) = stub_library(include_str!("stub.c"), &[]);
    Driver::at(&library).unwrap()
}

#[test]
fn a_gpu_says_what_it_is_and_errors_are_named() {
    let driver = stub();
    assert_eq!(driver.cuda_version(), Ok(13_000));
    assert_eq!(driver.name(0).unwrap(), "Stub GPU 16GB");
    let uuid = "GPU-01112131-4151-6171-8191-a1b1c1d1e1f1";
    assert_eq!(driver.uuid(0).unwrap(), uuid);
    assert_eq!(driver.memory(0), Ok(16 << 30));
    assert_eq!(driver.compute_capability(0), Ok([9, 0]));
    let error = driver.name(1).unwrap_err().to_string();
    assert_eq!(error, "the GPU: CUDA_ERROR_INVALID_DEVICE");
}

#[test]
fn kernels_are_loaded_found_and_launched_with_their_arguments() {
    let driver = stub();
    assert_eq!(driver.has_context(), Ok(false));
    // SAFETY: the stub looks at five bytes.
    let error = unsafe { driver.load(b"torn!") }.unwrap_err().to_string();
    assert_eq!(error, "loading a kernel: CUDA_ERROR_INVALID_IMAGE");
    // SAFETY: as above.
    let module = unsafe { driver.load(b"whole") }.unwrap();
    assert_eq!(driver.has_context(), Ok(true));
    // SAFETY: the module is there.
    let error = unsafe { driver.function(module, c"unknown") }.unwrap_err();
    assert_eq!(error.0, "finding a kernel: CUDA_ERROR_NOT_FOUND");
    // SAFETY: as above.
    let function = unsafe { driver.function(module, c"known") }.unwrap();
    let launch = Launch {
        grid: [1, 2, 3],
        block: [4, 5, 6],
    };
    let mut seen = [0_u32; 8];
    let (mut target, mut number) = (seen.as_mut_ptr(), 7_i32);
    let mut arguments = [(&raw mut target).cast(), (&raw mut number).cast()];
    // SAFETY: the stub's kernel takes a pointer to eight numbers and a number.
    unsafe { driver.launch(function, launch, std::ptr::null_mut(), &mut arguments) }.unwrap();
    assert_eq!(seen, [1, 2, 3, 4, 5, 6, 0, 7]);
    // SAFETY: without a function the stub says no.
    let refused = unsafe {
        driver.launch(
            std::ptr::null_mut(),
            launch,
            std::ptr::null_mut(),
            &mut arguments,
        )
    };
    assert_eq!(
        refused.unwrap_err().0,
        "launching a kernel: an unknown error"
    );
}
