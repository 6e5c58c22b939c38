//! The U-Net v2 against `unet_forward.safetensors`, and its published size.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use anofpdm_common::network::NetworkConfig;
use anofpdm_tests::{assert_close, read_tensors, shared_dir, values};
use anofpdm_worker::nn::embedding::sinusoid;
use anofpdm_worker::nn::weights::{self, open_unet};
use anofpdm_worker::nn::{ClassLabel, Labels, Mode, Module, UNet};
use anofpdm_worker::torch;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

const LABELS: [(&str, ClassLabel); 3] = [
    ("label0", ClassLabel::Healthy),
    ("label1", ClassLabel::Unhealthy),
    ("null", ClassLabel::Null),
];

fn config(oracles: &Path) -> NetworkConfig {
    let text = std::fs::read_to_string(oracles.join("config.json")).unwrap();
    let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
    serde_json::from_value(whole["unet_v2"].clone()).unwrap()
}

fn oracle_net(oracles: &Path) -> UNet {
    // Tests run side by side already.
    torch::set_threads(1);
    let path = oracles.join("unet_v2.safetensors");
    open_unet(&path, &config(oracles), Device::Cpu).unwrap()
}

#[test]
fn outputs() {
    let Some(shared) = shared_dir("outputs") else {
        return;
    };
    let oracles = shared.join("oracles");
    let oracle = read_tensors(&oracles.join("unet_forward.safetensors"));
    let net = oracle_net(&oracles);
    for time in [0, 37, 250, 999] {
        let x = oracle[&format!("x_t{time}")].torch();
        let t = Tensor::full([3], time, (Kind::Int64, Device::Cpu));
        for (name, label) in LABELS {
            let got = net.forward(&x, &t, &Labels::All(label), Mode::Eval);
            let name = format!("eps_v2_t{time}_{name}");
            assert_close(&name, &values(&got), &oracle[&name].values, 0.0, 2e-5);
            // The same through a label for each sample.
            let classes = Tensor::full([3], label.index(), (Kind::Int64, Device::Cpu));
            let got = net.forward(&x, &t, &Labels::PerSample(classes), Mode::Eval);
            let want = &oracle[&name].values;
            assert_close(
                &format!("{name} per sample"),
                &values(&got),
                want,
                0.0,
                2e-5,
            );
        }
    }
}

#[test]
fn mixed_batch() {
    let Some(shared) = shared_dir("mixed_batch") else {
        return;
    };
    let oracles = shared.join("oracles");
    let oracle = read_tensors(&oracles.join("unet_forward.safetensors"));
    let net = oracle_net(&oracles);
    let labels = Labels::PerSample(Tensor::from_slice(&oracle["mixed_label"].i64()));
    let t = Tensor::from_slice(&oracle["mixed_t"].i64());
    let got = net.forward(&oracle["mixed_x"].torch(), &t, &labels, Mode::Eval);
    let want = &oracle["mixed_eps_v2"].values;
    assert_close("mixed_eps_v2", &values(&got), want, 0.0, 2e-5);
}

/// A batch of which some samples have lost their label, as training makes them.
#[test]
fn null_within_a_batch() {
    let Some(shared) = shared_dir("null_within_a_batch") else {
        return;
    };
    let oracles = shared.join("oracles");
    let oracle = read_tensors(&oracles.join("unet_forward.safetensors"));
    let net = oracle_net(&oracles);
    let t = Tensor::full([3], 250, (Kind::Int64, Device::Cpu));
    let labels = Labels::PerSample(Tensor::from_slice(&[1_i64, -1, 0]));
    let got = net.forward(&oracle["x_t250"].torch(), &t, &labels, Mode::Eval);
    for (sample, name) in [(0, "label1"), (1, "null"), (2, "label0")] {
        let name = format!("eps_v2_t250_{name}");
        let want = values(&oracle[&name].torch().get(sample));
        assert_close(&name, &values(&got.get(sample)), &want, 0.0, 2e-5);
    }
}

#[test]
fn activations() {
    let Some(shared) = shared_dir("activations") else {
        return;
    };
    let oracles = shared.join("oracles");
    let oracle = read_tensors(&oracles.join("unet_forward.safetensors"));
    let net = oracle_net(&oracles);
    let x = oracle["x_t250"].torch().narrow(0, 0, 1);
    let t = Tensor::from_slice(&[250_i64]);
    let labels = Labels::All(ClassLabel::Healthy);
    let mut seen = 0;
    let mut check = |module: Module, output: &Tensor| {
        let name = match module {
            Module::Time => "act.time_embed".to_owned(),
            Module::Class => "act.class_emb".to_owned(),
            Module::Input(n) => format!("act.input_blocks.{n}"),
            Module::Middle => "act.middle_block".to_owned(),
            Module::Output(n) => format!("act.output_blocks.{n}"),
        };
        assert_close(&name, &values(output), &oracle[&name].values, 0.0, 5e-5);
        seen += 1;
    };
    let got = net.forward_observed(&x, &t, &labels, Mode::Eval, &mut check);
    assert_eq!(got.size(), [1, 4, 32, 32]);
    assert_eq!(seen, 21);
}

