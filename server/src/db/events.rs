//! The event log: appended to, never changed.

use tokio::sync::watch;

use super::{Db, DbError, Tx, list, timestamp};
use crate::wire::EventRecord;

/// An event that has not happened yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent<'a> {
    /// Node concerned.
    pub node: Option<&'a str>,
    /// Who caused it.
    pub actor: &'a str,
    /// Kind word.
    pub kind: &'a str,
    /// For people.
    pub text: String,
}

impl Tx<'_> {
    /// Adds an event.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn event(&mut self, event: NewEvent<'_>) -> Result<(), DbError> {
        tracing::info!(node = event.node, actor = event.actor, kind = event.kind, text = event.text, "event");
        let done = sqlx::query("INSERT INTO event (at, node, actor, kind, text) VALUES (?, ?, ?, ?, ?)")
            .bind(self.now.as_millisecond())
            .bind(event.node)
            .bind(event.actor)
            .bind(event.kind)
            .bind(event.text)
            .execute(&mut *self.tx)
            .await?;
        self.event = Some(done.last_insert_rowid());
        Ok(())
    }
}

impl Db {
    /// Records one event by itself.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn record(&self, event: NewEvent<'_>) -> Result<(), DbError> {
        let mut tx = self.write().await?;
        tx.event(event).await?;
        tx.commit().await
    }

    /// Up to `limit` events after number `after`, oldest first, of these nodes or of all.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn events(
        &self,
        after: i64,
        nodes: Option<&[String]>,
        limit: u32,
    ) -> Result<Vec<EventRecord>, DbError> {
        type Row = (i64, i64, Option<String>, String, String, String);
        let rows: Vec<Row> = sqlx::query_as(
            "SELECT id, at, node, actor, kind, text FROM event \
             WHERE id > ?1 AND (?2 IS NULL OR node IN (SELECT value FROM json_each(?2))) ORDER BY id LIMIT ?3",
        )
        .bind(after)
        .bind(nodes.map(list))
        .bind(limit)
        .fetch_all(&self.pool)
        .await?;
        let record = |(id, at, node, actor, kind, text): Row| {
            // Always three digits, so that times stand in one column and sort as text.
            let at = format!("{:.3}", timestamp("event time", at)?);
            Ok(EventRecord { id, at, node, actor, kind, text })
        };
        rows.into_iter().map(record).collect()
    }

    /// How many events of each kind there are after number `after`, and the highest number of them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn count_events(&self, after: i64) -> Result<Vec<(String, u64, i64)>, DbError> {
        let rows: Vec<(String, i64, i64)> =
            sqlx::query_as("SELECT kind, count(*), max(id) FROM event WHERE id > ? GROUP BY kind")
                .bind(after)
                .fetch_all(&self.pool)
                .await?;
        Ok(rows.into_iter().map(|(kind, count, last)| (kind, count.unsigned_abs(), last)).collect())
    }

    /// Changes when there are new events; its value is the newest one's number.
    #[must_use]
    pub fn watch_events(&self) -> watch::Receiver<i64> {
        self.newest_event.subscribe()
    }
}
