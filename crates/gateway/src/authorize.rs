//! May this customer have this service here, and on what terms? The answer is a service description.
//!
//! Source: Paper A, sections 2.1.3 and 3.1.

use crate::profiles::{ContractState, HomeProfile, VisitorProfile};
use crate::rules::{HomeRules, PartnerRules};
use eroam_domain::cdr::GridZone;
use eroam_domain::charge::{AuthorizationRef, Denial, ServiceDescription};
use eroam_domain::codec::{Digest, to_bytes};
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::time::UnixMillis;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The home utility's decision about its customer. `roaming` says whether the station is another operator's.
///
/// Checks, in order: state, validity, roaming, zone.
///
/// # Errors
/// The [`Denial`] to show the driver.
pub fn at_home(
    profile: &HomeProfile,
    rules: &HomeRules,
    zone: &GridZone,
    roaming: bool,
    now: UnixMillis,
    cache_for: DurationMs,
) -> Result<ServiceDescription, Denial> {
    in_force(profile, now)?;
    if roaming && !profile.portfolio.roaming {
        return Err(Denial::NoRoaming);
    }
    if !profile.portfolio.zones.allow(zone) {
        return Err(Denial::ZoneNotAllowed);
    }
    let (retail_version, retail) = rules.in_force(now).ok_or(Denial::NoPrice)?;
    let cached_until = now.checked_add(cache_for).unwrap_or(now);
    // A copy abroad must not outlive the contract.
    let valid_until = profile.valid_until.map_or(cached_until, |end| end.min(cached_until));
    let priority = rules.priority(profile.tier).saturating_add(profile.portfolio.priority).clamp(-9, 9);
    Ok(ServiceDescription {
        tier: profile.tier,
        payment: profile.payment,
        priority,
        zones: profile.portfolio.zones.clone(),
        energy_max: profile.portfolio.energy_max,
        amount_max: profile.portfolio.amount_max,
        retail_version,
        retail: retail.clone(),
        valid_until,
    })
}

/// Whether a contract may be used at all: its state, then its validity.
///
/// # Errors
/// The [`Denial`] to show the driver.
pub fn in_force(profile: &HomeProfile, now: UnixMillis) -> Result<(), Denial> {
    match profile.state {
        ContractState::Active => {}
        ContractState::Suspended => return Err(Denial::Suspended),
        ContractState::Ended => return Err(Denial::Ended),
    }
    if now < profile.valid_from {
        return Err(Denial::NotYetValid);
    }
    if profile.valid_until.is_some_and(|until| now >= until) {
        return Err(Denial::Ended);
    }
    Ok(())
}

/// The visited operator's own decision about a visitor whose service description it has: its rules for the partner's
/// customers may narrow the service, never widen it.
///
/// # Errors
/// The [`Denial`] to show the driver.
pub fn visitor(
    service: &ServiceDescription,
    rules: &PartnerRules,
    zone: &GridZone,
) -> Result<ServiceDescription, Denial> {
    if !rules.accept {
        return Err(Denial::PartnerSuspended);
    }
    if !service.zones.allow(zone) {
        return Err(Denial::ZoneNotAllowed);
    }
    let mut service = service.clone();
    service.energy_max = service.energy_max.min(rules.energy_max);
    service.priority = service.priority.min(rules.priority_max).clamp(-9, 9);
    Ok(service)
}

/// Whether a cached visitor profile may still be used.
#[must_use]
pub fn is_fresh(profile: &VisitorProfile, now: UnixMillis) -> bool {
    now < profile.expires_at
}

/// What an authorization promised, as its reference remembers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    /// The tier that was promised.
    pub tier: Tier,
    /// The payment option.
    pub payment: PaymentOption,
    /// The version of the retail rules.
    pub retail_version: u32,
}

/// The reference of an authorization: it carries the promise, and an HMAC-SHA-256 (112 bits of it) binds it to the
/// operator and the contract, so that the home utility need not keep it and nobody else can make one.
#[must_use]
pub fn reference(
    secret: &Digest,
    operator: PartyId,
    contract: &ContractId,
    promise: Promise,
) -> Option<AuthorizationRef> {
    let tier = Tier::ALL.iter().position(|t| *t == promise.tier)?;
    let payment = PaymentOption::ALL.iter().position(|p| *p == promise.payment)?;
    let head = format!("{tier:x}{payment:x}{:06x}", promise.retail_version);
    let mac = reference_mac(secret, operator, contract, &head)?;
    AuthorizationRef::new(&format!("{head}{mac}")).ok()
}

/// Reads a reference back; `None` when it was not made by [`reference()`] for this operator and contract.
#[must_use]
pub fn promise(
    secret: &Digest,
    operator: PartyId,
    contract: &ContractId,
    reference: &AuthorizationRef,
) -> Option<Promise> {
    let (head, mac) = reference.as_str().split_at_checked(8)?;
    if reference_mac(secret, operator, contract, head)? != mac {
        return None;
    }
    let digit = |range: std::ops::Range<usize>| usize::from_str_radix(head.get(range)?, 16).ok();
    Some(Promise {
        tier: *Tier::ALL.get(digit(0..1)?)?,
        payment: *PaymentOption::ALL.get(digit(1..2)?)?,
        retail_version: u32::from_str_radix(head.get(2..)?, 16).ok()?,
    })
}

/// 28 hexadecimal digits over the parties and the head.
fn reference_mac(secret: &Digest, operator: PartyId, contract: &ContractId, head: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&secret.0).ok()?;
    mac.update(&to_bytes(&("eroam/authorization/1", operator, contract, head)));
    let digest = Digest(mac.finalize().into_bytes().into());
    digest.to_string().get(..28).map(str::to_owned)
}
