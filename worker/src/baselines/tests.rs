//! All baselines on networks made of arithmetic.

use std::ops::ControlFlow;

use anofpdm_common::baseline::Setting;
use tch::{Device, Kind, Tensor};

use super::*;
use crate::diffusion::Respacing;
use crate::diffusion::noise::NoiseSource;
use crate::nn::ClassLabel;

const FORMS: [BaselineForm; 2] = [BaselineForm::Published, BaselineForm::Port];

fn schedule() -> Schedule {
    Schedule::linear(1000, &Respacing::Sections(vec![50])).unwrap()
}

fn slices() -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    Tensor::linspace(-0.9, 0.9, 2 * 2 * 16, options).view([2, 2, 4, 4])
}

fn noise() -> NoiseSource {
    NoiseSource::Counter {
        seed: 5,
        slices: vec![11, 23],
    }
}

fn setting(noise_scale: u32, strength: f64) -> Setting {
    Setting {
        noise_scale,
        strength,
    }
}

/// Depends on everything it is asked.
struct Toy;

fn lean(label: ClassLabel) -> f64 {
    match label {
        ClassLabel::Healthy => -0.2,
        ClassLabel::Unhealthy => 0.3,
        ClassLabel::Null => 0.05,
    }
}

impl Toy {
    #[allow(clippy::cast_precision_loss)]
    fn noise(x: &Tensor, time: i64, lean: f64) -> Tensor {
        (x * (0.3 + lean)).sin() + 1e-4 * time as f64
    }
}

impl NoisePredictor for Toy {
    fn predict(&mut self, x: &Tensor, time: i64, label: ClassLabel) -> Tensor {
        Self::noise(x, time, lean(label))
    }

    fn predict_between(&mut self, x: &Tensor, time: i64, unhealthy: f64) -> Tensor {
        Self::noise(x, time, 0.3 * unhealthy - 0.2 * (1.0 - unhealthy))
    }
}

impl LabelGuide for Toy {
    fn gradient(&mut self, x: &Tensor, _: i64, label: ClassLabel) -> Tensor {
        x.cos() * lean(label)
    }
}

/// Predicts the same noise everywhere, whatever the label.
struct Constant(f64);

impl NoisePredictor for Constant {
    fn predict(&mut self, x: &Tensor, _: i64, _: ClassLabel) -> Tensor {
        x.full_like(self.0)
    }

    fn predict_between(&mut self, x: &Tensor, _: i64, _: f64) -> Tensor {
        x.full_like(self.0)
    }
}

fn setup(schedule: &Schedule, baseline: Baseline, form: BaselineForm) -> BaselineSetup<'_> {
    BaselineSetup {
        baseline,
        form,
        sampler: Sampler::Ancestral,
        clip: Clip::Fixed,
        schedule,
    }
}

fn restore(
    setup: BaselineSetup<'_>,
    network: &mut dyn NoisePredictor,
    noise: &NoiseSource,
    settings: &[Setting],
) -> Result<RestoredBatch, MethodError> {
    setup
        .build(network, Some(&mut Toy))?
        .restore(
            &slices(),
            noise,
            settings,
            &mut || ControlFlow::Continue(()),
        )
}

fn distance(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).abs().max().double_value(&[])
}

#[test]
fn a_setting_alone_and_in_a_grid_is_the_same_to_the_bit_and_costs_what_the_plan_says() {
    let schedule = schedule();
    let settings = [
        setting(9, 1.5),
        setting(4, 1.5),
        setting(9, 0.5),
        setting(16, 1.5),
    ];
    for baseline in Baseline::ALL {
        for form in FORMS {
            let setup = setup(&schedule, baseline, form);
            let grid = restore(setup, &mut Toy, &noise(), &settings).unwrap();
            let passes = baseline.passes(form, &settings);
            assert_eq!(grid.evaluations, 2 * passes.network, "{baseline}");
            assert_eq!(grid.classifier_evaluations, 2 * passes.classifier);
            for (setting, in_grid) in settings.iter().zip(&grid.restored) {
                assert_eq!(in_grid.setting, *setting);
                let alone = restore(setup, &mut Toy, &noise(), &[*setting]).unwrap();
                let alone = &alone.restored[0];
                assert_eq!(alone.latent, in_grid.latent, "{baseline}");
                assert_eq!(alone.target, in_grid.target, "{baseline}");
                let map = |restored: &Restored| restored.map(&slices(), &[0, 1]);
                assert_eq!(map(alone), map(in_grid), "{baseline}");
            }
            let [first, second] = [0, 2].map(|index| &grid.restored[index].target);
            assert_eq!(first != second, baseline.has_strength(), "{baseline}");
        }
    }
}

