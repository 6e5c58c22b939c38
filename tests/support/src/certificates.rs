//! Certificates for tests of encrypted connections, made anew for each server: nothing expires, nothing is checked in.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// PEM files of one test server.
#[derive(Debug, Clone)]
pub struct Certificates {
    /// The authority that signed the server's certificate.
    pub authority: PathBuf,
    /// Another authority, which signed nothing: who trusts only this one must refuse the server.
    pub wrong_authority: PathBuf,
    /// The server's certificate, for `localhost` and 127.0.0.1.
    pub server: PathBuf,
    pub key: PathBuf,
}

impl Certificates {
    pub fn make(dir: &Path) -> Self {
        let (authority, issuer) = authority("the test authority");
        let (wrong_authority, _) = self::authority("another authority");
        let key = key();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let server = CertificateParams::new(names)
            .and_then(|params| params.signed_by(&key, &issuer))
            .unwrap_or_else(|e| panic!("server certificate: {e}"));
        let write = |name: &str, text: String| {
            let path = dir.join(name);
            std::fs::write(&path, text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            path
        };
        Self {
            authority: write("ca.pem", authority),
            wrong_authority: write("wrong-ca.pem", wrong_authority),
            server: write("server.pem", server.pem()),
            key: write("server.key", key.serialize_pem()),
        }
    }
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap_or_else(|e| panic!("key pair: {e}"))
}

/// A self-signed authority: its certificate as PEM, and what signs with it.
fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = key();
    let certificate = params
        .self_signed(&key)
        .unwrap_or_else(|e| panic!("{name}: {e}"));
    (certificate.pem(), Issuer::new(params, key))
}
