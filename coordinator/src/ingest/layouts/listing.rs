//! A folder's content as the layouts see it: sorted, without what operating systems and archivers leave behind, and with
//! what cannot be read told apart.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is in a folder, each list by name.
#[derive(Debug, Default)]
pub(super) struct Listing {
    pub(super) folders: Vec<(String, PathBuf)>,
    /// NIfTI files, with their names less `.nii` or `.nii.gz`.
    pub(super) volumes: Vec<(String, PathBuf)>,
    /// Files of other volume formats, with their names less the ending.
    pub(super) foreign: Vec<(String, PathBuf)>,
    /// Folders and NIfTI files whose names are not UTF-8, and whether each is a folder.
    pub(super) unnameable: Vec<(PathBuf, bool)>,
}

const NIFTI: [&str; 2] = [".nii.gz", ".nii"];

/// Endings of volumes in other formats. A pair is known by its `.img`.
const FOREIGN: [&str; 15] = [
    ".img.gz", ".img", ".mgz", ".mgh", ".mha", ".mhd", ".nrrd", ".nhdr", ".mnc", ".dcm",
    ".nii.zip", ".nii.bz2", ".nii.xz", ".nii.zst", ".npy",
];

impl Listing {
    pub(super) fn of(folder: &Path) -> io::Result<Self> {
        let mut paths = fs::read_dir(folder)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<io::Result<Vec<_>>>()?;
        paths.sort();
        let mut listing = Self::default();
        for path in paths {
            let is_folder = path.is_dir();
            let Some(name) = path.file_name() else {
                continue;
            };
            let Some(name) = name.to_str().map(str::to_owned) else {
                if is_folder || without(&name.to_string_lossy(), &NIFTI).is_some() {
                    listing.unnameable.push((path, is_folder));
                }
                continue;
            };
            if name.starts_with('.') || name == "__MACOSX" {
                continue;
            }
            let volume = without(&name, &NIFTI).map(str::to_owned);
            match (volume, is_folder) {
                // Some distributions pack each file into a folder of its name.
                (Some(stem), true) => match only_volume(&path) {
                    Some(inner) => listing.volumes.push((stem, inner)),
                    None => listing.volumes.push((stem, path)),
                },
                (Some(stem), false) => listing.volumes.push((stem, path)),
                (None, true) => listing.folders.push((name, path)),
                (None, false) => {
                    if let Some(stem) = without(&name, &FOREIGN) {
                        listing.foreign.push((stem.to_owned(), path));
                    }
                }
            }
        }
        Ok(listing)
    }
}

/// `name` without the first of `endings` that it has, whatever the case.
fn without<'a>(name: &'a str, endings: &[&str]) -> Option<&'a str> {
    endings.iter().find_map(|ending| {
        let cut = name.len().checked_sub(ending.len())?;
        let fits = name.is_char_boundary(cut) && name[cut..].eq_ignore_ascii_case(ending);
        (fits && cut > 0).then(|| &name[..cut])
    })
}

/// The one NIfTI file of a folder that holds nothing else of the kind.
fn only_volume(folder: &Path) -> Option<PathBuf> {
    let mut files = fs::read_dir(folder)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| !name.starts_with('.') && without(name, &NIFTI).is_some())
        });
    let first = files.next().filter(|path| path.is_file())?;
    files.next().is_none().then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn what_is_there_is_sorted_into_kinds() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &[u8]| fs::write(folder.path().join(OsStr::from_bytes(name)), b"").unwrap();
        for name in [
            &b"b_t1.nii"[..],
            b"A_T1.NII.GZ",
            b"._A_T1.nii",
            b".DS_Store",
            b"a.nii.gz.txt",
            b"a.mgz",
            b"a.hdr",
            b"a.img",
            b".nii",
            b"M\xfcller_t1.nii",
            b"M\xfcller.txt",
        ] {
            write(name);
        }
        for name in [
            "__MACOSX",
            ".git",
            "sub",
            "in.nii",
            "two.nii.gz",
            "none.nii",
        ] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        for inner in [
            "in.nii/00001_brain.nii",
            "in.nii/x.json",
            "two.nii.gz/a.nii",
            "two.nii.gz/b.nii",
        ] {
            fs::write(folder.path().join(inner), b"").unwrap();
        }
        let listing = Listing::of(folder.path()).unwrap();
        let named = |list: &[(String, PathBuf)]| -> Vec<(String, String)> {
            list.iter()
                .map(|(name, path)| {
                    let path = path.strip_prefix(folder.path()).unwrap();
                    (name.clone(), path.to_str().unwrap().to_owned())
                })
                .collect()
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(
            named(&listing.volumes),
            [
                pair("A_T1", "A_T1.NII.GZ"),
                pair("b_t1", "b_t1.nii"),
                pair("in", "in.nii/00001_brain.nii"),
                pair("none", "none.nii"),
                pair("two", "two.nii.gz"),
            ]
        );
        assert_eq!(named(&listing.folders), [pair("sub", "sub")]);
        assert_eq!(
            named(&listing.foreign),
            [pair("a", "a.img"), pair("a", "a.mgz")]
        );
        assert_eq!(listing.unnameable.len(), 1);
    }
}
