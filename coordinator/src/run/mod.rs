//! Runs a benchmark: submit, watch, retry, resume, cancel.
//!
//! Stages are derived, never remembered: at each start the journal says which records are there, the plan says which
//! are wanted, and the difference is submitted. So `run` twice is `run` once, and a killed coordinator
//! goes on where its journal ends.

mod active_plan;
pub mod error;
pub mod operators;
mod result_committer;
mod run_id;
mod scheduler;
mod shard_event;
mod shard_source;
mod shard_tracker;
pub mod signals;
mod stages;
mod verification;
mod warn_once;
pub mod workers;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anofpdm_common::plan::Stage;
use anofpdm_common::queue::LeaseConfig;
use anofpdm_common::store::artifacts::ArtifactStore;
use anofpdm_common::store::object::ObjectUrl;

use crate::cache::RecordCache;
use crate::dataset::Dataset;
use crate::evaluate;
use crate::ledger::Entry;
use crate::ledger::journal::RunJournal;
use crate::plan::estimate::Estimate;
use crate::plan::forecast;
use crate::preflight;
use crate::readable;
use crate::report;
use crate::report::summary::Summary;
use crate::run_folder::{Difference, RunFolder, RunFolderError, Standing};
use crate::screen;
use crate::spec_file::SpecFile;
pub use error::{RunError, SchedulerError};
use operators::Operators;
use operators::control_files::ControlFiles;
use operators::run_metrics::RunMetrics;
use operators::snapshot::Ended;
use operators::status_file::StatusFile;
use result_committer::ResultCommitter;
use scheduler::Scheduler;
use signals::Interrupt;
use stages::Stages;
pub use workers::pool::QueueChoice;
use workers::pool::{self, PoolOptions};

/// How a run is carried out; none of it changes a result.
#[derive(Debug, Clone)]
pub struct RunOptions {
    pub dir: PathBuf,
    /// Stop after this stage; `None` goes on to the report.
    pub until: Option<Stage>,
    pub queue: QueueChoice,
    /// Workers to start here, one a device.
    pub devices: Vec<String>,
    /// Share of the finished shards that are run again elsewhere to compare bits, in [0, 1].
    pub audit: f64,
    /// Folder of a record cache shared with other runs.
    pub cache: Option<PathBuf>,
    /// Where the artifacts lie, with copies in the run folder; the run folder alone where it never said.
    pub records: Option<ObjectUrl>,
    /// A lease not renewed for this long is lost.
    pub lease: Duration,
    /// Where metrics are served; none where they are not.
    pub metrics: Option<SocketAddr>,
}

impl RunOptions {
    /// The default time a lease lives without renewal.
    pub fn default_lease() -> Duration {
        LeaseConfig::default().ttl
    }
}

