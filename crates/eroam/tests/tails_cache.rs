//! A holder's tails files against servers that are gone, wrong or without end, and disks that lose bits.

use axum::Router;
use axum::extract::{Path as InPath, State};
use axum::http::StatusCode;
use axum::routing::get;
use eroam::server::Server;
use eroam::tails_cache::{TailsCache, TailsCacheError};
use eroam_ssi::anoncreds::issuer::{self, NewRegistry};
use eroam_ssi::anoncreds::{CredentialDefinition, ObjectId, RevocationRegistryDefinition};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;

const SIZE: u32 = 4;
/// The version, and a point of 128 bytes for each of 0 to twice the size.
const BYTES: usize = 2 + 128 * 9;
const ROOM: u64 = 1 << 20;
const HOUR: Duration = Duration::from_secs(3600);

/// What a server has, by path, and what it was asked for.
#[derive(Clone, Default)]
struct Shelf {
    files: Arc<Mutex<HashMap<String, Vec<u8>>>>,
    asked: Arc<Mutex<Vec<String>>>,
    /// So many requests must be under way before any is answered.
    together: Option<Arc<tokio::sync::Barrier>>,
}

async fn serve(State(shelf): State<Shelf>, InPath(name): InPath<String>) -> Result<Vec<u8>, StatusCode> {
    shelf.asked.lock().unwrap().push(name.clone());
    if let Some(together) = &shelf.together {
        together.wait().await;
    }
    shelf.files.lock().unwrap().get(&name).cloned().ok_or(StatusCode::NOT_FOUND)
}

struct Host {
    shelf: Shelf,
    server: Server,
}

impl Host {
    fn start() -> Self {
        Self::with(Shelf::default())
    }

    fn with(shelf: Shelf) -> Self {
        let router = Router::new().route("/{name}", get(serve)).with_state(shelf.clone());
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let server = Server::start("tails", address, router, Duration::ZERO).unwrap();
        Self { shelf, server }
    }

    fn location(&self, name: &str) -> String {
        format!("http://{}/{name}", self.server.address())
    }

    /// A new registry whose file lies here.
    fn publish(&self, name: &str) -> (RevocationRegistryDefinition, Vec<u8>) {
        let (registry, tails) = registry(self.location(name));
        self.put(name, &tails);
        (registry, tails)
    }

    fn put(&self, name: &str, bytes: &[u8]) {
        self.shelf.files.lock().unwrap().insert(name.to_owned(), bytes.to_vec());
    }

    fn asked(&self) -> usize {
        self.shelf.asked.lock().unwrap().len()
    }
}

fn registry(tails_location: String) -> (RevocationRegistryDefinition, Vec<u8>) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../ssi/tests/vectors/anoncreds/driver/definition.json");
    let definition = CredentialDefinition::from_json(&fs::read(path).unwrap()).unwrap();
    let new = NewRegistry {
        issuer_id: definition.issuer_id().clone(),
        cred_def_id: ObjectId::new("did:eroam:test/definition").unwrap(),
        tag: "1".to_owned(),
        size: SIZE,
        tails_location,
    };
    let mut tails = Vec::new();
    let (registry, _) = issuer::new_registry(&definition, new, &mut tails).unwrap();
    assert_eq!(tails.len(), BYTES);
    (registry, tails)
}

fn cache(directory: &TempDir) -> TailsCache {
    TailsCache::open(directory.path(), ROOM).unwrap()
}

