//! Configuration files: one network's object, or several by name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anofpdm_common::network::{Arch, NetworkConfig, NetworkConfigError, TensorShapes};
use serde_json::{Map, Value};

use crate::tensors::{self, TensorFileError};

/// Largest configuration file read, bytes.
const SIZE_LIMIT: u64 = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    #[error("{path}: {source}")]
    Io {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{0}: over 1 MiB: this is no network configuration")]
    TooLarge(PathBuf),
    #[error("{path}: {source}")]
    Json {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path}: name one of its networks with --network: {known}")]
    Network { path: PathBuf, known: String },
    #[error(transparent)]
    Weights(#[from] TensorFileError),
    #[error("{path}: {source}")]
    Config {
        path: PathBuf,
        source: NetworkConfigError,
    },
}

/// Reads and validates a network's configuration: the file's only object, or the one called
/// `network` in a file of several. `NAME_learn_sigma` is, where it has no object of its own, `NAME`
/// with outputs for the variance.
///
/// The published objects do not name their family, and do not say whether a v1 network has a label
/// table. Where the name does not tell, the tensors of the checkpoint `weights` do.
///
/// # Errors
/// Names the file, and the networks it holds where a name is missing or wrong.
pub fn read(
    path: &Path,
    network: Option<&str>,
    weights: Option<&Path>,
) -> Result<NetworkConfig, ConfigFileError> {
    let shapes = weights.map(tensors::shapes).transpose()?;
    read_for(path, network, shapes.as_ref())
}

/// [`read`], with the names and shapes of a checkpoint's tensors.
pub fn read_for(
    path: &Path,
    network: Option<&str>,
    shapes: Option<&TensorShapes>,
) -> Result<NetworkConfig, ConfigFileError> {
    let io = |source| ConfigFileError::Io {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(io)?.len() > SIZE_LIMIT {
        return Err(ConfigFileError::TooLarge(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    let json = |source| ConfigFileError::Json {
        path: path.to_owned(),
        source,
    };
    let whole: Value = serde_json::from_str(&text).map_err(json)?;
    let mut object = choose(&whole, network).ok_or_else(|| ConfigFileError::Network {
        path: path.to_owned(),
        known: networks(&whole).collect::<Vec<_>>().join(", "),
    })?;
    if !object.contains_key(ARCH)
        && let Some(arch) = network
            .and_then(arch_of_name)
            .or_else(|| shapes.map(arch_of_tensors))
    {
        object.insert(ARCH.to_owned(), arch.name().into());
    }
    let mut config: NetworkConfig = serde_json::from_value(object.into()).map_err(json)?;
    if let (Arch::V1, None, Some(shapes)) = (config.arch, config.num_classes, shapes) {
        config.num_classes = label_rows(shapes, config.embedding_width());
    }
    config
        .validate()
        .map_err(|source| ConfigFileError::Config {
            path: path.to_owned(),
            source,
        })?;
    Ok(config)
}

/// The field that names the family.
const ARCH: &str = "arch";
const LEARN_SIGMA: &str = "_learn_sigma";

/// The object of `network`, as a map of its own.
fn choose(whole: &Value, network: Option<&str>) -> Option<Map<String, Value>> {
    if is_network(whole) {
        return whole.as_object().cloned();
    }
    let name = network?;
    let object = |name: &str| {
        let value = whole.get(name).filter(|value| is_network(value))?;
        value.as_object().cloned()
    };
    object(name).or_else(|| {
        let mut plain = object(name.strip_suffix(LEARN_SIGMA)?)?;
        let channels = plain.get("in_channels")?.as_i64()?;
        plain.insert("out_channels".to_owned(), channels.checked_mul(2)?.into());
        Some(plain)
    })
}

/// The family that a published name tells.
fn arch_of_name(network: &str) -> Option<Arch> {
    match network.strip_suffix(LEARN_SIGMA).unwrap_or(network) {
        "unet_v2" => Some(Arch::V2),
        "unet_v1" => Some(Arch::V1),
        "classifier" => Some(Arch::Classifier),
        _ => None,
    }
}

/// The family whose tensors these are: only v2 attends to class tokens, only a classifier ends in an
/// attention pool.
pub fn arch_of_tensors<T>(tensors: &BTreeMap<String, T>) -> Arch {
    if tensors
        .keys()
        .any(|name| name.ends_with(".encoder_kv.weight"))
    {
        Arch::V2
    } else if tensors.contains_key("out.2.positional_embedding") {
        Arch::Classifier
    } else {
        Arch::V1
    }
}

/// Labels in the table of a v1 network, if it has one.
fn label_rows(shapes: &TensorShapes, width: i64) -> Option<i64> {
    match shapes.get("label_emb.weight")?[..] {
        [rows, columns] if i64::try_from(columns) == Ok(width) => i64::try_from(rows).ok(),
        _ => None,
    }
}

fn networks(whole: &Value) -> impl Iterator<Item = &str> {
    whole
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, value)| is_network(value))
        .map(|(name, _)| name.as_str())
}

fn is_network(value: &Value) -> bool {
    value.get("image_size").is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: &str = r#"{"image_size": 16, "in_channels": 4, "num_channels": 32,
        "num_res_blocks": 1, "channel_mult": [1, 2], "attention_downsample_rates": [2],
        "num_heads": 2}"#;

    fn read_text(text: &str, network: Option<&str>) -> Result<NetworkConfig, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).unwrap();
        read(&path, network, None).map_err(|e| e.to_string())
    }

    #[test]
    fn one_network_or_one_of_several() {
        let single = read_text(NETWORK, None).unwrap();
        let several = format!(r#"{{"size": 3, "a": {NETWORK}, "b": {NETWORK}}}"#);
        assert_eq!(read_text(&several, Some("b")).unwrap(), single);
        for wrong in [None, Some("c"), Some("size"), Some("c_learn_sigma")] {
            let message = read_text(&several, wrong).unwrap_err();
            assert!(message.ends_with("--network: a, b"), "{message}");
        }
    }

    #[test]
    fn published_names_tell_the_family() {
        let classifier = NETWORK.replace("\"num_heads\": 2", "\"num_head_channels\": 32");
        let several = format!(
            r#"{{"unet_v2": {NETWORK}, "unet_v1": {NETWORK}, "classifier": {classifier}}}"#
        );
        for (name, arch, outputs) in [
            ("unet_v2", Arch::V2, 4),
            ("unet_v1", Arch::V1, 4),
            ("unet_v1_learn_sigma", Arch::V1, 8),
            ("classifier", Arch::Classifier, 2),
        ] {
            let config = read_text(&several, Some(name)).unwrap();
            assert_eq!(
                (config.arch, config.output_channels()),
                (arch, outputs),
                "{name}"
            );
        }
    }

    #[test]
    fn tensors_tell_what_the_file_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let (path, weights) = (folder.path().join("c.json"), folder.path().join("w"));
        std::fs::write(&path, NETWORK).unwrap();
        let found = |tensor: &str, shape: &[i64]| {
            let values = tch::Tensor::zeros(shape, (tch::Kind::Float, tch::Device::Cpu));
            let named = tensors::NamedTensors::from([(tensor.to_owned(), values)]);
            tensors::write(&weights, &named).unwrap();
            let config = read(&path, None, Some(&weights)).unwrap();
            (config.arch, config.num_classes)
        };
        let v2 = found("middle_block.1.encoder_kv.weight", &[64, 128, 1]);
        assert_eq!(v2, (Arch::V2, Some(2)));
        assert_eq!(found("out.2.weight", &[4, 32, 3, 3]), (Arch::V1, None));
        assert_eq!(found("label_emb.weight", &[3, 128]), (Arch::V1, Some(3)));
        let pool = found("out.2.positional_embedding", &[64, 65]);
        assert_eq!(pool, (Arch::Classifier, None));
    }

    #[test]
    fn impossible_networks_name_file_and_field() {
        let message = read_text(&NETWORK.replace("32", "33"), None).unwrap_err();
        assert!(
            message.contains("config.json: num_channels is 33"),
            "{message}"
        );
        let message = read_text(&NETWORK.replace("num_heads", "num_head"), None).unwrap_err();
        assert!(message.contains("num_head"), "{message}");
    }
}
