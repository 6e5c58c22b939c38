//! `anofpdm-worker import` on files that PyTorch wrote, and on files that nobody should have written.
#![allow(clippy::unwrap_used)]

mod archive;
mod forged;
mod names;
mod output;
mod plain;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use anofpdm_worker::import::args::ImportArgs;
use anofpdm_worker::import::import;
use anofpdm_worker::nn::weights::{self, open_classifier, open_unet};
use anofpdm_worker::nn::{ClassLabel, Classifier, Labels, Mode, UNet, config};
use anofpdm_worker::tensors::{self, NamedTensors};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

/// The networks of the fixtures.
fn network(name: &str) -> NetworkConfig {
    let (arch, rest) = match name {
        "v2" => ("v2", r#""num_heads": 4, "num_classes": 2"#),
        "v1" => ("v1", r#""num_heads": 4"#),
        "conditional" => ("v1", r#""num_heads": 4, "num_classes": 2"#),
        _ => ("classifier", r#""num_head_channels": 32"#),
    };
    let outputs = match name {
        "conditional" => 4,
        _ => 2,
    };
    let text = format!(
        r#"{{"arch": "{arch}", "image_size": 16, "in_channels": 2, "out_channels": {outputs},
            "num_channels": 32, "num_res_blocks": 1, "channel_mult": [1, 1],
            "attention_downsample_rates": [2], {rest}}}"#
    );
    let config: NetworkConfig = serde_json::from_str(&text).unwrap();
    config.validate().unwrap();
    config
}

fn built(config: &NetworkConfig) -> VarStore {
    let vs = VarStore::new(Device::Cpu);
    match config.arch {
        Arch::V2 | Arch::V1 => drop(UNet::new(&vs.root(), config)),
        Arch::Classifier => drop(Classifier::new(&vs.root(), config)),
    }
    vs
}

/// The weights that make.py writes, cast to `kind`.
fn expected(config: &NetworkConfig, kind: Kind) -> NamedTensors {
    let vs = built(config);
    let names = weights::variables(&vs);
    (0_i64..)
        .zip(names)
        .map(|(i, (name, tensor))| {
            let count = i64::try_from(tensor.numel()).unwrap();
            let k = Tensor::arange(count, (Kind::Int64, Device::Cpu));
            let value = (k * 37 + 11 * i).remainder(251) - 125;
            let value = (value.to_kind(Kind::Double) / 1000.0).to_kind(Kind::Float);
            (name, value.view(&tensor.size()[..]).to_kind(kind))
        })
        .collect()
}

/// Files by PyTorch, unpacked into `folder`.
fn fixtures(folder: &Path) {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import/fixtures");
    for entry in fs::read_dir(packed).unwrap() {
        let packed = entry.unwrap().path();
        let mut plain = File::create(folder.join(packed.file_stem().unwrap())).unwrap();
        let mut packed = flate2::read::GzDecoder::new(File::open(packed).unwrap());
        io::copy(&mut packed, &mut plain).unwrap();
    }
}

fn args(checkpoint: &Path, arch: Arch) -> ImportArgs {
    let name = checkpoint.file_stem().unwrap().to_str().unwrap();
    let folder = checkpoint.with_file_name(format!("imported-{name}"));
    fs::create_dir_all(&folder).unwrap();
    ImportArgs {
        checkpoint: checkpoint.to_owned(),
        arch,
        heads: Some(4),
        image_size: Some(16),
        config: None,
        network: None,
        key: None,
        output: folder.join("weights.safetensors"),
        force: false,
    }
}

fn refusal(args: &ImportArgs) -> String {
    let message = import(args).unwrap_err().to_string();
    assert!(!args.output.exists(), "{message}");
    assert!(
        !args.output.with_file_name("config.json").exists(),
        "{message}"
    );
    message
}

/// What a network of these weights says to a ramp.
fn answer(weights: &Path, config: &NetworkConfig) -> Tensor {
    let ramp = Tensor::arange(2 * 2 * 16 * 16, (Kind::Float, Device::Cpu));
    let x = (ramp * 0.37).sin().view([2, 2, 16, 16]);
    let times = Tensor::from_slice(&[3_i64, 700]);
    if config.arch == Arch::Classifier {
        let network = open_classifier(weights, config, Device::Cpu).unwrap();
        network.forward(&x, &times, Mode::Eval)
    } else {
        let network = open_unet(weights, config, Device::Cpu).unwrap();
        let labels = Labels::All(ClassLabel::Unhealthy);
        network.forward(&x, &times, &labels, Mode::Eval)
    }
}

/// Imports the good files in `folder` and compares weights, configuration and answers.
fn check_all(folder: &Path) {
    for (file, name, kind) in [
        ("v2-zip-f32.pt", "v2", Kind::Float),
        ("v1-zip-bf16-wrapped.pt", "v1", Kind::BFloat16),
        ("conditional-legacy-f16-ema.pt", "conditional", Kind::Half),
        ("classifier-zip-f32-module.pt", "classifier", Kind::Float),
    ] {
        let network = network(name);
        let mut args = args(&folder.join(file), network.arch);
        if network.arch == Arch::Classifier {
            // One head of 32 channels.
            (args.heads, args.image_size) = (Some(1), None);
        }
        let imported = import(&args).unwrap_or_else(|error| panic!("{file}: {error}"));
        let stated = NetworkConfig {
            heads: Heads::Count(args.heads.unwrap()),
            ..network.clone()
        };
        assert_eq!(imported.config, stated, "{file}");
        assert_eq!(
            config::read(&imported.config_file, None, None).unwrap(),
            stated
        );
        let found = tensors::read(&args.output, 1 << 24).unwrap();
        let expected = expected(&network, kind);
        assert!(found.keys().eq(expected.keys()), "{file}");
        for (tensor, values) in &expected {
            assert_eq!(found[tensor].kind(), kind, "{file} {tensor}");
            assert_eq!(&found[tensor], values, "{file} {tensor}");
        }
        let direct = folder.join("direct.safetensors");
        tensors::write(&direct, &expected).unwrap();
        let answers = answer(&args.output, &stated);
        assert!(answers.abs().max().double_value(&[]) > 0.0, "{file}");
        assert_eq!(answers, answer(&direct, &network), "{file}");

        let several = file.contains("ema");
        assert_eq!(imported.warnings.len(), usize::from(several), "{file}");
        if several {
            assert!(imported.warnings[0].contains("not model"), "{file}");
        }
    }
}

#[test]
fn files_by_pytorch_become_the_same_network() {
    let folder = tempfile::tempdir().unwrap();
    fixtures(folder.path());
    check_all(folder.path());
}

/// The same on files made now, where there is a PyTorch.
#[test]
fn files_by_the_installed_pytorch_become_the_same_network() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("../.venv/bin/python");
    let usable = Command::new(&python).args(["-c", "import torch"]).output();
    if !usable.is_ok_and(|output| output.status.success()) {
        println!("skipped: {} has no PyTorch", python.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new(python)
        .arg(root.join("tests/import/make.py"))
        .args([&write_shapes(folder.path()), folder.path()])
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    check_all(folder.path());
    check_refusals(folder.path());
    let imported = import(&args(&folder.path().join("v2-zip-f64.pt"), Arch::V2)).unwrap();
    assert!(imported.warnings[0].contains("stored as float64"));
}

/// What make.py is told.
fn write_shapes(folder: &Path) -> PathBuf {
    let shapes: serde_json::Map<String, serde_json::Value> =
        ["v2", "v1", "conditional", "classifier"]
            .into_iter()
            .map(|name| {
                let shapes: serde_json::Map<String, serde_json::Value> =
                    weights::variables(&built(&network(name)))
                        .into_iter()
                        .map(|(tensor, value)| (tensor, value.size().into()))
                        .collect();
                (name.to_owned(), shapes.into())
            })
            .collect();
    let path = folder.join("shapes.json");
    fs::write(&path, serde_json::to_vec(&shapes).unwrap()).unwrap();
    path
}

/// Files of PyTorch that must be refused, and why.
fn check_refusals(folder: &Path) {
    for (file, part) in [
        (
            "v2-zip-wrong-shape.pt",
            "middle_block.0.out_layers.3.weight is [32, 32, 1, 1]",
        ),
        ("hostile-zip.pt", "asks for the Python object posix.system"),
        (
            "hostile-legacy.pt",
            "asks for the Python object posix.system",
        ),
    ] {
        let message = refusal(&args(&folder.join(file), Arch::V2));
        assert!(
            message.contains(part) && message.contains(file),
            "{message}"
        );
    }
    assert!(!Path::new("hostile-was-run").exists());
}

#[test]
fn wrong_and_hostile_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    fixtures(folder.path());
    check_refusals(folder.path());
}

#[test]
fn what_was_said_must_fit_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    fixtures(folder.path());
    let v2 = folder.path().join("v2-zip-f32.pt");
    let refused = |change: &dyn Fn(&mut ImportArgs), part: &str| {
        let mut args = args(&v2, Arch::V2);
        change(&mut args);
        let message = refusal(&args);
        assert!(message.contains(part), "{message}");
    };
    refused(&|a| a.arch = Arch::V1, "say --arch v2");
    refused(&|a| a.arch = Arch::Classifier, "say --arch v2");
    refused(&|a| a.heads = Some(5), "num_heads 5 does not divide");
    refused(&|a| a.image_size = Some(15), "image_size 15");
    refused(&|a| a.key = Some("ema".to_owned()), "under 'ema'");
    let configured = |change: fn(&mut NetworkConfig), part: &str| {
        let file = folder.path().join("stated.json");
        let mut config = network("v2");
        change(&mut config);
        fs::write(&file, serde_json::to_vec(&config).unwrap()).unwrap();
        refused(&|a| a.config = Some(file.clone()), part);
    };
    configured(
        |c| c.in_channels = 3,
        "this checkpoint has 2 input channels",
    );
    configured(|c| c.num_classes = Some(3), "this checkpoint has 2 classes");
    configured(|c| c.num_channels = 1024, "the network has");
    configured(
        |c| c.arch = Arch::V1,
        "describes a v1 network, --arch says v2",
    );

    // Stated whole, it is taken at its word; a public file need not name the family.
    let file = folder.path().join("several.json");
    let mut object = serde_json::to_value(network("v2")).unwrap();
    object.as_object_mut().unwrap().remove("arch");
    fs::write(&file, serde_json::json!({ "mine": object }).to_string()).unwrap();
    let mut stated = args(&v2, Arch::V2);
    (stated.config, stated.network) = (Some(file), Some("mine".to_owned()));
    (stated.heads, stated.image_size) = (None, None);
    let imported = import(&stated).unwrap();
    assert_eq!(imported.config, network("v2"));
    assert!(imported.warnings.is_empty());
    // Again is well, another network's configuration in its place is not.
    import(&stated).unwrap();
    let mut other = args(&v2, Arch::V2);
    (other.heads, other.output) = (Some(2), stated.output.with_file_name("other.safetensors"));
    let message = import(&other).unwrap_err().to_string();
    assert!(message.contains("a folder of their own"), "{message}");
}

#[test]
fn what_is_not_stated_is_as_in_public_networks_and_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    fixtures(folder.path());
    let mut unsaid = args(&folder.path().join("v2-zip-f32.pt"), Arch::V2);
    (unsaid.heads, unsaid.image_size) = (None, None);
    let imported = import(&unsaid).unwrap();
    assert_eq!(imported.config.heads, Heads::Count(4));
    assert_eq!(imported.config.image_size, 16);
    let warnings = &imported.warnings;
    assert!(warnings[1].contains("16 pixels assumed"), "{warnings:?}");
    assert!(
        imported.warnings[0].contains("Table 2 says 2"),
        "{:?}",
        imported.warnings
    );
    // 64 channels a head do not divide 32 channels.
    let mut classifier = args(
        &folder.path().join("classifier-zip-f32-module.pt"),
        Arch::Classifier,
    );
    classifier.heads = None;
    let message = refusal(&classifier);
    assert!(
        message.contains("num_head_channels 64 does not divide"),
        "{message}"
    );
}

#[test]
fn files_cut_short_are_refused_wherever_the_cut_is() {
    let folder = tempfile::tempdir().unwrap();
    fixtures(folder.path());
    for file in ["v2-zip-f32.pt", "conditional-legacy-f16-ema.pt"] {
        let whole = fs::read(folder.path().join(file)).unwrap();
        let cut = folder.path().join("cut.pt");
        let near_the_end = (1..200).step_by(13).map(|back| whole.len() - back);
        for length in (0..whole.len())
            .step_by(whole.len() / 40 + 1)
            .chain(near_the_end)
        {
            fs::write(&cut, &whole[..length]).unwrap();
            let message = refusal(&args(&cut, Arch::V1));
            assert!(message.contains("cut.pt"), "{length}: {message}");
        }
    }
}

#[test]
fn other_files_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.pt");
    let message = refusal(&args(&path, Arch::V2));
    assert!(message.contains("other.pt"), "{message}");
    let tensor = NamedTensors::from([("a".to_owned(), Tensor::from_slice(&[1.0_f32]))]);
    tensors::write(&path, &tensor).unwrap();
    let message = refusal(&args(&path, Arch::V2));
    assert!(message.contains("no checkpoint of torch.save"), "{message}");
}
