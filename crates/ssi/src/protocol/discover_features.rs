//! Which protocols an agent speaks.
//!
//! ```text
//! querier  --queries-->  responder      nothing is remembered: `answer` is the responder,
//!          <-disclosures-               `query` and `read_disclosures` are the querier
//! ```
//! What is disclosed is the list of this crate and the caller's own protocols, to anybody who has a connection.
//!
//! Source: Aries RFCs 0557 (version 2.0) and 0031 (version 1.0).

use super::{Conversation, Family, Illegal, Incoming};
use crate::didcomm::{Channel, Message, MessageId};
use eroam_domain::time::UnixMillis;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The most queries in one message.
const QUERIES_MAX: usize = 16;
/// The longest query, or name of a protocol.
const QUERY_BYTES_MAX: usize = 256;
/// The most protocols that are read from an answer.
const DISCLOSURES_MAX: usize = 256;

/// A question for protocols: their names, or their beginning and `*`.
///
/// # Errors
/// [`Illegal::Malformed`] for more than 16 queries.
pub fn query(matches: &[&str], id: MessageId) -> Result<Message, Illegal> {
    if matches.len() > QUERIES_MAX {
        return Err(Illegal::Malformed("queries"));
    }
    let queries =
        matches.iter().map(|text| json!({"feature-type": "protocol", "match": text})).collect::<Vec<_>>();
    Ok(Message::new(Family::DiscoverFeatures.message("queries"), id).with("queries", queries))
}

/// The answer to a question of either version; `own` are the caller's protocols beside those of this crate.
///
/// # Errors
/// [`Illegal`] for other messages and malformed ones.
pub fn answer(incoming: &Incoming, own: &[&str], id: MessageId) -> Result<Message, Illegal> {
    let message = incoming.message();
    let spoken: BTreeSet<String> =
        Family::ALL.into_iter().map(Family::uri).chain(own.iter().map(|uri| (*uri).to_owned())).collect();
    let matching = |query: &str| match query.strip_suffix('*') {
        Some(start) => spoken.iter().filter(|uri| uri.starts_with(start)).cloned().collect::<Vec<_>>(),
        None => spoken.get(query).cloned().into_iter().collect(),
    };
    let (family, name) = (Family::of(message.kind())?, message.kind().name());
    let answer = |name: &str| Message::new(family.message(name), id).on_thread(message.thread().clone());
    match (family, name) {
        (Family::DiscoverFeatures, "queries") => {
            let queries = message.body().get("queries").and_then(Value::as_array);
            let queries = queries
                .filter(|queries| queries.len() <= QUERIES_MAX)
                .ok_or(Illegal::Malformed("queries"))?;
            let mut found = BTreeSet::new();
            for query in queries {
                let pattern = pattern_of(query.get("match"))?;
                // Other kinds of features have nothing to disclose.
                if query.get("feature-type").and_then(Value::as_str) == Some("protocol") {
                    found.extend(matching(pattern));
                }
            }
            let found =
                found.iter().map(|uri| json!({"feature-type": "protocol", "id": uri})).collect::<Vec<_>>();
            Ok(answer("disclosures").with("disclosures", found))
        }
        (Family::DiscoverFeaturesOld, "query") => {
            let found = matching(pattern_of(message.body().get("query"))?);
            let found = found.iter().map(|uri| json!({"pid": uri})).collect::<Vec<_>>();
            Ok(answer("disclose").with("protocols", found))
        }
        _ => Err(Illegal::Unsupported { found: message.kind().clone() }),
    }
}

/// What a query asks for.
fn pattern_of(query: Option<&Value>) -> Result<&str, Illegal> {
    let query = query.and_then(Value::as_str).filter(|query| query.len() <= QUERY_BYTES_MAX);
    query.ok_or(Illegal::Malformed("a query"))
}

