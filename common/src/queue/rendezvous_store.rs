//! What the ranks of a training gang tell each other before they can talk directly.
//!
//! Ranks find each other through the queue, so that no worker has to be the one whose loss is everybody's loss. A
//! value is set once by one rank and read by the others: an address, or the identity of a communicator. Values belong
//! to a generation; the first value of a newer one clears all older ones.

use std::collections::BTreeMap;

/// Longest key, bytes.
pub const KEY_LIMIT: usize = 256;
/// Longest value, bytes.
pub const VALUE_LIMIT: usize = 16 << 10;
/// Most values of one generation: two for each pair of 64 ranks.
pub const MOST_ENTRIES: usize = 8_192;

pub fn check_value(key: &str, value: &[u8]) -> Result<(), String> {
    check_key(key)?;
    if value.len() > VALUE_LIMIT {
        return Err(format!(
            "a note of {} bytes, over {VALUE_LIMIT}",
            value.len()
        ));
    }
    Ok(())
}

pub fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("a note without a key".to_owned());
    }
    crate::plan::check_text("the key of a note", key, KEY_LIMIT)
}

/// The values of the newest generation.
#[derive(Debug, Default)]
pub(super) struct RendezvousStore {
    generation: u64,
    values: BTreeMap<String, Vec<u8>>,
}

impl RendezvousStore {
    /// Sets a value. One of an older generation goes nowhere: its rank is about to hear that it is not wanted.
    /// True unless there is no room.
    pub(super) fn set(&mut self, generation: u64, key: &str, value: Vec<u8>) -> bool {
        if generation > self.generation {
            self.generation = generation;
            self.values.clear();
        }
        if generation < self.generation {
            return true;
        }
        if self.values.len() >= MOST_ENTRIES && !self.values.contains_key(key) {
            return false;
        }
        self.values.insert(key.to_owned(), value);
        true
    }

    /// A value, if it is set.
    pub(super) fn get(&self, generation: u64, key: &str) -> Option<&[u8]> {
        if generation != self.generation {
            return None;
        }
        self.values.get(key).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_generation_clears_the_older() {
        let mut store = RendezvousStore::default();
        assert!(store.set(5, "a", vec![1]));
        assert_eq!(store.get(5, "a"), Some([1].as_slice()));
        assert_eq!(store.get(5, "b"), None);
        assert_eq!(store.get(6, "a"), None);
        assert!(store.set(6, "b", vec![2]));
        assert_eq!(store.get(5, "a"), None);
        assert_eq!(store.get(6, "a"), None);
        assert!(store.set(5, "late", vec![3]), "without effect, no error");
        assert_eq!(store.get(6, "late"), None);
        assert_eq!(store.get(6, "b"), Some([2].as_slice()));
    }

    #[test]
    fn the_store_is_bounded() {
        let mut store = RendezvousStore::default();
        assert!((0..MOST_ENTRIES).all(|n| store.set(1, &n.to_string(), Vec::new())));
        assert!(!store.set(1, "one more", Vec::new()));
        assert!(store.set(1, "0", vec![1]), "in place of another");
        assert!(check_value("k", &vec![0; VALUE_LIMIT]).is_ok());
        assert!(check_value("k", &vec![0; VALUE_LIMIT + 1]).is_err());
        for key in ["", "a\nb", &"k".repeat(KEY_LIMIT + 1)] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
    }
}
