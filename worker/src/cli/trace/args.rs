//! The arguments of `trace`.

use std::path::PathBuf;

use anofpdm_common::anofpdm::{MaskRule, PUBLISHED_MEDIAN, QuantileOf};
use anofpdm_common::baseline::Baseline;
use anofpdm_common::method::{Encoding, Method};
use anofpdm_common::semantics::Semantics;
use anofpdm_common::spec::{DIFFUSION_STEPS, Precision};
use clap::Args;
use clap::builder::ArgPredicate;

use super::picture::PictureArgs;
use crate::diffusion::Respacing;
use crate::torch::DeviceSpec;
use crate::usage::UsageError;

const EXAMPLE: &str = "Examples:
  AnoFPDM, two strengths from one pass:
  anofpdm-worker trace --model unet.safetensors --config config.json \\
    --input slices.safetensors --out trace.safetensors \\
    --semantics paper-clipped --encoding ddim --guidance 2,4 --steps 600 \\
    --modalities 0,3 --cos-threshold 0.995 --m-max '0.05,0.04;0.2,0.16' \\
    --keep 0,100 --variants

  Baselines, settings of the paper (BraTS); networks by name in config.json:
  anofpdm-worker trace --method anoddpm-gaussian --semantics reference \\
    --model healthy-gaussian.safetensors --network unet_v1 \\
    --config config.json --input slices.safetensors --out trace.safetensors \\
    --modalities 0,3 --steps 300 --threshold 0.1
  … --method anoddpm-gaussian --encoding ddim --steps 100
    (DDIM steps back; its ATLAS form)
  … --method anoddpm-simplex --steps 200 --threshold 0.08
  … --method ddim-clf-free --network unet_v2 --steps 450 --guidance 1.1 \\
    --threshold 0.22
  … --method ddim-classifier --network unet_v1_learn_sigma \\
    --classifier classifier.safetensors --gradient-scale 1000 --steps 200 \\
    --threshold 0.24
  … --method cg-cdm --network unet_v1_learn_sigma \\
    --classifier classifier.safetensors --gradient-scale 10 --steps 100
    (or --diffusion-steps 4000 --steps 400)
  … --method andi --network unet_v1 --steps 200

  A slice of a store as a picture, by a run (Figure 3):
  anofpdm-worker trace --run runs/mine --subject P07 --slice 80 \\
    --png figure3.png";

