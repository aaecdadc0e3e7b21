//! The machine's clock, as the library's times: read where something happens now, and nowhere below this crate.

use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime};

/// Milliseconds that a simulation has left out.
static LEFT_OUT: AtomicI64 = AtomicI64::new(0);

/// Where several processes of one simulation note what was left out, if they do.
static SHARED: OnceLock<File> = OnceLock::new();

/// Shares what is left out with other processes of a simulation, through a file of eight bytes (little-endian
/// milliseconds) that is there already. Once for a process.
///
/// # Errors
/// If the file cannot be opened, or another one is shared.
pub fn share(path: &Path) -> io::Result<()> {
    let file = File::options().read(true).write(true).open(path)?;
    SHARED.set(file).map_err(|_| io::Error::other("a clock is shared already"))
}

#[cfg(unix)]
fn shared(file: &File) -> io::Result<i64> {
    let mut bytes = [0; 8];
    std::os::unix::fs::FileExt::read_exact_at(file, &mut bytes, 0)?;
    Ok(i64::from_le_bytes(bytes))
}

#[cfg(unix)]
fn add_shared(file: &File, ms: i64) -> io::Result<()> {
    file.lock()?;
    let sum = shared(file).map(|before| before.saturating_add(ms));
    let written = sum.and_then(|sum| std::os::unix::fs::FileExt::write_all_at(file, &sum.to_le_bytes(), 0));
    file.unlock()?;
    written
}

#[cfg(not(unix))]
fn shared(_: &File) -> io::Result<i64> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
fn add_shared(_: &File, _: i64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// What was left out so far.
fn left_out() -> i64 {
    // A file of a simulation that was taken away in the middle of it leaves the machine's own time.
    SHARED.get().map_or_else(|| LEFT_OUT.load(Ordering::Acquire), |file| shared(file).unwrap_or(0))
}

/// Leaves out a time in which nothing happens that has to be waited for: for simulations, in which hours of charging pass
/// at once. From here on the whole process is so much later, and those that [`share`] its clock.
pub fn leave_out(duration: DurationMs) {
    let ms = i64::try_from(duration.millis()).unwrap_or(0);
    match SHARED.get() {
        None => drop(LEFT_OUT.fetch_add(ms, Ordering::AcqRel)),
        Some(file) => {
            if let Err(error) = add_shared(file, ms) {
                tracing::warn!(%error, "clock.shared");
            }
        }
    }
}

/// The time of this machine. A clock that was never set is at the epoch.
#[must_use]
pub fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let ms = i64::try_from(since.as_millis()).ok();
    let ms = ms.and_then(|ms| ms.checked_add(left_out()));
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
