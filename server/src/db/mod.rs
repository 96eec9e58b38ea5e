//! The database: one SQLite file, and the only module that touches it. Definitions, jobs and events have a file each;
//! what a deployment means is decided elsewhere.
//!
//! Writers take turns in [`Db::write`]; a transaction that committed is on the disk (WAL, `synchronous=FULL`).

mod audit;
mod discovered;
mod events;
mod jobs;
mod leases;
mod migrations;
mod node_tokens;
mod objects;
mod sealing;
mod synced;
mod tokens;
mod work;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Sqlite, SqlitePool, Transaction};
use tokio::sync::{Mutex, MutexGuard, watch};

use crate::trust::AttributeKey;

pub use audit::{AuditFilter, NewAudit};
pub use events::NewEvent;
pub use jobs::{Job, NewJob, Role, RulesByLabel};
pub use objects::Attributes;
pub use synced::{Found, Synced};
pub use work::Work;

/// How long a statement waits for another process that holds the database (a backup, an administrator's sqlite3).
const BUSY: Duration = Duration::from_secs(60);
/// Readers at a time; SQLite reads on as many threads.
const CONNECTIONS: u32 = 8;

/// Why the database could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// It could not be opened.
    #[error("opening the database {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::Error,
    },
    /// It could not be brought to this version's form.
    #[error("bringing the database {path} up to date")]
    Migrate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: sqlx::migrate::MigrateError,
    },
    /// A statement failed.
    #[error("using the database")]
    Statement(#[from] sqlx::Error),
    /// A row holds what this program never writes.
    #[error("the database has a {what} that cannot be read: {value}")]
    Row {
        /// Which column.
        what: &'static str,
        /// Its value.
        value: String,
    },
}

/// The database.
pub struct Db {
    pool: SqlitePool,
    turn: Mutex<()>,
    newest_event: watch::Sender<i64>,
    key: AttributeKey,
}

/// A transaction that writes. Dropped without [`Tx::commit`], nothing of it happened.
pub struct Tx<'db> {
    tx: Transaction<'static, Sqlite>,
    now: Timestamp,
    event: Option<i64>,
    newest_event: &'db watch::Sender<i64>,
    key: &'db AttributeKey,
    _turn: MutexGuard<'db, ()>,
}

impl Db {
    /// Opens the database, makes it when it is not there, and brings it up to date. Passwords in it are sealed with
    /// `key`: whatever reads them gets them sealed.
    ///
    /// # Errors
    /// The file cannot be used, or a later version of this program wrote it.
    pub async fn open(path: &Path, key: &AttributeKey) -> Result<Self, DbError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY)
            .disable_statement_logging();
        let open = |source| DbError::Open { path: path.to_owned(), source };
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .acquire_timeout(BUSY)
            .connect_with(options)
            .await
            .map_err(open)?;
        migrations::run(&pool).await.map_err(|source| DbError::Migrate { path: path.to_owned(), source })?;
        sealing::seal_all(&pool, key).await.map_err(open)?;
        let newest: i64 = sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM event")
            .fetch_one(&pool)
            .await
            .map_err(open)?;
        Ok(Self { pool, turn: Mutex::new(()), newest_event: watch::Sender::new(newest), key: key.clone() })
    }

    /// Begins to write. Other writers wait meanwhile, so keep it short.
    ///
    /// # Errors
    /// The database is held by another process for too long.
    pub async fn write(&self) -> Result<Tx<'_>, DbError> {
        let turn = self.turn.lock().await;
        let tx = self.pool.begin_with("BEGIN IMMEDIATE").await?;
        Ok(Tx {
            tx,
            now: Timestamp::now(),
            event: None,
            newest_event: &self.newest_event,
            key: &self.key,
            _turn: turn,
        })
    }

    /// Closes it in good order.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

impl Tx<'_> {
    /// The time of everything in this transaction.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Makes it happen; on the disk when this returns.
    ///
    /// # Errors
    /// The disk refused it; then nothing happened.
    pub async fn commit(self) -> Result<(), DbError> {
        self.tx.commit().await?;
        if let Some(id) = self.event {
            self.newest_event.send_replace(id);
        }
        Ok(())
    }
}

/// Names as one SQL parameter, for `IN (SELECT value FROM json_each(?))`.
fn list(names: &[String]) -> String {
    serde_json::to_string(names).expect("a list of texts always encodes")
}

fn timestamp(what: &'static str, millis: i64) -> Result<Timestamp, DbError> {
    Timestamp::from_millisecond(millis).map_err(|_| DbError::Row { what, value: millis.to_string() })
}
