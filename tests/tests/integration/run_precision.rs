//! A run in another number format than float32: the whole benchmark in bfloat16; one the CPU does not have.

use anofpdm_tests::fixture::{Fixture, SPEC};

fn with_precision(precision: &str) -> String {
    SPEC.replacen(
        "[compute]",
        &format!("[compute]\nprecision = \"{precision}\""),
        1,
    )
}

#[test]
fn a_run_computes_in_what_its_spec_says() {
    let fixture = Fixture::new();
    fixture.write("bf16.toml", &with_precision("bf16"));
    let workers = ["--workers", "1"];
    fixture.succeeds(
        "anofpdm",
        &[&["run", "bf16.toml", "--dir", "bf16"], &workers[..]].concat(),
    );
    let reduced = fixture.summary("bf16");
    assert_eq!(reduced["precision"], "bf16");
    assert_eq!(
        reduced["coverage"]["scored"],
        reduced["coverage"]["planned"]
    );

    // Left to the program it is float32, and the figures are others: that of bfloat16 was no float32 by another name.
    fixture.succeeds(
        "anofpdm",
        &[&["run", "tiny.toml", "--dir", "fp32"], &workers[..]].concat(),
    );
    let full = fixture.summary("fp32");
    assert_eq!(full["precision"], "fp32");
    // Nothing was tried out for it, whatever this CPU can do.
    let reason = "a CPU computes in fp32 unless the spec names a format";
    assert_eq!(full["precision_reason"], reason);
    assert!(
        !fixture
            .path()
            .join("fp32/calibration/precision.json")
            .exists()
    );
    assert_ne!(reduced["fingerprint"], full["fingerprint"]);

    fixture.write("fp16.toml", &with_precision("fp16"));
    let run = ["run", "fp16.toml", "--dir", "fp16"];
    let complaint = fixture.fails("anofpdm", &[&run[..], &workers[..]].concat(), 2);
    assert!(complaint.contains("fp16 needs a GPU"), "{complaint}");
}
