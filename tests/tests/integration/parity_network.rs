//! The U-Nets and the classifier against `unet_forward.safetensors`, and their published sizes.

use std::path::Path;

use anofpdm_common::network::{Arch, NetworkConfig};
use anofpdm_test_support::oracle::{assert_close, read_tensors, shared_dir};
use anofpdm_tests::{Torch, values};
use anofpdm_worker::diffusion::step::q_sample;
use anofpdm_worker::diffusion::{Respacing, Schedule};
use anofpdm_worker::nn::config;
use anofpdm_worker::nn::embedding::sinusoid;
use anofpdm_worker::nn::weights::{self, open_classifier, open_unet};
use anofpdm_worker::nn::{ClassLabel, Classifier, Labels, Mode, Module, UNet};
use anofpdm_worker::predictor::NoisePredictor;
use anofpdm_worker::tensors::NamedTensors;
use anofpdm_worker::torch;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

const LABELS: [(&str, ClassLabel); 3] = [
    ("label0", ClassLabel::Healthy),
    ("label1", ClassLabel::Unhealthy),
    ("null", ClassLabel::Null),
];

/// The configuration of `network`, as `--network` finds it in the oracles' file.
fn config(oracles: &Path, network: &str) -> NetworkConfig {
    let weights = oracles.join(format!("{network}.safetensors"));
    config::read(&oracles.join("config.json"), Some(network), Some(&weights)).unwrap()
}

fn oracle_net(oracles: &Path, network: &str) -> UNet {
    // Tests run side by side already.
    torch::set_threads(1);
    let path = oracles.join(format!("{network}.safetensors"));
    open_unet(&path, &config(oracles, network), Device::Cpu).unwrap()
}

fn oracle_classifier(oracles: &Path) -> Classifier {
    torch::set_threads(1);
    let path = oracles.join("classifier.safetensors");
    open_classifier(&path, &config(oracles, "classifier"), Device::Cpu).unwrap()
}

/// One time for three slices.
fn times(time: i64) -> Tensor {
    Tensor::full([3], time, (Kind::Int64, Device::Cpu))
}

