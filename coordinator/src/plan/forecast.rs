//! What a run is about to do, in lines for people: said by `plan`, and by `run` before it begins.

use std::path::Path;

use anofpdm_common::spec::{Guidance, ModelSpec, ScoreSpec};
use anofpdm_common::store::slices::Split;

use super::estimate::Estimate;
use crate::dataset::Dataset;
use crate::readable::{Count, count, time};
use crate::spec_file::SpecFile;

/// Name and text of each line.
pub type Lines = Vec<(&'static str, String)>;

/// The benchmark: where, on what, with what.
pub fn benchmark(
    spec_file: &SpecFile,
    dataset: &Dataset,
    estimate: &Estimate,
    dir: &Path,
) -> Lines {
    let state = match estimate.cached {
        0 => "nothing is there yet".to_owned(),
        there => format!("{} are there already", count(there, "result")),
    };
    let manifest = dataset.store().manifest();
    let slices = &estimate.slices;
    let of = |split, slices: u64| {
        let patients = count(dataset.patients_of(split) as u64, "patient");
        format!("{} of {patients}", Count(slices))
    };
    let mut lines = vec![
        (
            "run",
            format!("{}, in {}: {state}", estimate.run, dir.display()),
        ),
        (
            "store",
            format!(
                "{}: {size} x {size} pixels, {}",
                dataset.store().location(),
                manifest.modalities.join(", "),
                size = manifest.size
            ),
        ),
        (
            "slices",
            format!(
                "train {}, validation {}, test {}",
                of(Split::Train, slices.train),
                of(Split::Validation, slices.validation),
                of(Split::Test, slices.test)
            ),
        ),
    ];
    let needed = spec_file.needed().unwrap_or_default();
    let networks = needed.into_iter().map(|(name, model)| network(name, model));
    lines.push(("networks", networks.collect::<Vec<_>>().join("; ")));
    lines.push(("methods", methods(&spec_file.spec.score, estimate)));
    let median = spec_file.spec.score.median;
    let area = count(estimate.component_area.into(), "pixel");
    lines.push((
        "masks",
        format!("median of {median} x {median} pixels, components of at most {area} dropped"),
    ));
    lines
}

/// How much there is to do.
pub fn work(estimate: &Estimate) -> Lines {
    let evaluations = &estimate.network_evaluations;
    let stages = &evaluations.by_stage;
    vec![
        (
            "work",
            format!(
                "{} of a slice: {} train, {} calibrate, {} score",
                count(evaluations.total, "network evaluation"),
                Count(stages.train),
                Count(stages.calibrate),
                Count(stages.score)
            ),
        ),
        (
            "time",
            match estimate.predicted_device_seconds {
                Some(seconds) => format!("about {} of device time to go", time(seconds)),
                None => "not known before a first shard of each kind is done".to_owned(),
            },
        ),
    ]
}

fn network(name: &str, model: &ModelSpec) -> String {
    match (&model.checkpoint, &model.train) {
        (Some(path), _) => format!("{name} from {path}"),
        (None, Some(train)) => format!(
            "{name} trained for {} of {}",
            count(train.steps, "step"),
            count(train.batch, "slice")
        ),
        (None, None) => name.to_owned(),
    }
}

fn methods(score: &ScoreSpec, estimate: &Estimate) -> String {
    let names: Vec<&str> = score.methods.iter().map(|method| method.name()).collect();
    let numbers = |list: &[f64]| {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        list.join(", ")
    };
    let strengths = match &score.guidance {
        Guidance::List(list) if list.is_empty() => String::new(),
        Guidance::List(list) => format!("; w {}", numbers(list)),
        Guidance::Select { select } => format!("; w chosen of {}", numbers(select)),
    };
    format!(
        "{}{strengths}; {}: {} of the table",
        names.join(", "),
        count(score.seeds.len() as u64, "seed"),
        count(estimate.cells, "cell")
    )
}
