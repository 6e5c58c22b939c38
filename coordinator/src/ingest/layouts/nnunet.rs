//! nnU-Net's folders, and what they were modelled on, the Medical Segmentation Decathlon's: `imagesTr` and `labelsTr`
//! beside a `dataset.json` that names the channels. Part of the generic layout.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::found::Found;
use super::listing::Listing;
use super::words::modality_name;

const IMAGES: &str = "imagesTr";

/// Folders of images and of the masks that belong to them; the second is there only when test masks were published.
const FOLDERS: [(&str, &str); 2] = [(IMAGES, "labelsTr"), ("imagesTs", "labelsTs")];

/// Room for the files of a large set, which older `dataset.json` list.
const MAX_JSON: u64 = 64 << 20;

const ALL_IN_ONE: &str = "all modalities are in one 4-D file, as the Medical Segmentation Decathlon publishes them; \
     make one file a modality (imagesTr/SUBJECT_0000.nii.gz, _0001 …), e.g. with nnUNetv2_convert_MSD_dataset";
const NOT_NAMED: &str = "not SUBJECT_0000, _0001 …";
const NO_LABELS: &str = "no masks of these are published (no labelsTs)";

/// Whether `root` is such a folder.
pub(super) fn is_there(root: &Path) -> bool {
    root.join(IMAGES).is_dir()
}

/// The folder to give instead, when `root` is a part of such a folder.
pub(super) fn whole(root: &Path) -> Option<PathBuf> {
    let name = root.file_name()?.to_str()?;
    let is_part = FOLDERS
        .iter()
        .any(|(images, labels)| name == *images || name == *labels);
    let parent = root.parent().filter(|parent| is_part && is_there(parent))?;
    Some(parent.to_path_buf())
}

pub(super) fn collect(root: &Path, found: &mut Found) -> io::Result<()> {
    let channels = channels(&root.join("dataset.json"));
    for (images, labels) in FOLDERS {
        let (images, labels) = (root.join(images), root.join(labels));
        if !images.is_dir() {
            continue;
        }
        let listing = Listing::of(&images)?;
        found.set_aside(None, &listing);
        if !labels.is_dir() {
            for (_, path) in listing.volumes {
                found.unused(None, path, NO_LABELS);
            }
            continue;
        }
        for (stem, path) in listing.volumes {
            image(&stem, path, &channels, found);
        }
        let listing = Listing::of(&labels)?;
        found.set_aside(None, &listing);
        for (stem, path) in listing.volumes {
            found.mask(&stem, true, path);
        }
    }
    Ok(())
}

fn image(stem: &str, path: PathBuf, channels: &BTreeMap<usize, String>, found: &mut Found) {
    let numbered = stem.rsplit_once('_').filter(|(id, number)| {
        !id.is_empty() && number.len() == 4 && number.bytes().all(|byte| byte.is_ascii_digit())
    });
    match numbered {
        Some((id, number)) => {
            let name = number
                .parse()
                .ok()
                .and_then(|number: usize| channels.get(&number));
            found.image(id, name.map_or(number, String::as_str), path);
        }
        None if channels.len() > 1 => {
            found.refused.insert(stem.to_owned(), ALL_IN_ONE.to_owned());
        }
        // One channel and no number: the Decathlon's sets of one modality.
        None => match channels.get(&0) {
            Some(name) => found.image(stem, name, path),
            None => found.unused(Some(stem), path, NOT_NAMED),
        },
    }
}

/// Names of the channels, by number; none where `dataset.json` is absent or says nothing of them.
fn channels(path: &Path) -> BTreeMap<usize, String> {
    let read = || -> Option<Value> {
        let length = fs::metadata(path).ok().filter(fs::Metadata::is_file)?.len();
        let mut text = String::new();
        File::open(path)
            .ok()
            .filter(|_| length <= MAX_JSON)?
            .read_to_string(&mut text)
            .ok()?;
        serde_json::from_str(text.trim_start_matches('\u{feff}')).ok()
    };
    let Some(value) = read() else {
        return BTreeMap::new();
    };
    let names = value.get("channel_names").or_else(|| value.get("modality"));
    names
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .filter_map(|(number, name)| {
            let name = name.as_str()?.trim().replace([' ', '/', ','], "-");
            Some((number.parse().ok()?, modality_name(&name)))
        })
        .collect()
}
