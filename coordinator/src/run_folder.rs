//! The folder of a run (DESIGN 4): its paths, its lock, and the spec it belongs to.
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

use anofpdm_common::spec::{RunSpec, SpecError};
use anofpdm_common::store::durable::{self, DiskError};

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
    /// A file operation failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file could not be written.
    #[error("{0}")]
    Disk(#[from] DiskError),
    /// Another coordinator works on it.
    #[error("{0} is locked: another coordinator is at work on this run; wait for it or stop it")]
    Locked(PathBuf),
    /// The folder belongs to another spec.
    #[error(
        "{path} belongs to another spec (first difference: {difference}); give the new one another name or --dir, or remove the folder"
    )]
    OtherSpec {
        /// The run folder.
        path: PathBuf,
        /// The first line that differs.
        difference: String,
    },
    /// There is no run here.
    #[error("{path} holds no run: no spec.toml; {hint}")]
    NoRun {
        /// What was named.
        path: PathBuf,
        /// The runs there are.
        hint: String,
    },
    /// The stored spec is broken.
    #[error("{path}: {source}")]
    Spec {
        /// The stored spec.
        path: PathBuf,
        /// What is wrong with it.
        source: SpecError,
    },
}

/// An existing run folder. Holds no lock.
#[derive(Debug, Clone)]
pub struct RunFolder {
    root: PathBuf,
}

/// Keeps other coordinators out for as long as it lives.
#[derive(Debug)]
pub struct RunLock {
    _file: File,
}

impl RunFolder {
    /// Creates the folder for `spec`, or opens the one that belongs to the same spec.
    ///
    /// # Errors
    /// [`RunFolderError::OtherSpec`] when it belongs to another; I/O errors.
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

    /// Opens an existing run: a folder, or a name under `runs/`.
    ///
    /// # Errors
    /// [`RunFolderError::NoRun`].
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

    /// The spec of the run.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn spec(&self) -> Result<RunSpec, RunFolderError> {
        let path = self.spec_path();
        let text = fs::read_to_string(&path).map_err(|source| RunFolderError::Io {
            path: path.clone(),
            source,
        })?;
        RunSpec::parse(&text).map_err(|source| RunFolderError::Spec { path, source })
    }

    /// Takes the lock.
    ///
    /// # Errors
    /// [`RunFolderError::Locked`] when another coordinator holds it.
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
                Ok(()) => return Ok(RunLock { _file: file }),
                Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
                Err(TryLockError::Error(source)) => return Err(io_error(source)),
            }
        }
        Err(RunFolderError::Locked(self.root.clone()))
    }

    /// True while a coordinator is at work on this run, on whichever machine.
    ///
    /// # Errors
    /// When that cannot be found out.
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
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(io_error(source)),
        }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }
    /// The journal file.
    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }
    /// Training checkpoints, one folder a network.
    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }
    /// What is kept of each training: its loss curves.
    pub fn training(&self) -> PathBuf {
        self.root.join("training")
    }
    /// Calibration results.
    pub fn calibration(&self) -> PathBuf {
        self.root.join("calibration")
    }
    /// The artifact store.
    pub fn records(&self) -> PathBuf {
        self.root.join("records")
    }
    /// Tables.
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
}
