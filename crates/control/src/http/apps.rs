//! Apps of the store that were got: remembered, so that they can be had again with their data and passwords.
//!
//! Making the containers is not done here: `roost get` puts the parts together out of what there is. What must not go wrong when two
//! do it at once is: a record takes the place of the one before it only, and none is forgotten while its containers are there.

use super::{
    Answer,
    write::{Decision, Trying, change},
};
use crate::{Control, proxy, world::World};
use api::{
    Error, Name, Snapshot, Timestamp,
    app::{AppPart, AppRecord},
    key, path,
    view::Changed,
};
use axum::{
    Json, Router,
    extract::{Path, Query, State},
    http::Method,
    routing::get,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use wire::server::Body;

/// Most apps named in a hint.
const NEAR: usize = 10;

pub fn routes() -> Router<Control> {
    Router::new().route(path::APPS, get(list)).route(&format!("{}/{{name}}", path::APPS), get(show).put(remember).delete(forget))
}

async fn list(State(control): State<Control>) -> Json<Vec<AppRecord>> {
    Json(control.world.now().snapshot.apps.values().map(|record| record.without_secrets()).collect())
}

async fn show(State(control): State<Control>, Path(name): Path<Name>) -> Answer<AppRecord> {
    Ok(Json(find(&control.world.now().snapshot, &name)?.as_ref().clone()))
}

fn find<'a>(snapshot: &'a Snapshot, name: &Name) -> api::Result<&'a Arc<AppRecord>> {
    snapshot.apps.get(name).ok_or_else(|| {
        let known: Vec<&str> = snapshot.apps.keys().take(NEAR).map(Name::as_str).collect();
        let error = Error::not_found(format!("no app {name} was got"));
        if known.is_empty() {
            error.hint("get one: roost get <app>")
        } else {
            error.hint(format!("did you mean {}?", known.join(", ")))
        }
    })
}

async fn remember(
    State(control): State<Control>,
    Path(name): Path<Name>,
    Query(trying): Query<Trying>,
    Body(record): Body<AppRecord>,
) -> Answer<Changed> {
    let changed = change(&control, trying.dry_run, |world| {
        let record = admit(&world.snapshot, &name, &record)?;
        Decision::saying(format!("remember app {name}")).put(world, key::of(key::APPS, &name), &record)
    });
    Ok(Json(changed.await?))
}

/// The record, if it comes after the one there is and fits it.
fn admit(snapshot: &Snapshot, name: &Name, record: &AppRecord) -> api::Result<AppRecord> {
    if record.name != *name {
        return Err(Error::usage(format!("the record is of app {}, not of {name}", record.name)));
    }
    let before = snapshot.apps.get(name).map_or(0, |before| before.generation);
    if record.generation != before + 1 {
        return Err(
            Error::conflict(format!("app {name} is being got by somebody else")).hint("repeat the command when they are done")
        );
    }
    let volumes = volumes_of(record);
    if let Some(bad) = volumes.clone().find(|volume| !api::validate::is_volume(volume)) {
        return Err(Error::usage(format!("{bad:?} is not a volume's name: use letters, digits and ._-")));
    }
    let others = snapshot.apps.values().filter(|other| other.name != *name);
    let mut taken = others.flat_map(|other| volumes_of(other).map(move |volume| (other, volume)));
    if let Some((other, volume)) = taken.find(|(_, volume)| volumes.clone().any(|own| own == *volume)) {
        return Err(Error::conflict(format!("volume {volume} belongs to app {}: choose another name", other.name)));
    }
    Ok(AppRecord { got: Timestamp(base::env::now_millis()), ..record.clone() })
}

fn volumes_of(record: &AppRecord) -> impl Iterator<Item = &String> + Clone {
    record.parts.iter().flat_map(|part| part.volumes.keys())
}

