//! Where a Redis server is and how to get in: address, user, secret, certificate authority.

use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates};

use crate::queue::{QueueError, without_secret};

/// Environment variable with the password.
pub const PASSWORD_VARIABLE: &str = "ANOFPDM_REDIS_PASSWORD";

/// Environment variable naming a file with the password.
pub const PASSWORD_FILE_VARIABLE: &str = "ANOFPDM_REDIS_PASSWORD_FILE";

/// Environment variable naming a PEM file: the certificate authority of a `rediss://` server.
pub const CA_VARIABLE: &str = "ANOFPDM_REDIS_CA";

/// What lets a program in: its secret, and whom it trusts. The secret is never shown.
#[derive(Clone, Default)]
pub struct Credentials {
    password: Option<String>,
    /// PEM file.
    authority: Option<PathBuf>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("password", &self.password.as_ref().map(|_| "(secret)"))
            .field("authority", &self.authority)
            .finish()
    }
}

impl Credentials {
    /// A password.
    pub fn with_password(password: impl Into<String>) -> Self {
        Self {
            password: Some(password.into()),
            authority: None,
        }
    }

    /// The same, trusting the certificate authority in this PEM file and no other.
    #[must_use]
    pub fn trusting(mut self, authority: impl Into<PathBuf>) -> Self {
        self.authority = Some(authority.into());
        self
    }

    /// What [`PASSWORD_VARIABLE`], [`PASSWORD_FILE_VARIABLE`] and [`CA_VARIABLE`] say.
    ///
    /// # Errors
    /// [`QueueError::Settings`] for a password file that cannot be read.
    pub fn from_environment() -> Result<Self, QueueError> {
        Ok(Self {
            password: password()?,
            authority: std::env::var_os(CA_VARIABLE).map(PathBuf::from),
        })
    }
}

/// Host and port in the address of a server.
pub fn place_of(url: &str) -> Option<(String, u16)> {
    match url.into_connection_info().ok()?.addr() {
        ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. } => {
            Some((host.clone(), *port))
        }
        _ => None,
    }
}

/// A server and the right to use it. The secret is never shown.
#[derive(Clone)]
pub struct Endpoint {
    client: Client,
    /// `redis://user@host:port/db`, without secret.
    shown: String,
    user: String,
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.shown).finish()
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl Endpoint {
    /// Reads `redis://[USER@]HOST[:PORT][/DB]` or `rediss://…`; secret and certificate authority come from the
    /// environment. Connects to nothing.
    ///
    /// # Errors
    /// [`QueueError::Address`] for something else, [`QueueError::Settings`] for a password in the address or a
    /// file that cannot be read.
    pub fn from_url(url: &str) -> Result<Self, QueueError> {
        Self::new(url, &Credentials::from_environment()?)
    }

    /// As [`Self::from_url`], with other credentials than the environment's.
    ///
    /// # Errors
    /// As [`Self::from_url`].
    pub fn new(url: &str, credentials: &Credentials) -> Result<Self, QueueError> {
        let settings = |text: String| QueueError::Settings(text);
        let info = url
            .into_connection_info()
            .map_err(|_| QueueError::Address(without_secret(url)))?;
        if info.redis_settings().password().is_some() {
            return Err(settings(format!(
                "the address of the queue holds a password, which everybody on this machine could read: write {} and put the password into {PASSWORD_VARIABLE}, or name a file with it in {PASSWORD_FILE_VARIABLE}",
                without_secret(url)
            )));
        }
        let user = info
            .redis_settings()
            .username()
            .unwrap_or("default")
            .to_owned();
        let tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        let redis = info.redis_settings().clone().set_skip_set_lib_name();
        let info = info.set_redis_settings(match &credentials.password {
            Some(password) => redis.set_password(password),
            None => redis,
        });
        let client = if tls {
            tls_client(info, credentials.authority.as_deref())
        } else {
            Client::open(info)
        };
        Ok(Self {
            client: client
                .map_err(|error| settings(format!("{}: {error}", without_secret(url))))?,
            shown: without_secret(url),
            user,
        })
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    /// Who this is to the server.
    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

fn tls_client(info: ConnectionInfo, authority: Option<&Path>) -> redis::RedisResult<Client> {
    // The first caller installs it; a later one finds it there, which is as good.
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        tracing::trace!("a TLS provider is installed already");
    }
    let root_cert = authority.map(certificates).transpose()?;
    Client::build_with_tls(
        info,
        TlsCertificates {
            client_tls: None,
            root_cert,
        },
    )
}

/// The bytes of a PEM file with at least one certificate.
fn certificates(path: &Path) -> std::io::Result<Vec<u8>> {
    let wrong = |kind, what: String| {
        std::io::Error::new(kind, format!("{CA_VARIABLE} {}: {what}", path.display()))
    };
    let bytes = std::fs::read(path).map_err(|error| wrong(error.kind(), error.to_string()))?;
    if CertificateDer::pem_slice_iter(&bytes).next().is_none() {
        let what = "no certificate in PEM form is in this file".to_owned();
        return Err(wrong(std::io::ErrorKind::InvalidData, what));
    }
    Ok(bytes)
}

fn password() -> Result<Option<String>, QueueError> {
    if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        return Ok(Some(password));
    }
    let Some(path) = std::env::var_os(PASSWORD_FILE_VARIABLE).map(PathBuf::from) else {
        return Ok(None);
    };
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim_end_matches(['\r', '\n']).to_owned())),
        Err(error) => Err(QueueError::Settings(format!(
            "{PASSWORD_FILE_VARIABLE} {}: {error}",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        let error = Endpoint::from_url("redis://coord:s3cret@here:7000/1").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("redis://coord@here:7000/1"), "{text}");
        assert!(text.contains(PASSWORD_VARIABLE), "{text}");
        assert_eq!(without_secret("redis://:p@h/0"), "redis://h/0");
        assert_eq!(without_secret("redis://u:p@q@h/0"), "redis://u@h/0");
        assert_eq!(without_secret("u:p@h"), "u@h");
    }

    #[test]
    fn addresses() {
        let endpoint = Endpoint::from_url("redis://worker@127.0.0.1:7000").unwrap();
        assert_eq!(endpoint.user(), "worker");
        assert_eq!(endpoint.to_string(), "redis://worker@127.0.0.1:7000");
        assert_eq!(Endpoint::from_url("redis://h").unwrap().user(), "default");
        Endpoint::from_url("rediss://h:6380").unwrap();
        assert!(matches!(
            Endpoint::from_url("http://h"),
            Err(QueueError::Address(_))
        ));
    }
}
