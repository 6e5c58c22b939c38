//! `report/report.html`: the whole report as one page that asks for nothing else.

#[cfg(test)]
pub(crate) mod browser;
mod calls;
mod cost;
mod definitions;
mod differences;
pub(crate) mod figures;
mod head;
mod number;
pub(crate) mod settings;
mod table;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod viewer;

use anofpdm_common::spec::RunSpec;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::drawing::colour;
use super::figures::{Figures, gather};
use super::summary::Summary;
use viewer::Viewer;

/// Largest page, bytes.
pub const LARGEST: usize = 15_000_000;

pub(crate) const STYLE: &str = include_str!("style.css");
const PAGE_SCRIPT: &str = include_str!("page.js");
pub(crate) const VIEWER_SCRIPT: &str = include_str!("viewer.js");

/// Nothing is loaded, whatever a name in the data says.
pub(crate) const POLICY: &str =
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'";

const SECTIONS: [(&str, &str); 10] = [
    ("quote", "Can I quote this?"),
    ("table", "Table 1"),
    ("differences", "Is it different?"),
    ("classification", "Healthy or unhealthy"),
    ("figures", "Figures"),
    ("slices", "Slices"),
    ("cost", "Cost"),
    ("definitions", "Definitions"),
    ("settings", "Settings"),
    ("reproduce", "Again"),
];

/// What a page is made of.
#[derive(Debug, Clone, Copy)]
pub struct Parts<'a> {
    pub summary: &'a Summary,
    pub figures: &'a Figures,
    /// Of the run, where it can be read.
    pub spec: Option<&'a RunSpec>,
    /// Of the program.
    pub version: &'a str,
    /// Files that lie beside the page.
    pub files: &'a [String],
}

/// The page; its viewer holds what fits.
pub fn page(parts: &Parts<'_>) -> String {
    let without = whole(parts, None).into_string();
    // Escapes of names, and the numbers around the pictures, come on top of what is counted.
    let room = (LARGEST - 500_000).saturating_sub(without.len());
    let best = gather::best_methods(parts.summary);
    match Viewer::new(&parts.summary.exhibits.pictures, best, &[], room) {
        None => without,
        Some(viewer) => whole(parts, Some(&viewer)).into_string(),
    }
}

fn whole(parts: &Parts<'_>, viewer: Option<&Viewer>) -> Markup {
    let Parts {
        summary,
        figures: made,
        ..
    } = *parts;
    let body = html! {
        a.skip href="#main" { "To the numbers" }
        nav aria-label="Sections" {
            ul { @for (anchor, name) in SECTIONS { li { a href=(format!("#{anchor}")) { (name) } } } }
        }
        main #main {
            (head::head(summary, parts.version))
            (head::verdict(summary))
            (table::section(summary))
            (differences::section(summary, made))
            (calls::section(summary, made))
            (figures::section(made))
            (viewer::section(summary, made, viewer))
            (cost::section(summary, made))
            (definitions::section())
            (settings::section(parts.spec))
            (settings::reproduce(summary, parts.spec, parts.version, parts.files))
        }
        script { (PreEscaped(PAGE_SCRIPT)) }
        @if viewer.is_some() { script { (PreEscaped(VIEWER_SCRIPT)) } }
    };
    document(&format!("{} – anofpdm", summary.run), &body)
}

/// A page that asks for nothing else, in the look of the report.
pub fn document(title: &str, body: &Markup) -> Markup {
    let [light, dark] = colour::variables();
    let style = format!(
        ":root{{{light}}}@media (prefers-color-scheme:dark){{:root{{{dark}}}}}@media print{{:root{{{light}}}}}{STYLE}"
    );
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) }
                link rel="icon" href="data:,";
                style { (PreEscaped(style)) }
                // What needs scripts is hidden without this.
                script { (PreEscaped("document.documentElement.classList.add('js')")) }
            }
            body { (body) }
        }
    }
}
