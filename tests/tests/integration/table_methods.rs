//! Every method of the paper's tables from one spec, one store, one queue and one report.

use std::process::{Child, Stdio};
use std::time::Duration;

use anofpdm_tests::fake::faults::ENVIRONMENT;
use anofpdm_tests::fixture::Fixture;
use serde_json::Value;

/// Networks of all roles, as small as they come.
fn networks(steps: u64) -> String {
    let unet = "channels = 32\nchannel_mult = [1, 1]\nres_blocks = 1\nattention = [8]\n";
    let train = format!("steps = {steps}\nbatch = 4\nlearning_rate = 1e-3\nema = 0.5\n");
    [
        ("guided", "heads = 2"),
        ("healthy-gaussian", "heads = 2"),
        ("healthy-simplex", "heads = 2"),
        ("conditional", "heads = 2"),
        ("classifier", "head_channels = 32"),
    ]
    .map(|(name, heads)| {
        format!(
            "[model.{name}]\n{unet}{heads}\n[model.{name}.train]\n{train}checkpoint_every = 2\n"
        )
    })
    .concat()
}

const SCORE: &str = r#"
[score]
steps = 6
respacing = 20
methods = ["anofpdm-ddim", "anofpdm-ddim-ste", "anofpdm-ddpm", "anofpdm-ddpm-ste",
           "gradient", "gradient-te", "gradient-weighted",
           "anoddpm-gaussian", "anoddpm-simplex", "ddim-classifier", "ddim-clf-free", "cg-cdm", "andi"]
guidance = [1, 3]
seeds = [0, 1]
component_area = 2
[score.baseline]
native = true
[score.baseline.ddim-clf-free]
noise_scale = [3, 5]
strength = [1, 2]
[score.baseline.ddim-classifier]
noise_scale = [3]
strength = [10, 50]
[compute]
batch_slices = 4
shard_slices = 4
"#;

fn spec(name: &str, steps: u64) -> String {
    format!(
        "name = \"{name}\"\n[data]\nstore = \"store\"\nscored = [\"flair\", \"t2\"]\n\
         validation_slices = 12\ntest_slices = 18\n{}{SCORE}",
        networks(steps)
    )
}

fn plan(fixture: &Fixture, spec: &str, dir: &str) -> Value {
    let printed = fixture.succeeds("anofpdm", &["plan", spec, "--dir", dir, "--json"]);
    serde_json::from_str(&printed).unwrap()
}

fn run(fixture: &Fixture, spec: &str, dir: &str, workers: &str) -> Value {
    fixture.succeeds(
        "anofpdm",
        &[
            "run",
            spec,
            "--dir",
            dir,
            "--device",
            "cpu",
            "--workers",
            workers,
        ],
    );
    fixture.summary(dir)
}

fn rows<'a>(summary: &'a Value, method: &str) -> Vec<&'a Value> {
    summary["rows"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["method"] == method)
        .collect()
}

