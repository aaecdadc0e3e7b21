//! A charge, as a wallet and a station talk about it: `charging/1.0`, our own protocol.
//!
//! ```text
//! driver                                       station
//!  Begun                                         Begun
//!    | ------------- request ------------------> Requested
//!  Requested <------- quote --------------------   |
//!  Quoted    (a proof is asked for and given under present-proof)
//!    | ------------- accept -------------------> Accepted
//!  Accepted <-------- started ------------------   |
//!  Charging <-------- progress, ..  ------------ Charging
//!    | ------------- stop ---------------------> Stopping
//!  Ended    <-------- finished ----------------- Ended
//!
//! any state before Charging --denied (station), withdrawn (driver)--> Ended
//! ```
//! A driver whose wallet was away comes back over a new connection and takes the charge up again ([`Resume`]): the rest is
//! said there, on the thread of that question, as if nothing had been.
//!
//! ```text
//!    | ------------- resume -------------------> signed with the key of the connection that was
//!    | <------------ resume-answer ------------- charging, or finished, or nothing known
//!  Charging                                      Charging
//! ```
//! Both sides keep the same state and refuse what does not fit it. What is said is of `eroam_domain::visit`; whether it
//! is true, who sent it may be asked: nothing here checks a proof or a voucher.
//!
//! The driver's proof answers a request that both sides write by themselves ([`contract_request`]), so that a wallet can
//! prepare it before it knows the station.
//!
//! Source: paper B, figure 4; DESIGN.md, "The two ways in".

use super::questions::{Question, content, kind, name_in, with_content};
use super::{Conversation, Illegal, Incoming, in_time};
use crate::anoncreds::{
    AnonCredsError, Comparison, Interval, Nonce, ObjectId, ProofRequest, Restriction, Timestamp,
};
use crate::did::VerificationKey;
use crate::didcomm::{Channel, Message, MessageId};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::time::{CivilDate, UnixMillis};
use eroam_domain::visit::{Denied, Finished, Progress, Started, VisitQuote, VisitRequest};
use eroam_domain::voucher::SpentVoucher;
use serde::{Deserialize, Serialize};

/// The protocol's URI.
pub const PROTOCOL: &str = "https://eroam.example/charging/1.0";

/// Which side of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The wallet.
    Driver,
    /// The charging station.
    Station,
}

/// How far a visit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Nothing was asked.
    Begun,
    /// The driver asked.
    Requested,
    /// The station said what it costs.
    Quoted,
    /// The driver agreed.
    Accepted,
    /// Power is on.
    Charging,
    /// The driver wants it off.
    Stopping,
    /// Nothing more will be said.
    Ended,
}

impl Phase {
    const fn name(self) -> &'static str {
        match self {
            Self::Begun => "nothing was asked",
            Self::Requested => "a quote is awaited",
            Self::Quoted => "the quote waits to be accepted",
            Self::Accepted => "power is awaited",
            Self::Charging => "power is on",
            Self::Stopping => "the end is awaited",
            Self::Ended => "the visit has ended",
        }
    }
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "handled one at a time")]
pub enum Said {
    /// Driver: I want to charge.
    Request(VisitRequest),
    /// Station: so much it costs.
    Quote(VisitQuote),
    /// Driver: agreed.
    Accept(SpentVoucher),
    /// Station: power is on.
    Started(Started),
    /// Station: so far it is.
    Progress(Progress),
    /// Driver: enough.
    Stop,
    /// Driver: I do not want to any more.
    Withdrawn,
    /// Station: it is over.
    Finished(Finished),
    /// Station: no.
    Denied(Denied),
}

