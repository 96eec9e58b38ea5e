//! What clones are like: the generation that each has, and how far it is from it.

use jiff::Timestamp;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;
use sysclone_protocol::names::{ImageRef, NodeName};

use super::jobs::{from_json, json, wrong};
use super::{Db, DbError, Tx, list, timestamp};

/// What is known of a clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Synced {
    /// Its name.
    pub node: String,
    /// The generation that it has.
    pub image: ImageRef,
    /// Since when.
    pub synced_at: Timestamp,
    /// Paths that are not as in that generation, and when they were counted.
    pub drift: Option<(u64, Timestamp)>,
    /// Why it should restart.
    pub reboot: Vec<String>,
}

/// What an update or a verification found.
#[derive(Debug)]
pub struct Found<'a> {
    /// The generation that the node has.
    pub image: &'a ImageRef,
    /// Whether it was changed to be so just now.
    pub changed: bool,
    /// Paths that differ, when they were counted.
    pub drift: Option<u64>,
    /// Why it should restart; counts when it was changed.
    pub reboot: &'a [String],
}

impl Db {
    /// What is known of clones, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn synced(&self, nodes: Option<&[String]>) -> Result<Vec<Synced>, DbError> {
        let sql = "SELECT node, image, generation, synced_at, drift, drift_at, reboot FROM synced \
                   WHERE ?1 IS NULL OR node IN (SELECT value FROM json_each(?1)) ORDER BY node";
        let rows = sqlx::query(sql).bind(nodes.map(list)).fetch_all(&self.pool).await?;
        rows.iter().map(Synced::read).collect()
    }

    /// The image generation that a node has: as it was last synced, else as it was installed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn image_on(&self, node: &str) -> Result<Option<ImageRef>, DbError> {
        match self.synced(Some(&[node.to_owned()])).await?.pop() {
            Some(synced) => Ok(Some(synced.image)),
            None => self.deployed_image(node).await,
        }
    }
}

impl Tx<'_> {
    /// A clone runs for the first time. When that is told twice, what happened since stays.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_first_boot(&mut self, node: &NodeName, image: &ImageRef) -> Result<(), DbError> {
        let sql = "INSERT INTO synced (node, image, generation, synced_at, reboot) VALUES (?, ?, ?, ?, '[]') \
                   ON CONFLICT (node) DO NOTHING";
        sqlx::query(sql)
            .bind(node.as_str())
            .bind(image.name.as_str())
            .bind(image.generation)
            .bind(self.now.as_millisecond())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Writes what an update or a verification found. A comparison with another generation says nothing of the node's own.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_found(&mut self, node: &NodeName, found: Found<'_>) -> Result<(), DbError> {
        let drift = found.drift.map(|drift| i64::try_from(drift).unwrap_or(i64::MAX));
        let now = self.now.as_millisecond();
        sqlx::query(
            "INSERT INTO synced (node, image, generation, synced_at, drift, drift_at, reboot) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (node) DO UPDATE SET \
             image = ?2, generation = ?3, reboot = CASE WHEN ?8 THEN ?7 ELSE reboot END, \
             synced_at = CASE WHEN ?8 THEN ?4 ELSE synced_at END, \
             drift = CASE WHEN ?8 OR ?5 IS NOT NULL THEN ?5 ELSE drift END, \
             drift_at = CASE WHEN ?8 OR ?5 IS NOT NULL THEN ?6 ELSE drift_at END \
             WHERE ?8 OR (image = ?2 AND generation = ?3)",
        )
        .bind(node.as_str())
        .bind(found.image.name.as_str())
        .bind(found.image.generation)
        .bind(now)
        .bind(drift)
        .bind(drift.map(|_| now))
        .bind(json(found.reboot))
        .bind(found.changed)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// A clone has started and says what it has: nothing is left that a restart was needed for.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_started(&mut self, node: &NodeName, image: &ImageRef) -> Result<(), DbError> {
        sqlx::query(
            "UPDATE synced SET reboot = '[]', \
             synced_at = CASE WHEN image = ?2 AND generation = ?3 THEN synced_at ELSE ?4 END, \
             drift = CASE WHEN image = ?2 AND generation = ?3 THEN drift END, \
             drift_at = CASE WHEN image = ?2 AND generation = ?3 THEN drift_at END, \
             image = ?2, generation = ?3 WHERE node = ?1",
        )
        .bind(node.as_str())
        .bind(image.name.as_str())
        .bind(image.generation)
        .bind(self.now.as_millisecond())
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// It is not known any more what a node has.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_found(&mut self, node: &NodeName) -> Result<(), DbError> {
        sqlx::query("DELETE FROM synced WHERE node = ?").bind(node.as_str()).execute(&mut *self.tx).await?;
        Ok(())
    }

    /// A node is no longer what it was: it is installed anew, or not defined any more. Its token is worth nothing, too.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_synced(&mut self, node: &str) -> Result<(), DbError> {
        for sql in ["DELETE FROM synced WHERE node = ?", "DELETE FROM node_token WHERE node = ?"] {
            sqlx::query(sql).bind(node).execute(&mut *self.tx).await?;
        }
        Ok(())
    }
}

impl Synced {
    fn read(row: &SqliteRow) -> Result<Self, DbError> {
        let image: String = row.try_get("image")?;
        let name = image.parse().map_err(|_| wrong("image name", &image))?;
        let drift: Option<i64> = row.try_get("drift")?;
        let drift_at: Option<i64> = row.try_get("drift_at")?;
        let drift_at = drift_at.map(|at| timestamp("drift time", at)).transpose()?;
        Ok(Self {
            node: row.try_get("node")?,
            image: ImageRef { name, generation: row.try_get("generation")? },
            synced_at: timestamp("sync time", row.try_get("synced_at")?)?,
            drift: drift.map(i64::unsigned_abs).zip(drift_at),
            reboot: from_json("list of reasons", &row.try_get::<String, _>("reboot")?)?,
        })
    }
}
