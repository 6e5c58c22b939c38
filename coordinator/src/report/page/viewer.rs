//! The slices themselves: Figures 3, 4 and 6 as they print, and the viewer's data.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use serde::Serialize;

use super::figures;
use crate::report::drawing::{colour, png};
use crate::report::exhibits::{MethodExhibit, Pictures, SliceExhibit};
use crate::report::figures::{Figures, name_of};
use crate::report::summary::Summary;

/// What the script reads.
#[derive(Debug, Serialize)]
struct Data<'a> {
    modalities: &'a [String],
    methods: Vec<String>,
    /// Of each method the one that stands beside it; its own map does where there is none.
    beside: Vec<Option<usize>>,
    /// Colours of a map's levels.
    scale: Vec<[u8; 3]>,
    slices: Vec<Slice<'a>>,
}

#[derive(Debug, Serialize)]
struct Slice<'a> {
    patient: &'a str,
    subject: &'a str,
    slice: i64,
    unhealthy: bool,
    width: usize,
    height: usize,
    /// PNG files of one channel, base64.
    images: Vec<String>,
    truth: &'a [u32],
    methods: Vec<Option<OfMethod<'a>>>,
}

#[derive(Debug, Serialize)]
struct OfMethod<'a> {
    map: String,
    low: f32,
    high: f32,
    logarithmic: bool,
    mask: &'a [u32],
    called: bool,
    dice: f64,
}

impl Slice<'_> {
    fn bytes(&self) -> usize {
        let images: usize = self.images.iter().map(String::len).sum();
        images + 6 * self.truth.len() + 200
    }
}

impl OfMethod<'_> {
    fn bytes(&self) -> usize {
        self.map.len() + 6 * self.mask.len() + 150
    }
}

/// What the viewer holds, and what was left out for the page's size.
pub(crate) struct Viewer {
    json: String,
    left_out: Vec<String>,
    slices: usize,
    all_slices: usize,
}

/// Pixels as PNG in base64; an image that contradicts its size is black.
fn encoded(slice: &SliceExhibit, levels: &[u8]) -> String {
    if levels.is_empty() {
        return String::new();
    }
    let (width, height) = (slice.width, slice.height);
    let bytes = png::grey(width, height, levels);
    let bytes = bytes.or_else(|_| png::grey(width, height, &vec![0; width * height]));
    bytes.map_or_else(|_| String::new(), |bytes| STANDARD.encode(bytes))
}

fn of_method<'a>(slice: &SliceExhibit, exhibit: &'a MethodExhibit) -> OfMethod<'a> {
    let finite = |value: f32| if value.is_finite() { value } else { 0.0 };
    OfMethod {
        map: encoded(slice, &exhibit.map),
        low: finite(exhibit.low),
        high: finite(exhibit.high),
        logarithmic: exhibit.logarithmic,
        mask: &exhibit.mask.runs,
        called: exhibit.called_unhealthy,
        dice: exhibit.dice,
    }
}

