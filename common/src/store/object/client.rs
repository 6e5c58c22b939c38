//! Clients of the clouds, and the threads on which they run.

use std::env;
use std::future::Future;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::http::HttpBuilder;
use object_store::path::Path;
use object_store::{ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use tokio::runtime::Runtime;

use super::error::{ObjectError, Refusal, reason};
use super::url::ObjectUrl;

/// A connection that is not there by then is tried again.
const CONNECT: Duration = Duration::from_secs(5);
/// Silence in the middle of an answer that makes it one to be asked for again.
const SILENCE: Duration = Duration::from_secs(30);

/// The client tries again in silence for so long; longer waits are ours, with words.
const QUIET: Duration = Duration::from_secs(5);
const QUIET_TRIES: usize = 2;

/// Requests wait for servers on two threads, whoever asks.
static RUNTIME: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
    // A process has one provider of cryptography; whoever chose one before has chosen the same.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("objects")
        .enable_all()
        .build()
        .map_err(|error| error.to_string())
});

/// Runs `work` on the client's threads and waits for it: possible from any thread.
pub(super) fn wait_for<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> Result<T, ObjectError> {
    let (sender, receiver) = sync_channel(1);
    runtime()?.spawn(async move {
        // Whoever waits is there until the answer comes.
        drop(sender.send(work.await));
    });
    receiver
        .recv()
        .map_err(|_| ObjectError::Client("a request ended without an answer".to_owned()))
}

pub(super) fn runtime() -> Result<&'static Runtime, ObjectError> {
    RUNTIME
        .as_ref()
        .map_err(|reason| ObjectError::Client(reason.clone()))
}

/// The client of the cloud that `url` names, with the credentials of the environment, and the path below its bucket.
pub(super) fn connect(url: &ObjectUrl) -> Result<(Arc<dyn ObjectStore>, Path), ObjectError> {
    // First, for its provider of cryptography.
    runtime()?;
    let refused =
        |error: &object_store::Error| ObjectError::refused(url, Refusal::Unable, reason(error));
    let (scheme, path) = ObjectStoreScheme::parse(url.url())
        .map_err(object_store::Error::from)
        .map_err(|error| refused(&error))?;
    let options = ClientOptions::new()
        // Whoever writes http:// means it; requests are signed, and hold no secret.
        .with_allow_http(true)
        .with_connect_timeout(CONNECT)
        .with_read_timeout(SILENCE)
        // The time of a whole file depends on its length.
        .with_timeout_disabled();
    let retry = RetryConfig {
        max_retries: QUIET_TRIES,
        retry_timeout: QUIET,
        ..RetryConfig::default()
    };
    let address = url.url().to_string();
    // All that the environment says of that cloud, also what roles and tokens are read from: `new` alone knows none.
    macro_rules! client {
        ($builder:ty) => {{
            let mut builder = <$builder>::new()
                .with_url(address)
                .with_client_options(options)
                .with_retry(retry);
            for (name, value) in env::vars_os() {
                let (Some(name), Ok(value)) = (name.to_str(), value.into_string()) else {
                    continue;
                };
                let name = name.to_ascii_lowercase();
                let of_cloud = ["aws_", "azure_", "google_"]
                    .iter()
                    .any(|cloud| name.starts_with(cloud));
                if let (true, Ok(key)) = (of_cloud, name.parse()) {
                    builder = builder.with_config(key, value);
                }
            }
            builder
                .build()
                .map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
        }};
    }
    let store = match scheme {
        ObjectStoreScheme::AmazonS3 => client!(AmazonS3Builder),
        ObjectStoreScheme::GoogleCloudStorage => client!(GoogleCloudStorageBuilder),
        ObjectStoreScheme::MicrosoftAzure => client!(MicrosoftAzureBuilder),
        _ => HttpBuilder::new()
            .with_url(&url.url()[..::url::Position::BeforePath])
            .with_client_options(options)
            .with_retry(retry)
            .build()
            .map(|store| Arc::new(store) as Arc<dyn ObjectStore>),
    };
    // Where settings contradict each other or name no file.
    let store = store.map_err(|error| refused(&error))?;
    Ok((store, path))
}