/// The protocols in the answer to [`query`], as the other side says it.
///
/// # Errors
/// [`Illegal`] for another connection, another thread, other messages and malformed ones.
pub fn read_disclosures(
    incoming: &Incoming,
    channel: Channel,
    query: &MessageId,
    now: UnixMillis,
) -> Result<BTreeSet<String>, Illegal> {
    Conversation { channel, thread: query.clone(), deadline: now }.admit(incoming, now)?;
    let message = incoming.message();
    if Family::of(message.kind())? != Family::DiscoverFeatures || message.kind().name() != "disclosures" {
        return Err(Illegal::Unsupported { found: message.kind().clone() });
    }
    let list = message.body().get("disclosures").and_then(Value::as_array);
    let list = list.filter(|list| list.len() <= DISCLOSURES_MAX).ok_or(Illegal::Malformed("disclosures"))?;
    let protocols =
        list.iter().filter(|item| item.get("feature-type").and_then(Value::as_str) == Some("protocol"));
    let ids = protocols.map(|item| {
        let id = item.get("id").and_then(Value::as_str).filter(|id| id.len() <= QUERY_BYTES_MAX);
        id.map(str::to_owned).ok_or(Illegal::Malformed("a disclosure"))
    });
    ids.collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, came, channel, channel_of, id, incoming};
    use super::*;

    #[test]
    fn what_is_spoken_is_disclosed() {
        let ask = |matches: &[&str]| {
            let asked = incoming(channel(), query(matches, id("1")).unwrap());
            let answered =
                incoming(channel(), answer(&asked, &["https://a.example/charging/1.0"], id("2")).unwrap());
            read_disclosures(&answered, channel(), &id("1"), at(0)).unwrap()
        };
        assert_eq!(ask(&["https://didcomm.org/present-proof/*"]), [Family::PresentProof.uri()].into());
        assert_eq!(
            ask(&["https://a.example/charging/1.0"]),
            ["https://a.example/charging/1.0".to_owned()].into()
        );
        assert_eq!(ask(&["*"]).len(), Family::ALL.len() + 1);
        assert!(ask(&["https://didcomm.org/present-proof"]).is_empty());
        assert!(query(&["*"; 17], id("1")).is_err());
    }

    #[test]
    fn the_first_version_is_answered_too() {
        let asked = came(&json!({"@type": "https://didcomm.org/discover-features/1.0/query", "@id": "1",
            "query": "https://didcomm.org/basicmessage/1.0"}));
        let answered = answer(&asked, &[], id("2")).unwrap().to_value();
        assert_eq!(answered["@type"], "https://didcomm.org/discover-features/1.0/disclose");
        assert_eq!(answered["protocols"], json!([{"pid": "https://didcomm.org/basicmessage/1.0"}]));
    }

    #[test]
    fn answers_of_others_and_malformed_ones_are_refused() {
        let message = |kind: &str, thread: &str, list: Value| {
            came(
                &json!({"@type": format!("https://didcomm.org/{kind}"), "@id": "2", "~thread": {"thid": thread},
                "disclosures": list, "queries": list, "query": list}),
            )
        };
        let disclosures = "discover-features/2.0/disclosures";
        let read = |message: &Incoming| read_disclosures(message, channel(), &id("1"), at(0));
        assert!(matches!(read(&message(disclosures, "3", json!([]))), Err(Illegal::WrongThread { .. })));
        let other = incoming(channel_of(1, 3), message(disclosures, "1", json!([])).message().clone());
        assert!(matches!(read(&other), Err(Illegal::WrongConnection)));
        assert!(matches!(read(&message(disclosures, "1", json!({}))), Err(Illegal::Malformed(_))));
        let queries = "discover-features/2.0/queries";
        assert!(matches!(read(&message(queries, "1", json!([]))), Err(Illegal::Unsupported { .. })));
        for (kind, list) in
            [(queries, json!([{}])), (queries, json!(1)), ("discover-features/1.0/query", json!([]))]
        {
            assert!(
                matches!(answer(&message(kind, "1", list), &[], id("2")), Err(Illegal::Malformed(_))),
                "{kind}"
            );
        }
        let disclosed = message(disclosures, "1", json!([]));
        assert!(matches!(answer(&disclosed, &[], id("2")), Err(Illegal::Unsupported { .. })));
    }
}
