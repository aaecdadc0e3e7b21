//! A home utility for drivers with wallets, as a program.

use super::ProgramError;
use super::config::Located;
use super::control::Control;
use super::issuer_key_file::GivenKey;
use super::mandates::{Mandates, Period};
use super::organisation::{Organisation, OrganisationConfig, Settling, reach, tails, url};
use super::partner_listings::{self, PartnerListings, SeenPartner};
use super::retail_versions;
use super::voucher_key::VoucherSigner;
use crate::causes::chain;
use crate::charging::customers::Decision;
use crate::charging::dispute;
use crate::charging::issuer::{Issuer, IssuerKey, Kinds, TailsPlace, Term};
use crate::charging::offices::{Office, OfficeError};
use crate::charging::provider::{Approval, CONTRACT_ATTRIBUTES, CONTRACT_SCHEMA, Provider, ProviderSettings};
use crate::charging::state::AgentState;
use crate::charging::{ChargingError, address};
use crate::clock::now;
use crate::partners_unknown;
use crate::registry::tails as tails_pages;
use crate::second_meter::MeterReading;
use crate::server::{Bound, STOP_WITHIN, Server};
use crate::usage::Usage;
use eroam_domain::charge::Denial;
use eroam_domain::ids::{ContractId, PartyId, SchemaId};
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::DurationMs;
use eroam_domain::retail::RetailRules;
use eroam_domain::time::{CivilMonth, UnixMillis};
use eroam_gateway::anomalies::{AnomalyConfig, RecordName};
use eroam_gateway::gateway::ContestReason;
use eroam_gateway::ports::Store as _;
use eroam_gateway::rules::Rules;
use eroam_gateway::vouchers::VoucherRules;
use eroam_ssi::didcomm;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// A home utility's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// Who it is.
    pub organisation: OrganisationConfig,
    /// What it makes contracts of.
    pub contracts: ContractsConfig,
    /// What it signs for its customers.
    pub vouchers: VouchersConfig,
    /// What it takes for impossible in a record that it is charged for; what is left out is
    /// [`eroam_gateway::anomalies::AnomalyRules::DEFAULT`].
    #[serde(default)]
    pub anomalies: AnomalyConfig,
}

/// Contracts.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContractsConfig {
    /// For how many days one is made at least. All of a registry end on the same day, so that the day tells no customer from
    /// the others; a registry takes new ones for a quarter of these days.
    pub valid_days: u32,
    /// Who decides on registrations.
    pub approval: Approval,
    /// How many credentials a registry has room for: the crowd in which each customer hides. The next one is opened by itself.
    pub registry_places: u32,
    /// What customers pay, as JSON ([`RetailRules`]). What changes in it begins a day and an hour after the start that finds
    /// it, when the customers' wallets have heard of it.
    pub retail_file: PathBuf,
    /// The issuer's key, made before: `definition.json`, `secret.json`, `key_correctness.json`. Otherwise it is made at the
    /// first start, which takes up to half a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_key_directory: Option<PathBuf>,
}

/// Vouchers.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VouchersConfig {
    /// Their currency.
    pub currency: Currency,
    /// The most that one pays, in millionths.
    pub cap_micros: i64,
    /// For so many days each is valid.
    pub valid_days: u16,
    /// The most that those of a customer for one day pay, in millionths.
    pub daily_limit_micros: i64,
}

/// What staff can ask a home utility.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProviderCommand {
    /// Registrations, those that wait first.
    Registrations,
    /// The contract that was signed elsewhere and came with a registration: its hash and the file.
    Attached {
        /// Which.
        contract: ContractId,
    },
    /// Accept one.
    Accept {
        /// Which.
        contract: ContractId,
    },
    /// Reject one.
    Reject {
        /// Which.
        contract: ContractId,
        /// Why, in words for whoever registered.
        reason: String,
    },
    /// Contracts whose credential was issued.
    Credentials,
    /// Revoke a contract: credential and vouchers.
    Revoke {
        /// Which.
        contract: ContractId,
        /// Why.
        reason: String,
    },
    /// Block the vouchers of a wallet that was lost.
    Block {
        /// Whose.
        contract: ContractId,
    },
    /// Revoke the key that vouchers are signed with, and sign with another one.
    RevokeVoucherKey {
        /// Why.
        reason: String,
    },
    /// What is on a customer's bill of a month so far.
    Bill {
        /// Whose.
        contract: ContractId,
        /// Of which month.
        month: CivilMonth,
    },
    /// How many charges are on bills.
    Bills,
    /// How often partners answered when their listings of stations were asked for.
    Partners,
    /// Records that were found to be impossible or unusual, with what came of their contests.
    Contests,
    /// Contest a record for a reason that no rule finds.
    Contest {
        /// Which.
        name: RecordName,
        /// Why: operator and resolver read it.
        reason: ContestReason,
    },
    /// The evidence of a contested record that this organisation pays or is to decide.
    Evidence {
        /// Which.
        name: RecordName,
    },
    /// Let an issuer issue contracts in this home utility's name.
    GrantMandate {
        /// Who.
        issuer: PartyId,
        /// Contracts of which schema.
        schema: SchemaId,
        /// When.
        period: Period,
    },
    /// End a mandate.
    RevokeMandate {
        /// Whose.
        issuer: PartyId,
        /// For which schema.
        schema: SchemaId,
    },
    /// The mandates that were granted here, as the ledger has them.
    Mandates,
    /// Compare records with what second meters counted; those above are contested.
    SecondMeter {
        /// What was read.
        readings: Vec<MeterReading>,
    },
    /// What the program used.
    Usage,
}

