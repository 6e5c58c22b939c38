//! The folder of a run: its paths, its lock, and the spec it belongs to.
//!
//! ```text
//! runs/NAME/
//!   spec.toml      normalised spec
//!   lock           held by the coordinator at work
//!   control/       what operators ask of it
//!   live.json      what it does right now, or did last
//!   journal        the truth about the run
//!   checkpoints/   training, one folder a network
//!   training/      loss curves of finished trainings, one file a network
//!   calibration/   thresholds, one file an encoding
//!   records/       the artifact store: plans, weights, manifests, records, by digest
//!   report/        tables
//!   logs/          what the local workers said
//! ```

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anofpdm_common::ids::Digest;
use anofpdm_common::spec::{RunSpec, SpecError};
use anofpdm_common::store::durable::{self, DiskError};
use anofpdm_common::store::journal::JournalError;

use crate::ledger::Ledger;
use crate::ledger::journal::read_ledger;
use crate::report::training::newest_checkpoint;

use crate::known_runs;

/// Where runs are made unless another folder is named, and looked for by name.
pub const RUNS: &str = "runs";

/// How often, and with which pause, a lock that is held is tried again: who only looks whether a coordinator is at
/// work holds it for a moment.
const LOCK_TRIES: u32 = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// What can go wrong with a run folder.
#[derive(Debug, thiserror::Error)]
pub enum RunFolderError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("{0} is locked: another coordinator is at work on this run; wait for it or stop it")]
    Locked(PathBuf),
    #[error(
        "{path} belongs to another spec (first difference: {difference}); give the new one another name or --dir, or remove the folder"
    )]
    OtherSpec { path: PathBuf, difference: String },
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("{path} holds no run: no spec.toml; {hint}")]
    NoRun { path: PathBuf, hint: String },
    #[error("{path}: {source}")]
    Spec { path: PathBuf, source: SpecError },
}

/// What a run folder is to a spec and its slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It was begun for them.
    Same,
    /// It was begun for something else, and holds work: this is the first difference.
    Taken(Difference),
    /// It was begun for something else, but nothing was delivered: it takes what comes.
    Free,
}

/// What a run folder was begun for, where that is not what is asked for now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Another spec; the first line that differs.
    Spec(String),
    /// Other slices than the store holds now.
    Slices,
}

/// An existing run folder. Holds no lock.
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
}

/// Keeps other coordinators out for as long as it lives.
#[derive(Debug)]
pub struct RunLock {
    file: File,
}

impl Drop for RunLock {
    /// Unlocks, since closing does not suffice: a program that another thread is about to start has the open file too, until
    /// it runs.
    fn drop(&mut self) {
        self.file.unlock().ok();
    }
}

