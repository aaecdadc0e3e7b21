//! The versions of a home utility's retail rules: what its configuration has said so far, and from when on.
//!
//! ```text
//! first start: version 1, from ever       the file says something else: the next version, from a day and an hour on
//! ```
//! A wallet shows a price by the rules that it asked for at most a day before ([`RULES_KNOWN_FOR`]), and the bill uses the
//! version that was in force when the quote was made. So that these are the same, rules that a program reads from its
//! configuration do not begin before every wallet has heard of them, and what was in force before is kept.
//!
//! What it deliberately does not do: forget a version. Charges are billed by it for as long as they may come.

use super::ProgramError;
use crate::charging::driver_price::RULES_KNOWN_FOR;
use crate::charging::state::{AgentState, Changes};
use eroam_domain::quantity::DurationMs;
use eroam_domain::retail::{RetailRules, RetailVersion};
use eroam_domain::time::UnixMillis;
use eroam_gateway::rules::HomeRules;

/// The record of them.
const RETAIL: &str = "retail rules";
/// Somebody who has just asked may take so long to charge.
const MARGIN_MS: u64 = 3_600_000;

/// The rules that `found` in the configuration at `now` come after, with `found` as the newest of them; durable when this
/// returns. `item` is where they were found.
///
/// # Errors
/// [`ProgramError`] that names `item` if the rules contradict themselves.
pub(super) fn with_newest(
    state: &AgentState,
    found: RetailRules,
    priorities: [i8; 4],
    now: UnixMillis,
    item: impl ToString,
) -> Result<HomeRules, ProgramError> {
    let wrong = |why: String| ProgramError::rule(item.to_string(), why);
    found.check().map_err(wrong)?;
    let mut versions = state.get::<Vec<RetailVersion>>(RETAIL, "")?.unwrap_or_default();
    let next = u32::try_from(versions.len()).unwrap_or(u32::MAX).saturating_add(1);
    let from = match versions.last() {
        None => Some(UnixMillis::EPOCH),
        Some(last) if last.rules == found => None,
        Some(last) => {
            let known = u64::try_from(RULES_KNOWN_FOR.as_millis()).unwrap_or(u64::MAX);
            let notice = DurationMs::from_millis(known.saturating_add(MARGIN_MS));
            let after_last = last.from.checked_add(DurationMs::from_millis(1));
            let from = now.checked_add(notice).zip(after_last).map(|(told, after)| told.max(after));
            Some(from.ok_or_else(|| wrong("they cannot begin at a time that far away".to_owned()))?)
        }
    };
    if let Some(from) = from {
        versions.push(RetailVersion { version: next, from, rules: found });
        state.write(Changes::new().put(RETAIL, "", &versions))?;
        tracing::info!(version = next, %from, "provider.retail_rules");
    }
    let mut home = HomeRules::new(priorities);
    for RetailVersion { from, rules, .. } in versions {
        home.update(from, rules).map_err(|error| wrong(error.to_string()))?;
    }
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::money::{Rounding, RoundingMode};
    use eroam_domain::retail::RetailBase;
    use eroam_domain::tariff::VatRate;

    fn rules(margin_bps: i32) -> RetailRules {
        RetailRules {
            base: RetailBase::PassThrough,
            time_of_use: Vec::new(),
            margin_bps,
            roaming_fee_micros: 0,
            tier_bps: [0; 4],
            payment_bps: [0; 5],
            vat: VatRate::ZERO,
            rounding: Rounding::new(10_000, RoundingMode::HalfUp).unwrap(),
        }
    }

    fn at(hour: i64) -> UnixMillis {
        UnixMillis::new(1_795_305_600_000 + hour * 3_600_000).unwrap()
    }

    /// The versions after a start at an hour with rules in the configuration: when each begins, and its margin.
    fn started(state: &AgentState, hour: i64, margin_bps: i32) -> Vec<(u32, UnixMillis, i32)> {
        let home = with_newest(state, rules(margin_bps), [0; 4], at(hour), "retail.json").unwrap();
        home.versions().iter().map(|v| (v.version, v.from, v.rules.margin_bps)).collect()
    }

    #[test]
    fn rules_that_change_begin_when_every_wallet_has_heard_of_them_and_older_ones_stay() {
        let state = AgentState::in_memory();
        let first = (1, UnixMillis::EPOCH, 100);
        assert_eq!(started(&state, 0, 100), [first]);
        assert_eq!(started(&state, 5, 100), [first], "nothing has changed");
        let second = (2, at(10 + 25), 200);
        assert_eq!(started(&state, 10, 200), [first, second]);
        assert_eq!(started(&state, 11, 200), [first, second], "said again, it begins no later");
        // Back before the second has begun: a version of its own, after it.
        let third = (3, at(12 + 25), 100);
        assert_eq!(started(&state, 12, 100), [first, second, third]);
        // A clock that went back lets none begin before the one in front of it.
        let after = third.1.checked_add(DurationMs::from_millis(1)).unwrap();
        assert_eq!(started(&state, -50, 300), [first, second, third, (4, after, 300)]);
    }

    #[test]
    fn rules_that_contradict_themselves_are_refused_and_nothing_is_kept() {
        let state = AgentState::in_memory();
        let refused = with_newest(&state, rules(-10_001), [0; 4], at(0), "retail.json").unwrap_err();
        assert!(refused.to_string().starts_with("retail.json"), "{refused}");
        assert_eq!(started(&state, 0, 100), [(1, UnixMillis::EPOCH, 100)]);
    }
}
