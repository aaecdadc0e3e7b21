//! A binary SHA-256 tree over a list of digests, and the path from a leaf to its root.
//!
//! The last node of a level that has no neighbour moves up unchanged. An empty list has the root [`Digest::ZERO`], a
//! single leaf is its own root.
//!
//! A path says at which index its leaf stands and how the tree is shaped along it, and nothing else: the length of the
//! list does not follow from the root. The same root can therefore be reached from another index (the third of three
//! leaves looks like the second of two), so **a leaf must contain its own index**, as every leaf of the ledger does.

use borsh::BorshSerialize;
use eroam_domain::codec::Digest;

/// The most levels of a tree: indices have 32 bits.
pub const STEPS_MAX: usize = 32;

/// The root of `leaves`, whose inner nodes are hashed under `separator`.
#[must_use]
pub fn root(separator: &str, leaves: &[Digest]) -> Digest {
    let mut level = leaves.to_vec();
    while level.len() > 1 {
        level = above(separator, &level);
    }
    level.first().copied().unwrap_or(Digest::ZERO)
}

/// The path of the leaf at `index`, counted from 0; `None` beyond the last.
#[must_use]
pub fn path(separator: &str, leaves: &[Digest], index: u32) -> Option<Path> {
    let mut place = usize::try_from(index).ok()?;
    leaves.get(place)?;
    let (mut level, mut steps) = (leaves.to_vec(), Vec::new());
    while level.len() > 1 {
        steps.push(level.get(place ^ 1).copied());
        level = above(separator, &level);
        place >>= 1;
    }
    Path::new(index, steps)
}

fn above(separator: &str, level: &[Digest]) -> Vec<Digest> {
    let node = |pair: &[Digest]| match pair {
        [left, right] => node(separator, left, right),
        rest => rest.first().copied().unwrap_or(Digest::ZERO),
    };
    level.chunks(2).map(node).collect()
}

fn node(separator: &str, left: &Digest, right: &Digest) -> Digest {
    Digest::of_parts(separator, &[&left.0, &right.0])
}

/// The way from a leaf to the root.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Path {
    index: u32,
    steps: Vec<Option<Digest>>,
}

impl Path {
    /// A path from its parts: from the leaf upwards the neighbour on each level, `None` where there is none. It is
    /// `None` if no tree has such a path, so that a tree has exactly one path for each index.
    #[must_use]
    pub fn new(index: u32, steps: Vec<Option<Digest>>) -> Option<Self> {
        if steps.len() > STEPS_MAX {
            return None;
        }
        let (mut place, mut last) = (u64::from(index), false);
        for step in &steps {
            // Whoever has no neighbour is the last of its level and of every level above, but never alone: then it
            // would be the root. A last node on the left has no neighbour.
            let on_the_right = place & 1 == 1;
            place >>= 1;
            match step {
                None if on_the_right || place == 0 => return None,
                None => last = true,
                Some(_) if last && !on_the_right => return None,
                Some(_) => {}
            }
        }
        (place == 0).then_some(Self { index, steps })
    }

    /// Where the leaf stands, from 0.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// From the leaf upwards the neighbour on each level, `None` where there is none.
    #[must_use]
    pub fn steps(&self) -> &[Option<Digest>] {
        &self.steps
    }