impl RunFolder {
    /// Creates the folder for `spec`, or opens the one that belongs to the same spec.
    pub fn create(root: &Path, spec: &RunSpec) -> Result<Self, RunFolderError> {
        let folder = Self {
            root: root.to_path_buf(),
        };
        for dir in [
            folder.root.clone(),
            folder.checkpoints(),
            folder.calibration(),
            folder.records(),
            folder.report(),
        ] {
            fs::create_dir_all(&dir).map_err(|source| RunFolderError::Io { path: dir, source })?;
        }
        let path = folder.spec_path();
        let text = spec.to_toml().map_err(|source| RunFolderError::Spec {
            path: path.clone(),
            source,
        })?;
        match fs::read_to_string(&path) {
            Ok(stored) if stored == text => {}
            Ok(stored) => {
                return Err(RunFolderError::OtherSpec {
                    path: folder.root,
                    difference: first_difference(&stored, &text),
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                durable::write(&path, text.as_bytes())?;
            }
            Err(source) => return Err(RunFolderError::Io { path, source }),
        }
        Ok(folder)
    }

    /// The run folder at `root`, where there is one.
    pub fn at(root: &Path) -> Option<Self> {
        let folder = Self {
            root: root.to_path_buf(),
        };
        folder.spec_path().is_file().then_some(folder)
    }

    /// What this folder is to `spec` on slices of this digest.
    pub fn standing(&self, spec: &RunSpec, data: Digest) -> Result<Standing, RunFolderError> {
        let path = self.spec_path();
        let text = spec.to_toml().map_err(|source| RunFolderError::Spec {
            path: path.clone(),
            source,
        })?;
        let stored =
            fs::read_to_string(&path).map_err(|source| RunFolderError::Io { path, source })?;
        let ledger = self.ledger()?;
        let difference = if stored != text {
            Difference::Spec(first_difference(&stored, &text))
        } else if ledger.created.as_ref().is_some_and(|c| c.data != data) {
            Difference::Slices
        } else {
            return Ok(Standing::Same);
        };
        if self.holds_work(&ledger) {
            Ok(Standing::Taken(difference))
        } else {
            Ok(Standing::Free)
        }
    }

    /// What the journal says; nothing where there is none yet.
    fn ledger(&self) -> Result<Ledger, RunFolderError> {
        if !self.journal().exists() {
            return Ok(Ledger::default());
        }
        Ok(read_ledger(self)?)
    }

    /// True when something was delivered, or a training has written a checkpoint.
    fn holds_work(&self, ledger: &Ledger) -> bool {
        let networks = fs::read_dir(self.checkpoints());
        let trained = |network: io::Result<fs::DirEntry>| {
            network.is_ok_and(|network| newest_checkpoint(&network.path()).is_some())
        };
        !ledger.deliveries.is_empty() || networks.is_ok_and(|mut all| all.any(trained))
    }

    /// Clears a folder whose run has nothing to show ([`Standing::Free`]) for `spec`, and returns the name that run has
    /// in a queue, where it may have got as far as that. Does nothing to any other folder.
    pub fn make_way(
        root: &Path,
        spec: &RunSpec,
        data: Digest,
    ) -> Result<Option<String>, RunFolderError> {
        let Some(folder) = Self::at(root) else {
            return Ok(None);
        };
        if folder.standing(spec, data)? != Standing::Free {
            return Ok(None);
        }
        let _lock = folder.lock()?;
        // Looked at again: until now another coordinator could have been at work.
        if folder.standing(spec, data)? != Standing::Free {
            return Ok(None);
        }
        let run = folder.ledger()?.created.map(|created| created.run);
        for dir in [folder.control(), folder.calibration()] {
            match fs::remove_dir_all(&dir) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(RunFolderError::Io { path: dir, source });
                }
                _ => {}
            }
        }
        // The spec last: without it nobody would look at what is left.
        for file in [folder.live(), folder.journal(), folder.spec_path()] {
            match fs::remove_file(&file) {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(RunFolderError::Io { path: file, source });
                }
                _ => {}
            }
        }
        tracing::info!(
            "{}: begun for another spec or other slices, and nothing was computed: it takes these",
            root.display()
        );
        Ok(run)
    }

    /// Opens an existing run: a folder, or a name under `runs/`.
    pub fn open(name: &Path) -> Result<Self, RunFolderError> {
        let runs = Path::new(RUNS);
        let candidates = [name.to_path_buf(), runs.join(name)];
        candidates
            .into_iter()
            .map(|root| Self { root })
            .find(|folder| folder.spec_path().is_file())
            .ok_or_else(|| RunFolderError::NoRun {
                path: name.to_path_buf(),
                hint: known_runs::hint(runs, name),
            })
    }

    pub fn spec(&self) -> Result<RunSpec, RunFolderError> {
        let path = self.spec_path();
        let text = fs::read_to_string(&path).map_err(|source| RunFolderError::Io {
            path: path.clone(),
            source,
        })?;
        RunSpec::parse(&text).map_err(|source| RunFolderError::Spec { path, source })
    }

    pub fn lock(&self) -> Result<RunLock, RunFolderError> {
        let path = self.root.join("lock");
        let io_error = |source| RunFolderError::Io {
            path: path.clone(),
            source,
        };
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error)?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(RunLock { file }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => return Err(io_error(source)),
            }
        }
        Err(RunFolderError::Locked(self.root.clone()))
    }

    /// True while a coordinator is at work on this run, on whichever machine.
    pub fn is_locked(&self) -> Result<bool, RunFolderError> {
        let path = self.root.join("lock");
        let io_error = |source| RunFolderError::Io {
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(io_error(error)),
        };
        // Shared: two who look do not take each other for a coordinator.
        match file.try_lock_shared() {
            Ok(()) => file.unlock().map(|()| false).map_err(io_error),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(io_error(source)),
        }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
    /// What is kept of each training: its loss curves.
    pub fn training(&self) -> PathBuf {
        self.root.join("training")
    }
    pub fn calibration(&self) -> PathBuf {
        self.root.join("calibration")
    }
    pub fn records(&self) -> PathBuf {
        self.root.join("records")
    }
    pub fn report(&self) -> PathBuf {
        self.root.join("report")
    }
    /// What operators ask of the coordinator at work.
    pub fn control(&self) -> PathBuf {
        self.root.join("control")
    }
    /// What the coordinator at work says of itself, or said last.
    pub fn live(&self) -> PathBuf {
        self.root.join("live.json")
    }
    fn spec_path(&self) -> PathBuf {
        self.root.join("spec.toml")
    }
}

