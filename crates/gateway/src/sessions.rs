//! A charging session at a station of this organisation, as a pure state machine.
//!
//! Two halves arrive on their own paths and in any order: what the home utility says about the customer
//! (subscription) and what the station says was delivered (consumption). They are put together into exactly one
//! record, however their messages are delayed, repeated or lost; what cannot be put together is a visible pending
//! item ([`Session::pending`]).
//!
//! ```text
//!  AwaitingHome --Authorized--> Quoted --Accept--> Reserving --Reserved--> Charging --+
//!   |   |                      ^  |  \                |        (own card: at once)    | consumption known
//!   |   | Denied        Proven |  |   Refuse, Tick    | NotReserved                   v
//!   |   '----------------------|->+-------> Denied <--'                          Recording --RecordAccepted--> Recorded
//!   '--Offered--> AwaitingProof+                                                      '------RecordRefused---> Disputed
//! ```
//! A driver whom the operator does not know (paper B) sees the quote first, since the proof is bound to it; what a
//! contract id and the home utility's word are for others, a proof and a voucher are here.
//!
//! Source: Paper A, section 2.1.2 ("these two pieces of information are put together for each charging event").

use crate::vouchers::denial_of;
use eroam_domain::cdr::{AcceptanceSignature, Cdr, ChargingPeriod, SessionId};
use eroam_domain::charge::{AuthorizationRef, Denial, Quote};
use eroam_domain::codec::Digest;
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::time::{LocalClock, SettlementPeriod, UnixMillis};
use eroam_domain::voucher::SpentVoucher;
use eroam_ledger::reject::RejectCode;
use serde::{Deserialize, Serialize};

/// Who pays for a session, as far as the operator knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionPayer {
    /// Nobody who could be found.
    Unknown,
    /// The holder of a contract.
    Contract {
        /// Which one.
        contract: ContractId,
        /// Its home utility.
        home: PartyId,
        /// A salted digest of what the driver showed, to know it again; `None` when nothing was shown.
        credential: Option<Digest>,
    },
    /// A home utility, for one of its customers; which one the operator never learns.
    Voucher {
        /// The home utility.
        emsp: PartyId,
        /// [`eroam_domain::voucher::SignedVoucher::commitment`] of the voucher that is going to be shown.
        commitment: Digest,
    },
}

/// How a customer was authorized.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthorizedBy {
    /// This organisation's own customer.
    Home,
    /// The home utility was asked.
    Partner,
    /// The profile that an earlier authorization left here.
    Cache,
    /// A zero-knowledge proof, by which nobody is named.
    Proof,
}

/// What the home utility promised about a contract.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Promised {
    /// The home utility's authorization.
    pub reference: AuthorizationRef,
    /// How the driver pays.
    pub payment: PaymentOption,
    /// The version of the home utility's retail rules that was quoted.
    pub retail_version: u32,
}

/// On what ground a driver is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authority {
    /// This organisation's own customer.
    Home(Promised),
    /// The home utility was asked.
    Partner(Promised),
    /// The profile that an earlier authorization left here.
    Cache(Promised),
    /// A zero-knowledge proof of a contract.
    Proof,
}

/// The subscription half: what of the service description the session needs later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// On what ground.
    pub authority: Authority,
    /// The driver's tier.
    pub tier: Tier,
    /// OCPP charging priority.
    pub priority: i8,
    /// Stop at so much energy.
    pub energy_max: WattHours,
}

impl Grant {
    /// How it came about.
    #[must_use]
    pub const fn by(&self) -> AuthorizedBy {
        match self.authority {
            Authority::Home(_) => AuthorizedBy::Home,
            Authority::Partner(_) => AuthorizedBy::Partner,
            Authority::Cache(_) => AuthorizedBy::Cache,
            Authority::Proof => AuthorizedBy::Proof,
        }
    }

    /// What the home utility promised; `None` for a driver whom nobody named.
    #[must_use]
    pub const fn promised(&self) -> Option<&Promised> {
        match &self.authority {
            Authority::Home(promised) | Authority::Partner(promised) | Authority::Cache(promised) => {
                Some(promised)
            }
            Authority::Proof => None,
        }
    }
}

