//! Tells other validators of envelopes, so that whoever leads next has them, and again while they are not included.

use crate::admission::{admit, wanted};
use crate::mempool::{Mempool, NotTaken};
use crate::requests::Questions;
use crate::tip::Tip;
use borsh::{BorshDeserialize, BorshSerialize};
use bytes::Bytes;
use commonware_cryptography::ed25519;
use commonware_p2p::{Receiver, Recipients, Sender};
use commonware_runtime::{Clock, Spawner};
use eroam_domain::codec::{Digest, from_bytes, to_bytes};
use eroam_domain::time::UnixMillis;
use eroam_ledger::tx::{CheckedEnvelope, ENVELOPE_BYTES_MAX, SignedEnvelope};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A message carries about so many bytes of envelopes, or one larger envelope.
const MESSAGE_BYTES: usize = 1 << 20;
/// The greatest message.
pub(crate) const MESSAGE_BYTES_MAX: usize = MESSAGE_BYTES + ENVELOPE_BYTES_MAX + 4096;
/// Own envelopes that were not included for so long are told again.
const TELL_AGAIN_AFTER: Duration = Duration::from_secs(2);

/// What validators tell each other.
#[derive(BorshSerialize, BorshDeserialize)]
struct Message {
    /// The time that the submitter stated.
    at: UnixMillis,
    envelopes: Vec<Vec<u8>>,
}

/// Envelopes that were submitted here.
pub(crate) type Outgoing = mpsc::UnboundedReceiver<Vec<CheckedEnvelope>>;

/// Sends what is submitted here, and again what waits for too long.
pub(crate) async fn tell<E: Clock + Spawner>(
    context: E,
    mut sender: impl Sender<PublicKey = ed25519::PublicKey>,
    mut outgoing: Outgoing,
    mempool: Mempool,
    tip: Arc<Tip>,
) {
    loop {
        let envelopes = commonware_macros::select! {
            submitted = outgoing.recv() => match submitted {
                // Under steady load the wait below never ends.
                Some(mut envelopes) => {
                    envelopes.extend(mempool.to_tell_again(TELL_AGAIN_AFTER));
                    envelopes
                }
                None => return,
            },
            _ = context.sleep(TELL_AGAIN_AFTER) => mempool.to_tell_again(TELL_AGAIN_AFTER),
        };
        let mut message = Message { at: tip.stated(), envelopes: Vec::new() };
        let mut size = 0;
        for envelope in &envelopes {
            let bytes = envelope.signed().bytes();
            if size > 0 && size + bytes.len() > MESSAGE_BYTES {
                send(&mut sender, &message);
                message.envelopes.clear();
                size = 0;
            }
            size += bytes.len();
            message.envelopes.push(bytes.to_vec());
        }
        if !message.envelopes.is_empty() {
            send(&mut sender, &message);
        }
    }
}

fn send(sender: &mut impl Sender<PublicKey = ed25519::PublicKey>, message: &Message) {
    // Whoever is not reached now is told again later, or has it from a block.
    let _ = sender.send(Recipients::All, Bytes::from(to_bytes(message)), false);
}

/// Takes in what others send.
pub(crate) async fn listen(
    mut receiver: impl Receiver<PublicKey = ed25519::PublicKey>,
    network: Digest,
    questions: Questions,
    mempool: Mempool,
    tip: Arc<Tip>,
) {
    while let Ok((from, bytes)) = receiver.recv().await {
        let Ok(message) = from_bytes::<Message>(bytes.as_ref()) else {
            tracing::warn!(%from, "chain.gossip.malformed");
            continue;
        };
        tip.state_time(message.at);
        for bytes in message.envelopes {
            let Ok(signed) = SignedEnvelope::decode(bytes) else {
                tracing::warn!(%from, "chain.gossip.malformed");
                continue;
            };
            let [member, lane] = wanted(signed.envelope());
            let Ok(values) = questions.values(vec![member, lane]).await else { return };
            let (member, lane) = (values.first().cloned().flatten(), values.get(1).cloned().flatten());
            let taken = admit(Arc::new(signed), network, member.as_deref(), lane.as_deref())
                .map_err(NotTaken::Refused)
                .and_then(|(checked, next)| mempool.insert(&checked, next, tip.header().time, false));
            if let Err(NotTaken::Refused(code)) = taken {
                tracing::debug!(%from, %code, "chain.gossip.refused");
            }
        }
    }
}
