//! Resolvers that stand still, or answer with what was true once: they cannot hide what was revoked since.

use crate::town::{Town, refusal};
use axum::Router;
use axum::http::Uri;
use eroam::charging::catalogue::{Catalogue, CatalogueError};
use eroam::charging::staleness::{STALENESS_MAX, Stale};
use eroam::charging::waiting::Patience;
use eroam::charging::wallet::Wallet;
use eroam::charging::wallet_file::{Network, WalletFile};
use eroam::clock::{leave_out, now};
use eroam::server::{STOP_WITHIN, Server};
use eroam::simulate::world::{Driver, fields};
use eroam::tails_cache::TailsCache;
use eroam_domain::quantity::DurationMs;
use eroam_ledger::genesis::BlockTime;
use eroam_ledger::registry::RevocationList;
use eroam_ledger::state::StateKey;
use eroam_light::trust::Trust;
use eroam_ssi::custody::Passphrase;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use zeroize::Zeroizing;

/// A resolver that remembers its first answer to each question, and gives that again once it is told to.
struct Replaying {
    server: Server,
    replays: Arc<AtomicBool>,
}

impl Replaying {
    fn before(resolver: &str) -> Self {
        let (first, replays) =
            (Arc::new(Mutex::new(HashMap::<String, String>::new())), Arc::new(AtomicBool::new(false)));
        let (told, resolver) = (Arc::clone(&replays), resolver.to_owned());
        let answer = move |uri: Uri| async move {
            let known = first.lock().unwrap().get(&uri.to_string()).cloned();
            if let Some(known) = known.filter(|_| told.load(Ordering::Acquire)) {
                return known;
            }
            let asked = format!("{resolver}{uri}");
            let newest = tokio::task::spawn_blocking(move || {
                ureq::get(asked).call().unwrap().into_body().read_to_string().unwrap()
            });
            let newest = newest.await.unwrap();
            first.lock().unwrap().entry(uri.to_string()).or_insert_with(|| newest.clone());
            newest
        };
        let any = ([127, 0, 0, 1], 0).into();
        let server = Server::start("replaying", any, Router::new().fallback(answer), STOP_WITHIN).unwrap();
        Self { server, replays }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }

    fn replay(&self, whether: bool) {
        self.replays.store(whether, Ordering::Release);
    }

    fn sentence(&self) -> String {
        format!(
            "the resolver at {} is out of date and may hide what was revoked: use another one, or try again later",
            self.url()
        )
    }
}

/// Longer than a wallet keeps a list.
fn a_while_passes() {
    leave_out(DurationMs::from_millis(61_000));
}

/// Another driver's contract is revoked, so there is another block with another list.
fn something_is_revoked(town: &Town) {
    let other = town.newcomer("*").contract;
    town.world.providers()[0].revoke(&other, "moved away").unwrap();
}

fn list_of(driver: &Driver) -> StateKey {
    StateKey::RevocationList(driver.wallet.contracts[&driver.contract].kind.registry.clone())
}

#[test]
fn a_resolver_that_replays_old_answers_is_found_out_and_the_driver_is_told() {
    let town = Town::new(1, 1);
    let resolver = Replaying::before(town.world.catalogue().unwrap().url());
    let catalogue = Catalogue::new(&resolver.url(), town.world.trust().unwrap());
    let mut driver = town.world.newcomer_with(0, &fields(90), catalogue).unwrap();
    let Driver { wallet, contract } = &mut driver;
    wallet.prepare(contract).unwrap();
    something_is_revoked(&town);
    a_while_passes();
    wallet.prepare(contract).unwrap();
    resolver.replay(true);
    a_while_passes();
    assert_eq!(refusal(wallet.prepare(contract)), resolver.sentence());
    resolver.replay(false);
    wallet.prepare(contract).unwrap();
}

#[test]
fn a_resolver_that_stands_still_is_found_out_on_every_network() {
    let town = Town::new(1, 1);
    let (driver, resolver) = (town.newcomer("*"), Replaying::before(town.world.catalogue().unwrap().url()));
    // As if it had been watched for as long as that.
    let catalogue = Catalogue::new(&resolver.url(), town.world.trust().unwrap()).stale_after(Duration::ZERO);
    let list = || catalogue.entry::<RevocationList>(&list_of(&driver), "the list");
    list().unwrap();
    resolver.replay(true);
    let error = list().unwrap_err();
    assert_eq!(error.to_string(), resolver.sentence());
    assert!(matches!(error, CatalogueError::Stale { source: Stale::StandsStill { .. }, .. }), "{error:?}");
    // It is believed again with the next block.
    something_is_revoked(&town);
    resolver.replay(false);
    list().unwrap();
}

#[test]
fn where_blocks_have_the_time_of_clocks_an_old_one_is_refused_at_first_sight() {
    let town = Town::new(1, 1);
    let trust = town.world.trust().unwrap();
    let genesis = town.world.operators()[0].office().client().genesis().clone();
    let (validators, epoch_blocks) = (trust.validators().clone(), genesis.consensus.epoch_blocks);
    let clocked = Trust::new(trust.network(), epoch_blocks, validators, BlockTime::Clock).unwrap();
    // Submitters have just stated what their clocks show.
    let mut driver = town.newcomer("*");
    something_is_revoked(&town);
    let url = town.world.catalogue().unwrap().url().to_owned();
    let list = |catalogue: &Catalogue| catalogue.entry::<RevocationList>(&list_of(&driver), "the list");
    list(&Catalogue::new(&url, clocked.clone())).unwrap();
    leave_out(DurationMs::from_millis(STALENESS_MAX.as_secs() * 1_000 + 1_000));
    let error = list(&Catalogue::new(&url, clocked)).unwrap_err();
    assert!(matches!(error, CatalogueError::Stale { source: Stale::Old { .. }, .. }), "{error:?}");
    // The time that submitters state says nothing of the age of a block.
    list(&Catalogue::new(&url, trust)).unwrap();
    let Driver { wallet, contract } = &mut driver;
    wallet.prepare(contract).unwrap();
}

#[test]
fn a_wallet_remembers_how_far_the_ledger_was_when_it_is_opened_again() {
    let town = Town::new(1, 1);
    let resolver = Replaying::before(town.world.catalogue().unwrap().url());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wallet");
    let passphrase = Passphrase::new(Zeroizing::new("correct horse".to_owned())).unwrap();
    let genesis = town.world.operators()[0].office().client().genesis().to_json();
    let network = Network { resolver: resolver.url(), genesis };
    let open = |file: WalletFile| {
        let tails = TailsCache::open(directory.path().join("tails"), 64 << 20).unwrap();
        Wallet::open(file, Arc::new(tails), eroam::charging::station::Mode::Default, Patience::default())
            .unwrap()
    };
    let mut wallet = open(WalletFile::create(&path, &passphrase, &network).unwrap());
    let contract = wallet.enrol(town.world.provider_url(0).unwrap(), &fields(90)).unwrap();
    wallet.prepare(&contract).unwrap();
    something_is_revoked(&town);
    a_while_passes();
    wallet.prepare(&contract).unwrap();
    wallet.withdraw(&contract, 2, now().utc_day()).unwrap();
    let known = wallet.catalogue().height();
    drop(wallet);
    resolver.replay(true);
    let file = WalletFile::open(&path, &passphrase).unwrap();
    assert_eq!(file.newest_block().unwrap(), known);
    let mut wallet = open(file);
    assert_eq!(refusal(wallet.prepare(&contract)), resolver.sentence());
}
