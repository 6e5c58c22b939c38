//! How the networks learned: their loss curves, and that they outlive the checkpoints.
//!
//! A checkpoint holds the curves so far (`meta.json`). What a finished training learned is kept beside the run as
//! `training/NETWORK.json`, so that the report can draw it when the checkpoints are gone. A run whose weights were all
//! given has neither.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use anofpdm_common::store::durable::{self, DiskError};
use serde::{Deserialize, Serialize};

use crate::run_folder::RunFolder;

/// Largest `meta.json` read, bytes.
const META_LIMIT: u64 = 1 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LossPoint {
    /// Last step of the stretch it stands for.
    pub step: u64,
    pub loss: f64,
}

/// What the report needs of a checkpoint, and all that is kept of it.
#[derive(Debug, Serialize, Deserialize)]
struct Meta {
    loss: History,
}

#[derive(Debug, Serialize, Deserialize)]
struct History {
    points: Vec<LossPoint>,
    #[serde(default)]
    validation: Vec<LossPoint>,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Curves {
    /// Training batches, with the weights of the moment.
    pub train: Vec<LossPoint>,
    /// Validation slices, with the averaged weights; empty where that was not asked for.
    pub validation: Vec<LossPoint>,
}

/// The curves of every network that was trained in this run, by its name: from its newest checkpoint, else what was kept
/// of it. What cannot be read is left out with a warning: the table does not depend on it.
pub fn curves(folder: &RunFolder) -> BTreeMap<String, Curves> {
    let mut networks = BTreeSet::new();
    for (entries, end) in [(folder.checkpoints(), ""), (folder.training(), ".json")] {
        let names = std::fs::read_dir(entries).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        networks.extend(names.filter_map(|name| Some(name.strip_suffix(end)?.to_owned())));
    }
    let mut all = BTreeMap::new();
    for network in networks {
        let kept = kept(folder, &network);
        let newest = newest_checkpoint(&folder.checkpoints().join(&network));
        let Some(source) = newest
            .map(|newest| newest.join("meta.json"))
            .or_else(|| kept.is_file().then_some(kept))
        else {
            continue;
        };
        match read(&source) {
            Ok(meta) => {
                let curves = Curves {
                    train: meta.loss.points,
                    validation: meta.loss.validation,
                };
                all.insert(network, curves);
            }
            Err(error) => {
                tracing::warn!(file = %source.display(), %error, "no loss curve of this network");
            }
        }
    }
    all
}

/// Keeps the curves of the newest checkpoint of `network` beside the run; false where no checkpoint has any that can be
/// read.
pub fn keep(folder: &RunFolder, network: &str) -> Result<bool, DiskError> {
    let Some(newest) = newest_checkpoint(&folder.checkpoints().join(network)) else {
        return Ok(false);
    };
    let path = kept(folder, network);
    let meta = match read(&newest.join("meta.json")) {
        Ok(meta) => meta,
        Err(error) => {
            tracing::warn!(checkpoint = %newest.display(), %error, "no loss curve can be kept of it");
            return Ok(false);
        }
    };
    let bytes =
        serde_json::to_vec(&meta).map_err(|error| DiskError::new("write", &path, error.into()))?;
    durable::create_dir(&folder.training())?;
    durable::write(&path, &bytes)?;
    Ok(true)
}

fn kept(folder: &RunFolder, network: &str) -> PathBuf {
    folder.training().join(format!("{network}.json"))
}

/// The newest checkpoint folder of a network: names sort by step.
pub fn newest_checkpoint(network: &Path) -> Option<PathBuf> {
    std::fs::read_dir(network)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| step_of(path).is_some())
        .max()
}

/// The step that training would go on from.
pub fn saved_step(network: &Path) -> Option<u64> {
    step_of(&newest_checkpoint(network)?)
}

fn step_of(checkpoint: &Path) -> Option<u64> {
    let name = checkpoint.file_name()?.to_str()?;
    name.strip_prefix("step-")?.parse().ok()
}

fn read(path: &Path) -> std::io::Result<Meta> {
    let mut text = String::new();
    File::open(path)?
        .take(META_LIMIT)
        .read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// The curves as CSV: network, what of it, step, loss.
pub fn table(curves: &BTreeMap<String, Curves>) -> String {
    let mut text = String::from("network,curve,step,loss\n");
    for (network, curves) in curves {
        for (name, points) in [("train", &curves.train), ("validation", &curves.validation)] {
            for LossPoint { step, loss } in points {
                text.push_str(&format!("{network},{name},{step},{loss}\n"));
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn curves_become_a_table() {
        let point = |step, loss| LossPoint { step, loss };
        let guided = Curves {
            train: vec![point(1, 1.0), point(2, 0.5), point(3, 0.25)],
            validation: vec![point(1, 0.75)],
        };
        assert_eq!(
            table(&BTreeMap::from([("guided".to_owned(), guided)])),
            "network,curve,step,loss\nguided,train,1,1\nguided,train,2,0.5\nguided,train,3,0.25\nguided,validation,1,0.75\n"
        );
    }

    #[test]
    fn what_was_learned_outlives_the_checkpoints() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("spec.toml"), "").unwrap();
        let folder = RunFolder::open(dir.path()).unwrap();
        assert!(curves(&folder).is_empty());
        assert!(!keep(&folder, "guided").unwrap(), "nothing is there");
        let save = |step: u64, loss: &str| {
            let name = format!("guided/step-{step:08}");
            let checkpoint = folder.checkpoints().join(name);
            fs::create_dir_all(&checkpoint).unwrap();
            let meta = format!(
                r#"{{"step":{step},"loss":{{"points":[{{"step":{step},"loss":{loss}}}],"stretch":1}}}}"#
            );
            fs::write(checkpoint.join("meta.json"), meta).unwrap();
        };
        save(50, "0.5");
        save(200, "0.1234567890123456789");
        fs::create_dir_all(folder.checkpoints().join("guided/samples")).unwrap();
        let network = folder.checkpoints().join("guided");
        assert_eq!(saved_step(&network), Some(200));
        let before = curves(&folder);
        assert_eq!(before["guided"].train[0].step, 200);

        assert!(keep(&folder, "guided").unwrap());
        fs::remove_dir_all(folder.checkpoints()).unwrap();
        assert_eq!(curves(&folder), before, "bit for bit");
        assert_eq!(saved_step(&network), None);
        fs::write(folder.training().join("guided.json"), "{").unwrap();
        assert!(curves(&folder).is_empty(), "a broken file is left out");
    }
}
