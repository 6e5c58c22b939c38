use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::{LocalDispatcher, LocalQueue};
use crate::ids::Digest;
use crate::plan::{GangRank, Job, NumericProfile, Stage, Task, WorkerInfo};
use crate::queue::{
    Claim, Dispatch, Event, LeaseConfig, QueueError, QueueHandler, Renewal, Submission, Take,
    Verdict, WorkQueue, connect,
};

struct Yes;

impl QueueHandler for Yes {
    fn admit(&mut self, _worker: &WorkerInfo) -> Result<(), String> {
        Ok(())
    }

    fn commit(&mut self, _claim: Claim<'_>) -> Verdict {
        Verdict::Accept
    }

    fn notice(&mut self, _event: Event) {}
}

/// A dispatcher that serves on its own thread until dropped.
struct Served {
    queue: Arc<Mutex<LocalDispatcher>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    folder: tempfile::TempDir,
}

impl Served {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let queue = LocalDispatcher::listen(folder.path(), LeaseConfig::default()).unwrap();
        let queue = Arc::new(Mutex::new(queue));
        let stop = Arc::new(AtomicBool::new(false));
        let (served, stopped) = (Arc::clone(&queue), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let mut queue = served.lock().unwrap();
                queue.serve(&mut Yes, Duration::from_millis(2)).unwrap();
                drop(queue);
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Self {
            queue,
            stop,
            thread: Some(thread),
            folder,
        }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("queue.sock")
    }

    fn submit(&self, shard: u64) {
        let job = Job {
            stage: Stage::Train,
            plan: Digest::of(b"plan"),
            task: Task::Train(GangRank::alone(1)),
        };
        let submission = Submission::new(shard, job);
        self.queue.lock().unwrap().submit(vec![submission]).unwrap();
    }

    fn worker(&self) -> LocalQueue {
        let queue = LocalQueue::connect(&self.socket()).unwrap();
        queue.register(&info()).unwrap();
        queue
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(matches!(ended, Some(Ok(()))) || std::thread::panicking());
    }
}

fn info() -> WorkerInfo {
    WorkerInfo {
        worker: crate::instance::unique_instance_id(),
        host: "here".to_owned(),
        pid: 1,
        profile: NumericProfile {
            device: "cpu".to_owned(),
            libtorch: "2.11.0".to_owned(),
            cpu_capability: "AVX2".to_owned(),
            threads: 1,
        },
        memory_bytes: 8 << 30,
        version: "0.1.0".to_owned(),
        metrics: None,
    }
}

#[test]
fn socket_and_folder_are_private() {
    let served = Served::start();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(served.folder.path()), 0o700);
    assert_eq!(mode(&served.socket()), 0o600);
}

#[test]
fn a_path_too_long_for_a_socket_is_explained() {
    let folder = tempfile::tempdir().unwrap();
    let long = folder.path().join("x".repeat(100));
    let error = LocalDispatcher::listen(&long, LeaseConfig::default()).unwrap_err();
    assert!(error.to_string().contains("shorter than 108"), "{error}");
}

#[test]
fn a_waiting_take_gets_what_is_submitted_and_a_renewal_does_not_wait_for_it() {
    let served = Served::start();
    let worker = served.worker();
    served.submit(0);
    let Take::Leased(lease) = worker.take(Duration::from_secs(5)).unwrap() else {
        panic!("no work");
    };
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| worker.take(Duration::from_secs(30)).unwrap());
        std::thread::sleep(Duration::from_millis(50));
        let renewal = worker
            .renew(&lease.id, crate::queue::Progress::from(1))
            .unwrap();
        assert_eq!(renewal, Renewal::Held { cancel: false });
        assert!(!waiting.is_finished());
        served.submit(1);
        assert!(matches!(waiting.join().unwrap(), Take::Leased(lease) if lease.id.shard == 1));
    });
}

#[test]
fn a_take_without_work_ends_in_time() {
    let served = Served::start();
    let worker = served.worker();
    let asked = Instant::now();
    assert_eq!(worker.take(Duration::from_millis(50)).unwrap(), Take::Empty);
    assert!(asked.elapsed() >= Duration::from_millis(50));
}

#[test]
fn hostile_connections_are_closed_and_others_go_on() {
    let served = Served::start();
    let worker = served.worker();
    let mut oversized = b"AFPD\x01\0\x01\xff\xff\xff\xff\0\0\0\0".to_vec();
    oversized.resize(300, 7);
    let openings: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\nHost: queue\r\n\r\n",
        &[0; 64],
        &oversized,
    ];
    for bytes in openings {
        let mut stream = UnixStream::connect(served.socket()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        stream.write_all(bytes).unwrap();
        // Closed, whether or not all that was sent had been read.
        match stream.read(&mut [0; 8]) {
            Ok(count) => assert_eq!(count, 0),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset),
        }
    }
    assert_eq!(worker.take(Duration::ZERO).unwrap(), Take::Empty);
}

#[test]
fn takes_need_a_registration() {
    let served = Served::start();
    let worker = LocalQueue::connect(&served.socket()).unwrap();
    let refused = worker.take(Duration::ZERO);
    assert!(matches!(refused, Err(QueueError::Gone(_))), "{refused:?}");
}

#[test]
fn the_end_of_the_coordinator_is_noticed() {
    let served = Served::start();
    let address = served.queue.lock().unwrap().address();
    let worker = connect(&address, None).unwrap();
    worker.register(&info()).unwrap();
    drop(served);
    let gone = worker.take(Duration::from_secs(30));
    assert!(matches!(gone, Err(QueueError::Gone(_))), "{gone:?}");
    assert!(matches!(
        connect(&address, None),
        Err(QueueError::Unreachable { .. })
    ));
    assert!(matches!(
        connect("http://here", None),
        Err(QueueError::Address { .. })
    ));
}

#[test]
fn worker_names_are_unique() {
    assert_ne!(
        crate::instance::unique_instance_id(),
        crate::instance::unique_instance_id()
    );
}
