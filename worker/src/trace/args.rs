//! The arguments of `trace`.

use std::path::PathBuf;

use anofpdm_common::method::Encoding;
use anofpdm_common::semantics::Semantics;
use clap::Args;

use crate::diffusion::Respacing;
use crate::torch::DeviceSpec;
use crate::usage::UsageError;

const EXAMPLE: &str = "Example:
  anofpdm-worker trace --model unet.safetensors --config config.json --input slices.safetensors \\
    --out trace.safetensors --semantics paper-clipped --encoding ddim --guidance 2,4 --steps 600 \\
    --modalities 0,3 --cos-threshold 0.995 --m-max '0.05,0.04;0.2,0.16' --keep 0,100 --variants";

/// Runs the forward process on one batch and writes everything it yields to a safetensors file.
///
/// IN holds x0 [N, C, H, W] in [-1, 1] and, optionally, noise [n, N, C, H, W] (index i is the noise
/// at index i); other tensors are ignored. OUT holds M, mse_h, mse_null [N, K, modalities], cos,
/// Q_star [N], t_e, index, level, Q_mod [N, modalities], aam_mod [N, modalities, H, W], aam,
/// aam_median, mask_unhealthy, mask_unhealthy_cc40 [N, 1, H, W] and what the options add. A list of
/// guidance strengths puts a leading axis on everything except x_kept, ugp_kept and mse_null.
// The help text speaks of shapes, which are no links.
#[allow(rustdoc::broken_intra_doc_links)]
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLE)]
pub struct TraceArgs {
    /// Weights, safetensors
    #[arg(long, value_name = "W.safetensors")]
    pub model: PathBuf,
    /// Network configuration: one network's object, or several by name
    #[arg(long, value_name = "C.json")]
    pub config: PathBuf,
    /// Which network of a configuration that holds several
    #[arg(long, value_name = "NAME")]
    pub network: Option<String>,
    /// Input tensors
    #[arg(long, value_name = "IN.safetensors")]
    pub input: PathBuf,
    /// Output tensors
    #[arg(long, value_name = "OUT.safetensors")]
    pub out: PathBuf,
    /// Method to trace
    #[arg(long, default_value = "anofpdm", value_parser = ["anofpdm"])]
    pub method: String,
    /// Which reading of the method: paper, paper-clipped or reference
    #[arg(long, default_value = "paper-clipped")]
    pub semantics: Semantics,
    /// Deterministic (ddim) or stochastic (ddpm) walk
    #[arg(long, default_value = "ddim", value_parser = encoding)]
    pub encoding: Encoding,
    /// Guidance strengths w
    #[arg(long, default_value = "2", value_delimiter = ',', value_parser = non_negative, allow_hyphen_values = true)]
    pub guidance: Vec<f64>,
    /// Forward steps, counted in kept indices of the schedule
    #[arg(long, value_name = "K")]
    pub steps: usize,
    /// none, a number of kept steps (50), sections (10,15,20) or ddimN
    #[arg(long, default_value = "none")]
    pub respacing: Respacing,
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
    /// Numeric precision
    #[arg(long, default_value = "fp32", value_parser = ["fp32"])]
    pub precision: String,
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
}

/// Numbers in groups: `a,b;c,d`.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups(Vec<Vec<f32>>);

impl TraceArgs {
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

fn encoding(text: &str) -> Result<Encoding, String> {
    [Encoding::Ddim, Encoding::Ddpm]
        .into_iter()
        .find(|encoding| encoding.name() == text)
        .ok_or_else(|| "one of ddim, ddpm".to_owned())
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
    fn guidance_is_not_negative() {
        assert_eq!(non_negative("0").unwrap(), 0.0);
        for wrong in ["-1", "nan", "inf", "x"] {
            assert!(non_negative(wrong).is_err(), "{wrong}");
        }
    }
}
