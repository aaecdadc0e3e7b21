//! Records to keep, each made from a number.

use eroam_domain::cdr::{
    AgreementRef, Cdr, CdrId, ChargingPeriod, EvsePseudonym, Payer, SessionId, TariffRef,
};
use eroam_domain::charge::{
    AllowedZones, Denial, Quote, ReportedCustomer, ServiceDescription, SessionReport,
};
use eroam_domain::codec::{Digest, ShortText, SignatureBytes};
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::money::{Currency, Money, Price, Rounding};
use eroam_domain::pricing::{ItemisedPrice, PriceLeg};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::retail::{PaymentOption, RetailBase, RetailRules, Tier};
use eroam_domain::tariff::VatRate;
use eroam_domain::time::{LocalClock, PeriodKind, SettlementPeriod, UnixMillis};
use eroam_domain::voucher::{OneTimeKey, SignedVoucher, SpentVoucher, Voucher, VoucherAcceptance};
use eroam_gateway::anomalies::{AnomalyCase, CaseState, Finding, RecordName, Same, Sighting};
use eroam_gateway::billing::{BillLine, Booking};
use eroam_gateway::invoice::WholesaleLine;
use eroam_gateway::profiles::{ContractState, HomeProfile, ServicePortfolio, VisitorProfile};
use eroam_gateway::sessions::{
    Accepted, AcceptedBy, Authority, AuthorizedBy, Consumption, Grant, PayerOpening, Phase, Promised,
    Session, SessionPayer,
};
use eroam_gateway::true_ups::AwaitedTrueUp;
use eroam_gateway::vouchers::{IssuedVoucher, VoucherStatus};

pub fn party(text: &str) -> PartyId {
    text.parse().unwrap()
}

/// The organisation whose store it is.
pub fn own() -> PartyId {
    party("NO-LYS")
}

pub fn network() -> Digest {
    Digest::of(b"test network")
}

pub fn at(ms: i64) -> UnixMillis {
    UnixMillis::new(1_600_000_000_000 + ms).unwrap()
}

pub fn text<const N: usize>(text: &str) -> ShortText<N> {
    ShortText::new(text).unwrap()
}

pub fn contract(n: u32) -> ContractId {
    format!("PT-EDP-C{n:08}").parse().unwrap()
}

pub fn home_profile(n: u32) -> HomeProfile {
    HomeProfile {
        contract: contract(n),
        state: ContractState::Active,
        valid_from: at(0),
        valid_until: None,
        tier: Tier::Gold,
        payment: PaymentOption::Postpaid,
        portfolio: ServicePortfolio {
            roaming: true,
            zones: AllowedZones::Only(vec![text("NO-STV")]),
            priority: 3,
            energy_max: WattHours::from_wh(80_000).unwrap(),
            amount_max: 90_000_000,
        },
        cards: Vec::new(),
        pin: None,
        wrong_pins: 0,
        visiting: Some(party("DE-AB7")),
    }
}

pub fn visitor(n: u32, expires_at: UnixMillis) -> VisitorProfile {
    VisitorProfile {
        contract: contract(n),
        authorization: text("A-1"),
        service: ServiceDescription {
            tier: Tier::Gold,
            payment: PaymentOption::Postpaid,
            priority: 3,
            zones: AllowedZones::All,
            energy_max: WattHours::from_wh(80_000).unwrap(),
            amount_max: 90_000_000,
            retail_version: 1,
            retail: RetailRules {
                base: RetailBase::PassThrough,
                time_of_use: Vec::new(),
                margin_bps: 200,
                roaming_fee_micros: 500_000,
                tier_bps: [0, -100, -200, -300],
                payment_bps: [0; 5],
                vat: VatRate::from_ppm(230_000).unwrap(),
                rounding: Rounding::cents(),
            },
            valid_until: expires_at,
        },
        credential: Digest::of(b"card"),
        expires_at,
    }
}