#[test]
fn timestep_embedding() {
    let Some(shared) = shared_dir("timestep_embedding") else {
        return;
    };
    let oracle = read_tensors(&shared.join("oracles/unet_forward.safetensors"));
    let times = Tensor::from_slice(&oracle["timestep_embedding_t"].i64());
    let want = &oracle["timestep_embedding"].values;
    let got = values(&sinusoid(&times, 32));
    assert_close("timestep_embedding", &got, want, 0.0, 1e-6);
}

#[test]
fn size_of_the_oracle_network() {
    let Some(shared) = shared_dir("size_of_the_oracle_network") else {
        return;
    };
    let vs = VarStore::new(Device::Cpu);
    UNet::new(&vs.root(), &config(&shared.join("oracles")));
    let numbers: usize = weights::variables(&vs).values().map(Tensor::numel).sum();
    assert_eq!(numbers, 2_030_884);
}

#[test]
fn size_of_the_published_network() {
    let config = NetworkConfig {
        image_size: 128,
        num_channels: 128,
        num_res_blocks: 2,
        channel_mult: vec![1, 1, 2, 3, 4],
        attention_downsample_rates: vec![4, 8, 16],
        ..small()
    };
    let vs = VarStore::new(Device::Cpu);
    UNet::new(&vs.root(), &config);
    let tensors = weights::variables(&vs);
    let numbers: usize = tensors.values().map(Tensor::numel).sum();
    assert_eq!((tensors.len(), numbers), (465, 103_082_500));
    for name in [
        "output_blocks.14.0.skip_connection.weight",
        "output_blocks.11.1.conv.bias",
    ] {
        assert!(tensors.contains_key(name), "{name}");
    }
}

fn small() -> NetworkConfig {
    serde_json::from_value(serde_json::json!({
        "image_size": 16, "in_channels": 4, "num_channels": 32, "num_res_blocks": 1,
        "channel_mult": [1, 2], "attention_downsample_rates": [2], "num_heads": 2
    }))
    .unwrap()
}

#[test]
fn fresh_network_predicts_zero() {
    let vs = VarStore::new(Device::Cpu);
    let net = UNet::new(&vs.root(), &small());
    let x = Tensor::ones([2, 4, 16, 16], (Kind::Float, Device::Cpu));
    let t = Tensor::from_slice(&[3_i64, 5]);
    let got = net.forward(&x, &t, &Labels::All(ClassLabel::Null), Mode::Eval);
    assert_eq!(got.size(), [2, 4, 16, 16]);
    assert_eq!(got.abs().max().double_value(&[]), 0.0);
}

#[test]
fn weights_survive_a_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let (first, second) = (VarStore::new(Device::Cpu), VarStore::new(Device::Cpu));
    UNet::new(&first.root(), &small());
    UNet::new(&second.root(), &small());
    weights::save(&first, &path).unwrap();
    assert_ne!(weights::variables(&first), weights::variables(&second));
    weights::load(&second, &path, &small()).unwrap();
    assert_eq!(weights::variables(&first), weights::variables(&second));
}

#[test]
fn checkpoints_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("w.safetensors");
    let vs = VarStore::new(Device::Cpu);
    UNet::new(&vs.root(), &small());
    weights::save(&vs, &path).unwrap();
    let message = |config: &NetworkConfig| {
        let error = open_unet(&path, config, Device::Cpu).unwrap_err();
        error.to_string()
    };

    let other_channels = NetworkConfig {
        in_channels: 2,
        ..small()
    };
    let text = message(&other_channels);
    let want = "this checkpoint has 4 input channels, the configuration says 2";
    assert!(
        text.contains(want) && text.contains("[32, 4, 3, 3]"),
        "{text}"
    );

    let wider = NetworkConfig {
        num_channels: 64,
        ..small()
    };
    let text = message(&wider);
    assert!(text.contains("another architecture"), "{text}");

    let deeper = NetworkConfig {
        num_res_blocks: 2,
        ..small()
    };
    let text = message(&deeper);
    assert!(text.contains("another architecture"), "{text}");

    let odd = NetworkConfig {
        num_channels: 33,
        ..small()
    };
    let text = message(&odd);
    assert!(text.contains("multiple of 32"), "{text}");

    std::fs::write(&path, b"not a checkpoint").unwrap();
    let text = message(&small());
    assert!(text.contains("w.safetensors"), "{text}");
}
