//! A warning that is said again and again is written so often a minute and counted beyond that.
//!
//! Kept by the place in the code that warns, so memory is bounded by the program's text.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::callsite::Identifier;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// How often one place in the code may warn within [`WINDOW`].
const MOST: u32 = 30;
const WINDOW: Duration = Duration::from_secs(60);

/// A format of events that leaves repeated warnings and errors out; information is never left out.
#[derive(Debug)]
pub(super) struct WithoutRepeats<F> {
    inner: F,
    seen: Mutex<HashMap<Identifier, Said>>,
    json: bool,
}

/// What one place has said in the minute that began then.
#[derive(Debug)]
struct Said {
    began: Instant,
    written: u32,
    left_out: u64,
}

/// What is to be done with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// After so many that were left out before it.
    Write {
        left_out: u64,
    },
    /// It is the last one for now.
    WriteLast,
    LeaveOut,
}

impl Said {
    const fn new(began: Instant) -> Self {
        Self {
            began,
            written: 0,
            left_out: 0,
        }
    }

    fn again(&mut self, now: Instant) -> Verdict {
        let left_out = self.left_out;
        if now.saturating_duration_since(self.began) >= WINDOW {
            *self = Self::new(now);
        }
        self.written = self.written.saturating_add(1);
        match self.written.cmp(&MOST) {
            std::cmp::Ordering::Less => Verdict::Write {
                left_out: if self.written == 1 { left_out } else { 0 },
            },
            std::cmp::Ordering::Equal => Verdict::WriteLast,
            std::cmp::Ordering::Greater => {
                self.left_out += 1;
                Verdict::LeaveOut
            }
        }
    }
}

impl<F> WithoutRepeats<F> {
    /// `json` where `inner` writes an object a line.
    pub(super) fn new(inner: F, json: bool) -> Self {
        Self {
            inner,
            seen: Mutex::new(HashMap::new()),
            json,
        }
    }

    fn verdict(&self, event: &Event<'_>) -> Verdict {
        if *event.metadata().level() > Level::WARN {
            return Verdict::Write { left_out: 0 };
        }
        let now = Instant::now();
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(event.metadata().callsite())
            .or_insert_with(|| Said::new(now))
            .again(now)
    }

    /// A line of its own about the warning that was just written.
    fn note(&self, writer: &mut Writer<'_>, event: &Event<'_>, text: &str) -> std::fmt::Result {
        let (level, target) = (event.metadata().level(), event.metadata().target());
        if self.json {
            write!(writer, "{{\"timestamp\":\"")?;
            SystemTime.format_time(writer)?;
            writeln!(
                writer,
                "\",\"level\":\"{level}\",\"fields\":{{\"message\":\"{text}\"}},\"target\":\"{target}\"}}"
            )
        } else {
            SystemTime.format_time(writer)?;
            writeln!(writer, " {level:>5} {text}")
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for WithoutRepeats<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> std::fmt::Result {
        let verdict = self.verdict(event);
        if verdict == Verdict::LeaveOut {
            return Ok(());
        }
        if let Verdict::Write { left_out } = verdict
            && left_out > 0
        {
            let text = format!("{left_out} more like the next were left out");
            self.note(&mut writer, event, &text)?;
        }
        self.inner.format_event(context, writer.by_ref(), event)?;
        if verdict == Verdict::WriteLast {
            let text = format!(
                "this was said {MOST} times within {} s: it is left out for the rest of them",
                WINDOW.as_secs()
            );
            self.note(&mut writer, event, &text)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn what_is_left_out_is_counted_and_said_in_the_next_minute() {
        let begin = Instant::now();
        let mut said = Said::new(begin);
        for _ in 1..MOST {
            assert_eq!(said.again(begin), Verdict::Write { left_out: 0 });
        }
        assert_eq!(said.again(begin), Verdict::WriteLast);
        for _ in 0..7 {
            assert_eq!(said.again(begin), Verdict::LeaveOut);
        }
        let later = begin + WINDOW;
        assert_eq!(said.again(later), Verdict::Write { left_out: 7 });
        assert_eq!(said.again(later), Verdict::Write { left_out: 0 });
    }

    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn written_by(json: bool, work: impl FnOnce()) -> String {
        let page = Page::default();
        let writer = {
            let page = page.clone();
            move || page.clone()
        };
        let layer = tracing_subscriber::fmt::layer().with_writer(writer);
        if json {
            let layer = layer
                .json()
                .map_event_format(|inner| WithoutRepeats::new(inner, true));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        } else {
            let layer = layer
                .with_ansi(false)
                .compact()
                .map_event_format(|inner| WithoutRepeats::new(inner, false));
            tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), work);
        }
        let bytes = page.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn many() {
        for number in 0..100 {
            let _shard = tracing::info_span!("shard", run = "r-1", shard = number).entered();
            tracing::warn!("the queue is away");
            tracing::info!("a step");
        }
        tracing::error!("another place");
    }

    #[test]
    fn warnings_of_one_place_are_limited_and_no_others() {
        let text = written_by(false, many);
        let count = |what: &str| text.lines().filter(|line| line.contains(what)).count();
        assert_eq!(count("the queue is away"), MOST as usize, "{text}");
        assert_eq!(count("a step"), 100);
        assert_eq!(count("another place"), 1);
        assert_eq!(count("left out for the rest"), 1);
        assert!(text.contains("run=\"r-1\""), "{text}");
    }

    #[test]
    fn every_line_is_an_object_with_the_fields_of_its_spans() {
        let text = written_by(true, many);
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), MOST as usize + 1 + 100 + 1);
        assert!(lines.iter().all(|line| line["timestamp"].is_string()));
        let first = &lines[0];
        assert_eq!(first["fields"]["message"], "the queue is away");
        assert_eq!(first["spans"][0]["run"], "r-1", "{first}");
        assert_eq!(first["spans"][0]["shard"], 0, "{first}");
    }
}
