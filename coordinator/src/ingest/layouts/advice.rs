//! What to do when a folder does not hold what the layout expects: where to point instead, and what is there.

use std::path::{Path, PathBuf};

use super::found::Found;
use super::listing::Listing;
use super::{LayoutName, discover, nnunet};

/// Folders looked into, and shown, at most.
const TRIED: usize = 32;
const SHOWN: usize = 3;

/// Sentences for the end of a message that nothing could be used in `root`: the folder that is meant, where one is
/// found, another layout that reads this one, and one file that is there. Empty when the layout did find what it expects.
pub fn advice(layout: LayoutName, root: &Path, found: &Found) -> String {
    let mut advice = String::new();
    if reads(found) {
        return advice;
    }
    let folders = other_folders(layout, root);
    if !folders.is_empty() {
        let shown: Vec<String> = folders
            .iter()
            .take(SHOWN)
            .map(|folder| folder.display().to_string())
            .collect();
        advice += &format!("; did you mean {}?", shown.join(" or "));
    } else if let Some(name) = other_layout(layout, root) {
        advice += &format!("; --layout {name} reads this folder");
    }
    if let Some(unused) = found.unused.first() {
        let path = unused.path.strip_prefix(root).unwrap_or(&unused.path);
        advice += &format!("; found for example {}: {}", path.display(), unused.reason);
    } else if let Some(file) = found
        .subjects
        .values()
        .find_map(|files| files.images.values().flatten().chain(&files.masks).next())
    {
        let path = file.strip_prefix(root).unwrap_or(file);
        advice += &format!("; found for example {}", path.display());
    }
    advice
}

/// Folders below or above `root` that the layout reads.
fn other_folders(layout: LayoutName, root: &Path) -> Vec<PathBuf> {
    let absolute = root.canonicalize().unwrap_or_else(|_| root.to_path_buf());
    if let Some(whole) = nnunet::whole(&absolute) {
        return vec![whole];
    }
    // One too low: the folder is itself a subject's.
    let (parent, id) = (absolute.parent(), absolute.file_name());
    if let (Some(parent), Some(id)) = (parent, id.and_then(|id| id.to_str())) {
        let mut found = Found::default();
        (layout.layout().collect_subject)(id, &absolute, &mut found);
        found.settle();
        if reads(&found) {
            return vec![parent.to_path_buf()];
        }
    }
    // One or two too high.
    let below = |folder: &Path| -> Vec<PathBuf> {
        let listing = Listing::of(folder).unwrap_or_default();
        let folders = listing.folders.into_iter().map(|(_, path)| path);
        folders.take(TRIED).collect()
    };
    let sets = |folders: Vec<PathBuf>| -> Vec<PathBuf> {
        let is_set =
            |folder: &PathBuf| discover(layout.layout(), folder).is_ok_and(|found| reads(&found));
        folders.into_iter().take(TRIED).filter(is_set).collect()
    };
    let children = below(root);
    let grandchildren = children.iter().flat_map(|folder| below(folder)).collect();
    let near = sets(children);
    if near.is_empty() {
        sets(grandchildren)
    } else {
        near
    }
}

fn other_layout(layout: LayoutName, root: &Path) -> Option<&'static str> {
    [
        (LayoutName::Brats, "brats"),
        (LayoutName::Atlas, "atlas"),
        (LayoutName::Generic, "generic"),
    ]
    .into_iter()
    .filter(|(other, _)| *other != layout)
    .find(|(other, _)| discover(other.layout(), root).is_ok_and(|found| reads(&found)))
    .map(|(_, name)| name)
}

/// Whether most of what was found is subjects with an image and a mask.
fn reads(found: &Found) -> bool {
    let whole = found
        .subjects
        .values()
        .filter(|files| !files.images.is_empty() && !files.masks.is_empty())
        .count();
    2 * whole > found.subjects.len()
}
