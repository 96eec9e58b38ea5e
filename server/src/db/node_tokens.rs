//! Tokens with which clones ask by themselves.

use sysclone_protocol::names::{Mac, NodeName};

use super::jobs::{json, wrong};
use super::{Db, DbError, Tx};
use crate::trust::TokenHash;

/// The MAC addresses of a node, when it is defined.
type MacsOf<'a> = &'a (dyn Fn(&NodeName) -> Option<Vec<Mac>> + Sync);

impl Db {
    /// The node that a token was given to, which had these MAC addresses then.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn node_by_token(
        &self,
        token: &TokenHash,
        macs: MacsOf<'_>,
    ) -> Result<Option<NodeName>, DbError> {
        // Hashes of random tokens are compared, so the time that takes tells nothing.
        let sql = "SELECT node, macs FROM node_token WHERE hash = ?";
        let row: Option<(String, String)> =
            sqlx::query_as(sql).bind(&token.0[..]).fetch_optional(&self.pool).await?;
        let Some((node, given)) = row else { return Ok(None) };
        let node: NodeName = node.parse().map_err(|_| wrong("node name", &node))?;
        Ok(macs(&node).is_some_and(|macs| json(&macs) == given).then_some(node))
    }
}

impl Tx<'_> {
    /// Gives a node a token in place of the one that it had.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_node_token(
        &mut self,
        node: &NodeName,
        token: &TokenHash,
        macs: &[Mac],
    ) -> Result<(), DbError> {
        let sql = "INSERT INTO node_token (node, hash, macs) VALUES (?1, ?2, ?3) \
                   ON CONFLICT (node) DO UPDATE SET hash = ?2, macs = ?3";
        sqlx::query(sql)
            .bind(node.as_str())
            .bind(&token.0[..])
            .bind(json(macs))
            .execute(&mut *self.tx)
            .await?;
        Ok(())
    }
}