/// Who signed for the acceptance of a quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AcceptedBy {
    /// Nobody: an own customer's acceptance goes on no record.
    OwnCustomer,
    /// The operator's station, for a driver with a card or a PIN.
    Station(AcceptanceSignature),
    /// The driver's wallet, with a voucher.
    Voucher(Box<SpentVoucher>),
}

/// An accepted quote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {
    /// The quote.
    pub quote: Quote,
    /// When.
    pub at: UnixMillis,
    /// By whom.
    pub by: AcceptedBy,
}

impl Accepted {
    /// The voucher that it was accepted with.
    #[must_use]
    pub fn voucher(&self) -> Option<&SpentVoucher> {
        match &self.by {
            AcceptedBy::Voucher(spent) => Some(spent),
            AcceptedBy::OwnCustomer | AcceptedBy::Station(_) => None,
        }
    }
}

/// What opens the payer of a record to the home utility; the ledger does not see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayerOpening {
    /// The salt of the commitment to a contract.
    Contract {
        /// Random-looking bytes.
        salt: Digest,
    },
    /// The voucher, and the quote that was accepted with it.
    Voucher {
        /// The voucher.
        spent: Box<SpentVoucher>,
        /// The quote.
        quote: Box<Quote>,
    },
}

/// The consumption half: what the station metered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Consumption {
    /// When the session started.
    pub start: UnixMillis,
    /// When it ended.
    pub end: UnixMillis,
    /// The station's clock, with a change of it if there was one.
    pub clock: LocalClock,
    /// What was delivered when.
    pub periods: Vec<ChargingPeriod>,
    /// All of it.
    pub energy: WattHours,
    /// SHA-256 of the meter readings.
    pub readings: Digest,
}

/// Where a session stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(clippy::large_enum_variant, reason = "sessions live one at a time on the heap of the store")]
pub enum Phase {
    /// The home utility was asked.
    AwaitingHome,
    /// A driver whom the operator does not know sees a quote; the proof of a contract is awaited.
    AwaitingProof {
        /// The quote.
        quote: Quote,
        /// Stop at so much energy.
        energy_max: WattHours,
    },
    /// The driver sees a quote.
    Quoted {
        /// The subscription.
        grant: Grant,
        /// The quote.
        quote: Quote,
    },
    /// The ledger was asked for credit, or to reserve the voucher.
    Reserving {
        /// The subscription.
        grant: Grant,
        /// The acceptance.
        accepted: Accepted,
    },
    /// Power is on; the consumption is awaited.
    Charging {
        /// The subscription.
        grant: Grant,
        /// The acceptance.
        accepted: Accepted,
    },
    /// The record is on its way to the ledger.
    Recording {
        /// The subscription.
        grant: Grant,
        /// The record.
        cdr: Cdr,
        /// What opens its payer.
        opening: PayerOpening,
    },
    /// The record is on the ledger.
    Recorded {
        /// The subscription.
        grant: Grant,
        /// The record.
        cdr: Cdr,
        /// What opens its payer.
        opening: PayerOpening,
        /// The settlement period it was booked in.
        booked_in: SettlementPeriod,
        /// Whether the home utility has confirmed the report.
        reported: bool,
    },
    /// The organisation's own customer was charged: nothing to settle.
    Delivered {
        /// The subscription.
        grant: Grant,
        /// The acceptance.
        accepted: Accepted,
    },
    /// The ledger refused the record, or would: one of which not even the beginning is within a voucher's limit is not sent.
    Disputed {
        /// The subscription.
        grant: Grant,
        /// The record.
        cdr: Cdr,
        /// What opens its payer.
        opening: PayerOpening,
        /// Why.
        code: String,
    },
    /// The driver was not served.
    Denied(Denial),
}

