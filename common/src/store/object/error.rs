//! What an object store may answer, and what to do about it.

use object_store::Error;

use super::ObjectUrl;
use super::settings::SettingsError;
use crate::error_text::error_text;
use crate::store::durable::DiskError;

#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    #[error("{url}: {reason}{}", cure(*kind))]
    Refused {
        url: String,
        kind: Refusal,
        reason: String,
    },
    #[error(
        "{url} did not answer for {seconds} s: {reason}; when it is there again, run the same command again: nothing is lost"
    )]
    Away {
        url: String,
        seconds: u64,
        reason: String,
    },
    #[error("{url} has more than {limit} bytes, which no such file has")]
    TooLarge { url: String, limit: u64 },
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("cannot start the client of object stores: {0}")]
    Client(String),
}

/// Why a server says no.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It does not know the credentials.
    Credentials,
    /// No credentials were found in the environment.
    NoCredentials,
    Forbidden,
    NoBucket,
    /// It cannot do what is asked, whoever asks.
    Unable,
}

fn cure(kind: Refusal) -> &'static str {
    match kind {
        Refusal::Credentials | Refusal::NoCredentials => {
            "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (GOOGLE_APPLICATION_CREDENTIALS, AZURE_STORAGE_…) in the environment of this process; a profile is exported by `aws configure export-credentials --format env` (docs/fleet.md)"
        }
        Refusal::Forbidden => {
            "; check the key, and that it may read, write and list below that address (docs/fleet.md)"
        }
        Refusal::NoBucket => {
            "; check its name, region (AWS_REGION) and server (AWS_ENDPOINT_URL); it is not made by this program"
        }
        Refusal::Unable => "",
    }
}

/// What to do after an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is no such object.
    Absent,
    /// There is one already.
    Exists,
    /// Another time it may be different.
    Later,
    Never(Refusal),
}

pub(super) fn answer(error: &Error) -> Answer {
    let text = error_text(error);
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    // Servers answer 404 for both; only the text tells them apart.
    if says(&["NoSuchBucket", "ContainerNotFound", "bucket does not exist"]) {
        return Answer::Never(Refusal::NoBucket);
    }
    if says(&[
        "SignatureDoesNotMatch",
        "InvalidAccessKeyId",
        "InvalidSecurity",
        "ExpiredToken",
    ]) {
        return Answer::Never(Refusal::Credentials);
    }
    // Without anything else the client asks the machine's own cloud, which a machine outside of one does not have.
    if says(&[
        "169.254.169.254",
        "metadata.google.internal",
        "MissingCredential",
    ]) {
        return Answer::Never(Refusal::NoCredentials);
    }
    match error {
        Error::NotFound { .. } => Answer::Absent,
        Error::AlreadyExists { .. } => Answer::Exists,
        Error::Unauthenticated { .. } => Answer::Never(Refusal::Credentials),
        Error::PermissionDenied { .. } => Answer::Never(Refusal::Forbidden),
        Error::InvalidPath { .. }
        | Error::NotSupported { .. }
        | Error::NotImplemented { .. }
        | Error::UnknownConfigurationKey { .. } => Answer::Never(Refusal::Unable),
        // Changed while it was read.
        Error::Precondition { .. } | Error::NotModified { .. } => Answer::Later,
        _ if says(&[
            "405 Method Not Allowed",
            "501 Not Implemented",
            "400 Bad Request",
        ]) =>
        {
            Answer::Never(Refusal::Unable)
        }
        _ => Answer::Later,
    }
}

/// The words of the server without the client's frame around them, in one line.
pub(super) fn reason(error: &Error) -> String {
    const LONGEST: usize = 400;
    let text = error_text(error);
    let mut words: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if let Some((end, _)) = words.char_indices().nth(LONGEST) {
        words.truncate(end);
        words.push('…');
    }
    words
}

impl ObjectError {
    pub(super) fn refused(url: &ObjectUrl, kind: Refusal, reason: impl Into<String>) -> Self {
        Self::Refused {
            url: url.to_string(),
            kind,
            reason: reason.into(),
        }
    }
}
