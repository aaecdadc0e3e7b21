//! Which port of a station a session used. The files name stations only; sessions that overlap must have used
//! different ports.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::InputSession;

/// Most ports of one station; more overlap means that the file's stations are something else, such as cities.
pub const MAX_PORTS_PER_STATION: u16 = 10_000;

/// A station has more sessions at once than a station can have ports.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "station `{station}` has more than {MAX_PORTS_PER_STATION} sessions at once; check that the file's station column \
     names single stations"
)]
pub struct TooManyPorts {
    /// The station as in the file.
    pub station: String,
}

/// Gives every session the lowest port free at its start and returns the number of ports per station.
///
/// A port is free when its last session ended at or before the start. Sessions are taken by (start, file, line, item);
/// should these be equal, by the rest of their content. So the outcome depends on the sessions only, not on their order,
/// which is kept. Stations of the same name are one station, also across files.
///
/// # Errors
///
/// More than [`MAX_PORTS_PER_STATION`] sessions at once; ports are then not set.
pub fn infer_ports(sessions: &mut [InputSession]) -> Result<BTreeMap<String, u16>, TooManyPorts> {
    let mut by_station: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, session) in sessions.iter().enumerate() {
        by_station.entry(&session.station).or_default().push(index);
    }
    let mut assigned = vec![0; sessions.len()];
    let mut counts = BTreeMap::new();
    for (station, mut indices) in by_station {
        indices.sort_by_cached_key(|index| sessions.get(*index).map(order));
        let mut ports = Ports::default();
        for index in indices {
            let Some(session) = sessions.get(index) else { continue };
            let port = ports.take(session.start_ms, session.end_ms);
            if port > MAX_PORTS_PER_STATION {
                return Err(TooManyPorts { station: station.to_string() });
            }
            if let Some(slot) = assigned.get_mut(index) {
                *slot = port;
            }
        }
        counts.insert(station.to_string(), ports.count);
    }
    for (session, port) in sessions.iter_mut().zip(assigned) {
        session.port = port;
    }
    Ok(counts)
}

fn order(session: &InputSession) -> impl Ord + use<> {
    let content = (session.end_ms, session.energy_milli_wh, session.user.clone(), session.id.clone());
    (session.start_ms, session.source.file.clone(), session.source.line, session.source.item, content)
}

/// The ports of one station while its sessions pass by in order of start.
#[derive(Default)]
struct Ports {
    count: u16,
    free: BTreeSet<u16>,
    /// (end, port), the earliest end on top.
    busy: BinaryHeap<Reverse<(i64, u16)>>,
}

impl Ports {
    fn take(&mut self, start_ms: i64, end_ms: i64) -> u16 {
        while let Some(Reverse((_, port))) =
            self.busy.peek().filter(|Reverse((end, _))| *end <= start_ms).copied()
        {
            self.busy.pop();
            self.free.insert(port);
        }
        let port = self.free.pop_first().unwrap_or_else(|| {
            self.count += 1;
            self.count
        });
        self.busy.push(Reverse((end_ms, port)));
        port
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Format, SourceRef};
    use super::*;

    fn session(line: u64, station: &str, start_ms: i64, end_ms: i64) -> InputSession {
        InputSession {
            source: SourceRef { file: "sample".into(), line, item: None, format: Format::Boulder },
            id: None,
            user: None,
            station: station.into(),
            port: 1,
            start_ms,
            charging_end_ms: end_ms,
            end_ms,
            energy_milli_wh: 0,
            offset_start_s: 0,
            offset_change: None,
        }
    }

    fn by_line(sessions: &[InputSession]) -> BTreeMap<u64, u16> {
        sessions.iter().map(|session| (session.source.line, session.port)).collect()
    }

    fn sample() -> Vec<InputSession> {
        vec![
            session(2, "a", 0, 10),
            session(3, "a", 0, 5),
            session(4, "a", 4, 6),
            session(5, "a", 5, 9),
            session(6, "a", 10, 10),
            session(7, "a", 10, 12),
            session(8, "b", 0, 10),
        ]
    }

    #[test]
    fn sessions_get_the_lowest_port_free_at_their_start() {
        let mut sessions = sample();
        let counts = infer_ports(&mut sessions).unwrap();
        assert_eq!(counts, BTreeMap::from([("a".into(), 3), ("b".into(), 1)]));
        let expected = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 2), (6, 1), (7, 1), (8, 1)]);
        assert_eq!(by_line(&sessions), expected);
    }

    #[test]
    fn the_order_of_sessions_does_not_matter_and_is_kept() {
        let mut expected = sample();
        infer_ports(&mut expected).unwrap();
        for rotation in 0..expected.len() {
            let mut sessions = sample();
            sessions.rotate_left(rotation);
            sessions.reverse();
            let lines: Vec<u64> = sessions.iter().map(|session| session.source.line).collect();
            infer_ports(&mut sessions).unwrap();
            assert_eq!(by_line(&sessions), by_line(&expected));
            assert_eq!(sessions.iter().map(|session| session.source.line).collect::<Vec<_>>(), lines);
        }
    }

    #[test]
    fn stations_with_too_many_sessions_at_once_are_refused() {
        let crowd = u64::from(MAX_PORTS_PER_STATION) + 1;
        let mut sessions: Vec<_> = (0..crowd).map(|line| session(line, "a", 0, 10)).collect();
        assert_eq!(infer_ports(&mut sessions), Err(TooManyPorts { station: "a".into() }));
        sessions.pop();
        assert_eq!(infer_ports(&mut sessions).unwrap()["a"], MAX_PORTS_PER_STATION);
    }
}
