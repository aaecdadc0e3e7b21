//! `eroam wallet find`: the stations that operators list, with their tariffs and what a driver would pay there.

use super::{Session, kw};
use anyhow::Context as _;
use clap::Args;
use eroam::causes::chain;
use eroam::charging::catalogue::Catalogue;
use eroam::charging::locations::{self, Connector, Location};
use eroam::charging::wallet::{Estimate, Wallet, check_resolver};
use eroam::clock::now;
use eroam_domain::ids::ContractId;
use eroam_domain::quantity::WattHours;
use eroam_wallet::price::price_lines;
use serde_json::{Value, json};

#[derive(Debug, Args)]
pub(super) struct FindArgs {
    /// The operators
    #[arg(required = true, value_name = "URL")]
    operators: Vec<String>,
    /// Say what so many kilowatt-hours would cost you
    #[arg(long, value_name = "KWH", default_value = "20", value_parser = |text: &str| super::positive(text, 6))]
    energy: i64,
}

/// What each contract would pay, in the order of charging points and their connectors.
type Estimates = Vec<Vec<Vec<(ContractId, Estimate)>>>;

impl Session<'_> {
    pub(super) fn find(&self, args: &FindArgs) -> anyhow::Result<()> {
        let mut found: Vec<Location> = Vec::new();
        for operator in &args.operators {
            let patience = self.patience();
            let listed = patience.wait(&format!("the operator at {operator}"), || {
                locations::look_up(operator, patience.within())
            });
            found.extend(listed?);
        }
        let energy = u64::try_from(args.energy).map(WattHours::from_milli_wh);
        let energy = energy.context("so much energy does not exist")?;
        let estimates = self.estimates(&mut found, energy)?;
        let both = || found.iter().zip(&estimates);
        let text: String = both().map(|(location, estimates)| location_text(location, estimates)).collect();
        let listed: Vec<Value> = both()
            .map(|(location, estimates)| location_json(location, estimates))
            .collect::<Result<_, _>>()?;
        self.print(&listed, if found.is_empty() { "no station is listed" } else { &text })
    }
}

impl Session<'_> {
    /// Puts the ledger's tariffs in the place of the operators', and makes the driver's prices, as far as there is a wallet, a
    /// contract and somebody who looks the ledger up. What is missing is said once.
    fn estimates(&self, found: &mut [Location], energy: WattHours) -> anyhow::Result<Vec<Estimates>> {
        let nothing = vec![Vec::new(); found.len()];
        if !self.path.exists() {
            // Whoever has no wallet yet may look around, too: then tariffs are what operators say.
            eprintln!("what you would pay depends on your provider: make a wallet and enrol to see it");
            return Ok(nothing);
        }
        let mut wallet = self.wallet()?;
        if let Err(error) = check_resolver(wallet.catalogue(), wallet.patience()) {
            eprintln!("tariffs are not proved, and what you would pay is not known: {}", chain(&error));
            return Ok(nothing);
        }
        let ids: Vec<ContractId> = wallet.contracts.keys().copied().collect();
        if ids.is_empty() {
            eprintln!("what you would pay depends on your provider: enrol with one to see it");
        }
        ids.iter().for_each(|id| self.learn_prices(&mut wallet, id));
        Ok(found.iter_mut().map(|location| priced(location, &wallet, energy)).collect())
    }
}

/// Puts the ledger's tariffs in the place of the operator's, and makes the driver's prices.
fn priced(location: &mut Location, wallet: &Wallet, energy: WattHours) -> Estimates {
    wallet.patience().wait(&format!("the resolver at {}", wallet.catalogue().url()), || {
        prove_prices(location, wallet.catalogue());
        wallet.estimates(location, energy)
    })
}

/// Puts the ledger's prices in the place of an operator's, and says where these differ.
fn prove_prices(location: &mut Location, ledger: &Catalogue) {
    let Some(operator) = location.operator() else { return };
    for evse in &mut location.evses {
        for connector in &mut evse.connectors {
            let id = &evse.evse_id;
            match connector.prove_tariffs(operator, ledger, now()) {
                Ok(true) => {}
                Ok(false) => {
                    eprintln!("{operator} lists another price for {id} than the ledger has, which counts")
                }
                Err(error) => eprintln!("the price of {id} is not proved: {}", chain(&error)),
            }
        }
    }
}

/// The listing, with `for_you` at each connector: what each contract would pay.
fn location_json(location: &Location, estimates: &Estimates) -> serde_json::Result<Value> {
    let mut value = serde_json::to_value(location)?;
    for (evse, estimates) in estimates.iter().enumerate() {
        for (connector, estimates) in estimates.iter().enumerate() {
            let listed = value.pointer_mut(&format!("/evses/{evse}/connectors/{connector}"));
            let Some(Value::Object(listed)) = listed else { continue };
            let each = estimates.iter().map(|(id, estimate)| json!({ "contract": id, "estimate": estimate }));
            listed.insert("for_you".to_owned(), each.collect());
        }
    }
    Ok(value)
}

fn location_text(location: &Location, estimates: &Estimates) -> String {
    let Location { country_code, party_id, name, evses, .. } = location;
    let mut text = String::new();
    for (place, evse) in evses.iter().enumerate() {
        text.push_str(&format!("{}  {name}, {country_code}-{party_id}, zone {}\n", evse.evse_id, evse.zone));
        for (number, connector) in evse.connectors.iter().enumerate() {
            text.push_str(&tariff_text(connector));
            let estimates = estimates.get(place).and_then(|evse| evse.get(number));
            estimates.into_iter().flatten().for_each(|estimate| text.push_str(&estimate_text(estimate)));
        }
        text.push_str(&format!("  {}\n", evse.invitation));
    }
    text
}

/// What the operator charges its partners.
fn tariff_text(connector: &Connector) -> String {
    let tariffs: Vec<&str> = connector.tariff_ids.iter().map(|id| id.as_str()).collect();
    let source = if connector.tariffs_proved { "by the ledger" } else { "by the operator, not proved" };
    let power = kw(connector.max_electric_power);
    let mut text = format!("  {power}, the operator's tariff {} {source}\n", tariffs.join(", "));
    let lines: Vec<String> =
        connector.tariffs.iter().flat_map(|listed| price_lines(&listed.tariff)).collect();
    if lines.is_empty() {
        text.push_str("    no price: nobody can charge here now\n");
    }
    lines.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
    text
}

fn estimate_text((contract, estimate): &(ContractId, Estimate)) -> String {
    let said = match estimate {
        Estimate::Cost(cost) => cost.to_string(),
        Estimate::None(why) => format!("no charge  {why}\n"),
    };
    let lines: String = said.lines().map(|line| format!("    {line}\n")).collect();
    format!("  with {contract}\n{lines}")
}
