use super::*;

/// A run folder without a run.
fn run() -> (tempfile::TempDir, RunFolder) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("spec.toml"), "").unwrap();
    let folder = RunFolder::open(dir.path()).unwrap();
    (dir, folder)
}

fn listening(folder: &RunFolder) -> ControlFiles {
    ControlFiles::open(folder, &folder.lock().unwrap()).unwrap()
}

fn names(folder: &RunFolder) -> Vec<String> {
    let entries = fs::read_dir(folder.control()).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_is_asked_arrives_once_and_in_order() {
    let (_dir, folder) = run();
    let mut control = listening(&folder);
    assert_eq!(control.poll(), []);
    let some = DeadShards::These(BTreeSet::from([3, u64::MAX]));
    let first = ask_to_retry(&folder, &some).unwrap();
    // Names sort by the millisecond.
    std::thread::sleep(Duration::from_millis(3));
    let second = ask_to_retry(&folder, &DeadShards::All).unwrap();
    std::thread::sleep(Duration::from_millis(3));
    let third = ask_to_cancel(&folder).unwrap();
    assert!(!first.is_taken().unwrap());
    assert_eq!(
        control.poll(),
        [
            Order::Retry(some.clone()),
            Order::Retry(DeadShards::All),
            Order::Cancel
        ]
    );
    for pending in [&first, &second, &third] {
        assert!(pending.is_taken().unwrap());
    }
    assert!(!first.withdraw().unwrap(), "too late");
    assert_eq!(control.poll(), []);
    assert_eq!(names(&folder), [""; 0]);
    assert!(some.names(3) && !some.names(4) && DeadShards::All.names(4));
}

#[test]
fn however_many_requests_a_dead_coordinator_left_none_is_obeyed() {
    let (_dir, folder) = run();
    drop(listening(&folder));
    for number in 0..2 * FILES_A_TURN {
        let path = folder.control().join(format!("request-{number}.json"));
        fs::write(path, b"{\"ask\":\"cancel\"}").unwrap();
    }
    assert_eq!(listening(&folder).poll(), []);
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn a_pause_is_a_state_and_outlives_the_coordinator() {
    let (_dir, folder) = run();
    assert!(set_paused(&folder, true).unwrap(), "before any coordinator");
    assert!(!set_paused(&folder, true).unwrap(), "it is already");
    let mut control = listening(&folder);
    assert_eq!(control.poll(), [Order::Pause]);
    assert_eq!(control.poll(), []);
    assert!(control.paused());
    drop(control);
    let mut control = listening(&folder);
    assert_eq!(control.poll(), [Order::Pause]);
    assert!(set_paused(&folder, false).unwrap());
    assert!(!set_paused(&folder, false).unwrap());
    assert_eq!(control.poll(), [Order::Resume]);
    assert!(!control.paused() && !is_paused(&folder).unwrap());
    assert_eq!(control.poll(), []);
}

#[test]
fn a_request_is_for_the_coordinator_at_work_only() {
    let (_dir, folder) = run();
    drop(listening(&folder));
    let late = ask_to_cancel(&folder).unwrap();
    set_paused(&folder, true).unwrap();
    let mut next = listening(&folder);
    assert_eq!(next.poll(), [Order::Pause], "the cancel was for another");
    assert!(late.is_taken().unwrap());

    let withdrawn = ask_to_cancel(&folder).unwrap();
    assert!(withdrawn.withdraw().unwrap());
    assert_eq!(next.poll(), []);
}

#[test]
fn what_is_no_request_is_removed_and_does_nothing() {
    let (dir, folder) = run();
    let mut control = listening(&folder);
    let write = |name: &str, bytes: &[u8]| fs::write(folder.control().join(name), bytes).unwrap();
    let many: BTreeSet<u64> = (0..=MOST_SHARDS as u64).collect();
    let many = serde_json::json!({"ask": "retry", "shards": many}).to_string();
    assert!((many.len() as u64) < REQUEST_LIMIT, "not refused by size");
    let padded = format!(
        "{{\"ask\":\"cancel\"{}}}",
        " ".repeat(usize::try_from(REQUEST_LIMIT).unwrap())
    );
    for (number, content) in [
        "",
        "cancel",
        "{\"ask\":\"cancel\"",
        "{\"ask\":\"cancel\",\"now\":true}",
        "{\"ask\":\"format-disk\"}",
        "{\"ask\":\"retry\"}",
        "{\"ask\":\"retry\",\"shards\":[]}",
        "{\"ask\":\"retry\",\"shards\":[-1]}",
        "{\"ask\":\"retry\",\"shards\":\"all\"}",
        "[[[[[[[[",
        &many,
        &padded,
    ]
    .iter()
    .enumerate()
    {
        write(&format!("request-{number}.json"), content.as_bytes());
    }
    write("request-binary.json", &[0xff, 0xfe, 0, 0]);
    // Right inside, wrong name.
    write("cancel.json", b"{\"ask\":\"cancel\"}");
    write("request-x.txt", b"{\"ask\":\"cancel\"}");
    fs::create_dir(folder.control().join("request-folder.json")).unwrap();
    let outside = dir.path().join("outside.json");
    fs::write(&outside, b"{\"ask\":\"cancel\"}").unwrap();
    std::os::unix::fs::symlink(&outside, folder.control().join("request-link.json")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.control().join("request-zero.json")).unwrap();
    assert_eq!(control.poll(), []);
    assert_eq!(names(&folder), [""; 0]);
    assert!(outside.exists(), "the link is removed, not what it names");

    write("request-good.json", b" {\"ask\": \"cancel\"}\n");
    assert_eq!(control.poll(), [Order::Cancel]);
}

#[test]
fn a_crowd_of_files_does_not_hide_a_request_for_ever() {
    let (_dir, folder) = run();
    let mut control = listening(&folder);
    for number in 0..3 * FILES_A_TURN {
        fs::write(folder.control().join(format!("junk-{number}")), b"").unwrap();
    }
    let pending = ask_to_cancel(&folder).unwrap();
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.extend(control.poll());
    }
    assert_eq!(heard, [Order::Cancel]);
    assert!(pending.is_taken().unwrap());
    assert_eq!(names(&folder), [""; 0]);
}

#[test]
fn half_written_requests_are_left_alone_while_young() {
    let (_dir, folder) = run();
    let mut control = listening(&folder);
    let young = folder.control().join("request-1.json.tmp");
    let old = folder.control().join("request-2.json.tmp");
    for path in [&young, &old] {
        fs::write(path, b"{\"ask\"").unwrap();
    }
    let long_ago = std::time::SystemTime::now() - 2 * LEFTOVER_AGE;
    let file = File::options().write(true).open(&old).unwrap();
    file.set_modified(long_ago).unwrap();
    assert_eq!(control.poll(), []);
    assert!(young.exists() && old.exists());
    drop(control);
    drop(listening(&folder));
    assert!(young.exists() && !old.exists());
}

#[test]
fn a_folder_that_is_gone_asks_for_nothing() {
    let (_dir, folder) = run();
    let mut control = listening(&folder);
    set_paused(&folder, true).unwrap();
    assert_eq!(control.poll(), [Order::Pause]);
    fs::remove_dir_all(folder.control()).unwrap();
    assert_eq!(control.poll(), [Order::Resume]);
    set_paused(&folder, true).unwrap();
    assert_eq!(control.poll(), [Order::Pause], "it is made again");
}