/// A session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Session {
    /// The operator's id for it.
    pub id: SessionId,
    /// Where.
    pub evse: EvseId,
    /// Who pays.
    pub payer: SessionPayer,
    /// When the driver asked.
    pub requested_at: UnixMillis,
    /// The station's clock then.
    pub clock: LocalClock,
    /// What the driver wanted.
    pub energy_wanted: Option<WattHours>,
    /// When the driver wanted to leave.
    pub leaves_at: Option<UnixMillis>,
    /// Where it stands.
    pub phase: Phase,
    /// The consumption half, as soon as it is known.
    pub consumption: Option<Consumption>,
}

/// What happens to a session.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "events are handled one at a time")]
pub enum SessionEvent {
    /// The subscription half and a quote made from it.
    Authorized {
        /// The subscription.
        grant: Grant,
        /// The quote.
        quote: Quote,
    },
    /// A quote for a driver whom the operator does not know.
    Offered {
        /// The quote.
        quote: Quote,
        /// Stop at so much energy.
        energy_max: WattHours,
    },
    /// That driver has proved a contract.
    Proven(Grant),
    /// The driver is not served.
    Denied(Denial),
    /// What that driver has proved or shown does not do.
    Refuted(Denial),
    /// The driver accepts the quote.
    Accept {
        /// When.
        at: UnixMillis,
        /// Who signed for it.
        by: AcceptedBy,
    },
    /// The driver refuses the quote.
    Refuse,
    /// The ledger reserved the credit or the voucher.
    Reserved,
    /// It did not.
    NotReserved(RejectCode),
    /// The station reports what was delivered.
    Consumed(Consumption),
    /// Both halves were put together.
    Joined {
        /// The record.
        cdr: Cdr,
        /// What opens its payer.
        opening: PayerOpening,
    },
    /// Both halves were put together, but not even the beginning of the session costs as little as the driver agreed to.
    OverLimit {
        /// The record that the ledger would refuse.
        cdr: Cdr,
        /// What opens its payer.
        opening: PayerOpening,
        /// What would be due for that beginning, in millionths.
        due: i64,
        /// The most that may be due, in millionths.
        limit: i64,
    },
    /// The ledger booked the record.
    RecordAccepted(SettlementPeriod),
    /// It did not.
    RecordRefused(RejectCode),
    /// The home utility confirmed the report.
    ReportReceived,
    /// Time has passed.
    Tick(UnixMillis),
}

/// What a session wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEffect {
    /// Show the quote to the driver.
    ShowQuote,
    /// Tell the driver why not, and keep the power off.
    Deny(Denial),
    /// Ask the ledger for credit, or for the voucher.
    Reserve,
    /// Switch the power on.
    PowerOn,
    /// Put the two halves together.
    Join,
    /// Send the record to the ledger.
    Submit,
    /// Report to the home utility.
    Report,
    /// The own customer's session is complete: bill it.
    BillOwn,
}

/// Why a session waits for somebody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pending {
    /// The home utility has not answered.
    HomeSilent,
    /// The ledger has not answered.
    LedgerSilent,
    /// The station has not reported the end.
    ConsumptionMissing,
    /// Both halves are there, but they make no record: there is no price, or the station is gone.
    Unpriced,
    /// The station reports energy for a session that was denied or never accepted.
    EnergyWithoutAuthorization,
    /// The ledger refused the record.
    RecordRefused(String),
    /// The home utility has not confirmed the report.
    ReportUnconfirmed,
}

impl Session {
    /// Whether the driver is another organisation's customer.
    #[must_use]
    pub fn is_roaming(&self, own: PartyId) -> bool {
        self.home().is_some_and(|home| home != own)
    }

    /// The home utility, as far as it is known.
    #[must_use]
    pub const fn home(&self) -> Option<PartyId> {
        match &self.payer {
            SessionPayer::Unknown => None,
            SessionPayer::Contract { home, .. } => Some(*home),
            SessionPayer::Voucher { emsp, .. } => Some(*emsp),
        }
    }

    /// The contract, if the operator knows it.
    #[must_use]
    pub const fn contract(&self) -> Option<ContractId> {
        match &self.payer {
            SessionPayer::Contract { contract, .. } => Some(*contract),
            SessionPayer::Unknown | SessionPayer::Voucher { .. } => None,
        }
    }