#[test]
fn deterministic_ways_up_and_down_meet_as_published_and_miss_by_one_step_as_ported() {
    let schedule = schedule();
    let restored = |form| {
        let setup = setup(&schedule, Baseline::DdimClfFree, form);
        let done = restore(setup, &mut Constant(0.2), &noise(), &[setting(12, 3.0)]);
        done.unwrap().restored.swap_remove(0)
    };
    let published = restored(BaselineForm::Published);
    let up = crate::diffusion::step::q_sample(&schedule, 11, &slices(), &slices().full_like(0.2));
    assert!(distance(&published.latent, &up) < 1e-5);
    assert!(distance(&published.target, &slices()) < 1e-5);
    let ported = restored(BaselineForm::Port);
    assert!(distance(&ported.target, &slices()) > 1e-2);
}

/// A network that knows the slices.
struct Oracle(Schedule);

impl NoisePredictor for Oracle {
    fn predict(&mut self, x: &Tensor, time: i64, _: ClassLabel) -> Tensor {
        let index = self.0.timestep_map().iter().position(|t| *t == time);
        let alpha_bar = self.0.alpha_bar(index.unwrap());
        (x - slices() * alpha_bar.sqrt()) / (1.0 - alpha_bar).sqrt()
    }

    fn predict_between(&mut self, x: &Tensor, time: i64, _: f64) -> Tensor {
        self.predict(x, time, ClassLabel::Null)
    }
}

#[test]
fn who_knows_the_slice_restores_it() {
    let schedule = schedule();
    for baseline in [Baseline::AnoddpmGaussian, Baseline::AnoddpmSimplex] {
        for sampler in [Sampler::Ancestral, Sampler::Ddim] {
            let setup = BaselineSetup {
                sampler,
                ..setup(&schedule, baseline, BaselineForm::Port)
            };
            let mut network = Oracle(self::schedule());
            let done = restore(setup, &mut network, &noise(), &[setting(20, 0.0)]).unwrap();
            let restored = &done.restored[0];
            assert!(distance(&restored.target, &slices()) < 1e-4);
            assert!(distance(&restored.latent, &slices()) > 0.1);
            let map = restored.map(&slices(), &[1]);
            assert_eq!(map.size(), [2, 1, 4, 4]);
            assert!(map.max().double_value(&[]) < 1e-6);
        }
    }
}

#[test]
fn the_variance_is_the_forms_own() {
    let schedule = schedule();
    let target = |form| {
        let setup = setup(&schedule, Baseline::AnoddpmGaussian, form);
        let done = restore(setup, &mut Toy, &noise(), &[setting(8, 0.0)]).unwrap();
        done.restored[0].target.shallow_clone()
    };
    assert_ne!(target(FORMS[0]), target(FORMS[1]));
}

#[test]
fn chains_of_cg_cdm_part_only_where_the_label_leads_them() {
    let schedule = schedule();
    let setup = setup(&schedule, Baseline::CgCdm, BaselineForm::Published);
    let map = |strength| {
        let settings = [setting(5, strength)];
        let done = restore(setup, &mut Constant(0.1), &noise(), &settings).unwrap();
        done.restored[0].map(&slices(), &[0, 1])
    };
    assert_eq!(map(0.0).abs().max().double_value(&[]), 0.0);
    // The guide's gradient is positive for unhealthy, negative for healthy; less noise is more signal.
    assert!(map(1.0).min().double_value(&[]) > 0.0);
}

