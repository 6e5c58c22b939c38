//! What a coordinator says of itself, in lines for people. Texts that workers wrote are made harmless first.

use crate::readable::{self, Count, time};
use crate::run::operators::snapshot::{Dead, Held, Snapshot, Verdicts, WorkerEntry};

/// Older than this, a file of a coordinator at work is said to be old, seconds.
const OLD: f64 = 5.0;

const ERROR_SHOWN: usize = 160;

/// A lease this close to its end has not been renewed for a while, seconds.
const SILENT: f64 = 15.0;

const BAR: usize = 24;

/// Dead shards shown beside everything else; `anofpdm dead ls` shows more.
const DEAD_SHOWN: usize = 5;

/// One line without anything a terminal would obey.
pub(super) fn printable(text: &str) -> String {
    let harmless = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if c.is_control() => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    text.chars().map(harmless).collect()
}

/// The same for a text of several lines.
pub(super) fn printable_text(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(printable).collect();
    lines.join("\n")
}

pub(super) fn labelled(label: &str, text: &str) -> String {
    readable::labelled(label, text, None).concat()
}

pub(super) fn lines(live: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(work) = &live.work {
        lines.push(labelled("", &readable::bar(work.share(), BAR)));
    }
    lines.push(labelled("now", &now(live)));
    let shards = &live.shards;
    lines.push(labelled(
        "shards",
        &format!(
            "{} wait, {} are at work, {} wait to be tried again, {} are done, {} given up",
            Count(shards.queued),
            Count(shards.leased),
            Count(shards.retrying),
            Count(shards.done),
            Count(shards.dead)
        ),
    ));
    lines.push(labelled("checks", &verdicts(&live.verdicts)));
    if let Some(queue) = &live.queue {
        lines.push(labelled("queue", &printable(queue)));
    }
    lines.push(labelled(
        "workers",
        &format!(
            "{}, {} at work",
            live.workers_total(),
            live.workers_at_work()
        ),
    ));
    for worker in &live.workers {
        lines.push(format!("  {}", worker_line(worker)));
        lines.extend(
            worker
                .leases
                .iter()
                .map(|held| format!("    {}", held_line(held))),
        );
        if worker.more_leases > 0 {
            lines.push(format!("    and {} more", worker.more_leases));
        }
    }
    if live.more_workers > 0 {
        lines.push(format!("  and {} more", live.more_workers));
    }
    lines.extend(dead_lines(live));
    lines
}

/// The dead shards, as far as they find room, under a line that counts them; none when there are none.
pub(super) fn dead_lines(live: &Snapshot) -> Vec<String> {
    let total = live.dead_total();
    if total == 0 {
        return Vec::new();
    }
    let mut lines = vec![labelled(
        "dead",
        &format!("{total} shards were given up; `anofpdm dead ls` lists them"),
    )];
    let shown = live.dead.iter().take(DEAD_SHOWN);
    lines.extend(shown.map(|letter| format!("  {}", dead_line(letter))));
    lines
}

/// Stage, work and rate in one line.
pub(super) fn now(live: &Snapshot) -> String {
    let mut text = progress(live);
    if let Some(work) = &live.work {
        if let Some(rate) = work.per_second {
            text.push_str(&format!(", {rate:.1} a second"));
        }
        if let Some(eta) = work.eta_seconds
            && work.done < work.total
        {
            text.push_str(&format!(", eta {}", time(eta)));
        }
    }
    let age = live.age_seconds();
    if live.ended.is_none() && age > OLD {
        text.push_str(&format!(" ({} ago)", time(age)));
    }
    text
}

/// Stage and work in one line, without what changes from second to second.
pub(super) fn progress(live: &Snapshot) -> String {
    let mut text = match (live.stage, &live.work) {
        (Some(stage), Some(work)) => format!(
            "{}: {} of {}",
            stage.name(),
            Count(work.done),
            readable::count(work.total, work.unit.singular())
        ),
        (Some(stage), None) => stage.name().to_owned(),
        (None, _) => "between stages".to_owned(),
    };
    if live.paused {
        text.push_str(", paused");
    }
    text
}

/// What became of results that came twice: of audits, copies for stragglers, deliveries after a lost lease.
pub(super) fn repeats(equal: u64, different: u64) -> String {
    format!(
        "{} came twice with the same bits, {} with others",
        readable::count(equal, "result"),
        Count(different)
    )
}

