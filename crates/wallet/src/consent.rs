//! What a driver is told before anything is shown: what it costs, who learns what, and what stays hidden.
//!
//! What the operator is told is made from the very messages that are sent, taken to pieces member by member: whatever is
//! added to a message has to be added here before it compiles. What others learn is said in `consent/others.rs`; where a driver asks
//! for what a charge costs, and whom the wallet asks for vouchers and prices ahead of it, is not part of a charge.

mod others;

pub use others::{Learner, Lookups};

use crate::cost::ChargeCost;
use crate::visit::Offer;
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Money, decimal};
use eroam_domain::visit::{ChargeLimits, VisitRequest};
use eroam_domain::voucher::{SignedVoucher, Voucher};
use eroam_ssi::anoncreds::{Comparison, HeldCredential, ProofRequest};
use eroam_ssi::protocol::charging::attributes;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// What is about to be disclosed, and what it is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Consent {
    /// To whom: the operator, and the station that speaks for it.
    pub operator: PartyId,
    /// Where.
    pub place: String,
    /// Whether the station's meter is certified.
    pub meter_certified: bool,
    /// Names and values of the contract that are shown.
    pub shown: Vec<(String, String)>,
    /// What is proved without being shown.
    pub proved: Vec<String>,
    /// What the operator learns besides: names and values of what comes with the request and the voucher.
    pub said: Vec<(String, String)>,
    /// Names of what is in the contract and stays hidden from the operator.
    pub hidden: Vec<String>,
    /// What others learn, and what its operator learns in other ways.
    pub others: Vec<(Learner, String)>,
    /// What it costs.
    pub cost: ChargeCost,
}

/// The name of the contract's provider among the attributes of its credential.
const PROVIDER: &str = "provider";

impl Consent {
    /// What answering `request` with `credential` and the voucher of `offer`, at its station, discloses. `lookups` are those
    /// by which station and offer were checked.
    #[must_use]
    pub fn of(
        offer: &Offer,
        request: &ProofRequest,
        credential: &HeldCredential,
        cost: ChargeCost,
        lookups: Lookups<'_>,
    ) -> Self {
        let wanted: BTreeSet<String> = request
            .attributes()
            .values()
            .flat_map(|attribute| attribute.names.iter().map(str::to_owned))
            .collect();
        let emsp = offer.request().emsp.to_string();
        let (mut shown, mut hidden) = (Vec::new(), Vec::new());
        for (name, value) in credential.values() {
            if wanted.contains(name) {
                shown.push((name.to_owned(), value.to_owned()));
            } else if name != PROVIDER || value != emsp {
                // The provider is not shown by the proof; request and voucher name it all the same.
                hidden.push(name.to_owned());
            }
        }
        let compared = request.predicates().values();
        let mut proved: Vec<String> =
            compared.map(|asked| proved(&asked.name, asked.comparison, asked.bound)).collect();
        if request.non_revoked().is_some() {
            proved.push("the contract is not revoked".to_owned());
        }
        let station = offer.station();
        Self {
            operator: station.operator,
            place: station.place.clone(),
            meter_certified: station.meter_certified,
            shown,
            proved,
            said: said(offer.request(), offer.voucher(), offer.limit()),
            hidden,
            others: others::others(offer, lookups),
            cost,
        }
    }
}

/// A comparison in words.
fn proved(name: &str, comparison: Comparison, bound: i32) -> String {
    match (name, comparison) {
        (attributes::VALID_UNTIL, Comparison::AtLeast) => {
            let (year, month, day) = (bound / 10_000, bound / 100 % 100, bound % 100);
            format!("your contract is still good on {year:04}-{month:02}-{day:02}; not until when")
        }
        _ => format!("{} {} {bound}", in_words(name), comparison.sign()),
    }
}

/// What an attribute of a contract is called in front of a driver.
fn in_words(name: &str) -> &str {
    match name {
        "contract_id" => "the number of your contract",
        "customer_id" => "your number at your provider",
        "provider" => "your provider",
        "daily_limit" => "your daily limit",
        "valid_from" => "since when your contract is good",
        attributes::VALID_UNTIL => "until when it is good",
        attributes::ZONES => "the zones where your contract is good (* is everywhere)",
        attributes::TIER => "your tier",
        other => other,
    }
}

