//! What can be wrong with an SQLite file, and where it is made.

mod support;

use eroam_gateway::ports::Store;
use eroam_store::{OpenError, OrgStore, StoreUrl};
use std::fs;
use std::path::Path;
use support::{Place, records};

fn refused(place: &Place) -> OpenError {
    place.try_open().err().expect("an error")
}

fn filled() -> Place {
    let place = Place::sqlite();
    let mut store = place.open();
    for n in 0..500 {
        store.put_session(&records::recorded(n)).unwrap();
    }
    store.commit().unwrap();
    place
}

#[test]
fn garbage_is_no_database() {
    let place = Place::sqlite();
    fs::write(place.file("no-lys.sqlite"), b"this is a letter, not a database. ".repeat(1_000)).unwrap();
    let error = refused(&place);
    assert!(matches!(error, OpenError::Damaged { .. }), "{error:?}");
    assert!(error.to_string().contains("restore it from a backup"), "{error}");
}

#[test]
fn a_truncated_database_is_damaged() {
    for keep in [0, 100, 5_000, 100_000] {
        let place = filled();
        let file = fs::OpenOptions::new().write(true).open(place.file("no-lys.sqlite")).unwrap();
        assert!(file.metadata().unwrap().len() > keep);
        file.set_len(keep).unwrap();
        let error = refused(&place);
        assert!(matches!(error, OpenError::Damaged { .. }), "{keep}: {error:?}");
    }
}

#[test]
fn a_database_with_garbage_inside_is_damaged() {
    let place = filled();
    let path = place.file("no-lys.sqlite");
    let mut bytes = fs::read(&path).unwrap();
    bytes[8_192..].fill(0x5a);
    fs::write(&path, bytes).unwrap();
    let error = refused(&place);
    let damaged = match &error {
        OpenError::Damaged { .. } => true,
        OpenError::Unreadable { source, .. } => source.what.contains("damaged"),
        _ => false,
    };
    assert!(damaged, "{error:?}");
}

#[test]
fn a_database_of_another_program_is_refused() {
    let place = Place::sqlite();
    fs::write(place.file("no-lys.sqlite"), b"").unwrap();
    place.sql("no_lys", "CREATE TABLE books (title TEXT)");
    let before = fs::read(place.file("no-lys.sqlite")).unwrap();
    let error = refused(&place);
    assert!(fs::read(place.file("no-lys.sqlite")).unwrap() == before, "it was changed");
    assert!(matches!(error, OpenError::Foreign { .. }), "{error:?}");
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let mut read_only = directory.path().to_owned();
    let permissions = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(&read_only, permissions(0o500)).unwrap();
    if fs::write(read_only.join("probe"), b"").is_ok() {
        // Permissions do not bind root; the kernel's own directories do.
        read_only = "/sys/kernel".into();
    }
    let error =
        OrgStore::open(&StoreUrl::directory(&read_only), records::own(), &records::network()).err().unwrap();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
    assert!(error.to_string().contains(&read_only.display().to_string()), "{error}");
    fs::set_permissions(directory.path(), permissions(0o700)).unwrap();
}

#[test]
fn a_directory_below_a_file_is_no_place() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("file"), b"").unwrap();
    let url = StoreUrl::directory(&directory.path().join("file/data"));
    let error = OrgStore::open(&url, records::own(), &records::network()).err().unwrap();
    assert!(matches!(error, OpenError::NotWritable { .. }), "{error:?}");
}

#[test]
fn directories_are_made_and_files_are_private() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("a/b");
    let mut store = OrgStore::open(&StoreUrl::directory(&data), records::own(), &records::network()).unwrap();
    store.put_session(&records::charging(1)).unwrap();
    store.commit().unwrap();
    let mode = |path: &Path| {
        std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions()) & 0o777
    };
    assert_eq!(mode(&data), 0o700);
    for name in ["no-lys.sqlite", "no-lys.sqlite-wal", "no-lys.sqlite.lock"] {
        assert_eq!(mode(&data.join(name)), 0o600, "{name}");
    }
}

#[test]
fn names_that_a_url_would_not_take_are_taken() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a b?c#d%20é+&.sqlite");
    let mut store = OrgStore::open(&StoreUrl::file(&path), records::own(), &records::network()).unwrap();
    store.put_session(&records::charging(1)).unwrap();
    store.commit().unwrap();
    drop(store);
    assert!(path.metadata().unwrap().len() > 0);
    let mut store = OrgStore::open(&StoreUrl::file(&path), records::own(), &records::network()).unwrap();
    assert!(store.session(&records::session_id(1)).unwrap().is_some());
}

#[test]
fn stores_in_memory_are_apart() {
    let open = || OrgStore::open(&StoreUrl::memory(), records::own(), &records::network()).unwrap();
    let (mut one, mut other) = (open(), open());
    one.put_session(&records::charging(1)).unwrap();
    one.commit().unwrap();
    assert!(one.session(&records::session_id(1)).unwrap().is_some());
    assert!(other.session(&records::session_id(1)).unwrap().is_none());
}
