//! What the checks run on.

use serde::Serialize;
use tch::Device;

use super::setting::Setting;
use crate::shim::driver::driver;
use crate::shim::switches::Switches;
use crate::torch;

/// Everything that a report of a bug should say of the machine.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    program: &'static str,
    libtorch: String,
    device: String,
    cpu: Option<String>,
    cpu_capability: &'static str,
    cores: usize,
    threads: u32,
    memory_bytes: Option<u64>,
    /// Null without one.
    gpu: Option<Gpu>,
    /// Switches that are on, in words.
    switches: Vec<&'static str>,
}

/// What is known of the GPU; null where nobody says.
#[derive(Debug, Serialize)]
struct Gpu {
    driver: Option<String>,
    /// The newest CUDA of the driver, e.g. 13000.
    driver_cuda: Option<i32>,
    uuid: Option<String>,
    compute_capability: Option<String>,
    visible: i64,
    cudnn: i64,
    /// Why trainings on several GPUs are not to be had; null where they are.
    nccl: Option<String>,
}

impl Machine {
    pub(super) fn of(setting: &Setting) -> Self {
        Self {
            program: env!("CARGO_PKG_VERSION"),
            libtorch: torch::libtorch_version(),
            device: torch::device_class(setting.device),
            cpu: cpu_model(&std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
            cpu_capability: torch::cpu_capability(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            threads: setting.threads,
            memory_bytes: torch::memory_bytes(setting.device),
            gpu: match setting.device {
                Device::Cuda(number) => Some(Gpu::of(i32::try_from(number).unwrap_or(0))),
                _ => None,
            },
            switches: switched_on(),
        }
    }
}

impl Gpu {
    fn of(number: i32) -> Self {
        let version = std::fs::read_to_string("/proc/driver/nvidia/version");
        let driver = driver().ok();
        Self {
            driver: version
                .ok()
                .and_then(|text| Some(text.lines().next()?.trim().to_owned())),
            driver_cuda: driver.and_then(|driver| driver.cuda_version().ok()),
            uuid: driver.and_then(|driver| driver.uuid(number).ok()),
            compute_capability: driver.and_then(|driver| {
                let [major, minor] = driver.compute_capability(number).ok()?;
                Some(format!("{major}.{minor}"))
            }),
            visible: tch::Cuda::device_count(),
            cudnn: tch::utils::version_cudnn(),
            nccl: crate::shim::nccl::load().err(),
        }
    }
}

/// `model name` of `/proc/cpuinfo`.
fn cpu_model(text: &str) -> Option<String> {
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn switched_on() -> Vec<&'static str> {
    let Ok(on) = Switches::read() else {
        return Vec::new();
    };
    [
        (on.tf32_products, "TF32 in products"),
        (on.tf32_convolutions, "TF32 in convolutions"),
        (on.wide_reductions, "split products added in float32"),
        (on.deterministic_cudnn, "deterministic cuDNN"),
        (on.deterministic_algorithms, "deterministic algorithms"),
    ]
    .into_iter()
    .filter_map(|(on, name)| on.then_some(name))
    .collect()
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const MEBI: u64 = 1 << 20;
        let unknown = || "unknown".to_owned();
        writeln!(
            f,
            "anofpdm-worker {}, libtorch {}",
            self.program, self.libtorch
        )?;
        let memory = self
            .memory_bytes
            .map_or_else(unknown, |bytes| format!("{} MiB", bytes / MEBI));
        writeln!(f, "device    {}, memory {memory}", self.device)?;
        let cpu = self.cpu.clone().unwrap_or_else(unknown);
        writeln!(
            f,
            "cpu       {cpu}, {}, {} core(s), {} thread(s) used",
            self.cpu_capability, self.cores, self.threads
        )?;
        if let Some(gpu) = &self.gpu {
            let text = |value: &Option<String>| value.clone().unwrap_or_else(unknown);
            let cuda = gpu.driver_cuda.map_or_else(unknown, |v| v.to_string());
            writeln!(f, "driver    {} (CUDA {cuda})", text(&gpu.driver))?;
            writeln!(
                f,
                "gpu       {}, compute capability {}, {} visible, cuDNN {}",
                text(&gpu.uuid),
                text(&gpu.compute_capability),
                gpu.visible,
                gpu.cudnn
            )?;
            let nccl = gpu.nccl.as_deref().unwrap_or("there");
            writeln!(f, "nccl      {nccl}")?;
        }
        writeln!(f, "switches  {}", self.switches.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_names_itself() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\n";
        assert_eq!(cpu_model(text).as_deref(), Some("Some CPU @ 2 GHz"));
        assert_eq!(cpu_model(""), None);
        let machine = Machine::of(&Setting::quick_cpu().unwrap());
        let said = machine.to_string();
        assert!(
            said.contains("libtorch 2.11.0") && !said.contains("gpu"),
            "{said}"
        );
    }
}