pub fn session_id(n: u32) -> SessionId {
    text(&format!("S-{n:07}"))
}

pub fn cdr_id(n: u32) -> CdrId {
    text(&format!("R-{n:07}"))
}

pub fn grant(by: AuthorizedBy) -> Grant {
    let promised = Promised { reference: text("A-1"), payment: PaymentOption::CreditCard, retail_version: 4 };
    let authority = match by {
        AuthorizedBy::Home => Authority::Home(promised),
        AuthorizedBy::Partner => Authority::Partner(promised),
        AuthorizedBy::Cache => Authority::Cache(promised),
        AuthorizedBy::Proof => Authority::Proof,
    };
    Grant { authority, tier: Tier::Platinum, priority: -9, energy_max: WattHours::from_wh(80_000).unwrap() }
}

fn tariff() -> TariffRef {
    TariffRef { id: text("NIGHT"), version: 2 }
}

fn agreement() -> AgreementRef {
    AgreementRef { id: Digest::of(b"agreement"), version: 1 }
}

fn price(micros: i64) -> Price {
    Price { excl_vat: micros, incl_vat: micros + micros / 4 }
}

fn nok() -> Currency {
    Currency::new("NOK").unwrap()
}

pub fn quote(n: u32) -> Quote {
    Quote {
        session: session_id(n),
        operator: own(),
        agreement: Some(agreement()),
        tariff: tariff(),
        energy: WattHours::from_wh(20_000).unwrap(),
        until: at(7_200_000),
        currency: nok(),
        wholesale: price(60_000_000),
        retail: Some(price(70_000_000)),
        forecast: None,
        made_at: at(0),
        expires_at: at(60_000),
    }
}

pub fn accepted(n: u32) -> Accepted {
    Accepted { quote: quote(n), at: at(5_000), by: AcceptedBy::Station(SignatureBytes([7; 64])) }
}

fn periods() -> Vec<ChargingPeriod> {
    let period = |hour: i64| ChargingPeriod {
        start: at(10_000 + hour * 3_600_000),
        energy: WattHours::from_wh(7_000).unwrap(),
        charging: DurationMs::from_secs(3_000).unwrap(),
        parking: DurationMs::ZERO,
        reservation: DurationMs::ZERO,
        power: None,
        current: None,
    };
    vec![period(0), period(1), period(2)]
}

pub fn cdr(n: u32) -> Cdr {
    Cdr {
        id: cdr_id(n),
        session: Digest::of(&n.to_le_bytes()),
        agreement: agreement(),
        tariff: tariff(),
        evse: EvsePseudonym([9; 16]),
        zone: text("NO-STV"),
        accepted_at: at(5_000),
        start: at(10_000),
        end: at(10_000 + 3 * 3_600_000),
        clock: LocalClock::UTC,
        periods: periods(),
        energy: WattHours::from_wh(21_000).unwrap(),
        attestation: None,
        price: price(61_000_000),
        currency: nok(),
        quote: quote(n).digest(),
        readings: Digest::of(b"readings"),
        acceptance: SignatureBytes([7; 64]),
        payer: Payer::Contract { commitment: Digest::of(b"commitment") },
    }
}

pub fn session(n: u32, phase: Phase) -> Session {
    Session {
        id: session_id(n),
        evse: "NO*LYS*E1234*1".parse::<EvseId>().unwrap(),
        payer: SessionPayer::Contract {
            contract: contract(n),
            home: party("PT-EDP"),
            credential: Some(Digest::of(b"card")),
        },
        requested_at: at(0),
        clock: LocalClock::UTC,
        energy_wanted: Some(WattHours::from_wh(20_000).unwrap()),
        leaves_at: None,
        phase,
        consumption: None,
    }
}

pub fn quoted(n: u32, by: AuthorizedBy) -> Session {
    session(n, Phase::Quoted { grant: grant(by), quote: quote(n) })
}

