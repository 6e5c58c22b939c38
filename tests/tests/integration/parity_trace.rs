//! `anofpdm-worker trace`, the real program, against every `fpdm_*` oracle it can make.

use crate::trace_call::{Call, Tensors};
use anofpdm_test_support::oracle::{assert_close, read_tensors, shared_dir};

const SCENARIOS: [(&str, &str, &str, &str); 4] = [
    ("S50_ddim", "50", "26", "ddim"),
    ("S50_ddpm", "50", "26", "ddpm"),
    ("T1000_ddim", "none", "16", "ddim"),
    ("T1000_ddpm", "none", "16", "ddpm"),
];

const CONVENTIONS: [(&str, &str); 3] = [
    ("reference", "reference"),
    ("paper", "paper"),
    ("paper_clipped", "paper-clipped"),
];

const VARIANTS: [&str; 4] = ["ste", "gradient", "gradient_te", "gradient_weighted"];

fn list(numbers: &[f64]) -> String {
    let words: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    words.join(",")
}

struct Compare<'a> {
    name: String,
    got: &'a Tensors,
    want: &'a Tensors,
}

impl Compare<'_> {
    fn close(&self, got: &str, want: &str, rtol: f64, atol: f64) {
        let want = &self.want[&format!("{}.{want}", self.name)];
        let name = format!("{}.{got}", self.name);
        let got = &self.got[got];
        assert_eq!(got.shape, want.shape, "{name}");
        assert_close(&name, &got.values, &want.values, rtol, atol);
    }

    fn same(&self, tensor: &str, rtol: f64, atol: f64) {
        self.close(tensor, tensor, rtol, atol);
    }

    /// For whole numbers.
    fn exact(&self, tensor: &str) {
        self.same(tensor, 0.0, 0.5);
    }

    /// Within a share of the largest value.
    fn scaled(&self, got: &str, want: &str, rtol: f64, share: f64) {
        let values = &self.want[&format!("{}.{want}", self.name)].values;
        let largest = values
            .iter()
            .copied()
            .filter(|v| v.is_finite())
            .fold(0.0, f64::max);
        self.close(got, want, rtol, share * largest);
    }

    /// Masks agree except where the map is closer to its threshold than the map's tolerance.
    fn mask(&self, got: &str, want: &str, map: &str, q_star: &[f64], atol: f64) {
        let mask = &self.want[&format!("{}.{want}", self.name)].values;
        let map = &self.want[&format!("{}.{map}", self.name)].values;
        let pixels = mask.len() / q_star.len();
        for (index, (a, b)) in self.got[got].values.iter().zip(mask).enumerate() {
            let threshold = q_star[index / pixels];
            let margin = (map[index] - threshold).abs();
            assert!(
                a == b || margin <= 1e-3 * threshold.abs() + atol,
                "{}.{got}: pixel {index} is {a}, should be {b}, margin {margin}",
                self.name
            );
        }
    }
}

#[test]
fn scenarios_and_variants() {
    let Some(shared) = shared_dir("scenarios_and_variants") else {
        return;
    };
    let oracles = shared.join("oracles");
    let variants = read_tensors(&oracles.join("fpdm_variants.safetensors"));
    for (scenario, respacing, steps, encoding) in SCENARIOS {
        let want = read_tensors(&oracles.join(format!("fpdm_{scenario}.safetensors")));
        for (convention, semantics) in CONVENTIONS {
            let call = Call::oracle(&oracles)
                .option("--semantics", semantics)
                .option("--encoding", encoding)
                .option("--guidance", 2)
                .option("--steps", steps)
                .option("--respacing", respacing)
                .option("--cos-threshold", want["cos_threshold"].values[0])
                .option(
                    "--m-max",
                    list(&want[&format!("{convention}.M_max")].values),
                )
                .option(
                    "--keep",
                    list(&want[&format!("{convention}.kept_steps")].values),
                )
                .option("--end-step-ratios", "0.5,2")
                .option("--fixed-threshold", 0.05)
                .flag("--variants");
            let mut got = call.run();
            // The oracle keeps the first two slices only.
            for name in ["x_kept", "ugp_kept", "hgp_kept"] {
                let tensor = got.get_mut(name).unwrap();
                let slice = tensor.values.len() / tensor.shape[0];
                tensor.values.truncate(2 * slice);
                tensor.shape[0] = 2;
            }
            let compare = Compare {
                name: convention.to_owned(),
                got: &got,
                want: &want,
            };
            check_scenario(&compare);
            if convention == "reference" {
                check_ablations(&compare, respacing == "none");
            }
            let compare = Compare {
                name: format!("{scenario}.{convention}"),
                got: &got,
                want: &variants,
            };
            check_variants(&compare);
        }
    }
}

