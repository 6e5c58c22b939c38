//! What the ranks of a training gang tell each other before they can talk directly.
//!
//! Ranks find each other through the queue, so that no worker has to be the one whose loss is everybody's
//! (DESIGN 9). A note is written once by one rank and read by the others: an address, or the identity of a
//! communicator. Notes belong to a generation; the first note of a newer one takes all older notes down.

use std::collections::BTreeMap;

/// Longest key of a note, bytes.
pub const KEY_LIMIT: usize = 256;
/// Longest note, bytes.
pub const NOTE_LIMIT: usize = 16 << 10;
/// Most notes of one generation: two for each pair of 64 ranks.
pub const MOST_NOTES: usize = 8_192;

/// Checks that a note is small.
///
/// # Errors
/// What is wrong with it.
pub fn check_note(key: &str, note: &[u8]) -> Result<(), String> {
    check_key(key)?;
    if note.len() > NOTE_LIMIT {
        return Err(format!("a note of {} bytes, over {NOTE_LIMIT}", note.len()));
    }
    Ok(())
}

/// Checks that a key is one.
///
/// # Errors
/// What is wrong with it.
pub fn check_key(key: &str) -> Result<(), String> {
    if key.is_empty() {
        return Err("a note without a key".to_owned());
    }
    crate::work::check_text("the key of a note", key, KEY_LIMIT)
}

/// The notes of the newest generation.
#[derive(Debug, Default)]
pub(super) struct Board {
    generation: u64,
    notes: BTreeMap<String, Vec<u8>>,
}

impl Board {
    /// Puts a note up. One of an older generation goes nowhere: its rank is about to hear that it is not wanted.
    /// True unless there is no room.
    pub(super) fn post(&mut self, generation: u64, key: &str, note: Vec<u8>) -> bool {
        if generation > self.generation {
            self.generation = generation;
            self.notes.clear();
        }
        if generation < self.generation {
            return true;
        }
        if self.notes.len() >= MOST_NOTES && !self.notes.contains_key(key) {
            return false;
        }
        self.notes.insert(key.to_owned(), note);
        true
    }

    /// A note, if it is up.
    pub(super) fn read(&self, generation: u64, key: &str) -> Option<&[u8]> {
        if generation != self.generation {
            return None;
        }
        self.notes.get(key).map(Vec::as_slice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_generation_takes_the_old_notes_down() {
        let mut board = Board::default();
        assert!(board.post(5, "a", vec![1]));
        assert_eq!(board.read(5, "a"), Some([1].as_slice()));
        assert_eq!(board.read(5, "b"), None);
        assert_eq!(board.read(6, "a"), None);
        assert!(board.post(6, "b", vec![2]));
        assert_eq!(board.read(5, "a"), None);
        assert_eq!(board.read(6, "a"), None);
        assert!(board.post(5, "late", vec![3]), "without effect, no error");
        assert_eq!(board.read(6, "late"), None);
        assert_eq!(board.read(6, "b"), Some([2].as_slice()));
    }

    #[test]
    fn the_board_is_bounded() {
        let mut board = Board::default();
        assert!((0..MOST_NOTES).all(|n| board.post(1, &n.to_string(), Vec::new())));
        assert!(!board.post(1, "one more", Vec::new()));
        assert!(board.post(1, "0", vec![1]), "in place of another");
        assert!(check_note("k", &vec![0; NOTE_LIMIT]).is_ok());
        assert!(check_note("k", &vec![0; NOTE_LIMIT + 1]).is_err());
        for key in ["", "a\nb", &"k".repeat(KEY_LIMIT + 1)] {
            assert!(check_key(key).is_err(), "{key:?}");
        }
    }
}