fn place(directory: &TempDir, registry: &RevocationRegistryDefinition) -> PathBuf {
    directory.path().join(registry.tails_hash())
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = fs::read_dir(directory.path()).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn make_older(path: &Path, by: Duration) {
    let file = File::options().append(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

#[test]
fn what_was_fetched_once_needs_no_server() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let (registry, tails) = host.publish("a");
    assert_eq!(cache(&directory).tails(&registry).unwrap().as_bytes(), tails);
    assert_eq!(names(&directory), [registry.tails_hash()]);
    host.server.stop();
    // Another process, later.
    assert_eq!(cache(&directory).tails(&registry).unwrap().as_bytes(), tails);
}

#[test]
fn one_wrong_bit_from_the_server_is_refused_and_nothing_is_kept() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let (registry, tails) = host.publish("a");
    let cache = cache(&directory);
    for place in [2, BYTES / 2, BYTES - 1] {
        let mut wrong = tails.clone();
        wrong[place] ^= 1;
        host.put("a", &wrong);
        let refused = cache.tails(&registry).unwrap_err();
        assert!(matches!(refused, TailsCacheError::NotTheFile { .. }), "{place}: {refused:?}");
        assert!(names(&directory).is_empty(), "{place}: {:?}", names(&directory));
    }
    host.put("a", &tails[..BYTES - 1]);
    let refused = cache.tails(&registry).unwrap_err();
    assert!(matches!(refused, TailsCacheError::NotTheFile { .. }), "{refused:?}");
    // The server is right again.
    host.put("a", &tails);
    assert_eq!(cache.tails(&registry).unwrap().as_bytes(), tails);
}

#[test]
fn a_damaged_file_is_fetched_again() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let (registry, tails) = host.publish("a");
    let (cache, kept) = (cache(&directory), place(&directory, &registry));
    cache.tails(&registry).unwrap();
    let mut bit = tails.clone();
    bit[BYTES / 2] ^= 1;
    let longer = [&tails[..], b"x"].concat();
    for (damaged, asked) in [(&bit[..], 2), (&tails[..BYTES / 2], 3), (&longer[..], 4), (b"", 5)] {
        fs::write(&kept, damaged).unwrap();
        assert_eq!(cache.tails(&registry).unwrap().as_bytes(), tails);
        assert_eq!(fs::read(&kept).unwrap(), tails);
        assert_eq!(host.asked(), asked);
    }
    // Whole again, it is not asked for.
    cache.tails(&registry).unwrap();
    assert_eq!(host.asked(), 5);
}

#[test]
fn a_damaged_file_is_not_used_while_no_server_has_it() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let (registry, tails) = host.publish("a");
    let mut wrong = tails;
    wrong[9] ^= 1;
    fs::write(place(&directory, &registry), &wrong).unwrap();
    host.server.stop();
    let refused = cache(&directory).tails(&registry).unwrap_err();
    assert!(matches!(refused, TailsCacheError::Unreachable { .. }), "{refused:?}");
}

#[test]
fn a_longer_file_is_refused_for_its_size() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let (registry, tails) = host.publish("a");
    host.put("a", &[&tails[..], b"x"].concat());
    let refused = cache(&directory).tails(&registry).unwrap_err();
    assert!(
        matches!(refused, TailsCacheError::TooLarge { expected: BYTES, .. }),
        "one byte too many: {refused:?}"
    );
    assert!(names(&directory).is_empty());
}

#[test]
fn an_answer_without_end_is_not_read_to_its_end() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (registry, _) = registry(format!("http://{}/a", listener.local_addr().unwrap()));
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        // Until the other side has had enough: the write fails.
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").unwrap();
            while stream.write_all(&[0; 4096]).is_ok() {}
        });
        let refused = cache(&directory).tails(&registry).unwrap_err();
        assert!(matches!(refused, TailsCacheError::TooLarge { .. }), "{refused:?}");
    });
    assert!(names(&directory).is_empty());
}

#[test]
fn an_answer_that_breaks_off_leaves_nothing() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (registry, tails) = registry(format!("http://{}/a", listener.local_addr().unwrap()));
    let directory = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]).unwrap();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            stream.write_all(&tails[..BYTES / 2]).unwrap();
        });
        let refused = cache(&directory).tails(&registry).unwrap_err();
        assert!(matches!(refused, TailsCacheError::Unreachable { .. }), "{refused:?}");
    });
    assert!(names(&directory).is_empty());
}

#[test]
fn what_a_crash_left_over_is_never_used_and_is_removed_later() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let (registry, tails) = host.publish("a");
    let (fresh, old) = (directory.path().join(".partial-x"), directory.path().join(".partial-y"));
    for partial in [&fresh, &old] {
        fs::write(partial, &tails[..BYTES / 2]).unwrap();
    }
    make_older(&old, 2 * HOUR);
    let cache = cache(&directory);
    assert!(fresh.exists() && !old.exists(), "another process may still be writing: {:?}", names(&directory));
    assert!(!place(&directory, &registry).exists());
    assert_eq!(cache.tails(&registry).unwrap().as_bytes(), tails);
    assert_eq!(host.asked(), 1);
    assert_eq!(fs::read(place(&directory, &registry)).unwrap(), tails);
}

