//! The tensors of a `.pt` file: named at once, read one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anofpdm_common::network::TensorShapes;
use pytorch_reader::{DType, PytorchReader};
use tch::{Kind, Tensor};

use super::{ImportError, gate};
use crate::tensors::NamedTensors;

/// Largest file read, bytes: ten times the paper's network.
const FILE_LIMIT: u64 = 4 << 30;

/// The tensor that all networks of the family begin with.
const FIRST: &str = "input_blocks.0.0.weight";

/// Where weights stand in a file that holds more than them; of several the first here is taken, as
/// evaluation uses averaged weights.
const USUAL_KEYS: [&str; 8] = [
    "ema",
    "ema_state_dict",
    "state_dict_ema",
    "model_ema",
    "ema_model",
    "state_dict",
    "model_state_dict",
    "model",
];

/// What stands between such a key and the weights and says nothing of them: wrappers of modules, and dictionaries.
const WRAPPERS: [&str; 4] = ["module", "_orig_mod", "state_dict", "model_state_dict"];

/// The weights of one network in a file, not read yet.
#[derive(Debug)]
pub(super) struct Checkpoint {
    path: PathBuf,
    tensors: BTreeMap<String, pytorch_reader::Tensor>,
    /// Where in the file they stand: a key, or nothing.
    pub(super) key: String,
    /// Other places with weights.
    pub(super) others: Vec<String>,
}

