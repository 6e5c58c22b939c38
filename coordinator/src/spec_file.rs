//! A spec file with what surrounds it: the folder its paths count from, its slices, its networks.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anofpdm_common::ids::Digest;
use anofpdm_common::network::NetworkConfig;
use anofpdm_common::plan::Stage;
use anofpdm_common::spec::{Augment, ModelSpec, RunSpec, SpecError};
use anofpdm_common::store::slices::Split;

use crate::dataset::{Dataset, DatasetError};
use crate::evaluate::tune;
use crate::ledger::Ledger;
use crate::ledger::journal::read_ledger;
use crate::plan::cells::baselines;
use crate::plan::disk::SliceRoom;
use crate::plan::estimate::{Estimate, Slices, estimate};
use crate::run::signals::Interrupt;
use crate::run_folder::{Difference, RUNS, RunFolder, Standing};
use crate::store_check::GoOn;

/// What a process holds once libtorch is loaded on a CPU (measured: 116 to 119 MB of a program that does nothing).
const LIBTORCH_BYTES: u64 = 150_000_000;

/// With fewer training patients than this, flipping is recommended.
const FEW_PATIENTS: usize = 20;

#[derive(Debug, thiserror::Error)]
pub enum SpecFileError {
    #[error("{path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{path}: {source}")]
    Spec { path: PathBuf, source: SpecError },
    #[error(transparent)]
    Dataset(#[from] DatasetError),
}

#[derive(Debug)]
pub struct Begun {
    /// Its folder and what its journal adds up to, where it has begun.
    pub run: Option<(RunFolder, Ledger)>,
    /// Why the folder is not this run's, for people.
    pub warning: Option<String>,
}

impl Begun {
    /// Weights that the run has taken in or trained, by network.
    pub fn weights(&self) -> BTreeMap<String, Digest> {
        let weights = self.run.as_ref().map(|(_, ledger)| &ledger.weights);
        weights.cloned().unwrap_or_default()
    }
}

/// A parsed spec and where it lies.
#[derive(Debug, Clone)]
pub struct SpecFile {
    pub spec: RunSpec,
    path: PathBuf,
}

impl SpecFile {
    /// Reads and checks a spec file. Its relative paths become absolute ones, counted from its folder, so
    /// that the copy in the run folder means the same.
    pub fn read(path: &Path) -> Result<Self, SpecFileError> {
        let read = |source| SpecFileError::Read {
            path: path.to_path_buf(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(read)?;
        let mut spec = RunSpec::parse(&text).map_err(|source| SpecFileError::Spec {
            path: path.to_path_buf(),
            source,
        })?;
        let base = std::path::absolute(path).map_err(read)?;
        let base = base.parent().unwrap_or(Path::new("/"));
        spec.data.store = spec.data.store.from_folder(base);
        spec.data.split = spec.data.split.take().map(|split| {
            let file = base.join(&split);
            if file.is_file() {
                file.display().to_string()
            } else {
                split
            }
        });
        for model in spec.model.values_mut() {
            model.checkpoint = model.checkpoint.as_ref().map(|file| file.from_folder(base));
        }
        Ok(Self {
            spec,
            path: path.to_path_buf(),
        })
    }

    /// A spec that is at hand, with absolute paths.
    pub fn of(spec: RunSpec, path: PathBuf) -> Self {
        Self { spec, path }
    }

    pub fn dataset(&self) -> Result<Dataset, SpecFileError> {
        self.open_dataset(&|| Ok(()))
    }

    /// The same, unless it is interrupted.
    pub fn dataset_unless(&self, interrupt: &Interrupt) -> Result<Dataset, SpecFileError> {
        self.open_dataset(&|| interrupt.check())
    }

    fn open_dataset(&self, go_on: &GoOn<'_>) -> Result<Dataset, SpecFileError> {
        let base = self.path.parent().unwrap_or(Path::new(""));
        Ok(Dataset::open(&self.spec.data, base, go_on)?)
    }

    /// The architecture of network `name` for the slices of `dataset`.
    pub fn network(&self, name: &str, dataset: &Dataset) -> Result<NetworkConfig, SpecFileError> {
        let manifest = dataset.store().manifest();
        let sized = || {
            let size = i64::try_from(manifest.size).unwrap_or(i64::MAX);
            let channels = i64::try_from(manifest.modalities.len()).unwrap_or(i64::MAX);
            let role = name
                .parse()
                .map_err(|error: String| SpecError::new(error))?;
            self.spec
                .model
                .get(name)
                .ok_or_else(|| SpecError::new(format!("there is no [model.{name}]")))?
                .network(role, size, channels)
        };
        sized().map_err(|source| self.blame(SpecError::new(format!("[model.{name}]: {source}"))))
    }

    /// What the run will cost; `dir` is its folder where it is not the default one.
    pub fn estimate(
        &self,
        dataset: &Dataset,
        dir: Option<&Path>,
    ) -> Result<Estimate, SpecFileError> {
        let batch = i64::from(self.spec.compute.batch_slices);
        let mut memory = 0;
        let mut weights: BTreeMap<&str, u64> = BTreeMap::new();
        for method in &self.spec.score.methods {
            // The networks of a method are on the device together.
            let mut together = 0;
            for role in method.networks() {
                let footprint = self.network(role.name(), dataset)?.footprint();
                together += footprint.scoring_bytes(batch);
                let parameters = footprint.parameters.unsigned_abs();
                weights.insert(role.name(), self.weight_bytes(role.name(), parameters));
            }
            memory = memory.max(together);
        }
        let validation = dataset.validation()?;
        let test = dataset.test()?;
        let slices = Slices {
            train: dataset.training_slices(),
            validation: validation.slices.len() as u64,
            test: test.slices.len() as u64,
        };
        let size = dataset.store().manifest().size as u64;
        let room = SliceRoom {
            pixels: size * size,
            foreground: dataset.foreground(&test.slices)?,
            modalities: dataset.scored().len() as u64,
            steps: self.spec.score.steps,
        };
        let exhibits = dataset.exhibits(&self.spec, &test.slices)?;
        let begun = self.begun(dir, dataset);
        let mut decided = BTreeMap::new();
        if let Some((folder, _)) = &begun.run {
            for (baseline, _) in baselines(&self.spec.score) {
                let tuning = tune::read(folder, baseline).ok();
                decided.extend(tuning.and_then(|t| Some((baseline, t.chosen()?))));
            }
        }
        let mut estimate = estimate(&self.spec, slices, &room, &exhibits, &decided);
        estimate.disk_bytes += weights.values().sum::<u64>();
        let asked = [
            (
                "validation",
                self.spec.data.validation_slices,
                validation.available,
            ),
            ("test", self.spec.data.test_slices, test.available),
        ];
        for (split, asked, available) in asked {
            if available < asked {
                estimate.warnings.push(format!(
                    "{asked} {split} slices are asked for, {available} are there: all of them are used"
                ));
            }
        }
        let (whole, there) = (
            self.spec.data.test_patients,
            dataset.patients_of(Split::Test),
        );
        if there < whole {
            estimate.warnings.push(format!(
                "{whole} whole test patients are asked for, {there} are there: all of them are used"
            ));
        }
        estimate.warnings.extend(self.augmentation(dataset)?);
        estimate.memory_bytes = LIBTORCH_BYTES + memory.unsigned_abs();
        if let Some((_, ledger)) = &begun.run {
            estimate.cached = ledger.finished.values().sum();
            estimate.predicted_device_seconds = remaining_seconds(&estimate, ledger);
        }
        // First: what follows is the cost of another folder.
        estimate.warnings.splice(..0, begun.warning);
        Ok(estimate)
    }

    /// What the weights of a network take: those that are scored with and, where it is trained here, its checkpoints, each
    /// of weights, averages and two moments.
    fn weight_bytes(&self, network: &str, parameters: u64) -> u64 {
        let model = self.spec.model.get(network);
        let trained = model.filter(|model| model.checkpoint.is_none());
        let kept = trained
            .and_then(|model| model.train.as_ref())
            .map_or(0, |train| {
                let best = u64::from(train.validate_every > 0);
                let written = train.steps.div_ceil(train.checkpoint_every.max(1));
                (u64::from(train.keep) + best).min(written.max(1))
            });
        4 * parameters * (1 + 4 * kept)
    }

    /// What there is already of this run; nothing of another spec's, nor of other slices.
    pub fn begun(&self, dir: Option<&Path>, dataset: &Dataset) -> Begun {
        let dir = dir.map_or_else(|| self.default_dir(), Path::to_path_buf);
        let nothing = |warning: Option<String>| Begun { run: None, warning };
        let Some(folder) = RunFolder::at(&dir) else {
            return nothing(None);
        };
        let shown = dir.display();
        let refused = |what: &str| {
            nothing(Some(format!(
                "{shown} belongs to {what}: nothing in it is counted here, and `run` refuses it; give this spec another name or --dir"
            )))
        };
        match folder.standing(&self.spec, dataset.digest()) {
            Ok(Standing::Same) => match read_ledger(&folder) {
                Ok(ledger) => Begun {
                    run: Some((folder, ledger)),
                    warning: None,
                },
                // Begun, and ended before its journal was.
                Err(_) if !folder.journal().exists() => nothing(None),
                Err(error) => nothing(Some(format!("{shown}: nothing is counted: {error}"))),
            },
            Ok(Standing::Free) => nothing(None),
            Ok(Standing::Taken(Difference::Spec(line))) => {
                refused(&format!("another spec (first difference: {line})"))
            }
            Ok(Standing::Taken(Difference::Slices)) => {
                refused("other slices than the store holds now")
            }
            Err(error) => nothing(Some(format!("{shown}: nothing is counted: {error}"))),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses to flip slices that have no left and right; what to say where a training set is small and not flipped.
    fn augmentation(&self, dataset: &Dataset) -> Result<Option<String>, SpecFileError> {
        let needed = self.needed()?;
        let trained = |augment: Augment| {
            let asked = move |model: &ModelSpec| {
                let train = model.train.as_ref();
                model.checkpoint.is_none() && train.is_some_and(|train| train.augment == augment)
            };
            needed.iter().find(move |(_, model)| asked(model))
        };
        if trained(Augment::Flip).is_some() {
            dataset.check_left_right()?;
        }
        let patients = dataset.patients_of(Split::Train);
        let plain = trained(Augment::None).filter(|_| patients < FEW_PATIENTS);
        Ok(plain.map(|(name, _)| {
            format!(
                "[model.{name}.train]: {patients} training patient(s) are few: augment = \"flip\" shows each also with left and right exchanged (docs/benchmarks.md)"
            )
        }))
    }

    pub fn digest(&self) -> Result<Digest, SpecFileError> {
        self.spec.digest().map_err(|source| self.blame(source))
    }

    /// The networks the methods need.
    pub fn needed(&self) -> Result<BTreeMap<&str, &ModelSpec>, SpecFileError> {
        self.spec
            .needed_networks()
            .map_err(|source| self.blame(source))
    }

    fn blame(&self, source: SpecError) -> SpecFileError {
        SpecFileError::Spec {
            path: self.path.clone(),
            source,
        }
    }

    /// `runs/NAME`.
    pub fn default_dir(&self) -> PathBuf {
        Path::new(RUNS).join(&self.spec.name)
    }
}

/// Device time of what is left, stage by stage at its own rate; a stage that has not begun has none.
#[allow(clippy::cast_precision_loss)]
fn remaining_seconds(estimate: &Estimate, ledger: &Ledger) -> Option<f64> {
    let by_stage = estimate.network_evaluations.by_stage;
    [
        (Stage::Train, by_stage.train),
        (Stage::Calibrate, by_stage.calibrate),
        (Stage::Score, by_stage.score),
    ]
    .into_iter()
    .filter(|(_, planned)| *planned > 0)
    .map(|(stage, planned)| {
        let forward = [Stage::Score, Stage::Calibrate];
        let rate_of = |stage| {
            let cost = ledger.cost.get(&stage)?;
            (cost.evaluations > 0)
                .then(|| cost.device_millis as f64 / 1e3 / cost.evaluations as f64)
        };
        let rate = match stage {
            Stage::Train => rate_of(Stage::Train),
            _ => forward.into_iter().find_map(rate_of),
        };
        let done = ledger.cost.get(&stage).map_or(0, |cost| cost.evaluations);
        Some(rate? * planned.saturating_sub(done) as f64)
    })
    .sum()
}
