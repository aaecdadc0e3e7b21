//! What the organisation does once a resolver has decided: the operator credits its invoice, the home utility the driver's
//! bill. The host says when to look; looking again changes nothing.

use super::{Gateway, GatewayError};
use crate::anomalies::{AnomalyCase, CaseState, RecordName};
use crate::billing::{Charge, bill_month};
use crate::credit::{GivenBack, credit_id};
use crate::ports::Store;
use eroam_domain::cdr::{Adjustment, CdrId, CdrStatus};
use eroam_domain::time::UnixMillis;
use eroam_ledger::cdr::CdrRecord;
use eroam_ledger::query;
use eroam_ledger::settlement::LATE_PERIODS_MAX;
use eroam_ledger::state::StateView;

/// What the resolver gave back of a record; `None` if nothing was decided, or nothing was given back.
fn given_back(booked: &CdrRecord) -> Option<GivenBack> {
    let decided = booked.adjustments.iter().find_map(|adjustment| match adjustment {
        Adjustment::Resolution { micros } if *micros > 0 => Some(*micros),
        _ => None,
    });
    decided.map(|given_back| GivenBack { given_back, booked: booked.amount })
}

impl<S: Store> Gateway<S> {
    /// Operator: credits what the resolver decided to give back of one of its records on the invoice of the period in which the
    /// ledger books it: the record's, or the first after it that is open when this is called. Says whether there is such a
    /// credit now.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn credit_invoice(&mut self, ledger: &dyn StateView, cdr: &CdrId) -> Result<bool, GatewayError> {
        let Some(booked) = query::cdr(ledger, self.party, cdr)? else { return Ok(false) };
        let (Some(given), Some(credit)) = (given_back(&booked), credit_id(cdr)) else { return Ok(false) };
        let error = self.store_error();
        let (mut line, mut done) = (None, false);
        self.store
            .each_wholesale(&mut |_, _, known| {
                done |= known.cdr == credit && known.is_credit();
                if known.cdr == *cdr && known.digest == booked.digest && known.due > 0 {
                    line = Some(known);
                }
                Ok(())
            })
            .map_err(&error)?;
        let Some(line) = line.filter(|_| !done) else { return Ok(done) };
        let mut period = booked.period;
        for _ in 0..=LATE_PERIODS_MAX {
            if query::closed_period(ledger, period, line.currency)?.is_none() {
                break;
            }
            period = period.next();
        }
        let Some(line) = given.on_invoice(&line, period) else { return Ok(false) };
        self.store.put_wholesale(&line).map_err(error)?;
        Ok(true)
    }

    /// Home utility: credits what resolvers decided to give back of the records that it contested on its customers' bills: on
    /// that of the month of the charge, or the first after it that is not out. Gives the records that are credited now and were
    /// not before.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn credit_bills(
        &mut self,
        ledger: &dyn StateView,
        now: UnixMillis,
    ) -> Result<Vec<RecordName>, GatewayError> {
        let error = self.store_error();
        let mut contested = Vec::new();
        self.store
            .each_anomaly(&mut |case: AnomalyCase| {
                if case.state == CaseState::Contested {
                    contested.push(case.name);
                }
                Ok(())
            })
            .map_err(&error)?;
        let mut credited = Vec::new();
        for name in contested {
            if self.credit_bill(ledger, &name, now)? {
                credited.push(name);
            }
        }
        Ok(credited)
    }

    fn credit_bill(
        &mut self,
        ledger: &dyn StateView,
        name: &RecordName,
        now: UnixMillis,
    ) -> Result<bool, GatewayError> {
        let error = self.store_error();
        let Some(credit) = credit_id(&name.cdr) else { return Ok(false) };
        if self.store.charge(name.operator, &credit).map_err(&error)?.is_some() {
            return Ok(false);
        }
        let booked = query::cdr(ledger, name.operator, &name.cdr)?;
        let booked = booked.filter(|booked| booked.status_at(now) == CdrStatus::Final);
        let Some(given) = booked.as_ref().and_then(given_back) else { return Ok(false) };
        let Some(Charge::Billed(line)) = self.store.charge(name.operator, &name.cdr).map_err(&error)? else {
            return Ok(false);
        };
        let Some(rules) = self.rules.home.version(line.retail_version) else {
            tracing::error!(record = %name, "gateway.credit.no_rules");
            return Ok(false);
        };
        let through = self.store.billed_through().map_err(&error)?;
        let month = bill_month(line.end, line.clock, through);
        let Some(line) = given.on_bill(&line, month, rules.rounding) else {
            tracing::error!(record = %name, "gateway.credit.overflow");
            return Ok(false);
        };
        self.store.put_charge(name.operator, &credit, &Charge::Billed(Box::new(line))).map_err(error)?;
        Ok(true)
    }
}
