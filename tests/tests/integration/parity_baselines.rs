//! The baselines against `baselines.safetensors`, through the library and through the real program.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crate::trace_call::{Call, Tensors};
use anofpdm_common::baseline::{Baseline, Clip, Sampler, Setting};
use anofpdm_common::role::NoiseFamily;
use anofpdm_common::semantics::BaselineForm;
use anofpdm_test_support::oracle::{assert_close, read_tensors, shared_dir};
use anofpdm_tests::{Torch, values};
use anofpdm_worker::anofpdm::segmentation::median_batch;
use anofpdm_worker::baselines::{BaselineSetup, Restored};
use anofpdm_worker::diffusion::reverse::{ReverseStep, Variance};
use anofpdm_worker::diffusion::step::{predict_x0, q_sample};
use anofpdm_worker::diffusion::{NoiseSource, Respacing, Schedule};
use anofpdm_worker::engine::{self, Engine};
use anofpdm_worker::nn::{ClassLabel, Classifier, config, weights};
use anofpdm_worker::predictor::{LabelGuide, NoisePredictor};
use anofpdm_worker::torch;
use tch::{Device, Kind, Tensor};

const THRESHOLD: f64 = 0.1;
const MODALITIES: [i64; 2] = [0, 3];

/// Oracles and what they were made of.
struct Oracle {
    folder: PathBuf,
    want: Tensors,
    x0: Tensor,
    noise: Tensor,
    steps: usize,
}

impl Oracle {
    fn open(shared: &Path) -> Self {
        // Tests run side by side already.
        torch::set_threads(1);
        let folder = shared.join("oracles");
        let inputs = read_tensors(&folder.join("inputs.safetensors"));
        let want = read_tensors(&folder.join("baselines.safetensors"));
        let steps = want["steps"].i64()[0];
        Self {
            folder,
            x0: inputs["x0"].torch(),
            noise: inputs["noise"].torch(),
            steps: usize::try_from(steps).unwrap(),
            want,
        }
    }

    fn number(&self, name: &str) -> f64 {
        self.want[name].values[0]
    }

    fn unet(&self, name: &str) -> Engine {
        let path = self.folder.join(format!("{name}.safetensors"));
        let config = self.folder.join("config.json");
        let config = config::read(&config, Some(name), Some(&path)).unwrap();
        engine::open(&path, &config, Device::Cpu, Kind::Float).unwrap()
    }

    fn classifier(&self) -> Classifier {
        let path = self.folder.join("classifier.safetensors");
        let config = self.folder.join("config.json");
        let config = config::read(&config, Some("classifier"), Some(&path)).unwrap();
        weights::open_classifier(&path, &config, Device::Cpu).unwrap()
    }

    /// As the public code ports it, with the noise of the oracles.
    fn restore(
        &self,
        baseline: Baseline,
        sampler: Sampler,
        strength: f64,
        network: &str,
    ) -> Restored {
        let schedule = strided();
        let mut network = self.unet(network);
        let mut guide = self.classifier();
        let noise = NoiseSource::Given(self.noise.shallow_clone());
        let setting = Setting {
            noise_scale: u32::try_from(self.steps).unwrap(),
            strength,
        };
        let mut method = BaselineSetup {
            baseline,
            form: BaselineForm::Port,
            sampler,
            clip: Clip::Fixed,
            schedule: &schedule,
        }
        .build(&mut network, Some(&mut guide))
        .unwrap();
        let mut done = method
            .restore(&self.x0, &noise, &[setting], &mut || {
                ControlFlow::Continue(())
            })
            .unwrap();
        done.restored.swap_remove(0)
    }

    fn close(&self, name: &str, got: &[f64], rtol: f64, atol: f64) {
        assert_close(name, got, &self.want[name].values, rtol, atol);
    }

