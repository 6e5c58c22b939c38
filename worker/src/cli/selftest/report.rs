//! What a selftest prints.

use serde::Serialize;

use super::finding::{Finding, Verdict};
use super::machine::Machine;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Of this object.
    format: u32,
    machine: Machine,
    quick: bool,
    pub(super) findings: Vec<Finding>,
    ok: usize,
    look: usize,
    pub(super) no: usize,
    not_run: usize,
    seconds: f64,
}

const FORMAT: u32 = 1;

impl Report {
    pub(super) fn new(machine: Machine, quick: bool, findings: Vec<Finding>, seconds: f64) -> Self {
        let count = |verdict| findings.iter().filter(|one| one.verdict == verdict).count();
        Self {
            format: FORMAT,
            machine,
            quick,
            ok: count(Verdict::Ok),
            look: count(Verdict::Look),
            no: count(Verdict::No),
            not_run: count(Verdict::NotRun),
            findings,
            seconds,
        }
    }
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.machine)?;
        for one in &self.findings {
            writeln!(f, "{:8} {}: {}", one.verdict.name(), one.check, one.says)?;
            for figure in &one.figures {
                let number = readable(figure.value);
                writeln!(f, "           {:42} {number} {}", figure.name, figure.unit)?;
            }
            if let Some(advice) = &one.advice {
                writeln!(f, "         > {advice}")?;
            }
        }
        write!(
            f,
            "\n{} ok, {} to look at, {} no, {} not run; {:.0} s",
            self.ok, self.look, self.no, self.not_run, self.seconds
        )
    }
}

/// Four digits, without an exponent where it can be.
fn readable(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || (1e-3..1e6).contains(&size) {
        let text = format!("{value:.4}");
        let text = text.trim_end_matches('0').trim_end_matches('.');
        text.to_owned()
    } else {
        format!("{value:.3e}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::selftest::setting::Setting;

    #[test]
    fn verdicts_are_counted_and_advice_is_shown() {
        let machine = Machine::of(&Setting::quick_cpu().unwrap());
        let findings = vec![
            Finding::new("one", "fine").figure("seconds", 0.25, "s"),
            Finding::new("two", "wrong").but(Verdict::No, "report it"),
        ];
        let report = Report::new(machine, true, findings, 3.0);
        let said = report.to_string();
        for words in [
            "ok       one: fine",
            "no       two: wrong",
            "> report it",
            "1 ok, 0 to look at, 1 no",
        ] {
            assert!(said.contains(words), "{words} in {said}");
        }
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["findings"][1]["verdict"], "no");
        assert_eq!(json["findings"][0]["figures"][0]["value"], 0.25);
        assert_eq!(
            (json["no"].as_u64(), json["format"].as_u64()),
            (Some(1), Some(1))
        );
    }

    #[test]
    fn numbers_are_readable() {
        for (value, text) in [
            (0.0, "0"),
            (12.0, "12"),
            (0.123_456, "0.1235"),
            (1.5e9, "1.500e9"),
            (2e-7, "2.000e-7"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(readable(value), text);
        }
    }
}
