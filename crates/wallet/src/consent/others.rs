//! What others than a station's operator learn of a charge, in sentences: who sees the device, whom the wallet asks, what the
//! provider is told and what stands on the ledger.

use crate::visit::Offer;
use serde::Serialize;
use std::fmt;

/// Who learns of a charge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Learner {
    /// The station, which is in touch with the device.
    Station,
    /// The operator, by its server.
    Operator,
    /// Whoever runs the server through which the wallet reads the ledger.
    Resolver,
    /// The driver's own provider.
    Provider,
    /// Every member of the ledger.
    Ledger,
    /// If the provider disputes the charge: itself, and the member that decides.
    Dispute,
}

impl fmt::Display for Learner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Station => "station",
            Self::Operator => "operator",
            Self::Resolver => "resolver",
            Self::Provider => "provider",
            Self::Ledger => "ledger",
            Self::Dispute => "dispute",
        })
    }
}

/// Where the wallet looks up what it checks a station and its offer by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lookups<'a> {
    /// The URL of the server through which it reads the ledger.
    pub resolver: &'a str,
    /// Whether it fetches the operator's list of revoked stations: from the server that the station's credential names.
    pub revoked_stations: bool,
}

/// What they learn.
pub(super) fn others(offer: &Offer, lookups: Lookups<'_>) -> Vec<(Learner, String)> {
    let operator = offer.station().operator;
    let mut others =
        vec![(Learner::Station, "it sees the network address of your device, and your car".to_owned())];
    if lookups.revoked_stations {
        let by_list = format!(
            "the server that {operator} names sees the network address of your device when your wallet fetches its list of \
             revoked stations, which is the same for all its stations"
        );
        others.push((Learner::Operator, by_list));
    }
    others.push((Learner::Resolver, by_lookups(offer, lookups.resolver)));
    others.push((Learner::Provider, by_voucher(offer)));
    others.extend(on_ledger(offer).into_iter().map(|what| (Learner::Ledger, what)));
    others.extend(in_dispute(offer).map(|what| (Learner::Dispute, what)));
    others
}

/// The wallet looks up, each with its proof: the operator's DID; its tariff, the agreement and, where the price follows one,
/// the forecast of the zone; the definition and registry of the contract with its issuer and mandate.
fn by_lookups(offer: &Offer, resolver: &str) -> String {
    let (emsp, operator) = (offer.request().emsp, offer.station().operator);
    let agreement = if emsp == operator { String::new() } else { format!(", its agreement with {emsp}") };
    format!(
        "{resolver} sees the network address of your device and what your wallet looks up of the ledger, and when: {operator} \
         and its tariff{agreement}, the forecast of the zone {} if the price follows it, the kind of your contract and the \
         list with which it would be revoked; not your contract, your voucher or the station",
        offer.station().zone
    )
}

/// What the report of the session says besides the record: [`eroam_domain::charge::SessionReport`].
fn by_voucher(offer: &Offer) -> String {
    let (emsp, operator) = (offer.request().emsp, offer.station().operator);
    if emsp == operator {
        format!("{emsp} runs this station and knows by the voucher that it is you")
    } else {
        format!(
            "{emsp} finds out by the voucher that it was you: it learns the station and its place from {operator}, and all that \
             the ledger has of the charge"
        )
    }
}

/// What an operator gives out of a record that is contested: the quote, the voucher and what the station sent. At the provider's
/// own station there is nobody to dispute with.
fn in_dispute(offer: &Offer) -> Option<String> {
    let (emsp, operator) = (offer.request().emsp, offer.station().operator);
    (emsp != operator).then(|| {
        format!(
            "only if {emsp} contests the charge, {operator} gives it, and the member that their agreement names to decide, what \
             is shown, proved and said here, the quote, and the meter's signed readings, which say how much was charged when and \
             name the meter; neither gives away you or the number of your contract"
        )
    })
}

/// What the transactions say that reserve a voucher and record a charge: [`eroam_domain::voucher::SpentVoucher`] and
/// [`eroam_domain::cdr::Cdr`]. At the provider's own station only the voucher's number goes there.
fn on_ledger(offer: &Offer) -> Vec<String> {
    let station = offer.station();
    let (emsp, operator, zone) = (offer.request().emsp, station.operator, &station.zone);
    if emsp == operator {
        return vec![format!("its members see that a voucher of {emsp} was used up, and when; nothing else")];
    }
    vec![
        format!(
            "before power, its members see the voucher of {emsp} with its own key, what it pays and its days, the agreement with \
             {operator}, a number of the charge, a digest of the quote, your limit, when you agreed, your signature with that \
             key, and until when {operator} has credit for it"
        ),
        format!(
            "afterwards, they see numbers of the record and of the charge, the agreement and the tariff of {operator}, the zone \
             {zone}, and a code of {operator} for the station, which stays the same; when you agreed, when the charge began and \
             ended, and the local time there; of each period when it began, its energy, how long the car charged, stood there \
             and had the station reserved, and the least and the most power and current if they were measured; the energy of \
             all, the price that {operator} is paid with its currency, and the forecast that the price follows; digests of the \
             quote and of the meter's readings; your signature, and which voucher pays"
        ),
        "they do not see you, your contract, the station's number or its place".to_owned(),
    ]
}
