//! A baseline on the batch: `latent`, `target`, `map` and, with a threshold, `mask`.

use std::ops::ControlFlow;

use anofpdm_common::anofpdm::mask_at;
use anofpdm_common::baseline::{Baseline, Clip, Sampler, Setting};
use anofpdm_common::method::Encoding;
use anofpdm_common::semantics::BaselineForm;
use anyhow::Result;
use tch::Tensor;

use super::args::{TraceArgs, has_classifier};
use super::output::stacked;
use super::{TraceContext, usage};
use crate::anofpdm::segmentation::median_batch;
use crate::baselines::{BaselineSetup, Restored};
use crate::method_input::check_modalities;
use crate::nn::{Classifier, config, weights};
use crate::predictor::{LabelGuide, NoisePredictor};
use crate::tensors::NamedTensors;
use crate::usage::UsageError;

/// Everything a baseline yields; several strengths are stacked along a leading axis.
pub(super) fn trace(
    context: &TraceContext<'_>,
    baseline: Baseline,
    net: &mut dyn NoisePredictor,
) -> Result<NamedTensors> {
    let args = context.args;
    let form = args.semantics.switches().baselines;
    let channels = context.inputs.x0.size().get(1).copied().unwrap_or(0);
    check_modalities(&context.modalities, channels).map_err(usage)?;
    let mut classifier = classifier(context, baseline)?;
    let mut method = BaselineSetup {
        baseline,
        form,
        sampler: sampler(args, baseline)?,
        clip: if args.dynamic_clip {
            Clip::Dynamic
        } else {
            Clip::Fixed
        },
        schedule: &context.schedule,
    }
    .build(
        net,
        classifier
            .as_mut()
            .map(|guide| guide as &mut dyn LabelGuide),
    )
    .map_err(usage)?;
    let noise = context.inputs.noise(args.seed);
    let done = method
        .restore(
            &context.inputs.x0,
            &noise,
            &settings(args, baseline, form),
            &mut || ControlFlow::Continue(()),
        )
        .map_err(usage)?;
    tracing::info!(
        evaluations = done.evaluations,
        classifier_evaluations = done.classifier_evaluations,
        "{baseline} done"
    );

    let each: Vec<NamedTensors> = done
        .restored
        .iter()
        .map(|restored| collect(context, restored))
        .collect();
    Ok(stacked(each))
}

/// S, with every strength asked for.
fn settings(args: &TraceArgs, baseline: Baseline, form: BaselineForm) -> Vec<Setting> {
    let strengths = match (baseline, form) {
        (Baseline::DdimClfFree, _) => args.guidance.clone(),
        _ if !args.gradient_scale.is_empty() => args.gradient_scale.clone(),
        (Baseline::CgCdm, _) => vec![10.0],
        (Baseline::DdimClassifier, BaselineForm::Published) => vec![100.0],
        (Baseline::DdimClassifier, BaselineForm::Port) => vec![1000.0],
        _ => vec![0.0],
    };
    let setting = |strength| Setting {
        noise_scale: u32::try_from(args.steps()).unwrap_or(u32::MAX),
        strength,
    };
    strengths.into_iter().map(setting).collect()
}

/// How AnoDDPM walks back; the others do by DDIM steps.
fn sampler(args: &TraceArgs, baseline: Baseline) -> Result<Sampler, UsageError> {
    let anoddpm = matches!(
        baseline,
        Baseline::AnoddpmGaussian | Baseline::AnoddpmSimplex
    );
    match (anoddpm, args.encoding) {
        (true, Some(Encoding::Ddim)) => Ok(Sampler::Ddim),
        (false, Some(Encoding::Ddpm)) if baseline != Baseline::Andi => Err(UsageError::new(
            format!("--encoding ddpm: {baseline} walks by DDIM steps"),
        )),
        _ => Ok(Sampler::Ancestral),
    }
}

/// The classifier of a method that has one.
fn classifier(context: &TraceContext<'_>, baseline: Baseline) -> Result<Option<Classifier>> {
    if !has_classifier(baseline) {
        return Ok(None);
    }
    let args = context.args;
    let Some(path) = &args.classifier else {
        let message = format!("--method {baseline} needs --classifier");
        return Err(UsageError::new(message).into());
    };
    let file = args.classifier_config.as_ref().or(args.config.as_ref());
    let file = file.ok_or_else(|| UsageError::new("give --config"))?;
    let config = config::read(file, Some("classifier"), Some(path))?;
    Ok(Some(weights::open_classifier(
        path,
        &config,
        context.device,
    )?))
}

fn collect(context: &TraceContext<'_>, restored: &Restored) -> NamedTensors {
    let map = restored.map(&context.inputs.x0, &context.modalities);
    let shape = map.size();
    let filtered = median_batch(&map, context.args.median);
    let mut out = NamedTensors::from([
        ("latent".to_owned(), restored.latent.shallow_clone()),
        ("target".to_owned(), restored.target.shallow_clone()),
        (
            "map".to_owned(),
            Tensor::from_slice(&filtered.concat()).view(&shape[..]),
        ),
    ]);
    if let Some(threshold) = context.args.threshold {
        let mask: Vec<u8> = filtered
            .iter()
            .flat_map(|map| mask_at(map, threshold))
            .collect();
        out.insert(
            "mask".to_owned(),
            Tensor::from_slice(&mask).view(&shape[..]),
        );
    }
    out
}
