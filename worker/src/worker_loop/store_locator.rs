//! Finds slice stores and artifact stores by the digest of what they hold.
//!
//! A message never names a path. A worker is given two folders by whoever starts it, and looks below them, at
//! most three levels deep: for the slice store whose manifest has the digest a plan names, and for the artifact store
//! that holds the plan itself. Either may be an address in an object store: an artifact store is that very address, a
//! slice store that or a folder below it.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anofpdm_common::ids::Digest;
use anofpdm_common::store::artifacts::{ArtifactError, ArtifactStore};
use anofpdm_common::store::location::Location;
use anofpdm_common::store::object::{ObjectError, ObjectFolder, ObjectSettings, ObjectUrl};
use anofpdm_common::store::slices::{SliceStore, StoreError};

/// How far below a root a store may lie: `ROOT/runs/NAME/records`.
const DEPTH: usize = 3;

/// Folders looked into before a search is given up.
const MAX_FOLDERS: usize = 20_000;

/// Stores of each kind remembered.
const REMEMBERED: usize = 16;

/// Folders of an object store that are looked into.
const MAX_REMOTE_FOLDERS: usize = 1_000;

/// The file that makes a folder a slice store.
const MANIFEST: &str = "manifest.json";

/// Something is not below the folders this worker was given.
#[derive(Debug, thiserror::Error)]
pub enum StoreLocatorError {
    #[error("{option} {root}: {source}")]
    NoFolder {
        option: &'static str,
        root: PathBuf,
        source: io::Error,
    },
    #[error(
        "no slice store with digest {digest} in {root} or up to {DEPTH} levels below ({searched}); start this worker with --data FOLDER, a folder that holds it"
    )]
    NoSlices {
        digest: Digest,
        root: Location,
        searched: Searched,
    },
    #[error(
        "no artifact store with plan {digest} in {root} or up to {DEPTH} levels below ({searched}); start this worker with --artifacts FOLDER, a folder that holds the run"
    )]
    NoArtifacts {
        digest: Digest,
        root: Location,
        searched: Searched,
    },
    #[error(transparent)]
    Artifacts(#[from] ArtifactError),
    #[error(transparent)]
    Slices(StoreError),
    #[error(transparent)]
    Object(#[from] ObjectError),
}

/// What a search without success has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Searched {
    folders: usize,
    /// More folders were there than are looked into.
    cut: bool,
    /// Slice stores with another digest, a few of them.
    others: Vec<Location>,
}

impl std::fmt::Display for Searched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} folders searched", self.folders)?;
        if self.cut {
            write!(f, ", there are more: name a folder nearer to it")?;
        }
        for (number, other) in self.others.iter().enumerate() {
            let lead = if number == 0 { "; others: " } else { ", " };
            write!(f, "{lead}{other}")?;
        }
        Ok(())
    }
}

/// What a search does with a folder.
enum SearchStep<T> {
    Found(T),
    /// Look below.
    Descend,
    /// A store of another kind of content: nothing below it.
    Skip,
}

/// The two roots and what was found below them.
#[derive(Debug)]
pub(super) struct StoreLocator {
    data: Location,
    artifacts: Location,
    /// With what tells whether one on a disk is still the one that was read.
    slices: VecDeque<(Option<Stamp>, SliceStore)>,
    stores: VecDeque<Arc<ArtifactStore>>,
}

/// Tells whether a manifest is still the file that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(store: &Path) -> io::Result<Self> {
        let facts = fs::metadata(store.join(MANIFEST))?;
        Ok(Self {
            inode: facts.ino(),
            bytes: facts.len(),
            modified: facts.modified().ok(),
        })
    }
}

impl StoreLocator {
    /// The two roots, which must be folders, or addresses that let us in. Nothing is searched yet.
    pub(super) fn new(data: &Location, artifacts: &Location) -> Result<Self, StoreLocatorError> {
        let mut stores = VecDeque::new();
        if let Location::Remote(url) = artifacts {
            stores.push_back(Arc::new(open_artifacts(url)?));
        }
        for (option, root) in [("--data", data), ("--artifacts", artifacts)] {
            let Location::Local(root) = root else {
                continue;
            };
            fs::read_dir(root).map_err(|source| StoreLocatorError::NoFolder {
                option,
                root: root.to_owned(),
                source,
            })?;
        }
        Ok(Self {
            data: data.clone(),
            artifacts: artifacts.clone(),
            slices: VecDeque::new(),
            stores,
        })
    }

