//! The engine against the plain network: every optimization by itself, none and all, in float64 to 1e-7 and in float32.

use anofpdm_common::network::{Arch, Heads, NetworkConfig};
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

use super::{Engine, Optimizations};
use crate::nn::{ClassLabel, UNet};
use crate::predictor::NoisePredictor;
use crate::shim::operations::counted;

const TIME: i64 = 321;

fn config() -> NetworkConfig {
    NetworkConfig {
        arch: Arch::V2,
        image_size: 16,
        in_channels: 3,
        out_channels: None,
        num_channels: 32,
        num_res_blocks: 1,
        // 96 + 64 channels in 32 groups of 5: one group has channels of both parts of a joined input.
        channel_mult: vec![1, 2, 3],
        attention_downsample_rates: vec![2, 4],
        heads: Heads::Count(2),
        num_classes: Some(2),
        resblock_updown: false,
        use_scale_shift_norm: true,
    }
}

/// Fresh layers that end in zeros would hide everything before them.
fn stirred(config: &NetworkConfig, kind: Kind) -> (VarStore, UNet) {
    tch::manual_seed(7);
    let mut vs = VarStore::new(Device::Cpu);
    let network = UNet::new(&vs.root(), config);
    tch::no_grad(|| {
        let mut variables: Vec<_> = vs.variables().into_iter().collect();
        variables.sort_by(|a, b| a.0.cmp(&b.0));
        for (name, mut variable) in variables {
            let noise = variable.randn_like();
            let size = if name.ends_with("bias") { 0.2 } else { 0.08 };
            drop(variable.g_add_(&(noise * size)));
        }
    });
    if kind == Kind::Double {
        vs.double();
    }
    vs.freeze();
    (vs, network)
}

/// The same network again, with the same weights.
fn twin(config: &NetworkConfig, vs: &VarStore, kind: Kind) -> UNet {
    let mut other = VarStore::new(Device::Cpu);
    let network = UNet::new(&other.root(), config);
    if kind == Kind::Double {
        other.double();
    }
    other.copy(vs).unwrap();
    other.freeze();
    network
}

fn input(config: &NetworkConfig, kind: Kind) -> Tensor {
    tch::manual_seed(11);
    let size = [2, config.in_channels, config.image_size, config.image_size];
    Tensor::randn(size, (Kind::Double, Device::Cpu)).to_kind(kind)
}

/// Largest difference as a part of the largest value.
fn distance(got: &Tensor, want: &Tensor) -> f64 {
    assert_eq!(got.size(), want.size());
    assert_eq!(got.kind(), want.kind());
    let largest = |x: &Tensor| x.abs().max().double_value(&[]);
    let distance = largest(&(got - want)) / largest(want);
    assert!(distance.is_finite());
    distance
}

fn sets() -> Vec<(String, Optimizations)> {
    let mut sets = vec![
        ("none".to_owned(), Optimizations::empty()),
        ("all".to_owned(), Optimizations::all()),
    ];
    for (name, one) in Optimizations::all().iter_names() {
        sets.push((format!("only {name}"), one));
        sets.push((format!("all but {name}"), Optimizations::all() - one));
    }
    sets
}

fn check(config: &NetworkConfig, kind: Kind, tolerance: f64) {
    let (vs, mut plain) = stirred(config, kind);
    let x = input(config, kind);
    let want_pair = plain.predict_pair(&x, TIME);
    let want_unhealthy = plain.predict(&x, TIME + 1, ClassLabel::Unhealthy);
    let want_null = plain.predict(&x, TIME, ClassLabel::Null);
    let want_between = plain.predict_between(&x, TIME, 0.95);
    let inputs = [(x.shallow_clone(), TIME), (&x * 0.7, TIME + 9)];
    let want_pairs = plain.predict_pairs(&inputs);
    assert!(
        distance(&want_pair.0, &want_pair.1) > 1e-3,
        "labels do nothing"
    );
    for (name, optimizations) in sets() {
        let mut engine = Engine::new(twin(config, &vs, kind), kind, optimizations);
        let pair = engine.predict_pair(&x, TIME);
        let unhealthy = engine.predict(&x, TIME + 1, ClassLabel::Unhealthy);
        let null = engine.predict(&x, TIME, ClassLabel::Null);
        let between = engine.predict_between(&x, TIME, 0.95);
        let pairs = engine.predict_pairs(&inputs);
        for (what, got, want) in [
            ("healthy of the pair", &pair.0, &want_pair.0),
            ("null of the pair", &pair.1, &want_pair.1),
            ("unhealthy", &unhealthy, &want_unhealthy),
            // Of a time and labels that were there before: from the tables.
            ("null", &null, &want_null),
            ("between", &between, &want_between),
            ("healthy of the first time", &pairs[0].0, &want_pairs[0].0),
            ("null of the first time", &pairs[0].1, &want_pairs[0].1),
            ("healthy of the second time", &pairs[1].0, &want_pairs[1].0),
            ("null of the second time", &pairs[1].1, &want_pairs[1].1),
        ] {
            let distance = distance(got, want);
            assert!(distance < tolerance, "{name}, {what}: {distance}");
        }
    }
}