    /// The quote that awaits the driver's answer.
    #[must_use]
    pub const fn open_quote(&self) -> Option<&Quote> {
        match &self.phase {
            Phase::AwaitingProof { quote, .. } | Phase::Quoted { quote, .. } => Some(quote),
            _ => None,
        }
    }

    /// What the session waits for, when it has waited for longer than `patience`.
    #[must_use]
    pub fn pending(&self, now: UnixMillis, patience: DurationMs) -> Option<Pending> {
        let overdue = |since: UnixMillis| now.since(since).is_some_and(|waited| waited > patience);
        match &self.phase {
            Phase::Disputed { code, .. } => Some(Pending::RecordRefused(code.clone())),
            Phase::Denied(_) | Phase::AwaitingProof { .. } | Phase::Quoted { .. }
                if self.delivered().is_some() =>
            {
                Some(Pending::EnergyWithoutAuthorization)
            }
            Phase::AwaitingHome if overdue(self.requested_at) => Some(Pending::HomeSilent),
            Phase::Reserving { accepted, .. } if overdue(accepted.at) => Some(Pending::LedgerSilent),
            Phase::Charging { .. } if self.consumption.is_some() => Some(Pending::Unpriced),
            Phase::Charging { accepted, .. } if overdue(accepted.quote.until) => {
                Some(Pending::ConsumptionMissing)
            }
            Phase::Recording { cdr, .. } if overdue(cdr.end) => Some(Pending::LedgerSilent),
            Phase::Recorded { cdr, reported: false, .. } if overdue(cdr.end) => {
                Some(Pending::ReportUnconfirmed)
            }
            _ => None,
        }
    }

    /// Whether nothing more is awaited: the session need not be looked at again. One that somebody must look at
    /// ([`Session::pending`]) is not settled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        match &self.phase {
            Phase::Recorded { reported, .. } => *reported,
            Phase::Delivered { .. } => true,
            Phase::Denied(_) => self.delivered().is_none(),
            _ => false,
        }
    }

    /// The consumption, if any energy was delivered.
    fn delivered(&self) -> Option<&Consumption> {
        self.consumption.as_ref().filter(|c| !c.energy.is_zero())
    }
}