/// The most hexadecimal digits in a row that a person can be asked to look at.
const DIGITS_SHOWN: usize = 16;

/// A value as it is shown to a person: of long numbers the beginning, by which it is told from others; the whole is in the
/// machine-readable form.
fn shortened(value: &str) -> String {
    let short = |word: &str| {
        let is_number = word.len() > 2 * DIGITS_SHOWN && word.bytes().all(|b| b.is_ascii_hexdigit());
        if is_number { word.chars().take(DIGITS_SHOWN).chain(['…']).collect() } else { word.to_owned() }
    };
    value.split(' ').map(short).collect::<Vec<_>>().join(" ")
}

/// What request and voucher say.
fn said(request: &VisitRequest, voucher: &SignedVoucher, limit: Money) -> Vec<(String, String)> {
    let mut said = Vec::new();
    let mut say = |name: &str, value: String| said.push((name.to_owned(), value));
    // `commitment` is of the voucher, which is told itself.
    let VisitRequest { emsp, definition, registry, limits, voucher: _commitment } = request;
    say("your provider", emsp.to_string());
    say("the kind of your contract", definition.to_string());
    say("the list with which it would be revoked", registry.to_string());
    // The request's amount is the limit of the agreement.
    let ChargeLimits { energy_max, leaves_at, amount_max: _, current_max } = limits;
    say("stop at", limit.to_string());
    if let Some(energy) = energy_max {
        say("stop at", format!("{} kWh", decimal(i128::from(energy.milli_wh()), 6, 0)));
    }
    if let Some(leaves_at) = leaves_at {
        say("stop at", leaves_at.to_string());
    }
    if let Some(current) = current_max {
        say("take at most", format!("{} A", decimal(i128::from(current.get()), 3, 0)));
    }
    let SignedVoucher { voucher, signature: _ } = voucher;
    // The network is the station's, too, the provider is named above, and its key is that of many vouchers.
    let Voucher { network: _, emsp: _, key: _, holder, cap, valid_from, valid_until } = voucher;
    say("a voucher that was never shown", format!("{} pays up to {cap}", holder.nullifier()));
    say("the voucher is valid", format!("{valid_from} to {valid_until}"));
    said
}

impl fmt::Display for Consent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "to         {} at {}", self.operator, self.place)?;
        for (name, value) in &self.shown {
            writeln!(f, "shown      {}: {value}", in_words(name))?;
        }
        for what in &self.proved {
            writeln!(f, "proved     {what}")?;
        }
        for (name, value) in &self.said {
            writeln!(f, "said       {name}: {}", shortened(value))?;
        }
        let hidden: Vec<&str> = self.hidden.iter().map(|name| in_words(name)).collect();
        writeln!(f, "hidden     {}", hidden.join(", "))?;
        for (who, what) in &self.others {
            writeln!(f, "{who:<10} {what}")?;
        }
        self.cost.fmt(f)?;
        if !self.meter_certified {
            writeln!(f, "note       the station's meter is not certified")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proved_and_what_stays_hidden_is_said_in_words() {
        let sentence = proved("valid_until", Comparison::AtLeast, 20_261_122);
        assert_eq!(sentence, "your contract is still good on 2026-11-22; not until when");
        assert_eq!(proved("daily_limit", Comparison::Below, 7), "your daily limit < 7");
        for name in [
            "contract_id",
            "customer_id",
            "daily_limit",
            "valid_from",
            "valid_until",
            "allowed_zones",
            "tier",
        ] {
            assert!(!in_words(name).contains('_') && in_words(name).contains(' '), "{name}");
        }
    }

    #[test]
    fn of_a_long_number_the_beginning_is_shown() {
        let digits = "0123456789abcdef".repeat(4);
        assert_eq!(
            shortened(&format!("{digits} pays up to 20.00 EUR")),
            "0123456789abcdef… pays up to 20.00 EUR"
        );
        for same in
            ["2026-11-22T00:00:00Z to 2026-11-23T00:00:00Z", "did:eroam:0123456789abcdef:xyz/1", "5 kWh", ""]
        {
            assert_eq!(shortened(same), same);
        }
    }
}
