//! Every metric of both programs: its name, what it counts, its labels and the values they take.
//!
//! Metrics are registered from these entries alone, so nothing is served that does not stand here; `docs/metrics.md` is
//! made of the same entries. Every name begins with `anofpdm_`, units are base units (seconds, bytes), counters end in
//! `_total`. Labels other than `run`, `worker` and `host` come from closed sets.

pub mod queue;
pub mod run;
pub mod training;
pub mod worker;

/// What a metric counts, and where, and with which labels.
#[derive(Debug)]
pub struct MetricSpec {
    pub name: &'static str,
    pub kind: Kind,
    pub labels: &'static [Label],
    pub program: Program,
    /// For the help line of the exposition.
    pub help: &'static str,
    pub series: Series,
}

/// How a metric behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// Grows from 0 while its process lives.
    Counter,
    /// As of now.
    Gauge,
    /// Observations in buckets.
    Histogram(Buckets),
}

/// Upper bounds of a histogram: `first`, `first * factor` ...; `count` of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Buckets {
    pub first: f64,
    pub factor: f64,
    pub count: usize,
}

/// A label and what it can be.
#[derive(Debug)]
pub struct Label {
    pub name: &'static str,
    pub values: Values,
}

/// Values of a label.
#[derive(Debug)]
pub enum Values {
    OneOf(&'static [&'static str]),
    /// What decides them, in words.
    Open(&'static str),
}

impl Label {
    const fn one_of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self {
            name,
            values: Values::OneOf(values),
        }
    }

    /// `what` decides its values, in words.
    const fn open(name: &'static str, what: &'static str) -> Self {
        Self {
            name,
            values: Values::Open(what),
        }
    }
}

/// Who serves a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Coordinator,
    Worker,
    Both,
}

/// When the series of a metric are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Series {
    /// All of them at the start, at 0: a rate over the first event is right.
    AtStart,
    /// When there is something to say.
    WhenKnown,
}

/// All metrics, in the order of `docs/metrics.md`.
pub fn all() -> impl Iterator<Item = &'static MetricSpec> {
    [run::ALL, worker::ALL, training::ALL, queue::ALL]
        .into_iter()
        .flatten()
        .copied()
}

impl Program {
    const fn metric(
        self,
        name: &'static str,
        kind: Kind,
        labels: &'static [Label],
        series: Series,
        help: &'static str,
    ) -> MetricSpec {
        MetricSpec {
            name,
            kind,
            labels,
            program: self,
            help,
            series,
        }
    }

    /// One whose labels are all closed sets.
    const fn counter(
        self,
        name: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> MetricSpec {
        self.metric(name, Kind::Counter, labels, Series::AtStart, help)
    }

    const fn gauge(
        self,
        name: &'static str,
        labels: &'static [Label],
        help: &'static str,
    ) -> MetricSpec {
        self.metric(name, Kind::Gauge, labels, Series::WhenKnown, help)
    }

    /// Upper bounds are `first`, `first * factor` ...; `count` of them.
    const fn histogram(
        self,
        name: &'static str,
        (first, factor, count): (f64, f64, usize),
        labels: &'static [Label],
        series: Series,
        help: &'static str,
    ) -> MetricSpec {
        let buckets = Buckets {
            first,
            factor,
            count,
        };
        self.metric(name, Kind::Histogram(buckets), labels, series, help)
    }
}

impl Kind {
    /// As the exposition has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

impl MetricSpec {
    /// Every combination of values of its labels; none where a label is open.
    pub(super) fn combinations(&self) -> Option<Vec<Vec<&'static str>>> {
        let mut rows = vec![Vec::new()];
        for label in self.labels {
            let Values::OneOf(values) = label.values else {
                return None;
            };
            rows = rows
                .into_iter()
                .flat_map(|row| {
                    values.iter().map(move |value| {
                        let mut longer = row.clone();
                        longer.push(*value);
                        longer
                    })
                })
                .collect();
        }
        Some(rows)
    }

    pub(super) fn label_names(&self) -> Vec<&'static str> {
        self.labels.iter().map(|label| label.name).collect()
    }
}

/// The table of `docs/metrics.md`.
pub fn table() -> String {
    let mut text =
        String::from("| metric | type | program | labels | is |\n|---|---|---|---|---|\n");
    for spec in all() {
        let labels: Vec<String> = spec
            .labels
            .iter()
            .map(|label| match label.values {
                Values::OneOf(values) => format!("`{}`: {}", label.name, values.join(", ")),
                Values::Open(what) => format!("`{}`: {what}", label.name),
            })
            .collect();
        let program = match spec.program {
            Program::Coordinator => "coordinator",
            Program::Worker => "worker",
            Program::Both => "both",
        };
        text.push_str(&format!(
            "| `{}` | {} | {program} | {} | {} |\n",
            spec.name,
            spec.kind.name(),
            labels.join("; "),
            spec.help
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_as_prometheus_wants_them_and_nothing_is_there_twice() {
        let mut names = BTreeSet::new();
        for spec in all() {
            assert!(names.insert(spec.name), "{} twice", spec.name);
            assert!(spec.name.starts_with("anofpdm_"), "{}", spec.name);
            assert_eq!(
                spec.name.ends_with("_total"),
                spec.kind == Kind::Counter,
                "{}",
                spec.name
            );
            assert!(spec.help.ends_with('.'), "{}", spec.name);
            let labels: BTreeSet<_> = spec.label_names().into_iter().collect();
            assert_eq!(labels.len(), spec.labels.len(), "{}", spec.name);
            if spec.series == Series::AtStart {
                assert!(spec.combinations().is_some(), "{}", spec.name);
            }
        }
        assert!(names.len() > 40, "{}", names.len());
    }

    #[test]
    fn the_page_of_the_documentation_is_made_of_the_inventory() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
        let page = std::fs::read_to_string(path).unwrap();
        let made = table();
        if !page.contains(&made) {
            let fresh = std::env::temp_dir().join("anofpdm-metrics-table.md");
            std::fs::write(&fresh, &made).unwrap();
            panic!(
                "docs/metrics.md has another table: put that of {} there",
                fresh.display()
            );
        }
    }
}
