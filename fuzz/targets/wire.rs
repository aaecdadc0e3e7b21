//! What the fuzz targets of `eroam-wire` do with their bytes: they read them as a roaming partner's, and say whether they
//! were accepted.

#[path = "target.rs"]
mod target;

use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;
use eroam_wire::ocmf::{MeteredSession, Record};
use eroam_wire::ocpi::cdr::cdr_from_json;
use eroam_wire::ocpi::tariff::{tariff_from_json, tariff_to_json};
use target::Target;

/// Every target by its name, which is also that of its corpus.
pub(crate) const TARGETS: &[(&str, Target)] =
    &[("wire_ocmf", ocmf), ("wire_ocpi_cdr", cdr), ("wire_ocpi_tariff", tariff)];

/// Runs one target.
pub(crate) fn run(name: &str, bytes: &[u8]) -> bool {
    target::run(TARGETS, name, bytes)
}

fn sender() -> PartyId {
    PartyId::new("PT", "CPO").unwrap_or_else(|_| unreachable!("it is one"))
}

/// The meter's key is in the first line, its records are in the others.
fn ocmf(bytes: &[u8]) -> bool {
    let Some((key, records)) = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once('\n')) else {
        return false;
    };
    let Ok(key) = key.parse() else { return false };
    let read: Vec<Record> = records.lines().filter_map(|line| Record::parse(line).ok()).collect();
    let Ok(session) = MeteredSession::read(records, &key) else { return false };
    assert_eq!(read.first().and_then(Record::meter), Some(session.meter()), "it is another meter's");
    let spans = session.spans().iter().map(|span| u128::from(span.energy.milli_wh())).sum::<u128>();
    let whole = u128::from(session.energy().milli_wh());
    assert!(
        spans == whole || session.start() == session.end(),
        "the spans have another energy than the session"
    );
    true
}

fn cdr(bytes: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(bytes) else { return false };
    cdr_from_json(text, sender()).is_ok_and(|document| document.findings.faithful().is_ok())
}

/// A tariff that is read with the meaning that its author gave it is written, and is the same when it is read again.
fn tariff(bytes: &[u8]) -> bool {
    let read = |text: &str| tariff_from_json(text, sender()).ok();
    let Some(document) = std::str::from_utf8(bytes).ok().and_then(read) else { return false };
    if document.findings.faithful().is_err() {
        return false;
    }
    // Not everything that is read can be written.
    if let Ok(text) = tariff_to_json(&document.tariff, UnixMillis::EPOCH) {
        let again = read(&text).map(|again| again.tariff);
        assert_eq!(again, Some(document.tariff), "it is written as another");
    }
    true
}
