//! Servers: joined, shown, drained, changed, removed; and the tokens they join with.

use super::{
    Answer, advertised,
    watch::{Watching, watch},
    write::{Decision, Removal, Trying, change},
};
use crate::{
    Control,
    admit::container::no_server,
    tokens::{self, Grant},
    view,
};
use api::{
    Error, Name, Timestamp,
    event::Noun,
    key, path,
    server::{Liveness, ServerSpec},
    view::{Changed, JoinAnswer, JoinRequest, ServerView, Token},
};
use axum::{
    Extension, Json, Router,
    extract::{ConnectInfo, Path, Query, State},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    time::Duration,
};
use wire::{identity::Subject, server::Body};

/// How long a server's certificate is good for. It is renewed when it joins anew.
pub const CERTIFICATE_DAYS: u64 = 365;

pub fn routes() -> Router<Control> {
    let one = format!("{}/{{name}}", path::SERVERS);
    Router::new()
        .route(path::JOIN, post(join))
        .route(path::TOKENS, get(list_tokens).post(make_token))
        .route(&format!("{}/{{id}}", path::TOKENS), delete(revoke_token))
        .route(path::SERVERS, get(list))
        .route(&one, get(show).patch(set).delete(remove))
        .route(&format!("{one}/drain"), post(|s, p, q| drain(s, p, (q, true))))
        .route(&format!("{one}/undrain"), post(|s, p, q| drain(s, p, (q, false))))
}

async fn list(State(control): State<Control>, Query(query): Query<Watching>) -> Response {
    let all = |world: &crate::world::World| -> Vec<ServerView> {
        world.snapshot.servers.values().map(|spec| view::server(&world.snapshot, spec)).collect()
    };
    if query.watch {
        return watch(&control, move |world| Some(all(world)));
    }
    Json(all(&control.world.now())).into_response()
}

async fn show(State(control): State<Control>, Path(name): Path<Name>) -> Answer<ServerView> {
    let snapshot = control.world.now().snapshot;
    let spec = snapshot.servers.get(&name).ok_or_else(|| no_server(&snapshot, &name))?;
    Ok(Json(view::server(&snapshot, spec)))
}

async fn drain(
    State(control): State<Control>,
    Path(name): Path<Name>,
    (Query(trying), draining): (Query<Trying>, bool),
) -> Answer<Changed> {
    let changed = change(&control, trying.dry_run, |world| {
        let spec = world.snapshot.servers.get(&name).ok_or_else(|| no_server(&world.snapshot, &name))?;
        if spec.draining == draining {
            return Ok(Decision::unchanged(format!("server {name} needs no change")));
        }
        let fresh = ServerSpec { draining, ..spec.as_ref().clone() };
        let verb = if draining { "drain" } else { "undrain" };
        Decision::saying(format!("{verb} server {name}")).put(world, key::of(key::SERVERS, &name), &fresh)
    });
    Ok(Json(changed.await?))
}

/// What of a server can be changed. What is absent stays.
#[derive(Deserialize, JsonSchema)]
pub struct Settings {
    /// Labels to set; one that is null is taken away.
    #[serde(default)]
    labels: BTreeMap<String, Option<String>>,
    /// Another subnet for its containers, while it has none.
    #[serde(default)]
    subnet: Option<ipnet::Ipv4Net>,
}

async fn set(
    State(control): State<Control>,
    Path(name): Path<Name>,
    Query(trying): Query<Trying>,
    Body(settings): Body<Settings>,
) -> Answer<Changed> {
    let changed = change(&control, trying.dry_run, |world| {
        let snapshot = &world.snapshot;
        let spec = snapshot.servers.get(&name).ok_or_else(|| no_server(snapshot, &name))?;
        let mut fresh = spec.as_ref().clone();
        for (label, value) in &settings.labels {
            match value {
                Some(value) => fresh.labels.insert(label.clone(), value.clone()),
                None => fresh.labels.remove(label),
            };
        }
        if let Some(subnet) = settings.subnet {
            free_subnet(snapshot, &name, subnet)?;
            if subnet != fresh.subnet && snapshot.placements().any(|(_, placement)| placement.server == name) {
                return Err(Error::conflict(format!("server {name} has containers with addresses of {}", fresh.subnet))
                    .hint("move or remove them first"));
            }
            fresh.subnet = subnet;
        }
        if fresh == **spec {
            return Ok(Decision::unchanged(format!("server {name} needs no change")));
        }
        Decision::saying(format!("change server {name}")).put(world, key::of(key::SERVERS, &name), &fresh)
    });
    Ok(Json(changed.await?))
}

