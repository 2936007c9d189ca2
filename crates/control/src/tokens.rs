//! Tokens; here those that servers join with: a secret shown once, stored as its hash, with an end and a number of uses.

use crate::{registry_tokens, world::World};
use api::{Error, Result, Timestamp, key, quantity::Span, registry::Access, view::Token};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::{net::SocketAddr, sync::Arc};
use store::{Commit, Store, StoreError, Write};
use wire::token::JoinToken;

/// A token is good for a day when nothing is said.
const VALID: Span = Span::seconds(24 * 3600);
/// Most uses of one token.
const USES_MAX: u32 = 10_000;
/// Characters of a token's hash that people see.
const ID_LENGTH: usize = 12;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Record {
    expires: Timestamp,
    uses_left: u32,
}

/// What a new token allows.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Grant {
    /// How long it is good for; a day when absent.
    #[serde(default)]
    pub valid: Option<Span>,
    /// How many servers may join with it; one when absent.
    #[serde(default)]
    pub uses: Option<u32>,
    /// It is for the registry, and allows this there; servers do not join with it then.
    #[serde(default)]
    pub registry: Option<Access>,
}

/// What is stored instead of a secret.
pub fn hash(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

fn view(hash: &str, record: &Record, token: Option<String>) -> Token {
    Token { id: id(hash), token, expires: record.expires, uses_left: record.uses_left, registry: None }
}

/// What people call a token.
pub fn id(hash: &str) -> String {
    hash.chars().take(ID_LENGTH).collect()
}

/// Makes a token.
pub async fn grant(store: &dyn Store, grant: &Grant, (address, authority): (SocketAddr, String)) -> Result<Token> {
    if let Some(access) = grant.registry {
        return registry_tokens::grant(store, access, grant.valid).await;
    }
    let uses_left = grant.uses.unwrap_or(1);
    if uses_left == 0 || uses_left > USES_MAX {
        return Err(Error::usage(format!("a token for {uses_left} servers cannot be made: use 1 to {USES_MAX}")));
    }
    let secret = hex::encode(base::env::random_bytes::<20>());
    let expires = Timestamp(base::env::now_millis()).after(grant.valid.unwrap_or(VALID));
    let record = Record { expires, uses_left };
    let hash = hash(&secret);
    let write = Write::Put { key: format!("{}{hash}", key::TOKENS), value: encode(&record)? };
    store.commit(Commit { guards: Vec::new(), writes: vec![write] }).await.map_err(failed)?;
    Ok(view(&hash, &record, Some(JoinToken { address, authority, secret }.to_string())))
}

/// Every token that is stored.
pub fn list(world: &World) -> Vec<Token> {
    let token = |(key, value): (&String, &Arc<[u8]>)| {
        let record = serde_json::from_slice(value).ok()?;
        Some(view(key.strip_prefix(key::TOKENS)?, &record, None))
    };
    let registry = world.registry_tokens.iter().map(|(hash, record)| registry_tokens::view(hash, record, None));
    world.tokens.iter().filter_map(token).chain(registry).collect()
}

/// Fewest characters of an id that name a token.
const ID_MIN: usize = 4;

/// The key of the token with this id.
pub fn find(world: &World, id: &str) -> Result<String> {
    let wanted = format!("{}{id}", key::TOKENS);
    let found = world.tokens.keys().find(|key| id.len() >= ID_MIN && key.starts_with(&wanted)).cloned();
    let registry = || world.registry_tokens.keys().find(|hash| id.len() >= ID_MIN && hash.starts_with(id));
    let found = found.or_else(|| registry().map(|hash| format!("{}{hash}", key::REGISTRY_TOKENS)));
    found.ok_or_else(|| Error::not_found(format!("no token {id}")).hint("see: roost token list"))
}

/// The write that uses a token up by one. An unknown, used or expired one is refused.
pub fn spend(world: &World, secret: &str) -> Result<(String, Write)> {
    let refused = |why: &str| Error::not_allowed(format!("the join token is {why}")).hint("make a new one: roost token create");
    let key = format!("{}{}", key::TOKENS, hash(secret));
    let stored = world.tokens.get(&key).ok_or_else(|| refused("not known here, or was used already"))?;
    let mut record: Record = serde_json::from_slice(stored).map_err(|_| refused("damaged"))?;
    if Timestamp(base::env::now_millis()) > record.expires {
        return Err(refused("expired"));
    }
    record.uses_left = record.uses_left.saturating_sub(1);
    let used = key.clone();
    let write = if record.uses_left == 0 { Write::Delete { key } } else { Write::Put { key, value: encode(&record)? } };
    Ok((used, write))
}

/// A value as stored.
pub fn encode<T: Serialize>(value: &T) -> Result<bytes::Bytes> {
    serde_json::to_vec(value)
        .map(Into::into)
        .map_err(|error| Error::failed(format!("a value cannot be written as JSON: {error}")))
}

/// A store's error for a person.
pub fn failed(error: StoreError) -> Error {
    match error {
        StoreError::Refused { .. } => Error::conflict("it changed meanwhile: look again and repeat the command"),
        error => Error::from_chain(api::Kind::Failed, "the cluster's store failed", &error),
    }
}
