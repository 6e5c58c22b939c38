//! Whether settings made for other data fit these: the average of the weights, the sizes in pixels.

use anofpdm_common::anofpdm::component_area_at;

use super::{Evidence, check, percent};
use crate::report::summary::{Check, State};

/// Share of a slice from which dropped components are no longer specks.
const NO_SPECK: f64 = 0.005;
/// Share of a slice's side from which a median filter takes lesions away.
const WIDE_FILTER: f64 = 0.1;

/// Whether the averaged weights have forgotten their random start.
pub(super) fn ema(evidence: &Evidence<'_>) -> Check {
    let trained = evidence
        .spec
        .model
        .iter()
        .filter(|(_, model)| model.checkpoint.is_none())
        .filter_map(|(name, model)| Some((name, model.train.as_ref()?)));
    let mut warnings = Vec::new();
    let mut least = None;
    for (name, train) in trained {
        let memories =
            f64::from(u32::try_from(train.steps).unwrap_or(u32::MAX)) * (1.0 - train.ema) / 3.0;
        least = Some(least.map_or(memories, |least: f64| least.min(memories)));
        if let Some(warning) = train.ema_warning() {
            warnings.push(format!("[model.{name}.train]: {warning}"));
        }
    }
    let (state, text) = match (warnings.is_empty(), least) {
        (false, _) => (State::Look, warnings.join("; ")),
        (true, Some(_)) => (
            State::Ok,
            "training is long enough for the averaged weights to forget their random start"
                .to_owned(),
        ),
        (true, None) => (
            State::Ok,
            "no network was trained here: the weights were given".to_owned(),
        ),
    };
    check("ema", state, least, text)
}

/// Whether the components that are dropped are specks on slices of this size.
pub(super) fn component_area(evidence: &Evidence<'_>) -> Check {
    let (size, area) = (evidence.size, evidence.component_area);
    let share = f64::from(area) / (size * size).max(1) as f64;
    let dropped = format!(
        "components of up to {area} pixels are dropped, {:.2} % of a slice of {size} x {size}",
        100.0 * share
    );
    let (state, text) = if share > NO_SPECK {
        (
            State::Look,
            format!(
                "{dropped} (0.24 % in the paper): small lesions cannot be found; [score] component_area = {} is the \
                 paper's share",
                component_area_at(size)
            ),
        )
    } else {
        (State::Ok, dropped)
    };
    check("component-area", state, share, text)
}

/// Whether the median filter is small against slices of this size.
pub(super) fn median(evidence: &Evidence<'_>) -> Check {
    let (size, side) = (evidence.size, evidence.spec.score.median);
    let share = f64::from(side) / size.max(1) as f64;
    let filter = format!(
        "the median filter of {side} x {side} pixels is {} of the side of a slice of {size} x {size}",
        percent(share)
    );
    let (state, text) = if side > 1 && share > WIDE_FILTER {
        (
            State::Look,
            format!(
                "{filter} (3.9 % in the paper): it takes small lesions away; try [score] median = {}",
                if side > 3 { 3 } else { 1 }
            ),
        )
    } else {
        (State::Ok, filter)
    };
    check("median", state, share, text)
}