    /// Mask pixels agree except where the map is within its tolerance of the threshold.
    fn mask(&self, name: &str, got: &[f64]) {
        let mask = &self.want[&format!("{name}.mask_at_0.1")].values;
        let map = &self.want[&format!("{name}.map")].values;
        assert_eq!(got.len(), mask.len());
        for (pixel, (got, want)) in got.iter().zip(mask).enumerate() {
            assert!(
                got == want || (map[pixel] - THRESHOLD).abs() <= 1e-4,
                "{name}: pixel {pixel} is {got}, should be {want}"
            );
        }
    }

    /// Map and mask of a restored batch.
    fn maps(&self, name: &str, restored: &Restored) {
        let map: Vec<f64> = median_batch(&restored.map(&self.x0, &MODALITIES), 5)
            .concat()
            .into_iter()
            .map(f64::from)
            .collect();
        self.close(&format!("{name}.map"), &map, 0.0, 1e-4);
        let mask: Vec<f64> = map
            .iter()
            .map(|value| f64::from(u8::from(*value >= THRESHOLD)))
            .collect();
        self.mask(name, &mask);
    }

    /// A call of the program for a baseline in the form of the public code.
    fn call(&self, method: &str, network: &str) -> Call {
        let file = |name: &str| self.folder.join(name);
        Call::new(
            &file(&format!("{network}.safetensors")),
            &file("config.json"),
            &file("inputs.safetensors"),
        )
        .option("--network", network)
        .option("--modalities", "0,3")
        .option("--method", method)
        .option("--semantics", "reference")
        .option("--respacing", 50)
        .option("--steps", self.steps)
        .option("--threshold", THRESHOLD)
    }

    fn classifier_call(&self, method: &str) -> Call {
        self.call(method, "unet_v1_learn_sigma")
            .option(
                "--classifier",
                self.folder.join("classifier.safetensors").display(),
            )
            .option("--gradient-scale", self.number("clf.scale"))
    }

    /// Target, map and mask of a call.
    fn traced(&self, name: &str, got: &Tensors, atol: f64) {
        assert_eq!(got["target"].shape, [6, 4, 32, 32]);
        assert_eq!(got["map"].shape, [6, 1, 32, 32]);
        assert_eq!(got["mask"].shape, [6, 1, 32, 32]);
        self.close(&format!("{name}.target"), &got["target"].values, 0.0, atol);
        self.close(&format!("{name}.map"), &got["map"].values, 0.0, 1e-4);
        self.mask(name, &got["mask"].values);
    }
}

fn strided() -> Schedule {
    Schedule::linear(1000, &Respacing::Sections(vec![50])).unwrap()
}

#[test]
fn one_ancestral_step() {
    let Some(shared) = shared_dir("one_ancestral_step") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let schedule = strided();
    let index = oracle.steps - 1;
    let x = q_sample(&schedule, index, &oracle.x0, &oracle.noise.get(0));
    oracle.close("anoddpm.x_start", &values(&x), 0.0, 1e-6);
    let time = schedule.network_time(index);
    let step = |network: &str| {
        let mut network = oracle.unet(network);
        tch::no_grad(|| network.predict_with_variance(&x, time, ClassLabel::Null))
    };

    let (epsilon, learned) = step("unet_v1");
    assert!(learned.is_none());
    let x0 = predict_x0(&schedule, index, &x, &epsilon, true);
    let below = ReverseStep::new(&schedule, index, &x, &x0, Variance::FixedLarge);
    oracle.close("fixed_large.pred_x0", &values(&x0), 0.0, 1e-5);
    oracle.close("fixed_large.mean", &values(&below.mean), 0.0, 1e-5);
    let log = below.log_variance.expand([6, 4, 1, 1], false);
    oracle.close("fixed_large.log_variance", &values(&log), 0.0, 1e-5);

    let (epsilon, learned) = step("unet_v1_learn_sigma");
    let x0 = predict_x0(&schedule, index, &x, &epsilon, true);
    let learned = learned.unwrap();
    let below = ReverseStep::new(&schedule, index, &x, &x0, Variance::Learned(&learned));
    oracle.close("learned_range.mean", &values(&below.mean), 0.0, 1e-5);
    let log = values(&below.log_variance);
    oracle.close("learned_range.log_variance", &log, 0.0, 1e-5);
}