fn first_difference(stored: &str, new: &str) -> String {
    stored
        .lines()
        .zip(new.lines())
        .find(|(a, b)| a != b)
        .map_or_else(
            || "one is longer than the other".to_owned(),
            |(a, b)| format!("'{a}' there, '{b}' here"),
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: &str = "name = \"x\"\n[data]\nstore = \"s\"\n[model.guided]\npreset = \"paper\"\n\
        [model.guided.train]\n[score]\nmethods = [\"anofpdm-ddim\"]\nguidance = [2]\n";

    #[test]
    fn a_folder_is_locked_once_and_belongs_to_one_spec() {
        let dir = tempfile::tempdir().unwrap();
        let spec = RunSpec::parse(SPEC).unwrap();
        let folder = RunFolder::create(dir.path(), &spec).unwrap();
        assert!(!folder.is_locked().unwrap(), "nobody was here yet");
        let lock = folder.lock().unwrap();
        assert!(matches!(folder.lock(), Err(RunFolderError::Locked(_))));
        assert!(folder.is_locked().unwrap());
        drop(lock);
        assert!(!folder.is_locked().unwrap());
        folder.lock().unwrap();

        assert_eq!(
            RunFolder::create(dir.path(), &spec)
                .unwrap()
                .spec()
                .unwrap(),
            spec
        );
        let other = RunSpec::parse(&SPEC.replace("[2]", "[3]")).unwrap();
        let error = RunFolder::create(dir.path(), &other).unwrap_err();
        assert!(error.to_string().contains("3.0"), "{error}");
    }

    #[test]
    fn a_lock_given_back_is_free_whatever_programs_are_started_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let spec = RunSpec::parse(SPEC).unwrap();
        let folder = RunFolder::create(dir.path(), &spec).unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let relaxed = std::sync::atomic::Ordering::Relaxed;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(relaxed) {
                        std::process::Command::new("true").status().unwrap();
                    }
                });
            }
            let held = (0..4000)
                .filter(|_| {
                    drop(folder.lock().unwrap());
                    folder.is_locked().unwrap()
                })
                .count();
            done.store(true, relaxed);
            assert_eq!(held, 0);
        });
    }

    #[test]
    fn a_folder_without_work_takes_another_spec() {
        use anofpdm_common::plan::Stage;
        use anofpdm_common::queue::LeaseId;

        use crate::ledger::Entry;
        use crate::ledger::journal::RunJournal;

        let (dir, data) = (tempfile::tempdir().unwrap(), Digest::of(b"slices"));
        let root = dir.path();
        let spec = RunSpec::parse(SPEC).unwrap();
        let other = RunSpec::parse(&SPEC.replace("[2]", "[3]")).unwrap();
        assert_eq!(RunFolder::make_way(root, &spec, data).unwrap(), None);
        let begin = |spec: &RunSpec| {
            let folder = RunFolder::create(root, spec).unwrap();
            let mut journal = RunJournal::open(&folder).unwrap();
            journal
                .append(&Entry::Created {
                    spec: spec.digest().unwrap(),
                    data,
                    run: "x-1".to_owned(),
                })
                .unwrap();
            (folder, journal)
        };
        let (folder, _journal) = begin(&spec);
        assert_eq!(folder.standing(&spec, data).unwrap(), Standing::Same);
        assert_eq!(folder.standing(&other, data).unwrap(), Standing::Free);
        let grown = Digest::of(b"more slices");
        assert_eq!(folder.standing(&spec, grown).unwrap(), Standing::Free);

        // Not while somebody is at work, although nothing was delivered yet.
        let lock = folder.lock().unwrap();
        assert!(matches!(
            RunFolder::make_way(root, &other, data),
            Err(RunFolderError::Locked(_))
        ));
        drop(lock);
        let run = RunFolder::make_way(root, &other, data).unwrap();
        assert_eq!(run.as_deref(), Some("x-1"));

        // A training step is work.
        let (folder, mut journal) = begin(&other);
        assert_eq!(folder.spec().unwrap(), other);
        let step = folder.checkpoints().join("guided/step-00000010");
        fs::create_dir_all(&step).unwrap();
        let taken = folder.standing(&spec, data).unwrap();
        assert!(
            matches!(&taken, Standing::Taken(Difference::Spec(line)) if line.contains("3.0")),
            "{taken:?}"
        );
        fs::remove_dir_all(&step).unwrap();
        assert_eq!(folder.standing(&spec, data).unwrap(), Standing::Free);

        // And so is a record.
        let delivered = Entry::Delivered {
            stage: Stage::Score,
            records: vec![(Digest::of(b"key"), Digest::of(b"record"))],
            evaluations: 1,
            padding: 0,
            device_millis: 1,
            worker: "w".to_owned(),
            lease: LeaseId { shard: 0, epoch: 1 },
            audit: false,
        };
        journal.append(&delivered).unwrap();
        assert!(matches!(
            folder.standing(&spec, data).unwrap(),
            Standing::Taken(_)
        ));
        assert_eq!(
            folder.standing(&other, grown).unwrap(),
            Standing::Taken(Difference::Slices)
        );
        assert_eq!(RunFolder::make_way(root, &spec, data).unwrap(), None);
        assert_eq!(folder.spec().unwrap(), other);
    }
}
