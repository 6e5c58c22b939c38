//! NVIDIA's driver, loaded when asked for: what a GPU is, and kernels on it.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};

use super::ShimError;
use super::kernel::{Launch, open, symbol};

const DRIVER: &str = "libcuda.so.1";
/// Bytes of a name, its zero among them.
const NAME: usize = 256;

pub(super) type Status = c_int;

/// The functions of the driver that are used, in the types of cuda.h, unchanged since CUDA 11.4.
pub(crate) struct Driver {
    init: unsafe extern "C" fn(c_uint) -> Status,
    version: unsafe extern "C" fn(*mut c_int) -> Status,
    get: unsafe extern "C" fn(*mut c_int, c_int) -> Status,
    name: unsafe extern "C" fn(*mut c_char, c_int, c_int) -> Status,
    uuid: unsafe extern "C" fn(*mut [u8; 16], c_int) -> Status,
    total_memory: unsafe extern "C" fn(*mut usize, c_int) -> Status,
    attribute: unsafe extern "C" fn(*mut c_int, c_int, c_int) -> Status,
    context: unsafe extern "C" fn(*mut *mut c_void) -> Status,
    load: unsafe extern "C" fn(*mut *mut c_void, *const c_void) -> Status,
    function: unsafe extern "C" fn(*mut *mut c_void, *mut c_void, *const c_char) -> Status,
    launch: unsafe extern "C" fn(
        *mut c_void,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        c_uint,
        *mut c_void,
        *mut *mut c_void,
        *mut *mut c_void,
    ) -> Status,
    name_of: unsafe extern "C" fn(Status, *mut *const c_char) -> Status,
}

/// A text of NVIDIA's that lives as long as its library.
pub(super) fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return "an unknown error".to_owned();
    }
    // SAFETY: the libraries return constant strings that end with a zero.
    unsafe { CStr::from_ptr(pointer) }
        .to_string_lossy()
        .into_owned()
}

/// The driver of this machine, initialised. Loaded once; it stays until the process ends.
///
/// # Errors
/// When there is none, or it says no.
pub(crate) fn driver() -> Result<&'static Driver, ShimError> {
    static LOADED: OnceLock<Result<Driver, String>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            let library = open(DRIVER, RTLD_NOW | RTLD_GLOBAL)?;
            Driver::of(library).map_err(|error| error.0)
        })
        .as_ref()
        .map_err(|message| ShimError(message.clone()))
}

impl Driver {
    /// Of a library that stays loaded.
    fn of(library: Library) -> Result<Self, ShimError> {
        // SAFETY: the types are those of cuda.h.
        let functions: Result<Self, String> = unsafe {
            (|| {
                Ok(Self {
                    init: symbol(&library, "cuInit")?,
                    version: symbol(&library, "cuDriverGetVersion")?,
                    get: symbol(&library, "cuDeviceGet")?,
                    name: symbol(&library, "cuDeviceGetName")?,
                    uuid: symbol(&library, "cuDeviceGetUuid")?,
                    total_memory: symbol(&library, "cuDeviceTotalMem_v2")?,
                    attribute: symbol(&library, "cuDeviceGetAttribute")?,
                    context: symbol(&library, "cuCtxGetCurrent")?,
                    load: symbol(&library, "cuModuleLoadData")?,
                    function: symbol(&library, "cuModuleGetFunction")?,
                    launch: symbol(&library, "cuLaunchKernel")?,
                    name_of: symbol(&library, "cuGetErrorName")?,
                })
            })()
        };
        let driver = functions.map_err(ShimError)?;
        // Its code runs until the process ends.
        std::mem::forget(library);
        // SAFETY: no flag is known; a second time is allowed.
        driver.checked("the driver", unsafe { (driver.init)(0) })?;
        Ok(driver)
    }

    /// Of a library by its path, for tests.
    #[cfg(test)]
    pub(super) fn at(path: &std::path::Path) -> Result<Self, ShimError> {
        // SAFETY: a test's own library, without initialisers.
        let library = unsafe { Library::open(Some(path), RTLD_NOW) };
        Self::of(library.map_err(|error| ShimError(crate::torch::in_words(&error)))?)
    }

    fn checked(&self, what: &str, status: Status) -> Result<(), ShimError> {
        if status == 0 {
            return Ok(());
        }
        let mut name = std::ptr::null();
        // SAFETY: `name` is live; it stays null for an unknown number.
        unsafe { (self.name_of)(status, &raw mut name) };
        Err(ShimError(format!("{what}: {}", text(name))))
    }

    /// The driver's handle of GPU `number`; visible GPUs are numbered as libtorch does.
    fn device(&self, number: i32) -> Result<c_int, ShimError> {
        let mut device = 0;
        // SAFETY: `device` is live.
        self.checked("the GPU", unsafe { (self.get)(&raw mut device, number) })?;
        Ok(device)
    }

