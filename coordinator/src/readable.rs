//! What people read on a terminal: times, sizes, counts, bars, tables, wrapped text.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
pub use indicatif::{DecimalBytes as Bytes, HumanCount as Count};

/// A time in its two largest units: `42 s`, `3 min 20 s`, `2 h 10 min`, `4 d 3 h`; `…` where it is not known.
pub fn time(seconds: f64) -> String {
    if !(0.0..1e12).contains(&seconds) {
        return "…".to_owned();
    }
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.round() as u64;
    let (large, small, names) = match whole {
        0..60 => return format!("{whole} s"),
        60..3_600 => (whole / 60, whole % 60, ["min", "s"]),
        3_600..86_400 => (whole / 3_600, whole % 3_600 / 60, ["h", "min"]),
        _ => (whole / 86_400, whole % 86_400 / 3_600, ["d", "h"]),
    };
    match small {
        0 => format!("{large} {}", names[0]),
        _ => format!("{large} {} {small} {}", names[0], names[1]),
    }
}

/// A count with the right form of its noun: `1 slice`, `2,000 slices`.
pub fn count(number: u64, noun: &str) -> String {
    let s = if number == 1 { "" } else { "s" };
    format!("{} {noun}{s}", Count(number))
}

/// A bar of `cells` characters, filled by `share` in [0, 1], and the same in percent.
pub fn bar(share: f64, cells: usize) -> String {
    let share = if share.is_finite() {
        share.clamp(0.0, 1.0)
    } else {
        0.0
    };
    // Downwards: what is not whole is not shown as whole.
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let (full, percent) = ((share * cells as f64) as usize, (share * 100.0) as u32);
    format!(
        "[{}{}] {percent:>3} %",
        "█".repeat(full),
        "░".repeat(cells - full)
    )
}

/// A table without a frame, its header underlined, as wide as it needs to be. Cells may have several lines; columns in
/// `right` are aligned to the right.
pub fn table(header: &[String], rows: &[Vec<String>], right: &[usize]) -> Vec<String> {
    let style = TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));
    let mut table = Table::new();
    table
        .load_style(style)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header)
        .add_rows(rows);
    let last = header.len().saturating_sub(1);
    for (index, column) in table.column_iter_mut().enumerate() {
        // The library leaves a column free between two.
        column.set_padding((0, u16::from(index != last)));
        if right.contains(&index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}

/// Columns that the widest of these lines takes.
pub fn width<'a>(lines: impl IntoIterator<Item = &'a String>) -> usize {
    let widths = lines
        .into_iter()
        .map(|line| console::measure_text_width(line));
    widths.max().unwrap_or(0)
}

/// A text in lines of at most `columns` columns, broken at spaces; a longer word has a line of its own.
pub fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        let needed = console::measure_text_width(&line) + 1 + console::measure_text_width(word);
        if !line.is_empty() && needed > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

/// A text behind its name, further lines indented as far; of at most `columns` columns where that is said.
pub fn labelled(label: &str, text: &str, columns: Option<usize>) -> Vec<String> {
    /// Columns of a name, and the fewest that a text is given.
    const INDENT: usize = 13;
    const LEAST: usize = 30;
    let lines = match columns {
        Some(columns) => wrapped(text, columns.saturating_sub(INDENT).max(LEAST)),
        None => vec![text.to_owned()],
    };
    let labels = std::iter::once(label).chain(std::iter::repeat(""));
    labels
        .zip(lines)
        .map(|(label, line)| format!("{label:<12} {line}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units_and_what_is_not_known_is_not_zero() {
        for (seconds, text) in [
            (0.0, "0 s"),
            (59.4, "59 s"),
            (59.6, "1 min"),
            (200.0, "3 min 20 s"),
            (3_600.0, "1 h"),
            (7_859.0, "2 h 10 min"),
            (86_399.9, "1 d"),
            (140_882.0, "1 d 15 h"),
            (f64::NAN, "…"),
            (f64::INFINITY, "…"),
            (-1.0, "…"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn counts_and_bars_are_for_people() {
        assert_eq!(count(1, "slice"), "1 slice");
        assert_eq!(count(0, "slice"), "0 slices");
        assert_eq!(count(14_080, "evaluation"), "14,080 evaluations");
        assert_eq!(bar(29.0 / 48.0, 10), "[██████░░░░]  60 %");
        assert_eq!(bar(0.999, 4), "[███░]  99 %");
        assert_eq!(bar(1.0, 4), "[████] 100 %");
        assert_eq!(bar(f64::NAN, 2), "[░░]   0 %");
        assert_eq!(bar(7.0, 2), "[██] 100 %");
    }

    #[test]
    fn tables_are_aligned_and_texts_wrapped() {
        let header = ["run", "\nfiles"].map(str::to_owned);
        let row = |run: &str, files: &str| vec![run.to_owned(), files.to_owned()];
        let lines = table(&header, &[row("a†", "5"), row("bcd", "12")], &[1]);
        assert_eq!(
            lines,
            [
                "run",
                "     files",
                "──────────",
                "a†       5",
                "bcd     12"
            ]
        );
        assert_eq!(width(&lines), 10);
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("one enormous", 4), ["one", "enormous"]);
        assert_eq!(wrapped("", 4), [""]);
        let text = "guided trained for 200 steps of 8 slices";
        assert_eq!(
            labelled("networks", text, Some(50)),
            [
                "networks     guided trained for 200 steps of 8",
                "             slices"
            ]
        );
        assert_eq!(labelled("a", text, None), [format!("a            {text}")]);
    }
}
