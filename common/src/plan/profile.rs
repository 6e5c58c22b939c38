//! The numeric profile of a worker.

use serde::{Deserialize, Serialize};

/// Everything about a machine and its settings that may move the bits of a result.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NumericProfile {
    /// `cpu`, or the name of the GPU.
    pub device: String,
    pub libtorch: String,
    /// Vector instructions libtorch dispatches to on the CPU.
    pub cpu_capability: String,
    pub threads: u32,
}

impl std::fmt::Display for NumericProfile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}, libtorch {}, {}, {} thread(s)",
            self.device, self.libtorch, self.cpu_capability, self.threads
        )
    }
}
