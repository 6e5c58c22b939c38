//! Invented numbers to draw from.

use crate::report::exhibits::{
    BothSetups, EndStepPoint, EndStepSweep, Estimate, Exhibits, Mask, MethodExhibit, Pictures,
    PixelCurve, PixelPoint, SliceExhibit, SlicePlace, SliceSequences, StepMap, StepMaps,
    StrengthPoint, StrengthSweep, ThresholdPoint, ThresholdSweep, Traces,
};
use crate::report::statistics::RowId;

pub(crate) fn row(method: &str) -> RowId {
    RowId {
        method: method.to_owned(),
        guidance: Some(2.0),
    }
}

pub(crate) fn traces() -> Traces {
    let steps: Vec<u32> = (1..=30).map(|step| 20 * step).collect();
    let slices = (0..12_u8).map(|number| {
        let unhealthy = number % 3 == 0;
        let of = |scale: f32, peak: f32| -> Vec<f32> {
            let each = steps.iter().flat_map(|t| {
                let t = *t as f32 / 600.0;
                let value = scale
                    * t
                    * (1.0 + 0.05 * f32::from(number))
                    * (-(t - peak).powi(2) * 4.0).exp();
                [value, 1.1 * value]
            });
            each.collect()
        };
        SliceSequences {
            unhealthy,
            divergence: of(0.02, 0.6),
            mse_h: of(if unhealthy { 0.3 } else { 0.2 }, 0.9),
            mse_null: of(0.19, 0.9),
            inside: if unhealthy {
                of(0.2, 0.4)
            } else {
                vec![f32::NAN; 60]
            },
            outside: of(0.03, 0.7),
            end_steps: vec![17 + u32::from(number) % 5, 18],
        }
    });
    Traces {
        row: row("anofpdm-ddim"),
        seed: 0,
        validation: false,
        slices: slices.collect(),
        steps,
        modalities: vec!["flair".to_owned(), "t1".to_owned()],
    }
}

pub(crate) fn both(mixed: f64, unhealthy: f64) -> BothSetups {
    let around = |mean: f64| {
        Some(Estimate {
            mean,
            ci95: Some([mean - 0.1, mean + 0.1]),
        })
    };
    BothSetups {
        mixed: around(mixed),
        unhealthy: around(unhealthy),
    }
}

pub(crate) fn strengths() -> StrengthSweep {
    let points = [(2.0, 0.5), (8.0, 0.62), (30.0, 0.6)];
    StrengthSweep {
        method: "anofpdm-ddim".to_owned(),
        seed: 0,
        points: points
            .map(|(guidance, dice)| StrengthPoint {
                guidance,
                validation_accuracy: Some(0.3 + dice),
                test_accuracy: Some(0.25 + dice),
                dice: both(dice, dice - 0.1),
            })
            .to_vec(),
        selected: Some(8.0),
        all_empty: Some(0.63),
    }
}

pub(crate) fn end_steps() -> EndStepSweep {
    let points = [(0.5, 0.55, 0.0), (1.0, 0.6, 0.1), (2.0, 0.4, 0.8)];
    EndStepSweep {
        row: row("anofpdm-ddim"),
        seed: 0,
        points: points
            .map(|(ratio, dice, cut_off)| EndStepPoint {
                ratio,
                dice: both(dice, dice - 0.1),
                cut_off,
            })
            .to_vec(),
    }
}

pub(crate) fn thresholds() -> ThresholdSweep {
    let points = (0..12).map(|number| {
        let threshold = 0.001 * 2_f64.powi(number);
        let dice = 0.6 - 0.01 * f64::from((number - 6) * (number - 6));
        ThresholdPoint {
            threshold,
            dice: both(dice, dice - 0.1),
        }
    });
    ThresholdSweep {
        row: row("anofpdm-ddim"),
        seed: 0,
        points: points.collect(),
        dynamic: both(0.61, 0.5),
        q_star: Some([0.02, 0.06, 0.2]),
    }
}

pub(crate) fn curve(method: &str, power: f64) -> PixelCurve {
    let points = (0..=40).map(|number| {
        let recall = f64::from(number) / 40.0;
        PixelPoint {
            recall,
            precision: 1.0 - 0.9 * recall.powf(power),
        }
    });
    PixelCurve {
        row: row(method),
        seed: Some(0),
        points: points.collect(),
        at_work: Some(PixelPoint {
            recall: 0.6,
            precision: 0.7,
        }),
        prevalence: 0.1,
    }
}