    /// The root of the tree that has `leaf` at this place.
    #[must_use]
    pub fn root(&self, separator: &str, leaf: Digest) -> Digest {
        let (mut place, mut digest) = (self.index, leaf);
        for step in &self.steps {
            digest = match step {
                Some(left) if place & 1 == 1 => node(separator, left, &digest),
                Some(right) => node(separator, &digest, right),
                None => digest,
            };
            place >>= 1;
        }
        digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SEPARATOR: &str = "test/node/1";

    fn leaves(count: u32) -> Vec<Digest> {
        (0..count).map(|index| Digest::of_value("test/leaf/1", &index)).collect()
    }

    #[test]
    fn every_leaf_of_every_small_tree_has_a_path_to_the_root() {
        for count in 0..40 {
            let leaves = leaves(count);
            let root = root(SEPARATOR, &leaves);
            for (leaf, index) in leaves.iter().zip(0..) {
                let path = path(SEPARATOR, &leaves, index).unwrap();
                assert_eq!(path.index(), index);
                assert_eq!(path.root(SEPARATOR, *leaf), root, "leaf {index} of {count}");
                assert_eq!(Path::new(index, path.steps().to_vec()), Some(path));
            }
            assert_eq!(path(SEPARATOR, &leaves, count), None);
        }
    }

    #[test]
    fn the_root_of_nothing_is_zero_and_of_one_leaf_the_leaf() {
        assert_eq!(root(SEPARATOR, &[]), Digest::ZERO);
        let one = leaves(1);
        assert_eq!(root(SEPARATOR, &one), one[0]);
        assert_eq!(path(SEPARATOR, &one, 0).unwrap().steps(), []);
    }

    #[test]
    fn another_leaf_or_another_neighbour_leads_elsewhere() {
        let leaves = leaves(13);
        let root = root(SEPARATOR, &leaves);
        for index in 0..13 {
            let path = path(SEPARATOR, &leaves, index).unwrap();
            assert_ne!(path.root(SEPARATOR, Digest::of(b"other")), root);
            for (place, step) in path.steps().iter().enumerate() {
                let Some(mut changed) = *step else { continue };
                changed.0[7] ^= 16;
                let mut steps = path.steps().to_vec();
                steps[place] = Some(changed);
                let leaf = leaves[usize::try_from(index).unwrap()];
                assert_ne!(Path::new(index, steps).unwrap().root(SEPARATOR, leaf), root);
            }
        }
    }

    #[test]
    fn a_shape_that_no_tree_has_is_refused() {
        let digest = Some(Digest::of(b"neighbour"));
        for (index, steps) in [
            (1, vec![]),                     // a single leaf stands at 0
            (2, vec![digest]),               // two leaves have no third
            (0, vec![None]),                 // the root has nothing above it
            (1, vec![None]),                 // the second of two has a neighbour
            (2, vec![None, None]),           // the last of three is not alone
            (4, vec![None, digest, digest]), // the last of its level is the last above, too
            (0, vec![digest; STEPS_MAX + 1]),
        ] {
            assert_eq!(Path::new(index, steps.clone()), None, "{index} {steps:?}");
        }
        assert!(Path::new(u32::MAX, vec![digest; STEPS_MAX]).is_some());
    }

    proptest! {
        #[test]
        fn arbitrary_parts_never_panic(index: u32, shape in proptest::collection::vec(any::<bool>(), 0..40)) {
            let steps = shape.into_iter().map(|some| some.then_some(Digest::ZERO)).collect();
            if let Some(path) = Path::new(index, steps) {
                let _ = path.root(SEPARATOR, Digest::ZERO);
            }
        }
    }

    #[test]
    fn every_shape_that_is_taken_is_that_of_some_tree() {
        let shape = |path: &Path| path.steps().iter().map(Option::is_some).collect::<Vec<_>>();
        let mut of_trees = std::collections::BTreeSet::new();
        for count in 1..=32 {
            let leaves = leaves(count);
            of_trees.extend((0..count).map(|i| (i, shape(&path(SEPARATOR, &leaves, i).unwrap()))));
        }
        // Every tree with at most five levels has at most 32 leaves.
        for (index, levels) in (0u32..40).flat_map(|index| (0..=5).map(move |levels| (index, levels))) {
            for bits in 0u32..1 << levels {
                let steps = (0..levels).map(|level| (bits >> level & 1 == 1).then_some(Digest::ZERO));
                let taken = Path::new(index, steps.collect()).map(|path| (index, shape(&path)));
                let wanted = (index, (0..levels).map(|level| bits >> level & 1 == 1).collect::<Vec<_>>());
                assert_eq!(taken.is_some(), of_trees.contains(&wanted), "{wanted:?}");
            }
        }
    }
}
