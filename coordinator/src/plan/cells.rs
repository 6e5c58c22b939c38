//! From the spec's methods, strengths and seeds to trajectories and cells.

use std::collections::BTreeMap;

use anofpdm_common::method::{Encoding, MapKind, Method};
use anofpdm_common::spec::{FigureSpec, ScoreSpec};
use anofpdm_common::work::{Cell, CellOutput, NetworkPlan, Trajectory};

use crate::calibrate::Calibration;

/// Noise seed of calibration. Not one of the spec's: thresholds are chosen once and serve every seed.
pub const CALIBRATION_SEED: u64 = 0;

/// Trajectories and the cells that read them.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    /// Distinct walks.
    pub trajectories: Vec<Trajectory>,
    /// Distinct columns.
    pub cells: Vec<Cell>,
}

/// The distinct encodings of a spec's methods, in a fixed order.
pub fn encodings(score: &ScoreSpec) -> Vec<Encoding> {
    let mut encodings: Vec<Encoding> = score.methods.iter().map(|m| m.encoding()).collect();
    encodings.sort_unstable();
    encodings.dedup();
    encodings
}

/// Calibration: every candidate strength of every encoding, one noise seed.
pub fn calibration(score: &ScoreSpec, networks: &[NetworkPlan]) -> Columns {
    let mut columns = Columns::default();
    for encoding in encodings(score) {
        let trajectory = columns.trajectory(networks, encoding, CALIBRATION_SEED);
        for guidance in score.guidance.candidates() {
            columns.cells.push(Cell {
                trajectory,
                guidance: *guidance,
                output: CellOutput::Traces,
            });
        }
    }
    columns
}

/// Scoring: methods x strengths of the table x seeds. `calibration` says which strengths those are, and
/// carries the M_max that enters each mask.
pub fn scoring(
    score: &ScoreSpec,
    networks: &[NetworkPlan],
    calibration: &BTreeMap<Encoding, Calibration>,
) -> Columns {
    let mut columns = Columns::default();
    for seed in &score.seeds {
        for encoding in encodings(score) {
            let trajectory = columns.trajectory(networks, encoding, *seed);
            let Some(calibrated) = calibration.get(&encoding) else {
                continue;
            };
            let methods = score.methods.iter().filter(|m| m.encoding() == encoding);
            for method in methods {
                for strength in calibrated.table_strengths(&score.guidance) {
                    columns.cells.push(Cell {
                        trajectory,
                        guidance: strength.guidance,
                        output: CellOutput::Mask {
                            map: method.map(),
                            max_divergence: strength.max_divergence.clone(),
                            figures: figures(score, *method),
                        },
                    });
                }
            }
        }
    }
    columns
}

/// Figures 2 and 5 are about the aggregated map; the other maps of a pass need not repeat its traces.
fn figures(score: &ScoreSpec, method: Method) -> FigureSpec {
    if method.map() == MapKind::Aam {
        score.figures.clone()
    } else {
        FigureSpec::default()
    }
}

impl Columns {
    /// The index of a walk, added where it is new. All methods so far walk with the first network.
    fn trajectory(&mut self, networks: &[NetworkPlan], encoding: Encoding, seed: u64) -> u16 {
        debug_assert_eq!(networks.len(), 1, "one guided network");
        self.trajectories.push(Trajectory {
            network: 0,
            encoding,
            seed,
        });
        u16::try_from(self.trajectories.len() - 1).unwrap_or(u16::MAX)
    }
}