const SIDE: usize = 32;

/// Distance from the middle of a lesion.
fn blob(x: usize, y: usize, shift: usize) -> f64 {
    let (x, y) = (x as f64 - 12.0 - shift as f64, y as f64 - 14.0);
    (x * x + y * y).sqrt()
}

fn levels(of: impl Fn(usize, usize) -> f64) -> Vec<u8> {
    let pixels = (0..SIDE * SIDE).map(|n| (255.0 * of(n % SIDE, n / SIDE).clamp(0.0, 1.0)) as u8);
    pixels.collect()
}

pub(crate) fn slice(number: usize, unhealthy: bool, methods: usize) -> SliceExhibit {
    let head = |x: usize, y: usize| f64::from(u8::from(blob(x, y, 4) < 14.0));
    let inside = move |x: usize, y: usize| unhealthy && blob(x, y, number % 7) < 4.0;
    let pixels = || (0..SIDE * SIDE).map(|n| (n % SIDE, n / SIDE));
    let image =
        |scale: f64| levels(|x, y| scale * head(x, y) * if inside(x, y) { 0.9 } else { 0.5 });
    SliceExhibit {
        place: SlicePlace {
            patient: format!("patient-{}", number / 5),
            subject: format!("patient-{}_ses-1", number / 5),
            slice: i64::try_from(40 + number).unwrap(),
            unhealthy,
        },
        in_figures: unhealthy,
        width: SIDE,
        height: SIDE,
        images: vec![image(1.0), image(0.7)],
        truth: Mask::of(pixels().map(|(x, y)| inside(x, y))),
        methods: (0..methods)
            .map(|method| {
                Some(MethodExhibit {
                    map: levels(|x, y| head(x, y) * (1.0 - blob(x, y, number % 7 + method) / 16.0)),
                    low: 1e-4,
                    high: 0.3,
                    logarithmic: true,
                    mask: Mask::of(pixels().map(|(x, y)| blob(x, y, number % 7 + method) < 4.5)),
                    called_unhealthy: unhealthy,
                    dice: 0.7 - 0.1 * method as f64,
                })
            })
            .collect(),
    }
}

pub(crate) fn pictures(methods: &[&str]) -> Pictures {
    Pictures {
        rule: "All test slices of four patients, chosen by a permutation.".to_owned(),
        seed: 0,
        modalities: vec!["flair".to_owned(), "t1".to_owned()],
        methods: methods.iter().map(|method| row(method)).collect(),
        slices: (0..10)
            .map(|number| slice(number, number % 5 > 1, methods.len()))
            .collect(),
    }
}

pub(crate) fn step_maps() -> StepMaps {
    let slice = slice(3, true, 0);
    let steps = [100, 200, 300, 500, 600].map(|t| {
        let map = |scale: f64| -> Vec<f32> {
            let pixels = (0..SIDE * SIDE).map(|n| {
                let near = 1.0 - blob(n % SIDE, n / SIDE, 3) / 20.0;
                (scale * f64::from(t) * near.max(0.0)) as f32
            });
            pixels.collect()
        };
        StepMap {
            t,
            end_step: t == 300,
            anomaly: map(1e-4),
            gradient: map(1e-6),
        }
    });
    StepMaps {
        place: slice.place,
        row: row("anofpdm-ddim"),
        seed: 0,
        width: SIDE,
        height: SIDE,
        image: slice.images[0].clone(),
        truth: slice.truth,
        steps: steps.to_vec(),
    }
}

pub(crate) fn exhibits(methods: &[&str]) -> Exhibits {
    Exhibits {
        traces: vec![traces()],
        strengths: vec![strengths()],
        end_steps: vec![end_steps()],
        thresholds: vec![thresholds()],
        pixel_curves: methods
            .iter()
            .enumerate()
            .map(|(number, method)| curve(method, 1.0 + number as f64))
            .collect(),
        step_maps: vec![step_maps(), step_maps()],
        pictures: pictures(methods),
    }
}
