//! What each optimization of the engine brings:
//! `cargo bench --workspace --bench engine [-- C.json [BATCH [THREADS]]]`.
//!
//! Times the pair of predictions of a step with all optimizations, with all but one, and with none, in turn, so that what
//! else happens on the machine hits all alike. Prints medians, and how many times as long a step takes without
//! that one. Without arguments: a small network.

use std::error::Error;
use std::time::Instant;

use anofpdm_common::network::NetworkConfig;
use anofpdm_worker::engine::{Engine, Optimizations};
use anofpdm_worker::nn::UNet;
use anofpdm_worker::predictor::NoisePredictor;
use anofpdm_worker::torch;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};

const SMALL: &str = r#"{"arch": "v2", "image_size": 64, "in_channels": 2, "num_channels": 32, "num_res_blocks": 2,
    "channel_mult": [1, 2, 2], "attention_downsample_rates": [2, 4], "num_heads": 4, "num_classes": 2}"#;
const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    // Cargo adds an option of its own.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let text = match words.first() {
        Some(path) => std::fs::read_to_string(path)?,
        None => SMALL.to_owned(),
    };
    let batch: i64 = words.get(1).map_or(Ok(4), |word| word.parse())?;
    let threads: usize = words.get(2).map_or(Ok(1), |word| word.parse())?;
    let config: NetworkConfig = serde_json::from_str(&text)?;
    config.validate()?;
    torch::set_threads(i32::try_from(threads)?);
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()?;
    let size = [
        batch,
        config.in_channels,
        config.image_size,
        config.image_size,
    ];
    let x = Tensor::randn(size, (Kind::Float, Device::Cpu));

    let all = Optimizations::all();
    // Memory is kept for good once it is: that one is measured first.
    let released = Measured::new(
        "all but kept-memory",
        all - Optimizations::KEPT_MEMORY,
        &config,
    );
    let mut first = vec![
        released,
        Measured::new("none", Optimizations::empty(), &config),
    ];
    rounds(&mut first, &x);
    torch::memory::keep();
    let mut rest = vec![Measured::new("all", all, &config)];
    for one in (all - Optimizations::KEPT_MEMORY).iter() {
        let label = format!("all but {}", one.names().collect::<String>());
        rest.push(Measured::new(&label, all - one, &config));
    }
    rounds(&mut rest, &x);

    let fastest = rest.first().map_or(0.0, Measured::median);
    println!(
        "pair of {batch} slices of {size} x {size}, {} weights, {threads} thread(s), float32",
        config.footprint().parameters,
        size = config.image_size
    );
    for measured in rest.iter().chain(&first) {
        let seconds = measured.median();
        println!(
            "{:22} {seconds:9.4} s  {:5.2}",
            measured.name,
            seconds / fastest
        );
    }
    Ok(())
}

struct Measured {
    name: String,
    engine: Engine,
    seconds: Vec<f64>,
}

impl Measured {
    fn new(name: &str, optimizations: Optimizations, config: &NetworkConfig) -> Self {
        tch::manual_seed(1);
        let mut vs = VarStore::new(Device::Cpu);
        let network = UNet::new(&vs.root(), config);
        tch::no_grad(|| {
            for mut variable in vs.variables().into_values() {
                let noise = variable.randn_like() * 0.02;
                drop(variable.g_add_(&noise));
            }
        });
        vs.freeze();
        Self {
            name: name.to_owned(),
            engine: Engine::new(network, Kind::Float, optimizations),
            seconds: Vec::new(),
        }
    }

    fn median(&self) -> f64 {
        let mut seconds = self.seconds.clone();
        seconds.sort_unstable_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied().unwrap_or(f64::NAN)
    }
}

fn rounds(all: &mut [Measured], x: &Tensor) {
    for round in 0..=ROUNDS {
        for measured in all.iter_mut() {
            let start = Instant::now();
            let (healthy, null) = measured.engine.predict_pair(x, 100);
            let taken = start.elapsed().as_secs_f64();
            assert!(healthy.isfinite().all().int64_value(&[]) == 1 && null.size() == x.size());
            // The first round warms up.
            if round > 0 {
                measured.seconds.push(taken);
            }
        }
    }
}
