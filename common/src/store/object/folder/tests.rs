//! A folder of an object store that fails on demand.

use std::collections::VecDeque;
use std::sync::Mutex;

use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, PutMultipartOptions, PutResult, Result,
};

use super::*;

/// What happens to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Fault {
    /// No connection.
    Away,
    /// The answer ends in the middle.
    Cut,
    /// One bit of the answer is another.
    Flipped,
    Forbidden,
    NoBucket,
    None,
}

/// A store in memory; each request takes the next of `faults`, and none once they are used up.
#[derive(Debug, Default)]
pub(in crate::store) struct Faulty {
    pub(in crate::store) inner: InMemory,
    faults: Mutex<VecDeque<Fault>>,
    /// Requests so far.
    asked: Mutex<u32>,
}

impl std::fmt::Display for Faulty {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("faulty")
    }
}

impl Faulty {
    pub(in crate::store) fn with(self: &Arc<Self>, faults: &[Fault]) -> ObjectFolder {
        *self.faults.lock().unwrap() = faults.iter().copied().collect();
        *self.asked.lock().unwrap() = 0;
        // Long enough for a loaded machine; a test that waits for the end of it sets its own.
        let wait = Duration::from_secs(300);
        ObjectFolder::of(Arc::<Self>::clone(self), "s3://bucket/prefix", wait)
    }

    pub(in crate::store) fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    /// Every object, by path.
    pub(in crate::store) fn objects(self: &Arc<Self>) -> Vec<String> {
        let store = Arc::clone(self);
        let listed = wait_for(async move { store.inner.list(None).collect::<Vec<_>>().await });
        let paths = listed.unwrap().into_iter();
        let mut paths: Vec<String> = paths.map(|meta| meta.unwrap().location.into()).collect();
        paths.sort();
        paths
    }

    /// Writes over an object, past all that this program would do.
    pub(in crate::store) fn set(self: &Arc<Self>, path: &str, bytes: Vec<u8>) {
        let (store, path) = (Arc::clone(self), Path::from(path));
        wait_for(async move { store.inner.put(&path, bytes.into()).await })
            .unwrap()
            .unwrap();
    }

    fn next(&self) -> Result<Fault> {
        *self.asked.lock().unwrap() += 1;
        let error = |text: &str| text.to_owned().into();
        let path = "p".to_owned();
        match self.faults.lock().unwrap().pop_front() {
            Some(Fault::Away) => Err(Error::Generic {
                store: "S3",
                source: error("connection refused"),
            }),
            Some(Fault::Forbidden) => Err(Error::PermissionDenied {
                path,
                source: error("SignatureDoesNotMatch: it does not match"),
            }),
            Some(Fault::NoBucket) => Err(Error::NotFound {
                path,
                source: error("NoSuchBucket: the bucket does not exist"),
            }),
            fault => Ok(fault.unwrap_or(Fault::None)),
        }
    }
}

