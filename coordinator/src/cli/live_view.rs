//! What a coordinator says of itself, in lines for people. Texts that workers wrote are made harmless first.

use std::time::Duration;

use indicatif::HumanDuration;

use crate::drive::live::{Dead, Held, LiveWorker, Snapshot, Verdicts};

/// Older than this, a file of a coordinator at work is said to be old, seconds.
const OLD: f64 = 5.0;

/// Characters of an error shown in a list.
const ERROR_SHOWN: usize = 160;

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

/// What the coordinator at work does.
pub(super) fn lines(live: &Snapshot) -> Vec<String> {
    let mut lines = vec![format!("now        {}", now(live))];
    let shards = &live.shards;
    lines.push(format!(
        "shards     {} queued, {} leased, {} retrying, {} done, {} dead",
        shards.queued, shards.leased, shards.retrying, shards.done, shards.dead
    ));
    lines.push(format!("verdicts   {}", verdicts(&live.verdicts)));
    if let Some(queue) = &live.queue {
        lines.push(format!("queue      {}", printable(queue)));
    }
    lines.push(format!(
        "workers    {}, {} at work",
        live.workers_total(),
        at_work(live)
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
    let mut lines = vec![format!("dead       {total}; `anofpdm dead ls` lists them")];
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
            && let Ok(eta) = Duration::try_from_secs_f64(eta)
        {
            text.push_str(&format!(", eta {}", HumanDuration(eta)));
        }
    }
    let age = live.age_seconds();
    if live.ended.is_none() && age > OLD {
        text.push_str(&format!(" ({age:.0} s ago)"));
    }
    text
}

/// Stage and work in one line, without what changes from second to second.
pub(super) fn progress(live: &Snapshot) -> String {
    let mut text = match (live.stage, &live.work) {
        (Some(stage), Some(work)) => format!(
            "{}: {} of {} {}",
            stage.name(),
            work.done,
            work.total,
            work.unit.name()
        ),
        (Some(stage), None) => stage.name().to_owned(),
        (None, _) => "between stages".to_owned(),
    };
    if live.paused {
        text.push_str(", paused");
    }
    text
}

/// How many of the workers listed hold a shard.
pub(super) fn at_work(live: &Snapshot) -> usize {
    let busy = |worker: &&LiveWorker| !worker.leases.is_empty();
    live.workers.iter().filter(busy).count()
}

fn verdicts(verdicts: &Verdicts) -> String {
    let mut text = format!(
        "{} audits, {} duplicates, {} conflicts",
        verdicts.audits, verdicts.duplicates, verdicts.conflicts
    );
    if verdicts.contested > 0 {
        text.push_str(&format!(", {} keys contested", verdicts.contested));
    }
    if verdicts.distrusted > 0 {
        text.push_str(&format!(", {} workers distrusted", verdicts.distrusted));
    }
    text
}

#[allow(clippy::cast_precision_loss)]
fn worker_line(worker: &LiveWorker) -> String {
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
        ": {:.0} s, {} ticks, lost in {:.0} s unless renewed",
        held.seconds, held.ticks, held.deadline_seconds
    ));
    if !held.note.is_empty() {
        text.push_str(&format!(", {}", held.note));
    }
    printable(&text)
}

/// One dead shard in one line.
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
            "shard 12, score batches 3 to 5, 9 cells: 45 s, 120 ticks, lost in 38 s unless renewed, batch 4"
        );
        let worker = LiveWorker {
            name: "node-1-ab".to_owned(),
            host: "node".to_owned(),
            pid: 7,
            device: "cpu".to_owned(),
            profile: String::new(),
            memory_bytes: 0,
            version: "0.1.0".to_owned(),
            leases: Vec::new(),
            more_leases: 0,
        };
        assert_eq!(
            worker_line(&worker),
            "node-1-ab: cpu, pid 7 on node, version 0.1.0, idle"
        );
    }
}
