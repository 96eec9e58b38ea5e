//! Tokens of programs that administrate over the network.

use jiff::{SignedDuration, Timestamp};

use super::{Db, DbError, NewEvent, timestamp};
use crate::trust::TokenHash;
use crate::wire::TokenRecord;

impl Db {
    /// Makes a token known, which may be good for a limited time only; answers until when, or nothing when there is
    /// one of this name already.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn create_token(
        &self,
        (name, hash): (&str, &TokenHash),
        life: Option<SignedDuration>,
        actor: &str,
    ) -> Result<Option<TokenRecord>, DbError> {
        let mut tx = self.write().await?;
        let expires = life.map(|life| tx.now.saturating_add(life).unwrap_or(Timestamp::MAX));
        let done = sqlx::query(
            "INSERT INTO token (name, hash, created_at, created_by, expires_at) VALUES (?, ?, ?, ?, ?) \
             ON CONFLICT (name) DO NOTHING",
        )
        .bind(name)
        .bind(&hash.0[..])
        .bind(tx.now.as_millisecond())
        .bind(actor)
        .bind(expires.map(Timestamp::as_millisecond))
        .execute(&mut *tx.tx)
        .await?;
        if done.rows_affected() == 0 {
            return Ok(None);
        }
        let created_at = format!("{:.0}", tx.now);
        tx.event(NewEvent { node: None, actor, kind: "token-created", text: format!("token {name}") })
            .await?;
        tx.commit().await?;
        let expires_at = expires.map(|expires| format!("{expires:.0}"));
        Ok(Some(TokenRecord { name: name.to_owned(), created_at, created_by: actor.to_owned(), expires_at }))
    }

    /// Forgets a token; answers whether there was one.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn revoke_token(&self, name: &str, actor: &str) -> Result<bool, DbError> {
        let mut tx = self.write().await?;
        let done = sqlx::query("DELETE FROM token WHERE name = ?").bind(name).execute(&mut *tx.tx).await?;
        if done.rows_affected() == 0 {
            return Ok(false);
        }
        tx.event(NewEvent { node: None, actor, kind: "token-revoked", text: format!("token {name}") })
            .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// All tokens, by name, also those that have expired.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn tokens(&self) -> Result<Vec<TokenRecord>, DbError> {
        let rows: Vec<(String, i64, String, Option<i64>)> =
            sqlx::query_as("SELECT name, created_at, created_by, expires_at FROM token ORDER BY name")
                .fetch_all(&self.pool)
                .await?;
        let time = |at| timestamp("token time", at).map(|at| format!("{at:.0}"));
        let record = |(name, created_at, created_by, expires_at): (_, _, _, Option<i64>)| {
            Ok(TokenRecord {
                name,
                created_at: time(created_at)?,
                created_by,
                expires_at: expires_at.map(time).transpose()?,
            })
        };
        rows.into_iter().map(record).collect()
    }

    /// The name of the token with this hash, while it is good.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn token_name(&self, hash: &TokenHash) -> Result<Option<String>, DbError> {
        // Hashes of random tokens are compared, so the time that takes tells nothing.
        Ok(sqlx::query_scalar(
            "SELECT name FROM token WHERE hash = ? AND (expires_at IS NULL OR expires_at > ?)",
        )
        .bind(&hash.0[..])
        .bind(Timestamp::now().as_millisecond())
        .fetch_optional(&self.pool)
        .await?)
    }
}