pub fn charging(n: u32) -> Session {
    session(n, Phase::Charging { grant: grant(AuthorizedBy::Partner), accepted: accepted(n) })
}

/// Settled, with about 2 KB.
pub fn recorded(n: u32) -> Session {
    let booked_in = SettlementPeriod::containing(PeriodKind::Month, at(0));
    let grant = grant(AuthorizedBy::Cache);
    let mut session =
        session(n, Phase::Recorded { grant, cdr: cdr(n), opening: opening(), booked_in, reported: true });
    session.consumption = Some(Consumption {
        start: at(10_000),
        end: at(10_000 + 3 * 3_600_000),
        clock: LocalClock::UTC,
        periods: periods(),
        energy: WattHours::from_wh(21_000).unwrap(),
        readings: Digest::of(b"readings"),
    });
    session
}

fn opening() -> PayerOpening {
    PayerOpening::Contract { salt: Digest::of(b"salt") }
}

/// A voucher of `contract(n)`; no two keys make the same one.
pub fn voucher(n: u32, key: u8, day: i64, status: VoucherStatus) -> IssuedVoucher {
    let valid_until = UnixMillis::new((day + 1) * 86_400_000 - 1).unwrap();
    let voucher = Voucher {
        network: network(),
        emsp: own(),
        key: 0,
        holder: OneTimeKey([key; 32]),
        cap: Money::new(30_000_000, nok()),
        valid_from: UnixMillis::new(day * 86_400_000).unwrap(),
        valid_until,
    };
    IssuedVoucher {
        contract: contract(n),
        day,
        tier: Tier::Gold,
        voucher: SignedVoucher { voucher, signature: SignatureBytes([3; 64]) },
        status,
    }
}

pub fn spent(n: u32) -> SpentVoucher {
    SpentVoucher {
        voucher: voucher(1, 9, 18_000, VoucherStatus::Issued).voucher,
        acceptance: VoucherAcceptance {
            session: Digest::of(&n.to_le_bytes()),
            operator: own(),
            quote: quote(n).digest(),
            limit: 20_000_000,
            accepted_at: at(5_000),
        },
        signature: SignatureBytes([4; 64]),
    }
}

/// Every phase in which something is awaited of a driver whom the operator does not know, from `n` on.
pub fn unknown_drivers(n: u32) -> Vec<Session> {
    let payer = SessionPayer::Voucher { emsp: party("PT-EDP"), commitment: Digest::of(b"voucher") };
    let grant = || grant(AuthorizedBy::Proof);
    let quote = |n| Quote { retail: None, ..quote(n) };
    let accepted =
        |n| Accepted { quote: quote(n), at: at(5_000), by: AcceptedBy::Voucher(Box::new(spent(n))) };
    let opening = PayerOpening::Voucher { spent: Box::new(spent(n)), quote: Box::new(quote(n)) };
    let nullifier = spent(n).voucher.voucher.nullifier();
    let cdr = Cdr { payer: Payer::Voucher { nullifier }, ..cdr(n) };
    let phases = [
        Phase::AwaitingProof { quote: quote(n), energy_max: WattHours::from_wh(9_000).unwrap() },
        Phase::Quoted { grant: grant(), quote: quote(n + 1) },
        Phase::Reserving { grant: grant(), accepted: accepted(n + 2) },
        Phase::Charging { grant: grant(), accepted: accepted(n + 3) },
        Phase::Recording { grant: grant(), cdr, opening },
    ];
    let sessions = phases.into_iter().zip(n..);
    sessions.map(|(phase, n)| Session { payer: payer.clone(), ..session(n, phase) }).collect()
}

pub fn denied(n: u32, why: Denial) -> Session {
    session(n, Phase::Denied(why))
}