/// What of an app is forgotten.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
pub struct Forgetting {
    /// Leave its volumes where they are.
    #[serde(default)]
    keep_volumes: bool,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

async fn forget(State(control): State<Control>, Path(name): Path<Name>, Query(query): Query<Forgetting>) -> Answer<Changed> {
    let world = control.world.now();
    let record = unused(&world, &name)?;
    if !query.dry_run && !query.keep_volumes {
        remove_volumes(&control, &world.snapshot, &record).await?;
    }
    let changed = change(&control, query.dry_run, |world| {
        let now = unused(world, &name)?;
        if now.generation != record.generation {
            return Err(Error::conflict(format!("app {name} is being got by somebody else")));
        }
        Ok(Decision::saying(format!("forget app {name}")).delete(world, key::of(key::APPS, &name)))
    });
    Ok(Json(changed.await?))
}

/// The record of an app none of whose containers is there.
fn unused(world: &World, name: &Name) -> api::Result<Arc<AppRecord>> {
    let snapshot = &world.snapshot;
    let record = find(snapshot, name)?;
    let there = |part: &&AppPart| {
        snapshot.containers.contains_key(&part.container) || snapshot.container_plans.contains_key(&part.container)
    };
    match record.parts.iter().find(there) {
        Some(part) => Err(Error::conflict(format!("app {name} has a container {}", part.container))
            .hint(format!("remove it first: roost rm -f {}", part.container))),
        None => Ok(Arc::clone(record)),
    }
}

/// Removes an app's volumes where they are. A server that is gone for good has taken its own with it.
async fn remove_volumes(control: &Control, snapshot: &Snapshot, record: &AppRecord) -> api::Result<()> {
    let placed = record.parts.iter().filter_map(|part| Some((part, part.server.as_ref()?)));
    for (part, server) in placed.filter(|(_, server)| snapshot.servers.contains_key(*server)) {
        let agent = proxy::agent(control, snapshot, server)?;
        for volume in part.volumes.keys() {
            let path = format!("{}/{}", path::VOLUMES, path::segment(volume));
            let gone = agent.send::<(), ()>(Method::DELETE, &path, &()).await;
            gone.map_err(|error| Error { message: format!("volume {volume} on {server}: {}", error.message), ..error })?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::parse("test", text).unwrap()
    }

    fn record(text: &str, generation: u64) -> AppRecord {
        let part = AppPart {
            container: name(text),
            app: "redis".into(),
            packages: false,
            server: None,
            volumes: [(format!("{text}.data"), "/data".to_owned())].into(),
            settings: [].into(),
            secrets: [].into(),
        };
        AppRecord {
            name: name(text),
            app: "redis".into(),
            generation,
            url: None,
            parts: vec![part],
            got: Timestamp(0),
            making_until: None,
        }
    }

    #[test]
    fn a_record_takes_the_place_of_the_one_before_it() {
        let mut snapshot = Snapshot::default();
        let cache = name("cache");
        assert!(admit(&snapshot, &cache, &record("cache", 1)).is_ok());
        assert_eq!(admit(&snapshot, &cache, &record("cache", 2)).unwrap_err().kind, api::Kind::Conflict);
        snapshot.apps.insert(cache.clone(), Arc::new(record("cache", 1)));
        assert_eq!(admit(&snapshot, &cache, &record("cache", 1)).unwrap_err().kind, api::Kind::Conflict);
        assert!(admit(&snapshot, &cache, &record("cache", 2)).is_ok());
        assert_eq!(admit(&snapshot, &name("other"), &record("cache", 2)).unwrap_err().kind, api::Kind::Usage);
        let mut thief = record("other", 1);
        thief.parts[0].volumes = [("cache.data".to_owned(), "/x".to_owned())].into();
        let refused = admit(&snapshot, &name("other"), &thief).unwrap_err();
        assert_eq!(refused.message, "volume cache.data belongs to app cache: choose another name");
        thief.parts[0].volumes = [("../x".to_owned(), "/x".to_owned())].into();
        assert_eq!(admit(&snapshot, &name("other"), &thief).unwrap_err().kind, api::Kind::Usage);
    }

    #[test]
    fn what_has_containers_is_not_forgotten() {
        let mut world = World::default();
        let cache = name("cache");
        assert_eq!(unused(&world, &cache).unwrap_err().kind, api::Kind::NotFound);
        world.snapshot.apps.insert(cache.clone(), Arc::new(record("cache", 1)));
        assert!(unused(&world, &cache).is_ok());
        world.snapshot.container_plans.insert(cache.clone(), Arc::default());
        let refused = unused(&world, &cache).unwrap_err();
        assert_eq!((refused.kind, refused.message.as_str()), (api::Kind::Conflict, "app cache has a container cache"));
    }
}
