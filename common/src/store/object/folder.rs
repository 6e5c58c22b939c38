//! A folder of an object store, as files by name: read whole, created whole, never changed.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, WriteMultipart};

use super::client::{connect, runtime, wait_for};
use super::error::{Answer, ObjectError, Refusal, answer, reason};
use super::settings::ObjectSettings;
use super::url::ObjectUrl;
use crate::backoff::Backoff;
use crate::store::durable::DiskError;

/// Files above this go up in parts of this size, and a reader is at most a few parts behind.
const PART: usize = 8 << 20;
/// Parts on their way at once.
const PARTS: usize = 4;
/// Pieces of a download that wait to be written.
const PIECES: usize = 8;
/// A file that says nothing: whether it can be written is the question.
const CHECK: &str = "anofpdm-check";
/// A word on what is waited for, so often.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// The wait of the first request of a process.
const FIRST_WAIT: Duration = Duration::from_secs(20);

const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(15),
};

#[derive(Debug, Clone)]
pub struct ObjectFolder {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    url: ObjectUrl,
    wait: Duration,
}

/// Whether a file was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    New,
    /// One of that name was there; it was left as it is.
    WasThere,
}

type Outcome<T> = Result<T, object_store::Error>;

impl ObjectFolder {
    /// The folder at `url`; nothing is asked of the server yet.
    pub fn open(url: &ObjectUrl, settings: &ObjectSettings) -> Result<Self, ObjectError> {
        let (store, prefix) = connect(url)?;
        Ok(Self {
            store,
            prefix,
            url: url.clone(),
            wait: settings.wait,
        })
    }

    #[cfg(test)]
    pub(in crate::store) fn of(store: Arc<dyn ObjectStore>, url: &str, wait: Duration) -> Self {
        let url: ObjectUrl = url.parse().unwrap();
        Self {
            store,
            prefix: Path::from(url.url().path()),
            url,
            wait,
        }
    }

    pub const fn url(&self) -> &ObjectUrl {
        &self.url
    }

    /// Asks the server whether files can be created, so that what is wrong is told before anything is computed: leaves a
    /// small one.
    pub fn check_writable(&self) -> Result<(), ObjectError> {
        self.soon()
            .create(CHECK, Bytes::from_static(b"anofpdm"))
            .map(drop)
    }

    /// The same folder for the first request to it: a name that is wrong should be told soon.
    #[must_use]
    pub fn soon(&self) -> Self {
        Self {
            wait: self.wait.min(FIRST_WAIT),
            ..self.clone()
        }
    }

    /// Length of a file; `None` where there is none.
    pub fn length(&self, name: &str) -> Result<Option<u64>, ObjectError> {
        Ok(self.stat(name)?.map(|stat| stat.size))
    }

    /// What tells one state of a file from the next, and its length; `None` where there is none.
    pub fn state(&self, name: &str) -> Result<Option<(String, u64)>, ObjectError> {
        Ok(self.stat(name)?.map(|stat| {
            let tag = stat.e_tag.unwrap_or_default();
            (
                format!("{tag} {} {}", stat.last_modified, stat.size),
                stat.size,
            )
        }))
    }

    fn stat(&self, name: &str) -> Result<Option<object_store::ObjectMeta>, ObjectError> {
        let path = self.path(name);
        self.ask(name, move |store| {
            let path = path.clone();
            Box::pin(async move { store.head(&path).await })
        })
    }