impl Viewer {
    /// Of at most about `room` bytes: methods go first, those that are worse before the better; then slices, the last
    /// first. `None` without slices. `best`: numbers of all methods, the best one first; `beside`: of each the number of the
    /// one to be seen beside it, where that is not its own map.
    pub(crate) fn new(
        pictures: &Pictures,
        best: Vec<usize>,
        beside: &[Option<usize>],
        room: usize,
    ) -> Option<Self> {
        if pictures.slices.is_empty() {
            return None;
        }
        let mut order = best;
        let mut slices: Vec<Slice<'_>> = pictures
            .slices
            .iter()
            .map(|slice| Slice {
                patient: &slice.place.patient,
                subject: &slice.place.subject,
                slice: slice.place.slice,
                unhealthy: slice.place.unhealthy,
                width: slice.width,
                height: slice.height,
                images: slice
                    .images
                    .iter()
                    .map(|image| encoded(slice, image))
                    .collect(),
                truth: &slice.truth.runs,
                methods: (0..pictures.methods.len())
                    .map(|method| {
                        let exhibit = slice.methods.get(method)?.as_ref()?;
                        Some(of_method(slice, exhibit))
                    })
                    .collect(),
            })
            .collect();
        let of_methods = |slice: &Slice<'_>, kept: &[usize]| -> usize {
            let kept = kept
                .iter()
                .filter_map(|method| slice.methods[*method].as_ref());
            kept.map(OfMethod::bytes).sum()
        };
        let total = |slices: &[Slice<'_>], kept: &[usize]| -> usize {
            slices
                .iter()
                .map(|slice| slice.bytes() + of_methods(slice, kept))
                .sum()
        };
        let mut left_out = Vec::new();
        while order.len() > 1 && total(&slices, &order) > room {
            left_out.extend(order.pop().map(|method| name_of(&pictures.methods[method])));
        }
        let mut bytes = total(&slices, &order);
        while bytes > room
            && let Some(last) = slices.pop()
        {
            bytes -= last.bytes() + of_methods(&last, &order);
        }
        // In the order of the table.
        order.sort_unstable();
        for slice in &mut slices {
            let mut number = 0;
            slice.methods.retain(|_| {
                number += 1;
                order.contains(&(number - 1))
            });
        }
        let count = slices.len();
        let data = Data {
            modalities: &pictures.modalities,
            methods: order
                .iter()
                .map(|method| name_of(&pictures.methods[*method]))
                .collect(),
            beside: order
                .iter()
                .map(|method| {
                    let other = beside.get(*method).copied().flatten()?;
                    order.iter().position(|kept| *kept == other)
                })
                .collect(),
            scale: (0..=255)
                .map(|level| colour::scale(f64::from(level) / 255.0))
                .collect(),
            slices,
        };
        // Text in a script ends at the first "</".
        let json = serde_json::to_string(&data).ok()?.replace('<', "\\u003c");
        Some(Self {
            json,
            left_out,
            slices: count,
            all_slices: pictures.slices.len(),
        })
    }
}

const KEYS: [(&str, &str); 9] = [
    ("← →", "slice"),
    ("↑ ↓", "patient"),
    ("1 … 9", "method"),
    ("t", "truth, as an outline"),
    ("m", "mask"),
    ("h", "map"),
    ("d", "difference: right, missed, wrong"),
    ("s", "side by side"),
    ("w", "next modality"),
];

pub(super) fn section(summary: &Summary, made: &Figures, viewer: Option<&Viewer>) -> Markup {
    let pictures = &summary.exhibits.pictures;
    html! {
        section #slices {
            h2 { "Slices" }
            h3 { "Figure 3: maps by step" }
            (figures::grid(&made.step_maps))
            @if made.step_maps.is_empty() {
                p.absent { "Figure 3: not in this run. Its records keep no maps of single steps." }
            }
            h3 { "Figures 4 and 6: maps and masks" }
            (figures::grid(&made.pictures))
            @match viewer {
                None => p.absent { "Figures 4 and 6 and the viewer: not in this run. Its records keep no maps and no masks." },
                Some(viewer) => { h3 { "Viewer" } (viewer.markup(&pictures.rule)) },
            }
        }
    }
}

impl Viewer {
    /// All of it but its script; `rule` says how its slices were chosen.
    pub(crate) fn markup(&self, rule: &str) -> Markup {
        html! {
            p { (rule) " " (self.slices) " slices. Images of patients: pass this file on as you would them." }
            @if !self.left_out.is_empty() {
                p { "Left out for the size of the page: " (self.left_out.join(", ")) "." }
            }
            @if self.slices < self.all_slices {
                p { "Left out for the size of the page: " (self.all_slices - self.slices) " slices." }
            }
            (controls())
            script type="application/json" #viewer-data { (PreEscaped(&self.json)) }
        }
    }
}

