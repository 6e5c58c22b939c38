//! Gloo: ranks on CPUs, over TCP.

use std::sync::Arc;

use super::{CollectiveError, Group, Membership, Rendezvous, Timeouts};
use crate::shim::group::GroupBackend;
pub use crate::shim::group::Listen;

/// The address for ranks of one machine.
pub const LOOPBACK: &str = "127.0.0.1";

/// Finds the other ranks and connects to them. They must reach the address that `listen` names.
///
/// # Errors
/// When not all ranks appear in time or cannot be reached.
pub fn connect(
    membership: Membership,
    rendezvous: Arc<dyn Rendezvous>,
    timeouts: Timeouts,
    listen: &Listen,
) -> Result<Group, CollectiveError> {
    Group::connect(membership, rendezvous, timeouts, |store, rank, world| {
        GroupBackend::gloo(
            store,
            rank,
            world,
            timeouts.connect,
            timeouts.operation,
            listen,
        )
        .map_err(|error| CollectiveError::Connect {
            rank: membership.rank,
            world: membership.world,
            reason: error.0,
        })
    })
}
