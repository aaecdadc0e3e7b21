//! A PostgreSQL server for one test process: started when the first test wants it, gone with the process.
//!
//! A shell guards it. The shell reads from a pipe whose other end only this process holds; when that closes, however
//! the process ended, the shell stops the server by its process id and removes its files. The server listens on a
//! Unix socket in a new directory and on no port.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// `$1` binaries, `$2` directory, `$3` user that runs the server, which root may not (empty: this one). The locale
/// sorts as people do, so that a forgotten bytewise collation shows.
const GUARD: &str = r#"
bin=$1 dir=$2 user=$3
run() {
    if [ -n "$user" ]; then exec setpriv --reuid="$user" --regid="$user" --init-groups -- "$@"; else exec "$@"; fi
}
[ -z "$user" ] || chown "$user" "$dir"
cd "$dir"
(run "$bin/initdb" -D "$dir/data" -U eroam -A trust -E UTF8 --no-sync --locale=C.UTF-8 \
    --locale-provider=icu --icu-locale=en-US) >initdb.log 2>&1
(run "$bin/postgres" -D "$dir/data" -k "$dir" -h '' -c max_connections=200 -c shared_buffers=64MB) >server.log 2>&1 &
server=$!
read -r _
kill -INT "$server"
wait "$server"
rm -rf "$dir"
"#;

struct Server {
    directory: PathBuf,
    /// Its standard input is the pipe.
    _guard: Child,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();

/// The URL of a new database.
pub(super) fn new_database() -> Option<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Some(server) = SERVER.get_or_init(start) else {
        let ci = std::env::var_os("CI").is_some();
        assert!(!ci, "PostgreSQL is not installed (/usr/lib/postgresql/*/bin), and CI must test it");
        eprintln!("skipped: PostgreSQL is not installed (/usr/lib/postgresql/*/bin)");
        return None;
    };
    let name = format!("t{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let socket = server.directory.display().to_string().replace('/', "%2F");
    let url = |database: &str| format!("postgres://eroam@{socket}/{database}");
    execute(&url("postgres"), &format!("CREATE DATABASE {name}")).unwrap();
    Some(url(&name))
}

fn start() -> Option<Server> {
    let binaries = binaries()?;
    // Socket paths are short: 107 bytes.
    let directory = tempfile::Builder::new().prefix("eroam-pg-").tempdir_in("/tmp").unwrap().keep();
    let root = directory.metadata().is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    let mut command = Command::new("sh");
    command.args(["-c", GUARD, "guard"]).arg(&binaries).arg(&directory).arg(if root {
        "postgres"
    } else {
        ""
    });
    // A group of its own, so that Ctrl-C ends the tests first and the server after them.
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    let guard = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let server = Server { directory, _guard: guard };
    let url =
        format!("postgres://eroam@{}/postgres", server.directory.display().to_string().replace('/', "%2F"));
    let deadline = Instant::now() + Duration::from_secs(120);
    while let Err(error) = execute(&url, "SELECT 1") {
        let log = || {
            let read = |name: &str| std::fs::read_to_string(server.directory.join(name)).unwrap_or_default();
            format!("{}\n{}", read("initdb.log"), read("server.log"))
        };
        assert!(Instant::now() < deadline, "the server does not start: {error}\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
    Some(server)
}

/// The newest installation.
fn binaries() -> Option<PathBuf> {
    let versions = Path::new("/usr/lib/postgresql").read_dir().ok()?;
    let found =
        versions.filter_map(|v| Some(v.ok()?.path().join("bin"))).filter(|b| b.join("initdb").exists());
    found.max_by_key(|b| b.parent()?.file_name()?.to_str()?.parse::<u32>().ok())
}

fn execute(url: &str, sql: &str) -> Result<(), sqlx::Error> {
    use sqlx::Connection as _;
    sqlx::any::install_default_drivers();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(url).await?;
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql.to_owned())).execute(&mut connection).await?;
        connection.close().await
    })
}