impl Checkpoint {
    /// Finds the weights in `path`: under `key`, else where such files usually have them.
    pub(super) fn open(path: &Path, key: Option<&str>) -> Result<Self, ImportError> {
        let bytes = std::fs::metadata(path)
            .map_err(|source| ImportError::Io {
                path: path.to_owned(),
                source,
            })?
            .len();
        if bytes > FILE_LIMIT {
            return Err(ImportError::TooLarge {
                path: path.to_owned(),
                bytes,
                limit: FILE_LIMIT,
            });
        }
        gate::check(path)?;
        let all = PytorchReader::new(path)
            .map_err(|source| ImportError::Reader {
                path: path.to_owned(),
                source: Box::new(source),
            })?
            .into_tensors();
        let places: BTreeSet<String> = all
            .keys()
            .filter_map(|name| name.strip_suffix(FIRST))
            .map(|place| place.trim_end_matches('.').to_owned())
            .collect();
        let found = choose(&places, key).ok_or_else(|| ImportError::NoNetwork {
            path: path.to_owned(),
            key: key.map_or(String::new(), |key| format!(" under '{key}'")),
            tensors: all.len(),
            places: places.iter().cloned().collect::<Vec<_>>().join(", "),
        })?;
        let prefix = if found.is_empty() {
            String::new()
        } else {
            format!("{found}.")
        };
        let tensors: BTreeMap<String, pytorch_reader::Tensor> = all
            .into_iter()
            .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor)))
            .collect();
        let held = Self {
            path: path.to_owned(),
            tensors,
            others: places.into_iter().filter(|place| *place != found).collect(),
            key: found,
        };
        // A view can say it is larger than what it is a view of.
        if held.bytes() > bytes {
            return Err(ImportError::Inflated {
                path: path.to_owned(),
                claimed: held.bytes(),
                bytes,
            });
        }
        Ok(held)
    }

    pub(super) fn shapes(&self) -> TensorShapes {
        self.tensors
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()))
            .collect()
    }

    /// Numbers in all tensors.
    pub(super) fn numbers(&self) -> u64 {
        let numbers = self.tensors.values().map(|t| t.num_elements() as u64);
        numbers.fold(0, u64::saturating_add)
    }

    fn bytes(&self) -> u64 {
        let bytes = self.tensors.values().map(|t| t.byte_len() as u64);
        bytes.fold(0, u64::saturating_add)
    }

    /// Reads all tensors, as they are stored but for float64, which becomes float32.
    pub(super) fn read(&self) -> Result<Weights, ImportError> {
        let mut weights = Weights::default();
        for (name, stored) in &self.tensors {
            let mut tensor = self.read_one(name, stored)?;
            if tensor.kind() == Kind::Double {
                let narrow = tensor.to_kind(Kind::Float);
                let changed = narrow.to_kind(Kind::Double).not_equal_tensor(&tensor);
                let count = changed.sum(Kind::Int64).int64_value(&[]);
                weights.rounded += u64::try_from(count).unwrap_or(0);
                weights.float64 += stored.num_elements() as u64;
                tensor = narrow;
            }
            weights.tensors.insert(name.clone(), tensor);
        }
        Ok(weights)
    }

    fn read_one(&self, name: &str, stored: &pytorch_reader::Tensor) -> Result<Tensor, ImportError> {
        let kind = match stored.dtype() {
            DType::F64 => Kind::Double,
            DType::F32 => Kind::Float,
            DType::F16 => Kind::Half,
            DType::BF16 => Kind::BFloat16,
            other => {
                return Err(ImportError::StoredKind {
                    path: self.path.clone(),
                    name: name.to_owned(),
                    kind: format!("{other:?}"),
                });
            }
        };
        let bytes = stored.read().map_err(|source| ImportError::Io {
            path: self.path.clone(),
            source,
        })?;
        let shape: Vec<i64> = stored
            .shape()
            .iter()
            .map(|size| i64::try_from(*size).unwrap_or(i64::MAX))
            .collect();
        Tensor::f_from_data_size(&bytes, &shape, kind).map_err(|error| ImportError::Tensor {
            path: self.path.clone(),
            name: name.to_owned(),
            reason: error.to_string(),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct Weights {
    pub(super) tensors: NamedTensors,
    /// Numbers that were stored as float64.
    pub(super) float64: u64,
    /// Those of them that no float32 equals.
    pub(super) rounded: u64,
}

/// The place to take the weights from.
fn choose(places: &BTreeSet<String>, key: Option<&str>) -> Option<String> {
    if let Some(key) = key {
        return places.get(key).cloned();
    }
    if places.contains("") || places.len() <= 1 {
        return places.first().cloned();
    }
    USUAL_KEYS.iter().find_map(|key| {
        let mut there = places.iter().filter(|place| usual_key(place) == Some(*key));
        // One of several under the same key is for the user to name.
        there.next().filter(|_| there.next().is_none()).cloned()
    })
}

/// The usual key that a place such as `ema_model.module` stands under: the last of its parts that says anything.
fn usual_key(place: &str) -> Option<&str> {
    let mut parts = place.rsplit('.');
    let telling = parts.find(|part| !WRAPPERS.contains(part));
    // Nothing but wrappers: they are the key.
    let key = telling.or(place.split('.').next())?;
    USUAL_KEYS.contains(&key).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_averaged_weights_are_taken_unless_others_are_asked_for() {
        let places = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        for (found, key, expected) in [
            (&["model", "ema"][..], None, Some("ema")),
            (&["model", "ema"], Some("model"), Some("model")),
            (&["model", "ema"], Some("modle"), None),
            (&["", "ema"], None, Some("")),
            (&["net.module"], None, Some("net.module")),
            (&["a", "b"], None, None),
            (&["state_dict", "ema_model"], None, Some("ema_model")),
            (
                &["state_dict", "state_dict_ema"],
                None,
                Some("state_dict_ema"),
            ),
            (&["model_ema", "model"], None, Some("model_ema")),
            (
                &["ema_model.module", "model.module"],
                None,
                Some("ema_model.module"),
            ),
            (
                &["ema.ema_model", "ema.online_model", "model"],
                None,
                Some("ema.ema_model"),
            ),
            (
                &["ema.state_dict", "state_dict"],
                None,
                Some("ema.state_dict"),
            ),
            (&["ema.a", "ema.b"], None, None),
            (&["module", "optimizer"], None, None),
            (
                &["state_dict.module", "other"],
                None,
                Some("state_dict.module"),
            ),
            (&[], None, None),
        ] {
            let chosen = choose(&places(found), key);
            assert_eq!(chosen.as_deref(), expected, "{found:?} {key:?}");
        }
    }
}
