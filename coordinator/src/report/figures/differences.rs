//! Whether rows differ, and how firm their order is.

use super::{Csv, Figure, WIDTH, name_of, number, percent};
use crate::report::drawing::axis::Axis;
use crate::report::drawing::chart::{Chart, Dot, Look};
use crate::report::drawing::heat::{self, Cell};
use crate::report::drawing::{Colour, Dash, Stroke};
use crate::report::statistics::{Paired, RankedBy, Ranking, RowId};

/// Adjusted p below which rows are said to differ.
pub const LEVEL: f64 = 0.05;

/// Which row is better than which, as the sign-flip test says; `None` without pairs.
pub fn significance(paired: &Paired) -> Option<Figure> {
    let mut rows: Vec<RowId> = Vec::new();
    for one in &paired.comparisons {
        for id in [&one.first, &one.second] {
            if !rows.contains(id) {
                rows.push(id.clone());
            }
        }
    }
    if rows.is_empty() {
        return None;
    }
    let place = |id: &RowId| rows.iter().position(|row| row == id);
    let mut cells = vec![vec![Cell::default(); rows.len()]; rows.len()];
    let mut csv = Csv::new("first,w_first,second,w_second,patient_difference,p,adjusted_p");
    let mut words = Vec::new();
    for one in &paired.comparisons {
        let (Some(first), Some(second)) = (place(&one.first), place(&one.second)) else {
            continue;
        };
        csv.row([
            one.first.method.clone(),
            number(one.first.guidance),
            one.second.method.clone(),
            number(one.second.guidance),
            number(Some(one.patient_difference)),
            number(Some(one.sign_flip.p)),
            number(Some(one.sign_flip.adjusted_p)),
        ]);
        let differ = one.sign_flip.adjusted_p < LEVEL;
        let (better, worse, by) = match one.patient_difference >= 0.0 {
            true => (first, second, one.patient_difference),
            false => (second, first, -one.patient_difference),
        };
        let names = [name_of(&rows[better]), name_of(&rows[worse])];
        let hint = format!(
            "{} better than {} by {}, adjusted p {:.3}",
            names[0],
            names[1],
            percent(Some(by)),
            one.sign_flip.adjusted_p
        );
        if differ {
            words.push(hint.clone());
        }
        for (row, column, sign) in [(better, worse, "+"), (worse, better, "−")] {
            cells[row][column] = Cell {
                share: differ.then_some(if sign == "+" { 1.0 } else { 0.0 }),
                text: if differ { sign } else { "·" }.to_owned(),
                hint: hint.clone(),
            };
        }
    }
    let names: Vec<String> = rows.iter().map(name_of).collect();
    let said = match words.is_empty() {
        true => "No two rows differ.".to_owned(),
        false => words.join("; ") + ".",
    };
    Some(Figure {
        name: format!(
            "significance-{}-{}",
            paired.setup.name(),
            paired.metric.name().to_lowercase()
        ),
        of_paper: "",
        title: format!(
            "Which rows differ: {}, {}",
            paired.metric.name(),
            paired.setup.name()
        ),
        caption: format!(
            "Yellow with +: the row is better than the column, sign-flip test over {} patients, p below {LEVEL} after Holm; \
             dark with −: worse; grey: no difference shown.",
            paired.patients
        ),
        description: said,
        drawing: heat::draw(&names, &names, &cells),
        data: csv.done(),
    })
}

/// In how many of the resamples each row has each rank; `None` where there were none.
pub fn ranks(ranking: &Ranking) -> Option<Figure> {
    let by_table = ranking
        .rankings
        .iter()
        .find(|one| one.by == RankedBy::AggregateThenRank)?;
    let count = ranking.rows.len();
    if by_table.shares.is_empty() || count == 0 {
        return None;
    }
    let names: Vec<String> = ranking.rows.iter().map(name_of).collect();
    let ranks = (1..=count).map(|rank| (rank as f64, rank.to_string()));
    let mut chart = Chart::new(
        Axis::linear("rank", 0.5, count as f64 + 0.5).marked(ranks.collect()),
        Axis::names("", &names),
    );
    let mut csv = Csv::new("method,w,rank,share");
    let mut words = Vec::new();
    for (place, (shares, row)) in by_table.shares.iter().zip(&ranking.rows).enumerate() {
        let mut dots = Vec::new();
        for (rank, share) in (1..).zip(shares) {
            csv.row([
                row.method.clone(),
                number(row.guidance),
                rank.to_string(),
                number(Some(*share)),
            ]);
            if *share > 0.0 {
                dots.push(Dot {
                    radius: 13.0 * share.sqrt(),
                    hint: format!(
                        "{}: rank {rank} in {} %",
                        names[place],
                        percent(Some(*share))
                    ),
                    ..Dot::at(f64::from(rank), place as f64)
                });
            }
        }
        let own = by_table.ranks.get(place).copied().unwrap_or(0);
        let share = own.checked_sub(1).and_then(|at| shares.get(at)).copied();
        words.push(format!(
            "{}: rank {own} in {} %",
            names[place],
            percent(share)
        ));
        chart.dots(
            "",
            dots,
            Look {
                marker: crate::report::drawing::Marker::Circle,
                ..Look::of(place)
            },
        );
    }
    let lines = [
        (RankedBy::AggregateThenRank, "by the table", Dash::Solid),
        (
            RankedBy::RankThenAggregate,
            "by ranks within patients",
            Dash::Dashed,
        ),
        (RankedBy::TestBased, "by tests", Dash::Dotted),
    ];
    for (by, name, dash) in lines {
        let Some(one) = ranking.rankings.iter().find(|one| one.by == by) else {
            continue;
        };
        let points = one.ranks.iter().enumerate();
        let points = points.map(|(place, rank)| [*rank as f64, place as f64]);
        let stroke = Stroke::new(Colour::Ink, 1.6).dashed(dash).faint(0.7);
        chart.line(name, points.collect(), stroke);
    }
    Some(Figure {
        name: format!(
            "ranks-{}-{}",
            ranking.setup.name(),
            ranking.metric.name().to_lowercase()
        ),
        of_paper: "",
        title: format!(
            "How firm the order is: {}, {}",
            ranking.metric.name(),
            ranking.setup.name()
        ),
        caption: format!(
            "Areas: share of bootstrap resamples of {} patients in which a row has a rank; lines: ranks by three rules.",
            ranking.patients
        ),
        description: format!("{}.", words.join("; ")),
        drawing: chart.drawing(WIDTH, 120.0 + 34.0 * count as f64),
        data: csv.done(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::summary;
    use super::*;

    #[test]
    fn differences_are_said_only_where_a_test_shows_them() {
        let mut paired = summary().paired[0].clone();
        let figure = significance(&paired).unwrap();
        assert_eq!(figure.description, "No two rows differ.");
        paired.comparisons[0].sign_flip.adjusted_p = 0.04;
        let figure = significance(&paired).unwrap();
        let said = "anofpdm-ddim (w 2) better than gradient (w 2) by 30.0, adjusted p 0.040.";
        assert_eq!(figure.description, said);
        assert_eq!(figure.data.lines().count(), 2);
    }

    #[test]
    fn ranks_come_with_their_shares() {
        let figure = ranks(&summary().ranking[0]).unwrap();
        assert!(
            figure
                .description
                .contains("anofpdm-ddim (w 2): rank 1 in 87.0 %")
        );
    }
}
