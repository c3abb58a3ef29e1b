//! Databases for tests: a file, or a database of a private PostgreSQL that lives in a temporary folder.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::{Duration, Instant};

use argand_ledger::{Clock, Ledger, Options};

/// A database of its own for a test.
pub struct Database {
    pub url: String,
    _folder: Option<tempfile::TempDir>,
    server: Option<Arc<Server>>,
}

impl Database {
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", folder.path().join("ledger.db").display());
        Self { url, _folder: Some(folder), server: None }
    }

    /// `None`, and a printed reason, where there is no PostgreSQL.
    pub fn postgres() -> Option<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let Some(server) = Server::shared() else {
            println!("skipped: no initdb and postgres here");
            return None;
        };
        let name = format!("test{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        server.psql("postgres", &format!("CREATE DATABASE {name}"));
        let url = format!("postgres://ledger@localhost/{name}?host={}", server.folder.path().display());
        Some(Self { url, _folder: None, server: Some(server) })
    }

    pub async fn ledger(&self, clock: &Clock) -> Ledger {
        let options = Options { clock: clock.clone(), ..Options::default() };
        Ledger::open(&self.url, options).await.unwrap()
    }

    /// Runs SQL behind the ledger's back; what went wrong, if it did.
    pub async fn run(&self, sql: &'static str) -> Result<(), String> {
        use sqlx::Connection;
        let done = match self.url.strip_prefix("sqlite:") {
            Some(path) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path);
                let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.map(drop)
            }
            None => {
                let mut conn = sqlx::PgConnection::connect(&self.url).await.unwrap();
                sqlx::raw_sql(sql).execute(&mut conn).await.map(drop)
            }
        };
        done.map_err(|error| error.to_string())
    }

    pub fn is_sqlite(&self) -> bool {
        self.server.is_none()
    }
}

/// A PostgreSQL that the tests running at the same time share. It takes no connections but through its folder.
struct Server {
    folder: tempfile::TempDir,
    process: Mutex<Child>,
}

static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());

impl Server {
    fn shared() -> Option<Arc<Self>> {
        let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some(server) = shared.upgrade() {
            return Some(server);
        }
        let server = Arc::new(Self::start()?);
        *shared = Arc::downgrade(&server);
        Some(server)
    }

    fn start() -> Option<Self> {
        let folder = tempfile::Builder::new()
            .prefix("ledger-pg")
            .tempdir_in("/var/tmp")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let data = folder.path().join("data");
        if is_root() {
            // PostgreSQL does not run as root.
            let owned = Command::new("chown").arg("postgres").arg(folder.path()).status();
            owned.ok().filter(|status| status.success())?;
        }
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let made = as_other(&program("initdb")?)
            .args(["--auth=trust", "--username=ledger", "--encoding=UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&data)
            .stdout(Stdio::null())
            .status();
        assert!(made.unwrap().success(), "initdb failed");
        let process = as_other(&program("postgres")?)
            .arg("-D")
            .arg(&data)
            .arg("-k")
            .arg(folder.path())
            .args([
                "-c",
                "listen_addresses=",
                "-c",
                "fsync=off",
                "-c",
                "max_connections=200",
                "-c",
                "log_min_messages=panic",
            ])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { folder, process: Mutex::new(process) };
        let begun = Instant::now();
        while !server.try_psql("postgres", "SELECT 1") {
            assert!(begun.elapsed() < Duration::from_secs(60), "postgres does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(server)
    }

    fn try_psql(&self, database: &str, sql: &str) -> bool {
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-U", "ledger", "-d", database, "-c", sql, "-h"]).arg(self.folder.path());
        psql.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    }

    fn psql(&self, database: &str, sql: &str) {
        assert!(self.try_psql(database, sql), "{sql} failed");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let mut process = self.process.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        // The second signal of PostgreSQL's three: it ends its connections and leaves.
        let _ = Command::new("kill").args(["-INT", &process.id().to_string()]).status();
        let _ = process.wait();
    }
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

/// A command as another user than root. It replaces itself by the program, so that signals arrive.
fn as_other(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command
}

/// A program of PostgreSQL: on the path, or where Debian puts those that are for the server alone.
fn program(name: &str) -> Option<PathBuf> {
    let on_path =
        std::env::var_os("PATH").map(|path| std::env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let installed = versions.map(|version| version.path().join("bin"));
    installed.chain(on_path).map(|folder| folder.join(name)).find(|path| path.exists())
}