pub fn every_phase() -> Vec<Session> {
    let grant = || grant(AuthorizedBy::Home);
    let booked_in = SettlementPeriod::containing(PeriodKind::Week, at(0));
    vec![
        session(0, Phase::AwaitingHome),
        quoted(1, AuthorizedBy::Partner),
        session(2, Phase::Reserving { grant: grant(), accepted: accepted(2) }),
        session(3, Phase::Charging { grant: grant(), accepted: accepted(3) }),
        session(4, Phase::Recording { grant: grant(), cdr: cdr(4), opening: opening() }),
        session(
            5,
            Phase::Recorded { grant: grant(), cdr: cdr(5), opening: opening(), booked_in, reported: false },
        ),
        recorded(6),
        session(7, Phase::Delivered { grant: grant(), accepted: accepted(7) }),
        session(
            8,
            Phase::Disputed {
                grant: grant(),
                cdr: cdr(8),
                opening: opening(),
                code: "DUPLICATE \"\u{0}ü".into(),
            },
        ),
        denied(9, Denial::NoCredit),
    ]
}

pub fn report(n: u32) -> SessionReport {
    SessionReport {
        session: session_id(n),
        customer: ReportedCustomer::Contract {
            authorization: text("A-1"),
            contract: contract(n),
            salt: Digest::of(b"salt"),
        },
        evse: "NO*LYS*E1234*1".parse().unwrap(),
        place: "Stavanger, Ålgård".into(),
        cdr: cdr(n),
    }
}

pub fn booking(n: u32) -> Booking {
    let period = SettlementPeriod::containing(PeriodKind::Day, at(0));
    Booking { digest: cdr(n).digest(), seen_at: at(0), period }
}

pub fn bill_line(contract: ContractId, month: &str, start: UnixMillis, cdr: CdrId) -> BillLine {
    BillLine {
        contract,
        month: month.parse().unwrap(),
        operator: own(),
        cdr,
        evse: "NO*LYS*E1234*1".parse().unwrap(),
        place: "Stavanger, Ålgård".into(),
        start,
        end: start,
        clock: LocalClock::UTC,
        energy: WattHours::from_wh(21_000).unwrap(),
        tariff: tariff(),
        tier: Tier::Diamond,
        payment: PaymentOption::Bitcoin,
        retail_version: 4,
        wholesale: Some(price(61_000_000)),
        retail: ItemisedPrice {
            leg: PriceLeg::Retail,
            currency: nok(),
            lines: Vec::new(),
            total: price(70_000_000),
        },
    }
}

pub fn wholesale(emsp: &str, period: SettlementPeriod, cdr: CdrId) -> WholesaleLine {
    WholesaleLine {
        emsp: party(emsp),
        period,
        cdr,
        digest: Digest::of(b"record"),
        agreement: agreement(),
        tariff: tariff(),
        start: at(0),
        end: at(1),
        energy: WattHours::from_wh(21_000).unwrap(),
        currency: nok(),
        price: price(61_000_000),
        due: 61_000_000,
        true_up: 0,
        others: Vec::new(),
    }
}

/// Record `n` of another operator, to be looked at after those of smaller numbers.
pub fn awaited_true_up(n: u32) -> AwaitedTrueUp {
    AwaitedTrueUp { operator: party("PT-GLP"), cdr: cdr(n), look_at: at(i64::from(n) * 60_000) }
}

/// What the anomaly rules remember of record `n`, which ended after that of a smaller number.
pub fn sighting(n: u32) -> Sighting {
    Sighting { end: at(i64::from(n) * 60_000), ..Sighting::of(party("PT-GLP"), &cdr(n)) }
}

/// What they found of it.
pub fn anomaly(n: u32, state: CaseState) -> AnomalyCase {
    let name = |n| RecordName { operator: party("PT-GLP"), cdr: cdr_id(n) };
    let finding = Finding::Replay { of: name(n + 1), same: Same::Shape };
    AnomalyCase { name: name(n), state, findings: vec![finding], evidence: n.to_le_bytes().to_vec() }
}
