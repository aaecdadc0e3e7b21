//! A visit at a station, from the offer to the receipt, and a charge that another run began.

use super::super::proving::STEP_WITHIN;
use super::super::wallet_file::{ChargeStage, KeptCharge, Resumption, WalletFile};
use super::super::{ChargingError, local_time, proving};
use super::{Attendant, Receipt, Timings, Wallet, read_code, refused};
use crate::agent::{AgentError, new_id};
use crate::clock::{in_time, now};
use eroam_domain::charge::Denial;
use eroam_domain::ids::ContractId;
use eroam_domain::money::Money;
use eroam_domain::visit::{ChargeLimits, Finished, Started, StationClaims};
use eroam_domain::voucher::SpentVoucher;
use eroam_ssi::didcomm::MessageId;
use eroam_ssi::protocol::charging::{Resume, Resumed, Said, Side, Visit, resume_digest};
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::out_of_band::Invitation;
use eroam_ssi::protocol::questions;
use eroam_wallet::cost::ChargeCost;
use eroam_wallet::visit::{Offer, plan};
use std::time::{Duration, Instant};

/// So long a visit may take.
const VISIT_WITHIN: Duration = Duration::from_secs(7 * 86_400);

/// How long a charge is waited for at a time.
const CHARGE_WITHIN: Duration = Duration::from_secs(86_400);

/// So often a charge is looked up from, to see whether the driver wants it off.
const LOOKS_UP_EVERY: Duration = Duration::from_millis(200);

/// A station that is visited.
#[derive(Clone, Copy)]
struct Visited<'a> {
    connection: &'a Connection,
    invitation: &'a Invitation,
    scanned: Instant,
}

impl Wallet {
    /// Charges at the station of an invitation, up to `allowed`.
    ///
    /// # Errors
    /// [`ChargingError`], with a sentence for the driver.
    pub fn charge(
        &mut self,
        id: &ContractId,
        invitation: &Invitation,
        limits: ChargeLimits,
        allowed: Money,
        driver: &mut dyn Attendant,
        timings: &mut Timings,
    ) -> Result<Receipt, ChargingError> {
        self.check_current(id)?;
        let scanned = Instant::now();
        let connection = self.scan_code(invitation)?;
        timings.connect = scanned.elapsed();
        let visit = Visited { connection: &connection, invitation, scanned };
        let charged = self.visit(id, visit, limits, allowed, driver, timings);
        self.agent.forget(&connection);
        charged
    }

