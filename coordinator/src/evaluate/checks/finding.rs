//! What a check found of each row or strength it looks at, and the verdict over all of them.

use crate::report::summary::{Check, State};

use super::check;

/// Findings named in a text; of the others their number.
const NAMED: usize = 3;

/// One row or strength.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// `ddim w = 30`.
    pub(super) subject: String,
    pub(super) value: f64,
    pub(super) shown: String,
    pub(super) state: State,
}

/// Which end of the numbers is the bad one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Worse {
    Low,
    High,
}

/// Some findings, the worst first; never none.
#[derive(Debug)]
pub(super) struct Findings(Vec<Finding>);

impl Findings {
    /// `None` without findings.
    pub(super) fn new(mut all: Vec<Finding>, worse: Worse) -> Option<Self> {
        all.sort_by(|a, b| {
            let by_value = match worse {
                Worse::Low => a.value.total_cmp(&b.value),
                Worse::High => b.value.total_cmp(&a.value),
            };
            b.state.cmp(&a.state).then(by_value)
        });
        (!all.is_empty()).then_some(Self(all))
    }

    /// `ok` when all are, `no` when none can be quoted, else `look`.
    fn state(&self) -> State {
        let all = |state| self.0.iter().all(|finding| finding.state == state);
        if all(State::Ok) {
            State::Ok
        } else if all(State::No) {
            State::No
        } else {
            State::Look
        }
    }

    /// Those that are not ok, the worst first; where all are, the worst.
    fn named(&self) -> String {
        let failing = self.0.iter().filter(|f| f.state != State::Ok);
        let mut named: Vec<&Finding> = failing.collect();
        if named.is_empty() {
            named.extend(self.0.first());
        }
        let mut text = named
            .iter()
            .take(NAMED)
            .map(|finding| format!("{}: {}", finding.subject, finding.shown))
            .collect::<Vec<_>>()
            .join("; ");
        if named.len() > NAMED {
            text.push_str(&format!("; and {} more", named.len() - NAMED));
        }
        text
    }

    /// The check; `text` makes a sentence of the verdict and of what is named.
    pub(super) fn check(self, id: &str, text: impl FnOnce(State, &str) -> String) -> Check {
        let state = self.state();
        let value = self.0.first().map(|finding| finding.value);
        check(id, state, value, text(state, &self.named()))
    }
}

/// `anofpdm-ddim w = 30`; `andi` where there is no strength.
pub(super) fn subject(name: &str, guidance: Option<f64>) -> String {
    match guidance {
        Some(guidance) => format!("{name} w = {guidance}"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(value: f64, state: State) -> Finding {
        Finding {
            subject: format!("w = {value}"),
            value,
            shown: format!("{value}"),
            state,
        }
    }

    fn verdict(states: &[State]) -> State {
        let all = states.iter().map(|state| finding(0.0, *state)).collect();
        Findings::new(all, Worse::Low).unwrap().state()
    }

    #[test]
    fn one_that_can_be_quoted_is_enough_not_to_say_no() {
        use State::{Look, No, Ok};
        assert_eq!(verdict(&[Ok, Ok]), Ok);
        assert_eq!(verdict(&[Ok, No]), Look);
        assert_eq!(verdict(&[Look, Look]), Look);
        assert_eq!(verdict(&[Look, No]), Look);
        assert_eq!(verdict(&[No, No]), No);
        assert!(Findings::new(Vec::new(), Worse::High).is_none());
    }

    #[test]
    fn the_worst_is_named_first_and_not_all_are() {
        let all = (1..=5)
            .map(|value| finding(f64::from(value), State::Look))
            .chain([finding(9.0, State::Ok)]);
        let findings = Findings::new(all.collect(), Worse::High).unwrap();
        assert_eq!(findings.named(), "w = 5: 5; w = 4: 4; w = 3: 3; and 2 more");
        let check = findings.check("x", |state, named| format!("{} {named}", state.name()));
        assert_eq!((check.state, check.value), (State::Look, Some(5.0)));
        let fine = vec![finding(1.0, State::Ok), finding(2.0, State::Ok)];
        assert_eq!(Findings::new(fine, Worse::Low).unwrap().named(), "w = 1: 1");
    }
}
