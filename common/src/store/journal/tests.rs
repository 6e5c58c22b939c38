use std::fs;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Entry {
    Started { name: String },
    Finished(u64),
}

impl Message for Entry {
    const KIND: Kind = Kind::Journal;

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

fn entries() -> Vec<Entry> {
    vec![
        Entry::Started {
            name: "demo".into(),
        },
        Entry::Finished(1),
        Entry::Started {
            name: String::new(),
        },
        Entry::Finished(u64::MAX),
    ]
}

fn read(path: &Path) -> Result<(Recovered<Entry>, Vec<Entry>), JournalError> {
    let mut seen = Vec::new();
    let recovered = Journal::open(path, |entry| seen.push(entry))?;
    Ok((recovered, seen))
}

/// A journal of [`entries`], with the offset at which each begins and the end.
fn written(path: &Path) -> (Vec<u8>, Vec<usize>) {
    let (mut recovered, seen) = read(path).unwrap();
    assert!(seen.is_empty() && recovered.torn.is_none());
    let mut offsets = vec![fs::metadata(path).unwrap().len() as usize];
    for entry in entries() {
        recovered.journal.append(&entry).unwrap();
        offsets.push(fs::metadata(path).unwrap().len() as usize);
    }
    (fs::read(path).unwrap(), offsets)
}

#[test]
fn entries_come_back_in_order_and_more_can_follow() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    written(&path);
    let (mut recovered, seen) = read(&path).unwrap();
    assert_eq!(seen, entries());
    assert_eq!((recovered.entries, recovered.torn), (4, None));
    recovered.journal.append(&Entry::Finished(7)).unwrap();
    assert_eq!(read(&path).unwrap().1.last(), Some(&Entry::Finished(7)));
}

#[test]
fn golden_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (bytes, offsets) = written(&path);
    assert_eq!(&bytes[..offsets[0]], FILE_HEADER);
    let mut expected = FILE_HEADER.to_vec();
    for entry in entries() {
        expected.extend(wire::encode(&entry).unwrap());
    }
    assert_eq!(bytes, expected);
}

#[test]
fn a_cut_at_any_byte_loses_only_the_unfinished_entry() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, offsets) = written(&folder.path().join("whole"));
    let path = folder.path().join("cut");
    for cut in 0..=bytes.len() {
        fs::write(&path, &bytes[..cut]).unwrap();
        let (mut recovered, seen) = read(&path).unwrap();
        let whole = offsets[1..].iter().filter(|end| **end <= cut).count();
        assert_eq!(seen, entries()[..whole], "cut at {cut}");
        let expected = (cut > offsets[whole]).then(|| TornTail {
            offset: offsets[whole] as u64,
            bytes: (cut - offsets[whole]) as u64,
        });
        assert_eq!(recovered.torn, expected, "cut at {cut}");
        recovered.journal.append(&Entry::Finished(9)).unwrap();
        let (again, seen) = read(&path).unwrap();
        assert_eq!((seen.len(), again.torn), (whole + 1, None), "cut at {cut}");
    }
}

#[test]
fn a_changed_byte_is_never_silent() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, offsets) = written(&folder.path().join("whole"));
    let path = folder.path().join("changed");
    let last = offsets[offsets.len() - 2];
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        fs::write(&path, &changed).unwrap();
        match read(&path) {
            Err(JournalError::NotAJournal(_)) => assert!(at < offsets[0], "at {at}"),
            Err(JournalError::Corrupt { offset, .. }) => {
                let broken = offsets.iter().rfind(|begin| **begin <= at).unwrap();
                assert_eq!(offset as usize, *broken, "at {at}");
                assert!(at < last);
                assert_eq!(fs::read(&path).unwrap(), changed, "a corrupt file is kept");
            }
            Ok((recovered, seen)) => {
                assert!(at >= last, "at {at}");
                assert_eq!(seen, entries()[..3]);
                assert_eq!(recovered.torn.unwrap().offset as usize, last);
            }
            Err(other) => panic!("at {at}: {other}"),
        }
    }
}

