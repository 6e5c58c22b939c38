//! What the driver's management library (NVML) tells of the GPU of this worker: load, memory, power, energy, clocks.
//!
//! It is opened at run time: a machine without it scores and trains all the same. CUDA's number of a GPU is not NVML's,
//! so the GPU is found by its UUID. Each value is absent by itself where a driver or a GPU does not give it: a slice of a
//! GPU (MIG) has no utilisation.

use std::ffi::OsStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nvml_wrapper::Nvml;
use nvml_wrapper::bitmasks::device::ThrottleReasons;
use nvml_wrapper::error::NvmlError;

/// The name under which every driver installs it; the one without a number belongs to developers' packages.
const LIBRARY: &str = "libnvidia-ml.so.1";

/// A reading is served again for so long: several readers of the metrics ask the driver once.
const FRESH: Duration = Duration::from_secs(1);

/// One GPU. Clones are the same one.
#[derive(Debug, Clone)]
pub struct GpuTelemetry(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    nvml: Nvml,
    uuid: String,
    last: Mutex<Option<(Instant, GpuReading)>>,
}

/// As of now; `None` is what this GPU or driver does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct GpuReading {
    /// Share of the last moments in which a kernel ran, 0 to 1.
    pub utilization: Option<f64>,
    /// Memory in use by whatever process, and all there is, bytes.
    pub memory: Option<(u64, u64)>,
    /// Watts.
    pub power: Option<f64>,
    /// Since the driver was loaded, millijoules.
    pub energy: Option<u64>,
    pub throttled: Option<Throttled>,
}

/// What holds the clocks down.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Throttled {
    /// The limit of power that somebody has set.
    pub power: bool,
    /// Heat.
    pub thermal: bool,
    /// The board: its power supply, or a signal from outside.
    pub hardware: bool,
}

impl GpuTelemetry {
    /// The GPU with this UUID, `GPU-…`. Says in the log why there is nothing to be read.
    pub fn open(uuid: &str) -> Option<Self> {
        Self::open_in(OsStr::new(LIBRARY), uuid)
            .inspect_err(|error| {
                tracing::info!(
                    "no metrics of load, memory and power of GPU {uuid}: {LIBRARY} says: {error}"
                );
            })
            .ok()
    }

    fn open_in(library: &OsStr, uuid: &str) -> Result<Self, NvmlError> {
        let nvml = Nvml::builder().lib_path(library).init()?;
        nvml.device_by_uuid(uuid)?;
        Ok(Self(Arc::new(Opened {
            nvml,
            uuid: uuid.to_owned(),
            last: Mutex::new(None),
        })))
    }

    /// What the driver tells now, or told a moment ago.
    pub fn read(&self) -> GpuReading {
        self.read_at(Instant::now())
    }

    fn read_at(&self, now: Instant) -> GpuReading {
        let mut last = self.0.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((when, reading)) = *last
            && now.saturating_duration_since(when) < FRESH
        {
            return reading;
        }
        let reading = self.0.ask();
        *last = Some((now, reading));
        reading
    }

    /// Since the driver was loaded, millijoules: the difference of two is what happened between them.
    pub fn energy(&self) -> Option<u64> {
        let device = self.0.nvml.device_by_uuid(self.0.uuid.as_str()).ok()?;
        device.total_energy_consumption().ok()
    }
}

impl Opened {
    fn ask(&self) -> GpuReading {
        // A GPU that fell off the bus is not found any more.
        let Ok(device) = self.nvml.device_by_uuid(self.uuid.as_str()) else {
            return GpuReading::default();
        };
        GpuReading {
            utilization: device
                .utilization_rates()
                .ok()
                .map(|rates| f64::from(rates.gpu) / 100.0),
            memory: device
                .memory_info()
                .ok()
                .map(|memory| (memory.used, memory.total)),
            power: device
                .power_usage()
                .ok()
                .map(|milliwatts| f64::from(milliwatts) / 1e3),
            energy: device.total_energy_consumption().ok(),
            throttled: device.current_throttle_reasons().ok().map(Throttled::of),
        }
    }
}

impl Throttled {
    fn of(reasons: ThrottleReasons) -> Self {
        let thermal = ThrottleReasons::SW_THERMAL_SLOWDOWN | ThrottleReasons::HW_THERMAL_SLOWDOWN;
        // `HW_SLOWDOWN` is set together with the hardware's reasons, heat among them.
        let by_heat = reasons.intersects(ThrottleReasons::HW_THERMAL_SLOWDOWN);
        let slowed = reasons.intersects(ThrottleReasons::HW_SLOWDOWN) && !by_heat;
        Self {
            power: reasons.intersects(ThrottleReasons::SW_POWER_CAP),
            thermal: reasons.intersects(thermal),
            hardware: slowed || reasons.intersects(ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN),
        }
    }
}

#[cfg(test)]
mod tests;
