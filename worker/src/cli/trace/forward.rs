//! AnoFPDM's forward process on the batch.

use std::ops::ControlFlow;

use anofpdm_common::method::MapKind;
use anyhow::Result;

use super::output::{self, Setup};
use super::{TraceContext, usage};
use crate::anofpdm::ForwardPass;
use crate::predictor::NoisePredictor;
use crate::tensors::NamedTensors;

/// Maps of `--variants`, with the names of their tensors.
const VARIANTS: [(MapKind, &str); 4] = [
    (MapKind::Ste, "ste"),
    (MapKind::Gradient, "gradient"),
    (MapKind::GradientTe, "gradient_te"),
    (MapKind::GradientWeighted, "gradient_weighted"),
];

pub(super) fn trace(
    context: &TraceContext<'_>,
    net: &mut dyn NoisePredictor,
) -> Result<NamedTensors> {
    let args = context.args;
    let m_max = args.m_max_of(context.modalities.len())?;
    let mut maps = vec![MapKind::Aam];
    if args.variants {
        maps.extend(VARIANTS.map(|(kind, _)| kind));
    }
    let pass = ForwardPass {
        schedule: &context.schedule,
        switches: args.semantics.switches(),
        encoding: args.forward_encoding(),
        steps: args.steps(),
        guidance: &args.guidance,
        modalities: &context.modalities,
        maps: &maps,
        end_step_ratios: &args.end_step_ratios,
        keep: &args.keep,
        lesion: None,
    };
    let noise = context.inputs.noise(args.seed);
    let result = pass
        .run(net, &context.inputs.x0, &noise, &mut |_| {
            ControlFlow::Continue(())
        })
        .map_err(usage)?;
    tracing::info!(evaluations = result.evaluations, "forward process done");

    let setup = Setup {
        level_rule: pass.switches.level_index,
        mask_rule: args.mask_rule(),
        m_max,
        cos_threshold: args.cos_threshold,
        fixed_threshold: args.fixed_threshold,
        variants: if args.variants { &VARIANTS } else { &[] },
        keep: &args.keep,
    };
    Ok(output::collect(&setup, &result))
}
