//! `/admin/v1/keys` and `/admin/v1/usage`: what the administrator's page asks for.

use super::{Answer, json};
use crate::app::App;
use crate::error::ApiError;
use crate::fields::Fields;
use argand_ledger::{Budget, By, Filter, Key, Limits, Line, Money, NewKey, Period, Quota, Scope, Time, Unit};
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Seconds since 1970, as the page reads moments.
fn seconds(time: Time) -> i64 {
    time.micros() / 1_000_000
}

fn key_json(key: &Key, used: Option<&Line>) -> Json {
    let Limits { requests_per_minute, tokens_per_minute, concurrent, budget, tokens } = key.limits;
    let period = budget.map(|budget| budget.period).or(tokens.map(|quota| quota.period)).map(Period::word);
    let cost = used.and_then(|line| line.cost.values().next()).map(Money::to_string);
    json!({
        "id": key.id, "prefix": key.prefix, "name": key.name, "owner": key.owner, "scopes": key.scopes,
        "models": key.models.clone().unwrap_or_default(), "created": seconds(key.created),
        "expires": key.expires.map(seconds), "revoked": key.revoked.map(seconds),
        "limits": {
            "requests_per_minute": requests_per_minute, "tokens_per_minute": tokens_per_minute, "concurrent": concurrent,
            "budget": budget.map(|budget| budget.amount.to_string()),
            "currency": budget.map(|budget| budget.currency.to_string()),
            "period_tokens": tokens.map(|quota| quota.tokens), "period": period,
        },
        "used": { "requests": used.map_or(0, |line| line.requests), "tokens": used.map_or(0, |line| line.units.tokens()),
                  "cost": cost.unwrap_or_else(|| "0".into()) },
    })
}

/// `GET /admin/v1/keys`.
pub async fn keys(State(app): State<Arc<App>>) -> Answer {
    let lines = app.ledger.report(&Filter::default(), &[By::Key]).await?;
    let used: BTreeMap<&str, &Line> =
        lines.iter().filter_map(|line| Some((line.group.first()?.as_str(), line))).collect();
    let keys = app.ledger.keys().await?;
    let keys: Vec<Json> = keys.iter().map(|key| key_json(key, used.get(key.id.as_str()).copied())).collect();
    Ok(json(json!({ "keys": keys })))
}

/// `POST /admin/v1/keys`; the answer has the secret, which is nowhere else.
pub async fn create_key(State(app): State<Arc<App>>, body: Bytes) -> Answer {
    let new = new_key(Fields::parse(&body)?, &app.config.currency)?;
    let (key, secret) = app.ledger.create_key(new).await?;
    let mut made = key_json(&key, None);
    made["secret"] = secret.text().into();
    Ok((StatusCode::CREATED, json(made)).into_response())
}

/// `DELETE /admin/v1/keys/{id}`: it stops working at once, and stays in the books.
pub async fn revoke_key(State(app): State<Arc<App>>, Path(id): Path<String>) -> Answer {
    Ok(json(key_json(&app.ledger.revoke_key(&id).await?, None)))
}

fn new_key(mut fields: Fields, currency: &str) -> Result<NewKey, ApiError> {
    let name = fields.need("name")?;
    let owner = fields.take("owner")?.unwrap_or_default();
    let scopes: BTreeSet<Scope> = fields.take("scopes")?.unwrap_or_else(|| [Scope::Inference].into());
    let models: Vec<String> = fields.take("models")?.unwrap_or_default();
    let expires: Option<Time> = fields.take("expires")?;
    let mut limits = Limits::default();
    if let Some(mut given) = fields.object("limits")? {
        limits.requests_per_minute = given.take("requests_per_minute")?;
        limits.tokens_per_minute = given.take("tokens_per_minute")?;
        limits.concurrent = given.take("concurrent")?;
        let period = given.take("period")?.unwrap_or(Period::Total);
        let currency: String = given.take("currency")?.unwrap_or_else(|| currency.to_string());
        if let Some(amount) = given.take("budget")? {
            limits.budget = Some(Budget { amount, currency: currency.parse()?, period });
        }
        limits.tokens = given.take("period_tokens")?.map(|tokens| Quota { tokens, period });
        given.done()?;
    }
    fields.done()?;
    Ok(NewKey { name, owner, scopes, models: (!models.is_empty()).then_some(models), expires, limits })
}

/// What is asked about usage.
#[derive(Debug, Deserialize)]
pub struct Asked {
    from: Option<String>,
    to: Option<String>,
    by: Option<String>,
    key: Option<String>,
    model: Option<String>,
}

/// `GET /admin/v1/usage?from=&to=&by=`.
pub async fn usage(State(app): State<Arc<App>>, Query(asked): Query<Asked>) -> Answer {
    let time = |name: &str, text: Option<String>| {
        let parsed = text.map(|text| text.parse::<Time>()).transpose();
        parsed.map_err(|error| ApiError::field(name, format!("{name}: {error}")))
    };
    let by: By = asked.by.as_deref().unwrap_or("day").parse()?;
    let filter = Filter {
        from: time("from", asked.from)?,
        to: time("to", asked.to)?,
        key: asked.key,
        model: asked.model,
        endpoint: None,
    };
    let lines = app.ledger.report(&filter, &[by]).await?;
    let names: BTreeMap<String, String> = match by {
        By::Key => app.ledger.keys().await?.into_iter().map(|key| (key.id, key.name)).collect(),
        _ => BTreeMap::new(),
    };
    let row = |line: &Line| {
        let group = line.group.first().cloned().unwrap_or_default();
        let group = match by {
            By::Hour => format!("{group}:00"),
            _ => names.get(&group).cloned().unwrap_or(group),
        };
        let tokens = |units: &[Unit]| units.iter().map(|unit| line.units.get(*unit)).sum::<i64>();
        let cost = line.cost.iter().next();
        json!({ "group": group, "requests": line.requests, "input": tokens(&[Unit::Input, Unit::CachedInput]),
                "cached": tokens(&[Unit::CachedInput]), "output": tokens(&[Unit::Output, Unit::Reasoning]),
                "cost": cost.map(|(_, amount)| amount.to_string()), "currency": cost.map(|(currency, _)| currency.to_string()) })
    };
    Ok(json(json!({ "rows": lines.iter().map(row).collect::<Vec<_>>() })))
}
