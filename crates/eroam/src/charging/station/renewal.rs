//! How a station's credentials are kept good, in the background.
//!
//! ```text
//! every minute, and after a visit:   which key does the ledger list for the operator? ── another one ──┐
//!                                    does the credential end within a month? ───────────── it does ────┴─► the operator
//!                                                                                        gives another, shown from then on
//! ```
//! A driver never waits for that while the old credential is good: only one whom nothing good can be shown waits for the
//! operator. An operator that is away is asked again a minute later.

use super::super::ChargingError;
use super::super::station_credentials::{Applicant, StationCredentials, operator_of};
use super::Station;
use crate::causes::chain;
use crate::clock::now;
use eroam_domain::quantity::DurationMs;
use eroam_ssi::sd_jwt::TrustedIssuer;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

/// Renewed so long before it ends: time enough for an operator that is away.
const RENEWED_BEFORE: DurationMs = DurationMs::from_millis(30 * 86_400_000);
/// So often it is looked whether there is something to renew. For so long at most after its operator has begun to sign with
/// another key, a station shows what no wallet believes any more.
const LOOKED_AFTER_EVERY: Duration = Duration::from_secs(60);

/// The credentials in use.
pub(super) struct Credentials {
    current: RwLock<Arc<StationCredentials>>,
    /// One renews them at a time.
    renewing: Mutex<()>,
    /// How often that came to nothing while a driver waited for it.
    failures: AtomicU64,
}

impl Credentials {
    pub(super) fn new(given: StationCredentials) -> Self {
        Self {
            current: RwLock::new(Arc::new(given)),
            renewing: Mutex::default(),
            failures: AtomicU64::default(),
        }
    }

    /// Those to show now.
    pub(super) fn current(&self) -> Arc<StationCredentials> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn end_within(&self, left: DurationMs) -> bool {
        self.current().end_within(left, now())
    }
}

impl Station {
    /// Looks after the credentials until the station is stopped.
    pub(super) fn keep_credentials(&self) {
        let mut work = self.work();
        while !self.is_stopped() {
            let left = work.credentials_due.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                let waited = self.work_changed.wait_timeout(work, left);
                work = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            }
            // Before: whoever wants another look meanwhile gets one.
            work.credentials_due = Instant::now() + LOOKED_AFTER_EVERY;
            drop(work);
            if let Err(error) = self.look_after_credentials() {
                tracing::warn!(error = %chain(&error), "station.credentials");
            }
            work = self.work();
        }
    }

    /// Has the credentials looked after soon if they end soon.
    pub(super) fn note_credentials(&self) {
        if self.credentials.end_within(RENEWED_BEFORE) {
            self.work().credentials_due = Instant::now();
            self.work_changed.notify_all();
        }
    }

    /// Has the operator give other credentials if these end within a month, or if the operator signs with another key now.
    /// [`Station::serve`] sees to it by itself.
    ///
    /// # Errors
    /// [`ChargingError`]; the old ones stay.
    pub fn look_after_credentials(&self) -> Result<(), ChargingError> {
        let _renewing = self.credentials.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let operator_key = self.operator_key()?;
        let is_good = !self.credentials.end_within(RENEWED_BEFORE)
            && self.credentials.current().are_signed_with(&operator_key)?;
        if is_good { Ok(()) } else { self.renew_with(&operator_key) }
    }

    /// Has the operator give other credentials if these are over: nobody charges with them.
    pub(super) fn renew_if_over(&self) -> Result<(), ChargingError> {
        let credentials = &self.credentials;
        if !credentials.end_within(DurationMs::ZERO) {
            return Ok(());
        }
        let before = credentials.failures.load(Ordering::Acquire);
        let _renewing = credentials.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        // Somebody else has, meanwhile.
        if !credentials.end_within(DurationMs::ZERO) {
            return Ok(());
        }
        // Or has tried in vain: who waited for that does not wait for the same again.
        if credentials.failures.load(Ordering::Acquire) != before {
            let why = "it is over, and the operator gives no other at the moment";
            return Err(ChargingError::unexpected("the station's credential", why));
        }
        let renewed = self.operator_key().and_then(|operator_key| self.renew_with(&operator_key));
        renewed.inspect_err(|_| {
            credentials.failures.fetch_add(1, Ordering::AcqRel);
        })
    }

    /// With which key the operator signs now.
    fn operator_key(&self) -> Result<TrustedIssuer, ChargingError> {
        operator_of(&self.catalogue, self.operator_did).map(|(key, _)| key)
    }

    fn renew_with(&self, operator_key: &TrustedIssuer) -> Result<(), ChargingError> {
        let applicant = Applicant {
            agent: &self.agent,
            operator: &self.operator,
            operator_key,
            claims: &self.claims,
            invitation: self.url(),
            catalogue: &self.catalogue,
            tails: &self.tails,
            mode: self.mode,
        };
        let renewed = StationCredentials::ask(&applicant, &self.key, &self.state)?;
        *self.credentials.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(renewed);
        tracing::info!(evse = %self.claims.evse, "station.credentials_renewed");
        Ok(())
    }
}