fn verdicts(verdicts: &Verdicts) -> String {
    let mut text = format!(
        "{}; {}",
        readable::count(verdicts.audits, "audit"),
        repeats(verdicts.duplicates, verdicts.conflicts)
    );
    if verdicts.contested > 0 {
        text.push_str(&format!(
            ", {} wait for another opinion",
            verdicts.contested
        ));
    }
    if verdicts.distrusted > 0 {
        text.push_str(&format!(", {} workers distrusted", verdicts.distrusted));
    }
    text
}

#[allow(clippy::cast_precision_loss)]
fn worker_line(worker: &WorkerEntry) -> String {
    let memory = match worker.memory_bytes {
        0 => String::new(),
        bytes => format!(", {:.1} GB", bytes as f64 / 1e9),
    };
    printable(&format!(
        "{}: {}{memory}, pid {} on {}, version {}{}",
        worker.name,
        worker.device,
        worker.pid,
        worker.host,
        worker.version,
        if worker.leases.is_empty() {
            ", idle"
        } else {
            ""
        }
    ))
}

fn held_line(held: &Held) -> String {
    let mut text = format!("shard {}", held.shard);
    if let Some(job) = &held.job {
        text.push_str(&format!(", {job}"));
    }
    text.push_str(&format!(
        ": for {}, {}",
        time(held.seconds),
        readable::count(held.ticks, "step")
    ));
    if held.deadline_seconds < SILENT {
        text.push_str(&format!(
            ", silent: another gets it in {}",
            time(held.deadline_seconds.max(0.0))
        ));
    }
    if !held.note.is_empty() {
        text.push_str(&format!(", {}", held.note));
    }
    printable(&text)
}

pub(super) fn dead_line(letter: &Dead) -> String {
    let mut text = format!("shard {}", letter.shard);
    if let Some(job) = &letter.job {
        text.push_str(&format!(", {job}"));
    }
    text.push_str(&format!(
        ": {} after {} errors and {} crashes, last on {}",
        letter.class, letter.errors, letter.crashes, letter.worker
    ));
    if !letter.message.is_empty() {
        let shown: String = letter.message.chars().take(ERROR_SHOWN).collect();
        let cut = if shown.len() < letter.message.len() {
            "…"
        } else {
            ""
        };
        text.push_str(&format!(": {shown}{cut}"));
    }
    printable(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_obeys_nothing_that_a_worker_wrote() {
        let letter = Dead {
            shard: 3,
            job: Some("score batch 1, 1 cell".to_owned()),
            errors: 3,
            crashes: 0,
            worker: "a\u{1b}[2J".to_owned(),
            class: "Transient".to_owned(),
            message: format!("one\ntwo\u{7}{}", "x".repeat(500)),
            cut_bytes: 0,
        };
        let line = dead_line(&letter);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.starts_with("shard 3, score batch 1, 1 cell: Transient after 3 errors"));
        assert!(line.contains("one two") && line.ends_with('…'));
        assert_eq!(printable_text("a\u{1b}b\nc\r\nd"), "a\u{fffd}b\nc\nd");
    }

    #[test]
    fn a_worker_is_told_with_what_it_does() {
        let held = Held {
            shard: 12,
            job: Some("score batches 3 to 5, 9 cells".to_owned()),
            seconds: 44.6,
            deadline_seconds: 38.2,
            ticks: 120,
            note: "batch 4".to_owned(),
        };
        assert_eq!(
            held_line(&held),
            "shard 12, score batches 3 to 5, 9 cells: for 45 s, 120 steps, batch 4"
        );
        let silent = Held {
            deadline_seconds: 4.2,
            note: String::new(),
            ..held
        };
        assert_eq!(
            held_line(&silent),
            "shard 12, score batches 3 to 5, 9 cells: for 45 s, 120 steps, silent: another gets it in 4 s"
        );
        let worker = WorkerEntry {
            name: "node-1-ab".to_owned(),
            host: "node".to_owned(),
            pid: 7,
            device: "cpu".to_owned(),
            profile: String::new(),
            memory_bytes: 0,
            version: "0.1.0".to_owned(),
            metrics: None,
            leases: Vec::new(),
            more_leases: 0,
        };
        assert_eq!(
            worker_line(&worker),
            "node-1-ab: cpu, pid 7 on node, version 0.1.0, idle"
        );
    }
}