    /// The artifact store that holds `plan`; a run's records go where its plan is.
    pub(super) fn artifacts(
        &mut self,
        plan: &Digest,
    ) -> Result<Arc<ArtifactStore>, StoreLocatorError> {
        for store in &self.stores {
            if store.contains(plan)? {
                return Ok(Arc::clone(store));
            }
        }
        let mut searched = Searched::default();
        let found = match &self.artifacts {
            Location::Remote(_) => None,
            Location::Local(root) => {
                search(
                    root,
                    &mut searched,
                    |folder, _| match ArtifactStore::path_below(folder, plan).is_file() {
                        true => SearchStep::Found(folder.to_owned()),
                        false => SearchStep::Descend,
                    },
                )
            }
        };
        let Some(root) = found else {
            return Err(StoreLocatorError::NoArtifacts {
                digest: *plan,
                root: self.artifacts.clone(),
                searched,
            });
        };
        let store = Arc::new(ArtifactStore::open(&root)?);
        tracing::info!(plan = plan.short(), store = %root.display(), "artifact store found");
        remember(&mut self.stores, Arc::clone(&store));
        Ok(store)
    }

    /// The slice store with this digest. One that was rewritten since it was found is looked at again.
    pub(super) fn slices(&mut self, digest: &Digest) -> Result<SliceStore, StoreLocatorError> {
        self.slices.retain(|(stamp, store)| {
            stamp.is_none_or(|stamp| Stamp::of(store.root()).is_ok_and(|now| now == stamp))
        });
        let known = self
            .slices
            .iter()
            .find(|(_, store)| store.manifest().digest == *digest);
        if let Some((_, store)) = known {
            return Ok(store.clone());
        }
        let mut searched = Searched::default();
        let found = match &self.data {
            Location::Local(root) => find_slices(root, digest, &mut searched),
            Location::Remote(url) => {
                find_remote_slices(url, digest, &mut searched)?.map(|store| (None, store))
            }
        };
        let Some((stamp, store)) = found else {
            return Err(StoreLocatorError::NoSlices {
                digest: *digest,
                root: self.data.clone(),
                searched,
            });
        };
        tracing::info!(slices = digest.short(), store = %store.location(), "slice store found");
        remember(&mut self.slices, (stamp, store.clone()));
        Ok(store)
    }
}

fn find_slices(
    root: &Path,
    digest: &Digest,
    searched: &mut Searched,
) -> Option<(Option<Stamp>, SliceStore)> {
    search(root, searched, |folder, searched| {
        // The stamp first: a store rewritten in between is then noticed at its next use.
        let Ok(stamp) = Stamp::of(folder) else {
            return SearchStep::Descend;
        };
        match SliceStore::open(folder) {
            Ok(store) if store.manifest().digest == *digest => {
                SearchStep::Found((Some(stamp), store))
            }
            Ok(other) => {
                searched.other(other.location());
                SearchStep::Skip
            }
            Err(StoreError::NoManifest(_)) => SearchStep::Descend,
            Err(error) => {
                tracing::debug!(%error, "passed over");
                SearchStep::Descend
            }
        }
    })
}

/// The store at `url` with this digest, or in a folder there.
fn find_remote_slices(
    url: &ObjectUrl,
    digest: &Digest,
    searched: &mut Searched,
) -> Result<Option<SliceStore>, StoreLocatorError> {
    let mut look = |url: &ObjectUrl| {
        searched.folders += 1;
        match SliceStore::at(&Location::Remote(url.clone())) {
            Ok(store) if store.manifest().digest == *digest => Ok(Some(store)),
            Ok(other) => {
                searched.other(other.location());
                Ok(None)
            }
            Err(StoreError::NoManifest(_)) => Ok(None),
            Err(error) => Err(StoreLocatorError::Slices(error)),
        }
    };
    if let Some(store) = look(url)? {
        return Ok(Some(store));
    }
    // A web server cannot be asked for what it has.
    if !url.is_writable() {
        return Ok(None);
    }
    let settings = ObjectSettings::of_process().map_err(ObjectError::from)?;
    for folder in ObjectFolder::open(url, &settings)?.folders(MAX_REMOTE_FOLDERS)? {
        if let Some(store) = look(&url.join(&folder))? {
            return Ok(Some(store));
        }
    }
    Ok(None)
}

/// The artifact store at `url`, with copies in the local cache.
fn open_artifacts(url: &ObjectUrl) -> Result<ArtifactStore, StoreLocatorError> {
    let settings = ObjectSettings::of_process().map_err(ObjectError::from)?;
    let copies = Digest::of(url.to_string().as_bytes()).to_string();
    let root = settings.cache.join("artifacts").join(copies);
    let store = ArtifactStore::open_remote(&root, url)?;
    store.check_writable()?;
    Ok(store)
}

impl Searched {
    fn other(&mut self, store: &Location) {
        const NAMED: usize = 4;
        if self.others.len() < NAMED {
            self.others.push(store.clone());
        }
    }
}

/// Adds what was found last to the front.
fn remember<T>(known: &mut VecDeque<T>, found: T) {
    known.truncate(REMEMBERED - 1);
    known.push_front(found);
}

