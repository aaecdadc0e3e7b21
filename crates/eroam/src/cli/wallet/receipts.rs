//! `eroam wallet receipts` and `bill`: what was charged, and what it came to.

use super::asking::chosen;
use super::{RESUME, Session, at_station, kwh};
use anyhow::Context as _;
use clap::Args;
use eroam::charging::catalogue::Catalogue;
use eroam::charging::wallet_file::{ChargeStage, KeptCharge};
use eroam::clock::now;
use eroam_domain::ids::ContractId;
use eroam_domain::money::{Money, decimal};
use eroam_domain::time::{CivilMonth, LocalClock};
use eroam_domain::visit::{EndReason, Finished, Started};
use eroam_ledger::state::StateKey;
use eroam_ledger::voucher::VoucherState;
use eroam_wallet::cost::DriverPrice;
use serde_json::json;
use std::collections::BTreeMap;

#[derive(Debug, Args)]
pub(super) struct ReceiptsArgs {
    /// This one alone
    number: Option<u32>,
    /// Write the ledger's proof of what became of a receipt's voucher; `eroam verify` checks it without any network
    #[arg(long, num_args = 2, value_names = ["NUMBER", "FILE"])]
    proof: Option<Vec<String>>,
}

#[derive(Debug, Args)]
pub(super) struct BillArgs {
    /// Which month, as yyyy-mm; this one if nothing is said
    #[arg(long)]
    month: Option<CivilMonth>,
    /// Of this contract
    #[arg(long)]
    contract: Option<ContractId>,
}

impl Session<'_> {
    pub(super) fn receipts(&self, args: &ReceiptsArgs) -> anyhow::Result<()> {
        let file = self.file()?;
        let charges = file.charges()?;
        let numbered = |number: u32| {
            let found = charges.iter().find(|charge| charge.number == number);
            found.with_context(|| format!("there is no receipt {number}"))
        };
        if let Some([number, target]) =
            args.proof.as_deref().and_then(|both| <&[String; 2]>::try_from(both).ok())
        {
            let number: u32 =
                number.parse().with_context(|| format!("{number} is no number of a receipt"))?;
            let charge = numbered(number)?;
            let network = file.network()?;
            let patience = self.patience();
            let catalogue =
                Catalogue::new(&network.resolver, network.trust()?).patient_for(patience.within());
            let nullifier = charge.spent.voucher.voucher.nullifier();
            let (key, item) = (StateKey::Voucher(charge.emsp, nullifier), nullifier.to_string());
            // It is written only if it proves something.
            let proof = patience.wait(&format!("the resolver at {}", network.resolver), || {
                let _: VoucherState = catalogue.entry(&key, &item)?;
                catalogue.proof(&key, &item)
            })?;
            std::fs::write(target, proof).with_context(|| format!("{target} cannot be written"))?;
            return self.print(
                &json!({ "receipt": number, "voucher": nullifier, "proof": target }),
                &format!(
                    "{target} proves what the ledger has of the voucher {nullifier} of receipt {number}"
                ),
            );
        }
        if let Some(number) = args.number {
            let charge = numbered(number)?;
            return self.print(charge, &receipt_text(charge));
        }
        let text: Vec<String> = charges.iter().map(receipt_text).collect();
        self.print(
            &charges,
            if text.is_empty() { "no charge yet".to_owned() } else { text.join("\n") }.as_str(),
        )
    }

    pub(super) fn bill(&self, args: &BillArgs) -> anyhow::Result<()> {
        let mut wallet = self.wallet()?;
        let id = chosen(wallet.contracts.keys().copied().collect(), args.contract)?;
        let month = args.month.unwrap_or_else(|| CivilMonth::of(LocalClock::UTC.at(now()).date));
        let charges = wallet.bill(&id, month)?;
        let mut totals: BTreeMap<_, i64> = BTreeMap::new();
        let mut text = format!("{id}, {month}\n");
        for charge in &charges {
            let price = Money::new(charge.price.incl_vat, charge.currency);
            let total = totals.entry(charge.currency).or_default();
            *total = total.checked_add(price.micros).context("the bill is too large")?;
            text.push_str(&format!(
                "{}  {}  {} ({})  {} kWh  {price}\n",
                charge.start,
                charge.operator,
                charge.place,
                charge.evse,
                kwh(charge.energy)
            ));
        }
        let totals: Vec<Money> =
            totals.into_iter().map(|(currency, micros)| Money::new(micros, currency)).collect();
        let sum: Vec<String> = totals.iter().map(ToString::to_string).collect();
        text.push_str(&if sum.is_empty() {
            "nothing so far".to_owned()
        } else {
            format!("together {}", sum.join(", "))
        });
        self.print(&json!({ "contract": id, "month": month, "charges": charges, "totals": totals }), &text)
    }
}