    /// The newest CUDA that the driver serves, e.g. 13000.
    pub(crate) fn cuda_version(&self) -> Result<i32, ShimError> {
        let mut version = 0;
        // SAFETY: `version` is live.
        let status = unsafe { (self.version)(&raw mut version) };
        self.checked("version of the driver", status)?;
        Ok(version)
    }

    /// The model of a GPU, e.g. `NVIDIA H100 80GB HBM3`.
    pub(crate) fn name(&self, number: i32) -> Result<String, ShimError> {
        let device = self.device(number)?;
        let mut bytes = [0_u8; NAME];
        let length = c_int::try_from(bytes.len()).unwrap_or(0);
        // SAFETY: as many bytes as said are there.
        let status = unsafe { (self.name)(bytes.as_mut_ptr().cast(), length, device) };
        self.checked("name of the GPU", status)?;
        let name =
            CStr::from_bytes_until_nul(&bytes).map_err(|error| ShimError(error.to_string()))?;
        Ok(name.to_string_lossy().trim().to_owned())
    }

    /// The UUID of a GPU as `nvidia-smi -L` writes it.
    pub(crate) fn uuid(&self, number: i32) -> Result<String, ShimError> {
        let device = self.device(number)?;
        let mut bytes = [0_u8; 16];
        // SAFETY: a CUuuid is 16 bytes.
        let status = unsafe { (self.uuid)(&raw mut bytes, device) };
        self.checked("UUID of the GPU", status)?;
        let mut text = "GPU-".to_owned();
        for (index, byte) in bytes.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                text.push('-');
            }
            text.push_str(&format!("{byte:02x}"));
        }
        Ok(text)
    }

    /// All memory of a GPU, bytes.
    pub(crate) fn memory(&self, number: i32) -> Result<u64, ShimError> {
        let device = self.device(number)?;
        let mut bytes = 0_usize;
        // SAFETY: `bytes` is live.
        let status = unsafe { (self.total_memory)(&raw mut bytes, device) };
        self.checked("memory of the GPU", status)?;
        Ok(bytes as u64)
    }

    /// Major and minor number of a GPU's architecture.
    pub(crate) fn compute_capability(&self, number: i32) -> Result<[i32; 2], ShimError> {
        // cuda.h: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
        const PARTS: [c_int; 2] = [75, 76];
        let device = self.device(number)?;
        let mut numbers = [0; 2];
        for (number, part) in numbers.iter_mut().zip(PARTS) {
            // SAFETY: `number` is live.
            let status = unsafe { (self.attribute)(number, part, device) };
            self.checked("architecture of the GPU", status)?;
        }
        Ok(numbers)
    }

    /// Whether this thread has a current context, without which nothing can be loaded or launched.
    pub(super) fn has_context(&self) -> Result<bool, ShimError> {
        let mut context = std::ptr::null_mut();
        // SAFETY: `context` is live.
        let status = unsafe { (self.context)(&raw mut context) };
        self.checked("context of the GPU", status)?;
        Ok(!context.is_null())
    }

    /// Loads an image onto the GPU of the current context.
    ///
    /// # Safety
    /// The image must be whole: its length stands in it.
    pub(super) unsafe fn load(&self, image: &[u8]) -> Result<*mut c_void, ShimError> {
        let mut module = std::ptr::null_mut();
        // SAFETY: `module` is live; the rest the caller promises.
        let status = unsafe { (self.load)(&raw mut module, image.as_ptr().cast()) };
        self.checked("loading a kernel", status)?;
        Ok(module)
    }

    /// The function `name` of a module.
    ///
    /// # Safety
    /// The module must have been loaded and stay.
    pub(super) unsafe fn function(
        &self,
        module: *mut c_void,
        name: &CStr,
    ) -> Result<*mut c_void, ShimError> {
        let mut function = std::ptr::null_mut();
        // SAFETY: as said above; the name ends with a zero.
        let status = unsafe { (self.function)(&raw mut function, module, name.as_ptr()) };
        self.checked("finding a kernel", status)?;
        Ok(function)
    }

    /// Asks for a kernel to be run in `stream`.
    ///
    /// # Safety
    /// `function` must be one of [`Driver::function`], `arguments` point to a value for each of its parameters, of its
    /// size, and what they point to on the GPU be large enough.
    pub(super) unsafe fn launch(
        &self,
        function: *mut c_void,
        launch: Launch,
        stream: *mut c_void,
        arguments: &mut [*mut c_void],
    ) -> Result<(), ShimError> {
        let ([x, y, z], [width, height, depth]) = (launch.grid, launch.block);
        // SAFETY: as said above. The arguments are copied before the call returns.
        let status = unsafe {
            (self.launch)(
                function,
                x,
                y,
                z,
                width,
                height,
                depth,
                0,
                stream,
                arguments.as_mut_ptr(),
                std::ptr::null_mut(),
            )
        };
        self.checked("launching a kernel", status)
    }
}

#[cfg(test)]
mod tests;
