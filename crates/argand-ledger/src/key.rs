//! Keys: whose they are, what they open, and how much of it.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::db::Fields;
use crate::error::{Denied, LedgerError, Result, invalid, stored};
use crate::money::{Currency, Money};
use crate::pattern::fits;
use crate::time::{Period, Time};

/// What a key may be used for. None of them includes another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Scope {
    /// To let models write, read, choose and draw.
    Inference,
    /// To turn texts into vectors, and to order them.
    Embeddings,
    /// To see what a server does as a whole: its metrics.
    Usage,
    /// To manage keys, prices and models, and to see all usage.
    Admin,
    /// To fetch from the hub.
    HubRead,
    /// To put things on the hub.
    HubWrite,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Inference, Self::Embeddings, Self::Usage, Self::Admin, Self::HubRead, Self::HubWrite];

    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Inference => "inference",
            Self::Embeddings => "embeddings",
            Self::Usage => "usage",
            Self::Admin => "admin",
            Self::HubRead => "hub-read",
            Self::HubWrite => "hub-write",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl FromStr for Scope {
    type Err = LedgerError;

    fn from_str(word: &str) -> Result<Self> {
        let known = || Self::ALL.map(Self::word).join(", ");
        let found = Self::ALL.into_iter().find(|scope| scope.word() == word);
        found.ok_or_else(|| invalid("scope", word, &format!("one of {}", known())))
    }
}

impl TryFrom<String> for Scope {
    type Error = LedgerError;

    fn try_from(word: String) -> Result<Self> {
        word.parse()
    }
}

impl From<Scope> for String {
    fn from(scope: Scope) -> Self {
        scope.word().into()
    }
}

/// How much money may be spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// How much.
    pub amount: Money,
    /// Of what. Requests without a price in this currency are refused.
    pub currency: Currency,
    /// In which time.
    pub period: Period,
}

/// How many tokens may be used, read and written together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quota {
    /// How many.
    pub tokens: i64,
    /// In which time.
    pub period: Period,
}

/// How much a key may use. What is `None` has no limit.
///
/// The two limits per minute are counted in memory by each process for itself: behind `n` servers a key has up to `n` times as
/// much. The other three are counted in the database, for all processes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests in any 60 seconds.
    pub requests_per_minute: Option<i64>,
    /// Tokens in any 60 seconds. What a running request holds counts.
    pub tokens_per_minute: Option<i64>,
    /// Requests at the same time.
    pub concurrent: Option<i64>,
    /// Money.
    pub budget: Option<Budget>,
    /// Tokens.
    pub tokens: Option<Quota>,
}

impl Limits {
    fn check(&self) -> Result<()> {
        let counts = [
            ("requests per minute", self.requests_per_minute),
            ("tokens per minute", self.tokens_per_minute),
            ("concurrent requests", self.concurrent),
            ("tokens", self.tokens.map(|quota| quota.tokens)),
            ("budget", self.budget.map(|budget| budget.amount.nanos())),
        ];
        match counts.into_iter().find(|(_, size)| size.is_some_and(|size| size < 0)) {
            Some((field, size)) => Err(invalid(field, size.unwrap_or_default(), "zero or more")),
            None => Ok(()),
        }
    }
}

/// What there is to say about a key that is to be made.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NewKey {
    /// What people call it.
    pub name: String,
    /// Whose it is: a person, a team.
    pub owner: String,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// Which models it may use, as names or patterns in which `*` stands for any letters; all of them unless given.
    pub models: Option<Vec<String>>,
    /// When it expires.
    pub expires: Option<Time>,
    /// How much it may use.
    pub limits: Limits,
}

impl NewKey {
    pub(crate) fn check(&self) -> Result<()> {
        check_name("name", &self.name)?;
        if !self.owner.is_empty() {
            check_name("owner", &self.owner)?;
        }
        self.models.iter().flatten().try_for_each(|model| check_name("model", model))?;
        self.limits.check()
    }
}

/// What is to be changed of a key; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyChange {
    /// Another name.
    pub name: Option<String>,
    /// Another owner.
    pub owner: Option<String>,
    /// Other scopes.
    pub scopes: Option<BTreeSet<Scope>>,
    /// Other models; `Some(None)` for all.
    #[serde(deserialize_with = "given")]
    pub models: Option<Option<Vec<String>>>,
    /// Another end; `Some(None)` for none.
    #[serde(deserialize_with = "given")]
    pub expires: Option<Option<Time>>,
    /// Other limits, all of them.
    pub limits: Option<Limits>,
}

/// A field that is there, be it `null`.
fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    from: D,
) -> std::result::Result<Option<Option<T>>, D::Error> {
    Option::<T>::deserialize(from).map(Some)
}