/// Runs a method on one batch and writes everything it yields to a safetensors file; or, with --run, one
/// slice of a store as a picture: rows of S_t and of the squared gradient, columns of t.
///
/// IN holds x0 [N, C, H, W] in [-1, 1] and, optionally, noise [n, N, C, H, W]; other tensors are
/// ignored. Index i of the noise is that of Eq. 2 at index i; ancestral sampling starts with index 0
/// and takes 1 + k at its k-th step. OUT of AnoFPDM holds M, mse_h, mse_null [N, K, modalities], cos,
/// Q_star [N], t_e, index, level, Q_mod [N, modalities], aam_mod [N, modalities, H, W], aam,
/// aam_median, mask_unhealthy, mask_unhealthy_cc40 [N, 1, H, W] and what the options add. OUT of a
/// baseline holds latent, target [N, C, H, W], map (after the median filter) [N, 1, H, W] and, with
/// --threshold, mask [N, 1, H, W]. A list of strengths puts a leading axis on everything except
/// x_kept, ugp_kept and mse_null.
// The help text speaks of shapes, which are no links.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLE)]
pub struct TraceArgs {
    /// Weights, safetensors
    #[arg(long, value_name = "W.safetensors", required_unless_present = "run")]
    pub model: Option<PathBuf>,
    /// Network configuration: one network's object, or several by name
    #[arg(long, value_name = "C.json", required_unless_present = "run")]
    pub config: Option<PathBuf>,
    /// Which network of a configuration that holds several
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Input tensors
    #[arg(long, value_name = "IN.safetensors", required_unless_present = "run")]
    pub input: Option<PathBuf>,
    /// Output tensors
    #[arg(long, value_name = "OUT.safetensors", required_unless_present = "run")]
    pub out: Option<PathBuf>,
    /// Method to trace; anofpdm-ddim and anofpdm-ddpm are anofpdm with that --encoding
    #[arg(long, default_value = "anofpdm", value_parser = method)]
    pub method: TraceMethod,
    #[command(flatten)]
    pub picture: PictureArgs,
    /// Which reading of the method: paper, paper-clipped or reference. Of a baseline, reference is the
    /// form in the paper's public code, the others the one its authors published
    #[arg(long, default_value = "paper-clipped")]
    pub semantics: Semantics,
    /// Deterministic (ddim) or stochastic (ddpm) walk: up in anofpdm, where ddim is the default; back
    /// in anoddpm-*, where ddpm (ancestral sampling) is the default
    #[arg(long)]
    pub encoding: Option<Encoding>,
    /// Guidance strengths w (anofpdm, ddim-clf-free)
    #[arg(long, default_value = "2", default_value_if("run", ArgPredicate::IsPresent, None::<&'static str>), value_delimiter = ',', value_parser = non_negative, allow_hyphen_values = true)]
    pub guidance: Vec<f64>,
    /// Forward steps, or noise scale S of a baseline, counted in kept indices of the schedule
    #[arg(long, value_name = "K", required_unless_present = "run")]
    pub steps: Option<usize>,
    /// none, a number of kept steps (50), sections (10,15,20) or ddimN
    #[arg(long, default_value = "none")]
    pub respacing: Respacing,
    /// Steps of the full schedule that the network was trained on
    #[arg(long, default_value_t = DIFFUSION_STEPS, value_name = "T", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub diffusion_steps: u32,
    /// Channels that maps are made of; all where absent
    #[arg(long, value_delimiter = ',')]
    pub modalities: Vec<i64>,
    /// Threshold on the cosine: adds pred_label [N] and mask_mixed [N, 1, H, W]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub cos_threshold: Option<f32>,
    /// M_max of each modality, one group a guidance strength; the largest M of the batch where
    /// absent
    #[arg(long, value_name = "a,b[;a,b]", value_parser = groups)]
    pub m_max: Option<Groups>,
    /// Side of the median filter on maps, pixels: odd, 1 for none
    #[arg(long, default_value_t = PUBLISHED_MEDIAN, value_name = "N", value_parser = median)]
    pub median: u32,
    /// What Q_star is a quantile of: map (each modality's, unfiltered; the default and the public code's)
    /// or filtered (the filtered map that is compared with it)
    #[arg(long, value_name = "map|filtered", value_parser = quantile_of)]
    pub quantile_of: Option<QuantileOf>,
    /// Number format: fp32, bf16; on a GPU also tf32, fp16
    #[arg(long, default_value = "fp32")]
    pub precision: Precision,
    /// Indices to keep whole: adds hgp_kept, ugp_kept [N, kept, modalities, H, W] and x_kept
    #[arg(long, value_delimiter = ',', value_name = "i,j")]
    pub keep: Vec<usize>,
    /// Adds variant.{ste,gradient,gradient_te,gradient_weighted}.{aam_median,Q_star,mask_unhealthy}
    #[arg(long)]
    pub variants: bool,
    /// Seed of the generator where the input holds no noise
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// cpu, cuda or cuda:N
    #[arg(long, default_value = "cpu")]
    pub device: DeviceSpec,
    /// Threads inside one operation (CPU)
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=1024))]
    pub threads: i32,
    /// Multiples r of the end step: adds ablation.ratio{r}.{aam_median,mask_unhealthy,end_step}
    #[arg(long, value_delimiter = ',', value_name = "r,s")]
    pub end_step_ratios: Vec<f64>,
    /// One threshold for all slices: adds ablation.fixed_thr.{aam_median,mask_unhealthy}
    #[arg(long, value_name = "X")]
    pub fixed_threshold: Option<f32>,
    /// Weights of the classifier, safetensors (ddim-classifier, cg-cdm)
    #[arg(long, value_name = "CL.safetensors")]
    pub classifier: Option<PathBuf>,
    /// Configuration of the classifier: one network's object, or one called classifier among several;
    /// that of --config where absent
    #[arg(long, value_name = "C.json")]
    pub classifier_config: Option<PathBuf>,
    /// Factors of the classifier's gradient; where absent, 10 for cg-cdm and for ddim-classifier 100,
    /// under reference 1000
    #[arg(long, value_delimiter = ',', value_parser = non_negative, allow_hyphen_values = true)]
    pub gradient_scale: Vec<f64>,
    /// Threshold on the map of a baseline: adds mask [N, 1, H, W]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    pub threshold: Option<f32>,
    /// ddim-clf-free: predicted x0 are scaled by their 99 % quantile in each slice and channel, as the
    /// method's authors do, instead of clamped
    #[arg(long)]
    pub dynamic_clip: bool,
}