/// Applies an event. An event that does not fit the phase (late, repeated, out of order) changes nothing.
///
/// `own` is the organisation, which needs no credit for its own customers.
pub fn handle(session: &mut Session, own: PartyId, event: SessionEvent) -> Vec<SessionEffect> {
    let roaming = session.is_roaming(own);
    // The phase is taken out and put back, changed or not.
    let phase = std::mem::replace(&mut session.phase, Phase::AwaitingHome);
    let (phase, mut effects) = match (phase, event) {
        (Phase::AwaitingHome, SessionEvent::Authorized { grant, quote }) => {
            (Phase::Quoted { grant, quote }, vec![SessionEffect::ShowQuote])
        }
        (Phase::AwaitingHome, SessionEvent::Offered { quote, energy_max }) => {
            (Phase::AwaitingProof { quote, energy_max }, vec![SessionEffect::ShowQuote])
        }
        (Phase::AwaitingProof { quote, .. }, SessionEvent::Proven(grant)) => {
            (Phase::Quoted { grant, quote }, vec![SessionEffect::ShowQuote])
        }
        (Phase::AwaitingHome, SessionEvent::Denied(denial))
        | (Phase::AwaitingProof { .. } | Phase::Quoted { .. }, SessionEvent::Refuted(denial)) => deny(denial),
        (Phase::Quoted { quote, .. }, SessionEvent::Accept { at, .. }) if at > quote.expires_at => {
            deny(Denial::QuoteExpired)
        }
        (Phase::Quoted { grant, quote }, SessionEvent::Accept { at, by }) => {
            let accepted = Accepted { quote, at, by };
            // A voucher is spent once, wherever that is: the ledger has to say so even at home.
            if roaming || accepted.voucher().is_some() {
                (Phase::Reserving { grant, accepted }, vec![SessionEffect::Reserve])
            } else {
                (Phase::Charging { grant, accepted }, vec![SessionEffect::PowerOn])
            }
        }
        (Phase::AwaitingProof { .. } | Phase::Quoted { .. }, SessionEvent::Refuse) => {
            deny(Denial::QuoteRefused)
        }
        (Phase::AwaitingProof { quote, .. } | Phase::Quoted { quote, .. }, SessionEvent::Tick(now))
            if now > quote.expires_at =>
        {
            deny(Denial::QuoteExpired)
        }
        (Phase::Reserving { grant, accepted }, SessionEvent::Reserved) => {
            (Phase::Charging { grant, accepted }, vec![SessionEffect::PowerOn])
        }
        (Phase::Reserving { .. }, SessionEvent::NotReserved(code)) => deny(denial_of(code)),
        (Phase::Charging { grant, .. }, SessionEvent::Joined { cdr, opening }) => {
            (Phase::Recording { grant, cdr, opening }, vec![SessionEffect::Submit])
        }
        (Phase::Recording { grant, cdr, opening }, SessionEvent::RecordAccepted(booked_in)) => {
            (Phase::Recorded { grant, cdr, opening, booked_in, reported: false }, vec![SessionEffect::Report])
        }
        (Phase::Charging { grant, .. }, SessionEvent::OverLimit { cdr, opening, due, limit }) => {
            let code = format!(
                "the beginning of the session alone costs {due} millionths, and the driver agreed to {limit} at most: nothing \
                 of it can be billed"
            );
            (Phase::Disputed { grant, cdr, opening, code }, Vec::new())
        }
        (Phase::Recording { grant, cdr, opening }, SessionEvent::RecordRefused(code)) => {
            (Phase::Disputed { grant, cdr, opening, code: code.to_string() }, Vec::new())
        }
        (Phase::Recorded { grant, cdr, opening, booked_in, .. }, SessionEvent::ReportReceived) => {
            (Phase::Recorded { grant, cdr, opening, booked_in, reported: true }, Vec::new())
        }
        (phase, SessionEvent::Consumed(consumption)) => {
            // The first report stands; a repeated one says the same, and a different one is the meter's dispute.
            if session.consumption.is_none() {
                session.consumption = Some(consumption);
            }
            (phase, Vec::new())
        }
        (phase, _) => (phase, Vec::new()),
    };
    session.phase = phase;
    complete(session, roaming, &mut effects);
    effects
}

fn deny(denial: Denial) -> (Phase, Vec<SessionEffect>) {
    (Phase::Denied(denial), vec![SessionEffect::Deny(denial)])
}

/// With both halves there, the session can be put together, whichever came last.
fn complete(session: &mut Session, roaming: bool, effects: &mut Vec<SessionEffect>) {
    if session.consumption.is_none() || !matches!(session.phase, Phase::Charging { .. }) {
        return;
    }
    // The session is over: switched on now, energy would flow that nobody records.
    effects.retain(|effect| *effect != SessionEffect::PowerOn);
    if roaming {
        effects.push(SessionEffect::Join);
        return;
    }
    let phase = std::mem::replace(&mut session.phase, Phase::AwaitingHome);
    session.phase = match phase {
        Phase::Charging { grant, accepted } => {
            effects.push(SessionEffect::BillOwn);
            Phase::Delivered { grant, accepted }
        }
        other => other,
    };
}

/// The effects that a session was waiting for when the process stopped, to be asked for again.
#[must_use]
pub fn resume(session: &Session) -> Vec<SessionEffect> {
    match &session.phase {
        Phase::AwaitingProof { .. } | Phase::Quoted { .. } => vec![SessionEffect::ShowQuote],
        Phase::Reserving { .. } => vec![SessionEffect::Reserve],
        Phase::Charging { .. } if session.consumption.is_some() => vec![SessionEffect::Join],
        Phase::Charging { .. } => vec![SessionEffect::PowerOn],
        Phase::Recording { .. } => vec![SessionEffect::Submit],
        Phase::Recorded { reported: false, .. } => vec![SessionEffect::Report],
        _ => Vec::new(),
    }
}
