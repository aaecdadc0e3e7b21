//! exploration
mod support;
use eroam_ledger::state::state_digest;
use support::{Cluster, accepted, members, submit};
use std::path::{Path, PathBuf};
use std::time::Instant;
use std::collections::BTreeSet;

fn files(dir: &Path, out: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    for e in entries { if e.is_dir() { files(&e, out) } else { out.push(e) } }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for e in std::fs::read_dir(from).unwrap() {
        let e = e.unwrap();
        if e.path().is_dir() { copy(&e.path(), &to.join(e.file_name())) } else { std::fs::copy(e.path(), to.join(e.file_name())).unwrap(); }
    }
}

#[test]
fn explore() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(dir.path(), 1, 12);
    let a = members()[0];
    let mut acked = BTreeSet::new();
    let digest;
    let height;
    {
        let nodes = cluster.start();
        for sequence in 0..30 {
            let e = cluster.deposit(a, 0, sequence);
            acked.insert(e.digest());
            accepted(&submit(&nodes[0], vec![e]));
        }
        let (h, entries) = nodes[0].client().entries().unwrap();
        digest = state_digest(entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice())));
        height = h.height;
    }
    let base = cluster.directory(0);
    let mut all = Vec::new();
    files(&base.join("engine"), &mut all);
    let names: Vec<PathBuf> = all.iter().map(|f| f.strip_prefix(&base).unwrap().to_owned()).collect();
    let mut n = 0;
    for name in names {
        let bytes = std::fs::read(base.join(&name)).unwrap();
        println!("== {} {}", name.display(), bytes.len());
        let len = bytes.len();
        let mut variants: Vec<(&str, Vec<u8>)> = Vec::new();
        if len > 0 {
            variants.push(("cut 1", bytes[..len-1].to_vec()));
            variants.push(("cut half", bytes[..len/2].to_vec()));
            variants.push(("cut all", vec![]));
            let mut f = bytes.clone(); f[len.saturating_sub(1)] ^= 1; variants.push(("flip last", f));
            let mut f = bytes.clone(); f[len.saturating_sub(100)] ^= 1; variants.push(("flip -100", f));
            let mut f = bytes.clone(); let at = len.saturating_sub(4096) + 10; let at = at.min(len-1); f[at] ^= 1; variants.push(("flip page start", f));
        }
        for (what, damaged) in variants {
            n += 1;
            let root = dir.path().join(format!("d{n}"));
            cluster.root = root.clone();
            copy(&base, &cluster.directory(0));
            std::fs::write(cluster.directory(0).join(&name), &damaged).unwrap();
            let t = Instant::now();
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| cluster.start_one(0)));
            let took = t.elapsed();
            match result {
                Err(_) => println!("  {what}: PANIC"),
                Ok(Err(e)) => println!("  {what}: {took:?} refused {}", e),
                Ok(Ok(node)) => {
                    let c = node.client().clone();
                    let entries = c.entries();
                    let mut seen = Vec::new();
                    let latest = c.latest().height;
                    let mut missing = vec![];
                    for h in 1..=latest {
                        match c.block(h) { Ok(Some(b)) => match b.contents() { Some(k) => seen.extend(k.envelopes.iter().map(|e| e.digest())), None => missing.push(h) }, Ok(None) => missing.push(h), Err(e) => { println!("   block {h} {e}"); break } }
                    }
                    let set: BTreeSet<_> = seen.iter().copied().collect();
                    let lost = acked.difference(&set).count();
                    let dg = entries.map(|(h, e)| (h.height, state_digest(e.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))) == digest));
                    let t = Instant::now();
                    let mut cl = c.clone();
                    use eroam_ledger::port::LedgerPort;
                    let next = 30 - lost as u64;
                    let r = cl.submit(support::noon(), vec![cluster.deposit(a, 0, next)]);
                    let ok = match &r { Ok(r) => format!("{:?} {:?}", r[0].height, r[0].items[0].outcome.is_accepted()), Err(e) => e.to_string() };
                    println!("  {what}: {took:?} started latest {latest}/{height} lost {lost} dup {} missing {missing:?} state {dg:?} submit {:?} {ok}", seen.len()-set.len(), t.elapsed());
                }
            }
            std::fs::remove_dir_all(&root).unwrap();
        }
    }
}
