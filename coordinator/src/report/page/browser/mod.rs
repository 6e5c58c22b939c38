//! The page in a real browser: nothing goes wrong, nothing is asked for, nothing is too wide, tables sort, keys work.
//!
//! `ANOFPDM_SCREENSHOTS=FOLDER cargo test -p anofpdm-coordinator --lib browser` keeps what was seen.

pub(crate) mod chromium;

use std::path::Path;

use serde_json::{Value, json};

use super::tests::{full, page_of};
use chromium::Chromium;

/// Elements that reach beyond the window, those apart that scroll by themselves.
pub(crate) const TOO_WIDE: &str = r#"(() => {
    const wide = [];
    for (const element of document.querySelectorAll("body *")) {
        // What is folded has the places of before.
        if (!element.checkVisibility() || element.closest(".scroll, pre, nav ul, .skip, svg *")) continue;
        const box = element.getBoundingClientRect();
        if (box.width > 0 && box.right > innerWidth + 1) wide.push(`${element.tagName}.${element.className}#${element.id}`);
    }
    if (document.documentElement.scrollWidth > innerWidth) wide.push("the page");
    return wide.join(" ");
})()"#;

const FIRST_ROW: &str = "document.querySelector('table.sortable tbody tr th').textContent";

/// What the canvas shows.
pub(crate) const CANVAS: &str = "document.getElementById('viewer-canvas').toDataURL()";

