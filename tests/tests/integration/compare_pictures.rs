//! `anofpdm compare --html` shows the slices that differ most, out of the records of both runs.

use anofpdm_tests::fixture::{Fixture, SPEC};
use serde_json::Value;

/// What the viewer of a page reads.
fn viewer(page: &str) -> Value {
    let data = page
        .find("id=\"viewer-data\"")
        .expect("the page has a viewer");
    let from = data + page[data..].find('>').unwrap() + 1;
    let to = from + page[from..].find("</script>").unwrap();
    serde_json::from_str(&page[from..to]).unwrap()
}

/// Pixels out of lengths of runs: so many that are not set, so many that are, and so on.
fn pixels(runs: &Value) -> Vec<bool> {
    let runs = runs.as_array().unwrap().iter().enumerate();
    runs.flat_map(|(number, run)| {
        let length = usize::try_from(run.as_u64().unwrap()).unwrap();
        std::iter::repeat_n(number % 2 == 1, length)
    })
    .collect()
}

fn dice(truth: &[bool], mask: &[bool]) -> f64 {
    assert_eq!(truth.len(), mask.len());
    let count = |pixels: &[bool]| pixels.iter().filter(|set| **set).count() as f64;
    let both = truth.iter().zip(mask).filter(|(t, m)| **t && **m).count() as f64;
    (2.0 * both + 1e-6) / (count(truth) + count(mask) + 1e-6)
}

/// Two runs of one network whose masks are filtered otherwise.
#[test]
fn the_slices_that_changed_are_shown_as_both_runs_have_them() {
    let fixture = Fixture::new();
    let spec = SPEC
        .replace(
            "\"anofpdm-ddim\", \"anofpdm-ddim-ste\", \"anofpdm-ddpm\"",
            "\"anofpdm-ddim\"",
        )
        .replace("guidance = [1, 3]", "guidance = [3]")
        .replace(
            "component_area = 2",
            "component_area = 0\nmedian = 3\nquantile_of = \"filtered\"",
        );
    fixture.write("before.toml", &spec);
    let run = |spec: &str, folder: &str| {
        fixture.succeeds("anofpdm", &["run", spec, "--dir", folder, "--workers", "1"])
    };
    run("before.toml", "before");
    let weights = fixture.weights("before");
    let checkpoint = format!("[model.guided]\ncheckpoint = \"{}\"\n", weights.display());
    let after = spec
        .replace("[model.guided]\n", &checkpoint)
        .replace("median = 3", "median = 1");
    assert_ne!(after, spec);
    fixture.write("after.toml", &after);
    run("after.toml", "after");

    let compare = |page: &str| -> (Value, String) {
        let args = ["compare", "before", "after", "--json", "--slices", "40"];
        let json = fixture.succeeds("anofpdm", &[&args[..], &["--html", page]].concat());
        let page = std::fs::read_to_string(fixture.path().join(page)).unwrap();
        (serde_json::from_str(&json).unwrap(), page)
    };
    let (found, page) = compare("both.html");
    let changed = found["changed"].as_array().unwrap();
    assert!(!changed.is_empty(), "a median of one pixel moves masks");
    assert!(page.contains("svg-changed"));
    let data = viewer(&page);
    assert_eq!(data["methods"].as_array().unwrap().len(), 2);
    assert_eq!(data["beside"], serde_json::json!([1, 0]));
    let slices = data["slices"].as_array().unwrap();
    let mut named: Vec<(&Value, &Value)> = changed
        .iter()
        .map(|one| (&one["subject"], &one["slice"]))
        .collect();
    named.sort_by_key(|(subject, slice)| (subject.to_string(), slice.as_i64()));
    named.dedup();
    assert_eq!(slices.len(), named.len());
    let mut differ = 0;
    for slice in slices {
        let truth = pixels(&slice["truth"]);
        let [first, second] = [0, 1].map(|method| {
            let made = &slice["methods"][method];
            let mask = pixels(&made["mask"]);
            let told = made["dice"].as_f64().unwrap();
            assert!((dice(&truth, &mask) - told).abs() < 1e-6, "{slice}");
            mask
        });
        differ += usize::from(first != second);
        let lesion = truth.iter().filter(|set| **set).count();
        let named = changed.iter().any(|one| {
            (&one["subject"], &one["slice"]) == (&slice["subject"], &slice["slice"])
                && one["truth"] == lesion
        });
        assert!(named, "{slice}");
        assert_eq!(slice["unhealthy"], lesion > 0);
    }
    assert!(differ > 0);

    // Without the records of one of them the page has the numbers alone, and says why.
    std::fs::remove_dir_all(fixture.path().join("after/records")).unwrap();
    let (without, page) = compare("numbers.html");
    assert_eq!(without["changed"], found["changed"]);
    assert!(page.contains("no pictures of B: "), "{page}");
    assert!(!page.contains("svg-changed"));
    assert_eq!(viewer(&page)["methods"].as_array().unwrap().len(), 1);
}
