//! What `run` and `plan` are about: a spec file, or a run that was begun.

use std::path::{Path, PathBuf};

use clap::Args;

use super::failure::UsageError;
use crate::known_runs;
use crate::run_folder::{RUNS, RunFolder};
use crate::spec_file::SpecFile;

/// Which benchmark, and where.
#[derive(Debug, Args)]
pub struct SpecArgs {
    /// The run spec (TOML); or a run that was begun: its folder, or its name under runs/
    #[arg(value_name = "SPEC|RUN")]
    spec: PathBuf,
    /// Run folder [default: that of the run that is named, else runs/NAME]
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl SpecArgs {
    /// The spec, and the folder of its run.
    pub(super) fn open(&self) -> anyhow::Result<(SpecFile, PathBuf)> {
        let (path, begun) = self.find()?;
        let spec_file = SpecFile::read(&path)?;
        let dir = self.dir.clone().or(begun);
        let dir = dir.unwrap_or_else(|| spec_file.default_dir());
        Ok((spec_file, dir))
    }

    /// The spec file, and the folder of the run that it lies in.
    fn find(&self) -> Result<(PathBuf, Option<PathBuf>), UsageError> {
        let named = &self.spec;
        if named.is_dir() || !named.exists() {
            return match RunFolder::open(named) {
                Ok(folder) => Ok((spec_of(folder.root()), Some(folder.root().to_path_buf()))),
                Err(_) => Err(UsageError(format!(
                    "{}: {}, and no run is there; {}",
                    named.display(),
                    if named.is_dir() {
                        "a folder is no spec"
                    } else {
                        "there is no such spec"
                    },
                    known_runs::hint(Path::new(RUNS), named)
                ))),
            };
        }
        // The copy in a run folder means that run, whatever its name.
        let folder = named.parent().unwrap_or(Path::new(""));
        let begun = *named == spec_of(folder) && folder.join("journal").is_file();
        Ok((named.clone(), begun.then(|| folder.to_path_buf())))
    }
}

fn spec_of(run: &Path) -> PathBuf {
    run.join("spec.toml")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const SPEC: &str = "name = \"x\"\n[data]\nstore = \"s\"\n[model.guided]\npreset = \"paper\"\n\
        [model.guided.train]\n[score]\nmethods = [\"anofpdm-ddim\"]\nguidance = [2]\n";

    fn open(spec: &Path) -> anyhow::Result<PathBuf> {
        let args = SpecArgs {
            spec: spec.to_path_buf(),
            dir: None,
        };
        args.open().map(|(_, dir)| dir)
    }

    #[test]
    fn a_run_is_named_by_its_folder_or_by_its_spec_and_goes_on_there() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("elsewhere");
        fs::create_dir(&run).unwrap();
        fs::write(run.join("spec.toml"), SPEC).unwrap();
        assert_eq!(open(&run).unwrap(), run);
        // A file that happens to be called so is a spec like any other.
        assert_eq!(
            open(&run.join("spec.toml")).unwrap(),
            Path::new(RUNS).join("x")
        );
        fs::write(run.join("journal"), "").unwrap();
        assert_eq!(open(&run.join("spec.toml")).unwrap(), run);
    }

    #[test]
    fn what_is_neither_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("nosuch");
        let complaint = open(&missing).unwrap_err();
        assert!(complaint.is::<UsageError>());
        let complaint = complaint.to_string();
        assert!(
            complaint.contains("nosuch: there is no such spec, and no run is there; "),
            "{complaint}"
        );
        let complaint = open(dir.path()).unwrap_err().to_string();
        assert!(complaint.contains("a folder is no spec"), "{complaint}");
    }
}