impl KeyChange {
    /// What the key will be.
    pub(crate) fn apply(&self, key: &Key) -> NewKey {
        NewKey {
            name: self.name.clone().unwrap_or_else(|| key.name.clone()),
            owner: self.owner.clone().unwrap_or_else(|| key.owner.clone()),
            scopes: self.scopes.clone().unwrap_or_else(|| key.scopes.clone()),
            models: self.models.clone().unwrap_or_else(|| key.models.clone()),
            expires: self.expires.unwrap_or(key.expires),
            limits: self.limits.unwrap_or(key.limits),
        }
    }
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Key {
    /// What it is called in the ledger, for ever.
    pub id: String,
    /// How its secret begins.
    pub prefix: String,
    /// What people call it.
    pub name: String,
    /// Whose it is.
    pub owner: String,
    /// What it may be used for.
    pub scopes: BTreeSet<Scope>,
    /// Which models it may use, as names or patterns; `None` for all.
    pub models: Option<Vec<String>>,
    /// How much it may use.
    pub limits: Limits,
    /// When it was made.
    pub created: Time,
    /// When it expires.
    pub expires: Option<Time>,
    /// When it was revoked.
    pub revoked: Option<Time>,
}

impl Key {
    /// The columns that [`Key::read`] reads, in their order.
    pub(crate) const COLUMNS: &str =
        "k.id, k.prefix, k.name, k.owner, k.scopes, k.models, k.limits, k.created, k.expires, k.revoked";

    /// Reads the columns.
    pub(crate) fn read(row: &mut Fields) -> Result<Self> {
        let scope = |word: &str| word.parse().map_err(|_| stored("a key's scope", word, "a known scope"));
        Ok(Self {
            id: row.text()?,
            prefix: row.text()?,
            name: row.text()?,
            owner: row.text()?,
            scopes: row.text()?.split_whitespace().map(scope).collect::<Result<_>>()?,
            models: row.maybe_text()?.map(|text| from_json("a key's models", &text)).transpose()?,
            limits: from_json("a key's limits", &row.text()?)?,
            created: row.time()?,
            expires: row.maybe_time()?,
            revoked: row.maybe_time()?,
        })
    }

    /// Whether the key is good at a moment.
    ///
    /// # Errors
    /// [`Denied::Revoked`], [`Denied::Expired`].
    pub fn check(&self, now: Time) -> std::result::Result<(), Denied> {
        match (self.revoked, self.expires) {
            (Some(at), _) => Err(Denied::Revoked { at }),
            (None, Some(at)) if at <= now => Err(Denied::Expired { at }),
            _ => Ok(()),
        }
    }

    /// Whether it may be used for this, with this model if one is meant.
    ///
    /// # Errors
    /// [`Denied::LacksScope`], [`Denied::ModelNotAllowed`].
    pub fn permits(&self, scope: Scope, model: Option<&str>) -> std::result::Result<(), Denied> {
        if !self.scopes.contains(&scope) {
            return Err(Denied::LacksScope { scope });
        }
        match model {
            Some(model) if !self.sees(model) => Err(Denied::ModelNotAllowed { model: model.into() }),
            _ => Ok(()),
        }
    }

    /// Whether a model is among those that it may use.
    pub fn sees(&self, model: &str) -> bool {
        self.models.as_ref().is_none_or(|models| models.iter().any(|pattern| fits(pattern, model)))
    }
}

/// Checks a name that people or programs gave: some letters, not too many, none that steer a terminal.
pub(crate) fn check_name(field: &'static str, name: &str) -> Result<()> {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err(invalid(field, name, "1 to 255 bytes without control characters"));
    }
    Ok(())
}

/// Reads JSON of the database.
pub(crate) fn from_json<T: serde::de::DeserializeOwned>(field: &'static str, text: &str) -> Result<T> {
    serde_json::from_str(text).map_err(|_| stored(field, text, "JSON as this program writes it"))
}

/// Writes JSON for the database. None of our types can fail to become JSON.
pub(crate) fn to_json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_tells_null_from_nothing() {
        let change: KeyChange = serde_json::from_str(r#"{"expires":null}"#).unwrap();
        assert_eq!((change.expires, change.models), (Some(None), None));
        assert!(serde_json::from_str::<KeyChange>(r#"{"expired":null}"#).is_err());
    }

    #[test]
    fn limits_are_not_negative() {
        let limits = |text| serde_json::from_str::<Limits>(text).unwrap().check();
        assert!(limits(r#"{"concurrent":0,"budget":{"amount":"0","currency":"EUR","period":"total"}}"#).is_ok());
        assert!(limits(r#"{"concurrent":-1}"#).is_err());
        assert!(limits(r#"{"budget":{"amount":"-0.01","currency":"EUR","period":"month"}}"#).is_err());
    }
}
