//! Which numbers of a column are the best and the second best, as tables mark them.
//!
//! A row without pixel labels is marked by its place among those without, another by its place among all methods, so
//! that neither hides the other. Trivial rows are never marked. Numbers that are printed alike share a mark.

use super::summary::{Row, Value};

/// What [`marks`] means, for the legend of a table.
pub const LEGEND: &str = "Bold and underlined: the best and the second best of the rows without pixel labels; a row \
     with pixel labels is marked where it is the best or second best of all methods. Equal numbers share a mark; rows \
     that are no methods have none.";

/// Names of the rows that are no methods.
pub const ALL_EMPTY: &str = "all-empty";
pub const ALL_BRAIN: &str = "all-brain";
pub const RAW_THRESHOLD: &str = "raw-threshold";
const TRIVIAL: [&str; 3] = [ALL_EMPTY, ALL_BRAIN, RAW_THRESHOLD];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    None,
    Second,
    Best,
}

/// A share as tables print it, in percent.
pub fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// The same of a number that is known to lie within `bounds` only: both ends, where they are printed differently.
pub fn number(mean: f64, bounds: Option<[f64; 2]>, to: &str) -> String {
    match bounds.map(|ends| ends.map(percent)) {
        Some([lower, upper]) if lower != upper => format!("{lower}{to}{upper}"),
        _ => percent(mean),
    }
}

/// Whether a row is no method: neither one of the run nor another program's, which has no seeds either.
pub fn is_trivial(row: &Row) -> bool {
    TRIVIAL.contains(&row.method.as_str())
}

/// The marks of one column; `rows` are all rows of a set-up.
pub fn marks(rows: &[&Row], metric: fn(&Row) -> &Value) -> Vec<Mark> {
    // As printed: two numbers that look alike are.
    // One that is known between bounds has no place among them.
    let printed = |row: &Row| -> Option<f64> {
        let value = metric(row);
        number(value.mean?, value.bounds, " to ").parse().ok()
    };
    let best_two = |wanted: &dyn Fn(&Row) -> bool| {
        let wanted = rows.iter().filter(|row| !is_trivial(row) && wanted(row));
        let mut numbers: Vec<f64> = wanted.filter_map(|row| printed(row)).collect();
        numbers.sort_unstable_by(|a, b| b.total_cmp(a));
        numbers.dedup();
        [numbers.first().copied(), numbers.get(1).copied()]
    };
    let without = best_two(&|row| !row.pixel_labels);
    let all = best_two(&|_| true);
    rows.iter()
        .map(|row| {
            let [best, second] = if row.pixel_labels { all } else { without };
            match printed(row) {
                Some(_) if is_trivial(row) => Mark::None,
                Some(number) if Some(number) == best => Mark::Best,
                Some(number) if Some(number) == second => Mark::Second,
                _ => Mark::None,
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use anofpdm_common::metrics::setup::Setup;

    use super::super::tests::row;
    use super::*;

    #[test]
    fn groups_are_marked_apart_and_ties_share() {
        let mut rows = [
            row("anofpdm-ddim", Setup::Mixed, 0.6001, &[0]),
            row("anofpdm-ddpm", Setup::Mixed, 0.5999, &[0]),
            row("gradient", Setup::Mixed, 0.4, &[0]),
            row("ddim-clf-free", Setup::Mixed, 0.5, &[0]),
            row("anoddpm-simplex", Setup::Mixed, 0.7, &[0]),
            row("all-empty", Setup::Mixed, 0.99, &[]),
        ];
        rows[3].pixel_labels = true;
        rows[4].pixel_labels = true;
        let found = marks(&rows.iter().collect::<Vec<_>>(), |row| &row.dice);
        use Mark::{Best, None, Second};
        assert_eq!(found, [Best, Best, Second, None, Best, None]);
        // What is known between bounds alone is not marked, unless they are printed alike.
        rows[0].dice.bounds = Some([0.599, 0.601]);
        rows[1].dice.bounds = Some([0.59989, 0.59991]);
        let found = marks(&rows.iter().collect::<Vec<_>>(), |row| &row.dice);
        assert_eq!(found, [None, Best, Second, None, Best, None]);
        assert_eq!(number(0.6, rows[0].dice.bounds, "–"), "59.9–60.1");
    }
}