#[async_trait::async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(
        &self,
        path: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> Result<PutResult> {
        self.next()?;
        self.inner.put_opts(path, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        path: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.next()?;
        self.inner.put_multipart_opts(path, options).await
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        let fault = self.next()?;
        let head = options.head;
        let mut found = self.inner.get_opts(path, options).await?;
        if head || fault == Fault::None {
            return Ok(found);
        }
        let (meta, range, attributes) = (
            found.meta.clone(),
            found.range.clone(),
            found.attributes.clone(),
        );
        let extensions = std::mem::take(&mut found.extensions);
        let mut bytes = found.bytes().await?.to_vec();
        match fault {
            Fault::Cut => bytes.truncate(bytes.len() / 2),
            _ => bytes[0] ^= 1,
        }
        let pieces = futures_util::stream::iter([Ok(Bytes::from(bytes))]);
        Ok(GetResult {
            payload: GetResultPayload::Stream(pieces.boxed()),
            meta,
            range,
            attributes,
            extensions,
        })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.next()?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[test]
fn files_are_created_once_and_read_whole() {
    let store = Arc::new(Faulty::default());
    let folder = store.with(&[]);
    assert_eq!(folder.read("a/b", 100).unwrap(), None);
    assert_eq!(folder.length("a/b").unwrap(), None);
    let first = Bytes::from_static(b"first");
    assert_eq!(folder.create("a/b", first).unwrap(), Created::New);
    let second = Bytes::from_static(b"second");
    assert_eq!(
        folder.create("a/b", second.clone()).unwrap(),
        Created::WasThere
    );
    assert_eq!(folder.read("a/b", 5).unwrap().unwrap(), b"first");
    assert_eq!(folder.length("a/b").unwrap(), Some(5));
    let error = folder.read("a/b", 4).unwrap_err().to_string();
    assert!(error.contains("s3://bucket/prefix/a/b"), "{error}");
    let (before, _) = folder.state("a/b").unwrap().unwrap();
    folder.replace("a/b", second).unwrap();
    assert_ne!(folder.state("a/b").unwrap().unwrap().0, before);
    assert_eq!(folder.read("a/b", 100).unwrap().unwrap(), b"second");
    assert_eq!(store.objects(), ["prefix/a/b"]);
    folder.create("c/d", Bytes::new()).unwrap();
    assert_eq!(folder.folders(10).unwrap(), ["a", "c"]);
    assert_eq!(folder.folders(1).unwrap().len(), 1);
}

#[test]
fn a_large_file_goes_up_in_parts() {
    let (store, disk) = (Arc::new(Faulty::default()), tempfile::tempdir().unwrap());
    let folder = store.with(&[Fault::Away]);
    let path = disk.path().join("weights");
    let bytes: Vec<u8> = (0..2 * PART + 5).map(|at| (at % 251) as u8).collect();
    std::fs::write(&path, &bytes).unwrap();
    folder.upload("weights", &path).unwrap();
    assert!(folder.read("weights", u64::MAX).unwrap().unwrap() == bytes);
}

#[test]
fn a_server_that_is_away_or_breaks_off_is_waited_for() {
    let store = Arc::new(Faulty::default());
    let bytes = vec![7; 100_000];
    let folder = store.with(&[Fault::Away, Fault::Away]);
    folder.create("a", bytes.clone().into()).unwrap();
    assert_eq!(store.asked(), 3);
    let folder = store.with(&[Fault::Cut, Fault::Away]);
    assert_eq!(folder.read("a", u64::MAX).unwrap().unwrap(), bytes);
    assert_eq!(store.asked(), 3);
    // For so long, and no longer; what it says then names the place and the reason.
    let mut folder = store.with(&[Fault::Away; 1_000]);
    folder.wait = Duration::from_millis(1);
    let error = folder.length("a").unwrap_err().to_string();
    for part in ["s3://bucket/prefix/a", "connection refused", "again"] {
        assert!(error.contains(part), "{error}");
    }
}

type Request = dyn Fn(&ObjectFolder) -> Option<ObjectError>;

#[test]
fn an_answer_is_not_asked_for_again() {
    let store = Arc::new(Faulty::default());
    for (fault, words) in [
        (
            Fault::Forbidden,
            ["AWS_SECRET_ACCESS_KEY", "SignatureDoesNotMatch"],
        ),
        (
            Fault::NoBucket,
            ["NoSuchBucket", "not made by this program"],
        ),
    ] {
        let requests: [&Request; 4] = [
            &|folder| folder.read("a", 10).err(),
            &|folder| folder.length("a").err(),
            &|folder| folder.create("a", Bytes::new()).err(),
            &|folder| folder.check_writable().err(),
        ];
        for request in requests {
            let error = request(&store.with(&[fault])).unwrap().to_string();
            assert_eq!(store.asked(), 1);
            for word in words.iter().chain(&["s3://bucket/prefix"]) {
                assert!(error.contains(word), "{error}");
            }
        }
    }
}
