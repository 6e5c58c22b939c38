//! From the spec's methods, strengths, settings and seeds to trajectories and cells.

use std::collections::BTreeMap;

use anofpdm_common::baseline::{Baseline, Setting};
use anofpdm_common::method::{Encoding, MapKind, Method};
use anofpdm_common::plan::{
    Cell, CellOutput, ForwardWalk, Postprocessing, RestorationWalk, Trajectory,
};
use anofpdm_common::role::Role;
use anofpdm_common::semantics::BaselineForm;
use anofpdm_common::spec::{Decision, FigureSpec, Grid, ScoreSpec};

/// Noise seed of calibration and tuning. Not one of the spec's: what is chosen is chosen once and serves every seed.
pub const CALIBRATION_SEED: u64 = 0;

/// Trajectories and the cells that read them.
#[derive(Debug, Clone, Default)]
pub struct Columns {
    pub trajectories: Vec<Trajectory>,
    pub cells: Vec<Cell>,
}

/// A strength of the table and the M_max that enters its masks.
#[derive(Debug, Clone, PartialEq)]
pub struct TableStrength {
    pub guidance: f64,
    /// M_max of each scored modality.
    pub max_divergence: Vec<f32>,
    /// Chosen by Algorithm 2.
    pub selected: bool,
}

/// The setting and threshold a baseline is scored with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Chosen {
    pub setting: Setting,
    /// Threshold of the common post-processing.
    pub threshold: f32,
}

/// What the validation slices decided: the strengths of each encoding, the setting of each baseline.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decided {
    /// From image-level labels.
    pub strengths: BTreeMap<Encoding, Vec<TableStrength>>,
    /// Candidates that are no rows of the table.
    pub others: BTreeMap<Encoding, Vec<TableStrength>>,
    /// From pixel labels.
    pub settings: BTreeMap<Baseline, Chosen>,
}

/// The distinct encodings of a spec's methods, in a fixed order.
pub fn encodings(score: &ScoreSpec) -> Vec<Encoding> {
    let methods = score.methods.iter();
    let mut encodings: Vec<Encoding> = methods.filter_map(|m| Some(m.forward()?.0)).collect();
    encodings.sort_unstable();
    encodings.dedup();
    encodings
}

/// The baselines of a spec, in the order of the report, each with what it is tuned on.
pub fn baselines(score: &ScoreSpec) -> Vec<(Baseline, Grid)> {
    let methods = score.methods.iter();
    let mut baselines: Vec<Baseline> = methods.filter_map(|m| m.baseline()).collect();
    baselines.sort_unstable();
    let grid = |baseline| score.baseline.grid(baseline, score.respacing);
    baselines.into_iter().map(|b| (b, grid(b))).collect()
}

/// The noise seeds a baseline is scored with; a single `None` where no noise is drawn.
fn seeds(baseline: Baseline, score: &ScoreSpec) -> Vec<Option<u64>> {
    if baseline.draws_noise(form(score)) {
        score.seeds.iter().copied().map(Some).collect()
    } else {
        vec![None]
    }
}

const fn form(score: &ScoreSpec) -> BaselineForm {
    score.semantics.switches().baselines
}

/// Calibration: every candidate strength of every encoding, every setting of every baseline that has something to be
/// tuned; one noise seed. `networks` are the names of the plan's networks, in its order.
pub fn calibration(score: &ScoreSpec, networks: &[&str]) -> Columns {
    let mut columns = Columns::default();
    for encoding in encodings(score) {
        let trajectory = columns.walk(networks, encoding, CALIBRATION_SEED);
        for guidance in score.guidance.candidates() {
            columns.cells.push(Cell {
                trajectory,
                guidance: *guidance,
                output: CellOutput::Traces,
            });
        }
    }
    for (baseline, grid) in baselines(score) {
        if grid.only().is_some() {
            continue;
        }
        let seed = baseline
            .draws_noise(form(score))
            .then_some(CALIBRATION_SEED);
        let shares = baseline.shares_encode(form(score));
        let mut shared = None;
        for setting in &grid.settings {
            // A setting that shares nothing with the others is a shard of its own.
            let known = shared.filter(|_| shares);
            let trajectory =
                known.unwrap_or_else(|| columns.restoration(networks, baseline, &grid, seed));
            shared = Some(trajectory);
            columns.cells.push(Cell {
                trajectory,
                guidance: setting.strength,
                output: CellOutput::Overlaps {
                    noise_scale: setting.noise_scale,
                    thresholds: grid.thresholds.clone(),
                },
            });
        }
    }
    columns
}

/// The trial of number formats: every candidate strength of one encoding, traces alone.
pub fn trial(score: &ScoreSpec, networks: &[&str], encoding: Encoding) -> Columns {
    let mut columns = Columns::default();
    let trajectory = columns.walk(networks, encoding, CALIBRATION_SEED);
    let strengths = score.guidance.candidates().iter();
    columns.cells = strengths
        .map(|guidance| Cell {
            trajectory,
            guidance: *guidance,
            output: CellOutput::Traces,
        })
        .collect();
    columns
}