    fn visit(
        &mut self,
        id: &ContractId,
        Visited { connection, invitation, scanned }: Visited<'_>,
        limits: ChargeLimits,
        allowed: Money,
        driver: &mut dyn Attendant,
        timings: &mut Timings,
    ) -> Result<Receipt, ChargingError> {
        let station = self.check_station(connection)?;
        timings.station_proof = scanned.elapsed() - timings.connect;
        let (visit, offer) = self.ask(id, connection, station.clone(), limits, allowed)?;
        let cost = self.cost_of(id, &offer)?;
        if let Err(error) = self.prove(connection, id, &visit, &offer, &cost, driver) {
            self.withdraw_from(connection, &visit);
            return Err(error);
        }
        let emsp = offer.request().emsp;
        let spent = offer.agree(&mut self.contract(id)?.purse, now())?;
        let mut charge = KeptCharge {
            number: self.file.as_ref().map_or(0, WalletFile::next_charge),
            contract: *id,
            emsp,
            station: station.clone(),
            spent,
            cost: Some(cost.in_brief()),
            progress: ChargeStage::Agreed,
        };
        self.can_resume(charge.number, invitation, connection, &visit)?;
        // On the disk before the station sees it: whatever happens now, this voucher is not shown again.
        if let Err(error) = self.keep(&charge) {
            self.withdraw_from(connection, &visit);
            return Err(error);
        }
        let begun = self.begin(connection, &visit, spent);
        let (visit, started) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                if let ChargingError::Denied(denied) = &error {
                    charge.progress = ChargeStage::NotStarted { reason: denied.reason.clone() };
                    self.forget_resumption(charge.number)?;
                    self.keep(&charge)?;
                    if denied.denial == Denial::VoucherWithdrawn
                        && let Err(error) = self.forget_withdrawn(id, &spent.voucher.voucher)
                    {
                        // The driver hears why there is no power; the others are refused one after the other.
                        tracing::warn!(%error, "wallet.forget_withdrawn");
                    }
                }
                return Err(error);
            }
        };
        timings.scan_to_power = scanned.elapsed();
        charge.progress = ChargeStage::Started { started };
        self.keep(&charge)?;
        driver.started(&started);
        let finished = self.see_through(connection, visit, driver)?;
        self.finish(&mut charge, started, finished.clone())?;
        Ok(Receipt { number: charge.number, station, emsp, spent, started, finished })
    }

    /// Asks a station that proved itself for an offer, and checks it.
    fn ask(
        &mut self,
        id: &ContractId,
        connection: &Connection,
        station: StationClaims,
        limits: ChargeLimits,
        allowed: Money,
    ) -> Result<(Visit, Offer), ChargingError> {
        let contract = self.contract(id)?;
        let planned = contract
            .check_zone(&station.zone)
            .and_then(|()| Ok(plan(station, &contract.kind, &contract.purse, limits, allowed, now())?));
        let planned = planned.inspect_err(|_| self.leave(connection))?;
        let deadline = in_time(VISIT_WITHIN);
        let (visit, message) =
            Visit::ask(connection.channel(), planned.request().clone(), new_id(), deadline)?;
        let heard = self.patience.wait("the station's offer", || {
            self.agent.send(connection, &message)?;
            self.hear(connection, &visit, self.patience.within())
        });
        let (visit, said) = heard.map_err(|error| error.of_silence(ChargingError::StationSilent))?;
        let Said::Quote(offered) = said else { return Err(refused(said)) };
        let theirs = connection.channel().theirs.to_multikey();
        let checked = planned.check(offered, &theirs, now()).map_err(ChargingError::from);
        let checked = checked.and_then(|offer| {
            let (zone, made_at) = (offer.station().time_zone.as_ref(), offer.quote().made_at);
            zone.map_or(Ok(()), |zone| local_time::check(zone, offer.clock(), made_at))?;
            self.check_limit(&offer)?;
            Ok(offer)
        });
        match checked {
            Ok(offer) => Ok((visit, offer)),
            Err(error) => {
                self.withdraw_from(connection, &visit);
                Err(error)
            }
        }
    }

    /// Asks the station of an invitation what a charge would cost, and goes away. It learns the provider, the kind of the
    /// contract and the limits; no voucher is shown, and nothing is proved.
    ///
    /// # Errors
    /// [`ChargingError`], with a sentence for the driver.
    pub fn quote(
        &mut self,
        id: &ContractId,
        invitation: &Invitation,
        limits: ChargeLimits,
        allowed: Money,
    ) -> Result<(StationClaims, ChargeCost), ChargingError> {
        self.check_current(id)?;
        let connection = self.scan_code(invitation)?;
        let quoted = self.quote_at(id, &connection, limits, allowed);
        self.agent.forget(&connection);
        quoted
    }

    fn quote_at(
        &mut self,
        id: &ContractId,
        connection: &Connection,
        limits: ChargeLimits,
        allowed: Money,
    ) -> Result<(StationClaims, ChargeCost), ChargingError> {
        let station = self.check_station(connection)?;
        let (visit, offer) = self.ask(id, connection, station.clone(), limits, allowed)?;
        self.withdraw_from(connection, &visit);
        Ok((station, self.cost_of(id, &offer)?))
    }

    /// Shows the voucher and waits for power.
    fn begin(
        &self,
        connection: &Connection,
        visit: &Visit,
        spent: SpentVoucher,
    ) -> Result<(Visit, Started), ChargingError> {
        let (visit, message) = visit.say(&Said::Accept(spent), new_id(), now())?;
        let heard = self.patience.wait("power", || {
            self.agent.send(connection, &message)?;
            self.hear(connection, &visit, self.patience.within())
        });
        match heard.map_err(|error| error.of_silence(ChargingError::StationLost))? {
            (visit, Said::Started(started)) => Ok((visit, started)),
            (_, said) => Err(refused(said)),
        }
    }

    /// Listens until the charge is over, and stops it when the driver wants.
    fn see_through(
        &self,
        connection: &Connection,
        mut visit: Visit,
        driver: &mut dyn Attendant,
    ) -> Result<Finished, ChargingError> {
        let (until, mut is_stopping) = (Instant::now() + CHARGE_WITHIN, false);
        let (mut heard_at, mut is_told) = (Instant::now(), false);
        loop {
            if !is_stopping && driver.wants_stop() {
                let (next, message) = visit.say(&Said::Stop, new_id(), now())?;
                // A station that does not hear it may have ended the charge just now: that is said next.
                if self.agent.send(connection, &message).is_ok() {
                    (visit, is_stopping) = (next, true);
                }
            }
            match self.hear(connection, &visit, LOOKS_UP_EVERY) {
                Ok((_, Said::Finished(finished))) => return Ok(finished),
                Ok((next, Said::Progress(progress))) => {
                    (visit, heard_at, is_told) = (next, Instant::now(), false);
                    driver.progress(&progress);
                }
                Ok((_, other)) => return Err(refused(other)),
                Err(ChargingError::Agent(AgentError::Silence { .. })) if Instant::now() < until => {
                    if !is_told && heard_at.elapsed() >= self.patience.within() {
                        is_told = true;
                        driver.hears_nothing();
                    }
                }
                Err(error) => return Err(error.of_silence(ChargingError::StationLost)),
            }
        }
    }

    fn finish(
        &mut self,
        charge: &mut KeptCharge,
        started: Started,
        finished: Finished,
    ) -> Result<(), ChargingError> {
        charge.progress = ChargeStage::Finished { started, finished };
        self.forget_resumption(charge.number)?;
        self.keep(charge)
    }

    /// Takes a charge up again that another run of this wallet began and whose end it has not heard: the newest, or that of
    /// a number. Goes on until its end, as [`Wallet::charge`] does.
    ///
    /// # Errors
    /// [`ChargingError::NothingToResume`], [`ChargingError::NotUnderWay`] and others; the charge can be taken up again.
    pub fn resume(
        &mut self,
        number: Option<u32>,
        driver: &mut dyn Attendant,
    ) -> Result<Receipt, ChargingError> {
        let kept = self.file.as_ref().map(|file| file.resumable(number)).transpose()?.flatten();
        let (charge, resumption) = kept.ok_or(ChargingError::NothingToResume)?;
        let invitation = read_code(&resumption.invitation)?;
        let connection = self.scan_code(&invitation)?;
        let resumed = self.resume_at(&connection, charge, resumption, driver);
        self.agent.forget(&connection);
        resumed
    }

    fn resume_at(
        &mut self,
        connection: &Connection,
        mut charge: KeptCharge,
        resumption: Resumption,
        driver: &mut dyn Attendant,
    ) -> Result<Receipt, ChargingError> {
        let station = self.check_station(connection)?;
        if station.evse != charge.station.evse || station.operator != charge.station.operator {
            return Err(ChargingError::unexpected("the station", "the code leads to another one now"));
        }
        let before = self.agent.take_up_connection(&resumption.connection)?;
        let visit = MessageId::parse(&resumption.visit)
            .ok_or_else(|| ChargingError::unexpected("the charge that is kept", "its thread"))?;
        let (old, new) = (before.channel(), connection.channel());
        let digest = resume_digest(&visit, [&old.ours, &old.theirs], [&new.ours, &new.theirs]);
        let signature = self.agent.sign(&before, &digest)?;
        self.agent.forget(&before);
        let thread = new_id();
        let question = Resume { visit: resumption.visit, signature };
        let message = questions::ask(&question, thread.clone(), in_time(STEP_WITHIN))?;
        self.agent.send(connection, &message)?;
        let (started, finished) = match proving::answer_to::<Resume>(&self.agent, connection, &thread)? {
            Resumed::Unknown {} => return Err(ChargingError::NotUnderWay),
            Resumed::Finished { started, finished } => (started, finished),
            Resumed::Charging { started } => {
                charge.progress = ChargeStage::Started { started };
                self.keep(&charge)?;
                driver.started(&started);
                let channel = connection.channel();
                let visit = Visit::taken_up(Side::Driver, channel, thread, in_time(VISIT_WITHIN));
                (started, self.see_through(connection, visit, driver)?)
            }
        };
        self.finish(&mut charge, started, finished.clone())?;
        let KeptCharge { number, station, emsp, spent, .. } = charge;
        Ok(Receipt { number, station, emsp, spent, started, finished })
    }

    /// Notes, to be saved, what takes a charge up again if this process ends before it.
    fn can_resume(
        &mut self,
        number: u32,
        invitation: &Invitation,
        connection: &Connection,
        visit: &Visit,
    ) -> Result<(), ChargingError> {
        let Self { file: Some(file), agent, .. } = self else { return Ok(()) };
        let resumption = Resumption {
            invitation: invitation.to_url(agent.endpoint()),
            visit: visit.conversation().thread().as_str().to_owned(),
            connection: agent.keep_connection(connection)?,
        };
        Ok(file.put_resumption(number, Some(&resumption))?)
    }

    fn forget_resumption(&mut self, number: u32) -> Result<(), ChargingError> {
        Ok(self.file.as_mut().map_or(Ok(()), |file| file.put_resumption(number, None))?)
    }

    fn hear(
        &self,
        connection: &Connection,
        visit: &Visit,
        within: Duration,
    ) -> Result<(Visit, Said), ChargingError> {
        let thread = visit.conversation().thread().clone();
        let came = self.agent.receive_from(connection, Some(&thread), within)?;
        Ok(self.agent.drive(connection, &came, visit.hear(&came, now()))?)
    }

    fn withdraw_from(&self, connection: &Connection, visit: &Visit) {
        if let Ok((_, message)) = visit.say(&Said::Withdrawn, new_id(), now()) {
            let _ = self.agent.send(connection, &message);
        }
    }
}