    /// The bytes of a file of at most `limit` bytes; `None` where there is none.
    pub fn read(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>, ObjectError> {
        let mut bytes = Vec::new();
        let there = self.fetch(name, limit, &mut bytes, |bytes| {
            bytes.clear();
            Ok(())
        })?;
        Ok(there.then_some(bytes))
    }

    /// Writes the bytes of a file of at most `limit` bytes to `output` as they come; false where there is none. Where
    /// the connection breaks, `restart` empties `output`, and all come again.
    pub fn fetch<W: Write>(
        &self,
        name: &str,
        limit: u64,
        output: &mut W,
        mut restart: impl FnMut(&mut W) -> std::io::Result<()>,
    ) -> Result<bool, ObjectError> {
        let url = self.url.join(name);
        let failed = |error| {
            DiskError::new(
                "write a copy of",
                std::path::Path::new(&url.to_string()),
                error,
            )
        };
        let mut patience = self.patience(name);
        loop {
            match self.fetch_once(name, limit, output, &failed)? {
                Ok(()) => {
                    patience.answered();
                    return Ok(true);
                }
                Err(error) if answer(&error) == Answer::Absent => return Ok(false),
                Err(error) => patience.after(&error)?,
            }
            restart(output).map_err(&failed)?;
        }
    }

    fn fetch_once<W: Write>(
        &self,
        name: &str,
        limit: u64,
        output: &mut W,
        failed: &impl Fn(std::io::Error) -> DiskError,
    ) -> Result<Outcome<()>, ObjectError> {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<Outcome<Bytes>>(PIECES);
        let (store, path) = (Arc::clone(&self.store), self.path(name));
        runtime()?.spawn(async move {
            let found = match store.get(&path).await {
                Ok(found) => found,
                Err(error) => return drop(sender.send(Err(error)).await),
            };
            let length = found.meta.size;
            let mut read = 0;
            let mut pieces = found.into_stream();
            while let Some(piece) = pieces.next().await {
                read += piece.as_ref().map_or(0, |piece| piece.len() as u64);
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
            // An answer that ends early is none.
            if read != length {
                let source = format!("{read} of {length} bytes came").into();
                let store = "stream";
                drop(
                    sender
                        .send(Err(object_store::Error::Generic { store, source }))
                        .await,
                );
            }
        });
        let mut room = limit;
        while let Some(piece) = receiver.blocking_recv() {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => return Ok(Err(error)),
            };
            room = room
                .checked_sub(piece.len() as u64)
                .ok_or_else(|| ObjectError::TooLarge {
                    url: self.url.join(name).to_string(),
                    limit,
                })?;
            output.write_all(&piece).map_err(failed)?;
        }
        Ok(Ok(()))
    }

    /// Creates a file, unless one of that name is there.
    pub fn create(&self, name: &str, bytes: Bytes) -> Result<Created, ObjectError> {
        self.put(name, bytes, PutMode::Create)
    }

    /// Writes a file over one that is not what its name says.
    pub fn replace(&self, name: &str, bytes: Bytes) -> Result<(), ObjectError> {
        self.put(name, bytes, PutMode::Overwrite).map(drop)
    }

    fn put(&self, name: &str, bytes: Bytes, mode: PutMode) -> Result<Created, ObjectError> {
        let path = self.path(name);
        let put = self.ask(name, move |store| {
            let (path, payload, mode) =
                (path.clone(), PutPayload::from(bytes.clone()), mode.clone());
            Box::pin(async move {
                match store.put_opts(&path, payload, PutOptions::from(mode)).await {
                    Err(error) if answer(&error) == Answer::Exists => Ok(Created::WasThere),
                    Err(error) => Err(error),
                    Ok(_) => Ok(Created::New),
                }
            })
        })?;
        put.ok_or_else(|| self.no_place(name))
    }

    /// Copies the file at `source` up, in parts where it is large, over one of that name.
    pub fn upload(&self, name: &str, source: &std::path::Path) -> Result<(), ObjectError> {
        let failed = |error| DiskError::new("read", source, error);
        let length = std::fs::metadata(source).map_err(failed)?.len();
        if length <= PART as u64 {
            let bytes = std::fs::read(source).map_err(failed)?;
            return self.replace(name, bytes.into());
        }
        let (path, source) = (self.path(name), source.to_owned());
        let sent = self.ask(name, move |store| {
            let (path, source) = (path.clone(), source.clone());
            Box::pin(async move { send_parts(&*store, &path, &source).await })
        })?;
        sent.ok_or_else(|| self.no_place(name))
    }

    /// "Not found" is no answer to a file that is brought.
    fn no_place(&self, name: &str) -> ObjectError {
        let reason = "there is no such place to write to";
        ObjectError::refused(&self.url.join(name), Refusal::NoBucket, reason)
    }

    /// Names of the folders in this one, sorted; at most `most`.
    pub fn folders(&self, most: usize) -> Result<Vec<String>, ObjectError> {
        let prefix = self.prefix.clone();
        let listed = self.ask("", move |store| {
            let prefix = prefix.clone();
            Box::pin(async move { store.list_with_delimiter(Some(&prefix)).await })
        })?;
        let mut names: Vec<String> = listed
            .into_iter()
            .flat_map(|listed| listed.common_prefixes)
            .filter_map(|path| Some(path.filename()?.to_owned()))
            .take(most)
            .collect();
        names.sort_unstable();
        Ok(names)
    }

    fn path(&self, name: &str) -> Path {
        name.split('/')
            .filter(|part| !part.is_empty())
            .fold(self.prefix.clone(), |path, part| path.join(part))
    }

    /// The answer to a request; `None` where there is no such object. A server that is away is waited for.
    fn ask<T: Send + 'static>(
        &self,
        name: &str,
        request: impl Fn(Arc<dyn ObjectStore>) -> BoxFuture<'static, Outcome<T>>,
    ) -> Result<Option<T>, ObjectError> {
        let mut patience = self.patience(name);
        loop {
            match wait_for(request(Arc::clone(&self.store)))? {
                Ok(found) => {
                    patience.answered();
                    return Ok(Some(found));
                }
                Err(error) if answer(&error) == Answer::Absent => return Ok(None),
                Err(error) => patience.after(&error)?,
            }
        }
    }

