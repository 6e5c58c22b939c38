//! Whether the numbers of a run can be quoted, point by point: what a careful reader of the table would look up.
//!
//! A check is about the whole run. Where it looks at several rows or strengths it is `ok` when all of them are, `no` when
//! none can be quoted, else `look`; its text names those that are not ok.

mod data;
mod decision;
mod finding;
mod maps;
mod settings;
mod table;

use std::collections::BTreeMap;

use anofpdm_common::calibration::Calibration;
use anofpdm_common::method::Encoding;
use anofpdm_common::spec::RunSpec;

use super::measured::Measured;
use super::rows::{MethodResult, TestSlice};
use crate::report::summary::{Audits, Check, Classification, Coverage, State};

pub(super) struct Evidence<'a> {
    pub(super) spec: &'a RunSpec,
    /// Side of a slice, pixels.
    pub(super) size: usize,
    /// Components of at most this many pixels are dropped.
    pub(super) component_area: u32,
    pub(super) coverage: Coverage,
    pub(super) audits: &'a Audits,
    pub(super) validation_slices: usize,
    pub(super) test: &'a [TestSlice],
    pub(super) methods: &'a [MethodResult],
    pub(super) trivial: &'a [Measured],
    pub(super) calibration: &'a BTreeMap<Encoding, Calibration>,
    pub(super) classification: &'a [Classification],
}

/// All checks that apply, in the order a reader needs them.
pub(super) fn checks(evidence: &Evidence<'_>) -> Vec<Check> {
    let mut found = vec![
        data::coverage(evidence),
        data::patients(evidence),
        data::slices(evidence),
        data::seeds(evidence),
    ];
    found.extend(decision::accuracy(evidence));
    found.extend(decision::auroc(evidence));
    found.extend(decision::position(evidence));
    found.extend(decision::guidance_edge(evidence));
    found.extend(decision::guidance_margin(evidence));
    found.extend(maps::end_step(evidence));
    found.extend(maps::divergence(evidence));
    found.extend(maps::empty_masks(evidence));
    found.extend(maps::threshold(evidence));
    found.extend(table::beats_trivial(evidence));
    found.push(table::pixel_labels(evidence));
    found.push(settings::ema(evidence));
    found.push(settings::component_area(evidence));
    found.push(settings::median(evidence));
    found
}

fn check(id: &str, state: State, value: impl Into<Option<f64>>, text: String) -> Check {
    Check {
        id: id.to_owned(),
        state,
        value: value.into(),
        text,
    }
}

/// `63.0 %`.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// `63.0 [52.8, 73.5]`, a share in percent with its interval.
fn with_interval(share: f64, interval: Option<[f64; 2]>) -> String {
    // Rounded to what is shown, and no minus before a zero.
    let shown = |share: f64| format!("{:.1}", (1000.0 * share).round() / 10.0 + 0.0);
    match interval {
        None => shown(share),
        Some([low, high]) => format!("{} [{}, {}]", shown(share), shown(low), shown(high)),
    }
}

/// `1 slice`, `2 slices`.
fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests;
