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
