//! Addresses lent to machines that are nobody's.

use super::{Db, DbError};
use crate::discover::Lease;

impl Db {
    /// All of them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn leases(&self) -> Result<Vec<Lease>, DbError> {
        let rows: Vec<(String, String, bool)> =
            sqlx::query_as("SELECT mac, ip, power FROM lease").fetch_all(&self.pool).await?;
        let lease = |(mac, ip, is_power): (String, String, bool)| {
            let wrong = |value: &str| DbError::Row { what: "lease", value: value.to_owned() };
            Ok(Lease {
                mac: mac.parse().map_err(|_| wrong(&mac))?,
                ip: ip.parse().map_err(|_| wrong(&ip))?,
                is_power,
            })
        };
        rows.into_iter().map(lease).collect()
    }

    /// Makes an address a machine's, in place of any that it had.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_lease(&self, lease: &Lease) -> Result<(), DbError> {
        let mut tx = self.write().await?;
        // REPLACE takes away both the address's former machine and the machine's former address.
        sqlx::query("REPLACE INTO lease (mac, ip, power) VALUES (?, ?, ?)")
            .bind(lease.mac.to_string())
            .bind(lease.ip.to_string())
            .bind(lease.is_power)
            .execute(&mut *tx.tx)
            .await?;
        tx.commit().await
    }
}
