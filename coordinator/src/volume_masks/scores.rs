//! Scores of a slice's pixels as a row's file holds them.

use anofpdm_common::metrics::{PackedRun, RunDetail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// Largest slice, pixels.
const MOST_PIXELS: usize = 1 << 24;

/// Score and truth of each foreground pixel, sorted and packed; exact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Stored", into = "Stored")]
pub struct SliceScores(PackedRun);

/// In JSON.
#[derive(Serialize, Deserialize)]
struct Stored {
    pixels: u32,
    /// Base64.
    run: String,
}

impl SliceScores {
    /// Of a sorted run.
    pub fn new(run: &[u32]) -> Self {
        Self(PackedRun::new(run, RunDetail::Exact))
    }

    /// The keys in ascending order.
    pub fn run(&self) -> Vec<u32> {
        self.0.unpack()
    }
}

impl From<SliceScores> for Stored {
    fn from(SliceScores(packed): SliceScores) -> Self {
        Self {
            pixels: u32::try_from(packed.len()).unwrap_or(u32::MAX),
            run: STANDARD.encode(packed.bytes()),
        }
    }
}

impl TryFrom<Stored> for SliceScores {
    type Error = String;

    fn try_from(Stored { pixels, run }: Stored) -> Result<Self, String> {
        let bytes = STANDARD.decode(run).map_err(|error| error.to_string())?;
        let packed = PackedRun::of_bytes(RunDetail::Exact, pixels, bytes);
        packed.check(RunDetail::Exact, MOST_PIXELS)?;
        Ok(Self(packed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anofpdm_common::metrics::score_run::score_run;

    #[test]
    fn scores_come_back_and_broken_ones_do_not() {
        let run = score_run(&[0.5, 0.0, 0.5, 2.0], &[1, 0, 0, 1], None).unwrap();
        let scores = SliceScores::new(&run);
        let json = serde_json::to_string(&scores).unwrap();
        let back: SliceScores = serde_json::from_str(&json).unwrap();
        assert_eq!(back.run(), run);
        for broken in [
            json.replace("\"pixels\":4", "\"pixels\":5"),
            json.replace("\"run\":\"", "\"run\":\"?"),
            json.replace("\"run\":\"", "\"run\":\"////"),
        ] {
            assert_ne!(broken, json);
            assert!(
                serde_json::from_str::<SliceScores>(&broken).is_err(),
                "{broken}"
            );
        }
    }
}
