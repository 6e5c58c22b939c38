//! Progress for people: a bar on a terminal, a plain line now and then elsewhere. Always on stderr.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Pause between plain lines.
const LINE_EVERY: Duration = Duration::from_secs(15);

/// Progress of one stage.
#[derive(Debug)]
pub(super) struct StageProgress {
    name: &'static str,
    unit: &'static str,
    total: u64,
    /// Done before this coordinator began: not part of its rate.
    first: u64,
    started: Instant,
    bar: Option<ProgressBar>,
    last_line: Instant,
    last_done: u64,
}

impl StageProgress {
    pub(super) fn new(name: &'static str, unit: &'static str, done: u64, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
            let style = ProgressStyle::with_template(
                "{prefix:<10} [{bar:32}] {pos}/{len} {elapsed} eta {eta} {msg}",
            );
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(name);
            bar.set_position(done);
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        if bar.is_none() {
            tracing::info!("{name}: {done} of {total} {unit} are there");
        }
        Self {
            name,
            unit,
            total,
            first: done,
            started: now,
            bar,
            last_line: now,
            last_done: done,
        }
    }

    /// `done` of the total, with a word on what the workers do.
    pub(super) fn update(&mut self, done: u64, note: &str) {
        if let Some(bar) = &self.bar {
            bar.set_position(done);
            bar.set_message(note.to_owned());
            return;
        }
        let finished = done == self.total && self.last_done != done;
        if !finished && self.last_line.elapsed() < LINE_EVERY {
            return;
        }
        self.last_line = Instant::now();
        self.last_done = done;
        let eta = self.eta(done).map_or_else(String::new, |eta| {
            format!(", eta {}", indicatif::HumanDuration(eta))
        });
        let note = if note.is_empty() {
            String::new()
        } else {
            format!(", {note}")
        };
        tracing::info!(
            "{}: {done} of {} {}{eta}{note}",
            self.name,
            self.total,
            self.unit
        );
    }

    /// Time left at the rate of this coordinator so far.
    fn eta(&self, done: u64) -> Option<Duration> {
        let new = done.checked_sub(self.first).filter(|new| *new > 0)?;
        #[allow(clippy::cast_precision_loss)]
        let share = self.total.saturating_sub(done) as f64 / new as f64;
        Some(self.started.elapsed().mul_f64(share))
    }
}

impl Drop for StageProgress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish();
        }
    }
}
