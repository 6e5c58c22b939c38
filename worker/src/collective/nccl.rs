//! NCCL: ranks on GPUs. Lives in a library beside the program (`libanofpdm_nccl.so`, cargo feature
//! `nccl`), because it needs CUDA, which the program itself does not.

use std::sync::Arc;

use tch::Device;

use super::{CollectiveError, Group, Membership, Rendezvous, Timeouts};
use crate::shim::group::GroupBackend;
use crate::shim::nccl::{LIBRARY, load};

/// Finds the other ranks and connects to them. `device` is this rank's GPU, opened before
/// ([`DeviceSpec::open`](crate::torch::DeviceSpec::open)); no two ranks may share one.
///
/// # Errors
/// When the library is not there, or sees no GPU, or not all ranks appear in time.
pub fn connect(
    membership: Membership,
    rendezvous: Arc<dyn Rendezvous>,
    timeouts: Timeouts,
    device: Device,
) -> Result<Group, CollectiveError> {
    if let Err(reason) = load() {
        return Err(CollectiveError::Library {
            library: LIBRARY,
            reason: format!(
                "{reason} (`make build-nccl`, on a machine with the set of `make setup-gpu`, puts it into the folder \
                 `lib` beside anofpdm-worker)"
            ),
        });
    }
    Group::connect(membership, rendezvous, timeouts, |store, rank, world| {
        // NCCL's own watchdog ends the process: it is to come after the timeout of the group.
        GroupBackend::nccl(store, rank, world, timeouts.operation * 2, device).map_err(|error| {
            CollectiveError::Connect {
                rank: membership.rank,
                world: membership.world,
                reason: error.0,
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collective::MemoryRendezvous;

    #[test]
    fn without_the_library_or_a_gpu_the_error_says_what_to_do() {
        let membership = Membership { rank: 0, world: 1 };
        let rendezvous = Arc::new(MemoryRendezvous::default());
        let timeouts = Timeouts::default();
        // Where both are there, docs/gpu-checklist.md says what is to be seen.
        if let Err(error) = connect(membership, rendezvous, timeouts, Device::Cuda(0)) {
            let message = error.to_string();
            let known = message.contains("make build-nccl") || message.contains("no GPUs found");
            assert!(known, "{message}");
        }
    }
}
