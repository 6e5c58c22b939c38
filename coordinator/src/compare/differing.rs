//! In what runs differ: what they were computed on and with, and their specs.

use std::collections::BTreeMap;

use anofpdm_common::store::slices::Split;

use super::compared::Differing;
use super::opened::Opened;
use crate::report::page::settings;

/// A name, and what a run says of it.
type Fact<'a> = (&'static str, &'a dyn Fn(&Opened) -> Option<String>);

/// Facts beside the spec that differ.
pub(super) fn facts(runs: &[Opened]) -> Vec<Differing> {
    let program = |run: &Opened| run.summary.program.clone();
    let split = |run: &Opened, split: Split| {
        let splits = run.data.splits.iter();
        let found = splits.clone().find(|one| one.split == split)?;
        Some(format!(
            "{} slices ({} with a lesion) of {} patients",
            found.slices, found.unhealthy, found.patients
        ))
    };
    let facts: [Fact<'_>; 12] = [
        ("store", &|run| Some(run.data.store.to_string())),
        ("modalities", &|run| Some(run.data.modalities.join(", "))),
        ("scored", &|run| Some(run.data.scored.join(", "))),
        ("size", &|run| Some(run.data.size.to_string())),
        ("training", &|run| split(run, Split::Train)),
        ("validation", &|run| split(run, Split::Validation)),
        ("test", &|run| split(run, Split::Test)),
        ("test list", &|run| Some(run.data.test_list.to_string())),
        ("precision", &|run| Some(run.summary.precision.clone())),
        ("device", &|run| Some(run.summary.device.clone())),
        ("version", &|run| Some(program(run)?.version)),
        ("commit", &|run| program(run)?.commit),
    ];
    let told = facts.into_iter().map(|(key, of)| Differing {
        key: key.to_owned(),
        values: runs.iter().map(of).collect(),
    });
    told.filter(differs).collect()
}

/// Keys of the normalised specs that differ, but the name.
pub(super) fn specs(runs: &[Opened]) -> Vec<Differing> {
    let each: Vec<Option<BTreeMap<String, String>>> = runs
        .iter()
        .map(|run| {
            let whole = serde_json::to_value(run.spec.as_ref()?).ok()?;
            let mut keys = Vec::new();
            settings::leaves(&whole, &mut Vec::new(), &mut keys);
            Some(
                keys.into_iter()
                    .map(|(path, value)| (path.join("."), value))
                    .collect(),
            )
        })
        .collect();
    if each.iter().any(Option::is_none) {
        return Vec::new();
    }
    let each: Vec<BTreeMap<String, String>> = each.into_iter().flatten().collect();
    let mut keys: Vec<&String> = each.iter().flat_map(BTreeMap::keys).collect();
    keys.sort_unstable();
    keys.dedup();
    keys.retain(|key| *key != "name");
    let told = keys.into_iter().map(|key| Differing {
        key: key.clone(),
        values: each.iter().map(|spec| spec.get(key).cloned()).collect(),
    });
    told.filter(differs).collect()
}

fn differs(one: &Differing) -> bool {
    one.values.iter().any(|value| *value != one.values[0])
}
