//! The light client against the engine: what the one makes the other must take, and nothing else.

mod certificates;
mod corpus;
mod engine;
mod receipts;
mod sizes;
mod states;

/// Every value that differs from `bytes` in a single bit.
fn flipped(bytes: &[u8]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    (0..bytes.len() * 8).map(|bit| {
        let mut other = bytes.to_vec();
        other[bit / 8] ^= 1 << (bit % 8);
        (bit, other)
    })
}