/// Evaluations of a slice: 2 a step for each encoding; S = 6 and 4 for AnoDDPM (300 and 200 of 1000 steps, of 20); the
/// best of its grid for the guided ones.
#[test]
fn one_run_makes_every_row_and_counts_what_it_computes() {
    let fixture = Fixture::new();
    fixture.write("table.toml", &spec("table", 4));
    let before = plan(&fixture, "table.toml", "table");
    let warnings = before["warnings"].to_string();
    assert!(warnings.contains("ddim-clf-free"), "{warnings}");
    let summary = run(&fixture, "table.toml", "table", "2");

    let plan = plan(&fixture, "table.toml", "table");
    let evaluations = &plan["network_evaluations"];
    let cost = &summary["cost"];
    assert_eq!(cost["by_stage"], evaluations["by_stage"]);
    assert_eq!(cost["network_evaluations"], evaluations["total"]);
    assert_eq!(cost["padding"], evaluations["padding"]);
    let shared = evaluations["total"].as_u64().unwrap();
    assert!(evaluations["without_sharing"].as_u64().unwrap() > 2 * shared);
    assert_eq!(
        before["network_evaluations"]["by_stage"]["calibrate"],
        cost["by_stage"]["calibrate"]
    );

    // 7 methods x 2 strengths, 6 baselines, 4 of them with a native row: x 2 seeds x 18 slices.
    assert_eq!(summary["coverage"]["planned"], (14 + 6 + 4) * 2 * 18);
    assert_eq!(
        summary["coverage"]["scored"],
        summary["coverage"]["planned"]
    );
    assert_eq!(
        summary["rows"].as_array().unwrap().len(),
        2 * (14 + 6 + 4 + 3)
    );
    for row in summary["rows"].as_array().unwrap() {
        let dice = row["dice"]["mean"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&dice), "{row}");
        assert!(row["auprc"]["mean"].is_number(), "{row}");
        let seeds = row["seeds"].as_array().unwrap().len().max(1);
        assert_eq!(row["dice"]["per_seed"].as_array().unwrap().len(), seeds);
    }

    // Only rows whose threshold or setting was chosen with pixel labels say so.
    for (method, pixel_labels) in [
        ("anofpdm-ddim", false),
        ("gradient-weighted", false),
        ("anoddpm-gaussian", true),
        ("anoddpm-gaussian-native", false),
        ("ddim-classifier", true),
        ("ddim-classifier-native", true),
        ("andi", true),
        ("raw-threshold", true),
        ("all-empty", false),
    ] {
        let found = rows(&summary, method);
        assert!(!found.is_empty(), "{method}");
        for row in found {
            assert_eq!(row["pixel_labels"], pixel_labels, "{row}");
        }
    }
    let baseline = rows(&summary, "ddim-clf-free");
    assert_eq!(baseline.len(), 2, "mixed and unhealthy");
    let settings = &baseline[0]["settings"];
    assert_eq!(settings["form"], "published");
    assert_eq!(settings["postprocessing"], "common");
    assert_eq!(settings["strength"], baseline[0]["guidance"]);
    let native = rows(&summary, "ddim-classifier-native");
    assert_eq!(native[0]["settings"]["postprocessing"], "otsu");
    assert!(native[0]["settings"]["threshold"].is_null());
    let fixed = rows(&summary, "anoddpm-simplex-native");
    assert_eq!(fixed[0]["settings"]["threshold"], 0.5);
    assert!(fixed[0]["guidance"].is_null());

    // The grid is reported, its first best setting is scored, and a method without noise does not vary.
    let tuning = summary["tuning"].as_array().unwrap();
    let of = |method: &str| -> Vec<&Value> {
        tuning
            .iter()
            .filter(|row| row["method"] == method)
            .collect()
    };
    let grid = of("ddim-clf-free");
    assert_eq!(grid.len(), 4);
    let best = grid
        .iter()
        .map(|row| row["dice"].as_f64().unwrap())
        .fold(0.0, f64::max);
    let first = grid.iter().find(|row| row["dice"] == best).unwrap();
    assert_eq!(first["selected"], true);
    for key in ["noise_scale", "strength", "threshold"] {
        assert_eq!(settings[key], first[key], "{key}");
    }
    assert_eq!(baseline[0]["dice"]["std"], 0.0);
    assert_eq!(baseline[0]["seeds"], serde_json::json!([0, 1]));

    // Cost by method: what docs/science.md says of one slice.
    let cost_of = |method: &str| {
        let costs = cost["methods"].as_array().unwrap();
        let found = costs.iter().find(|cost| cost["method"] == method).unwrap();
        assert!(
            found["seconds_per_slice"].as_f64().unwrap() > 0.0,
            "{found}"
        );
        found["evaluations_per_slice"].as_u64().unwrap()
    };
    assert_eq!(cost_of("anofpdm-ddim"), 12);
    assert_eq!(cost_of("gradient-te"), 12);
    assert_eq!(cost_of("anoddpm-gaussian"), 6);
    assert_eq!(cost_of("anoddpm-simplex"), 4);
    let scale = settings["noise_scale"].as_u64().unwrap();
    assert_eq!(cost_of("ddim-clf-free"), 3 * scale);

    let table = std::fs::read_to_string(fixture.path().join("table/report/table.md")).unwrap();
    for method in [
        "ddim-clf-free †",
        "anoddpm-gaussian-native",
        "cg-cdm †",
        "all-brain",
    ] {
        assert!(
            table.contains(&format!("| {method} |")),
            "{method}:\n{table}"
        );
    }
}

