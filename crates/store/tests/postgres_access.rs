//! Servers that do not answer, and users that may not do everything.

mod support;

use eroam_gateway::ports::Store;
use eroam_store::{OpenError, OrgStore, StoreUrl};
use support::{Place, records};

fn open(url: &str) -> Result<OrgStore, OpenError> {
    let url: StoreUrl = url.parse().unwrap();
    OrgStore::open(&url, records::own(), &records::network())
}

/// An error with all its causes, both ways of printing.
fn printed(error: &OpenError) -> String {
    let mut text = format!("{error}\n{error:?}");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!("\n{error}\n{error:?}"));
        cause = error.source();
    }
    text
}

#[test]
fn a_server_that_is_not_there_is_named_without_the_password() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().display().to_string().replace('/', "%2F");
    let error = open(&format!("postgres://edp:s3cret@{socket}/eroam")).err().unwrap();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(
        printed(&error).contains("postgres://edp@") && !printed(&error).contains("s3cret"),
        "{}",
        printed(&error)
    );
}

#[test]
fn a_url_that_cannot_be_read_does_not_show_its_password() {
    let error = open("postgres://edp:s3/cret@localhost:99999/eroam").err().unwrap();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(!printed(&error).contains("cret"), "{}", printed(&error));
}

#[test]
fn a_database_that_does_not_exist_is_unreachable() {
    let Some(place) = Place::postgres() else { return };
    let error = open(&format!("{}-missing", place.text())).err().unwrap();
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error:?}");
    assert!(printed(&error).contains("does not exist"), "{}", printed(&error));
}

#[test]
fn a_user_without_the_right_to_create_a_schema_is_told() {
    let Some(place) = Place::postgres() else { return };
    let user = "limited_user";
    place.sql("none", &format!("CREATE ROLE {user} LOGIN"));
    let url = place.text().replace("eroam@", &format!("{user}@"));
    let error = open(&url).err().unwrap();
    assert!(matches!(error, OpenError::NotPermitted { .. }), "{error:?}");
    assert!(error.to_string().contains("GRANT CREATE"), "{error}");
    // A schema that was made for the user is enough.
    place.sql("none", &format!("CREATE SCHEMA eroam_no_lys AUTHORIZATION {user}"));
    let mut store = open(&url).unwrap();
    store.put_session(&records::charging(1)).unwrap();
    store.commit().unwrap();
}

#[test]
fn a_lost_connection_is_reported_and_the_last_commit_stands() {
    let Some(place) = Place::postgres() else { return };
    let mut store = place.open();
    store.put_session(&records::charging(1)).unwrap();
    store.commit().unwrap();
    store.put_session(&records::recorded(1)).unwrap();
    place.sql(
        "no_lys",
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity \
         WHERE datname = current_database() AND pid <> pg_backend_pid()",
    );
    let error = store.commit().unwrap_err();
    assert!(error.what.contains("start again"), "{}", error.what);
    drop(store);
    assert_eq!(place.open().session(&records::session_id(1)).unwrap(), Some(records::charging(1)));
}
