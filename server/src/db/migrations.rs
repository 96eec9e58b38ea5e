//! The migrations, embedded. A migration that was released never changes; sqlx refuses a database that saw another.

use std::borrow::Cow;

use sqlx::SqlitePool;
use sqlx::error::BoxDynError;
use sqlx::migrate::{MigrateError, Migration, MigrationSource, MigrationType, Migrator};

const MIGRATIONS: &[(i64, &str, &str)] = &[
    (1, "initial", include_str!("../../migrations/0001_initial.sql")),
    (2, "resume", include_str!("../../migrations/0002_resume.sql")),
    (3, "audit", include_str!("../../migrations/0003_audit.sql")),
    (4, "token", include_str!("../../migrations/0004_token.sql")),
    (5, "task", include_str!("../../migrations/0005_task.sql")),
    (6, "members", include_str!("../../migrations/0006_members.sql")),
    (7, "synced", include_str!("../../migrations/0007_synced.sql")),
    (8, "node_token", include_str!("../../migrations/0008_node_token.sql")),
    (9, "discovery", include_str!("../../migrations/0009_discovery.sql")),
];

#[derive(Debug)]
struct Embedded;

impl<'s> MigrationSource<'s> for Embedded {
    fn resolve(
        self,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Vec<Migration>, BoxDynError>> + Send + 's>> {
        let migration = |(version, name, sql): &(i64, &'static str, &'static str)| {
            let kind = MigrationType::Simple;
            Migration::new(*version, Cow::Borrowed(*name), kind, Cow::Borrowed(*sql), false)
        };
        let all = MIGRATIONS.iter().map(migration).collect();
        Box::pin(async move { Ok(all) })
    }
}

pub(super) async fn run(pool: &SqlitePool) -> Result<(), MigrateError> {
    Migrator::new(Embedded).await?.run(pool).await
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

    /// A database as earlier versions left it keeps its jobs, and members of groups become groups of nodes.
    #[tokio::test]
    async fn what_an_older_database_says_is_still_said() {
        let pool = SqlitePoolOptions::new().max_connections(1).connect("sqlite::memory:").await.unwrap();
        let run = async |sql: &str| sqlx::raw_sql(sql).execute(&pool).await.unwrap();
        for (_, _, sql) in &MIGRATIONS[..4] {
            run(sql).await;
        }
        run("INSERT INTO object VALUES ('node', 'n1'), ('node', 'n2'), ('node', 'n3'), ('group', 'a'), ('group', 'b');
             INSERT INTO attribute VALUES ('node', 'n1', 'groups', 'all, a'), ('node', 'n2', 'groups', 'all'),
                 ('group', 'a', 'members', 'n1, n2'), ('group', 'b', 'members', 'n2,n3,gone'), ('group', 'b', 'mgt', 'ipmi');
             INSERT INTO job (seq, id, node, image, generation, macs, disk_rules, nonce, ticket_hash, expires_at, state,
                 created_at, created_by, changed_at)
             VALUES (7, 'j', 'n1', 'demo', 3, '[]', '{}', x'00', x'01', 0, 'booted', 0, 'root', 0);")
        .await;
        for (_, _, sql) in &MIGRATIONS[4..] {
            run(sql).await;
        }
        let sql = "SELECT type || ' ' || name || ' ' || attr || '=' || value FROM attribute ORDER BY 1";
        let attributes: Vec<String> = sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap();
        let expected =
            ["group b mgt=ipmi", "node n1 groups=all, a", "node n2 groups=all,a,b", "node n3 groups=b"];
        assert_eq!(attributes, expected);
        let sql = "SELECT seq || id || image || generation || coalesce(tasks, '-') FROM job";
        let jobs: Vec<String> = sqlx::query_scalar(sql).fetch_all(&pool).await.unwrap();
        assert_eq!(jobs, ["7jdemo3-"]);
    }
}
