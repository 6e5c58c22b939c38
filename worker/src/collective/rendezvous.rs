//! Keys in which ranks find each other: set and get are enough for c10d.
//!
//! Gloo and NCCL only ever set keys once and wait for keys of others; what else a `c10d::Store`
//! can do (counting, comparing, deleting) neither of them asks for here. A rendezvous belongs to one
//! generation of a gang: a new one starts empty.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anofpdm_common::queue::rendezvous_store::{KEY_LIMIT, VALUE_LIMIT};

use crate::shim::ShimError;
use crate::shim::store::{Keys, Store};

/// Named values that all ranks of one generation see.
pub trait Rendezvous: std::fmt::Debug + Send + Sync {
    /// Sets `key` (at most [`KEY_LIMIT`] bytes) to `value` (at most [`VALUE_LIMIT`] bytes).
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String>;

    /// The value of `key`; waits up to `wait` for it to be set, `None` where it is not.
    fn get(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>, String>;
}

/// The rendezvous as libtorch uses it. A key that is not set within `timeout` is an error.
pub(super) fn store(
    rendezvous: Arc<dyn Rendezvous>,
    timeout: Duration,
) -> Result<Store, ShimError> {
    let asked = Arc::clone(&rendezvous);
    let keys = Keys {
        set: Box::new(move |key, value| {
            within("key", key.len(), KEY_LIMIT)?;
            within("value", value.len(), VALUE_LIMIT)?;
            rendezvous.set(key, value)
        }),
        get: Box::new(move |key, wait| {
            within("key", key.len(), KEY_LIMIT)?;
            asked.get(key, wait)
        }),
    };
    Store::new(keys, timeout)
}

fn within(what: &str, length: usize, limit: usize) -> Result<(), String> {
    if length > limit {
        return Err(format!(
            "a rendezvous {what} of {length} bytes: at most {limit} are carried"
        ));
    }
    Ok(())
}

/// A rendezvous for ranks that are threads of one process.
#[derive(Debug, Default)]
pub struct MemoryRendezvous {
    values: Mutex<HashMap<String, Vec<u8>>>,
    changed: Condvar,
}

impl Rendezvous for MemoryRendezvous {
    fn set(&self, key: &str, value: &[u8]) -> Result<(), String> {
        self.values
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(key.to_owned(), value.to_vec());
        self.changed.notify_all();
        Ok(())
    }

    fn get(&self, key: &str, wait: Duration) -> Result<Option<Vec<u8>>, String> {
        let start = Instant::now();
        let mut values = self.values.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(value) = values.get(key) {
                return Ok(Some(value.clone()));
            }
            let Some(left) = wait
                .checked_sub(start.elapsed())
                .filter(|left| !left.is_zero())
            else {
                return Ok(None);
            };
            values = self
                .changed
                .wait_timeout(values, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }
}
