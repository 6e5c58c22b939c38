//! Which machine, boot and process this is, and what time it is there.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::ids::Digest;
use crate::plan::is_worker_name_character;

/// The name of this machine; empty where the system has none.
pub fn host_name() -> String {
    read("/proc/sys/kernel/hostname").trim().to_owned()
}

/// A name no other start of any program has: host, process, and a digest of boot, process namespace
/// and time. A name used twice would let a dead worker's leases pass for a live one's.
pub fn unique_instance_id() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let start = format!(
        "{} {now:?} {:?}",
        process_space(),
        std::thread::current().id()
    );
    let unique = Digest::of(start.as_bytes()).short();
    // A host may be called anything; a worker may not.
    let plain = |c| if is_worker_name_character(c) { c } else { '-' };
    let host: String = host_name().chars().take(64).map(plain).collect();
    format!("{host}-{}-{unique}", std::process::id())
}

/// Twelve digits that no other instance has.
pub fn nonce() -> String {
    Digest::of(unique_instance_id().as_bytes()).short()
}

/// Names this boot and process namespace: a process id says something only inside it.
pub fn process_space() -> String {
    let namespace = std::fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    let mut hasher = blake3::Hasher::new();
    hasher.update(read("/proc/sys/kernel/random/boot_id").as_bytes());
    hasher.update(namespace.as_os_str().as_encoded_bytes());
    Digest::from(hasher.finalize()).short()
}

/// Now, milliseconds of Unix time.
pub fn unix_millis() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_instances_share_a_name() {
        let (a, b) = (unique_instance_id(), unique_instance_id());
        assert_ne!(a, b);
        assert!(a.chars().all(is_worker_name_character), "{a}");
        assert_ne!(nonce(), nonce());
        assert_eq!(process_space(), process_space());
    }
}