fn controls() -> Markup {
    html! {
        div #viewer.scripted tabindex="0" role="application" aria-label="Slice viewer; question mark for its keys" {
            div.controls {
                label { "Patient " select #viewer-patient {} }
                label { "Slice " input #viewer-slice type="range" min="0" value="0"; }
                label { "Method " select #viewer-method {} }
                label { "Modality " select #viewer-modality {} }
            }
            div.controls {
                @for (key, name) in [("t", "truth"), ("m", "mask"), ("h", "map"), ("d", "difference"), ("s", "side by side"), ("o", "own scale")] {
                    button type="button" data-key=(key) aria-pressed="false" { (name) }
                }
                button type="button" data-key="?" aria-expanded="false" { "keys ?" }
            }
            p #viewer-says aria-live="polite" {}
            div.canvases {
                canvas #viewer-canvas role="img" aria-label="slice" {}
                canvas #viewer-beside role="img" aria-label="map" hidden {}
            }
            p #viewer-scale {
                canvas #viewer-colours width="256" height="10" aria-hidden="true" {}
                " " span #viewer-range {}
            }
            p.legend {
                span.swatch.truth {} " truth "
                span.swatch.mask {} " mask; difference: "
                span.swatch.right {} " right "
                span.swatch.missed {} " missed (stripes /) "
                span.swatch.wrong {} " wrong (stripes \\)"
            }
            dl #viewer-help hidden {
                @for (key, what) in KEYS { div { dt { kbd { (key) } } dd { (what) } } }
                div { dt { kbd { "o" } } dd { "scale of this map, or one for all maps of the method" } }
                div { dt { kbd { "?" } } dd { "this list" } }
            }
        }
        p.unscripted { "The viewer needs scripts; the figures above do not." }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::figures::samples;

    fn shown() -> Pictures {
        samples::pictures(&["gradient", "anofpdm-ddim"])
    }

    /// The second method is the better one.
    fn viewer(pictures: &Pictures, room: usize) -> Option<Viewer> {
        Viewer::new(pictures, vec![1, 0], &[Some(1), None], room)
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_said() {
        let pictures = shown();
        let whole = viewer(&pictures, usize::MAX).unwrap();
        assert_eq!((whole.left_out.len(), whole.slices), (0, 10));
        assert!(whole.json.contains(r#""beside":[1,null]"#));
        let less = viewer(&pictures, whole.json.len() - 3_500).unwrap();
        assert_eq!(less.left_out, ["gradient (w 2)"], "the worse one goes");
        assert_eq!(less.slices, 10);
        assert!(less.json.contains(r#""beside":[null]"#));
        let least = viewer(&pictures, 4_000).unwrap();
        assert!(least.slices < 10);
        let none = viewer(&Pictures::default(), 1);
        assert!(none.is_none());
    }

    #[test]
    fn a_map_that_was_not_kept_takes_no_room() {
        let mut pictures = shown();
        let whole = viewer(&pictures, usize::MAX).unwrap().json.len();
        for made in pictures
            .slices
            .iter_mut()
            .flat_map(|slice| &mut slice.methods)
        {
            made.as_mut().unwrap().map.clear();
        }
        let without = viewer(&pictures, usize::MAX).unwrap();
        assert!(without.json.len() < whole);
        assert!(without.json.contains("\"map\":\"\""));
    }

    #[test]
    fn names_cannot_end_the_script() {
        let mut pictures = shown();
        pictures.slices[0].place.patient = "</script><b>".to_owned();
        let viewer = viewer(&pictures, usize::MAX).unwrap();
        assert!(!viewer.json.contains('<'));
        let back: serde_json::Value = serde_json::from_str(&viewer.json).unwrap();
        assert_eq!(back["slices"][0]["patient"], "</script><b>");
        assert_eq!(back["slices"][0]["methods"].as_array().unwrap().len(), 2);
    }
}