/// A subnet lies in the cluster's range, has room, and overlaps no other server's.
fn free_subnet(snapshot: &api::Snapshot, name: &Name, subnet: ipnet::Ipv4Net) -> api::Result<()> {
    let range = snapshot.cluster.as_ref().map(|cluster| cluster.range);
    if subnet.prefix_len() > 29 || subnet.trunc() != subnet {
        return Err(Error::usage(format!(
            "{subnet} is not a subnet for containers: use a network address and a prefix of 8 to 29"
        )));
    }
    if let Some(range) = range.filter(|range| !range.contains(&subnet)) {
        return Err(Error::usage(format!("subnet {subnet} is outside the cluster's range {range}")));
    }
    let overlap = |other: &&std::sync::Arc<ServerSpec>| {
        other.name != *name && (other.subnet.contains(&subnet) || subnet.contains(&other.subnet))
    };
    match snapshot.servers.values().find(overlap) {
        Some(other) => Err(Error::conflict(format!("subnet {subnet} overlaps {} of server {}", other.subnet, other.name))),
        None => Ok(()),
    }
}

async fn remove(State(control): State<Control>, Path(name): Path<Name>, Query(query): Query<Removal>) -> Answer<Changed> {
    let changed = change(&control, query.dry_run, |world| {
        let snapshot = &world.snapshot;
        let spec = snapshot.servers.get(&name).ok_or_else(|| no_server(snapshot, &name))?;
        if spec.manager {
            return Err(Error::conflict(format!("server {name} is the cluster's manager and cannot leave it")));
        }
        let holds = snapshot.placements().filter(|(_, placement)| placement.server == name).count();
        if holds > 0 && !query.force && snapshot.liveness(&name) != Liveness::Lost {
            return Err(Error::conflict(format!("server {name} still has {holds} containers"))
                .hint(format!("roost drain {name}, or repeat with --force")));
        }
        Ok(Decision::saying(format!("remove server {name}")).delete(world, key::of(key::SERVERS, &name)))
    });
    Ok(Json(changed.await?))
}

async fn list_tokens(State(control): State<Control>) -> Answer<Vec<Token>> {
    Ok(Json(tokens::list(&control.world.now())))
}

async fn make_token(State(control): State<Control>, Body(grant): Body<Grant>) -> Answer<Token> {
    let way = (advertised(&control)?, control.authority.fingerprint());
    Ok(Json(tokens::grant(&*control.store, &grant, way).await?))
}

async fn revoke_token(State(control): State<Control>, Path(id): Path<String>, Query(trying): Query<Trying>) -> Answer<Changed> {
    let changed = change(&control, trying.dry_run, |world| {
        let key = tokens::find(world, &id)?;
        Ok(Decision::saying(format!("revoke token {id}")).delete(world, key))
    });
    Ok(Json(changed.await?))
}

async fn join(
    State(control): State<Control>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    Body(request): Body<JoinRequest>,
) -> Answer<JoinAnswer> {
    tokens::spend(&control.world.now(), &request.secret)?;
    let peer = peer.map(|Extension(ConnectInfo(peer))| peer.ip().to_canonical());
    let address = request.address.or(peer).ok_or_else(|| Error::usage("a server joins over the network, or says its address"))?;
    let subject = Subject::Server(request.name.clone());
    let valid = Duration::from_secs(CERTIFICATE_DAYS * 24 * 3600);
    let certificate = control.authority.sign(&request.csr, &subject, valid, &[address])?;
    let key_fingerprint = wire::identity::fingerprint(&certificate)?;
    let changed = change(&control, false, |world| {
        let (token, spend) = tokens::spend(world, &request.secret)?;
        let server = record(world, &request, (address, &key_fingerprint))?;
        let mut decision = Decision::saying(format!("server {} joined", server.name))
            .put(world, key::of(key::SERVERS, &server.name), &server)?
            .put(world, key::NEXT_SERVER.to_owned(), &(server.number + 1))?;
        decision.guards.push(world.unchanged(&token));
        decision.writes.push(spend);
        Ok(decision)
    });
    changed.await?;
    let snapshot = control.world.now().snapshot;
    let server = snapshot.servers.get(&request.name).ok_or_else(|| Error::conflict("the server was removed at once"))?;
    control.events.note(Noun::Server, request.name.as_str(), format!("joined from {address}, containers get {}", server.subnet));
    let authority = control.authority.certificate_pem().to_owned();
    Ok(Json(JoinAnswer { server: server.as_ref().clone(), certificate, authority }))
}

fn record(
    world: &crate::world::World,
    request: &JoinRequest,
    (address, key_fingerprint): (IpAddr, &str),
) -> api::Result<ServerSpec> {
    let snapshot = &world.snapshot;
    if snapshot.servers.contains_key(&request.name) {
        let name = &request.name;
        return Err(Error::conflict(format!("there is a server {name} already"))
            .hint(format!("join under another name: --name, or roost server delete {name}")));
    }
    if let Some(other) = snapshot.servers.values().find(|server| server.address == address) {
        return Err(Error::conflict(format!("server {} has the address {address} already", other.name)));
    }
    let subnet = match request.subnet {
        Some(subnet) => {
            free_subnet(snapshot, &request.name, subnet)?;
            subnet
        }
        None => plan::next_subnet(snapshot)?,
    };
    Ok(ServerSpec {
        name: request.name.clone(),
        number: world.next_server,
        address,
        subnet,
        manager: false,
        draining: false,
        labels: request.labels.clone(),
        key_fingerprint: key_fingerprint.to_owned(),
        facts: request.facts.clone(),
        joined: Timestamp(base::env::now_millis()),
    })
}