#[test]
fn gradient_of_the_classifier() {
    let Some(shared) = shared_dir("gradient_of_the_classifier") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let schedule = Schedule::linear(1000, &Respacing::None).unwrap();
    let x = q_sample(&schedule, 250, &oracle.x0, &oracle.noise.get(0));
    let gradient = oracle.classifier().gradient(&x, 250, ClassLabel::Healthy);
    let got = values(&(gradient * oracle.number("clf.scale")));
    let largest = oracle.want["clf.grad_t250"]
        .values
        .iter()
        .fold(0.0_f64, |most, value| most.max(value.abs()));
    oracle.close("clf.grad_t250", &got, 1e-3, 1e-6 * largest);
}

#[test]
fn anoddpm_in_the_library() {
    let Some(shared) = shared_dir("anoddpm_in_the_library") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let gaussian = Baseline::AnoddpmGaussian;
    let restored = oracle.restore(gaussian, Sampler::Ancestral, 0.0, "unet_v1");
    let latent = values(&restored.latent);
    oracle.close("anoddpm.x_start", &latent, 0.0, 1e-6);
    let target = values(&restored.target);
    oracle.close("anoddpm.target", &target, 0.0, 1e-4);
    oracle.maps("anoddpm", &restored);
    let restored = oracle.restore(gaussian, Sampler::Ddim, 0.0, "unet_v1");
    let target = values(&restored.target);
    oracle.close("anoddpm_ddim.target", &target, 0.0, 1e-4);
}

#[test]
fn guided_methods_in_the_library() {
    let Some(shared) = shared_dir("guided_methods_in_the_library") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let restore = |baseline, strength: &str, network| {
        let strength = oracle.number(strength);
        oracle.restore(baseline, Sampler::Ancestral, strength, network)
    };
    let ddib = restore(Baseline::DdimClfFree, "ddib.w", "unet_v2");
    oracle.close("ddib.latent", &values(&ddib.latent), 0.0, 1e-4);
    oracle.close("ddib.target", &values(&ddib.target), 0.0, 1e-4);
    oracle.maps("ddib", &ddib);
    let clf = restore(Baseline::DdimClassifier, "clf.scale", "unet_v1_learn_sigma");
    oracle.close("clf.target", &values(&clf.target), 0.0, 1e-3);
    oracle.maps("clf", &clf);
}

#[test]
fn anoddpm_traced() {
    let Some(shared) = shared_dir("anoddpm_traced") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let got = oracle.call("anoddpm-gaussian", "unet_v1").run();
    let latent = &got["latent"].values;
    oracle.close("anoddpm.x_start", latent, 0.0, 1e-6);
    oracle.traced("anoddpm", &got, 1e-4);
    // Given noise is what it is, whatever the family.
    let simplex = oracle.call("anoddpm-simplex", "unet_v1").run();
    assert_eq!(simplex["target"].values, got["target"].values);
    let ddim = oracle
        .call("anoddpm-gaussian", "unet_v1")
        .option("--encoding", "ddim")
        .run();
    let target = &ddim["target"].values;
    oracle.close("anoddpm_ddim.target", target, 0.0, 1e-4);
}

#[test]
fn guided_methods_traced() {
    let Some(shared) = shared_dir("guided_methods_traced") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let ddib = oracle
        .call("ddim-clf-free", "unet_v2")
        .option("--guidance", oracle.number("ddib.w"))
        .run();
    oracle.close("ddib.latent", &ddib["latent"].values, 0.0, 1e-4);
    oracle.traced("ddib", &ddib, 1e-4);
    let pixels = 32 * 32;
    let labels: Vec<f64> = ddib["mask"]
        .values
        .chunks(pixels)
        .map(|mask| f64::from(u8::from(mask.contains(&1.0))))
        .collect();
    oracle.close("ddib.pred_label", &labels, 0.0, 0.5);
    let clf = oracle.classifier_call("ddim-classifier").run();
    oracle.traced("clf", &clf, 1e-3);
}