/// A method by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TraceMethod {
    /// The forward process, which yields all methods of the AnoFPDM family; a run's tables name it with its encoding.
    Anofpdm(Option<Encoding>),
    /// A method it is compared with.
    Baseline(Baseline),
}

/// The forward process by whichever encoding `--encoding` says.
const ANOFPDM: &str = "anofpdm";

impl TraceMethod {
    const fn name(self) -> &'static str {
        match self {
            Self::Anofpdm(None) => ANOFPDM,
            Self::Anofpdm(Some(Encoding::Ddim)) => Method::AnofpdmDdim.name(),
            Self::Anofpdm(Some(Encoding::Ddpm)) => Method::AnofpdmDdpm.name(),
            Self::Baseline(baseline) => baseline.name(),
        }
    }
}

/// Numbers in groups: `a,b;c,d`.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups(Vec<Vec<f32>>);

impl TraceArgs {
    /// Refuses options that mean nothing for the method, rather than pass over them.
    pub(super) fn check_options(&self) -> Result<(), UsageError> {
        let of_anofpdm = [
            ("--cos-threshold", self.cos_threshold.is_some()),
            ("--m-max", self.m_max.is_some()),
            ("--keep", !self.keep.is_empty()),
            ("--variants", self.variants),
            ("--end-step-ratios", !self.end_step_ratios.is_empty()),
            ("--fixed-threshold", self.fixed_threshold.is_some()),
            ("--quantile-of", self.quantile_of.is_some()),
        ];
        let of_classifier = [
            ("--classifier", self.classifier.is_some()),
            ("--classifier-config", self.classifier_config.is_some()),
            ("--gradient-scale", !self.gradient_scale.is_empty()),
        ];
        let stray = |options: &[(&'static str, bool)]| {
            let given = options.iter().find(|(_, given)| *given);
            given.map(|(name, _)| *name)
        };
        let stray = match self.method {
            TraceMethod::Anofpdm(named) => stray(&of_classifier)
                .or(self.threshold.map(|_| "--threshold"))
                .or(self.dynamic_clip.then_some("--dynamic-clip"))
                .or((named.is_some() && self.encoding.is_some()).then_some("--encoding")),
            TraceMethod::Baseline(baseline) => {
                let clip = self.dynamic_clip && baseline != Baseline::DdimClfFree;
                let classifier = if has_classifier(baseline) {
                    None
                } else {
                    stray(&of_classifier)
                };
                stray(&of_anofpdm)
                    .or(classifier)
                    .or(clip.then_some("--dynamic-clip"))
            }
        };
        match stray {
            None => Ok(()),
            Some(option) => Err(UsageError::new(format!(
                "{option} means nothing for --method {}",
                self.method.name()
            ))),
        }
    }

    /// Forward steps or noise scale; 0, which every method refuses, where none was given.
    pub(super) fn steps(&self) -> usize {
        self.steps.unwrap_or(0)
    }

    /// The method of a run's table that is meant, where one is.
    pub(super) fn method_name(&self) -> Option<&'static str> {
        match self.method {
            TraceMethod::Anofpdm(_) => self
                .named_encoding()
                .map(|encoding| TraceMethod::Anofpdm(Some(encoding)).name()),
            TraceMethod::Baseline(baseline) => Some(baseline.name()),
        }
    }

    /// How the forward process makes x_t, where a name or `--encoding` says so.
    fn named_encoding(&self) -> Option<Encoding> {
        match self.method {
            TraceMethod::Anofpdm(named) => named.or(self.encoding),
            TraceMethod::Baseline(_) => self.encoding,
        }
    }

    /// The encoding of the forward process.
    pub(super) fn forward_encoding(&self) -> Encoding {
        self.named_encoding().unwrap_or(Encoding::Ddim)
    }

    pub(super) fn mask_rule(&self) -> MaskRule {
        MaskRule {
            median: self.median,
            quantile_of: self.quantile_of.unwrap_or_default(),
        }
    }

