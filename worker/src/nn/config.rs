//! Configuration files: one network's object, or several by name.

use std::path::{Path, PathBuf};

use anofpdm_common::network::{NetworkConfig, NetworkConfigError};
use serde_json::Value;

/// Largest configuration file read, bytes.
const SIZE_LIMIT: u64 = 1 << 20;

/// Why a configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The operating system's word on it.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// Larger than any configuration.
    #[error("{0}: over 1 MiB: this is no network configuration")]
    TooLarge(PathBuf),
    /// Not the JSON of a network.
    #[error("{path}: {source}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: serde_json::Error,
    },
    /// It holds several networks and none, or an unknown one, was named.
    #[error("{path}: name one of its networks with --network: {known}")]
    Network {
        /// The file.
        path: PathBuf,
        /// Names that are there.
        known: String,
    },
    /// The network cannot be built.
    #[error("{path}: {source}")]
    Config {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: NetworkConfigError,
    },
}

/// Reads and validates a network's configuration: the file's only object, or the one called
/// `network` in a file of several.
///
/// # Errors
/// Names the file, and the networks it holds where a name is missing or wrong.
pub fn read(path: &Path, network: Option<&str>) -> Result<NetworkConfig, ConfigFileError> {
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
    let config = choose(&whole, network).ok_or_else(|| ConfigFileError::Network {
        path: path.to_owned(),
        known: networks(&whole).collect::<Vec<_>>().join(", "),
    })?;
    let config: NetworkConfig = serde_json::from_value(config.clone()).map_err(json)?;
    config
        .validate()
        .map_err(|source| ConfigFileError::Config {
            path: path.to_owned(),
            source,
        })?;
    Ok(config)
}

fn choose<'a>(whole: &'a Value, network: Option<&str>) -> Option<&'a Value> {
    if is_network(whole) {
        return Some(whole);
    }
    whole.get(network?).filter(|value| is_network(value))
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
        read(&path, network).map_err(|e| e.to_string())
    }

    #[test]
    fn one_network_or_one_of_several() {
        let single = read_text(NETWORK, None).unwrap();
        let several = format!(r#"{{"size": 3, "a": {NETWORK}, "b": {NETWORK}}}"#);
        assert_eq!(read_text(&several, Some("b")).unwrap(), single);
        for wrong in [None, Some("c"), Some("size")] {
            let message = read_text(&several, wrong).unwrap_err();
            assert!(message.ends_with("--network: a, b"), "{message}");
        }
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
