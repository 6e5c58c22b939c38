//! Calls of `anofpdm-worker trace`, the real program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anofpdm_test_support::oracle::{Tensor, read_tensors};
use anofpdm_tests::programs::program;

pub(crate) type Tensors = BTreeMap<String, Tensor>;

/// One call of the program, in a folder of its own.
#[derive(Debug)]
pub(crate) struct Call {
    folder: tempfile::TempDir,
    pub(crate) arguments: Vec<String>,
}

impl Call {
    pub(crate) fn new(model: &Path, config: &Path, input: &Path) -> Self {
        let call = Self {
            folder: tempfile::tempdir().unwrap(),
            arguments: vec!["trace".to_owned()],
        };
        let out = call.out();
        call.option("--model", model.display())
            .option("--config", config.display())
            .option("--input", input.display())
            .option("--out", out.display())
    }

    pub(crate) fn oracle(oracles: &Path) -> Self {
        Self::new(
            &oracles.join("unet_v2.safetensors"),
            &oracles.join("config.json"),
            &oracles.join("inputs.safetensors"),
        )
        .option("--network", "unet_v2")
        .option("--modalities", "0,3")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("out.safetensors")
    }

    pub(crate) fn option(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.arguments.push(name.to_owned());
        self.arguments.push(value.to_string());
        self
    }

    pub(crate) fn flag(mut self, name: &str) -> Self {
        self.arguments.push(name.to_owned());
        self
    }

    pub(crate) fn try_run(&self) -> Output {
        Command::new(program("anofpdm-worker"))
            .args(&self.arguments)
            .output()
            .unwrap()
    }

    pub(crate) fn run(&self) -> Tensors {
        let output = self.try_run();
        assert!(
            output.status.success(),
            "{:?}: {}",
            self.arguments,
            String::from_utf8_lossy(&output.stderr)
        );
        read_tensors(&self.out())
    }
}