impl Said {
    /// The message's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "request",
            Self::Quote(_) => "quote",
            Self::Accept(_) => "accept",
            Self::Started(_) => "started",
            Self::Progress(_) => "progress",
            Self::Stop => "stop",
            Self::Withdrawn => "withdrawn",
            Self::Finished(_) => "finished",
            Self::Denied(_) => "denied",
        }
    }

    /// Whose it is to say.
    #[must_use]
    pub const fn speaker(&self) -> Side {
        match self {
            Self::Request(_) | Self::Accept(_) | Self::Stop | Self::Withdrawn => Side::Driver,
            Self::Quote(_) | Self::Started(_) | Self::Progress(_) | Self::Finished(_) | Self::Denied(_) => {
                Side::Station
            }
        }
    }

    /// What follows when it is said in `phase`; `None` where it cannot be said.
    const fn after(&self, phase: Phase) -> Option<Phase> {
        Some(match (phase, self) {
            (Phase::Begun, Self::Request(_)) => Phase::Requested,
            (Phase::Requested, Self::Quote(_)) => Phase::Quoted,
            (Phase::Quoted, Self::Accept(_)) => Phase::Accepted,
            (Phase::Accepted, Self::Started(_)) => Phase::Charging,
            (Phase::Charging | Phase::Stopping, Self::Progress(_)) => phase,
            (Phase::Charging, Self::Stop) => Phase::Stopping,
            (Phase::Charging | Phase::Stopping, Self::Finished(_)) => Phase::Ended,
            (Phase::Requested | Phase::Quoted | Phase::Accepted, Self::Denied(_) | Self::Withdrawn) => {
                Phase::Ended
            }
            _ => return None,
        })
    }

    fn write(&self, id: MessageId) -> Result<Message, Illegal> {
        let message = Message::new(kind(PROTOCOL, self.name())?, id);
        match self {
            Self::Request(content) => with_content(message, content),
            Self::Quote(content) => with_content(message, content),
            Self::Accept(content) => with_content(message, content),
            Self::Started(content) => with_content(message, content),
            Self::Progress(content) => with_content(message, content),
            Self::Finished(content) => with_content(message, content),
            Self::Denied(content) => with_content(message, content),
            Self::Stop | Self::Withdrawn => Ok(message),
        }
    }

    fn read(message: &Message) -> Result<Self, Illegal> {
        let name = name_in(PROTOCOL, message)?;
        Ok(match name {
            "request" => Self::Request(content(message)?),
            "quote" => Self::Quote(content(message)?),
            "accept" => Self::Accept(content(message)?),
            "started" => Self::Started(content(message)?),
            "progress" => Self::Progress(content(message)?),
            "stop" => Self::Stop,
            "withdrawn" => Self::Withdrawn,
            "finished" => Self::Finished(content(message)?),
            "denied" => Self::Denied(content(message)?),
            _ => return Err(Illegal::Unsupported { found: message.kind().clone() }),
        })
    }
}

/// One side's view of a visit. It begins with the driver's request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    side: Side,
    conversation: Conversation,
    phase: Phase,
}

impl Visit {
    /// The driver asks. `id` becomes the thread.
    ///
    /// # Errors
    /// [`Illegal::Malformed`] for what JSON cannot say.
    pub fn ask(
        channel: Channel,
        request: VisitRequest,
        id: MessageId,
        deadline: UnixMillis,
    ) -> Result<(Self, Message), Illegal> {
        let message = Said::Request(request).write(id.clone())?.expiring(deadline);
        let conversation = Conversation { channel, thread: id, deadline };
        Ok((Self { side: Side::Driver, conversation, phase: Phase::Requested }, message))
    }

    /// The station is asked.
    ///
    /// # Errors
    /// [`Illegal`].
    pub fn asked(
        incoming: &Incoming,
        now: UnixMillis,
        deadline: UnixMillis,
    ) -> Result<(Self, VisitRequest), Illegal> {
        match Said::read(incoming.message())? {
            Said::Request(request) => {
                let conversation = Conversation::begin(incoming, now, deadline)?;
                Ok((Self { side: Side::Station, conversation, phase: Phase::Requested }, request))
            }
            other => Err(Illegal::OutOfOrder { state: Phase::Begun.name(), event: other.name() }),
        }
    }

    /// A charge that was taken up again while power is on, on the thread of the question that did so.
    #[must_use]
    pub const fn taken_up(side: Side, channel: Channel, thread: MessageId, deadline: UnixMillis) -> Self {
        let conversation = Conversation { channel, thread, deadline };
        Self { side, conversation, phase: Phase::Charging }
    }

