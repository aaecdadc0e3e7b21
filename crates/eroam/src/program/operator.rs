//! An operator for its stations, as a program.

use super::ProgramError;
use super::config::Located;
use super::control::Control;
use super::issuer_key_file::GivenKey;
use super::organisation::{Organisation, OrganisationConfig, Settling, reach, tails, url};
use crate::causes::chain;
use crate::charging::catalogue::Catalogue;
use crate::charging::contest_desk::ContestDesk;
use crate::charging::dispute::{self, DisputeError};
use crate::charging::issuer::{Issuer, IssuerKey, Kinds, TailsPlace};
use crate::charging::local_time::clock_at;
use crate::charging::operator::{INVITED_FOR, Operator, station_issuer_service};
use crate::charging::paper::{STATION_ATTRIBUTES, STATION_SCHEMA, STATION_TERM};
use crate::charging::{ChargingError, address};
use crate::clock::{in_time, now};
use crate::registry::tails as tails_pages;
use crate::server::{Bound, STOP_WITHIN, Server};
use crate::usage::Usage;
use eroam_domain::cdr::{CdrId, GridZone};
use eroam_domain::charge::Denial;
use eroam_domain::codec::ShortText;
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::quantity::Watts;
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{TimeZoneName, UnixMillis};
use eroam_gateway::anomalies::RecordName;
use eroam_gateway::gateway::Evse;
use eroam_gateway::ports::Store as _;
use eroam_light::trust::Trust;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// An operator's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OperatorConfig {
    /// Who it is.
    pub organisation: OrganisationConfig,
    /// Paper B's credentials for its stations, for comparison.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paper: Option<PaperConfig>,
    /// Its stations: others cannot register.
    #[serde(default)]
    pub stations: Vec<StationEntry>,
}

/// Paper B's credentials for stations.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PaperConfig {
    /// Anybody's registry, by which stations' proofs are checked.
    pub resolver_url: String,
    /// How many credentials can be issued.
    pub registry_places: u32,
    /// The issuer's key, made before. Otherwise it is made at the first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_key_directory: Option<PathBuf>,
}

/// A station as its operator enters it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StationEntry {
    /// Its EVSE id.
    pub evse: EvseId,
    /// Where it is, in words.
    pub place: String,
    /// The grid zone.
    pub zone: GridZone,
    /// Its time zone, by its name in the IANA database: the times of day in the tariff are local times.
    pub time_zone: TimeZoneName,
    /// The tariff, as the ledger has it under the operator.
    pub tariff: TariffId,
    /// The most that it gives.
    pub power_w: u64,
}

/// What staff can ask an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperatorCommand {
    /// Stations that registered.
    Stations,
    /// Invite one to register.
    Invite {
        /// Which.
        evse: EvseId,
    },
    /// Revoke one.
    Revoke {
        /// Which.
        evse: EvseId,
        /// Why.
        reason: String,
    },
    /// Records that home utilities contest.
    Contests,
    /// The evidence of a record: of our own, or of one that this organisation is to decide.
    Evidence {
        /// Which.
        record: CdrId,
        /// Whose, if it is another operator's.
        operator: Option<PartyId>,
    },
    /// Check the evidence of one of our records again.
    Recheck {
        /// Which.
        record: CdrId,
    },
    /// How many records are booked.
    Records,
    /// What the program used.
    Usage,
}

/// What whoever started an operator wants to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct OperatorReady {
    /// Who.
    pub party: PartyId,
    /// Where: below it is `/stations/locations`.
    pub url: String,
    /// Its DID, under which stations' credentials are issued.
    pub did: String,
}

/// What a station's configuration needs to register, and nobody else may see before it has.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StationInvitation {
    /// Which station it is for.
    pub evse: EvseId,
    /// Its operator's DID.
    pub operator_did: String,
    /// With which it connects: a URL.
    pub operator_invitation: String,
    /// Until when it can register with it.
    pub until: UnixMillis,
}

/// A running operator.
pub struct OperatorProgram {
    ready: OperatorReady,
    operator: Operator,
    contests: ContestDesk,
    control: Option<Control>,
    settling: Option<Settling>,
    server: Option<Server>,
}

impl OperatorProgram {
    /// Starts one.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn start(located: &Located<OperatorConfig>) -> Result<Self, ProgramError> {
        let OperatorConfig { organisation: config, paper, stations } = &located.config;
        let reach = reach(config.agent_listen, config.agent_public_url.as_deref())?;
        let organisation = Organisation::open(located, config, false)?;
        let Organisation { state, office, publisher, did, directory, .. } = &organisation;
        let mut time_zones = BTreeMap::new();
        for station in stations {
            let known = known(station)?;
            time_zones.insert(known.id.clone(), station.time_zone.clone());
            office.with(|gateway, _| gateway.put_station(known));
        }
        let service = station_issuer_service(&organisation.station_issuer.verifying_key());
        let service =
            service.ok_or_else(|| ProgramError::rule("the key of stations' credentials", "too long"))?;
        organisation.publish_did(vec![service])?;

