//! A TCP proxy in front of a server, with the failings of a network: cut, refused, slow, frozen, answers lost.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anofpdm_common::random::{Domain, Stream};

/// How often waiting threads look whether something changed.
const TICK: Duration = Duration::from_millis(5);

/// Bytes forwarded at a time.
const CHUNK: usize = 16 << 10;

/// What the network does for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Weather {
    /// Everything passes.
    Fair,
    /// Connections end as soon as they are made.
    Refuse,
    /// Each chunk waits up to this long.
    Delay(Duration),
    /// Nothing moves; what was sent arrives later.
    Freeze,
    /// Requests arrive, answers do not; at the end all connections are cut. So the server has done what its client believes
    /// undone.
    LoseAnswers,
}

/// A listening proxy; it ends, and cuts everything, when dropped.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    target: u16,
    seed: u64,
    stopped: AtomicBool,
    connections: AtomicU64,
    weather: Mutex<(Weather, Instant)>,
    open: Mutex<Vec<(u64, TcpStream, TcpStream)>>,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to port `target`. Delays are drawn from `seed`.
    pub fn start(target: u16, seed: u64) -> io::Result<Self> {
        // The system chooses: between a look for a free port and its use somebody else may take it.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        listener.set_nonblocking(true)?;
        let state = Arc::new(State {
            target,
            seed,
            stopped: AtomicBool::new(false),
            connections: AtomicU64::new(0),
            weather: Mutex::new((Weather::Fair, Instant::now())),
            open: Mutex::new(Vec::new()),
        });
        let accepting = Arc::clone(&state);
        std::thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || accept(&listener, &accepting))?;
        Ok(Self { port, state })
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Ends all connections, in the middle of whatever they carry.
    pub fn cut(&self) {
        self.state.cut();
    }

    /// Changes the weather for a while; afterwards it is fair again.
    pub fn set(&self, weather: Weather, duration: Duration) {
        *lock(&self.state.weather) = (weather, Instant::now() + duration);
        if weather == Weather::Refuse {
            self.cut();
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::Relaxed);
        self.state.cut();
    }
}

impl State {
    fn weather(&self) -> Weather {
        let mut weather = lock(&self.weather);
        if weather.0 != Weather::Fair && Instant::now() >= weather.1 {
            let past = std::mem::replace(&mut weather.0, Weather::Fair);
            drop(weather);
            if past == Weather::LoseAnswers {
                self.cut();
            }
            return Weather::Fair;
        }
        weather.0
    }

    fn cut(&self) {
        for (_, client, server) in lock(&self.open).drain(..) {
            for stream in [client, server] {
                // It may have ended by itself.
                stream.shutdown(Shutdown::Both).ok();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while !state.stopped.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((client, _)) if state.weather() != Weather::Refuse => {
                // Without a server the client sees its connection end.
                connect(client, state).ok();
            }
            Ok(_) => {}
            Err(_) => std::thread::sleep(TICK),
        }
        // Also ends a time of lost answers when nobody talks.
        state.weather();
    }
}

/// Two threads carry a connection, one each way.
fn connect(client: TcpStream, state: &Arc<State>) -> io::Result<()> {
    let server = TcpStream::connect((Ipv4Addr::LOCALHOST, state.target))?;
    let number = state.connections.fetch_add(1, Ordering::Relaxed);
    for stream in [&client, &server] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
    }
    lock(&state.open).push((number, client.try_clone()?, server.try_clone()?));
    let ways = [
        (client.try_clone()?, server.try_clone()?, Way::Requests),
        (server, client, Way::Answers),
    ];
    for (from, to, way) in ways {
        let state = Arc::clone(state);
        std::thread::Builder::new()
            .name(format!("proxy-{number}"))
            .spawn(move || {
                // An ended connection is what this is for.
                forward(&from, &to, way, number, &state).ok();
                for stream in [from, to] {
                    stream.shutdown(Shutdown::Both).ok();
                }
                lock(&state.open).retain(|(open, _, _)| *open != number);
            })?;
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Requests,
    Answers,
}

fn forward(
    mut from: &TcpStream,
    mut to: &TcpStream,
    way: Way,
    number: u64,
    state: &State,
) -> io::Result<()> {
    let mut stream = Stream::new(state.seed, Domain::Chaos, number, way as u64);
    let mut chunk = vec![0; CHUNK];
    loop {
        let length = from.read(&mut chunk)?;
        if length == 0 {
            return Ok(());
        }
        let mut weather = state.weather();
        if let Weather::Delay(longest) = weather {
            std::thread::sleep(longest.mul_f64(stream.uniform()));
        }
        while weather == Weather::Freeze && !state.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(TICK);
            weather = state.weather();
        }
        if weather == Weather::LoseAnswers && way == Way::Answers {
            continue;
        }
        to.write_all(chunk.get(..length).unwrap_or_default())?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends everything back.
    fn echo() -> u16 {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || io::copy(&mut &stream, &mut &stream).ok());
            }
        });
        port
    }

    fn client(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, proxy.port())).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(10)))
            .unwrap();
        stream
    }

    fn asks(mut stream: &TcpStream, text: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(text)?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer)?;
        Ok(answer)
    }

    #[test]
    fn carries_everything_in_fair_weather_and_nothing_after_a_cut() {
        let proxy = Proxy::start(echo(), 0).unwrap();
        let stream = client(&proxy);
        let long: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        assert_eq!(asks(&stream, &long).unwrap(), long);
        proxy.cut();
        assert!(asks(&stream, b"more").is_err());
        assert_eq!(asks(&client(&proxy), b"again").unwrap(), b"again");
    }

    #[test]
    fn refuses_for_a_while() {
        let proxy = Proxy::start(echo(), 0).unwrap();
        // For longer than any machine takes over the next line.
        proxy.set(Weather::Refuse, Duration::from_secs(3_600));
        assert!(asks(&client(&proxy), b"no").is_err());
        let started = Instant::now();
        proxy.set(Weather::Refuse, Duration::from_millis(200));
        while asks(&client(&proxy), b"yes").is_err() {
            assert!(started.elapsed() < Duration::from_secs(60));
        }
        assert!(started.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn freezes_and_delivers_later() {
        let proxy = Proxy::start(echo(), 0).unwrap();
        let stream = client(&proxy);
        let started = Instant::now();
        proxy.set(Weather::Freeze, Duration::from_millis(200));
        assert_eq!(asks(&stream, b"late").unwrap(), b"late");
        assert!(started.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn loses_answers_to_requests_that_arrived() {
        let proxy = Proxy::start(echo(), 0).unwrap();
        let stream = client(&proxy);
        assert_eq!(asks(&stream, b"open").unwrap(), b"open");
        // The request must be on its way before that is over.
        proxy.set(Weather::LoseAnswers, Duration::from_secs(2));
        let unanswered = asks(&stream, b"lost").unwrap_err();
        assert_ne!(
            unanswered.kind(),
            io::ErrorKind::WouldBlock,
            "cut, not silent"
        );
        assert_eq!(asks(&client(&proxy), b"back").unwrap(), b"back");
    }
}