    /// Says something.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn say(&self, said: &Said, id: MessageId, now: UnixMillis) -> Result<(Self, Message), Illegal> {
        let next = self.step(said, self.side)?;
        // Whoever is late may still say that it is over.
        if next.phase != Phase::Ended {
            in_time(Some(self.conversation.deadline), now)?;
        }
        let message = said.write(id)?.on_thread(self.conversation.thread.clone());
        Ok((next, message))
    }

    /// Hears something.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn hear(&self, incoming: &Incoming, now: UnixMillis) -> Result<(Self, Said), Illegal> {
        let said = Said::read(incoming.message())?;
        self.conversation.admit(incoming, now)?;
        let speaker = match self.side {
            Side::Driver => Side::Station,
            Side::Station => Side::Driver,
        };
        Ok((self.step(&said, speaker)?, said))
    }

    fn step(&self, said: &Said, speaker: Side) -> Result<Self, Illegal> {
        let next = said.after(self.phase).filter(|_| said.speaker() == speaker);
        let phase = next.ok_or(Illegal::OutOfOrder { state: self.phase.name(), event: said.name() })?;
        Ok(Self { phase, ..self.clone() })
    }

    /// How far it is.
    #[must_use]
    pub const fn phase(&self) -> Phase {
        self.phase
    }

    /// Its connection, thread and end.
    #[must_use]
    pub const fn conversation(&self) -> &Conversation {
        &self.conversation
    }

    /// The same visit with another end: a charge lasts longer than what leads to it.
    #[must_use]
    pub fn until(mut self, deadline: UnixMillis) -> Self {
        self.conversation.deadline = deadline;
        self
    }
}

/// A driver whose wallet was away takes its charge up again over a new connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resume {
    /// The thread of the visit.
    pub visit: String,
    /// By the wallet's key of the connection that the visit began on, over [`resume_digest`].
    pub signature: SignatureBytes,
}

impl Question for Resume {
    const PROTOCOL: &'static str = PROTOCOL;
    const NAME: &'static str = "resume";
    type Answer = Resumed;
}

/// What a station knows of a charge that is taken up again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case", tag = "state")]
pub enum Resumed {
    /// Power is on. The rest is said on the thread of the question.
    Charging {
        /// Since when, and to which limits.
        started: Started,
    },
    /// It is over.
    Finished {
        /// Since when, and to which limits.
        started: Started,
        /// How it ended.
        finished: Finished,
    },
    /// No such charge, or not of whoever signed, or it ended too long ago: whoever asks learns no more.
    Unknown {},
}

/// What is signed when a charge is taken up again: it names the visit, the connection that it began on, and the one that it
/// goes on on, so that what was signed is of no use on another.
#[must_use]
pub fn resume_digest(
    visit: &MessageId,
    [wallet_before, station_before]: [&VerificationKey; 2],
    [wallet_now, station_now]: [&VerificationKey; 2],
) -> Digest {
    let parts = [wallet_before, station_before, wallet_now, station_now].map(|key| key.as_bytes().as_slice());
    let [wallet_before, station_before, wallet_now, station_now] = parts;
    let visit = visit.as_str().as_bytes();
    let parts = [visit, wallet_before, station_before, wallet_now, station_now];
    Digest::of_parts("eroam/resume/1", &parts)
}

/// The names of a driver's credential that a station reads, and of the one that paper B compares.
pub mod attributes {
    /// Grid zones, separated by commas; `*` for everywhere.
    pub const ZONES: &str = "allowed_zones";
    /// The tier.
    pub const TIER: &str = "tier";
    /// The last day, as a number `YYYYMMDD`.
    pub const VALID_UNTIL: &str = "valid_until";
}

/// The referent under which [`contract_request`] asks for what is shown.
pub const CONTRACT: &str = "contract";
/// The referent under which paper B's comparison is asked for.
pub const NOT_EXPIRED: &str = "not expired";

/// What a driver is asked to prove of its contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContractDemand {
    /// Zones and tier shown, not revoked. That the contract has ended, its issuer says by revoking it.
    Default,
    /// As paper B has it: also that the last day is not before this one.
    NotExpired(CivilDate),
}