/// Runs `spec_file` until its report (or `options.until`) and returns the summary, if it got that far.
///
/// # Errors
/// [`RunError`]; whatever was finished is in the journal, and the same call goes on from there.
pub fn run(
    spec_file: &SpecFile,
    options: &RunOptions,
    interrupt: &Interrupt,
) -> Result<Option<Summary>, RunError> {
    let started = Instant::now();
    // Everything that can be wrong is said before anything is computed, and what is quick to see before the store is
    // read.
    check_devices(spec_file, options)?;
    check_precision(spec_file, options)?;
    let dataset = spec_file.dataset_unless(interrupt)?;
    refuse_other(spec_file, options, &dataset)?;
    let estimate = spec_file.estimate(&dataset, Some(&options.dir))?;
    let adopted = spec_file.begun(Some(&options.dir), &dataset).weights();
    let said = preflight::check(spec_file, &dataset, &adopted)?;
    for warning in estimate.warnings.iter().chain(&said) {
        tracing::warn!("{warning}");
    }
    announce(spec_file, &dataset, &estimate, options);

    let given_up = RunFolder::make_way(&options.dir, &spec_file.spec, dataset.digest())?;
    if let Some(run) = given_up {
        pool::clear(&options.queue, &run);
    }
    let folder = RunFolder::create(&options.dir, &spec_file.spec)?;
    let lock = folder.lock()?;
    // At once: what operators ask from now on is meant for this coordinator.
    let control = ControlFiles::open(&folder, &lock)?;
    let mut journal = RunJournal::open(&folder)?;
    begin(&mut journal, spec_file, &folder, &dataset)?;
    let cache = match &options.cache {
        None => None,
        Some(path) => Some(RecordCache::open(path).map_err(|source| RunError::Cache {
            path: path.clone(),
            source,
        })?),
    };
    let artifacts = match &options.records {
        Some(url) => ArtifactStore::open_remote(&folder.records(), url)?,
        None => ArtifactStore::open(&folder.records())?,
    };
    artifacts.check_writable()?;
    let run = match &journal.ledger().created {
        Some(created) => created.run.clone(),
        None => run_id::run_id(&spec_file.spec.name, folder.root()),
    };
    let _context = tracing::info_span!("run", run).entered();
    let metrics = RunMetrics::new(&run)?;
    // Until this function returns.
    let endpoint = options
        .metrics
        .map(|address| metrics.serve(address))
        .transpose()?;
    let mut committer = ResultCommitter::new(journal, artifacts, cache, metrics.clone());
    committer.distrust_suspects()?;
    let operators = Operators::new(control, StatusFile::start(&folder, &run), metrics.clone());
    let pool = PoolOptions {
        queue: options.queue.clone(),
        devices: options.devices.clone(),
        threads: spec_file.spec.compute.threads,
        data: dataset.store().location().clone(),
        artifacts: folder.records(),
        checkpoints: folder.checkpoints(),
        logs: folder.root().join("logs"),
        lease: options.lease,
    };
    let mut stages = Stages {
        spec_file,
        dataset: &dataset,
        folder: &folder,
        scheduler: Scheduler::new(
            committer,
            pool,
            run,
            options.audit,
            interrupt.clone(),
            operators,
            metrics.clone(),
        ),
        metrics: metrics.clone(),
    };
    let worked = stages.run(options.until);
    // Whatever happened, workers are ended in good order and the time they took is kept.
    let stopped = Entry::Stopped {
        wall_millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    // A cancelled run leaves the queue too: nobody may go on with it unless it is run again.
    let cancelled = matches!(
        worked,
        Err(RunError::Scheduler(SchedulerError::Cancelled(_)))
    );
    let done = worked.is_ok() && options.until.is_none();
    let (committer, status) = stages.scheduler.stop(done || cancelled);
    let concluded =
        conclude(worked, committer, &stopped).and_then(|committer| match options.until {
            Some(_) => Ok(None),
            None => {
                let mut committer = committer;
                if committer.ledger().scored.is_none() {
                    committer.append(&Entry::Scored {
                        unix_seconds: unix_seconds(),
                    })?;
                }
                let summary = evaluate::summarise(spec_file, &folder, committer.ledger())?;
                report::write(&folder, &summary)?;
                Ok(Some(summary))
            }
        });
    let ended = match (&concluded, options.until) {
        (Ok(_), None) => Ended::finished("the report is written"),
        (Ok(_), Some(stage)) => {
            Ended::finished(&format!("{} is done, as was asked for", stage.name()))
        }
        (Err(error), _) => Ended::with_error(error),
    };
    let outcome = ended.outcome;
    status.end(ended);
    if endpoint.is_some() {
        metrics.end(outcome, interrupt);
    }
    concluded
}

/// 0 where the clock stands before 1970.
fn unix_seconds() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |since| since.as_secs())
}

