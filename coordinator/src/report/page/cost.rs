//! What the run took, what validation slices decided, how the networks learned.

use maud::{Markup, html};

use super::{figures, number};
use crate::readable;
use crate::report::figures::Figures;
use crate::report::summary::Summary;

pub(super) fn section(summary: &Summary, made: &Figures) -> Markup {
    let cost = &summary.cost;
    let coverage = &summary.coverage;
    html! {
        section #cost {
            h2 { "Cost and coverage" }
            dl.facts {
                div { dt { "Network evaluations" } dd { (number::count(cost.network_evaluations, "/cost/network_evaluations")) } }
                div { dt { "training" } dd { (number::count(cost.by_stage.train, "/cost/by_stage/train")) } }
                div { dt { "calibration" } dd { (number::count(cost.by_stage.calibrate, "/cost/by_stage/calibrate")) } }
                div { dt { "scoring" } dd { (number::count(cost.by_stage.score, "/cost/by_stage/score")) } }
                div { dt { "padding" } dd { (number::count(cost.padding, "/cost/padding")) } }
                div { dt { "repeated" } dd { (number::count(cost.repeated_evaluations, "/cost/repeated_evaluations")) } }
                div { dt { "Device time" } dd {
                    (number::decimals(Some(cost.device_seconds), 1, "/cost/device_seconds")) " s ("
                    (readable::time(cost.device_seconds)) ")"
                } }
                div { dt { "Wall time" } dd {
                    (number::decimals(Some(cost.wall_seconds), 1, "/cost/wall_seconds")) " s"
                } }
                div { dt { "Slices a second" } dd { (number::decimals(Some(cost.slices_per_second), 3, "/cost/slices_per_second")) } }
                @if let Some(energy) = &cost.energy {
                    div { dt { "Energy" } dd {
                        (number::decimals(Some(energy.joules), 0, "/cost/energy/joules")) " J in "
                        (number::decimals(Some(energy.of_device_seconds), 1, "/cost/energy/of_device_seconds")) " s"
                    } }
                }
                div { dt { "Slice records" } dd {
                    (number::count(coverage.scored, "/coverage/scored")) " of "
                    (number::count(coverage.planned, "/coverage/planned")) ", "
                    (number::count(coverage.duplicates, "/coverage/duplicates")) " delivered again with equal bits, "
                    (number::count(coverage.conflicts, "/coverage/conflicts")) " with others"
                } }
                div { dt { "Audits" } dd {
                    (number::count(summary.audits.shards, "/audits/shards")) " shards computed again elsewhere: "
                    (number::count(summary.audits.agreed, "/audits/agreed")) " with equal bits, "
                    (number::count(summary.audits.conflicts, "/audits/conflicts")) " not"
                } }
            }
            @if !summary.audits.distrusted.is_empty() {
                p { "Retired for wrong bits: " (summary.audits.distrusted.join(", ")) "." }
            }
            (calibration(summary))
            (tuning(summary))
            h3 { "Training" }
            (figures::grid(&made.loss))
            @if made.loss.is_empty() {
                p.absent { "No network was trained in this run, or its curves are gone." }
            }
        }
    }
}

fn calibration(summary: &Summary) -> Markup {
    html! {
        h3 { "Calibration: image-level labels of the validation slices" }
        @if summary.calibration.is_empty() {
            p.absent { "No method of the AnoFPDM family is in this run." }
        } @else {
            div.scroll tabindex="0" role="region" aria-label="Calibration" {
                table {
                    (number::heads(&["encoding", "w", "Cos_w", "accuracy, %", "M_max", "chosen"], 1))
                    tbody {
                        @for (index, row) in summary.calibration.iter().enumerate() {
                            @let at = format!("/calibration/{index}");
                            tr {
                                th scope="row" { (row.encoding) }
                                td.num { (number::exact(Some(row.guidance), &format!("{at}/guidance"))) }
                                td.num { (number::decimals(Some(row.cos_threshold), 5, &format!("{at}/cos_threshold"))) }
                                td.num { (number::share(Some(row.accuracy), &format!("{at}/accuracy"))) }
                                td.num {
                                    @for (channel, maximum) in row.max_divergence.iter().enumerate() {
                                        @if channel > 0 { ", " }
                                        (number::decimals(Some(f64::from(*maximum)), 4, &format!("{at}/max_divergence/{channel}")))
                                    }
                                }
                                td { @if row.selected { "yes" } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn tuning(summary: &Summary) -> Markup {
    html! {
        @if !summary.tuning.is_empty() {
            h3 { "Tuning of the baselines: pixel labels of the validation slices" }
            div.scroll tabindex="0" role="region" aria-label="Tuning" {
                table {
                    (number::heads(&["method", "S", "strength", "threshold", "mixed DICE, %", "scored"], 1))
                    tbody {
                        @for (index, row) in summary.tuning.iter().enumerate() {
                            @let at = format!("/tuning/{index}");
                            tr {
                                th scope="row" { (row.method) }
                                td.num { (number::count(u64::from(row.noise_scale), &format!("{at}/noise_scale"))) }
                                td.num { @if row.strength.is_some() { (number::exact(row.strength, &format!("{at}/strength"))) } }
                                td.num { (number::decimals(Some(f64::from(row.threshold)), 4, &format!("{at}/threshold"))) }
                                td.num {
                                    @match row.dice {
                                        Some(dice) => (number::share(Some(dice), &format!("{at}/dice"))),
                                        None => "given",
                                    }
                                }
                                td { @if row.selected { "yes" } }
                            }
                        }
                    }
                }
            }
        }
    }
}
