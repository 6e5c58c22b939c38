//! `anofpdm-worker trace` on a network made up on the fly: what must not change the numbers does not.

use std::path::Path;

use crate::trace_call::Call;
use anofpdm_common::anofpdm::quantile;
use anofpdm_common::network::NetworkConfig;
use anofpdm_test_support::oracle::Tensor as Numbers;
use anofpdm_worker::nn::{UNet, weights};
use anofpdm_worker::tensors::{self, NamedTensors};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

const SLICES: i64 = 3;

/// Another size, channel count, depth, attention and head count than the oracles'.
const CONFIG: &str = r#"{"image_size": 24, "in_channels": 3, "num_channels": 32,
    "num_res_blocks": 1, "channel_mult": [1, 2, 3], "attention_downsample_rates": [1, 4],
    "num_heads": 8, "num_classes": 2}"#;

/// Writes model, configuration and the first `slices` slices; returns a call on them.
fn call(folder: &Path, slices: i64) -> Call {
    let model = folder.join("model.safetensors");
    let config = folder.join("config.json");
    let input = folder.join(format!("input{slices}.safetensors"));
    std::fs::write(&config, CONFIG).unwrap();
    if !model.exists() {
        write_model(&model);
    }
    let pixels = Tensor::arange(SLICES * 3 * 24 * 24, (Kind::Float, Device::Cpu));
    let x0 = (pixels * 0.7)
        .sin()
        .view([SLICES, 3, 24, 24])
        .narrow(0, 0, slices);
    tensors::write(&input, &NamedTensors::from([("x0".to_owned(), x0)])).unwrap();
    Call::new(&model, &config, &input)
        .option("--steps", 6)
        .option("--respacing", "10,15,20")
        .option("--seed", 3)
}

/// Fresh networks predict zero: every tensor gets values that depend on its name alone.
fn write_model(path: &Path) {
    let config: NetworkConfig = serde_json::from_str(CONFIG).unwrap();
    let vs = VarStore::new(Device::Cpu);
    UNet::new(&vs.root(), &config);
    tch::no_grad(|| {
        for (index, mut variable) in (0_i64..).zip(weights::variables(&vs).into_values()) {
            let count = i64::try_from(variable.numel()).unwrap();
            let values = Tensor::arange(count, (Kind::Float, Device::Cpu)) * 1.3 + index;
            variable.copy_(&(values.sin() * 0.08).view_as(&variable));
        }
    });
    weights::save(&vs, path).unwrap();
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

/// A strength's numbers do not depend on which others were asked for.
#[test]
fn a_list_of_strengths_gives_the_bits_of_each() {
    let folder = tempfile::tempdir().unwrap();
    for (semantics, encoding) in [
        ("paper-clipped", "ddim"),
        ("reference", "ddpm"),
        ("reference", "ddim"),
    ] {
        let run = |guidance: &str| {
            call(folder.path(), SLICES)
                .option("--semantics", semantics)
                .option("--encoding", encoding)
                .option("--guidance", guidance)
                .option("--keep", "1,4")
                .option("--end-step-ratios", "0.5,1.5")
                .flag("--variants")
                .run()
        };
        let strengths = ["0.5", "3", "20"];
        let listed = run(&strengths.join(","));
        for (position, strength) in strengths.iter().enumerate() {
            let alone = run(strength);
            assert_eq!(alone.len(), listed.len());
            for (name, tensor) in &alone {
                let values = &listed[name].values;
                let count = tensor.values.len();
                let part = match name.as_str() {
                    "mse_null" | "x_kept" | "ugp_kept" => values,
                    _ => &values[position * count..(position + 1) * count],
                };
                assert!(same_bits(part, &tensor.values), "{name} at w = {strength}");
            }
        }
    }
}

/// Generated noise belongs to the slice, and a slice's numbers do not depend on its neighbours.
#[test]
fn a_slice_does_not_depend_on_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let run = |slices| {
        call(folder.path(), slices)
            .option("--encoding", "ddpm")
            .option("--m-max", "1,1,1")
            .run()
    };
    let (all, fewer) = (run(SLICES), run(2));
    for name in ["M", "mse_h", "mse_null", "aam_median", "Q_star", "t_e"] {
        let Numbers { values, shape } = &fewer[name];
        let want = &all[name].values[..values.len()];
        assert_eq!(shape[0], 2);
        anofpdm_test_support::oracle::assert_close(name, values, want, 1e-4, 1e-7);
    }
}

/// The same call twice: the same file.
#[test]
fn a_call_can_be_repeated() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (call(folder.path(), 2), call(folder.path(), 2));
    first.run();
    second.run();
    let bytes = |call: &Call| std::fs::read(call.out()).unwrap();
    assert!(bytes(&first) == bytes(&second));
}

/// The seed matters, and only where noise is generated.
#[test]
fn another_seed_gives_other_noise() {
    let folder = tempfile::tempdir().unwrap();
    let first = call(folder.path(), 2).option("--keep", "0").run();
    let mut call = call(folder.path(), 2).option("--keep", "0");
    let position = call.arguments.iter().position(|a| a == "--seed").unwrap();
    call.arguments[position + 1] = "4".to_owned();
    assert!(!same_bits(
        &first["x_kept"].values,
        &call.run()["x_kept"].values
    ));
}

/// `--median` and `--quantile-of` move the mask, and nothing that comes before it.
#[test]
fn the_filter_and_what_the_quantile_is_taken_of_are_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let run = |options: &[(&str, &str)]| {
        let call = call(folder.path(), 2);
        options
            .iter()
            .fold(call, |call, (name, value)| call.option(name, value))
            .run()
    };
    let published = run(&[]);
    let explicit = run(&[("--median", "5"), ("--quantile-of", "map")]);
    assert!(
        published
            .iter()
            .all(|(name, tensor)| same_bits(&tensor.values, &explicit[name].values))
    );
    let unfiltered = run(&[("--median", "1")]);
    let filtered = run(&[("--median", "3"), ("--quantile-of", "filtered")]);
    for name in ["M", "mse_h", "cos", "level", "aam_mod", "aam"] {
        for other in [&unfiltered, &filtered] {
            assert!(
                same_bits(&published[name].values, &other[name].values),
                "{name}"
            );
        }
    }
    assert!(same_bits(
        &published["Q_star"].values,
        &unfiltered["Q_star"].values
    ));
    assert!(same_bits(
        &unfiltered["aam_median"].values,
        &unfiltered["aam"].values
    ));

    // Of each slice the one filtered map, at each modality's level.
    let single = |values: &[f64]| {
        values
            .iter()
            .map(|value| *value as f32)
            .collect::<Vec<f32>>()
    };
    let maps = single(&filtered["aam_median"].values);
    let levels = single(&filtered["level"].values);
    let expected: Vec<f64> = maps
        .chunks(24 * 24)
        .zip(levels.chunks(3))
        .flat_map(|(map, levels)| levels.iter().map(|level| f64::from(quantile(map, *level))))
        .collect();
    assert!(same_bits(&filtered["Q_mod"].values, &expected));
    let masks = filtered["mask_unhealthy"].values.chunks(24 * 24);
    assert!(
        masks.into_iter().all(|mask| mask.contains(&1.0)),
        "never empty"
    );

    let refused = call(folder.path(), 2)
        .option("--method", "ddim-clf-free")
        .option("--quantile-of", "map")
        .try_run();
    assert_eq!(refused.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        complaint.contains("--quantile-of means nothing for --method ddim-clf-free"),
        "{complaint}"
    );
}
