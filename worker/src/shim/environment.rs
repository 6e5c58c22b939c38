//! Environment variables that NCCL and c10d read, set where nobody has set them.

/// What each of them is for stands beside it.
const NCCL: [(&str, &str); 5] = [
    // A rank whose operation takes too long would otherwise ask the other ranks, through the rendezvous and for ever, to
    // write down what they did.
    ("TORCH_NCCL_DUMP_ON_TIMEOUT", "0"),
    // c10d notes every operation for such a dump, into the home folder; nothing here reads it.
    ("TORCH_FR_BUFFER_SIZE", "0"),
    ("TORCH_NCCL_TRACE_BUFFER_SIZE", "0"),
    // NCCL's own watchdog waits so long for a dump before it ends the process.
    ("TORCH_NCCL_WAIT_TIMEOUT_DUMP_MILSEC", "1000"),
    // Sums made in the switch between GPUs have no fixed order.
    ("NCCL_ALGO", "^NVLS,NVLSTree"),
];

/// Sets them for this process. To be called first of all in `main`.
pub fn prepare() {
    for (name, value) in NCCL {
        if std::env::var_os(name).is_none() {
            // SAFETY: `main` calls this before there is another thread that could read the environment.
            unsafe { std::env::set_var(name, value) };
        }
    }
}
