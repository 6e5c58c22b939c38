use super::*;

fn store() -> (tempfile::TempDir, ArtifactStore) {
    let folder = tempfile::tempdir().unwrap();
    let store = ArtifactStore::open(folder.path()).unwrap();
    (folder, store)
}

#[test]
fn bytes_come_back_by_digest() {
    let (folder, store) = store();
    let digest = store.put(b"record").unwrap();
    assert_eq!(digest, Digest::of(b"record"));
    assert_eq!(store.get(&digest, 6).unwrap(), b"record");
    assert!(store.contains(&digest).unwrap());
    let name = digest.to_string();
    assert_eq!(
        store.path_of(&digest),
        folder.path().join(&name[..2]).join(&name)
    );
    assert_eq!(store.verify(&digest).unwrap(), store.path_of(&digest));
    assert!(matches!(
        store.get(&digest, 5),
        Err(ArtifactError::TooLarge { bytes: 6, .. })
    ));
    assert!(matches!(
        store.get(&Digest::of(b"other"), 6),
        Err(ArtifactError::Missing { .. })
    ));
}

#[test]
fn equal_content_is_written_once_and_nothing_temporary_stays() {
    let (folder, store) = store();
    let digest = store.put(b"record").unwrap();
    let before = fs::metadata(store.path_of(&digest)).unwrap();
    let source = folder.path().join("source");
    fs::write(&source, b"record").unwrap();
    assert_eq!(store.put(b"record").unwrap(), digest);
    assert_eq!(store.put_file(&source).unwrap(), digest);
    use std::os::unix::fs::MetadataExt;
    let after = fs::metadata(store.path_of(&digest)).unwrap();
    assert_eq!(before.ino(), after.ino());
    assert_eq!(
        fs::read_dir(folder.path().join(TEMPORARY)).unwrap().count(),
        0
    );
}

#[test]
fn two_stores_of_one_folder_in_one_process_write_beside_each_other() {
    let (folder, store) = store();
    let other = ArtifactStore::open(folder.path()).unwrap();
    let write = |store: &ArtifactStore, first: u32| {
        for number in first..first + 200 {
            let bytes = number.to_le_bytes().repeat(500);
            let digest = store.put(&bytes).unwrap();
            assert_eq!(store.get(&digest, u64::MAX).unwrap(), bytes);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| write(&store, 0));
        scope.spawn(|| write(&other, 1_000));
    });
}

#[test]
fn files_are_copied_in_chunks() {
    let (folder, store) = store();
    let source = folder.path().join("source");
    let bytes: Vec<u8> = (0..COPY_BUFFER * 2 + 17).map(|i| (i % 251) as u8).collect();
    fs::write(&source, &bytes).unwrap();
    let digest = store.put_file(&source).unwrap();
    assert_eq!(digest, Digest::of(&bytes));
    assert_eq!(store.get(&digest, u64::MAX).unwrap(), bytes);
}

#[test]
fn a_corrupt_artifact_is_named_and_replaced_by_the_next_put() {
    let (_folder, store) = store();
    let digest = store.put(b"record").unwrap();
    fs::write(store.path_of(&digest), b"recorD").unwrap();
    for outcome in [
        store.get(&digest, 100).map(drop),
        store.verify(&digest).map(drop),
    ] {
        let error = outcome.unwrap_err();
        assert!(matches!(error, ArtifactError::Corrupt { .. }));
        assert!(error.to_string().contains(&digest.to_string()));
    }
    store.put(b"record").unwrap();
    assert_eq!(store.get(&digest, 100).unwrap(), b"record");
}

#[test]
fn entries_are_sorted_and_can_be_removed() {
    let (folder, store) = store();
    let mut digests: Vec<_> = (0..20_u8).map(|i| store.put(&[i]).unwrap()).collect();
    fs::write(folder.path().join("README"), b"not an artifact").unwrap();
    digests.sort_unstable();
    let found: Vec<_> = store.entries().unwrap().map(Result::unwrap).collect();
    assert_eq!(found.iter().map(|e| e.digest).collect::<Vec<_>>(), digests);
    assert!(found.iter().all(|e| e.bytes == 1));
    assert!(store.remove(&digests[0]).unwrap());
    assert!(!store.remove(&digests[0]).unwrap());
    assert_eq!(store.entries().unwrap().count(), 19);
}

#[test]
fn leftovers_of_the_dead_and_the_old_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let temporary = folder.path().join(TEMPORARY);
    fs::create_dir(&temporary).unwrap();
    let here = process_space();
    let old = SystemTime::now() - TEMPORARY_AGE - Duration::from_secs(60);
    let file = |name: String, age: Option<SystemTime>| {
        let path = temporary.join(name);
        let file = File::create(&path).unwrap();
        if let Some(time) = age {
            file.set_modified(time).unwrap();
        }
        path
    };
    let dead = file(format!("{here}-999999999-0"), None);
    let alive = file(format!("{here}-{}-7", std::process::id()), None);
    let foreign = file("0123456789ab-999999999-0".into(), None);
    let foreign_old = file("0123456789ab-5-0".into(), Some(old));
    ArtifactStore::open(folder.path()).unwrap();
    assert!(!dead.exists() && !foreign_old.exists());
    assert!(alive.exists() && foreign.exists());
}

