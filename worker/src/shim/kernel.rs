//! CUDA kernels compiled at run time for the GPU that is there: NVRTC and the driver, loaded when asked for.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_LOCAL, RTLD_NOW};
use tch::{Device, Kind, Tensor};

use super::driver::{Status, driver, text};
use super::{ShimError, check, device_number};
use crate::torch::in_words;

pub(crate) const COMPILER: &str = "libnvrtc.so.13";
/// Opened by the compiler under this name, which finds it only if it is loaded already.
pub(crate) const COMPILER_BUILTINS: &str = "libnvrtc-builtins.so.13.0";
/// Where the compiler lies seen from the folder of libtorch's libraries, as both are installed from wheels.
const BESIDE_LIBTORCH: &str = "../../nvidia/cu13/lib";

type Program = *mut c_void;

/// The functions of NVRTC that are used, in the types of nvrtc.h.
struct Compiler {
    create: unsafe extern "C" fn(
        *mut Program,
        *const c_char,
        *const c_char,
        c_int,
        *const *const c_char,
        *const *const c_char,
    ) -> Status,
    compile: unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status,
    log_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    log: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    image_size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    image: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    destroy: unsafe extern "C" fn(*mut Program) -> Status,
    name_of: unsafe extern "C" fn(Status) -> *const c_char,
}

unsafe extern "C" {
    fn anofpdm_current_stream(device: c_int, stream: *mut *mut c_void) -> *mut c_char;
}

/// Opens `name` beside libtorch, where it is of libtorch's version, or wherever the loader finds it.
pub(crate) fn open(name: &str, flags: c_int) -> Result<Library, String> {
    let attempt = |path: &Path| {
        // SAFETY: NVIDIA's libraries depend on nothing of ours when they are initialised.
        unsafe { Library::open(Some(path), flags) }.map_err(|error| in_words(&error))
    };
    let beside = beside_libtorch().and_then(|folder| attempt(&folder.join(name)).ok());
    beside.map_or_else(|| attempt(Path::new(name)), Ok)
}

/// The folder of NVIDIA's libraries, from where the system says that libtorch is loaded from.
fn beside_libtorch() -> Option<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let library = maps
        .lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .find(|path| path.ends_with("/libtorch_cpu.so"))?;
    Some(Path::new(library).parent()?.join(BESIDE_LIBTORCH))
}

/// The function `name` of a library, in whatever type the caller knows it has.
///
/// # Safety
/// `T` must be its type.
pub(super) unsafe fn symbol<T: Copy>(library: &Library, name: &str) -> Result<T, String> {
    // SAFETY: as said above.
    unsafe { library.get::<T>(name.as_bytes()) }
        .map(|symbol| *symbol)
        .map_err(|error| in_words(&error))
}

fn compiler() -> Result<&'static Compiler, ShimError> {
    static LOADED: OnceLock<Result<Compiler, String>> = OnceLock::new();
    LOADED
        .get_or_init(|| {
            let builtins = open(COMPILER_BUILTINS, RTLD_NOW | RTLD_GLOBAL)?;
            let library = open(COMPILER, RTLD_NOW | RTLD_LOCAL)?;
            // SAFETY: the types are those of nvrtc.h, unchanged since CUDA 8; images came with CUDA 11.1.
            let functions = unsafe {
                Compiler {
                    create: symbol(&library, "nvrtcCreateProgram")?,
                    compile: symbol(&library, "nvrtcCompileProgram")?,
                    log_size: symbol(&library, "nvrtcGetProgramLogSize")?,
                    log: symbol(&library, "nvrtcGetProgramLog")?,
                    image_size: symbol(&library, "nvrtcGetCUBINSize")?,
                    image: symbol(&library, "nvrtcGetCUBIN")?,
                    destroy: symbol(&library, "nvrtcDestroyProgram")?,
                    name_of: symbol(&library, "nvrtcGetErrorString")?,
                }
            };
            // Their code runs until the process ends.
            std::mem::forget((builtins, library));
            Ok(functions)
        })
        .as_ref()
        .map_err(|message| ShimError(message.clone()))
}

impl Compiler {
    fn checked(&self, status: Status) -> Result<(), ShimError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: any number is allowed.
        Err(ShimError(text(unsafe { (self.name_of)(status) })))
    }
}