pub(super) fn receipt_text(charge: &KeptCharge) -> String {
    let KeptCharge { number, contract, emsp, station, spent, cost, progress } = charge;
    let limit = Money::new(spent.acceptance.limit, spent.voucher.voucher.cap.currency);
    let place = format!("{} at {} ({})", station.operator, station.place, station.evse);
    let head =
        format!("receipt {number}\n  where     {place}\n  contract  {contract}, {emsp} pays up to {limit}\n");
    let told = match cost.as_ref().map(|cost| &cost.driver) {
        Some(DriverPrice::Known { price, .. }) => {
            format!("  told      about {price} for you; `eroam wallet bill` has what it came to\n")
        }
        Some(DriverPrice::Unknown { .. }) => "  told      that your price is not known\n".to_owned(),
        None => String::new(),
    };
    head + &told
        + &match progress {
            ChargeStage::Agreed => {
                format!(
                    "  agreed    {}; whether power came, this wallet has not heard: {RESUME}",
                    spent.acceptance.accepted_at
                )
            }
            ChargeStage::NotStarted { reason } => format!("  no power  {reason}"),
            ChargeStage::Started { started } => {
                format!(
                    "  power     from {}; how it ended, this wallet has not heard: {RESUME}",
                    at_station(station, started.at)
                )
            }
            ChargeStage::Finished { started, finished } => {
                format!(
                    "  power     from {} to {}\n  energy    {} kWh{}\n  ended     {}",
                    at_station(station, finished.start),
                    at_station(station, finished.end),
                    kwh(finished.energy),
                    not_billed(started, finished, limit),
                    finished.reason
                )
            }
        }
}

/// What a station gave beyond what the driver allowed is at its operator's expense.
fn not_billed(started: &Started, finished: &Finished, limit: Money) -> String {
    let beyond = finished.energy.checked_sub(started.energy_max).filter(|beyond| !beyond.is_zero());
    match (beyond, finished.reason) {
        (Some(beyond), _) => {
            let wh = decimal(i128::from(beyond.milli_wh()), 3, 0);
            format!("; of these {wh} Wh are more than you allowed and are not billed")
        }
        (None, EndReason::AmountReached) => {
            format!("; billed as far as {limit} pays for the operator's part")
        }
        (None, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::money::Currency;
    use eroam_domain::quantity::WattHours;
    use eroam_domain::time::UnixMillis;

    #[test]
    fn what_was_given_beyond_the_limit_is_said_to_be_not_billed() {
        let (at, limit) = (UnixMillis::EPOCH, Money::new(2_000_000, Currency::new("EUR").unwrap()));
        let energy_max = WattHours::from_wh(5_000).unwrap();
        let started = Started { at, energy_max, amount_max: limit.micros };
        for (milli_wh, reason, said) in [
            (4_990_000, EndReason::EnergyReached, ""),
            (5_000_000, EndReason::EnergyReached, ""),
            (
                5_003_000,
                EndReason::EnergyReached,
                "; of these 3 Wh are more than you allowed and are not billed",
            ),
            (
                5_003_500,
                EndReason::Unplugged,
                "; of these 3.5 Wh are more than you allowed and are not billed",
            ),
            (4_000_000, EndReason::AmountReached, "; billed as far as 2.00 EUR pays for the operator's part"),
            (4_000_000, EndReason::Full, ""),
        ] {
            let (energy, readings) = (WattHours::from_milli_wh(milli_wh), String::new());
            let finished = Finished { reason, start: at, end: at, energy, readings };
            assert_eq!(not_billed(&started, &finished, limit), said, "{milli_wh} {reason}");
        }
    }
}
