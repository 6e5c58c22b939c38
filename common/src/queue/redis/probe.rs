//! What a port that does not answer as it should speaks instead: asked once, to say it in words.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

/// Longest wait for a connection and for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// First bytes of TLS records: an alert, a handshake.
const TLS_RECORDS: [u8; 2] = [0x15, 0x16];

/// True when a server without encryption answers there.
pub(super) fn speaks_plainly(host: &str, port: u16) -> bool {
    // "+PONG", or an error: "-NOAUTH …", "-DENIED …".
    matches!(first_byte(host, port, b"PING\r\n"), Some(b'+' | b'-'))
}

/// True when a server that takes encrypted connections answers there.
pub(super) fn speaks_tls(host: &str, port: u16) -> bool {
    opening(host)
        .and_then(|opening| first_byte(host, port, &opening))
        .is_some_and(|byte| TLS_RECORDS.contains(&byte))
}

/// The first message of a TLS connection. Nothing secret is ever sent over it.
fn opening(host: &str) -> Option<Vec<u8>> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes).ok()?;
    Some(bytes)
}

fn first_byte(host: &str, port: u16, question: &[u8]) -> Option<u8> {
    let address = (host, port).to_socket_addrs().ok()?.next()?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    stream.set_write_timeout(Some(PATIENCE)).ok()?;
    stream.write_all(question).ok()?;
    let mut answer = [0];
    stream.read_exact(&mut answer).ok()?;
    Some(answer[0])
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A port at which one connection is answered with these bytes, once something was said.
    fn answering(answer: &'static [u8]) -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut question = [0; 6];
            stream.read_exact(&mut question).unwrap();
            stream.write_all(answer).unwrap();
        });
        port
    }

    #[test]
    fn the_first_byte_tells() {
        for (answer, plain, tls) in [
            (&b"+PONG\r\n"[..], true, false),
            (b"-NOAUTH Authentication required.\r\n", true, false),
            (b"\x15\x03\x03\x00\x02\x02\x46", false, true),
            (b"\x16\x03\x03\x00\x7a", false, true),
            (b"HTTP/1.1 400 Bad Request\r\n", false, false),
            (b"", false, false),
        ] {
            assert_eq!(speaks_plainly("127.0.0.1", answering(answer)), plain);
            assert_eq!(speaks_tls("127.0.0.1", answering(answer)), tls);
        }
        // Nobody there.
        assert!(!speaks_plainly("127.0.0.1", 1) && !speaks_tls("127.0.0.1", 1));
    }
}