/// So often it is looked whether resolvers have decided.
const CREDITS_EVERY: DurationMs = DurationMs::from_millis(10 * 60_000);
/// The charging priority of each tier, in the order of [`eroam_domain::retail::Tier::ALL`].
const TIER_PRIORITIES: [i8; 4] = [0, 1, 2, 3];

/// What whoever started a home utility wants to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ProviderReady {
    /// Who.
    pub party: PartyId,
    /// Where: below it is `/enrol/form`.
    pub url: String,
}

/// A running home utility.
pub struct ProviderProgram {
    ready: ProviderReady,
    provider: Provider,
    signer: Arc<VoucherSigner>,
    mandates: Arc<Mandates>,
    state: AgentState,
    control: Option<Control>,
    settling: Option<Settling>,
    listings: Option<PartnerListings>,
    server: Option<Server>,
}

impl ProviderProgram {
    /// Starts one.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn start(located: &Located<ProviderConfig>) -> Result<Self, ProgramError> {
        let ProviderConfig { organisation: config, contracts, vouchers, anomalies } = &located.config;
        let (rules, retail) = rules(located, contracts, vouchers)?;
        let watching = anomalies.rules().map_err(|fault| ProgramError::rule("[anomalies]", fault))?;
        let reach = reach(config.agent_listen, config.agent_public_url.as_deref())?;
        let organisation = Organisation::open(located, config, true)?;
        let Organisation { state, office, publisher, did_key, did, directory, .. } = &organisation;
        let file = located.path(&contracts.retail_file);
        let home = retail_versions::with_newest(state, retail, TIER_PRIORITIES, now(), file.display())?;
        office.with(|gateway, _| {
            *gateway.rules_mut() = Rules { home, ..rules };
            gateway.set_anomaly_rules(Some(watching));
        });
        organisation.publish_did(Vec::new())?;
        let signer = Arc::new(VoucherSigner::new(office.clone(), state.clone()));
        signer.publish()?;

        // The address is part of what is published, so it is taken before there is anything to serve there.
        let listen = address::known(state, "pages", config.listen)?;
        let tails_directory = tails(directory);
        let pages = tails_pages::router(&tails_directory, None);
        let pages = pages.map_err(ProgramError::io("the directory of tails files cannot be made"))?;
        let bound = Bound::take(listen)?;
        address::remember(state, "pages", bound.address())?;
        let url = url(config.public_url.as_deref(), bound.address());

        let term = term_of(contracts)?;
        let given = contracts.issuer_key_directory.as_deref().map(|path| GivenKey::read(&located.path(path)));
        let given = given.transpose()?;
        let kinds = Kinds {
            schema: CONTRACT_SCHEMA,
            attributes: &CONTRACT_ATTRIBUTES,
            registry: contracts.registry_places,
            term,
        };
        let place = TailsPlace { directory: &tails_directory, url: &url };
        let key = given.as_ref().map_or(IssuerKey::New, GivenKey::key);
        let issuer = Issuer::open(publisher.clone(), *did, kinds, key, place, state.clone())?;
        let form = Provider::form(config.party, &config.name);
        let signing = didcomm::SigningKey::from_seed(&did_key.to_bytes());
        let settings = ProviderSettings { valid_days: contracts.valid_days, approval: contracts.approval };
        let (office, state) = (office.clone(), state.clone());
        let provider = Provider::start(office.clone(), issuer, form, signing, settings, state, reach)?;
        let renews = Arc::clone(&signer);
        let provider = provider.renewing_voucher_keys(move || {
            renews.publish().map_err(|error| ChargingError::unexpected("the voucher key", error))
        });
        let router = provider.router().merge(office.router()).merge(pages);
        let server = Server::serve("provider", bound, router, STOP_WITHIN)?;
        let partners = located.path(&config.partners_file);
        let state = organisation.state.clone();
        let listings = PartnerListings::start(office.clone(), state.clone(), partners)?;
        let (crediting, mut credited_at) = (office.clone(), None);
        let settling = Settling::start(office, move || {
            let at = now();
            let is_due = |last: UnixMillis| at.since(last).is_some_and(|since| since >= CREDITS_EVERY);
            if !credited_at.is_none_or(is_due) {
                return;
            }
            credited_at = Some(at);
            if let Err(error) = credit(&crediting) {
                tracing::warn!(error = %chain(&error), "provider.credit");
            }
        })?;
        let answering = provider.clone();
        let signs = Arc::clone(&signer);
        let seen = state.clone();
        let mandates = Arc::new(Mandates::new(publisher.clone(), state.clone()));
        let grants = Arc::clone(&mandates);
        let answer = move |command| handle(&answering, &signs, &grants, &seen, command);
        let control = Control::open(directory, answer)?;
        let ready = ProviderReady { party: config.party, url };
        let (control, settling, server) = (Some(control), Some(settling), Some(server));
        let listings = Some(listings);
        Ok(Self { ready, provider, signer, mandates, state, control, settling, listings, server })
    }

    /// What whoever started it wants to know.
    #[must_use]
    pub const fn ready(&self) -> &ProviderReady {
        &self.ready
    }

    /// Does what staff wants.
    ///
    /// # Errors
    /// A sentence for staff.
    pub fn handle(&self, command: ProviderCommand) -> Result<Value, String> {
        handle(&self.provider, &self.signer, &self.mandates, &self.state, command)
    }
}