#[test]
fn outputs() {
    let Some(shared) = shared_dir("outputs") else {
        return;
    };
    let oracles = shared.join("oracles");
    let oracle = read_tensors(&oracles.join("unet_forward.safetensors"));
    let net = oracle_net(&oracles, "unet_v2");
    for time in [0, 37, 250, 999] {
        let x = oracle[&format!("x_t{time}")].torch();
        let t = times(time);
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
    let net = oracle_net(&oracles, "unet_v2");
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
    let net = oracle_net(&oracles, "unet_v2");
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
    let net = oracle_net(&oracles, "unet_v2");
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
fn v1_outputs() {
    let Some(shared) = shared_dir("v1_outputs") else {
        return;
    };
    let oracles = shared.join("oracles");
    let oracle = read_tensors(&oracles.join("unet_forward.safetensors"));
    let net = oracle_net(&oracles, "unet_v1");
    for time in [0, 37, 250, 999] {
        let x = oracle[&format!("x_t{time}")].torch();
        let name = format!("eps_v1_t{time}");
        // It takes no notice of labels.
        for label in [ClassLabel::Null, ClassLabel::Unhealthy] {
            let got = net.forward(&x, &times(time), &Labels::All(label), Mode::Eval);
            assert_close(&name, &values(&got), &oracle[&name].values, 0.0, 2e-5);
        }
    }
}

#[test]
fn v1_outputs_with_learned_variance() {
    let Some(shared) = shared_dir("v1_outputs_with_learned_variance") else {
        return;
    };
    let oracles = shared.join("oracles");
    let oracle = read_tensors(&oracles.join("unet_forward.safetensors"));
    let config = config(&oracles, "unet_v1_learn_sigma");
    // The label table is told of by the weights; the oracle was computed without it.
    assert_eq!(config.num_classes, Some(2));
    assert!(config.learned_variance());
    let mut net = oracle_net(&oracles, "unet_v1_learn_sigma");
    for time in [0, 250, 999] {
        let x = oracle[&format!("x_t{time}")].torch();
        let null = Labels::All(ClassLabel::Null);
        let got = net.forward(&x, &times(time), &null, Mode::Eval);
        let name = format!("out_v1_learn_sigma_t{time}");
        assert_close(&name, &values(&got), &oracle[&name].values, 0.0, 2e-5);
        // What a method asks for is the noise alone.
        assert_eq!(net.predict(&x, time, ClassLabel::Null), got.narrow(1, 0, 4));
        assert_ne!(
            net.predict(&x, time, ClassLabel::Healthy),
            got.narrow(1, 0, 4)
        );
    }
}

#[test]
fn classifier_logits() {
    let Some(shared) = shared_dir("classifier_logits") else {
        return;
    };
    let oracles = shared.join("oracles");
    let oracle = read_tensors(&oracles.join("unet_forward.safetensors"));
    let net = oracle_classifier(&oracles);
    for time in [0, 250, 999] {
        let x = oracle[&format!("x_t{time}")].torch();
        let got = net.forward(&x, &times(time), Mode::Eval);
        let name = format!("logits_classifier_t{time}");
        assert_close(&name, &values(&got), &oracle[&name].values, 0.0, 2e-5);
    }
}

#[test]
fn gradient_of_the_classifier() {
    let Some(shared) = shared_dir("gradient_of_the_classifier") else {
        return;
    };
    let oracles = shared.join("oracles");
    let baselines = read_tensors(&oracles.join("baselines.safetensors"));
    let inputs = read_tensors(&oracles.join("inputs.safetensors"));
    let net = oracle_classifier(&oracles);
    let schedule = Schedule::linear(1000, &Respacing::None).unwrap();
    let x0 = inputs["x0"].torch().narrow(0, 0, 6);
    let noise = inputs["noise"].torch().get(0).narrow(0, 0, 6);
    let x = q_sample(&schedule, 250, &x0, &noise);
    let scale = baselines["clf.scale"].values[0];
    let want = &baselines["clf.grad_t250"].values;
    // As a method calls it: gradients are off around it.
    let healthy = tch::no_grad(|| net.label_gradient(&x, 250, ClassLabel::Healthy));
    let got = values(&(healthy.gradient * scale));
    let largest = want.iter().fold(0.0_f64, |a, b| a.max(b.abs()));
    assert_close("clf.grad_t250", &got, want, 1e-3, 1e-5 * largest);
    let unhealthy = net.label_gradient(&x, 250, ClassLabel::Unhealthy);
    let whole = healthy.log_probability.exp() + unhealthy.log_probability.exp();
    assert_close("probabilities", &values(&whole), &[1.0; 6], 0.0, 1e-6);
}

/// Number of weights, as built, as counted from the configuration, and as published.
fn assert_size(config: &NetworkConfig, published: usize) -> NamedTensors {
    let vs = VarStore::new(Device::Cpu);
    match config.arch {
        Arch::V2 | Arch::V1 => drop(UNet::new(&vs.root(), config)),
        Arch::Classifier => drop(Classifier::new(&vs.root(), config)),
    }
    let tensors = weights::variables(&vs);
    let built: usize = tensors.values().map(Tensor::numel).sum();
    assert_eq!(built, published, "{config:?}");
    let counted = usize::try_from(config.footprint().parameters).unwrap();
    assert_eq!(counted, published, "{config:?}");
    tensors
}

#[test]
fn sizes_of_the_oracle_networks() {
    let Some(shared) = shared_dir("sizes_of_the_oracle_networks") else {
        return;
    };
    let oracles = shared.join("oracles");
    for (network, published) in [
        ("unet_v2", 2_030_884),
        ("unet_v1", 756_740),
        ("unet_v1_learn_sigma", 758_152),
        ("classifier", 393_890),
    ] {
        assert_size(&config(&oracles, network), published);
    }
}

/// What no oracle holds: a label table in use, resizing blocks in both halves, heads told by width, a
/// first level that is not of the base width. Every 211th output of the public code's network with
/// weights ((37 k + 11 i) mod 251 - 125) / 2000, tensor i in name order, value k.
#[test]
fn labels_and_resizing_blocks_are_those_of_the_public_code() {
    const PUBLIC: [f64; 10] = [
        -0.068332, -0.06878, -0.030219, -0.009308, -0.00824, -0.052326, -0.07926, -0.027724,
        -0.005646, -0.005852,
    ];
    let config: NetworkConfig = serde_json::from_value(serde_json::json!({
        "arch": "v1", "image_size": 16, "in_channels": 2, "out_channels": 4, "num_channels": 32,
        "num_res_blocks": 1, "channel_mult": [2, 1], "attention_downsample_rates": [2],
        "num_head_channels": 16, "num_classes": 2, "resblock_updown": true
    }))
    .unwrap();
    let vs = VarStore::new(Device::Cpu);
    let net = UNet::new(&vs.root(), &config);
    tch::no_grad(|| {
        for (i, (_, mut tensor)) in (0_i64..).zip(weights::variables(&vs)) {
            let count = i64::try_from(tensor.numel()).unwrap();
            let k = Tensor::arange(count, (Kind::Int64, Device::Cpu));
            let value = ((k * 37 + 11 * i).remainder(251) - 125).to_kind(Kind::Double) / 2000.0;
            tensor.copy_(&value.view(&tensor.size()[..]));
        }
    });
    let ramp = Tensor::arange(2 * 2 * 16 * 16, (Kind::Float, Device::Cpu));
    let x = (ramp * 0.37).sin().view([2, 2, 16, 16]);
    let t = Tensor::from_slice(&[3_i64, 700]);
    let answer = |labels: [i64; 2]| {
        let labels = Labels::PerSample(Tensor::from_slice(&labels));
        let all = values(&net.forward(&x, &t, &labels, Mode::Eval));
        all.into_iter().step_by(211).collect::<Vec<_>>()
    };
    assert_close("public", &answer([1, 0]), &PUBLIC, 0.0, 2e-6);
    for other in [[0, 0], [1, 1], [-1, 0]] {
        let answer = answer(other);
        let moved = answer.iter().zip(PUBLIC).any(|(a, b)| (a - b).abs() > 1e-4);
        assert!(moved, "{other:?}");
    }
}

#[test]
fn resizing_blocks_are_counted_as_built() {
    for arch in ["v2", "v1", "classifier"] {
        for updown in [false, true] {
            let config: NetworkConfig = serde_json::from_value(serde_json::json!({
                "arch": arch, "image_size": 16, "in_channels": 3, "num_channels": 32,
                "num_res_blocks": 2, "channel_mult": [1, 2, 3], "num_head_channels": 16,
                "attention_downsample_rates": [1, 4], "resblock_updown": updown
            }))
            .unwrap();
            config.validate().unwrap();
            let counted = usize::try_from(config.footprint().parameters).unwrap();
            let tensors = assert_size(&config, counted);
            let name = "input_blocks.3.0.emb_layers.1.weight";
            assert_eq!(tensors.contains_key(name), updown, "{arch}");
        }
    }
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
    let tensors = assert_size(&config, 103_082_500);
    assert_eq!(tensors.len(), 465);
    for name in [
        "output_blocks.14.0.skip_connection.weight",
        "output_blocks.11.1.conv.bias",
    ] {
        assert!(tensors.contains_key(name), "{name}");
    }
    let v1 = NetworkConfig {
        arch: Arch::V1,
        num_classes: None,
        ..config
    };
    assert_size(&v1, 96_318_468);
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
