//! The strength of a guidance as an identity: it names cells, rows and keys.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};

use serde::{Deserialize, Serialize};

/// Guidance w, or the scale of a classifier's gradient. Equal to the bit, so that -0 and NaN confuse nothing that is
/// named by it.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Strength(pub f64);

impl Strength {
    /// The bits, as record keys hold them.
    pub const fn bits(self) -> u64 {
        self.0.to_bits()
    }
}

impl PartialEq for Strength {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Strength {}

impl Ord for Strength {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Strength {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Strength {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strengths_are_equal_to_the_bit_and_written_as_numbers() {
        assert_eq!(Strength(2.0), Strength(2.0));
        assert_ne!(Strength(0.0), Strength(-0.0));
        assert_eq!(Strength(f64::NAN), Strength(f64::NAN));
        assert!(Strength(0.5) < Strength(8.0));
        assert_eq!(serde_json::to_string(&Strength(2.0)).unwrap(), "2.0");
    }
}