impl Drop for ProviderProgram {
    /// Whoever has no answer yet asks again.
    fn drop(&mut self) {
        drop(self.control.take());
        drop(self.server.take());
        drop(self.listings.take());
        drop(self.settling.take());
        self.provider.stop();
    }
}

/// For how long contracts are made.
fn term_of(contracts: &ContractsConfig) -> Result<Term, ProgramError> {
    Term::of_days(contracts.valid_days).ok_or_else(|| {
        let rule = format!("valid_days is from 1 to {}, not {}", Term::DAYS_MAX, contracts.valid_days);
        ProgramError::rule("[contracts]", rule)
    })
}

/// What the configuration says of vouchers, and the retail rules that are to be in force.
fn rules(
    located: &Located<ProviderConfig>,
    contracts: &ContractsConfig,
    vouchers: &VouchersConfig,
) -> Result<(Rules, RetailRules), ProgramError> {
    let path = located.path(&contracts.retail_file);
    let text = std::fs::read_to_string(&path);
    let text = text.map_err(ProgramError::io(format!("{} cannot be read", path.display())))?;
    let retail: RetailRules =
        serde_json::from_str(&text).map_err(|error| ProgramError::rule(path.display(), error))?;
    let VouchersConfig { currency, cap_micros, valid_days, daily_limit_micros } = *vouchers;
    if cap_micros <= 0 || daily_limit_micros < cap_micros || valid_days == 0 {
        let rule = "cap_micros and valid_days are above zero, daily_limit_micros is not below cap_micros";
        return Err(ProgramError::rule("[vouchers]", rule));
    }
    let cap = Money::new(cap_micros, currency);
    let vouchers = Some(VoucherRules { cap, valid_days, daily_limit: daily_limit_micros });
    Ok((Rules { vouchers, ..Rules::default() }, retail))
}