fn check_scenario(compare: &Compare<'_>) {
    for tensor in ["M", "mse_h", "mse_null"] {
        compare.same(tensor, 1e-3, 1e-6);
    }
    for tensor in ["aam_mod", "aam", "aam_median"] {
        compare.same(tensor, 1e-3, 1e-5);
    }
    for tensor in ["x_kept", "ugp_kept", "hgp_kept"] {
        compare.same(tensor, 0.0, 1e-4);
    }
    for tensor in ["t_e", "index", "pred_label"] {
        compare.exact(tensor);
    }
    compare.same("cos", 0.0, 1e-4);
    compare.same("level", 0.0, 1e-6);
    compare.same("Q_mod", 1e-3, 0.0);
    compare.same("Q_star", 1e-3, 0.0);
    let q_star = compare.want[&format!("{}.Q_star", compare.name)]
        .values
        .clone();
    for tensor in ["mask_unhealthy", "mask_mixed", "mask_unhealthy_cc40"] {
        compare.mask(tensor, tensor, "aam_median", &q_star, 1e-5);
    }
}

/// `unspaced`: the public code's gradient maps are right on the whole schedule only.
fn check_ablations(compare: &Compare<'_>, unspaced: bool) {
    for name in ["ratio0.5", "ratio2", "fixed_thr"] {
        let map = format!("ablation.{name}.aam_median");
        compare.same(&map, 1e-3, 1e-5);
        let mask = format!("ablation.{name}.mask_unhealthy");
        if name == "fixed_thr" {
            compare.mask(&mask, &mask, &map, &[0.05; 6], 1e-5);
        } else {
            compare.exact(&format!("ablation.{name}.end_step"));
            // The oracle does not hold this threshold, so no margin can be granted.
            compare.exact(&mask);
        }
    }
    // The same maps under the names of the public code.
    let mut variants = vec![("last_only", "ste"), ("grad_para", "gradient_weighted")];
    if unspaced {
        variants.push(("grad", "gradient"));
    }
    for (ablation, variant) in variants {
        let (got, want) = (format!("variant.{variant}"), format!("ablation.{ablation}"));
        compare.scaled(
            &format!("{got}.aam_median"),
            &format!("{want}.aam_median"),
            1e-3,
            1e-4,
        );
        compare.close(
            &format!("{got}.mask_unhealthy"),
            &format!("{want}.mask_unhealthy"),
            0.0,
            0.5,
        );
    }
}

fn check_variants(compare: &Compare<'_>) {
    for variant in VARIANTS {
        let Some(q_star) = compare
            .want
            .get(&format!("{}.{variant}.Q_star", compare.name))
        else {
            continue;
        };
        let map = format!("{variant}.aam_median");
        compare.scaled(&format!("variant.{map}"), &map, 1e-3, 1e-4);
        let largest = q_star.values.iter().copied().fold(0.0, f64::max);
        let q = format!("{variant}.Q_star");
        compare.scaled(&format!("variant.{q}"), &q, 1e-3, 1e-4);
        let mask = format!("{variant}.mask_unhealthy");
        let got = format!("variant.{mask}");
        compare.mask(&got, &mask, &map, &q_star.values, 1e-4 * largest);
    }
}

