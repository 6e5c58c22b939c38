//! Runs a benchmark: submit, watch, retry, resume, cancel (DESIGN 9).
//!
//! Stages are derived, never remembered: at each start the journal says which records are there, the plan says which
//! are wanted, and the difference is submitted. So `run` twice is `run` once, and a killed coordinator
//! goes on where its journal ends.

pub mod control;
pub mod engine;
mod feed;
mod fleet;
mod flight;
mod gang;
mod judge;
pub mod live;
mod operators;
mod progress;
mod rate;
mod run_id;
pub mod signals;
mod silence;
mod stages;
pub mod supervisor;
mod verify;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anofpdm_common::queue::LeaseConfig;
use anofpdm_common::spec::{Devices, Precision};
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::store::durable::DiskError;
use anofpdm_common::store::journal::JournalError;
use anofpdm_common::work::{PlanError, Stage};

use crate::aggregate::{self, AggregateError};
use crate::bench_file::{BenchError, BenchFile};
use crate::cache::RecordCache;
use crate::calibrate::CalibrateError;
use crate::dataset::{Dataset, DatasetError};
use crate::ledger::Entry;
use crate::ledger::journal::RunJournal;
use crate::preflight::{self, PreflightError};
use crate::report;
use crate::report::summary::Summary;
use crate::run_folder::{Difference, RunFolder, RunFolderError, Standing};
use control::Control;
use engine::{Engine, EngineError};
use fleet::FleetOptions;
pub use fleet::QueueChoice;
use judge::RunJudge;
use live::{Ended, Live};
use operators::Operators;
use signals::Interrupt;
use stages::Stages;

/// How a run is driven; none of it changes a result.
#[derive(Debug, Clone)]
pub struct DriveOptions {
    /// The run folder.
    pub dir: PathBuf,
    /// Stop after this stage; `None` goes on to the report.
    pub until: Option<Stage>,
    /// Where jobs go.
    pub queue: QueueChoice,
    /// Workers to start here, one a device.
    pub devices: Vec<String>,
    /// Share of the finished shards that are run again elsewhere to compare bits, in [0, 1].
    pub audit: f64,
    /// Folder of a record cache shared with other runs.
    pub cache: Option<PathBuf>,
    /// A lease not renewed for this long is lost.
    pub lease: Duration,
}

impl DriveOptions {
    /// The default time a lease lives without renewal.
    pub fn default_lease() -> Duration {
        LeaseConfig::default().ttl
    }
}

