//! Jobs: what one node does at its next network boot, most often the deployment of one image generation.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use sysclone_protocol::layout::DiskRules;
use sysclone_protocol::names::{ImageRef, Mac, NodeName};

use super::work::{Work, read_state, read_work};
use super::{Db, DbError, Tx, list, timestamp};
use crate::state::{State, phase_word};
use crate::trust::TokenHash;

/// Rules per layout disk label.
pub type RulesByLabel = BTreeMap<String, DiskRules>;

/// A job to be armed.
#[derive(Debug, Clone)]
pub struct NewJob<'a> {
    /// Its id.
    pub id: &'a str,
    /// Whose it is.
    pub node: &'a NodeName,
    /// What it is about.
    pub work: &'a Work,
    /// Interfaces that its ticket is bound to.
    pub macs: &'a [Mac],
    /// System UUID that its ticket is bound to, when the node's definition has one.
    pub uuid: Option<&'a str>,
    /// Disks to choose.
    pub disk_rules: &'a RulesByLabel,
    /// What its ticket is derived from.
    pub nonce: &'a [u8],
    /// Hash of its ticket.
    pub ticket_hash: TokenHash,
    /// When its ticket ends.
    pub expires_at: Timestamp,
    /// Who armed it.
    pub created_by: &'a str,
}

/// A job as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Its id.
    pub id: String,
    /// Whose it is.
    pub node: NodeName,
    /// What it is about.
    pub work: Work,
    /// Interfaces that its ticket is bound to.
    pub macs: Vec<Mac>,
    /// System UUID that its ticket is bound to.
    pub uuid: Option<String>,
    /// Disks to choose.
    pub disk_rules: RulesByLabel,
    /// What its ticket is derived from.
    pub nonce: Vec<u8>,
    /// When its ticket ends.
    pub expires_at: Timestamp,
    /// When its ticket was used.
    pub consumed_at: Option<Timestamp>,
    /// By which attempt, when the agent named it.
    pub attempt: Option<TokenHash>,
    /// How often it was offered again after an interruption.
    pub resumes: u32,
    /// What machine used its first ticket.
    pub machine: Option<String>,
    /// Where it stands.
    pub state: State,
    /// Bytes done and in all of the phase, as of the last phase change.
    pub progress: (u64, u64),
    /// When it came into its state.
    pub changed_at: Timestamp,
}

/// What the bearer of a token may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Install the job's node.
    Install,
    /// Report the job's clone as running.
    Report,
}

const COLUMNS: &str = "id, node, image, generation, tasks, macs, uuid, disk_rules, nonce, expires_at, consumed_at, \
     attempt, resumes, machine, state, phase, reason, done, total, changed_at";

/// The job that says where a node stands: its newest that was not withdrawn.
const CURRENT: &str = "seq IN (SELECT max(seq) FROM job WHERE state <> 'withdrawn' \
     AND (?1 IS NULL OR node IN (SELECT value FROM json_each(?1))) GROUP BY node)";

impl Db {
    /// Where nodes stand: the newest job of each that was not withdrawn.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn current_jobs(&self, nodes: Option<&[String]>) -> Result<Vec<Job>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM job WHERE {CURRENT} ORDER BY node");
        let rows = sqlx::query(&sql).bind(nodes.map(list)).fetch_all(&self.pool).await?;
        rows.iter().map(Job::read).collect()
    }

    /// The job of one node.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn current_job(&self, node: &str) -> Result<Option<Job>, DbError> {
        Ok(self.current_jobs(Some(&[node.to_owned()])).await?.pop())
    }

    /// The job that a token belongs to, and what the token is for.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn job_by_token(&self, token: &TokenHash) -> Result<Option<(Job, Role)>, DbError> {
        for (column, role) in [("token_hash", Role::Install), ("report_hash", Role::Report)] {
            let sql = format!("SELECT {COLUMNS} FROM job WHERE {column} = ?");
            let row = sqlx::query(&sql).bind(&token.0[..]).fetch_optional(&self.pool).await?;
            if let Some(row) = row {
                return Ok(Some((Job::read(&row)?, role)));
            }
        }
        Ok(None)
    }

    /// The image of a node's newest deployment, whatever else the node did later.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn deployed_image(&self, node: &str) -> Result<Option<ImageRef>, DbError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM job WHERE node = ? AND image IS NOT NULL AND state <> 'withdrawn' \
             ORDER BY seq DESC LIMIT 1"
        );
        let row = sqlx::query(&sql).bind(node).fetch_optional(&self.pool).await?;
        let job = row.as_ref().map(Job::read).transpose()?;
        Ok(job.and_then(|job| job.work.image().cloned()))
    }

    /// The deployment whose installation of a node began last.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn installed_by(&self, node: &str) -> Result<Option<String>, DbError> {
        let sql = "SELECT id FROM job WHERE node = ? AND image IS NOT NULL AND consumed_at IS NOT NULL \
                   ORDER BY seq DESC LIMIT 1";
        Ok(sqlx::query_scalar(sql).bind(node).fetch_optional(&self.pool).await?)
    }

    /// Nodes that `nodeset offline` took off the network boot.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn offline(&self, nodes: Option<&[String]>) -> Result<Vec<String>, DbError> {
        let sql = "SELECT node FROM offline WHERE ?1 IS NULL OR node IN (SELECT value FROM json_each(?1))";
        Ok(sqlx::query_scalar(sql).bind(nodes.map(list)).fetch_all(&self.pool).await?)
    }
}