pub(crate) fn look(browser: &mut Chromium, width: u32, scheme: &str) {
    let metrics =
        json!({"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 700});
    browser.ask("Emulation.setDeviceMetricsOverride", metrics);
    let media = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
    browser.ask("Emulation.setEmulatedMedia", media);
}

pub(crate) fn keep(browser: &mut Chromium, name: &str) {
    if let Some(folder) = std::env::var_os("ANOFPDM_SCREENSHOTS") {
        let bytes = browser.screenshot();
        std::fs::write(Path::new(&folder).join(format!("{name}.png")), bytes).unwrap();
    }
}

/// Asked so often, 20 ms apart: minutes, which no page needs.
const MOST_QUESTIONS: usize = 10_000;

/// Waits until the canvas shows something else than `before`.
pub(crate) fn changed(browser: &mut Chromium, before: &Value) -> Value {
    until(browser, CANVAS, |now| now != before)
}

/// Asks until the answer is one that is wanted.
pub(crate) fn until(
    browser: &mut Chromium,
    question: &str,
    wanted: impl Fn(&Value) -> bool,
) -> Value {
    for _ in 0..MOST_QUESTIONS {
        let now = browser.value(question);
        if wanted(&now) {
            return now;
        }
        browser.value("new Promise((done) => setTimeout(() => done(1), 20))");
    }
    panic!(
        "{question} never became what is wanted: {:?}",
        browser.complaints
    );
}

#[test]
fn the_page_works_in_a_browser() {
    let Some(mut browser) = Chromium::start() else {
        eprintln!("skipped: there is no chromium; scripts/need.sh chromium installs it");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, page_of(&full())).unwrap();
    let address = format!("file://{}", path.display());
    browser.open(&address);

    for width in [360, 1400] {
        let mut grounds = Vec::new();
        for scheme in ["light", "dark"] {
            look(&mut browser, width, scheme);
            assert_eq!(browser.value(TOO_WIDE), "", "{width} pixels, {scheme}");
            grounds.push(browser.value("getComputedStyle(document.body).backgroundColor"));
            keep(&mut browser, &format!("{width}-{scheme}"));
        }
        assert_ne!(grounds[0], grounds[1], "dark is not light");
    }

    // Sorting: the first click falls, the second rises; what is no method stays below.
    look(&mut browser, 1400, "light");
    let click = |column: usize| {
        format!("document.querySelectorAll('.heads button.sort')[{column}].click()")
    };
    let before = browser.value(FIRST_ROW);
    browser.value(&click(2));
    assert_eq!(
        browser.value(FIRST_ROW),
        before,
        "the best stands first already"
    );
    browser.value(&click(2));
    assert_ne!(browser.value(FIRST_ROW), before);
    assert_eq!(
        browser.value("document.querySelectorAll('.heads th')[2].getAttribute('aria-sort')"),
        "ascending"
    );
    let last = "[...document.querySelectorAll('table.sortable tbody tr th')].pop().textContent";
    assert_eq!(browser.value(last), "raw-threshold †");

    // More columns fit as well: the table scrolls by itself.
    let shown = "[...document.querySelectorAll('.extra')].some((cell) => cell.offsetWidth > 0)";
    assert_eq!(browser.value(shown), false);
    browser.value("document.querySelector('[data-extra]').click()");
    assert_eq!(browser.value(shown), true);
    assert_eq!(browser.value(TOO_WIDE), "");
    keep(&mut browser, "more-columns");

    let empty =
        "(() => { const canvas = document.createElement('canvas'); return canvas.toDataURL(); })()";
    let empty = browser.value(empty);
    let mut seen = changed(&mut browser, &empty);
    browser.value("document.getElementById('viewer').focus()");
    for key in ["ArrowRight", "ArrowDown", "2", "h", "d", "t", "w"] {
        // With the map over it neither mask nor modality shows.
        if key == "d" {
            browser.press("h");
            seen = changed(&mut browser, &seen);
        }
        browser.press(key);
        seen = changed(&mut browser, &seen);
    }
    browser.press("s");
    let beside = "document.getElementById('viewer-beside').hidden";
    until(&mut browser, beside, |hidden| *hidden == false);
    browser.press("?");
    let help = "document.getElementById('viewer-help').hidden";
    until(&mut browser, help, |hidden| *hidden == false);
    assert_eq!(browser.value(TOO_WIDE), "");
    keep(&mut browser, "viewer");
    look(&mut browser, 360, "dark");
    assert_eq!(browser.value(TOO_WIDE), "");
    keep(&mut browser, "viewer-360");

    nothing_went_wrong(&browser, &address);
}

/// No complaint, and no request beyond the page itself.
pub(crate) fn nothing_went_wrong(browser: &Chromium, address: &str) {
    assert_eq!(browser.complaints, Vec::<String>::new());
    let asked: Vec<&String> = browser
        .requests
        .iter()
        .filter(|request| *request != address && !request.starts_with("data:"))
        .collect();
    assert_eq!(asked, Vec::<&String>::new());
}

#[test]
fn without_scripts_every_number_and_figure_is_there() {
    let Some(mut browser) = Chromium::start() else {
        eprintln!("skipped: there is no chromium; scripts/need.sh chromium installs it");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    std::fs::write(&path, page_of(&full())).unwrap();
    browser.ask(
        "Emulation.setScriptExecutionDisabled",
        json!({"value": true}),
    );
    browser.open(&format!("file://{}", path.display()));
    look(&mut browser, 1400, "light");
    let box_of = |selector: &str| format!("document.querySelector('{selector}').offsetWidth");
    assert_eq!(browser.value(&box_of("#viewer")), 0);
    assert_eq!(browser.value(&box_of("[data-extra]")), 0);
    assert_ne!(browser.value(&box_of(".extra")), 0);
    assert_eq!(browser.value(TOO_WIDE), "");
    let svgs = "[...document.querySelectorAll('figure svg')].every((svg) => svg.clientWidth > 100)";
    assert_eq!(browser.value(svgs), true);
    // Printed it is as wide as the paper.
    browser.ask("Emulation.setEmulatedMedia", json!({"media": "print"}));
    look_printed(&mut browser);
}

fn look_printed(browser: &mut Chromium) {
    assert_eq!(
        browser.value("document.querySelector('nav').offsetWidth"),
        0
    );
    let heads = "[...document.querySelectorAll('.heads th:not(.extra)')].every((head) => !head.textContent || head.firstChild.offsetWidth > 0)";
    assert_eq!(browser.value(heads), true);
    let pdf = browser.pdf();
    assert!(pdf.starts_with(b"%PDF"));
    if let Some(folder) = std::env::var_os("ANOFPDM_SCREENSHOTS") {
        std::fs::write(Path::new(&folder).join("printed.pdf"), pdf).unwrap();
    }
}