    fn patience(&self, name: &str) -> Patience {
        Patience {
            url: self.url.join(name),
            wait: self.wait,
            since: None,
            failures: 0,
            said: None,
        }
    }
}

async fn send_parts(store: &dyn ObjectStore, path: &Path, source: &std::path::Path) -> Outcome<()> {
    let broken = |error: std::io::Error| object_store::Error::NotSupported {
        source: format!("{}: {error}", source.display()).into(),
    };
    let mut file = std::fs::File::open(source).map_err(broken)?;
    let mut upload = WriteMultipart::new_with_chunk_size(store.put_multipart(path).await?, PART);
    let mut part = vec![0; PART];
    loop {
        match std::io::Read::read(&mut file, &mut part) {
            Ok(0) => break,
            Ok(read) => {
                upload.wait_for_capacity(PARTS).await?;
                upload.write(&part[..read]);
            }
            Err(error) => {
                upload.abort().await?;
                return Err(broken(error));
            }
        }
    }
    upload.finish().await.map(drop)
}

/// How long a request is repeated, and what is said meanwhile.
struct Patience {
    url: ObjectUrl,
    wait: Duration,
    /// The first failure: a long transfer that breaks off is no server that was away as long.
    since: Option<Instant>,
    failures: u32,
    said: Option<Instant>,
}

impl Patience {
    /// Waits before the next try, unless the error is an answer or the time is over.
    fn after(&mut self, error: &object_store::Error) -> Result<(), ObjectError> {
        let reason = reason(error);
        match answer(error) {
            Answer::Later => {}
            Answer::Never(kind) => return Err(ObjectError::refused(&self.url, kind, reason)),
            Answer::Absent | Answer::Exists => {
                return Err(ObjectError::refused(&self.url, Refusal::Unable, reason));
            }
        }
        let waited = self.since.get_or_insert_with(Instant::now).elapsed();
        if waited >= self.wait {
            return Err(ObjectError::Away {
                url: self.url.to_string(),
                seconds: waited.as_secs(),
                reason,
            });
        }
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            tracing::warn!(
                "{} does not answer, waiting for it (up to {} s): {reason}",
                self.url,
                self.wait.as_secs()
            );
            self.said = Some(Instant::now());
        }
        self.failures += 1;
        let pause = BACKOFF.ceiling(self.failures).min(self.wait - waited);
        std::thread::sleep(pause);
        Ok(())
    }

    fn answered(&self) {
        if self.said.is_some() {
            tracing::info!(
                "{} answers again after {} s",
                self.url,
                self.since.map_or(0, |since| since.elapsed().as_secs())
            );
        }
    }
}

#[cfg(test)]
pub(in crate::store) mod tests;
