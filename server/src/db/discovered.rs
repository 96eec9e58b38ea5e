//! Machines that were discovered, and the nodes that they become in order.

use sysclone_protocol::discover::Machine;
use sysclone_protocol::names::Mac;

use super::jobs::{json, wrong};
use super::{Db, DbError, Tx, timestamp};
use crate::wire::discover::Discovered;

/// Machines that are kept at most. Beyond that, the one that is no node and was not heard of for longest makes room.
const MOST: i64 = 10_000;
const COLUMNS: &str = "mac, uuid, ip, machine, node, method, first_seen, last_seen";

type Row = (String, String, String, String, Option<String>, String, i64, i64);

fn read(row: Row) -> Result<Discovered, DbError> {
    let (mac, uuid, ip, machine, node, method, first_seen, last_seen) = row;
    let time = |at| timestamp("time of discovery", at).map(|at| format!("{at:.0}"));
    Ok(Discovered {
        mac: mac.parse().map_err(|_| wrong("MAC address", &mac))?,
        machine: serde_json::from_str(&machine).map_err(|_| wrong("discovered machine", &machine))?,
        uuid,
        ip,
        node,
        method,
        first_seen: time(first_seen)?,
        last_seen: time(last_seen)?,
    })
}

impl Db {
    /// All discovered machines, as they came.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn discovered(&self) -> Result<Vec<Discovered>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM discovered ORDER BY first_seen, mac");
        let rows: Vec<Row> = sqlx::query_as(&sql).fetch_all(&self.pool).await?;
        rows.into_iter().map(read).collect()
    }

    /// The machine that booted from this interface.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn discovered_by(&self, mac: &Mac) -> Result<Option<Discovered>, DbError> {
        let sql = format!("SELECT {COLUMNS} FROM discovered WHERE mac = ?");
        let row: Option<Row> = sqlx::query_as(&sql).bind(mac.to_string()).fetch_optional(&self.pool).await?;
        row.map(read).transpose()
    }

    /// Nodes that machines become one after the other.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn discovery_sequence(&self) -> Result<Vec<String>, DbError> {
        let sql = "SELECT node FROM discovery_sequence ORDER BY place";
        Ok(sqlx::query_scalar(sql).fetch_all(&self.pool).await?)
    }
}

impl Tx<'_> {
    /// Keeps what a machine says of itself; answers whether it was not known yet.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_discovered(
        &mut self,
        (mac, ip): (&Mac, &str),
        uuid: &str,
        machine: &Machine,
    ) -> Result<bool, DbError> {
        let done = sqlx::query(
            "UPDATE discovered SET uuid = ?2, ip = ?3, machine = ?4, last_seen = ?5 WHERE mac = ?1",
        )
        .bind(mac.to_string())
        .bind(uuid)
        .bind(ip)
        .bind(json(machine))
        .bind(self.now.as_millisecond())
        .execute(&mut *self.tx)
        .await?;
        if done.rows_affected() > 0 {
            return Ok(false);
        }
        sqlx::query(
            "DELETE FROM discovered WHERE mac = (SELECT mac FROM discovered WHERE node IS NULL ORDER BY last_seen \
             LIMIT 1) AND (SELECT count(*) FROM discovered) >= ?",
        )
        .bind(MOST)
        .execute(&mut *self.tx)
        .await?;
        sqlx::query(
            "INSERT INTO discovered (mac, uuid, ip, machine, method, first_seen, last_seen) \
             VALUES (?1, ?2, ?3, ?4, 'undef', ?5, ?5)",
        )
        .bind(mac.to_string())
        .bind(uuid)
        .bind(ip)
        .bind(json(machine))
        .bind(self.now.as_millisecond())
        .execute(&mut *self.tx)
        .await?;
        Ok(true)
    }

    /// Notes which node a machine became, and how.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn name_discovered(&mut self, mac: &Mac, (node, method): (&str, &str)) -> Result<(), DbError> {
        sqlx::query("UPDATE discovered SET node = ?2, method = ?3 WHERE mac = ?1")
            .bind(mac.to_string())
            .bind(node)
            .bind(method)
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Forgets a machine.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn forget_discovered(&mut self, mac: &Mac) -> Result<(), DbError> {
        sqlx::query("DELETE FROM discovered WHERE mac = ?")
            .bind(mac.to_string())
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }

    /// Makes these the nodes that machines become, in place of those before.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_discovery_sequence(&mut self, nodes: &[String]) -> Result<(), DbError> {
        sqlx::query("DELETE FROM discovery_sequence").execute(&mut *self.tx).await?;
        sqlx::query(
            "INSERT OR IGNORE INTO discovery_sequence (place, node) SELECT key, value FROM json_each(?)",
        )
        .bind(super::list(nodes))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