#[test]
fn the_same_function_in_float64() {
    check(&config(), Kind::Double, 1e-7);
}

#[test]
fn the_same_function_in_float32() {
    check(&config(), Kind::Float, 2e-5);
}

#[test]
fn residual_blocks_that_resize() {
    let config = NetworkConfig {
        resblock_updown: true,
        image_size: 8,
        ..config()
    };
    check(&config, Kind::Double, 1e-7);
}

#[test]
fn conditioning_that_is_added_before_the_norm() {
    let config = NetworkConfig {
        use_scale_shift_norm: false,
        image_size: 8,
        ..config()
    };
    check(&config, Kind::Double, 1e-7);
    let blocks = NetworkConfig {
        arch: Arch::V1,
        resblock_updown: true,
        out_channels: Some(6),
        ..config
    };
    check(&blocks, Kind::Float, 2e-5);
}

/// The decoder's last input has 32 + 32 channels: its groups end where the parts do, and it is convolved in two.
#[test]
fn two_levels_of_one_width() {
    let config = NetworkConfig {
        channel_mult: vec![1, 1],
        attention_downsample_rates: vec![],
        ..config()
    };
    check(&config, Kind::Double, 1e-7);
}

#[test]
fn v1_with_labels_and_learned_variance() {
    let config = NetworkConfig {
        arch: Arch::V1,
        out_channels: Some(6),
        ..config()
    };
    check(&config, Kind::Double, 1e-7);
    let (vs, mut plain) = stirred(&config, Kind::Double);
    let mut engine = Engine::new(
        twin(&config, &vs, Kind::Double),
        Kind::Double,
        Optimizations::all(),
    );
    let x = input(&config, Kind::Double);
    let want = plain.predict_with_variance(&x, TIME, ClassLabel::Healthy);
    let got = engine.predict_with_variance(&x, TIME, ClassLabel::Healthy);
    assert!(distance(&got.0, &want.0) < 1e-7);
    assert!(distance(&got.1.unwrap(), &want.1.unwrap()) < 1e-7);
}

#[test]
fn nan_goes_through() {
    let config = config();
    let (_, plain) = stirred(&config, Kind::Float);
    let mut engine = Engine::new(plain, Kind::Float, Optimizations::all());
    let x = input(&config, Kind::Float);
    drop(x.select(0, 0).fill_(f64::NAN));
    let (healthy, null) = engine.predict_pair(&x, TIME);
    for output in [healthy, null] {
        let finite = output.isfinite().flatten(1, 3).all_dim(1, false);
        assert_eq!(Vec::<bool>::try_from(finite).unwrap(), [false, true]);
    }
}

/// bfloat16 rounds to 8 bits, 3 decimal digits: the engine in it is the same function up to that.
#[test]
fn nearly_the_same_function_in_bfloat16() {
    let config = config();
    let (vs, mut plain) = stirred(&config, Kind::Float);
    let x = input(&config, Kind::Float);
    let want = plain.predict_pair(&x, TIME);
    for (name, optimizations) in sets() {
        let network = twin(&config, &vs, Kind::Float);
        let mut engine = Engine::new(network, Kind::BFloat16, optimizations);
        let got = engine.predict_pair(&x, TIME);
        for distance in [distance(&got.0, &want.0), distance(&got.1, &want.1)] {
            assert!((1e-5..3e-2).contains(&distance), "{name}: {distance}");
        }
    }
}

/// On a GPU each would wait for everything asked for before.
#[test]
fn an_evaluation_hands_no_number_to_the_host() {
    let v1 = NetworkConfig {
        arch: Arch::V1,
        ..config()
    };
    for config in [config(), v1] {
        let (_, network) = stirred(&config, Kind::Float);
        let mut engine = Engine::new(network, Kind::Float, Optimizations::all());
        let x = input(&config, Kind::Float);
        drop(engine.predict_pair(&x, TIME));
        // A time that was not there before, and labels that were.
        let (_, seen) = counted(|| engine.predict_pair(&x, TIME + 1)).unwrap();
        assert_eq!(seen.waiting(), 0, "{seen:?}");
        assert!(seen.computing() > 20, "{seen:?}");
    }
}
