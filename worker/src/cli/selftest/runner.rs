//! Runs checks one after another; none ends the others.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;

use anofpdm_common::error_text::error_text;
use anyhow::Result;

use super::finding::{Finding, Verdict};
use super::setting::Setting;

/// What has to be there for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    Nothing,
    /// A GPU.
    Gpu,
    /// Time: left out of a quick run.
    Time,
}

/// One check.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) needs: Needs,
    pub(super) run: fn(&Setting) -> Result<Vec<Finding>>,
}

/// What to do about a check that has failed before it could say anything.
const REPORT: &str = "put all of this output into a bug report";

/// Runs `checks` in their order. `told` hears of each when it begins, and of its findings.
pub(super) fn run(checks: &[Check], setting: &Setting, told: &mut dyn FnMut(&str)) -> Vec<Finding> {
    let mut all = Vec::new();
    for check in checks {
        let why_not = match check.needs {
            Needs::Gpu if !setting.device.is_cuda() => Some("needs a GPU"),
            Needs::Time if setting.quick => Some("left out of --quick"),
            _ => None,
        };
        if let Some(why) = why_not {
            let mut finding = Finding::new(check.name, why);
            finding.verdict = Verdict::NotRun;
            all.push(finding);
            continue;
        }
        told(check.name);
        let start = Instant::now();
        let mut found = one(check, setting);
        let seconds = start.elapsed().as_secs_f64();
        if let Some(last) = found.pop() {
            found.push(last.figure("the check took", seconds, "s"));
        }
        all.append(&mut found);
    }
    all
}

/// A check that fails or panics has said no.
fn one(check: &Check, setting: &Setting) -> Vec<Finding> {
    let said = match catch_unwind(AssertUnwindSafe(|| (check.run)(setting))) {
        Ok(Ok(found)) if found.is_empty() => "it has found nothing: a bug".to_owned(),
        Ok(Ok(found)) => return found,
        Ok(Err(error)) => error_text(error.as_ref()),
        Err(panic) => format!("it has panicked: {}", words(panic.as_ref())),
    };
    vec![Finding::new(check.name, said).but(Verdict::No, REPORT)]
}

fn words(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_fails_or_panics_is_a_no_and_the_others_go_on() {
        let check = |name, needs, run| Check { name, needs, run };
        let checks = [
            check("fails", Needs::Nothing, |_| Err(anyhow::anyhow!("no disk"))),
            check("panics", Needs::Nothing, |_| panic!("a kernel of {}", 7)),
            check("mute", Needs::Nothing, |_| Ok(Vec::new())),
            check("gpu", Needs::Gpu, |_| unreachable!()),
            check("long", Needs::Time, |_| unreachable!()),
            check("fine", Needs::Nothing, |_| {
                Ok(vec![Finding::new("fine", "yes")])
            }),
        ];
        let setting = Setting::quick_cpu().unwrap();
        let mut told = Vec::new();
        let found = run(&checks, &setting, &mut |name| told.push(name.to_owned()));
        let seen: Vec<_> = found
            .iter()
            .map(|one| (one.check.as_str(), one.verdict, one.says.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("fails", Verdict::No, "no disk"),
                ("panics", Verdict::No, "it has panicked: a kernel of 7"),
                ("mute", Verdict::No, "it has found nothing: a bug"),
                ("gpu", Verdict::NotRun, "needs a GPU"),
                ("long", Verdict::NotRun, "left out of --quick"),
                ("fine", Verdict::Ok, "yes"),
            ]
        );
        assert!(found[0].advice.is_some() && found[5].advice.is_none());
        assert_eq!(told, ["fails", "panics", "mute", "fine"]);
    }
}
