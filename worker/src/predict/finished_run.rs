//! What a run has decided, as its folder says: the plan of its scoring and its thresholds.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use anofpdm_common::calibration::{Calibration, LabelRule};
use anofpdm_common::ids::Digest;
use anofpdm_common::method::{Encoding, Method};
use anofpdm_common::plan::{
    Cell, CellOutput, ForwardPlan, MAX_PLAN_BYTES, Plan, Postprocessing, Stage, Trajectory,
};
use anofpdm_common::spec::{MAX_SPEC_BYTES, RunSpec};
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::slices::SliceStore;
use anofpdm_common::strength::Strength;

use super::PredictError;

/// Where runs lie unless a path says otherwise.
const RUNS: &str = "runs";

/// How the artifact of a plan begins.
const PLAN_START: &[u8] = b"{\"run\":";

/// Largest calibration file read, bytes.
const CALIBRATION_LIMIT: u64 = 16 << 20;

/// A run that has begun to score.
#[derive(Debug)]
pub struct FinishedRun {
    pub spec: RunSpec,
    pub plan: ForwardPlan,
    pub artifacts: ArtifactStore,
    root: PathBuf,
}

/// One method of a run, at one strength, with what decides its masks.
#[derive(Debug, Clone)]
pub struct ChosenMethod {
    pub method: Method,
    pub cell: Cell,
    pub trajectory: Trajectory,
    /// How a slice is called healthy or unhealthy; `None` for a baseline, which calls by its mask.
    pub label_rule: Option<LabelRule>,
}

