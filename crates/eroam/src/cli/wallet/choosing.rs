//! Which contract a driver charges with: the one that is named, or one of those that are good at the station.

use super::Session;
use super::asking::{chosen, numbered};
use super::charge::LimitArgs;
use anyhow::bail;
use eroam::charging::wallet::{ContractHere, Wallet};
use eroam_domain::ids::ContractId;
use eroam_domain::retail::Tier;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_wallet::cost::DriverPrice;
use std::io::IsTerminal as _;

impl Session<'_> {
    /// The contract for a station. Where there are several, the station is looked at first, and those that are good there are
    /// offered with what each would cost; for that the station is asked for a quote with each of them, and no voucher is shown.
    pub(super) fn contract_for(
        &self,
        wallet: &mut Wallet,
        named: Option<ContractId>,
        invitation: &Invitation,
        limits: &LimitArgs,
    ) -> anyhow::Result<ContractId> {
        let ids: Vec<ContractId> = wallet.contracts.keys().copied().collect();
        if named.is_some() || ids.len() < 2 {
            return chosen(ids, named);
        }
        let station = wallet.scan(invitation)?;
        let (good, others): (Vec<_>, Vec<_>) =
            wallet.contracts_at(&station)?.into_iter().partition(|here| here.refused.is_none());
        match good.as_slice() {
            [] => {
                let why = others.iter().filter_map(|here| here.refused.as_ref());
                let why: Vec<String> = why.map(|why| format!("\n  {why}")).collect();
                bail!("none of your contracts is good at {}:{}", station.evse, why.concat())
            }
            [only] => {
                eprintln!("with {}, the only one of your contracts that is good here", described(only));
                Ok(only.contract)
            }
            several => {
                let listed: Vec<String> = several
                    .iter()
                    .map(|here| {
                        let price = self.price_with(wallet, &here.contract, invitation, limits);
                        format!("{}: {price}", described(here))
                    })
                    .collect();
                if !std::io::stdin().is_terminal() {
                    let listed: String = listed.iter().map(|line| format!("\n  {line}")).collect();
                    bail!("several of your contracts are good here, name one with --contract:{listed}")
                }
                Ok(numbered(several, &listed)?.contract)
            }
        }
    }

    /// What a charge would cost the driver with a contract, in words.
    fn price_with(
        &self,
        wallet: &mut Wallet,
        id: &ContractId,
        invitation: &Invitation,
        limits: &LimitArgs,
    ) -> String {
        let quoted = Self::allowed(wallet, id, limits.amount).and_then(|allowed| {
            self.learn_prices(wallet, id);
            Ok(wallet.quote(id, invitation, limits.limits(), allowed)?)
        });
        match quoted.map(|(_, cost)| cost.driver) {
            Ok(DriverPrice::Known { price, most: Some(most), .. }) => {
                format!("about {price}, at most {most}")
            }
            Ok(DriverPrice::Known { price, most: None, .. }) => format!("about {price}"),
            Ok(DriverPrice::Unknown { why }) => format!("the price is not known: {why}"),
            Err(error) => format!("no price: {error}"),
        }
    }
}

fn described(here: &ContractHere) -> String {
    let ContractHere { contract, provider, provider_name, tier, .. } = here;
    let tier = tier.map(|tier: Tier| format!(", {tier}")).unwrap_or_default();
    format!("{contract} of {provider_name} ({provider}){tier}")
}
