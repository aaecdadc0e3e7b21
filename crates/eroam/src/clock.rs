//! The machine's clock, as the library's times: read where something happens now, and nowhere below this crate.

use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// Milliseconds that a simulation has left out.
static LEFT_OUT: AtomicI64 = AtomicI64::new(0);

/// Leaves out a time in which nothing happens that has to be waited for: for simulations, in which hours of charging pass
/// at once. From here on the whole process is so much later.
pub fn leave_out(duration: DurationMs) {
    LEFT_OUT.fetch_add(i64::try_from(duration.millis()).unwrap_or(0), Ordering::AcqRel);
}

/// The time of this machine. A clock that was never set is at the epoch.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ms = i64::try_from(since.as_millis()).ok();
    let ms = ms.and_then(|ms| ms.checked_add(LEFT_OUT.load(Ordering::Acquire)));
    ms.and_then(UnixMillis::new).unwrap_or(UnixMillis::EPOCH)
}

/// The time of this machine after `duration`.
#[must_use]
pub fn in_time(duration: Duration) -> UnixMillis {
    let ms = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let now = now();
    now.checked_add(DurationMs::from_millis(ms)).unwrap_or(now)
}

/// Whether `at` is at most `age` ago. A time that is yet to come is not.
#[must_use]
pub fn is_younger(at: UnixMillis, age: Duration) -> bool {
    now().since(at).is_some_and(|since| u128::from(since.millis()) <= age.as_millis())
}
