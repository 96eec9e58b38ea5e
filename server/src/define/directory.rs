//! The current [`Snapshot`], and the DHCP server's view of it.

use std::net::Ipv4Addr;
use std::sync::{Arc, PoisonError, RwLock};

use sysclone_protocol::names::Mac;

use super::snapshot::{Definitions, Snapshot};
use crate::db::{Db, DbError};
use crate::dhcp::{Directory, Reservation};
use crate::wire::ObjectType;

/// Holds the newest snapshot.
pub struct Known {
    server: Ipv4Addr,
    current: RwLock<Arc<Snapshot>>,
    /// One at a time, so that an older reading never replaces a newer one.
    refreshing: tokio::sync::Mutex<()>,
}

impl Known {
    /// Reads the definitions.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn load(db: &Db, server: Ipv4Addr) -> Result<Self, DbError> {
        let known = Self { server, current: RwLock::default(), refreshing: tokio::sync::Mutex::default() };
        known.refresh(db).await?;
        Ok(known)
    }

    /// Reads the definitions again.
    ///
    /// # Errors
    /// The database cannot be read; the former snapshot stays.
    pub async fn refresh(&self, db: &Db) -> Result<(), DbError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let definitions = Definitions {
            nodes: db.objects(ObjectType::Node, None).await?,
            groups: db.objects(ObjectType::Group, None).await?,
            networks: db.objects(ObjectType::Network, None).await?,
            site: db.objects(ObjectType::Site, None).await?,
            policies: db.objects(ObjectType::Policy, None).await?,
        };
        let snapshot = Arc::new(Snapshot::new(definitions, self.server));
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = snapshot;
        Ok(())
    }

    /// The newest snapshot.
    #[must_use]
    pub fn now(&self) -> Arc<Snapshot> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Directory for Known {
    fn by_mac(&self, mac: &Mac) -> Option<Reservation> {
        let snapshot = self.now();
        let node = snapshot.by_mac(mac)?;
        let placed = snapshot.placed(node.name.as_str())?.ok()?;
        Some(Reservation {
            node: node.name.clone(),
            mac: *mac,
            ip: placed.ip,
            prefix: placed.network.prefix,
            gateway: placed.network.gateway,
            nameservers: placed.network.nameservers.clone(),
            domain: placed.network.domain.clone(),
            hostname: node.hostname.clone(),
            netboot: node.netboot,
            is_power: node.arch.as_deref().is_some_and(|arch| arch.starts_with("ppc64")),
            mode: placed.network.dhcp_mode,
        })
    }

    fn why_not(&self, mac: &Mac) -> Option<String> {
        let snapshot = self.now();
        let node = snapshot.by_mac(mac)?;
        snapshot.placed(node.name.as_str())?.err().map(str::to_owned)
    }
}