    /// M_max of every guidance strength, each with one number a modality.
    pub(super) fn m_max_of(&self, modalities: usize) -> Result<Option<Vec<Vec<f32>>>, UsageError> {
        let Some(Groups(groups)) = &self.m_max else {
            return Ok(None);
        };
        if groups.len() != self.guidance.len() {
            return Err(UsageError::new(format!(
                "--m-max has {} groups (separated by ';'), --guidance {} strengths",
                groups.len(),
                self.guidance.len()
            )));
        }
        match groups.iter().find(|group| group.len() != modalities) {
            None => Ok(Some(groups.clone())),
            Some(group) => Err(UsageError::new(format!(
                "--m-max has a group of {} numbers, there are {modalities} modalities",
                group.len()
            ))),
        }
    }
}

/// Whether a method is guided by a classifier beside the network that predicts noise.
pub(super) const fn has_classifier(baseline: Baseline) -> bool {
    baseline.networks().len() > 1
}

fn method(text: &str) -> Result<TraceMethod, String> {
    let all: Vec<TraceMethod> = [None, Some(Encoding::Ddim), Some(Encoding::Ddpm)]
        .map(TraceMethod::Anofpdm)
        .into_iter()
        .chain(Baseline::ALL.map(TraceMethod::Baseline))
        .collect();
    all.iter()
        .find(|method| method.name() == text)
        .copied()
        .ok_or_else(|| {
            let names: Vec<&str> = all.iter().map(|method| method.name()).collect();
            format!("one of {}", names.join(", "))
        })
}

fn median(text: &str) -> Result<u32, String> {
    let median = text
        .parse()
        .map_err(|_| "it must be an odd number".to_owned())?;
    let rule = MaskRule {
        median,
        ..MaskRule::default()
    };
    rule.check().map_err(|error| error.to_string())?;
    Ok(median)
}

fn quantile_of(text: &str) -> Result<QuantileOf, String> {
    match text {
        "map" => Ok(QuantileOf::Map),
        "filtered" => Ok(QuantileOf::Filtered),
        _ => Err("map or filtered".to_owned()),
    }
}

fn non_negative(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(number) if (0.0..f64::INFINITY).contains(&number) => Ok(number),
        _ => Err("it must be a number >= 0".to_owned()),
    }
}

fn groups(text: &str) -> Result<Groups, String> {
    text.split(';')
        .map(|group| group.split(',').map(positive).collect())
        .collect::<Result<_, _>>()
        .map(Groups)
}

fn positive(text: &str) -> Result<f32, String> {
    match text.trim().parse() {
        Ok(number) if (0.0..f32::INFINITY).contains(&number) => Ok(number),
        _ => Err(format!("'{text}' is not a number >= 0")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_numbers() {
        let got = groups("0.5,1; 2,3").unwrap();
        assert_eq!(got, Groups(vec![vec![0.5, 1.0], vec![2.0, 3.0]]));
        for wrong in ["", "1,;2", "-1", "nan", "1;x"] {
            assert!(groups(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_median_filter_has_a_middle() {
        assert_eq!([median("1"), median("15")], [Ok(1), Ok(15)]);
        let even = "a median filter of 4 x 4 pixels: 1 (no filter), 3, 5 .. 15 are supported";
        assert_eq!(median("4"), Err(even.to_owned()));
        for wrong in ["0", "17", "-3", "3.0", "x"] {
            assert!(median(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn methods_go_by_the_names_of_a_table_too() {
        let named = |text: &str| method(text).unwrap();
        assert_eq!(named("anofpdm"), TraceMethod::Anofpdm(None));
        for (name, encoding) in [
            ("anofpdm-ddim", Encoding::Ddim),
            ("anofpdm-ddpm", Encoding::Ddpm),
        ] {
            assert_eq!(named(name), TraceMethod::Anofpdm(Some(encoding)));
            assert_eq!(named(name).name(), name);
        }
        let cg_cdm = named("cg-cdm");
        assert_eq!(cg_cdm, TraceMethod::Baseline(Baseline::CgCdm));
        let message = method("anofpdm-ddim-ste").unwrap_err();
        assert!(
            message.starts_with("one of anofpdm, anofpdm-ddim,"),
            "{message}"
        );
    }

    #[test]
    fn guidance_is_not_negative() {
        assert_eq!(non_negative("0").unwrap(), 0.0);
        for wrong in ["-1", "nan", "inf", "x"] {
            assert!(non_negative(wrong).is_err(), "{wrong}");
        }
    }
}
