//! The corpora of this crate's fuzz targets. Their first seeds are documents as roaming partners and meters send
//! them.

#[path = "../../../fuzz/targets/wire.rs"]
mod targets;

use eroam_domain::quantity::WattHours;
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_testkit::corpus;
use eroam_wire::ocmf::{
    ClockState, CurrentKind, Mark, MeterDescription, MeterKey, RecordWriter, SignedReading,
};
use targets::{TARGETS, run};

/// With every restriction that prices something.
const TARIFF: &str = r#"{
  "country_code": "DE", "party_id": "ALL", "id": "16", "currency": "EUR", "type": "REGULAR",
  "elements": [
    {
      "price_components": [
        { "type": "ENERGY", "price": 0.25, "vat": 21.0, "step_size": 100 },
        { "type": "FLAT", "price": 0.5, "vat": 21.0, "step_size": 1 }
      ],
      "restrictions": {
        "start_time": "22:00", "end_time": "06:00", "start_date": "2021-05-01", "end_date": "2021-06-01",
        "min_kwh": 0.1, "max_kwh": 20, "min_current": 16.5, "max_current": 32, "min_power": 0.06, "max_power": 22,
        "min_duration": 900, "max_duration": 3600, "day_of_week": ["MONDAY", "SUNDAY"]
      }
    },
    { "price_components": [{ "type": "PARKING_TIME", "price": 5, "vat": 20, "step_size": 300 }] }
  ],
  "min_price": { "excl_vat": 0.5, "incl_vat": 0.605 },
  "start_date_time": "2020-01-01T00:00:00Z",
  "last_updated": "2020-01-01T00:00:00Z"
}"#;

/// A tariff of OCPI 2.1.1.
const OLD_TARIFF: &str = r#"{"id":"1","currency":"EUR",
"elements":[{"price_components":[{"type":"TIME","price":2,"step_size":60}]}],"last_updated":"2015-06-29T20:39:09Z"}"#;

/// A record with its tariff in it.
fn record() -> String {
    format!(
        r#"{{
  "country_code": "DE", "party_id": "ALL", "id": "CDR-1",
  "start_date_time": "2021-05-01T10:00:00Z", "end_date_time": "2021-05-01T11:00:00Z", "session_id": "S-1",
  "cdr_token": {{ "country_code": "PT", "party_id": "LUZ", "uid": "012345678", "type": "RFID", "contract_id": "PT-LUZ-C00004711-9" }},
  "auth_method": "AUTH_REQUEST",
  "cdr_location": {{
    "id": "LOC1", "address": "Hafenweg 1", "city": "Münster", "country": "DEU",
    "coordinates": {{ "latitude": "51.947", "longitude": "7.637" }},
    "evse_uid": "3256", "evse_id": "DE*ALL*E1234", "connector_id": "1", "connector_standard": "IEC_62196_T2",
    "connector_format": "SOCKET", "connector_power_type": "AC_3_PHASE"
  }},
  "currency": "EUR",
  "tariffs": [{TARIFF}],
  "charging_periods": [
    {{ "start_date_time": "2021-05-01T10:00:00Z", "tariff_id": "16",
      "dimensions": [{{ "type": "ENERGY", "volume": 7.5 }}, {{ "type": "TIME", "volume": 0.75 }}] }},
    {{ "start_date_time": "2021-05-01T10:45:00Z", "tariff_id": "16",
      "dimensions": [{{ "type": "PARKING_TIME", "volume": 0.25 }}] }}
  ],
  "total_cost": {{ "excl_vat": 3.625, "incl_vat": 4.38 }},
  "total_energy": 7.5, "total_time": 1, "total_parking_time": 0.25,
  "last_updated": "2021-05-01T11:00:05Z"
}}"#
    )
}

/// A meter's key, and the records of a session with a pause in it.
fn metered_session() -> String {
    let key = MeterKey::from_bytes(&[7; 32]).unwrap();
    let meter = MeterDescription {
        vendor: "eroam".to_owned(),
        model: "simulated".to_owned(),
        serial: "SIM-0001".to_owned(),
        firmware: "1".to_owned(),
        certified: false,
        kind: CurrentKind::Ac,
    };
    let mut text = format!("{}\n", key.public());
    let writer = RecordWriter::new(key, meter, "PT*GLP*E0007*1".parse().unwrap()).unwrap();
    let readings = [
        (0, Mark::Begin, 1_000),
        (15, Mark::Suspended, 3_500),
        (30, Mark::Charging, 3_500),
        (60, Mark::End, 9_000),
    ];
    for (page, (minute, mark, wh)) in (1..).zip(readings) {
        let at = UnixMillis::new(1_795_258_800_000 + minute * 60_000).unwrap();
        let register = WattHours::from_wh(wh).unwrap();
        let reading = SignedReading { at, clock: ClockState::Synchronised, mark, register };
        text.push_str(&writer.sign(page, &LocalClock::UTC, &[reading]).unwrap());
        text.push('\n');
    }
    text
}

/// What each target must accept.
fn proper() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("wire_ocmf", metered_session().into_bytes()),
        ("wire_ocpi_cdr", record().into_bytes()),
        ("wire_ocpi_tariff", TARIFF.as_bytes().to_vec()),
        ("wire_ocpi_tariff", OLD_TARIFF.as_bytes().to_vec()),
    ]
}

#[test]
fn every_seed_is_accepted_or_refused_as_its_name_says() {
    if corpus::is_to_be_written() {
        corpus::write(&proper(), &[]);
    }
    corpus::replay("wire", &TARGETS.iter().map(|(name, _)| *name).collect(), run);
}
