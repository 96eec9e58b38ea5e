//! The audit log: who called what, and whether it was allowed. Appended to; what came of a call is added to it later.

use jiff::Timestamp;

use super::{Db, DbError, timestamp};
use crate::wire::{AuditRecord, Outcome};

/// A call that is about to be made, or was denied.
#[derive(Debug, Clone, Copy)]
pub struct NewAudit<'a> {
    /// Who.
    pub actor: &'a str,
    /// The verb.
    pub command: &'a str,
    /// Nodes or objects.
    pub targets: &'a str,
    /// What else was said, without passwords.
    pub parameters: &'a str,
    /// Whether it is made.
    pub allowed: bool,
    /// Priority of the rule that decided.
    pub rule: Option<&'a str>,
}

/// What is looked for in the audit log.
#[derive(Debug, Clone, Default)]
pub struct AuditFilter {
    /// Not before this time.
    pub since: Option<Timestamp>,
    /// Only of this actor (`admin:anna`, or the account's name alone).
    pub actor: Option<String>,
    /// Only of this verb.
    pub command: Option<String>,
    /// Only what was denied.
    pub denied: bool,
    /// The newest so many.
    pub limit: u32,
}

impl Db {
    /// Adds a call; answers its number.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record_audit(&self, audit: NewAudit<'_>) -> Result<i64, DbError> {
        let mut tx = self.write().await?;
        let done = sqlx::query(
            "INSERT INTO audit (at, actor, command, targets, parameters, allowed, rule) VALUES (?, ?, ?, ?, ?, ?, ?)",
        )
        .bind(tx.now.as_millisecond())
        .bind(audit.actor)
        .bind(audit.command)
        .bind(audit.targets)
        .bind(audit.parameters)
        .bind(audit.allowed)
        .bind(audit.rule)
        .execute(&mut *tx.tx)
        .await?;
        tx.commit().await?;
        Ok(done.last_insert_rowid())
    }

    /// Adds to a call how many of its nodes or objects it was done for.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn finish_audit(&self, id: i64, outcomes: &[Outcome]) -> Result<(), DbError> {
        let failed = outcomes.iter().filter(|outcome| outcome.result.is_err()).count();
        let mut tx = self.write().await?;
        sqlx::query("UPDATE audit SET done = ?, failed = ? WHERE id = ?")
            .bind(i64::try_from(outcomes.len() - failed).unwrap_or(i64::MAX))
            .bind(i64::try_from(failed).unwrap_or(i64::MAX))
            .bind(id)
            .execute(&mut *tx.tx)
            .await?;
        tx.commit().await
    }

    /// The newest calls that fit, oldest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<Vec<AuditRecord>, DbError> {
        type Row = (i64, i64, String, String, String, String, bool, Option<String>, Option<i64>, Option<i64>);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, at, actor, command, targets, parameters, allowed, rule, done, failed FROM audit \
             WHERE at >= ?1 AND (?2 IS NULL OR actor IN (?2, 'admin:' || ?2)) AND (?3 IS NULL OR command = ?3) \
             AND (?4 = 0 OR allowed = 0) ORDER BY id DESC LIMIT ?5",
        )
        .bind(filter.since.map_or(i64::MIN, Timestamp::as_millisecond))
        .bind(filter.actor.as_deref())
        .bind(filter.command.as_deref())
        .bind(filter.denied)
        .bind(filter.limit)
        .fetch_all(&self.pool)
        .await?;
        let record = |(id, at, actor, command, targets, parameters, allowed, rule, done, failed): Row| {
            let at = format!("{:.3}", timestamp("audit time", at)?);
            Ok(AuditRecord { id, at, actor, command, targets, parameters, allowed, rule, done, failed })
        };
        rows.into_iter().rev().map(record).collect()
    }
}
