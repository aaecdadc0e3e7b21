//! Vouchers of a wallet: withdrawn ahead, looked up in the ledger after a backup was brought back.

use super::super::ChargingError;
use super::super::catalogue::CatalogueError;
use super::super::wallet_file::WalletFile;
use super::Wallet;
use crate::clock::now;
use eroam_domain::charge::Denial;
use eroam_domain::ids::ContractId;
use eroam_domain::money::Money;
use eroam_domain::voucher::{Nullifier, OneTimeKey, Voucher};
use eroam_ledger::state::StateKey;
use eroam_ledger::voucher::VoucherState;
use eroam_ssi::didcomm::OsRng;
use eroam_ssi::protocol::questions::Withdrawal;
use eroam_wallet::purse::DepositError;
use std::sync::Arc;

impl Wallet {
    /// Withdraws vouchers, valid from a UTC day on. What was asked for before and did not come is asked for again; if nothing
    /// that pays comes for it any more, it is given up, and others are asked for. Gives how many came.
    ///
    /// # Errors
    /// [`ChargingError`], among them the provider's denial.
    pub fn withdraw(&mut self, id: &ContractId, count: usize, day: i64) -> Result<usize, ChargingError> {
        let waiting: Vec<_> = self.contract(id)?.purse.under_way().collect();
        let mut came = if waiting.is_empty() { 0 } else { self.fetch(id, waiting, day)? };
        if came == 0 {
            let keys = self.contract(id)?.purse.withdraw(count, &mut OsRng)?;
            came = self.fetch(id, keys, day)?;
        }
        self.learn_prices_if_possible(id);
        Ok(came)
    }

    /// Asks the provider for the vouchers of these keys and keeps what comes. A key for which it gives nothing, or something
    /// that is over, is given up: it would give the same for it again. Gives how many vouchers are kept.
    fn fetch(
        &mut self,
        id: &ContractId,
        mut keys: Vec<OneTimeKey>,
        day: i64,
    ) -> Result<usize, ChargingError> {
        // Whatever becomes of the answer: what the provider signs for can be had.
        self.save()?;
        let given = loop {
            let asked = Withdrawal { day, keys: keys.clone() };
            match self.ask_provider(id, &asked) {
                // What is left of the day's limit may pay for some of them. The other keys wait for another day.
                Err(ChargingError::Denied(denied))
                    if denied.denial == Denial::DailyLimit && keys.len() > 1 =>
                {
                    keys.truncate(keys.len() / 2);
                }
                given => break given?,
            }
        };
        let (network, catalogue, patience, resolver) =
            (self.catalogue.network(), Arc::clone(&self.catalogue), self.patience.clone(), self.resolver());
        let contract = self.contract(id)?;
        let (emsp, mut kept) = (contract.kind.emsp, 0);
        for signed in &given {
            let key = patience.wait(&resolver, || catalogue.voucher_key(emsp, signed.voucher.key))?;
            match contract.purse.deposit(*signed, network, emsp, &key, now()) {
                Ok(()) => kept += 1,
                // Its answer was lost until now.
                Err(DepositError::Over(_)) => tracing::info!("wallet.voucher_over"),
                Err(error) => return Err(error.into()),
            }
        }
        contract.purse.give_up(&keys);
        self.save()?;
        Ok(kept)
    }

    /// Withdraws vouchers if none pays `amount` now.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn renew(&mut self, id: &ContractId, amount: Money, count: usize) -> Result<(), ChargingError> {
        self.look_up_if_restored()?;
        let at = now();
        let purse = &mut self.contract(id)?.purse;
        purse.forget_over(at);
        if purse.choose(at, amount.micros).is_none() {
            self.withdraw(id, count, at.utc_day())?;
        }
        Ok(())
    }

    /// Forgets the vouchers that are signed with the same key as one that was refused because its key was revoked: each
    /// would be refused in front of a station. Only if the ledger says so, too: a station could say it of any voucher.
    pub(super) fn forget_withdrawn(
        &mut self,
        id: &ContractId,
        refused: &Voucher,
    ) -> Result<(), ChargingError> {
        let (emsp, key) = (refused.emsp, refused.key);
        let (catalogue, resolver) = (Arc::clone(&self.catalogue), self.resolver());
        if self.patience.wait(&resolver, || catalogue.is_voucher_key_revoked(emsp, key))? {
            self.contract(id)?.purse.forget_signed_with(emsp, key);
            self.save()?;
        }
        Ok(())
    }

    /// Forgets the vouchers that the ledger knows already: those that were spent after a backup was made that is in use
    /// now. Gives how many.
    ///
    /// # Errors
    /// [`ChargingError::Catalogue`]: then none is forgotten.
    pub fn forget_spent(&mut self) -> Result<usize, ChargingError> {
        let spent = self.patience.wait(&self.resolver(), || self.find_spent())?;
        for (id, nullifier) in &spent {
            self.contract(id)?.purse.forget(*nullifier);
        }
        if let Some(file) = &mut self.file {
            file.looked_up();
        }
        self.save()?;
        Ok(spent.len())
    }

    /// Which vouchers the ledger knows already.
    fn find_spent(&self) -> Result<Vec<(ContractId, Nullifier)>, CatalogueError> {
        let mut spent = Vec::new();
        for contract in self.contracts.values() {
            for signed in contract.purse.vouchers() {
                let nullifier = signed.voucher.nullifier();
                let key = StateKey::Voucher(contract.kind.emsp, nullifier);
                match self.catalogue.entry::<VoucherState>(&key, &nullifier.to_string()) {
                    Ok(_) => spent.push((contract.id, nullifier)),
                    Err(CatalogueError::None(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(spent)
    }

    /// Looks spent vouchers up if this wallet was brought back from a backup: shown twice, one would be refused in front of
    /// the station.
    fn look_up_if_restored(&mut self) -> Result<(), ChargingError> {
        if self.file.as_ref().is_some_and(WalletFile::is_restored) {
            self.forget_spent()?;
        }
        Ok(())
    }
}
