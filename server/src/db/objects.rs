//! Definitions: objects and their attributes, as text.

use std::collections::BTreeMap;

use super::{Db, DbError, Tx, list};
use crate::trust::is_secret;
use crate::wire::{ObjectType, Objects};

/// The attributes of one object.
pub type Attributes = BTreeMap<String, String>;

impl Db {
    /// All objects of a type, or those with these names.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn objects(&self, kind: ObjectType, names: Option<&[String]>) -> Result<Objects, DbError> {
        let rows: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT o.name, a.attr, a.value FROM object o \
             LEFT JOIN attribute a ON a.type = o.type AND a.name = o.name \
             WHERE o.type = ?1 AND (?2 IS NULL OR o.name IN (SELECT value FROM json_each(?2)))",
        )
        .bind(kind.word())
        .bind(names.map(list))
        .fetch_all(&self.pool)
        .await?;
        Ok(collect(rows))
    }
}

impl Tx<'_> {
    /// All objects of a type, or those with these names, as this transaction sees them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub async fn objects(&mut self, kind: ObjectType, names: Option<&[String]>) -> Result<Objects, DbError> {
        let rows: Vec<(String, Option<String>, Option<String>)> = sqlx::query_as(
            "SELECT o.name, a.attr, a.value FROM object o \
             LEFT JOIN attribute a ON a.type = o.type AND a.name = o.name \
             WHERE o.type = ?1 AND (?2 IS NULL OR o.name IN (SELECT value FROM json_each(?2)))",
        )
        .bind(kind.word())
        .bind(names.map(list))
        .fetch_all(&mut *self.tx)
        .await?;
        Ok(collect(rows))
    }

    /// Makes an object have exactly these attributes, whether it was there or not.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_object(
        &mut self,
        kind: ObjectType,
        name: &str,
        attributes: &Attributes,
    ) -> Result<(), DbError> {
        sqlx::query("INSERT INTO object (type, name) VALUES (?, ?) ON CONFLICT DO NOTHING")
            .bind(kind.word())
            .bind(name)
            .execute(&mut *self.tx)
            .await?;
        sqlx::query("DELETE FROM attribute WHERE type = ? AND name = ?")
            .bind(kind.word())
            .bind(name)
            .execute(&mut *self.tx)
            .await?;
        // One statement, however many attributes: files of ten thousand objects are read.
        let pair = |(attr, value): (&String, &String)| {
            let value = if is_secret(attr) { self.key.seal(attr, value) } else { value.clone() };
            (attr.clone(), value)
        };
        let pairs: Attributes = attributes.iter().map(pair).collect();
        sqlx::query(
            "INSERT INTO attribute (type, name, attr, value) SELECT ?1, ?2, j.key, j.value FROM json_each(?3) j",
        )
        .bind(kind.word())
        .bind(name)
        .bind(serde_json::to_string(&pairs).expect("texts always become JSON"))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Sets one attribute of objects that are there. Passwords are sealed.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn put_attribute(
        &mut self,
        kind: ObjectType,
        names: &[String],
        (attr, value): (&str, &str),
    ) -> Result<(), DbError> {
        let sealed = is_secret(attr).then(|| self.key.seal(attr, value));
        sqlx::query(
            "INSERT INTO attribute (type, name, attr, value) SELECT ?1, j.value, ?3, ?4 FROM json_each(?2) j \
             WHERE true ON CONFLICT DO UPDATE SET value = excluded.value",
        )
        .bind(kind.word())
        .bind(list(names))
        .bind(attr)
        .bind(sealed.as_deref().unwrap_or(value))
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }

    /// Gives an object another name, which nothing of its type has.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn rename_object(&mut self, kind: ObjectType, (from, to): (&str, &str)) -> Result<(), DbError> {
        for sql in [
            "INSERT INTO object (type, name) VALUES (?1, ?3)",
            "UPDATE attribute SET name = ?3 WHERE type = ?1 AND name = ?2",
            "DELETE FROM object WHERE type = ?1 AND name = ?2",
        ] {
            sqlx::query(sql).bind(kind.word()).bind(from).bind(to).execute(&mut *self.tx).await?;
        }
        Ok(())
    }

    /// Removes an object; answers whether it was there.
    ///
    /// # Errors
    /// The database cannot be written.
    pub async fn remove_object(&mut self, kind: ObjectType, name: &str) -> Result<bool, DbError> {
        let done = sqlx::query("DELETE FROM object WHERE type = ? AND name = ?")
            .bind(kind.word())
            .bind(name)
            .execute(&mut *self.tx)
            .await?;
        Ok(done.rows_affected() > 0)
    }
}

fn collect(rows: Vec<(String, Option<String>, Option<String>)>) -> Objects {
    let mut objects = Objects::new();
    for (name, attr, value) in rows {
        let object = objects.entry(name).or_default();
        if let (Some(attr), Some(value)) = (attr, value) {
            object.insert(attr, value);
        }
    }
    objects
}
