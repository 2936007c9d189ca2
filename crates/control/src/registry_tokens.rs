//! Tokens of the registry: a word shown once, stored as its hash, with what it allows and an end.

use crate::{
    tokens::{self, encode, failed},
    world::World,
};
use api::{Result, Timestamp, key, quantity::Span, registry::Access, view::Token};
use serde::{Deserialize, Serialize};
use store::{Commit, Store, Write};

/// Tells a token of the registry from one that servers join with.
const PREFIX: &str = "roost-registry-";
/// A token is good for a year when nothing is said: programs use it, and nobody types it anew each day.
const VALID: Span = Span::seconds(365 * 24 * 3600);

/// What is stored.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    access: Access,
    expires: Timestamp,
}

/// Makes a token.
pub async fn grant(store: &dyn Store, access: Access, valid: Option<Span>) -> Result<Token> {
    let text = format!("{PREFIX}{}", wire::token::secret());
    let record = Record { access, expires: Timestamp(base::env::now_millis()).after(valid.unwrap_or(VALID)) };
    let hash = tokens::hash(&text);
    let write = Write::Put { key: format!("{}{hash}", key::REGISTRY_TOKENS), value: encode(&record)? };
    store.commit(Commit { guards: Vec::new(), writes: vec![write] }).await.map_err(failed)?;
    Ok(view(&hash, &record, Some(text)))
}

/// A token as people see it.
pub fn view(hash: &str, record: &Record, token: Option<String>) -> Token {
    Token { id: tokens::id(hash), token, expires: record.expires, uses_left: 0, registry: Some(record.access) }
}

/// What a token allows, if it is one and still good.
pub fn access(world: &World, text: &str) -> Option<Access> {
    let record = world.registry_tokens.get(&tokens::hash(text))?;
    (Timestamp(base::env::now_millis()) <= record.expires).then_some(record.access)
}
