//! Figures in a page: drawing, words, numbers.

use maud::{Markup, PreEscaped, html};

use crate::report::drawing::Drawing;
use crate::report::drawing::svg::{Ground, write};
use crate::report::figures::{Figure, Figures};

/// Longest list of numbers shown in the page; files beside it have them all.
const MOST_LINES: usize = 300;

pub(super) fn grid(figures: &[Figure]) -> Markup {
    html! {
        @if !figures.is_empty() {
            div.figures { @for figure in figures { (one(figure)) } }
        }
    }
}

fn one(figure: &Figure) -> Markup {
    let lines = figure.data.lines().count();
    let shown: Vec<&str> = figure.data.lines().take(MOST_LINES).collect();
    let caption = html! {
        @if !figure.of_paper.is_empty() { b { " (" (figure.of_paper) " of the paper)" } }
        ". " (figure.caption)
        details {
            summary { "in words and numbers" }
            p { (figure.description) }
            @if !figure.data.is_empty() {
                pre tabindex="0" { (shown.join("\n")) }
                @if lines > MOST_LINES {
                    p { (lines - MOST_LINES) " further lines in figures/" (figure.name) ".csv" }
                }
            }
            p { "Files: figures/" (figure.name) ".svg, .png" @if !figure.data.is_empty() { ", .csv" } }
        }
    };
    let Figure {
        drawing,
        name,
        title,
        description,
        ..
    } = figure;
    framed(drawing, name, title, description, &caption)
}

/// A drawing as pages show it, with what stands behind its title below it; `name` is one that no other drawing of the page
/// has, `words` are for those who cannot see it.
pub(crate) fn framed(
    drawing: &Drawing,
    name: &str,
    title: &str,
    words: &str,
    caption: &Markup,
) -> Markup {
    let svg = write(drawing, Ground::Page, &format!("svg-{name}"), title, words);
    let wide = drawing.width > 560.0;
    html! {
        figure.wide[wide] #(format!("figure-{name}")) {
            div.scroll tabindex=[wide.then_some("0")] role=[wide.then_some("group")] aria-label=[wide.then_some(title)] {
                div.drawing style=(format!("--wide:{}px", drawing.width.round())) { (PreEscaped(svg)) }
            }
            figcaption { b { (title) } (caption) }
        }
    }
}

/// A line in place of what a setting would make.
fn absent(what: &str, setting: &str) -> Markup {
    html! { p.absent { (what) ": not in this run. " (setting) } }
}

fn has(figures: &[Figure], paper: &str) -> bool {
    figures.iter().any(|figure| figure.of_paper == paper)
}

pub(super) fn section(made: &Figures) -> Markup {
    html! {
        section #figures {
            h2 { "The paper's figures" }
            p { "t is that of the full schedule of 1000 steps." }
            h3 { "Figure 2: sequences over the steps" }
            (grid(&made.steps))
            @if !has(&made.steps, "Figure 2a") {
                (absent("Figures 2a to 2c", "[score.figures] traces = true keeps the sequences."))
            }
            h3 { "Figure 5: guidance, end step, threshold" }
            (grid(&made.sweeps))
            @if !has(&made.sweeps, "Figure 5a") {
                (absent("Figure 5a", "A method of the AnoFPDM family makes it."))
            }
            @if !has(&made.sweeps, "Figure 5b") {
                (absent("Figure 5b", "Several strengths make it: guidance = [2, 8, 30]."))
            }
            @if !has(&made.sweeps, "Figure 5c") {
                (absent("Figure 5c", "[score.figures] end_step_ratios = [0.25, 0.5, 1, 1.5, 2, 3] makes it."))
            }
            @if !has(&made.sweeps, "Figure 5d") {
                (absent("Figure 5d", "[score.figures] fixed_thresholds = [0.01, 0.02, 0.05, 0.1] makes it."))
            }
            h3 { "Pixels, patients, sizes" }
            (grid(&made.pixels))
            @if made.pixels.is_empty() { p.absent { "No slice has been scored." } }
        }
    }
}