#[test]
fn many_who_want_one_file_at_once_fetch_it_once() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let (registry, tails) = host.publish("a");
    let (cache, ready) = (cache(&directory), Barrier::new(8));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                ready.wait();
                assert_eq!(cache.tails(&registry).unwrap().as_bytes(), tails);
            });
        }
    });
    assert_eq!(host.asked(), 1);
    assert_eq!(names(&directory), [registry.tails_hash()]);
}

#[test]
fn one_file_does_not_wait_for_another() {
    let together = Some(Arc::new(tokio::sync::Barrier::new(2)));
    let (host, directory) =
        (Host::with(Shelf { together, ..Shelf::default() }), tempfile::tempdir().unwrap());
    let files = [host.publish("a"), host.publish("b")];
    let cache = cache(&directory);
    // The server answers neither until both are asked for.
    std::thread::scope(|scope| {
        for (registry, tails) in &files {
            scope.spawn(|| assert_eq!(cache.tails(registry).unwrap().as_bytes(), *tails));
        }
    });
    assert_eq!(names(&directory).len(), 2);
}

#[test]
fn the_file_that_was_used_longest_ago_makes_room() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let [a, b, c] = ["a", "b", "c"].map(|name| host.publish(name).0);
    let room_for_two = u64::try_from(2 * BYTES + 10).unwrap();
    let cache = TailsCache::open(directory.path(), room_for_two).unwrap();
    let foreign = directory.path().join("notes");
    fs::write(&foreign, vec![0; 10 * BYTES]).unwrap();
    make_older(&foreign, 9 * HOUR);
    for (registry, age) in [(&a, 3), (&b, 2)] {
        cache.tails(registry).unwrap();
        make_older(&place(&directory, registry), age * HOUR);
    }
    // The older of the two is used again.
    cache.tails(&a).unwrap();
    assert_eq!(host.asked(), 2);
    cache.tails(&c).unwrap();
    let kept = [&a, &b, &c].map(|registry| place(&directory, registry).exists());
    assert_eq!(kept, [true, false, true]);
    assert!(foreign.exists(), "what is not a tails file is somebody else's");
    // A smaller limit holds from the next opening on.
    make_older(&place(&directory, &a), HOUR);
    TailsCache::open(directory.path(), room_for_two / 2).unwrap();
    let kept = [&a, &b, &c].map(|registry| place(&directory, registry).exists());
    assert_eq!(kept, [false, false, true]);
}

#[test]
fn a_file_that_cannot_be_kept_is_used_all_the_same() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let (registry, tails) = host.publish("a");
    let small = TailsCache::open(directory.path(), 100).unwrap();
    assert_eq!(small.tails(&registry).unwrap().as_bytes(), tails);
    assert!(names(&directory).is_empty());
    let cache = cache(&directory);
    fs::remove_dir(directory.path()).unwrap();
    assert_eq!(cache.tails(&registry).unwrap().as_bytes(), tails);
    assert!(!directory.path().exists());
}

#[test]
fn what_no_server_has_and_what_is_no_address_is_an_error() {
    let (host, directory) = (Host::start(), tempfile::tempdir().unwrap());
    let file = directory.path().join("file");
    fs::write(&file, "x").unwrap();
    let locations =
        [host.location("missing"), format!("file://{}", file.display()), "tails".to_owned(), String::new()];
    for location in locations {
        let (registry, _) = registry(location.clone());
        let refused = cache(&directory).tails(&registry).unwrap_err();
        assert!(matches!(refused, TailsCacheError::Unreachable { .. }), "{location}: {refused:?}");
    }
    let taken = TailsCache::open(&file, ROOM).map(drop).unwrap_err();
    assert!(matches!(taken, TailsCacheError::Directory { .. }), "{taken:?}");
}
