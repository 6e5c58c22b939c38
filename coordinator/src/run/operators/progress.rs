//! Progress for people: a bar on a terminal, a plain line now and then elsewhere. Always on stderr.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use super::snapshot::{Unit, Work};
use crate::{readable, screen};

/// Pause between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Columns of a line beside its bar, and the least and most that a bar has.
const BESIDE: usize = 62;
const SHORTEST: usize = 8;
const LONGEST: usize = 30;

/// Progress of one stage. Dropped before [`finish`](Self::finish), it leaves the bar where it stood.
#[derive(Debug)]
pub(in crate::run) struct StageProgress {
    name: &'static str,
    started: Instant,
    bar: Option<ProgressBar>,
    last_line: Instant,
    last: Work,
    ended: bool,
}

impl StageProgress {
    /// A stage of which `done` of `total` are there already.
    pub(in crate::run) fn new(name: &'static str, unit: Unit, done: u64, total: u64) -> Self {
        let bar = screen::is_terminal().then(|| {
            let bar = screen::show(ProgressBar::no_length());
            let style = ProgressStyle::with_template("{wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            bar
        });
        if bar.is_none() {
            tracing::info!("{name}: {done} of {total} {} are there", unit.name());
        }
        let now = Instant::now();
        let progress = Self {
            name,
            started: now,
            bar,
            last_line: now,
            last: Work {
                unit,
                done,
                total,
                under_way: 0.0,
                per_second: None,
                eta_seconds: None,
            },
            ended: false,
        };
        progress.draw("");
        progress
    }

    /// How far the stage is, with a word on what the workers do.
    pub(in crate::run) fn update(&mut self, work: &Work, note: &str) {
        self.last = work.clone();
        let mut words = vec![format!(
            "eta {}",
            readable::time(work.eta_seconds.unwrap_or(f64::NAN))
        )];
        if !note.is_empty() {
            words.push(note.to_owned());
        }
        if self.bar.is_some() {
            self.draw(&words.join(", "));
            return;
        }
        if self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        if work.eta_seconds.is_none() {
            words.remove(0);
        }
        words.insert(0, of_total(work));
        tracing::info!("{}: {}", self.name, words.join(", "));
    }

    pub(in crate::run) fn finish(mut self) {
        self.last.done = self.last.total;
        self.last.under_way = 0.0;
        self.leave("");
    }

    fn draw(&self, words: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(self.line(words));
        }
    }

    fn line(&self, words: &str) -> String {
        line(
            self.name,
            &self.last,
            self.started.elapsed(),
            words,
            screen::columns(),
        )
    }

    /// The last line of the stage.
    fn leave(&mut self, words: &str) {
        match self.bar.take() {
            Some(bar) => screen::leave(&bar, &self.line(words)),
            None => {
                let took = readable::time(self.started.elapsed().as_secs_f64());
                let comma = if words.is_empty() { "" } else { ", " };
                tracing::info!(
                    "{}: {} in {took}{comma}{words}",
                    self.name,
                    of_total(&self.last)
                );
            }
        }
        self.ended = true;
    }
}

impl Drop for StageProgress {
    fn drop(&mut self) {
        if !self.ended {
            self.leave("stopped");
        }
    }
}

/// One line of at most `columns` columns.
fn line(name: &str, work: &Work, elapsed: Duration, words: &str, columns: usize) -> String {
    let cells = columns.saturating_sub(BESIDE).clamp(SHORTEST, LONGEST);
    let mut text = format!(
        "{name:<9} {}  {}, {}",
        readable::bar(work.share(), cells),
        of_total(work),
        readable::time(elapsed.as_secs_f64())
    );
    if !words.is_empty() {
        text.push_str(", ");
        text.push_str(words);
    }
    console::truncate_str(&text, columns, "…").into_owned()
}

/// `29 of 48 slices`.
fn of_total(work: &Work) -> String {
    format!(
        "{} of {}",
        readable::Count(work.done),
        readable::count(work.total, work.unit.singular())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn work(done: u64, total: u64, under_way: f64) -> Work {
        Work {
            unit: Unit::Slices,
            done,
            total,
            under_way,
            per_second: None,
            eta_seconds: None,
        }
    }

    #[test]
    fn a_line_fits_its_columns_and_its_bar_moves_within_a_shard() {
        let elapsed = Duration::from_secs(63);
        let of = |work: &Work, words: &str, columns| line("score", work, elapsed, words, columns);
        assert_eq!(
            of(&work(29, 48, 0.0), "eta 42 s", 80),
            "score     [██████████░░░░░░░░]  60 %  29 of 48 slices, 1 min 3 s, eta 42 s"
        );
        // Nothing is delivered, and yet a third is computed.
        assert_eq!(
            of(&work(0, 48, 16.0), "eta …", 70),
            "score     [██░░░░░░]  33 %  0 of 48 slices, 1 min 3 s, eta …"
        );
        let long = of(&work(29, 48, 0.0), &"loss 0.1234, ".repeat(9), 60);
        assert_eq!(console::measure_text_width(&long), 60);
        assert!(long.ends_with('…'), "{long}");
        let wide = of(&work(29, 48, 0.0), "", 200);
        assert!(wide.contains(&"█".repeat(18)) && !wide.contains(&"█".repeat(19)));
    }
}