/// The second modality alone, as for single-channel data.
#[test]
fn one_modality() {
    let Some(shared) = shared_dir("one_modality") else {
        return;
    };
    let oracles = shared.join("oracles");
    let (scenario, respacing, steps, encoding) = SCENARIOS[0];
    let want = read_tensors(&oracles.join(format!("fpdm_{scenario}.safetensors")));
    let mut call = Call::oracle(&oracles)
        .option("--semantics", "reference")
        .option("--encoding", encoding)
        .option("--steps", steps)
        .option("--respacing", respacing)
        .option("--cos-threshold", want["cos_threshold"].values[0])
        .option("--m-max", want["reference.M_max"].values[1]);
    let position = call.arguments.iter().position(|a| a == "0,3").unwrap();
    call.arguments[position] = "3".to_owned();
    let got = call.run();
    let compare = Compare {
        name: "reference_single".to_owned(),
        got: &got,
        want: &want,
    };
    compare.same("aam_median", 1e-3, 1e-5);
    compare.exact("pred_label");
    compare.exact("mask_unhealthy");
    compare.exact("mask_mixed");
}

#[test]
fn sweep() {
    let Some(shared) = shared_dir("sweep") else {
        return;
    };
    let oracles = shared.join("oracles");
    let want = read_tensors(&oracles.join("fpdm_sweep.safetensors"));
    for (scenario, respacing, steps, encoding) in [SCENARIOS[0], SCENARIOS[2]] {
        for (convention, semantics) in CONVENTIONS {
            let name = format!("{scenario}.{convention}");
            let m_max: Vec<String> = want[&format!("{name}.M_max")]
                .values
                .chunks(2)
                .map(list)
                .collect();
            let got = Call::oracle(&oracles)
                .option("--semantics", semantics)
                .option("--encoding", encoding)
                .option("--guidance", list(&want[&format!("{name}.w")].values))
                .option("--steps", steps)
                .option("--respacing", respacing)
                .option("--m-max", m_max.join(";"))
                .run();
            let compare = Compare {
                name,
                got: &got,
                want: &want,
            };
            for tensor in ["M", "mse_h", "Q_star", "aam_median"] {
                compare.scaled(tensor, tensor, 3e-3, 3e-4);
            }
            compare.same("cos", 3e-3, 3e-4);
            compare.exact("t_e");
            compare.exact("index");
        }
    }
}

#[test]
fn bad_usage() {
    let Some(shared) = shared_dir("bad_usage") else {
        return;
    };
    let oracles = shared.join("oracles");
    let good = || Call::oracle(&oracles).option("--steps", 2);
    let cases = [
        (good().option("--guidance", "-1"), 2, "number >= 0"),
        (
            good().option("--semantics", "papers"),
            2,
            "paper, paper-clipped, reference",
        ),
        (
            good().option("--method", "anoddpm"),
            2,
            "anofpdm, anofpdm-ddim, anofpdm-ddpm, anoddpm-gaussian",
        ),
        (
            good().option("--m-max", "1,2;3,4"),
            2,
            "--m-max has 2 groups",
        ),
        (good().option("--m-max", "1"), 2, "2 modalities"),
        (good().option("--respacing", "2000"), 2, "2000 steps"),
        (
            good().option("--device", "gpu"),
            2,
            "one of cpu, cuda, cuda:N",
        ),
        (good().option("--keep", "2"), 2, "the last index is 1"),
        (
            Call::oracle(&oracles).option("--steps", 0),
            2,
            "0 forward steps",
        ),
        (
            Call::oracle(&oracles).option("--steps", 1001),
            2,
            "the schedule has 1000",
        ),
        (
            Call::oracle(&oracles)
                .option("--steps", 27)
                .option("--encoding", "ddpm"),
            2,
            "noise for 26 indices",
        ),
    ];
    for (call, code, words) in cases {
        let output = call.try_run();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(code), "{text}");
        assert!(text.contains(words), "{text}");
        assert!(!call.out().exists());
    }
    let mut call = good();
    let position = call.arguments.iter().position(|a| a == "unet_v2").unwrap();
    call.arguments[position] = "unet_v9".to_owned();
    let text = String::from_utf8_lossy(&call.try_run().stderr).into_owned();
    assert!(text.contains("classifier, unet_v1, unet_v2"), "{text}");
}