impl Tx<'_> {
    /// As [`Db::current_jobs`], as this transaction sees it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn current_jobs(&mut self, nodes: &[String]) -> Result<Vec<Job>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM job WHERE {CURRENT} ORDER BY node");
        let rows = sqlx::query(&sql).bind(list(nodes)).fetch_all(&mut *self.tx).await?;
        rows.iter().map(Job::read).collect()
    }

    /// A job by its id.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn job(&mut self, id: &str) -> Result<Option<Job>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM job WHERE id = ?");
        let row = sqlx::query(&sql).bind(id).fetch_optional(&mut *self.tx).await?;
        row.as_ref().map(Job::read).transpose()
    }

    /// The job that a ticket belongs to, whatever became of it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn job_by_ticket(&mut self, ticket: &TokenHash) -> Result<Option<Job>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM job WHERE ticket_hash = ?");
        let row = sqlx::query(&sql).bind(&ticket.0[..]).fetch_optional(&mut *self.tx).await?;
        row.as_ref().map(Job::read).transpose()
    }

    /// Stores a new job, armed.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn insert_job(&mut self, job: &NewJob<'_>) -> Result<(), DbError> {
        let tasks = match job.work {
            Work::Tasks(tasks) => Some(tasks.to_string()),
            Work::Install(_) => None,
        };
        sqlx::query(
            "INSERT INTO job (id, node, image, generation, tasks, macs, uuid, disk_rules, nonce, ticket_hash, \
             expires_at, state, created_at, created_by, changed_at) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(job.id)
        .bind(job.node.as_str())
        .bind(job.work.image().map(|image| image.name.as_str()))
        .bind(job.work.image().map(|image| image.generation))
        .bind(tasks)
        .bind(json(job.macs))
        .bind(job.uuid)
        .bind(json(job.disk_rules))
        .bind(job.nonce)
        .bind(&job.ticket_hash.0[..])
        .bind(job.expires_at.as_millisecond())
        .bind(State::Armed.word())
        .bind(self.now.as_millisecond())
        .bind(job.created_by)
        .bind(self.now.as_millisecond())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Writes a job's new state and how far its phase was.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_state(&mut self, id: &str, state: &State, progress: (u64, u64)) -> Result<(), DbError> {
        let reason = match state {
            State::Failed { reason, .. } => Some(reason.as_str()),
            State::Armed
            | State::Booting
            | State::Installing(_)
            | State::Resuming(_)
            | State::Finishing
            | State::Rebooting
            | State::Booted
            | State::Working
            | State::Worked
            | State::Withdrawn => None,
        };
        sqlx::query(
            "UPDATE job SET state = ?, phase = ?, reason = ?, done = ?, total = ?, changed_at = ? WHERE id = ?",
        )
        .bind(state.word())
        .bind(state.phase().map(phase_word))
        .bind(reason)
        .bind(i64::try_from(progress.0).unwrap_or(i64::MAX))
        .bind(i64::try_from(progress.1).unwrap_or(i64::MAX))
        .bind(self.now.as_millisecond())
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Gives a job a new ticket after an interruption. The tokens of the agent that was interrupted stay until the
    /// next one has enrolled, so that it can be told to stop should it still be there.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn reopen_ticket(
        &mut self,
        id: &str,
        (nonce, ticket): (&[u8], TokenHash),
        expires_at: Timestamp,
    ) -> Result<(), DbError> {
        sqlx::query(
            "UPDATE job SET nonce = ?, ticket_hash = ?, expires_at = ?, consumed_at = NULL, attempt = NULL, \
             resumes = resumes + 1 WHERE id = ?",
        )
        .bind(nonce)
        .bind(&ticket.0[..])
        .bind(expires_at.as_millisecond())
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Burns a job's ticket: writes when, by which attempt of which machine, and the tokens that replace it.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn consume_ticket(
        &mut self,
        id: &str,
        (attempt, machine): (Option<TokenHash>, &str),
        (install, report): (TokenHash, TokenHash),
    ) -> Result<(), DbError> {
        sqlx::query(
            "UPDATE job SET consumed_at = ?, attempt = ?, machine = ?, token_hash = ?, report_hash = ? WHERE id = ?",
        )
        .bind(self.now.as_millisecond())
        .bind(attempt.map(|hash| hash.0.to_vec()))
        .bind(machine)
        .bind(&install.0[..])
        .bind(&report.0[..])
        .bind(id)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Removes what is known of a node's deployments; for nodes that are no longer defined.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_jobs(&mut self, node: &str) -> Result<(), DbError> {
        sqlx::query("DELETE FROM job WHERE node = ?").bind(node).execute(&mut *self.tx).await?;
        self.forget_synced(node).await?;
        self.set_offline(&[node.to_owned()], false).await
    }

    /// What is known of a node's deployments is known of it under its new name.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn rename_in_jobs(&mut self, from: &str, to: &str) -> Result<(), DbError> {
        // What an earlier node of the new name has left would be in the way.
        self.forget_jobs(to).await?;
        for sql in [
            "UPDATE job SET node = ?2 WHERE node = ?1",
            "UPDATE offline SET node = ?2 WHERE node = ?1",
            "UPDATE synced SET node = ?2 WHERE node = ?1",
        ] {
            sqlx::query(sql).bind(from).bind(to).execute(&mut *self.tx).await?;
        }
        // Its clone asks by the name that it knows.
        sqlx::query("DELETE FROM node_token WHERE node = ?").bind(from).execute(&mut *self.tx).await?;
        Ok(())
    }

    /// Takes nodes off the network boot, or puts them back.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn set_offline(&mut self, nodes: &[String], offline: bool) -> Result<(), DbError> {
        let sql = if offline {
            "INSERT INTO offline (node) SELECT value FROM json_each(?) WHERE true ON CONFLICT DO NOTHING"
        } else {
            "DELETE FROM offline WHERE node IN (SELECT value FROM json_each(?))"
        };
        sqlx::query(sql).bind(list(nodes)).execute(&mut *self.tx).await?;
        Ok(())
    }
}