/// Says what is about to be done, before anything is.
fn announce(spec_file: &SpecFile, dataset: &Dataset, estimate: &Estimate, options: &RunOptions) {
    let mut lines = forecast::benchmark(spec_file, dataset, estimate, &options.dir);
    lines.push(("workers", workers(options)));
    lines.extend(forecast::work(estimate));
    for (label, text) in lines {
        if screen::is_terminal() {
            for line in readable::labelled(label, &text, Some(screen::columns())) {
                screen::say(&line);
            }
        } else {
            tracing::info!("{label}: {text}");
        }
    }
}

/// Whom the run will work with, in words.
fn workers(options: &RunOptions) -> String {
    let mut devices: BTreeMap<&str, u64> = BTreeMap::new();
    for device in &options.devices {
        *devices.entry(device).or_default() += 1;
    }
    let own = devices
        .iter()
        .map(|(device, count)| format!("{count} on {device}"));
    let own = own.collect::<Vec<_>>().join(", ");
    match &options.queue {
        QueueChoice::Local => own,
        QueueChoice::Redis(_) if own.is_empty() => {
            "those that come to the queue; none is started here".to_owned()
        }
        QueueChoice::Redis(_) => format!("{own}, and those that come to the queue"),
    }
}

/// The local queue has the workers this coordinator starts and no others.
fn check_devices(spec_file: &SpecFile, options: &RunOptions) -> Result<(), RunError> {
    let workers = options.devices.len();
    for (network, model) in spec_file.needed()? {
        if let (None, Some(train), QueueChoice::Local) =
            (&model.checkpoint, &model.train, &options.queue)
            && train.devices.min() as usize > workers
        {
            return Err(RunError::Devices {
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
fn check_precision(spec_file: &SpecFile, options: &RunOptions) -> Result<(), RunError> {
    let asked = spec_file.spec.compute.precision;
    let on_cpu = |device: &String| device == "cpu";
    if asked.needs_gpu() && !options.devices.is_empty() && options.devices.iter().all(on_cpu) {
        return Err(RunError::Precision(asked));
    }
    Ok(())
}

/// Refuses a folder that holds the work of another spec.
fn refuse_other(
    spec_file: &SpecFile,
    options: &RunOptions,
    dataset: &Dataset,
) -> Result<(), RunError> {
    let Some(folder) = RunFolder::at(&options.dir) else {
        return Ok(());
    };
    match folder.standing(&spec_file.spec, dataset.digest())? {
        Standing::Taken(Difference::Spec(difference)) => Err(RunFolderError::OtherSpec {
            path: options.dir.clone(),
            difference,
        }
        .into()),
        Standing::Taken(Difference::Slices) => Err(RunError::OtherData(options.dir.clone())),
        Standing::Same | Standing::Free => Ok(()),
    }
}

/// Journals how long this start took, and says which error comes first.
fn conclude(
    worked: Result<(), RunError>,
    committer: Result<ResultCommitter, SchedulerError>,
    stopped: &Entry,
) -> Result<ResultCommitter, RunError> {
    match (worked, committer) {
        (Ok(()), Ok(mut committer)) => {
            committer.append(stopped)?;
            Ok(committer)
        }
        (Ok(()), Err(error)) => Err(error.into()),
        (Err(error), Ok(mut committer)) => {
            if let Err(second) = committer.append(stopped) {
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
    spec_file: &SpecFile,
    folder: &RunFolder,
    dataset: &Dataset,
) -> Result<(), RunError> {
    let spec = spec_file.digest()?;
    match &journal.ledger().created {
        None => {
            journal.append(&Entry::Created {
                spec,
                data: dataset.digest(),
                run: run_id::run_id(&spec_file.spec.name, folder.root()),
            })?;
        }
        Some(created) if created.data != dataset.digest() => {
            return Err(RunError::OtherData(folder.root().to_path_buf()));
        }
        Some(_) => {}
    }
    Ok(())
}

/// The `checkpoints/` folder of one network.
pub fn checkpoint_folder(folder: &RunFolder, network: &str) -> PathBuf {
    Path::new(&folder.checkpoints()).join(network)
}
