//! What `anofpdm-worker --version` tells beside the version: everything that decides bits or speed and that the program
//! can say without touching a device.

use crate::shim::driver::driver;
use crate::shim::nccl;
use crate::torch;

/// True where somebody asks for it: loading CUDA takes seconds, so it is not done for every start.
pub fn is_asked_for(mut arguments: impl Iterator<Item = String>) -> bool {
    arguments.any(|argument| argument == "--version")
}

/// Lines of name and value below the version.
pub fn details(commit: Option<&str>) -> String {
    let cuda = torch::load_cuda();
    let nccl = match &cuda {
        Ok(()) => nccl::load(),
        Err(_) => Err("needs CUDA".to_owned()),
    };
    let driver = match driver().and_then(|driver| driver.cuda_version()) {
        Ok(version) => format!("knows CUDA {}.{}", version / 1000, version % 1000 / 10),
        Err(error) => format!("none ({error})"),
    };
    let loads = |loaded: Result<(), String>| match loaded {
        Ok(()) => "loads".to_owned(),
        Err(reason) => format!("none ({reason})"),
    };
    [
        env!("CARGO_PKG_VERSION").to_owned(),
        format!(
            "commit          {}",
            commit.unwrap_or("not told by the build")
        ),
        format!("libtorch        {}", torch::libtorch_version()),
        format!("CUDA            {}", loads(cuda)),
        format!("NVIDIA driver   {driver}"),
        format!("NCCL            {}", loads(nccl)),
        format!("CPU capability  {}", torch::cpu_capability()),
    ]
    .join("\n")
}