/// Compiles CUDA C++ for an `architecture` such as `sm_90`, with macros such as `KIND=1`; no header is at hand.
/// Needs no GPU.
///
/// # Errors
/// When the compiler cannot be loaded; what it says when the source does not compile.
pub fn compile(source: &str, architecture: &str, macros: &[String]) -> Result<Vec<u8>, ShimError> {
    let compiler = compiler()?;
    let no_zero = |word: &str| CString::new(word).map_err(|error| ShimError(error.to_string()));
    let source = no_zero(source)?;
    let mut options = vec![
        no_zero("--std=c++17")?,
        no_zero(&format!("--gpu-architecture={architecture}"))?,
    ];
    for word in macros {
        options.push(no_zero(&format!("-D{word}"))?);
    }
    let options: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
    let count = c_int::try_from(options.len()).map_err(|error| ShimError(error.to_string()))?;
    let mut program = std::ptr::null_mut();
    // SAFETY: `program` is live, the source ends with a zero and is copied; without headers both lists may be null.
    compiler.checked(unsafe {
        (compiler.create)(
            &raw mut program,
            source.as_ptr(),
            c"kernel.cu".as_ptr(),
            0,
            std::ptr::null(),
            std::ptr::null(),
        )
    })?;
    // SAFETY: the program was made, the options end with zeros and live until the call returns.
    let status = unsafe { (compiler.compile)(program, count, options.as_ptr()) };
    let image = compiler
        .checked(status)
        .map_err(|error| {
            // SAFETY: the program was made.
            let log = unsafe { bytes_of(compiler, compiler.log_size, compiler.log, program) };
            let log = String::from_utf8_lossy(&log.unwrap_or_default())
                .trim_end_matches('\0')
                .to_owned();
            ShimError(format!("{error}: {log}"))
        })
        // SAFETY: the program was compiled.
        .and_then(|()| unsafe { bytes_of(compiler, compiler.image_size, compiler.image, program) });
    // SAFETY: the program was made and is not used afterwards.
    compiler.checked(unsafe { (compiler.destroy)(&raw mut program) })?;
    image
}

/// What a pair of functions says of a program: how many bytes, then the bytes.
///
/// # Safety
/// The program must be one that the functions may be asked about.
unsafe fn bytes_of(
    compiler: &Compiler,
    size: unsafe extern "C" fn(Program, *mut usize) -> Status,
    fill: unsafe extern "C" fn(Program, *mut c_char) -> Status,
    program: Program,
) -> Result<Vec<u8>, ShimError> {
    let mut length = 0;
    // SAFETY: `length` is live.
    compiler.checked(unsafe { size(program, &raw mut length) })?;
    let mut bytes = vec![0_u8; length];
    // SAFETY: as many bytes as asked for are there.
    compiler.checked(unsafe { fill(program, bytes.as_mut_ptr().cast()) })?;
    Ok(bytes)
}

/// The architecture of a GPU as [`compile`] takes it.
///
/// # Errors
/// When the driver does not know the device.
pub fn architecture(device: Device) -> Result<String, ShimError> {
    let [major, minor] = driver()?.compute_capability(device_number(device))?;
    Ok(format!("sm_{major}{minor}"))
}

/// The blocks of a launch and the threads of a block, along x, y and z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    pub grid: [u32; 3],
    pub block: [u32; 3],
}

/// A function on a GPU.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    function: *mut c_void,
    device: Device,
}

// SAFETY: the handle of a loaded function is a number to the driver, which may be called from any thread.
unsafe impl Send for Kernel {}

/// Loads what [`compile`] made onto a GPU, for as long as the process lives, and finds functions in it.
///
/// # Errors
/// The driver's message, when it does not load or has no such function.
pub fn load<const N: usize>(
    image: &[u8],
    names: [&CStr; N],
    device: Device,
) -> Result<[Kernel; N], ShimError> {
    let driver = driver()?;
    stream(device)?;
    // SAFETY: the image was made by the compiler, which wrote its length into it; the device is the current one.
    let module = unsafe { driver.load(image) }?;
    let mut kernels = [Kernel {
        function: std::ptr::null_mut(),
        device,
    }; N];
    for (kernel, name) in kernels.iter_mut().zip(names) {
        // SAFETY: the module was loaded and stays.
        kernel.function = unsafe { driver.function(module, name) }?;
    }
    Ok(kernels)
}

/// The stream of libtorch's operations on `device`, which becomes the current device of this thread.
fn stream(device: Device) -> Result<*mut c_void, ShimError> {
    let mut stream = std::ptr::null_mut();
    // SAFETY: `stream` is live.
    let ask = |stream: *mut *mut c_void| unsafe {
        check(anofpdm_current_stream(device_number(device), stream))
    };
    ask(&raw mut stream)?;
    // libtorch makes no context current where the device is the current one already: a first operation does.
    if !driver()?.has_context()? {
        drop(
            Tensor::f_zeros([1], (Kind::Float, device))
                .map_err(|error| ShimError(error.to_string()))?,
        );
        ask(&raw mut stream)?;
    }
    Ok(stream)
}

impl Kernel {
    /// Runs it after what libtorch has been asked for on this device and thread, and before what comes next.
    ///
    /// # Errors
    /// The driver's message.
    ///
    /// # Safety
    /// `arguments` must point to a value for each parameter, of its size; what they point to on the GPU must be large
    /// enough for what the kernel reads and writes there.
    pub unsafe fn launch(
        &self,
        launch: Launch,
        arguments: &mut [*mut c_void],
    ) -> Result<(), ShimError> {
        let stream = stream(self.device)?;
        // SAFETY: the function was found in a module that stays; the rest the caller promises.
        unsafe { driver()?.launch(self.function, launch, stream, arguments) }
    }
}