        let tails_directory = tails(directory);
        let pages = tails_pages::router(&tails_directory, None);
        let pages = pages.map_err(ProgramError::io("the directory of tails files cannot be made"))?;
        let bound = Bound::take(address::known(state, "pages", config.listen)?)?;
        address::remember(state, "pages", bound.address())?;
        let url = url(config.public_url.as_deref(), bound.address());
        let paper = match paper {
            None => None,
            Some(paper) => {
                let given = paper.issuer_key_directory.as_deref();
                let given = given.map(|path| GivenKey::read(&located.path(path))).transpose()?;
                let key = given.as_ref().map_or(IssuerKey::New, GivenKey::key);
                let kinds = Kinds {
                    schema: STATION_SCHEMA,
                    attributes: &STATION_ATTRIBUTES,
                    registry: paper.registry_places,
                    term: STATION_TERM,
                };
                let place = TailsPlace { directory: &tails_directory, url: &url };
                let issuer = Issuer::open(publisher.clone(), *did, kinds, key, place, state.clone())?;
                let trust = Trust::from_genesis(office.client().genesis())?;
                Some((issuer, Catalogue::new(&paper.resolver_url, trust)))
            }
        };
        let (office, state, did, directory) = (office.clone(), state.clone(), *did, directory.clone());
        let Organisation { station_issuer, .. } = organisation;
        let name = &config.name;
        let operator = Operator::start(
            office.clone(),
            time_zones,
            name,
            did,
            station_issuer,
            paper,
            state.clone(),
            reach,
        )?;
        let contests = ContestDesk::open(operator.clone(), state)?;
        operator.served_at(&url);
        let router = operator.router().merge(office.router()).merge(pages);
        let server = Server::serve("operator", bound, router, STOP_WITHIN)?;
        let looking = contests.clone();
        let settling = Settling::start(office, move || {
            if let Err(error) = looking.look() {
                tracing::warn!(error = %chain(&error), "operator.contests");
            }
        })?;
        let (answering, answers_of) = (operator.clone(), contests.clone());
        let control = Control::open(&directory, move |command| handle(&answering, &answers_of, command))?;
        let ready = OperatorReady { party: config.party, url, did: did.to_string() };
        let (control, settling, server) = (Some(control), Some(settling), Some(server));
        Ok(Self { ready, operator, contests, control, settling, server })
    }

    /// What whoever started it wants to know.
    #[must_use]
    pub const fn ready(&self) -> &OperatorReady {
        &self.ready
    }

    /// Does what staff wants.
    ///
    /// # Errors
    /// A sentence for staff.
    pub fn handle(&self, command: OperatorCommand) -> Result<Value, String> {
        handle(&self.operator, &self.contests, command)
    }
}

impl Drop for OperatorProgram {
    /// Stations keep what they have to account for.
    fn drop(&mut self) {
        drop(self.control.take());
        drop(self.server.take());
        drop(self.settling.take());
        self.operator.stop();
    }
}

fn known(entry: &StationEntry) -> Result<Evse, ProgramError> {
    let StationEntry { evse, place, zone, time_zone, tariff, power_w } = entry.clone();
    let item = || format!("the station {evse}");
    let place = ShortText::new(&place).map_err(|error| ProgramError::rule(item(), error))?;
    clock_at(&time_zone, now()).map_err(|error| ProgramError::rule(item(), error))?;
    if power_w == 0 {
        return Err(ProgramError::rule(item(), "power_w is above zero"));
    }
    Ok(Evse { id: evse, place, zone, tariff, power: Watts::new(power_w) })
}

fn handle(operator: &Operator, contests: &ContestDesk, command: OperatorCommand) -> Result<Value, String> {
    let words = |error: DisputeError| chain(&error);
    match command {
        OperatorCommand::Contests => contests.contests().map(|listed| json!(listed)).map_err(words),
        OperatorCommand::Recheck { record } => {
            contests.recheck(&record).map(|verdict| json!(verdict)).map_err(words)
        }
        OperatorCommand::Evidence { record, operator: Some(other) } if other != operator.party() => {
            let name = RecordName { operator: other, cdr: record };
            dispute::evidence(operator.office(), &name, now()).map(|here| json!(here)).map_err(words)
        }
        OperatorCommand::Evidence { record, operator: _ } => {
            contests.own_evidence(&record).map(|here| json!(here)).map_err(words)
        }
        OperatorCommand::Stations => Ok(json!(operator.stations())),
        OperatorCommand::Invite { evse } => {
            let until = in_time(INVITED_FOR);
            let invitation = operator.invite(&evse).map_err(|error| chain(&error))?;
            let (operator_did, operator_invitation) =
                (operator.did().to_string(), operator.url_of(&invitation));
            Ok(json!(StationInvitation { evse, operator_did, operator_invitation, until }))
        }
        OperatorCommand::Revoke { evse, reason } => operator
            .revoke_station(&evse, &reason)
            .map(|()| json!({ "revoked": evse, "reason": reason }))
            .map_err(|error| match error {
                ChargingError::Denied(denied) if denied.denial == Denial::UnknownStation => {
                    format!("no station {evse} has registered: `eroam operator stations` lists them")
                }
                error => chain(&error),
            }),
        OperatorCommand::Records => {
            let mut records = 0u64;
            let counted = operator.office().with(|gateway, _| {
                gateway.store_mut().each_wholesale(&mut |_, _, line| {
                    records += u64::from(!line.is_credit());
                    Ok(())
                })
            });
            counted.map(|()| json!(records)).map_err(|error| chain(&error))
        }
        OperatorCommand::Usage => Ok(json!(Usage::now())),
    }
}