fn handle(
    provider: &Provider,
    signer: &VoucherSigner,
    mandates: &Mandates,
    state: &AgentState,
    command: ProviderCommand,
) -> Result<Value, String> {
    let words = |error: ChargingError| match error {
        ChargingError::Denied(denied) if denied.denial == Denial::UnknownContract => {
            "there is no such contract or registration: `eroam provider registrations` lists them".to_owned()
        }
        error => chain(&error),
    };
    match command {
        ProviderCommand::Registrations => {
            let mut listed: Vec<_> = provider.customers().iter().map(|customer| customer.listed()).collect();
            listed.sort_by_key(|customer| (customer.decision != Decision::Awaited, customer.registered_at));
            Ok(json!(listed))
        }
        ProviderCommand::Credentials => {
            let issued = provider.customers().into_iter().filter(|customer| customer.credential().is_some());
            Ok(json!(issued.map(|customer| customer.listed()).collect::<Vec<_>>()))
        }
        ProviderCommand::Attached { contract } => {
            let attached = provider.attached(&contract).map_err(words)?;
            attached.map(|attached| json!(attached)).ok_or_else(|| {
                format!("nothing was attached to {contract}: `eroam provider registrations` says where something was")
            })
        }
        ProviderCommand::Accept { contract } => {
            provider.accept_registration(&contract).map(|()| json!({ "accepted": contract })).map_err(words)
        }
        ProviderCommand::Reject { contract, reason } => provider
            .reject_registration(&contract, &reason)
            .map(|()| json!({ "rejected": contract, "reason": reason }))
            .map_err(words),
        ProviderCommand::Revoke { contract, reason } => provider
            .revoke(&contract, &reason)
            .map(|()| json!({ "revoked": contract, "reason": reason }))
            .map_err(words),
        ProviderCommand::Block { contract } => {
            provider.block_vouchers(&contract).map(|()| json!({ "blocked": contract })).map_err(words)
        }
        ProviderCommand::RevokeVoucherKey { reason } => {
            let (revoked, next) = signer.revoke().map_err(|error| chain(&error))?;
            tracing::warn!(%revoked, %next, reason, "provider.voucher_key_revoked");
            Ok(json!({ "revoked": revoked, "reason": reason }))
        }
        ProviderCommand::Bill { contract, month } => {
            provider.bill(&contract, month).map(|billed| json!(billed)).map_err(words)
        }
        ProviderCommand::Bills => {
            let mut bills = 0u64;
            let counted = provider.office().with(|gateway, _| {
                gateway.store_mut().each_bill_line(&mut |line| {
                    bills += u64::from(!line.is_credit());
                    Ok(())
                })
            });
            counted.map(|()| json!(bills)).map_err(|error| chain(&error))
        }
        ProviderCommand::Partners => {
            let seen = partner_listings::seen(state).map_err(|error| chain(&error))?;
            let partner = |(party, seen): (String, SeenPartner)| {
                let SeenPartner { asked, answered, answered_at, charging_points } = seen;
                json!({
                    "operator": party, "uptime_bps": seen.uptime_bps(), "asked": asked, "answered": answered,
                    "answered_at": answered_at.map(|at| at.to_string()), "charging_points": charging_points,
                    "turned_away": null, "unknown": partners_unknown::to_a_home_utility(answered > 0),
                })
            };
            Ok(seen.into_iter().map(partner).collect())
        }
        ProviderCommand::Contests => {
            credit(provider.office()).map_err(|error| chain(&error))?;
            dispute::found(provider.office(), now()).map(|found| json!(found)).map_err(|error| chain(&error))
        }
        ProviderCommand::Contest { name, reason } => contest(provider, &name, &reason),
        ProviderCommand::Evidence { name } => dispute::evidence(provider.office(), &name, now())
            .map(|here| json!(here))
            .map_err(|error| chain(&error)),
        ProviderCommand::GrantMandate { issuer, schema, period } => {
            mandates.grant(issuer, &schema, period).map_err(|error| chain(&error))?;
            Ok(json!({ "granted": format!("{issuer} {schema}") }))
        }
        ProviderCommand::RevokeMandate { issuer, schema } => {
            mandates.revoke(issuer, &schema).map_err(|error| chain(&error))?;
            Ok(json!({ "revoked": format!("{issuer} {schema}") }))
        }
        ProviderCommand::Mandates => {
            mandates.list().map(|listed| json!(listed)).map_err(|error| chain(&error))
        }
        ProviderCommand::SecondMeter { readings } => second_meter(provider, &readings),
        ProviderCommand::Usage => Ok(json!(Usage::now())),
    }
}

/// Credits customers what resolvers decided to give back.
fn credit(office: &Office) -> Result<(), OfficeError> {
    office.act(|gateway, ledger| {
        for record in gateway.credit_bills(ledger, now())? {
            tracing::info!(%record, "provider.credited");
        }
        Ok(Vec::new())
    })
}

/// Contests a record, and says where its case stands when the ledger has answered.
fn contest(provider: &Provider, name: &RecordName, reason: &ContestReason) -> Result<Value, String> {
    let office = provider.office();
    let mut refused = None;
    let acted = office.act(|gateway, ledger| {
        refused = gateway.contest_by_staff(ledger, name, reason, now())?.err();
        Ok(Vec::new())
    });
    acted.and_then(|()| office.flush()).map_err(|error| chain(&error))?;
    if let Some(refused) = refused {
        return Err(refused.to_string());
    }
    let case = office.with(|gateway, _| gateway.anomaly(name)).map_err(|error| chain(&error))?;
    Ok(json!({ "record": name, "case": case.map(|case| case.state) }))
}

/// Compares, contests what is above its second meter, and says what came of each reading.
fn second_meter(provider: &Provider, readings: &[MeterReading]) -> Result<Value, String> {
    let mut compared = Vec::with_capacity(readings.len());
    let acted = provider.office().act(|gateway, ledger| {
        for reading in readings {
            let result = gateway.second_meter_read(ledger, &reading.name, reading.second)?;
            compared.push(json!({ "line": reading.line, "record": reading.name, "result": result }));
        }
        Ok(Vec::new())
    });
    acted.and_then(|()| provider.office().flush()).map_err(|error| chain(&error))?;
    Ok(Value::Array(compared))
}
