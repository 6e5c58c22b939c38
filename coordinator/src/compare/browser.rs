//! The page of a comparison in a real browser: its viewer shows one run, and the other beside it.

use super::Runs;
use super::page::page;
use super::pictures::Pictured;
use super::tests::{AFTER, BEFORE, Made};
use crate::report::exhibits::Mask;
use crate::report::figures::changed::{ChangedPair, changed as drawn};
use crate::report::figures::samples;
use crate::report::page::browser::chromium::Chromium;
use crate::report::page::browser::{
    CANVAS, TOO_WIDE, changed, keep, look, nothing_went_wrong, until,
};

const BESIDE: &str = "document.getElementById('viewer-beside').toDataURL()";

/// A map is kept of the first run alone, and the masks of the second are empty.
fn pictured() -> Pictured {
    let mut pictures = samples::pictures(&["A: anofpdm-ddim", "B: anofpdm-ddim"]);
    let second = pictures
        .slices
        .iter_mut()
        .map(|slice| &mut slice.methods[1]);
    for made in second.flatten() {
        made.map.clear();
        made.mask = Mask::default();
    }
    let pairs: Vec<ChangedPair<'_>> = pictures
        .slices
        .iter()
        .map(|slice| ChangedPair {
            runs: ["A", "B"],
            method: "anofpdm-ddim",
            slices: [slice; 2],
            made: [0, 1].map(|method| slice.methods[method].as_ref().unwrap()),
        })
        .collect();
    Pictured {
        figure: drawn(&pairs, "flair"),
        beside: vec![Some(1), Some(0)],
        notes: vec!["no pictures of C: its records are elsewhere".to_owned()],
        pictures,
    }
}

#[test]
fn both_runs_are_seen_beside_each_other() {
    let Some(mut browser) = Chromium::start() else {
        eprintln!("skipped: there is no chromium; scripts/need.sh chromium installs it");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let made = [Made::of("before", &BEFORE), Made::of("after", &AFTER)];
    let paths = made.map(|run| run.write(folder.path()));
    let runs = Runs::open(&paths).unwrap();
    let compared = runs.compare(false, 10).unwrap();
    let path = folder.path().join("compared.html");
    std::fs::write(&path, page(&compared, &pictured())).unwrap();
    let address = format!("file://{}", path.display());
    browser.open(&address);
    for (width, scheme) in [(360, "dark"), (1400, "light")] {
        look(&mut browser, width, scheme);
        assert_eq!(browser.value(TOO_WIDE), "", "{width} pixels");
        keep(&mut browser, &format!("compared-{width}"));
    }
    let empty = browser.value("document.createElement('canvas').toDataURL()");
    let first = changed(&mut browser, &empty);
    browser.value("document.getElementById('viewer').focus()");
    browser.press("2");
    let second = changed(&mut browser, &first);
    browser.press("1");
    changed(&mut browser, &second);
    browser.press("s");
    let hidden = "document.getElementById('viewer-beside').hidden";
    until(&mut browser, hidden, |hidden| *hidden == false);
    assert_eq!(browser.value(CANVAS), first);
    until(&mut browser, BESIDE, |shown| *shown == second);
    let said = browser.value("document.getElementById('viewer-says').textContent");
    let said = said.as_str().unwrap();
    assert!(said.contains("A: anofpdm-ddim") && said.contains("Beside it B: anofpdm-ddim"));
    // No map was kept of the second.
    browser.press("2");
    browser.press("h");
    let range = "document.getElementById('viewer-range').textContent";
    until(&mut browser, range, |range| {
        range == "the map of this slice was not kept"
    });
    keep(&mut browser, "compared-viewer");
    nothing_went_wrong(&browser, &address);
}