/// Why a run stopped.
#[derive(Debug, thiserror::Error)]
pub enum DriveError {
    /// The run folder.
    #[error("{0}")]
    Folder(#[from] RunFolderError),
    /// The spec or its slices.
    #[error("{0}")]
    Bench(#[from] BenchError),
    /// The slices.
    #[error("{0}")]
    Dataset(#[from] DatasetError),
    /// The journal.
    #[error("{0}")]
    Journal(#[from] JournalError),
    /// The artifact store.
    #[error("{0}")]
    Artifacts(#[from] ArtifactError),
    /// Queue and workers.
    #[error("{0}")]
    Engine(#[from] EngineError),
    /// Labels, masks or weights.
    #[error("{0}")]
    Preflight(#[from] PreflightError),
    /// A plan.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// Calibration.
    #[error("{0}")]
    Calibrate(#[from] CalibrateError),
    /// Adding up.
    #[error("{0}")]
    Aggregate(#[from] AggregateError),
    /// A file of the report.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// The cache folder.
    #[error("cache {path}: {source}")]
    Cache {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// The folder belongs to other slices.
    #[error(
        "{0} was begun on other slices than the store holds now; give the run another name or --dir"
    )]
    OtherData(PathBuf),
    /// A checkpoint of the spec cannot be read.
    #[error("[model.{network}] checkpoint: {source}")]
    Checkpoint {
        /// The network.
        network: String,
        /// What is wrong.
        source: ArtifactError,
    },
    /// A network without weights and without training: the parser refuses such a spec.
    #[error("[model.{0}] has neither checkpoint nor train section")]
    NoWeights(String),
    /// Fewer local workers than a training needs.
    #[error(
        "[model.{network}.train]: devices is {devices}, but this run starts {workers} worker(s): start more (--workers, or --device with every GPU), lower devices, or give a checkpoint"
    )]
    Devices {
        /// The network.
        network: String,
        /// What it asks for.
        devices: Devices,
        /// Workers of this run.
        workers: usize,
    },
    /// A number format that this machine does not compute in.
    #[error("[compute] precision: {} needs a GPU: on the CPU fp32 and bf16 are there (or leave it at auto)", .0.name())]
    Precision(Precision),
    /// Deliveries disagree again and again.
    #[error(
        "{0} record(s) stay in conflict after repeated runs: a device gives different bits for the same work"
    )]
    Conflicts(usize),
}

/// Runs `bench` until its report (or `options.until`) and returns the summary, if it got that far.
///
/// # Errors
/// [`DriveError`]; whatever was finished is in the journal, and the same call goes on from there.
pub fn drive(
    bench: &BenchFile,
    options: &DriveOptions,
    interrupt: &Interrupt,
) -> Result<Option<Summary>, DriveError> {
    let started = Instant::now();
    // Everything that can be wrong is said before anything is computed, and what is quick to see before the store is
    // read.
    check_devices(bench, options)?;
    check_precision(bench, options)?;
    let dataset = bench.dataset_unless(interrupt)?;
    refuse_other(bench, options, &dataset)?;
    let estimate = bench.estimate(&dataset, Some(&options.dir))?;
    let adopted = bench.begun(Some(&options.dir), &dataset).weights();
    let said = preflight::check(bench, &dataset, &adopted)?;
    for warning in estimate.warnings.iter().chain(&said) {
        tracing::warn!("{warning}");
    }

    let given_up = RunFolder::make_way(&options.dir, &bench.spec, dataset.digest())?;
    if let Some(run) = given_up {
        fleet::clear(&options.queue, &run);
    }
    let folder = RunFolder::create(&options.dir, &bench.spec)?;
    let lock = folder.lock()?;
    // At once: what operators ask from now on is meant for this coordinator.
    let control = Control::open(&folder, &lock)?;
    let mut journal = RunJournal::open(&folder)?;
    begin(&mut journal, bench, &folder, &dataset)?;
    let cache = match &options.cache {
        None => None,
        Some(path) => Some(RecordCache::open(path).map_err(|source| DriveError::Cache {
            path: path.clone(),
            source,
        })?),
    };
    let artifacts = ArtifactStore::open(&folder.records())?;
    let mut judge = RunJudge::new(journal, artifacts, cache);
    judge.distrust_suspects()?;
    let run = match &judge.journal.ledger().created {
        Some(created) => created.run.clone(),
        None => run_id::run_id(&bench.spec.name, folder.root()),
    };
    let operators = Operators::new(control, Live::start(&folder, &run));
    let fleet = FleetOptions {
        queue: options.queue.clone(),
        devices: options.devices.clone(),
        threads: bench.spec.compute.threads,
        data: dataset.store().root().to_path_buf(),
        artifacts: folder.records(),
        checkpoints: folder.checkpoints(),
        logs: folder.root().join("logs"),
        lease: options.lease,
    };
    let mut stages = Stages {
        bench,
        dataset: &dataset,
        folder: &folder,
        engine: Engine::new(
            judge,
            fleet,
            run,
            options.audit,
            interrupt.clone(),
            operators,
        ),
    };
    let worked = stages.run(options.until);
    // Whatever happened, workers are ended in good order and the time they took is kept.
    let stopped = Entry::Stopped {
        wall_millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    // A cancelled run leaves the queue too: nobody may go on with it unless it is run again.
    let cancelled = matches!(worked, Err(DriveError::Engine(EngineError::Cancelled(_))));
    let done = worked.is_ok() && options.until.is_none();
    let (judge, live) = stages.engine.stop(done || cancelled);
    let concluded = conclude(worked, judge, &stopped).and_then(|judge| match options.until {
        Some(_) => Ok(None),
        None => {
            let summary = aggregate::summarise(bench, &folder, judge.journal.ledger())?;
            report::write(&folder, &summary)?;
            Ok(Some(summary))
        }
    });
    live.end(match (&concluded, options.until) {
        (Ok(_), None) => Ended::finished("the report is written"),
        (Ok(_), Some(stage)) => {
            Ended::finished(&format!("{} is done, as was asked for", stage.name()))
        }
        (Err(error), _) => Ended::with_error(error),
    });
    concluded
}

/// The local queue has the workers this coordinator starts and no others.
fn check_devices(bench: &BenchFile, options: &DriveOptions) -> Result<(), DriveError> {
    let workers = options.devices.len();
    for (network, model) in bench.needed()? {
        if let (None, Some(train), QueueChoice::Local) =
            (&model.checkpoint, &model.train, &options.queue)
            && train.devices.min() as usize > workers
        {
            return Err(DriveError::Devices {
                network: network.to_owned(),
                devices: train.devices,
                workers,
            });
        }
    }
    Ok(())
}

/// Own workers on the CPU alone do not compute in every number format. Workers from elsewhere say what they are when they
/// come.
fn check_precision(bench: &BenchFile, options: &DriveOptions) -> Result<(), DriveError> {
    let asked = bench.spec.compute.precision;
    let on_cpu = |device: &String| device == "cpu";
    if asked.needs_gpu() && !options.devices.is_empty() && options.devices.iter().all(on_cpu) {
        return Err(DriveError::Precision(asked));
    }
    Ok(())
}

/// Refuses a folder that holds the work of another spec.
fn refuse_other(
    bench: &BenchFile,
    options: &DriveOptions,
    dataset: &Dataset,
) -> Result<(), DriveError> {
    let Some(folder) = RunFolder::at(&options.dir) else {
        return Ok(());
    };
    match folder.standing(&bench.spec, dataset.digest())? {
        Standing::Taken(Difference::Spec(difference)) => Err(RunFolderError::OtherSpec {
            path: options.dir.clone(),
            difference,
        }
        .into()),
        Standing::Taken(Difference::Slices) => Err(DriveError::OtherData(options.dir.clone())),
        Standing::Same | Standing::Free => Ok(()),
    }
}

/// Journals how long this start took, and says which error comes first.
fn conclude(
    worked: Result<(), DriveError>,
    judge: Result<RunJudge, EngineError>,
    stopped: &Entry,
) -> Result<RunJudge, DriveError> {
    match (worked, judge) {
        (Ok(()), Ok(mut judge)) => {
            judge.journal.append(stopped)?;
            Ok(judge)
        }
        (Ok(()), Err(error)) => Err(error.into()),
        (Err(error), Ok(mut judge)) => {
            if let Err(second) = judge.journal.append(stopped) {
                tracing::debug!(%second, "the time of this start is lost");
            }
            Err(error)
        }
        (Err(error), Err(_)) => Err(error),
    }
}

/// Binds a new journal to spec and slices, or checks that an old one belongs to them.
fn begin(
    journal: &mut RunJournal,
    bench: &BenchFile,
    folder: &RunFolder,
    dataset: &Dataset,
) -> Result<(), DriveError> {
    let spec = bench.digest()?;
    match &journal.ledger().created {
        None => {
            journal.append(&Entry::Created {
                spec,
                data: dataset.digest(),
                run: run_id::run_id(&bench.spec.name, folder.root()),
            })?;
        }
        Some(created) if created.data != dataset.digest() => {
            return Err(DriveError::OtherData(folder.root().to_path_buf()));
        }
        Some(_) => {}
    }
    Ok(())
}

/// The `checkpoints/` folder of one network.
pub fn checkpoint_folder(folder: &RunFolder, network: &str) -> PathBuf {
    Path::new(&folder.checkpoints()).join(network)
}