/// Scoring: methods x strengths of the table x seeds, and each baseline at the setting chosen for it. For the first seed
/// also what figures need: the candidates that are no rows and, with `exhibits`, what is to be seen of some slices.
pub fn scoring(score: &ScoreSpec, networks: &[&str], decided: &Decided, exhibits: bool) -> Columns {
    let mut columns = Columns::default();
    for (place, seed) in score.seeds.iter().enumerate() {
        for encoding in encodings(score) {
            let trajectory = columns.walk(networks, encoding, *seed);
            let Some(strengths) = decided.strengths.get(&encoding) else {
                continue;
            };
            for method in &score.methods {
                let Some((_, map)) = method.forward().filter(|(e, _)| *e == encoding) else {
                    continue;
                };
                for strength in strengths {
                    columns.cells.push(Cell {
                        trajectory,
                        guidance: strength.guidance,
                        output: CellOutput::Mask {
                            map,
                            max_divergence: strength.max_divergence.clone(),
                            figures: figures(score, map),
                            mse_ratio: score.decision == Decision::MseRatio,
                            scores: score.auprc.of_cell(strengths.len(), strength.selected),
                        },
                    });
                }
                if place > 0 {
                    continue;
                }
                if let Some(strength) = shown(strengths).filter(|_| exhibits) {
                    columns.cells.push(Cell {
                        trajectory,
                        guidance: strength.guidance,
                        output: CellOutput::Exhibit { map },
                    });
                }
                if map == MapKind::Aam {
                    columns.candidates(trajectory, decided.others.get(&encoding));
                }
            }
        }
    }
    for (baseline, grid) in baselines(score) {
        let Some(chosen) = decided.settings.get(&baseline) else {
            continue;
        };
        let noise_scale = chosen.setting.noise_scale;
        for (place, seed) in seeds(baseline, score).into_iter().enumerate() {
            let trajectory = columns.restoration(networks, baseline, &grid, seed);
            for postprocessing in postprocessings(baseline, chosen, score) {
                let cell = |output| Cell {
                    trajectory,
                    guidance: chosen.setting.strength,
                    output,
                };
                columns.cells.push(cell(CellOutput::Restored {
                    noise_scale,
                    postprocessing,
                    scores: score.auprc.of_cell(1, true),
                }));
                if exhibits && place == 0 {
                    columns.cells.push(cell(CellOutput::RestoredExhibit {
                        noise_scale,
                        postprocessing,
                    }));
                }
            }
        }
    }
    columns
}

/// The strength whose maps are kept to be looked at: the one that Algorithm 2 chose, where it is in the table.
fn shown(strengths: &[TableStrength]) -> Option<&TableStrength> {
    let selected = strengths.iter().find(|strength| strength.selected);
    selected.or(strengths.first())
}

/// The common post-processing, and the method's own where it is asked for and there is one.
fn postprocessings(
    baseline: Baseline,
    chosen: &Chosen,
    score: &ScoreSpec,
) -> impl Iterator<Item = Postprocessing> {
    let common = Postprocessing::Common {
        threshold: chosen.threshold,
    };
    let native = score.baseline.native && baseline.native_rule().is_some();
    [Some(common), native.then_some(Postprocessing::Native)]
        .into_iter()
        .flatten()
}

/// How many noise seeds the cells of a trajectory serve: one that draws no noise serves all.
pub fn seeds_served(trajectory: &Trajectory, score: &ScoreSpec) -> u64 {
    match trajectory {
        Trajectory::Restoration(RestorationWalk { seed: None, .. }) => score.seeds.len() as u64,
        Trajectory::Restoration(_) | Trajectory::Forward(_) => 1,
    }
}

/// Figures 2 and 5 are about the aggregated map; the other maps of a pass need not repeat its traces.
fn figures(score: &ScoreSpec, map: MapKind) -> FigureSpec {
    if map == MapKind::Aam {
        score.figures.clone()
    } else {
        FigureSpec::default()
    }
}

impl Columns {
    fn walk(&mut self, networks: &[&str], encoding: Encoding, seed: u64) -> u16 {
        // All of the family walk with the same network.
        let network = indices(networks, Method::AnofpdmDdim.networks()).next();
        self.add(Trajectory::Forward(ForwardWalk {
            network: network.unwrap_or(u16::MAX),
            encoding,
            seed,
        }))
    }

    fn candidates(&mut self, trajectory: u16, others: Option<&Vec<TableStrength>>) {
        let cells = others.into_iter().flatten().map(|strength| Cell {
            trajectory,
            guidance: strength.guidance,
            output: CellOutput::Candidate {
                max_divergence: strength.max_divergence.clone(),
            },
        });
        self.cells.extend(cells);
    }

    fn restoration(
        &mut self,
        networks: &[&str],
        baseline: Baseline,
        grid: &Grid,
        seed: Option<u64>,
    ) -> u16 {
        self.add(Trajectory::Restoration(RestorationWalk {
            baseline,
            sampler: grid.sampler,
            clip: grid.clip,
            diffusion_steps: grid.diffusion_steps,
            networks: indices(networks, baseline.networks()).collect(),
            seed,
        }))
    }

    fn add(&mut self, trajectory: Trajectory) -> u16 {
        self.trajectories.push(trajectory);
        u16::try_from(self.trajectories.len() - 1).unwrap_or(u16::MAX)
    }

    pub fn cells_of(&self, trajectory: usize) -> impl Iterator<Item = &Cell> {
        self.cells
            .iter()
            .filter(move |cell| usize::from(cell.trajectory) == trajectory)
    }
}

/// Where the networks of these roles are in the list; the plan's check finds one that is missing.
fn indices<'a>(networks: &'a [&str], roles: &'a [Role]) -> impl Iterator<Item = u16> + 'a {
    roles.iter().map(|role| {
        let found = networks.iter().position(|network| *network == role.name());
        found
            .and_then(|i| u16::try_from(i).ok())
            .unwrap_or(u16::MAX)
    })
}
