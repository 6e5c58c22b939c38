//! `anofpdm-worker trace`: one batch, everything visible (DESIGN 6).
//!
//! | module | concept |
//! |---|---|
//! | [`args`] | what was typed, checked |
//! | `output` | the tensors of the output file |

pub mod args;
mod output;

use std::ops::ControlFlow;

use anofpdm_common::method::MapKind;
use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

use crate::diffusion::{NoiseSource, Schedule};
use crate::methods::anofpdm::{ForwardError, ForwardPass};
use crate::nn::{config, weights};
use crate::tensors::{self, NamedTensors};
use crate::torch;
use args::TraceArgs;

use crate::usage::UsageError;
use output::Setup;

/// Largest input file read, bytes.
const INPUT_LIMIT: u64 = 16 << 30;

/// Steps of the full schedule.
const DIFFUSION_STEPS: usize = anofpdm_common::spec::DIFFUSION_STEPS as usize;

/// Maps of `--variants`, with the names of their tensors.
const VARIANTS: [(MapKind, &str); 4] = [
    (MapKind::Ste, "ste"),
    (MapKind::Gradient, "gradient"),
    (MapKind::GradientTe, "gradient_te"),
    (MapKind::GradientWeighted, "gradient_weighted"),
];

/// Runs the forward process on one batch and writes everything it yields.
///
/// # Errors
/// [`UsageError`] for arguments that do not fit; otherwise names the file, tensor or slice.
pub fn run(args: &TraceArgs) -> Result<()> {
    let device = args.device.open()?;
    torch::set_threads(args.threads);
    let config = config::read(&args.config, args.network.as_deref(), Some(&args.model))?;
    let schedule = Schedule::linear(DIFFUSION_STEPS, &args.respacing).map_err(UsageError::new)?;
    let inputs = Inputs::read(args, device)?;
    inputs.check(config.in_channels, config.image_size)?;
    let modalities = if args.modalities.is_empty() {
        (0..config.in_channels).collect()
    } else {
        args.modalities.clone()
    };
    let m_max = args.m_max_of(modalities.len())?;
    let mut net = weights::open_unet(&args.model, &config, device)?;

    let mut maps = vec![MapKind::Aam];
    if args.variants {
        maps.extend(VARIANTS.map(|(kind, _)| kind));
    }
    let pass = ForwardPass {
        schedule: &schedule,
        switches: args.semantics.switches(),
        encoding: args.encoding,
        steps: args.steps,
        guidance: &args.guidance,
        modalities: &modalities,
        maps: &maps,
        end_step_ratios: &args.end_step_ratios,
        keep: &args.keep,
        lesion: None,
    };
    let noise = inputs.noise(args.seed);
    let result = pass
        .run(&mut net, &inputs.x0, &noise, &mut |_| {
            ControlFlow::Continue(())
        })
        .map_err(|error| match error {
            ForwardError::Invalid(message) => UsageError::new(message).into(),
            other => anyhow::Error::from(other),
        })?;
    tracing::info!(evaluations = result.evaluations, "forward process done");

    let setup = Setup {
        level_rule: pass.switches.level_index,
        m_max,
        cos_threshold: args.cos_threshold,
        fixed_threshold: args.fixed_threshold,
        variants: if args.variants { &VARIANTS } else { &[] },
        keep: &args.keep,
    };
    let out = output::collect(&setup, &result);
    tensors::write(&args.out, &out).context("the trace cannot be written")
}

/// The tensors of the input file that matter.
struct Inputs {
    x0: Tensor,
    noise: Option<Tensor>,
}

impl Inputs {
    fn read(args: &TraceArgs, device: Device) -> Result<Self> {
        let mut file: NamedTensors = tensors::read(&args.input, INPUT_LIMIT)?;
        let mut take = |name: &str| {
            let tensor = file.remove(name)?;
            Some(tensor.to_device(device).to_kind(Kind::Float))
        };
        let x0 = take("x0")
            .with_context(|| format!("{}: no tensor x0 [N, C, H, W]", args.input.display()))?;
        Ok(Self {
            x0,
            noise: take("noise"),
        })
    }

    fn check(&self, channels: i64, side: i64) -> Result<(), UsageError> {
        match self.x0.size()[..] {
            [_, c, h, w] if c == channels && h == side && w == side => Ok(()),
            ref other => Err(UsageError::new(format!(
                "x0 is {other:?}, the network takes [N, {channels}, {side}, {side}]"
            ))),
        }
    }

    /// The noise of the file, else generated; slices are identified by their place in the file.
    fn noise(&self, seed: u64) -> NoiseSource {
        match &self.noise {
            Some(bank) => NoiseSource::Given(bank.shallow_clone()),
            None => NoiseSource::Counter {
                seed,
                slices: (0..self.x0.size()[0].unsigned_abs()).collect(),
            },
        }
    }
}