#[test]
fn andi_is_the_geometric_mean_of_what_the_means_differ_by() {
    let schedule = schedule();
    let bank = Tensor::zeros([16, 2, 2, 4, 4], (Kind::Float, Device::Cpu));
    let noise = NoiseSource::Given(bank);
    let setup = setup(&schedule, Baseline::Andi, BaselineForm::Published);
    let done = restore(setup, &mut Constant(0.3), &noise, &[setting(16, 0.0)]).unwrap();
    let map = done.restored[0].map(&slices(), &[0, 1]);
    let product: f64 = (6..16)
        .map(|index| {
            let beta = schedule.betas()[index];
            let left = 1.0 - schedule.alpha_bar(index);
            (0.3 * beta / (1.0 - beta).sqrt() / left.sqrt()).powi(2)
        })
        .product();
    let want = product.powf(0.1);
    assert!((map.double_value(&[0, 0, 1, 1]) / want - 1.0).abs() < 1e-5);
    // Noise met exactly leaves no deviation.
    let done = restore(setup, &mut Constant(0.0), &noise, &[setting(16, 0.0)]).unwrap();
    let map = done.restored[0].map(&slices(), &[0, 1]);
    assert_eq!(map.abs().max().double_value(&[]), 0.0);
}

#[test]
fn the_dynamic_clip_scales_where_the_fixed_one_cuts() {
    let schedule = schedule();
    let target = |clip| {
        let setup = BaselineSetup {
            clip,
            ..setup(&schedule, Baseline::DdimClfFree, BaselineForm::Published)
        };
        let done = restore(setup, &mut Toy, &noise(), &[setting(30, 4.0)]).unwrap();
        done.restored[0].target.shallow_clone()
    };
    let (fixed, dynamic) = (target(Clip::Fixed), target(Clip::Dynamic));
    assert!(distance(&fixed, &dynamic) > 1e-3);
    assert!(dynamic.abs().max().double_value(&[]) <= 1.0 + 1e-5);
}

#[test]
fn what_cannot_be_restored_says_why() {
    let schedule = schedule();
    let ddib = setup(&schedule, Baseline::DdimClfFree, BaselineForm::Port);
    let andi = setup(&schedule, Baseline::Andi, BaselineForm::Port);
    let short = NoiseSource::Given(Tensor::zeros([3, 2, 2, 4, 4], (Kind::Float, Device::Cpu)));
    for (setup, noise, settings, part) in [
        (ddib, noise(), vec![], "at least one setting"),
        (ddib, noise(), vec![setting(0, 1.0)], "1 to 50 steps"),
        (ddib, noise(), vec![setting(51, 1.0)], "1 to 50 steps"),
        (ddib, noise(), vec![setting(5, f64::NAN)], "number >= 0"),
        (andi, short, vec![setting(4, 0.0)], "needs 4"),
    ] {
        let error = restore(setup, &mut Toy, &noise, &settings).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let mut broken = Constant(f64::NAN);
    let error = restore(ddib, &mut broken, &noise(), &[setting(5, 1.0)]).unwrap_err();
    assert!(error.to_string().contains("slice 0"), "{error}");
    let guided = setup(&schedule, Baseline::CgCdm, BaselineForm::Port);
    let error = guided.build(&mut Toy, None).err().unwrap();
    assert!(error.to_string().contains("needs a classifier"), "{error}");
}

#[test]
fn the_caller_can_stop_it() {
    let schedule = schedule();
    for baseline in Baseline::ALL {
        let (mut left, mut toy, mut guide) = (3, Toy, Toy);
        let stopped = setup(&schedule, baseline, BaselineForm::Published)
            .build(&mut toy, Some(&mut guide))
            .unwrap()
            .restore(&slices(), &noise(), &[setting(9, 1.0)], &mut || {
                left -= 1;
                if left == 0 {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
        assert!(
            matches!(stopped, Err(MethodError::Stopped(3))),
            "{baseline}"
        );
    }
}
