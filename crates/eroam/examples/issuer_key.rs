//! Makes an issuer's key for charging contracts or, for paper B's mode, for stations, ahead of time: two safe primes take from a third of a second to half a
//! minute.
//!
//! ```text
//! cargo run --release -p eroam --example issuer_key -- DIRECTORY [station]
//! ```
//! Writes `definition.json`, `secret.json` and `key_correctness.json` into a new or an empty directory, as
//! `eroam simulate --issuer-keys` and [`IssuerKey::Given`](eroam::charging::issuer::IssuerKey::Given) take them. The ids in the
//! definition stand for those of whoever publishes it.

use anyhow::{Context as _, bail, ensure};
use eroam::charging::paper::{STATION_ATTRIBUTES, STATION_SCHEMA};
use eroam::charging::provider::{CONTRACT_ATTRIBUTES, CONTRACT_SCHEMA};
use eroam_ssi::anoncreds::issuer::new_credential_definition;
use eroam_ssi::anoncreds::{ObjectId, Schema};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.context("which directory?")?;
    let (schema_name, attributes) = match std::env::args().nth(2).as_deref() {
        None | Some("contract") => (CONTRACT_SCHEMA, CONTRACT_ATTRIBUTES),
        Some("station") => (STATION_SCHEMA, STATION_ATTRIBUTES),
        Some(other) => bail!("`{other}` is neither contract nor station"),
    };
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let is_empty = fs::read_dir(&directory)?.next().is_none();
    ensure!(is_empty, "{} is not empty: a key is not overwritten", directory.display());

    let issuer = ObjectId::new("issuer".to_owned())?;
    let schema = Schema::new(issuer.clone(), schema_name, "1.0", attributes)?;
    let made = new_credential_definition(issuer, ObjectId::new("schema".to_owned())?, &schema, "1", true)?;
    fs::write(directory.join("definition.json"), made.definition.to_json())?;
    // Programs take it from a file that nobody else can read.
    let mut options = fs::OpenOptions::new();
    options.create_new(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(directory.join("secret.json"))?.write_all(&made.secret.export_secret()?)?;
    fs::write(directory.join("key_correctness.json"), made.key_correctness.to_json())?;
    Ok(())
}
