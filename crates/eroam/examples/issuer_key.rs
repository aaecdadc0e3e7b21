//! Makes an issuer's key for charging contracts, ahead of time: two safe primes take from a third of a second to half a
//! minute.
//!
//! ```text
//! cargo run --release -p eroam --example issuer_key -- DIRECTORY
//! ```
//! Writes `definition.json`, `secret.json` and `key_correctness.json` into a new or an empty directory, as
//! `eroam simulate --issuer-keys` and [`IssuerKey::Given`](eroam::charging::issuer::IssuerKey::Given) take them. The ids in the
//! definition stand for those of whoever publishes it.

use anyhow::{Context as _, ensure};
use eroam::charging::provider::{CONTRACT_ATTRIBUTES, CONTRACT_SCHEMA};
use eroam_ssi::anoncreds::issuer::new_credential_definition;
use eroam_ssi::anoncreds::{ObjectId, Schema};
use std::fs;
use std::path::PathBuf;

fn main() -> anyhow::Result<()> {
    let directory = std::env::args_os().nth(1).map(PathBuf::from);
    let directory = directory.context("which directory?")?;
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let is_empty = fs::read_dir(&directory)?.next().is_none();
    ensure!(is_empty, "{} is not empty: a key is not overwritten", directory.display());

    let issuer = ObjectId::new("issuer".to_owned())?;
    let schema = Schema::new(issuer.clone(), CONTRACT_SCHEMA, "1.0", CONTRACT_ATTRIBUTES)?;
    let made = new_credential_definition(issuer, ObjectId::new("schema".to_owned())?, &schema, "1", true)?;
    fs::write(directory.join("definition.json"), made.definition.to_json())?;
    fs::write(directory.join("secret.json"), made.secret.export_secret()?)?;
    fs::write(directory.join("key_correctness.json"), made.key_correctness.to_json())?;
    Ok(())
}