#[test]
fn a_failed_write_names_its_path() {
    let (folder, store) = store();
    fs::remove_dir(folder.path().join(TEMPORARY)).unwrap();
    let error = store.put(b"record").unwrap_err().to_string();
    assert!(error.contains(TEMPORARY), "{error}");
    assert_eq!(store.entries().unwrap().count(), 0);
}

mod in_an_object_store {
    use std::sync::Arc;

    use super::*;
    use crate::store::artifacts::remote::RemoteArtifacts;
    use crate::store::object::tests::{Fault, Faulty};

    /// A folder of copies of what lies in `server`, whose next requests have these faults.
    fn copies_of(server: &Arc<Faulty>, faults: &[Fault]) -> (tempfile::TempDir, ArtifactStore) {
        let (folder, mut store) = store();
        store.remote = Some(RemoteArtifacts {
            folder: server.with(faults),
            copies: CacheFolder::new(folder.path(), u64::MAX),
        });
        (folder, store)
    }

    fn object(digest: &Digest) -> String {
        format!("prefix/{}", object_name(digest))
    }

    #[test]
    fn what_one_puts_another_gets() {
        let server = Arc::new(Faulty::default());
        let (_here, one) = copies_of(&server, &[Fault::Away]);
        let digest = one.put(b"record").unwrap();
        assert_eq!(server.objects(), [object(&digest)]);
        // Known here: nothing is asked.
        let asked = server.asked();
        assert_eq!(one.put(b"record").unwrap(), digest);
        assert_eq!(one.get(&digest, 6).unwrap(), b"record");
        assert_eq!(server.asked(), asked);

        let (_there, other) = copies_of(&server, &[Fault::None, Fault::Cut]);
        assert_eq!(other.length(&digest).unwrap(), Some(6));
        assert_eq!(other.get(&digest, 6).unwrap(), b"record");
        assert_eq!(server.asked(), 3, "looked up, cut off, whole");
        assert!(other.verify(&digest).unwrap().is_file());
        // A second writer of the same bytes leaves them.
        let (_third, third) = copies_of(&server, &[]);
        assert_eq!(third.put(b"record").unwrap(), digest);

        let absent = Digest::of(b"absent");
        assert!(!other.contains(&absent).unwrap());
        let error = other.get(&absent, 6).unwrap_err().to_string();
        assert!(error.contains("s3://bucket/prefix"), "{error}");
    }

    #[test]
    fn other_bytes_are_never_believed() {
        let server = Arc::new(Faulty::default());
        let (_here, one) = copies_of(&server, &[]);
        let digest = one.put(b"record").unwrap();
        // In the copy: fetched again.
        fs::write(one.path_of(&digest), b"recorD").unwrap();
        assert_eq!(one.get(&digest, 6).unwrap(), b"record");
        assert_eq!(fs::read(one.path_of(&digest)).unwrap(), b"record");
        // On the way: asked for again.
        let (_there, other) = copies_of(&server, &[Fault::Flipped]);
        assert_eq!(other.get(&digest, 6).unwrap(), b"record");
        assert_eq!(server.asked(), 2);
        // On the server: found, named, and nothing is left here; whoever makes it again repairs it.
        server.set(&object(&digest), b"recorD".to_vec());
        let (folder, third) = copies_of(&server, &[]);
        let error = third.get(&digest, 6).unwrap_err().to_string();
        assert!(
            error.contains(&format!("s3://bucket/{}", object(&digest))),
            "{error}"
        );
        assert!(!third.path_of(&digest).exists());
        assert_eq!(
            fs::read_dir(folder.path().join(TEMPORARY)).unwrap().count(),
            0
        );
        assert_eq!(third.put(b"record").unwrap(), digest);
        let (_fourth, fourth) = copies_of(&server, &[]);
        assert_eq!(fourth.get(&digest, 6).unwrap(), b"record");
    }

    #[test]
    fn what_cannot_be_brought_is_not_kept_either() {
        let server = Arc::new(Faulty::default());
        let (_here, store) = copies_of(&server, &[Fault::Forbidden]);
        assert!(matches!(
            store.put(b"record"),
            Err(ArtifactError::Object(_))
        ));
        assert!(!store.path_of(&Digest::of(b"record")).exists());
        store.put(b"record").unwrap();
    }

    #[test]
    fn a_folder_knows_its_address() {
        let (folder, store) = store();
        assert!(store.remote().is_none());
        fs::write(folder.path().join(REMOTE), "s3://bucket/prefix\n").unwrap();
        let store = ArtifactStore::open(folder.path()).unwrap();
        assert_eq!(store.remote().unwrap().to_string(), "s3://bucket/prefix");
        let other = "s3://bucket/other".parse().unwrap();
        let error = ArtifactStore::open_remote(folder.path(), &other).unwrap_err();
        assert!(error.to_string().contains("s3://bucket/prefix"), "{error}");
        fs::write(folder.path().join(REMOTE), "nonsense").unwrap();
        let error = ArtifactStore::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains("remote"), "{error}");
    }
}