/// The request that every station makes of customers of one issuer, but for the nonce: nothing in it depends on the
/// station. `newest` is when the registry's newest list was published: no other will do.
///
/// # Errors
/// [`AnonCredsError`].
pub fn contract_request(
    cred_def_id: &ObjectId,
    demand: ContractDemand,
    newest: Timestamp,
    nonce: Nonce,
) -> Result<ProofRequest, AnonCredsError> {
    let ours = || Restriction::cred_def(cred_def_id);
    // A second's width: ACA-Py takes an interval that ends where it begins for an open one.
    let end = Timestamp::new(newest.seconds().saturating_add(1))?;
    let interval = Interval { from: Some(newest), to: Some(end) };
    let request = ProofRequest::builder("contract", "1.0")
        .group(CONTRACT, [attributes::ZONES, attributes::TIER], ours())
        .non_revoked(interval);
    let request = match demand {
        ContractDemand::Default => request,
        ContractDemand::NotExpired(today) => request.predicate(
            NOT_EXPIRED,
            attributes::VALID_UNTIL,
            Comparison::AtLeast,
            day_number(today),
            ours(),
        ),
    };
    request.build_with(nonce)
}

/// A day as comparisons have it: `YYYYMMDD`.
#[must_use]
pub fn day_number(day: CivilDate) -> i32 {
    let digits: String = day.to_string().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, channel, channel_of, id, incoming};
    use super::*;
    use crate::didcomm::{MessageType, SigningKey};
    use crate::protocol::questions::CONTENT;
    use eroam_domain::charge::{Denial, Quote};
    use eroam_domain::codec::{Digest, SignatureBytes};
    use eroam_domain::money::{Currency, Money, Price};
    use eroam_domain::quantity::{WattHours, Watts};
    use eroam_domain::time::LocalClock;
    use eroam_domain::visit::{ChargeLimits, EndReason};
    use eroam_domain::voucher::{OneTimeKey, SignedVoucher, Voucher, VoucherAcceptance};
    use serde_json::Value;

    fn request() -> VisitRequest {
        let limits = ChargeLimits { amount_max: Some(20_000_000), ..ChargeLimits::default() };
        let did = format!("did:eroam:{:016x}:{:032x}/anoncreds/v1", 1, 2);
        VisitRequest {
            emsp: "PT-LUZ".parse().unwrap(),
            definition: format!("{did}/credential-definition/{:016x}/1", 3).parse().unwrap(),
            registry: format!("{did}/revocation-registry/{:016x}/1", 4).parse().unwrap(),
            limits,
            voucher: Digest::of(b"voucher"),
        }
    }

    fn spent() -> SpentVoucher {
        let voucher = Voucher {
            network: Digest::ZERO,
            emsp: "PT-LUZ".parse().unwrap(),
            key: 0,
            holder: OneTimeKey([1; 32]),
            cap: Money::new(1, Currency::new("EUR").unwrap()),
            valid_from: at(0),
            valid_until: at(1),
        };
        SpentVoucher {
            voucher: SignedVoucher { voucher, signature: SignatureBytes([2; 64]) },
            acceptance: VoucherAcceptance {
                session: Digest::ZERO,
                operator: "PT-GLP".parse().unwrap(),
                quote: Digest::ZERO,
                limit: 1,
                accepted_at: at(1),
            },
            signature: SignatureBytes([3; 64]),
        }
    }

    /// One of each, in the order of a visit.
    fn everything() -> Vec<Said> {
        let quote = Quote {
            session: "S1".parse().unwrap(),
            operator: "PT-GLP".parse().unwrap(),
            agreement: None,
            tariff: eroam_domain::cdr::TariffRef { id: "AC".parse().unwrap(), version: 1 },
            energy: WattHours::ZERO,
            until: at(9),
            currency: Currency::new("EUR").unwrap(),
            wholesale: Price::ZERO,
            retail: None,
            forecast: None,
            made_at: at(1),
            expires_at: at(5),
        };
        let finished = Finished {
            reason: EndReason::Full,
            start: at(1),
            end: at(2),
            energy: WattHours::from_milli_wh(5),
            readings: "OCMF|{}|{}".to_owned(),
        };
        vec![
            Said::Request(request()),
            Said::Quote(VisitQuote { quote, clock: LocalClock::UTC, random: Digest::of(b"random") }),
            Said::Accept(spent()),
            Said::Started(Started { at: at(1), energy_max: WattHours::ZERO, amount_max: 7 }),
            Said::Progress(Progress { at: at(2), energy: WattHours::ZERO, power: Watts::new(11_000) }),
            Said::Stop,
            Said::Finished(finished),
            Said::Denied(Denial::NoAgreement.into()),
            Said::Withdrawn,
        ]
    }

    fn in_phase(side: Side, phase: Phase) -> Visit {
        let conversation = Conversation { channel: channel(), thread: id("t"), deadline: at(100) };
        Visit { side, conversation, phase }
    }

    fn heard(said: &Said, thread: &str) -> Incoming {
        let message = said.write(id("m")).unwrap().on_thread(id(thread));
        incoming(channel(), Message::parse(&message.to_bytes()).unwrap())
    }

    #[test]
    fn what_is_said_is_heard() {
        for said in everything() {
            let message = said.write(id("m")).unwrap();
            let read = Said::read(&Message::parse(&message.to_bytes()).unwrap()).unwrap();
            assert_eq!(read, said, "{}", said.name());
        }
    }

    #[test]
    fn each_side_says_and_hears_what_fits_the_phase_and_nothing_else() {
        use Phase::{Accepted, Begun, Charging, Ended, Quoted, Requested, Stopping};
        let table: [(&str, &[(Phase, Phase)]); 9] = [
            ("request", &[(Begun, Requested)]),
            ("quote", &[(Requested, Quoted)]),
            ("accept", &[(Quoted, Accepted)]),
            ("started", &[(Accepted, Charging)]),
            ("progress", &[(Charging, Charging), (Stopping, Stopping)]),
            ("stop", &[(Charging, Stopping)]),
            ("finished", &[(Charging, Ended), (Stopping, Ended)]),
            ("denied", &[(Requested, Ended), (Quoted, Ended), (Accepted, Ended)]),
            ("withdrawn", &[(Requested, Ended), (Quoted, Ended), (Accepted, Ended)]),
        ];
        let (mut legal, mut illegal) = (0, 0);
        for (said, (name, moves)) in everything().iter().zip(table) {
            assert_eq!(said.name(), name);
            for phase in [Begun, Requested, Quoted, Accepted, Charging, Stopping, Ended] {
                for side in [Side::Driver, Side::Station] {
                    let next = moves.iter().find(|(from, _)| *from == phase).map(|(_, to)| *to);
                    let visit = in_phase(side, phase);
                    let says = visit.say(said, id("m"), at(50)).ok().map(|(visit, _)| visit.phase());
                    assert_eq!(says, next.filter(|_| said.speaker() == side), "{side:?} {name} in {phase:?}");
                    let hears = visit.hear(&heard(said, "t"), at(50)).ok().map(|(visit, _)| visit.phase());
                    assert_eq!(
                        hears,
                        next.filter(|_| said.speaker() != side),
                        "{side:?} {name} in {phase:?}"
                    );
                    *(if says.is_some() { &mut legal } else { &mut illegal }) += 1;
                }
            }
        }
        assert_eq!((legal, illegal), (15, 111));
    }

    #[test]
    fn others_late_ones_and_garbage_are_refused() {
        let visit = in_phase(Side::Driver, Phase::Accepted);
        let started = &everything()[3];
        assert!(visit.hear(&heard(started, "t"), at(100)).is_ok());
        assert!(matches!(visit.hear(&heard(started, "t"), at(101)), Err(Illegal::Expired { .. })));
        assert!(matches!(visit.hear(&heard(started, "u"), at(1)), Err(Illegal::WrongThread { .. })));
        let foreign = incoming(channel_of(1, 3), heard(started, "t").message().clone());
        assert!(matches!(visit.hear(&foreign, at(1)), Err(Illegal::WrongConnection)));
        let came = |kind: &str, content: Value| {
            let message = Message::new(MessageType::parse(kind).unwrap(), id("m")).with(CONTENT, content);
            visit.hear(&incoming(channel(), message.on_thread(id("t"))), at(1))
        };
        let of = |name: &str| format!("{PROTOCOL}/{name}");
        assert!(matches!(came(&of("started"), Value::Null), Err(Illegal::Malformed("content"))));
        assert!(matches!(came(&of("party"), Value::Null), Err(Illegal::Unsupported { .. })));
        let next_version = "https://eroam.example/charging/1.1/started";
        assert!(matches!(came(next_version, Value::Null), Err(Illegal::Unsupported { .. })));
        // A visit ends also when it is late.
        let (ended, _) =
            visit.say(&Said::Withdrawn, id("m"), at(1_000)).expect("it may always be said to be over");
        assert_eq!(ended.phase(), Phase::Ended);
    }

    #[test]
    fn a_visit_begins_with_a_request_in_time() {
        let (visit, message) = Visit::ask(channel(), request(), id("r"), at(50)).unwrap();
        assert_eq!((visit.phase(), visit.conversation().thread()), (Phase::Requested, &id("r")));
        let came = incoming(channel(), message);
        let (at_station, asked) = Visit::asked(&came, at(50), at(90)).unwrap();
        assert_eq!((at_station.phase(), asked), (Phase::Requested, request()));
        assert!(matches!(Visit::asked(&came, at(51), at(90)), Err(Illegal::Expired { .. })));
        let other = Visit::asked(&heard(&Said::Stop, "t"), at(1), at(90));
        assert!(matches!(other, Err(Illegal::OutOfOrder { .. })), "{other:?}");
    }

    #[test]
    fn a_charge_that_is_taken_up_again_goes_on_where_power_is_on() {
        let driver = Visit::taken_up(Side::Driver, channel(), id("t"), at(100));
        assert_eq!(driver, in_phase(Side::Driver, Phase::Charging));
        let (stopping, message) = driver.say(&Said::Stop, id("m"), at(1)).unwrap();
        let station = Visit::taken_up(Side::Station, channel(), id("t"), at(100));
        let came = incoming(channel(), Message::parse(&message.to_bytes()).unwrap());
        assert_eq!(station.hear(&came, at(2)).unwrap().1, Said::Stop);
        assert_eq!(stopping.phase(), Phase::Stopping);
    }

    #[test]
    fn what_takes_a_charge_up_again_is_of_one_visit_and_two_connections() {
        let key = |n: u8| SigningKey::from_seed(&[n; 32]).verification_key();
        let [a, b, c, d] = [1, 2, 3, 4].map(key);
        let digest = |visit: &str, before, now| resume_digest(&id(visit), before, now).0;
        let digests = [
            digest("t", [&a, &b], [&c, &d]),
            digest("u", [&a, &b], [&c, &d]),
            digest("t", [&b, &a], [&c, &d]),
            digest("t", [&a, &b], [&d, &c]),
            digest("t", [&c, &d], [&a, &b]),
            digest("t", [&a, &c], [&b, &d]),
        ];
        let different: std::collections::BTreeSet<_> = digests.into_iter().collect();
        assert_eq!(different.len(), digests.len());
    }

    #[test]
    fn what_a_station_knows_of_a_charge_is_read_back() {
        let started = Started { at: at(1), energy_max: WattHours::ZERO, amount_max: 7 };
        let finished = Finished {
            reason: EndReason::Full,
            start: at(1),
            end: at(2),
            energy: WattHours::ZERO,
            readings: String::new(),
        };
        for resumed in
            [Resumed::Charging { started }, Resumed::Finished { started, finished }, Resumed::Unknown {}]
        {
            let text = serde_json::to_string(&resumed).unwrap();
            assert_eq!(serde_json::from_str::<Resumed>(&text).unwrap(), resumed);
        }
        assert!(serde_json::from_str::<Resumed>(r#"{"state":"unknown","more":1}"#).is_err());
    }

    #[test]
    fn both_sides_write_the_same_request() {
        let cred_def = ObjectId::new("did:eroam:x/def".to_owned()).unwrap();
        let newest = Timestamp::new(1_795_000_000).unwrap();
        let nonce = |byte| Nonce::from_bytes([byte; 10]).unwrap();
        let demand = ContractDemand::NotExpired("2026-11-22".parse().unwrap());
        let [one, other] =
            [1, 2].map(|byte| contract_request(&cred_def, demand, newest, nonce(byte)).unwrap());
        assert_eq!(one.with_nonce(nonce(2)), other);
        assert_eq!(one.predicates()[NOT_EXPIRED].bound, 20_261_122);
        assert!(one.non_revoked().is_some_and(
            |asked| asked.contains(newest) && !asked.contains(Timestamp::new(1_794_999_999).unwrap())
        ));
    }
}
