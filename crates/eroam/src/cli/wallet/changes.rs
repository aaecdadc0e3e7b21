//! `eroam wallet passphrase`, `resolver` and `provider`: what changes about a wallet that is there.

use super::Session;
use super::asking::{chosen, read_passphrase};
use clap::Args;
use eroam::charging::catalogue::Catalogue;
use eroam::charging::wallet::check_resolver;
use eroam_domain::ids::ContractId;
use serde_json::json;
use std::path::PathBuf;

/// Where the new one can be, when it is changed.
const NEW_PASSPHRASE: &str = "EROAM_WALLET_NEW_PASSPHRASE";

#[derive(Debug, Args)]
pub(super) struct PassphraseArgs {
    /// Read the new passphrase from this file instead of from the terminal (or set EROAM_WALLET_NEW_PASSPHRASE)
    #[arg(long, value_name = "FILE")]
    new_passphrase_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct ResolverArgs {
    /// A registry of the network: anybody's
    url: String,
}

#[derive(Debug, Args)]
pub(super) struct ProviderArgs {
    /// Where the provider is now
    url: String,
    /// Of this contract
    #[arg(long)]
    contract: Option<ContractId>,
}

impl Session<'_> {
    pub(super) fn change_passphrase(&self, args: &PassphraseArgs) -> anyhow::Result<()> {
        let mut file = self.file()?;
        let places = (args.new_passphrase_file.as_deref(), NEW_PASSPHRASE);
        let new = read_passphrase("new passphrase: ", places, "--new-passphrase-file", true)?;
        file.change_passphrase(&new)?;
        let path = self.path.display();
        self.print(
            &json!({ "wallet": path.to_string() }),
            &format!(
                "{path} opens with the new passphrase; backups that you made before open with the old one"
            ),
        )
    }

    pub(super) fn move_resolver(&self, args: &ResolverArgs) -> anyhow::Result<()> {
        let mut file = self.file()?;
        let resolver = args.url.trim_end_matches('/').to_owned();
        let patience = self.patience();
        let catalogue = Catalogue::new(&resolver, file.network()?.trust()?).patient_for(patience.within());
        let catalogue = catalogue.from_height(file.newest_block()?);
        check_resolver(&catalogue, &patience)?;
        file.put_resolver(&resolver)?;
        file.put_newest_block(catalogue.height())?;
        file.save()?;
        self.print(&json!({ "resolver": resolver }), &format!("the ledger is looked up at {resolver}"))
    }

    pub(super) fn move_provider(&self, args: &ProviderArgs) -> anyhow::Result<()> {
        let mut wallet = self.wallet()?;
        let id = chosen(wallet.contracts.keys().copied().collect(), args.contract)?;
        let url = args.url.trim_end_matches('/');
        wallet.move_provider(&id, url)?;
        self.print(
            &json!({ "contract": id, "provider_url": url }),
            &format!("the provider of {id} is at {url}: it showed the key that signed your contract"),
        )
    }
}