/// Looks at `root` and the folders below it, level by level, in the order of their names.
fn search<T>(
    root: &Path,
    searched: &mut Searched,
    mut look: impl FnMut(&Path, &mut Searched) -> SearchStep<T>,
) -> Option<T> {
    let mut folders = VecDeque::from([(root.to_owned(), 0)]);
    while let Some((folder, depth)) = folders.pop_front() {
        if searched.folders == MAX_FOLDERS {
            searched.cut = true;
            return None;
        }
        searched.folders += 1;
        match look(&folder, searched) {
            SearchStep::Found(found) => return Some(found),
            SearchStep::Skip => {}
            SearchStep::Descend if depth == DEPTH => {}
            SearchStep::Descend => {
                let room = (MAX_FOLDERS + 1).saturating_sub(folders.len() + searched.folders);
                let below = subfolders(&folder).into_iter().take(room);
                folders.extend(below.map(|path| (path, depth + 1)));
            }
        }
    }
    None
}

/// The folders in a folder, by name. Left out: hidden ones, `target`, and the shelves of an artifact store. One that
/// cannot be listed has none: a search should not end at somebody else's folder.
fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut below: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_ok_and(|kind| kind.is_file()))
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.as_encoded_bytes();
            let shelf = name.len() == 2 && name.iter().all(u8::is_ascii_hexdigit);
            !(name.starts_with(b".") || name == b"target" || shelf)
        })
        .map(|entry| entry.path())
        // Follows links: stores often lie on another disk. Depth ends what loops.
        .filter(|path| path.is_dir())
        .collect();
    below.sort_unstable();
    below
}

#[cfg(test)]
mod tests {
    use anofpdm_common::store::slices::StoreWriter;

    use super::*;

    fn local(path: &Path) -> Location {
        path.to_path_buf().into()
    }

    fn artifact(root: &Path, bytes: &[u8]) -> Digest {
        ArtifactStore::open(root).unwrap().put(bytes).unwrap()
    }

    /// An empty finished store; its modalities and size make its digest.
    fn slices(root: &Path, size: usize) -> Digest {
        let writer = StoreWriter::create(root, &["flair".to_owned()], size).unwrap();
        let store = writer.commit(Vec::new(), Vec::new()).unwrap();
        store.manifest().digest
    }

    #[test]
    fn the_store_itself_or_one_three_levels_below() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let plan = artifact(&root.join("runs/a/records"), b"plan a");
        let other = artifact(&root.join("runs/b/records"), b"plan b");
        let (small, large) = (
            slices(&root.join("stores/small"), 16),
            slices(&root.join("stores/large"), 32),
        );
        let mut locator = StoreLocator::new(&local(root), &local(root)).unwrap();
        let found = locator.artifacts(&plan).unwrap();
        assert!(found.path_of(&plan).is_file());
        assert!(locator.artifacts(&other).unwrap().contains(&other).unwrap());
        // Found again without a search: the same object.
        assert!(Arc::ptr_eq(&found, &locator.artifacts(&plan).unwrap()));
        assert_eq!(locator.slices(&small).unwrap().manifest().size, 16);
        assert_eq!(locator.slices(&large).unwrap().manifest().size, 32);

        let mut direct = StoreLocator::new(
            &local(&root.join("stores/large")),
            &local(&root.join("runs/a/records")),
        )
        .unwrap();
        direct.artifacts(&plan).unwrap();
        direct.slices(&large).unwrap();
        let message = direct.artifacts(&other).unwrap_err().to_string();
        for part in [&other.to_string(), "runs/a/records", "--artifacts"] {
            assert!(message.contains(part), "{message}");
        }
        let message = direct.slices(&small).unwrap_err().to_string();
        for part in [&small.to_string(), "stores/large", "--data", "others: "] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn neither_deeper_nor_in_hidden_folders_nor_in_build_folders() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let mut locator = StoreLocator::new(&local(root), &local(root)).unwrap();
        for place in ["1/2/3/4", ".cache/run", "target/run"] {
            let plan = artifact(&root.join(place), place.as_bytes());
            let found = locator.artifacts(&plan);
            assert!(
                matches!(found, Err(StoreLocatorError::NoArtifacts { .. })),
                "{place}"
            );
        }
        let message = StoreLocator::new(&local(root), &local(&root.join("absent")))
            .unwrap_err()
            .to_string();
        assert!(message.contains("--artifacts"), "{message}");
    }

    #[test]
    fn a_store_made_again_is_not_taken_for_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let old = slices(&root.join("store"), 16);
        let mut locator = StoreLocator::new(&local(root), &local(root)).unwrap();
        locator.slices(&old).unwrap();
        fs::remove_dir_all(root.join("store")).unwrap();
        let new = slices(&root.join("store"), 32);
        assert!(locator.slices(&old).is_err());
        locator.slices(&new).unwrap();
    }

    #[test]
    fn a_search_ends() {
        let folder = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        let mut searched = Searched::default();
        let none: Option<()> = search(folder.path(), &mut searched, |_, _| SearchStep::Descend);
        assert!(none.is_none());
        assert_eq!((searched.folders, searched.cut), (DEPTH + 1, false));
    }
}
