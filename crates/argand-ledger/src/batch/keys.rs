//! Making and changing keys.

use std::time::Duration;

use super::Batch;
use crate::db::{Value, args, sql};
use crate::error::{LedgerError, Result, invalid};
use crate::key::{Key, KeyChange, NewKey, to_json};
use crate::secret::{Secret, letters};
use crate::writer::Answer;

impl Batch<'_> {
    pub(super) async fn create(&mut self, new: &NewKey) -> Result<Answer> {
        let secret = Secret::random()?;
        let key = Key {
            id: format!("key-{}", letters(12)?),
            prefix: secret.prefix().to_owned(),
            name: new.name.clone(),
            owner: new.owner.clone(),
            scopes: new.scopes.clone(),
            models: new.models.clone(),
            limits: new.limits,
            created: self.now,
            expires: new.expires,
            revoked: None,
        };
        let insert = "INSERT INTO keys (name, owner, scopes, models, limits, expires, id, prefix, created) \
            VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        let mut args = columns(new);
        args.extend(args![key.id.as_str(), key.prefix.as_str(), key.created]);
        self.conn.rows("making a key", insert, args).await?;
        self.add_secret(&key.id, &secret).await?;
        Ok(Answer::Key(key, Some(secret)))
    }

    pub(super) async fn change(&mut self, id: &str, change: &KeyChange) -> Result<Answer> {
        let new = change.apply(&self.key(id).await?);
        new.check()?;
        let update =
            "UPDATE keys SET name = $1, owner = $2, scopes = $3, models = $4, limits = $5, expires = $6 WHERE id = $7";
        let mut args = columns(&new);
        args.extend(args![id]);
        self.conn.rows("changing a key", update, args).await?;
        self.key(id).await.map(|key| Answer::Key(key, None))
    }

    pub(super) async fn revoke(&mut self, id: &str) -> Result<Answer> {
        self.key(id).await?;
        let update = "UPDATE keys SET revoked = COALESCE(revoked, $1) WHERE id = $2";
        self.conn.rows("revoking a key", update, args![self.now, id]).await?;
        self.key(id).await.map(|key| Answer::Key(key, None))
    }

    pub(super) async fn rotate(&mut self, id: &str, grace: Duration) -> Result<Answer> {
        const DOING: &str = "rotating a key";
        if let Some(at) = self.key(id).await?.revoked {
            return Err(invalid("key to be rotated", id, &format!("a key that was not revoked; it was at {at}")));
        }
        let secret = Secret::random()?;
        let end = "UPDATE secrets SET until = $1 WHERE key = $2 AND (until IS NULL OR until > $1)";
        self.conn.rows(DOING, end, args![self.now.after(grace), id]).await?;
        self.add_secret(id, &secret).await?;
        let prefix = "UPDATE keys SET prefix = $1 WHERE id = $2";
        self.conn.rows(DOING, prefix, args![secret.prefix(), id]).await?;
        self.key(id).await.map(|key| Answer::Key(key, Some(secret)))
    }

    async fn add_secret(&mut self, id: &str, secret: &Secret) -> Result<()> {
        let insert = "INSERT INTO secrets (hash, key) VALUES ($1, $2)";
        self.conn.rows("keeping a hash", insert, args![secret.hash(), id]).await.map(drop)
    }

    async fn key(&mut self, id: &str) -> Result<Key> {
        let statement = format!("SELECT {} FROM keys k WHERE k.id = $1", Key::COLUMNS);
        let row = self.conn.row("reading a key", sql(statement), args![id]).await?;
        Key::read(&mut row.ok_or_else(|| LedgerError::NotFound { what: "key", name: id.to_owned() })?)
    }
}

/// What can be changed of a key.
fn columns(new: &NewKey) -> Vec<Value> {
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.word()).collect();
    args![
        new.name.as_str(),
        new.owner.as_str(),
        scopes.join(" "),
        new.models.as_ref().map(to_json),
        to_json(&new.limits),
        new.expires,
    ]
}