impl FinishedRun {
    /// Opens the folder of a run, or a name under `runs/`. `plan` is the digest of its plan of scoring, which is looked
    /// for among its artifacts without it.
    ///
    /// # Errors
    /// When it is no run, has not begun to score, or a file does not read.
    pub fn open(run: &Path, plan: Option<Digest>) -> Result<Self, PredictError> {
        let named = Path::new(RUNS).join(run);
        let root = if run.is_dir() || !named.is_dir() {
            run.to_path_buf()
        } else {
            named
        };
        let path = root.join("spec.toml");
        if !path.is_file() {
            return Err(PredictError::NoRun(root));
        }
        let bytes = read(&path, MAX_SPEC_BYTES as u64)?;
        let text = String::from_utf8_lossy(&bytes);
        let spec = RunSpec::parse(&text).map_err(|source| PredictError::Spec { path, source })?;
        let records = root.join("records");
        if !records.is_dir() {
            return Err(PredictError::NotScored(root));
        }
        let artifacts = ArtifactStore::open(&records)?;
        let plan = match plan {
            Some(digest) => scoring_plan(&artifacts, &digest)?
                .ok_or_else(|| PredictError::OtherPlan(digest.to_string()))?,
            None => only_plan(&artifacts, &root)?,
        };
        Ok(Self {
            spec,
            plan,
            artifacts,
            root,
        })
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Chooses among the methods that were scored: `anofpdm-ddim` where none is asked for and it is there, else the
    /// first; the strength that calibration selected where there are several.
    ///
    /// # Errors
    /// When there is no such method or strength, or calibration cannot be read.
    pub fn method(
        &self,
        method: Option<&str>,
        guidance: Option<f64>,
    ) -> Result<ChosenMethod, PredictError> {
        let mut all: Vec<(Method, &Cell, &Trajectory)> = Vec::new();
        for cell in &self.plan.cells {
            let trajectory = self.plan.trajectory(cell)?;
            let native = matches!(
                cell.output,
                CellOutput::Restored {
                    postprocessing: Postprocessing::Native,
                    ..
                }
            );
            let scored = cell.output.counts() && !native;
            if let Some(method) = cell.method(trajectory).filter(|_| scored) {
                all.push((method, cell, trajectory));
            }
        }
        all.sort_by_key(|(method, _, _)| *method);
        let wanted = match method {
            Some(name) => all.iter().find(|(method, _, _)| method.name() == name),
            None => all
                .iter()
                .find(|(method, _, _)| *method == Method::AnofpdmDdim)
                .or(all.first()),
        };
        let Some((wanted, _, _)) = wanted.copied() else {
            let mut there: Vec<&str> = all.iter().map(|(method, _, _)| method.name()).collect();
            there.dedup();
            return Err(PredictError::NoMethod {
                asked: method.unwrap_or("any method").to_owned(),
                there: there.join(", "),
            });
        };
        let mut cells: Vec<(&Cell, &Trajectory)> = Vec::new();
        for (method, cell, trajectory) in all {
            // Seeds differ in nothing else.
            let known = |(other, _): &(&Cell, &Trajectory)| other.strength() == cell.strength();
            if method == wanted && !cells.iter().any(known) {
                cells.push((cell, trajectory));
            }
        }
        let calibration = match wanted.forward() {
            Some((encoding, _)) => Some(self.calibration(encoding)?),
            None => None,
        };
        let selected = calibration.as_ref().and_then(|found| {
            let mut strengths = found.strengths.iter();
            strengths.find(|strength| strength.selected)
        });
        let guidance = guidance.or_else(|| match cells[..] {
            [(only, _)] => Some(only.guidance),
            _ => selected.map(|strength| strength.guidance),
        });
        let chosen = guidance.and_then(|guidance| {
            let mut cells = cells.iter();
            cells.find(|(cell, _)| cell.strength() == Strength(guidance))
        });
        let Some((cell, trajectory)) = chosen.copied() else {
            let there: Vec<String> = cells
                .iter()
                .map(|(cell, _)| cell.guidance.to_string())
                .collect();
            return Err(PredictError::SeveralStrengths {
                method: wanted.name().to_owned(),
                there: there.join(", "),
            });
        };
        let label_rule = match (wanted.forward(), calibration) {
            (Some((encoding, _)), Some(found)) => Some(self.label_rule(encoding, &found, cell)?),
            _ => None,
        };
        Ok(ChosenMethod {
            method: wanted,
            cell: cell.clone(),
            trajectory: trajectory.clone(),
            label_rule,
        })
    }

    fn label_rule(
        &self,
        encoding: Encoding,
        calibration: &Calibration,
        cell: &Cell,
    ) -> Result<LabelRule, PredictError> {
        let strength = calibration.strength(cell.guidance);
        let strength = strength.ok_or_else(|| PredictError::Calibration {
            path: self.calibration_path(encoding),
            reason: format!("it has no strength {}; run again", cell.guidance),
        })?;
        Ok(strength.label_rule(self.spec.score.decision))
    }

    fn calibration(&self, encoding: Encoding) -> Result<Calibration, PredictError> {
        let path = self.calibration_path(encoding);
        let bytes = read(&path, CALIBRATION_LIMIT)?;
        serde_json::from_slice(&bytes).map_err(|error| PredictError::Calibration {
            path,
            reason: error.to_string(),
        })
    }

    fn calibration_path(&self, encoding: Encoding) -> PathBuf {
        let name = format!("{}.json", encoding.name());
        self.root.join("calibration").join(name)
    }

    /// Whether slices of `store` are such as the run was made on: side, number and, as far as the run's own store can be
    /// read, names and order of modalities.
    ///
    /// # Errors
    /// [`PredictError::Fit`] where they are not.
    pub fn check_fit(&self, store: &SliceStore) -> Result<(), PredictError> {
        let manifest = store.manifest();
        if manifest.digest == self.plan.data.digest {
            return Ok(());
        }
        let network = self.plan.networks.first();
        let network =
            network.ok_or_else(|| PredictError::Fit("the run has no network".to_owned()))?;
        let (channels, side) = (network.config.in_channels, network.config.image_size);
        if i64::try_from(manifest.modalities.len()) != Ok(channels)
            || i64::try_from(manifest.size) != Ok(side)
        {
            return Err(PredictError::Fit(format!(
                "the store has {} modalities ({}) at {} x {}, the network takes {channels} at {side} x {side}",
                manifest.modalities.len(),
                manifest.modalities.join(", "),
                manifest.size,
                manifest.size
            )));
        }
        match SliceStore::at(&self.spec.data.store) {
            Ok(own) if own.manifest().modalities == manifest.modalities => Ok(()),
            Ok(own) => Err(PredictError::Fit(format!(
                "the run was made on the modalities {}, the store has {}; preprocess them in that order",
                own.manifest().modalities.join(", "),
                manifest.modalities.join(", ")
            ))),
            Err(error) => {
                tracing::warn!(
                    "the run's own slices cannot be read ({error}): whether {} are its modalities, in its order, is not known",
                    manifest.modalities.join(", ")
                );
                Ok(())
            }
        }
    }
}

fn read(path: &Path, limit: u64) -> Result<Vec<u8>, PredictError> {
    let failed = |source| PredictError::Read {
        path: path.to_path_buf(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(failed)?;
    file.take(limit).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The plan of scoring whose digest this is; `None` for another one.
fn scoring_plan(
    artifacts: &ArtifactStore,
    digest: &Digest,
) -> Result<Option<ForwardPlan>, PredictError> {
    let bytes = artifacts.get(digest, MAX_PLAN_BYTES)?;
    Ok(match Plan::from_json(&bytes)? {
        Plan::Forward(plan) if plan.stage == Stage::Score => Some(plan),
        _ => None,
    })
}

/// The one plan of scoring among the artifacts.
fn only_plan(artifacts: &ArtifactStore, root: &Path) -> Result<ForwardPlan, PredictError> {
    let mut found: Vec<(Digest, ForwardPlan)> = Vec::new();
    for entry in artifacts.entries()? {
        let digest = entry?.digest;
        let mut start = [0; PLAN_START.len()];
        let begins = fs::File::open(artifacts.path_of(&digest))
            .and_then(|mut file| file.read_exact(&mut start));
        if begins.is_err() || start != *PLAN_START {
            continue;
        }
        if let Some(plan) = scoring_plan(artifacts, &digest)? {
            found.push((digest, plan));
        }
    }
    if found.len() > 1 {
        let plans: Vec<String> = found.iter().map(|(digest, _)| digest.to_string()).collect();
        return Err(PredictError::SeveralPlans {
            folder: root.to_path_buf(),
            plans: plans.join(", "),
        });
    }
    let plan = found.pop().map(|(_, plan)| plan);
    plan.ok_or_else(|| PredictError::NotScored(root.to_path_buf()))
}