#[test]
fn zeros_after_the_last_entry_are_a_torn_tail() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut bytes, _) = written(&path);
    bytes.resize(bytes.len() + 3 * SEARCH_WINDOW, 0);
    fs::write(&path, &bytes).unwrap();
    let (recovered, seen) = read(&path).unwrap();
    assert_eq!(seen, entries());
    assert_eq!(recovered.torn.unwrap().bytes, 3 * SEARCH_WINDOW as u64);
}

#[test]
fn a_good_entry_is_found_across_search_windows() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (bytes, offsets) = written(&path);
    let good = &bytes[offsets[0]..offsets[1]];
    for gap in SEARCH_WINDOW - 2..SEARCH_WINDOW + 4 {
        let mut damaged = bytes.clone();
        damaged.resize(bytes.len() + gap, 0);
        damaged.extend_from_slice(good);
        fs::write(&path, &damaged).unwrap();
        assert!(matches!(read(&path), Err(JournalError::Corrupt { .. })));
    }
}

#[test]
fn other_files_and_other_entries_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    fs::write(&path, b"name = \"spec\"\n[data]\n").unwrap();
    assert!(matches!(read(&path), Err(JournalError::NotAJournal(_))));

    #[derive(Debug, Serialize, Deserialize)]
    struct Later(u32);
    impl Message for Later {
        const KIND: Kind = Kind::Journal;

        fn check(&self) -> Result<(), String> {
            Ok(())
        }
    }
    let path = folder.path().join("later");
    let mut journal = Journal::open(&path, |_: Later| ()).unwrap().journal;
    journal.append(&Later(77)).unwrap();
    assert!(matches!(read(&path), Err(JournalError::Unreadable { .. })));
}

#[test]
fn an_entry_over_the_limit_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal");
    let (mut recovered, _) = read(&path).unwrap();
    let name = "x".repeat(Kind::Journal.limit());
    let refused = recovered.journal.append(&Entry::Started { name });
    assert!(matches!(refused, Err(JournalError::Entry { .. })));
    recovered.journal.append(&Entry::Finished(1)).unwrap();
    assert_eq!(read(&path).unwrap().1, [Entry::Finished(1)]);
}

/// A disk with room for `room` more bytes; a sync fails when there is none.
#[derive(Debug)]
struct FullDisk {
    file: File,
    room: usize,
}

impl Medium for FullDisk {
    fn write(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let fits = bytes.len().min(self.room);
        self.file.write_all_at(&bytes[..fits], offset)?;
        self.room -= fits;
        if fits < bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        match self.room {
            0 => Err(io::ErrorKind::StorageFull.into()),
            _ => Ok(()),
        }
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }
}

#[test]
fn a_full_disk_leaves_the_acknowledged_entries_and_refuses_more() {
    let folder = tempfile::tempdir().unwrap();
    let size = wire::encode(&Entry::Finished(1)).unwrap().len();
    for room in 0..=2 * size {
        let path = folder.path().join(format!("journal-{room}"));
        let (mut recovered, _) = read(&path).unwrap();
        recovered.journal.medium = Box::new(FullDisk {
            file: OpenOptions::new().write(true).open(&path).unwrap(),
            room,
        });
        let mut acknowledged = Vec::new();
        let error = loop {
            let entry = Entry::Finished(acknowledged.len() as u64);
            match recovered.journal.append(&entry) {
                Ok(()) => acknowledged.push(entry),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("free some space"), "{error}");
        let refused = recovered.journal.append(&Entry::Finished(0));
        assert!(matches!(refused, Err(JournalError::Failed(_))));
        let (again, seen) = read(&path).unwrap();
        assert_eq!((seen, again.torn), (acknowledged, None), "room {room}");
    }
}