#[test]
fn workers_kills_and_the_port_change_nothing_they_should_not() {
    let fixture = Fixture::new();
    fixture.write("table.toml", &spec("table", 4));
    let one = run(&fixture, "table.toml", "one", "1");
    let two = run(&fixture, "table.toml", "two", "2");
    assert_eq!(one["fingerprint"], two["fingerprint"]);
    assert_eq!(one["rows"], two["rows"]);

    // Killed again and again while it works, and finished by a last start.
    let slow = (ENVIRONMENT, "delay_ms=2");
    let arguments = [
        "run",
        "table.toml",
        "--dir",
        "killed",
        "--device",
        "cpu",
        "--workers",
        "2",
    ];
    let whole = fixture.artifacts("one");
    let mut kills = 0;
    for fifths in 1..5 {
        let mut child = fixture
            .command("anofpdm", &arguments)
            .env(slow.0, slow.1)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let works = |child: &mut Child| child.try_wait().unwrap().is_none();
        while fixture.artifacts("killed") * 5 < whole * fifths && works(&mut child) {
            std::thread::sleep(Duration::from_millis(10));
        }
        kills += u32::from(works(&mut child));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    assert!(kills >= 3, "only {kills} kills hit a running coordinator");
    fixture.succeeds("anofpdm", &arguments);
    let killed = fixture.summary("killed");
    assert_eq!(killed["fingerprint"], one["fingerprint"]);
    assert_eq!(killed["rows"], one["rows"]);
    assert_eq!(
        killed["cost"]["by_stage"], one["cost"]["by_stage"],
        "no finished batch was computed twice"
    );

    // The public port is another form of the baselines, and another number of evaluations.
    let port = spec("port", 4).replace("steps = 6\n", "semantics = \"reference\"\nsteps = 6\n");
    fixture.write("port.toml", &port);
    let ported = run(&fixture, "port.toml", "port", "2");
    let planned = plan(&fixture, "port.toml", "port");
    assert_eq!(
        ported["cost"]["by_stage"],
        planned["network_evaluations"]["by_stage"]
    );
    let settings = &rows(&ported, "ddim-classifier")[0]["settings"];
    assert_eq!(settings["form"], "port");
    assert_ne!(ported["fingerprint"], one["fingerprint"]);
}

#[test]
fn a_sweep_of_ten_strengths_costs_what_one_costs() {
    let fixture = Fixture::new();
    let family = "methods = [\"anofpdm-ddim\", \"anofpdm-ddim-ste\", \"anofpdm-ddpm\", \"anofpdm-ddpm-ste\", \
                  \"gradient\", \"gradient-te\", \"gradient-weighted\"]\n";
    let spec = |name: &str, guidance: &str| {
        format!(
            "name = \"{name}\"\n[data]\nstore = \"store\"\nvalidation_slices = 12\ntest_slices = 18\n{}[score]\n\
             steps = 8\nrespacing = 20\n{family}guidance = {guidance}\nseeds = [0, 1]\n[compute]\nbatch_slices = 4\n",
            networks(2)
        )
    };
    fixture.write("one.toml", &spec("one", "[2]"));
    fixture.write(
        "ten.toml",
        &spec("ten", "[0.5, 1, 2, 3, 5, 8, 13, 21, 30, 50]"),
    );
    let counted = ["one", "ten"].map(|name| {
        let file = format!("{name}.toml");
        let planned = plan(&fixture, &file, name)["network_evaluations"].clone();
        let summary = run(&fixture, &file, name, "2");
        let cost = &summary["cost"];
        assert_eq!(cost["by_stage"], planned["by_stage"], "{name}");
        assert_eq!(cost["network_evaluations"], planned["total"], "{name}");
        assert_eq!(cost["padding"], planned["padding"], "{name}");
        (planned, summary["rows"].as_array().unwrap().len())
    });
    let [(one, few), (ten, many)] = counted;
    assert_eq!(one["total"], ten["total"]);
    assert_eq!(one["by_stage"], ten["by_stage"]);
    assert_eq!((few, many), (2 * (7 + 3), 2 * (70 + 3)));
    let alone = |planned: &Value| planned["without_sharing"].as_u64().unwrap();
    assert!(alone(&ten) > 9 * alone(&one));
}

#[test]
fn a_single_channel_and_given_settings_need_no_tuning() {
    let fixture = Fixture::new();
    fixture.succeeds(
        "anofpdm",
        &[
            "phantom",
            "atlas",
            "--kind",
            "atlas",
            "--subjects",
            "6",
            "--seed",
            "2",
            "--grid",
            "48",
        ],
    );
    fixture.succeeds(
        "anofpdm",
        &[
            "preprocess",
            "atlas",
            "t1",
            "--layout",
            "atlas",
            "--size",
            "16",
            "--split",
            "50/25/25",
        ],
    );
    let given = format!(
        "name = \"given\"\n[data]\nstore = \"t1\"\nvalidation_slices = 12\ntest_slices = 18\n{}[score]\nsteps = 6\n\
         respacing = 20\nseeds = [0, 1]\nmethods = [\"anoddpm-gaussian\", \"ddim-clf-free\"]\n[score.baseline]\n\
         published = \"atlas\"\n[score.baseline.anoddpm-gaussian]\nthresholds = [0.32]\n\
         [score.baseline.ddim-clf-free]\nthresholds = [0.52]\n[compute]\nbatch_slices = 4\n",
        networks(2)
    );
    fixture.write("given.toml", &given);
    let summary = run(&fixture, "given.toml", "given", "2");
    assert_eq!(summary["cost"]["by_stage"]["calibrate"], 0);
    for (method, noise_scale, threshold) in
        [("anoddpm-gaussian", 2, 0.32), ("ddim-clf-free", 6, 0.52)]
    {
        for row in rows(&summary, method) {
            assert_eq!(row["pixel_labels"], false, "{row}");
            assert_eq!(row["settings"]["noise_scale"], noise_scale);
            assert_eq!(row["settings"]["threshold"], threshold);
        }
    }
}
