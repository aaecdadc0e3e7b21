//! What is said before an epoch has begun.

use super::ledger::validator_key;
use crate::channels::Channels;
use commonware_consensus::types::Epoch;
use commonware_cryptography::{Signer as _, ed25519};
use commonware_p2p::simulated::{Config, Link, Network, Oracle};
use commonware_p2p::{Receiver as _, Recipients, Sender as _};
use commonware_runtime::deterministic::{Context, Runner};
use commonware_runtime::{Clock as _, Quota, Runner as _, Supervisor as _};
use commonware_utils::{NZU32, NZUsize, Probability};
use std::time::Duration;

async fn channels(
    context: &Context,
    oracle: &Oracle<ed25519::PublicKey, Context>,
    key: &ed25519::PublicKey,
) -> Channels<commonware_p2p::simulated::Sender<ed25519::PublicKey, Context>> {
    let control = oracle.control(key.clone());
    let quota = Quota::per_second(NZU32!(1000));
    let votes = control.register(0, quota).await.unwrap();
    let certificates = control.register(1, quota).await.unwrap();
    let requests = control.register(2, quota).await.unwrap();
    Channels::new(context, votes, certificates, requests)
}

#[test]
fn what_is_said_in_the_next_epoch_is_kept_until_it_begins() {
    Runner::seeded(1).start(async |context| {
        let keys: Vec<_> = (0..2).map(|n| validator_key(n).public_key()).collect();
        let config = Config {
            max_size: 1024,
            max_peers_per_set: NZUsize!(2),
            disconnect_on_block: true,
            tracked_peer_sets: NZUsize!(1),
        };
        let (network, oracle) =
            Network::new_with_peers(context.child("network"), config, keys.iter().cloned()).await;
        network.start();
        let link = Link {
            latency: Duration::from_millis(1),
            jitter: Duration::ZERO,
            success_rate: Probability::new(1, 1).unwrap(),
        };
        oracle.add_link(keys[0].clone(), keys[1].clone(), link).await.unwrap();
        let mut fast = channels(&context.child("fast"), &oracle, &keys[0]).await;
        let mut slow = channels(&context.child("slow"), &oracle, &keys[1]).await;

        let old = Epoch::new(4);
        let current = slow.enter(old).await.unwrap();
        let mut ahead = fast.enter(old.next()).await.unwrap();
        let mut far_ahead = fast.enter(old.next().next()).await.unwrap();
        let say = |text: &'static [u8]| bytes::Bytes::from_static(text);
        ahead.votes.0.send(Recipients::All, say(b"first"), false);
        ahead.certificates.0.send(Recipients::All, say(b"certificate"), false);
        assert_eq!(slow.somebody_ahead(old).await, Some(keys[0].clone()));
        // Far more than is kept: whoever sends so much does not make this validator keep it all.
        for _ in 0..100 {
            ahead.votes.0.send(Recipients::All, say(b"more"), false);
        }
        far_ahead.votes.0.send(Recipients::All, say(b"too early"), false);
        context.sleep(Duration::from_millis(100)).await;

        let mut entered = slow.enter(old.next()).await.unwrap();
        ahead.votes.0.send(Recipients::All, say(b"last"), false);
        let mut votes = Vec::new();
        while votes.last().is_none_or(|last| last != b"last") {
            let (from, message) = entered.votes.1.recv().await.unwrap();
            assert_eq!(from, keys[0]);
            votes.push(message.as_ref().to_vec());
        }
        assert_eq!(votes[0], b"first");
        assert!(votes[1..votes.len() - 1].iter().all(|vote| vote == b"more"));
        assert!(votes.len() < 50, "{} are kept", votes.len());
        let (_, certificate) = entered.certificates.1.recv().await.unwrap();
        assert_eq!(certificate.as_ref(), b"certificate");
        drop(current);
    });
}
