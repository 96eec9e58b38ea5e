//! Passwords that were written before passwords were sealed.

use sqlx::SqlitePool;

use crate::trust::{AttributeKey, is_secret};

/// Seals what is open. The file is written anew then, so that nothing of it stays in unused parts.
pub(super) async fn seal_all(pool: &SqlitePool, key: &AttributeKey) -> Result<(), sqlx::Error> {
    let rows: Vec<(String, String, String, String)> =
        sqlx::query_as("SELECT type, name, attr, value FROM attribute WHERE attr LIKE '%password'")
            .fetch_all(pool)
            .await?;
    let mut sealed = 0_usize;
    let mut tx = pool.begin().await?;
    for (kind, name, attr, value) in rows.into_iter().filter(|(_, _, attr, _)| is_secret(attr)) {
        let new = key.seal(&attr, &value);
        if new != value && !value.starts_with("sealed:") {
            sqlx::query("UPDATE attribute SET value = ? WHERE type = ? AND name = ? AND attr = ?")
                .bind(new)
                .bind(kind)
                .bind(name)
                .bind(attr)
                .execute(&mut *tx)
                .await?;
            sealed += 1;
        }
    }
    tx.commit().await?;
    if sealed > 0 {
        tracing::info!(sealed, "passwords in the database were sealed");
        sqlx::query("VACUUM").execute(pool).await?;
        sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(pool).await?;
    }
    Ok(())
}
