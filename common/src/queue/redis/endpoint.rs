//! Where a Redis server is and how to get in: address, user, secret, certificate authority.

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use redis::{Client, ConnectionInfo, IntoConnectionInfo, ProtocolVersion, TlsCertificates};

use crate::queue::address::RedisAddress;
use crate::queue::address::without_secret;
use crate::queue::error::QueueError;

pub const PASSWORD_VARIABLE: &str = "ANOFPDM_REDIS_PASSWORD";

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

    /// What [`PASSWORD_VARIABLE`], [`PASSWORD_FILE_VARIABLE`] and [`CA_VARIABLE`] say; an empty one says nothing.
    ///
    /// # Errors
    /// [`QueueError::Settings`] for a password that is no text, or a file with it that cannot be read or is empty.
    pub fn from_environment() -> Result<Self, QueueError> {
        Self::from_variables(|name| std::env::var_os(name))
    }

    fn from_variables(read: impl Fn(&str) -> Option<OsString>) -> Result<Self, QueueError> {
        let read = |name| read(name).filter(|value| !value.is_empty());
        let password =
            match (read(PASSWORD_VARIABLE), read(PASSWORD_FILE_VARIABLE)) {
                (Some(password), _) => Some(password.into_string().map_err(|_| {
                    QueueError::Settings(format!("{PASSWORD_VARIABLE} is not UTF-8"))
                })?),
                (None, Some(path)) => Some(password_in(Path::new(&path))?),
                (None, None) => None,
            };
        Ok(Self {
            password,
            authority: read(CA_VARIABLE).map(PathBuf::from),
        })
    }
}

/// A server and the right to use it. The secret is never shown.
#[derive(Clone)]
pub struct RedisEndpoint {
    client: Client,
    /// `redis://user@host:port/db`, without secret.
    shown: String,
    user: String,
    address: RedisAddress,
}

impl fmt::Debug for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisEndpoint").field(&self.shown).finish()
    }
}

impl fmt::Display for RedisEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl RedisEndpoint {
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
    pub fn new(url: &str, credentials: &Credentials) -> Result<Self, QueueError> {
        let settings = |text: String| QueueError::Settings(text);
        let address = RedisAddress::parse(url)?;
        let info = url
            .into_connection_info()
            .map_err(|error| QueueError::Address {
                shown: without_secret(url),
                reason: error.to_string(),
            })?;
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
        let redis = info.redis_settings().clone().set_skip_set_lib_name();
        // Answers have other types in the third version.
        let redis = redis.set_protocol(ProtocolVersion::RESP2);
        let info = info.set_redis_settings(match &credentials.password {
            Some(password) => redis.set_password(password),
            None => redis,
        });
        let client = if address.tls {
            tls_client(info, credentials.authority.as_deref())
        } else {
            Client::open(info)
        };
        Ok(Self {
            client: client
                .map_err(|error| settings(format!("{}: {error}", without_secret(url))))?,
            shown: without_secret(url),
            user,
            address,
        })
    }

    pub(super) const fn client(&self) -> &Client {
        &self.client
    }

    pub(super) const fn address(&self) -> &RedisAddress {
        &self.address
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

fn password_in(path: &Path) -> Result<String, QueueError> {
    let wrong = |what: &dyn fmt::Display| {
        QueueError::Settings(format!(
            "{PASSWORD_FILE_VARIABLE} {}: {what}",
            path.display()
        ))
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(&error))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(wrong(&"the file is empty")),
        password => Ok(password.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_the_address_is_refused_and_not_repeated() {
        let error = RedisEndpoint::from_url("redis://coord:s3cret@here:7000/1").unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("s3cret"), "{text}");
        assert!(text.contains("redis://coord@here:7000/1"), "{text}");
        assert!(text.contains(PASSWORD_VARIABLE), "{text}");
    }

    #[test]
    fn addresses() {
        let endpoint = RedisEndpoint::from_url("redis://worker@127.0.0.1:7000").unwrap();
        assert_eq!(endpoint.user(), "worker");
        assert_eq!(endpoint.to_string(), "redis://worker@127.0.0.1:7000");
        assert_eq!(
            RedisEndpoint::from_url("redis://h").unwrap().user(),
            "default"
        );
        RedisEndpoint::from_url("rediss://h:6380").unwrap();
        for wrong in [
            "http://h",
            "unix:///redis.sock",
            "redis://h?protocol=resp3",
            "local",
        ] {
            assert!(
                matches!(
                    RedisEndpoint::from_url(wrong),
                    Err(QueueError::Address { .. })
                ),
                "{wrong}"
            );
        }
    }

    #[test]
    fn an_empty_variable_says_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        std::fs::write(&file, "of the file\n").unwrap();
        let read = |password: &str, named: &Path, authority: &str| {
            Credentials::from_variables(|name| {
                Some(match name {
                    PASSWORD_VARIABLE => password.into(),
                    PASSWORD_FILE_VARIABLE => named.into(),
                    _ => authority.into(),
                })
            })
        };
        let none = read("", Path::new(""), "").unwrap();
        assert_eq!((none.password, none.authority), (None, None));
        let given = read("given", &file, "ca.pem").unwrap();
        assert_eq!(given.password.as_deref(), Some("given"));
        assert_eq!(given.authority.as_deref(), Some(Path::new("ca.pem")));
        let filed = read("", &file, "").unwrap();
        assert_eq!(filed.password.as_deref(), Some("of the file"));
        std::fs::write(&file, "\n").unwrap();
        let text = read("", &file, "").unwrap_err().to_string();
        assert!(text.ends_with("password: the file is empty"), "{text}");
    }
}