impl Job {
    fn read(row: &SqliteRow) -> Result<Self, DbError> {
        let node: String = row.try_get("node")?;
        let hash = |bytes: Vec<u8>| {
            let length = bytes.len();
            bytes.try_into().map(TokenHash).map_err(|_| wrong("hash", &format!("{length} bytes")))
        };
        let attempt: Option<Vec<u8>> = row.try_get("attempt")?;
        let consumed_at: Option<i64> = row.try_get("consumed_at")?;
        let count = |column| row.try_get::<i64, _>(column).map(i64::unsigned_abs);
        Ok(Self {
            id: row.try_get("id")?,
            node: node.parse().map_err(|_| wrong("node name", &node))?,
            work: read_work(row)?,
            macs: from_json("list of MAC addresses", &row.try_get::<String, _>("macs")?)?,
            uuid: row.try_get("uuid")?,
            disk_rules: from_json("disk rules", &row.try_get::<String, _>("disk_rules")?)?,
            nonce: row.try_get("nonce")?,
            expires_at: timestamp("ticket expiry", row.try_get("expires_at")?)?,
            consumed_at: consumed_at.map(|at| timestamp("ticket use", at)).transpose()?,
            attempt: attempt.map(hash).transpose()?,
            resumes: row.try_get("resumes")?,
            machine: row.try_get("machine")?,
            state: read_state(row)?,
            progress: (count("done")?, count("total")?),
            changed_at: timestamp("state change", row.try_get("changed_at")?)?,
        })
    }
}

pub(super) fn wrong(what: &'static str, value: &str) -> DbError {
    DbError::Row { what, value: value.to_owned() }
}

pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("values with text keys always encode")
}

pub(super) fn from_json<T: DeserializeOwned>(what: &'static str, text: &str) -> Result<T, DbError> {
    serde_json::from_str(text).map_err(|_| wrong(what, text))
}