#[test]
fn other_methods_and_lists_of_strengths_traced() {
    let Some(shared) = shared_dir("other_methods_and_lists_of_strengths_traced") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let several = oracle
        .call("ddim-clf-free", "unet_v2")
        .option("--guidance", "0.5,1.1")
        .run();
    assert_eq!(several["map"].shape, [2, 6, 1, 32, 32]);
    let second = &several["target"].values[6 * 4 * 32 * 32..];
    oracle.close("ddib.target", second, 0.0, 1e-4);

    for semantics in ["paper", "reference"] {
        let mut call = oracle.classifier_call("cg-cdm");
        let place = call.arguments.iter().position(|a| a == "reference");
        call.arguments[place.unwrap()] = semantics.to_owned();
        let got = call.run();
        assert_eq!(got["latent"].shape, [6, 4, 32, 32]);
        let signs = |sign: f64| got["map"].values.iter().any(|value| value * sign > 0.0);
        assert!(signs(1.0) && signs(-1.0));
    }
    let andi = oracle.call("andi", "unet_v1").run();
    assert!(andi["map"].values.iter().all(|value| *value > 0.0));
}

#[test]
fn simplex_noise_is_generated_where_none_is_given() {
    let Some(shared) = shared_dir("simplex_noise_is_generated_where_none_is_given") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("slices.safetensors");
    Tensor::write_safetensors(&[("x0", &oracle.x0)], &input).unwrap();
    let call = |seed: u64| {
        let mut call = oracle
            .call("anoddpm-simplex", "unet_v1")
            .option("--seed", seed);
        let place = call.arguments.iter().position(|a| a == "--input").unwrap();
        call.arguments[place + 1] = input.display().to_string();
        call.run()
    };
    let got = call(7);
    let schedule = strided();
    let index = oracle.steps - 1;
    let source = NoiseSource::Counter {
        seed: 7,
        slices: (0..6).collect(),
    };
    let depth = schedule.network_time(index);
    let shape = [6, 4, 32, 32];
    let noise = source.draw(NoiseFamily::Simplex, 0, depth, shape, Device::Cpu);
    let want = values(&q_sample(&schedule, index, &oracle.x0, &noise));
    assert_close("latent", &got["latent"].values, &want, 0.0, 1e-6);
    // Not normalised, and smooth: neighbours are alike.
    let spread = noise.std(true).double_value(&[]);
    assert!((0.2..1.5).contains(&spread), "{spread}");
    let step = (noise.narrow(3, 1, 31) - noise.narrow(3, 0, 31)).square();
    let step = step.mean(Kind::Float).double_value(&[]).sqrt();
    assert!(step < spread, "{step} {spread}");
    assert_eq!(call(7)["target"].values, got["target"].values);
    assert_ne!(call(8)["target"].values, got["target"].values);
}

#[test]
fn options_of_another_method_are_refused() {
    let Some(shared) = shared_dir("options_of_another_method_are_refused") else {
        return;
    };
    let oracle = Oracle::open(&shared);
    let anoddpm = || oracle.call("anoddpm-gaussian", "unet_v1");
    for (call, words) in [
        (
            anoddpm().flag("--variants"),
            "--variants means nothing for --method anoddpm-gaussian",
        ),
        (anoddpm().flag("--dynamic-clip"), "--dynamic-clip"),
        (anoddpm().option("--gradient-scale", 2), "--gradient-scale"),
        (
            oracle
                .call("ddim-clf-free", "unet_v2")
                .option("--encoding", "ddpm"),
            "walks by DDIM steps",
        ),
        (
            oracle.call("cg-cdm", "unet_v1_learn_sigma"),
            "needs --classifier",
        ),
        (
            oracle.call("anofpdm", "unet_v2"),
            "--threshold means nothing",
        ),
        (oracle.call("anodpm", "unet_v1"), "one of anofpdm"),
        (
            oracle
                .classifier_call("ddim-classifier")
                .option("--classifier-config", "absent.json"),
            "absent.json",
        ),
    ] {
        let output = call.try_run();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{text}");
        assert!(text.contains(words), "{text}");
        assert!(!call.out().exists());
    }
}
