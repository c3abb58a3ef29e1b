//! Keys: who may ask.

use std::time::Duration;

use argand_ledger::{Denied, KeyChange, Ledger, LedgerError, Limits, NewKey, Options, Scope};

use crate::databases::Database;
use crate::{key, new_key, noon, on_both, request, tokens};

on_both! {
    secrets_open_what_they_are_for,
    keys_expire_and_are_revoked,
    revocation_is_seen_by_others_within_a_second,
    rotation_leaves_the_old_secret_a_while,
    keys_can_be_changed,
    newer_databases_are_refused,
}

#[track_caller]
fn denied<T: std::fmt::Debug>(result: Result<T, LedgerError>) -> Denied {
    match result {
        Err(LedgerError::Denied(denied)) => denied,
        other => panic!("not denied but {other:?}"),
    }
}

async fn secrets_open_what_they_are_for(database: Database) {
    let ledger = database.ledger(&noon()).await;
    let models = Some(vec!["small*".into(), "bert".into()]);
    let (key, secret) = ledger.create_key(NewKey { models, ..new_key(Limits::default()) }).await.unwrap();
    assert!(secret.text().starts_with(&key.prefix));
    let found = ledger.authorize(secret.text(), Scope::Inference, Some("small-1")).await.unwrap();
    assert_eq!(*found, key);
    assert_eq!(ledger.keys().await.unwrap(), [key]);
    assert_eq!(denied(ledger.authenticate("argand-nothing").await), Denied::Unknown);
    let wrong_scope = ledger.authorize(secret.text(), Scope::Admin, None).await;
    assert_eq!(denied(wrong_scope), Denied::LacksScope { scope: Scope::Admin });
    let wrong_model = ledger.authorize(secret.text(), Scope::Inference, Some("large")).await;
    assert_eq!(denied(wrong_model), Denied::ModelNotAllowed { model: "large".into() });
    // What is stored is a hash: it opens nothing itself.
    let hash = database.run("UPDATE secrets SET hash = 'argand-known'").await;
    hash.unwrap();
    let other = database.ledger(&noon()).await;
    assert_eq!(denied(other.authenticate("argand-known").await), Denied::Unknown);
}

async fn keys_expire_and_are_revoked(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let at = clock.now().after(Duration::from_secs(10));
    let (key, secret) = ledger.create_key(NewKey { expires: Some(at), ..new_key(Limits::default()) }).await.unwrap();
    ledger.authenticate(secret.text()).await.unwrap();
    clock.set(at);
    assert_eq!(denied(ledger.authenticate(secret.text()).await), Denied::Expired { at });
    assert_eq!(denied(ledger.reserve(&key.id, request(1, &clock, tokens(1, 1))).await), Denied::Expired { at });
    let change = KeyChange { expires: Some(None), ..KeyChange::default() };
    ledger.change_key(&key.id, change).await.unwrap();
    ledger.authenticate(secret.text()).await.unwrap();
    ledger.revoke_key(&key.id).await.unwrap();
    assert_eq!(denied(ledger.authenticate(secret.text()).await), Denied::Revoked { at });
    clock.set(at.after(Duration::from_secs(1)));
    assert_eq!(ledger.revoke_key(&key.id).await.unwrap().revoked, Some(at));
    assert_eq!(denied(ledger.reserve(&key.id, request(2, &clock, tokens(1, 1))).await), Denied::Revoked { at });
    let unknown = ledger.revoke_key("key-none").await;
    assert_eq!(unknown.unwrap_err(), LedgerError::NotFound { what: "key", name: "key-none".into() });
}

async fn revocation_is_seen_by_others_within_a_second(database: Database) {
    let (here, there) = (database.ledger(&noon()).await, database.ledger(&noon()).await);
    let (key, secret) = here.create_key(new_key(Limits::default())).await.unwrap();
    there.authenticate(secret.text()).await.unwrap();
    here.revoke_key(&key.id).await.unwrap();
    // A reservation asks the database, whatever is remembered.
    assert!(matches!(
        denied(there.reserve(&key.id, request(1, there.clock(), tokens(1, 1))).await),
        Denied::Revoked { .. }
    ));
    tokio::time::sleep(Duration::from_millis(1010)).await;
    assert!(matches!(denied(there.authenticate(secret.text()).await), Denied::Revoked { .. }));
}

async fn rotation_leaves_the_old_secret_a_while(database: Database) {
    let clock = noon();
    let ledger = database.ledger(&clock).await;
    let (key, old) = ledger.create_key(new_key(Limits::default())).await.unwrap();
    let (rotated, new) = ledger.rotate_key(&key.id, Duration::from_secs(60)).await.unwrap();
    assert_eq!((rotated.id, new.text().starts_with(&rotated.prefix)), (key.id.clone(), true));
    for secret in [&old, &new] {
        assert_eq!(ledger.authenticate(secret.text()).await.unwrap().id, key.id);
    }
    let at = clock.now().after(Duration::from_secs(60));
    clock.set(at);
    assert_eq!(denied(ledger.authenticate(old.text()).await), Denied::Expired { at });
    let (_, newest) = ledger.rotate_key(&key.id, Duration::ZERO).await.unwrap();
    assert!(matches!(denied(ledger.authenticate(new.text()).await), Denied::Expired { .. }));
    ledger.authenticate(newest.text()).await.unwrap();
    ledger.revoke_key(&key.id).await.unwrap();
    assert!(matches!(ledger.rotate_key(&key.id, Duration::ZERO).await, Err(LedgerError::Invalid { .. })));
}

async fn keys_can_be_changed(database: Database) {
    let ledger = database.ledger(&noon()).await;
    let before = key(&ledger, Limits { concurrent: Some(3), ..Limits::default() }).await;
    let change = KeyChange { name: Some("other".into()), scopes: Some([Scope::Usage].into()), ..KeyChange::default() };
    let after = ledger.change_key(&before.id, change).await.unwrap();
    assert_eq!((after.name.as_str(), after.limits, &after.owner), ("other", before.limits, &before.owner));
    assert_eq!(ledger.key(&before.id).await.unwrap(), after);
    let wrong = KeyChange { name: Some("a\nb".into()), ..KeyChange::default() };
    assert!(matches!(ledger.change_key(&before.id, wrong).await, Err(LedgerError::Invalid { .. })));
    assert!(matches!(ledger.create_key(NewKey::default()).await, Err(LedgerError::Invalid { field: "name", .. })));
}

async fn newer_databases_are_refused(database: Database) {
    database.ledger(&noon()).await.close().await.unwrap();
    database.ledger(&noon()).await.close().await.unwrap();
    database.run("INSERT INTO ledger_versions (version) VALUES (1000)").await.unwrap();
    let refused = Ledger::open(&database.url, Options::default()).await.unwrap_err();
    assert_eq!(refused, LedgerError::Newer { found: 1000, known: 1 });
}
