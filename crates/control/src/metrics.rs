//! Prometheus metrics, computed from the world when asked for.

use crate::{Control, view};
use api::server::Liveness;
use axum::{
    extract::State,
    http::header::CONTENT_TYPE,
    response::{IntoResponse, Response},
};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Named {
    name: String,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Stated {
    state: String,
}

type Gauges<L> = Family<L, Gauge>;

/// `GET /metrics`.
pub async fn text(State(control): State<Control>) -> Response {
    let registry = collect(&control);
    let mut out = String::new();
    match encode(&mut out, &registry) {
        Ok(()) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], out).into_response(),
        Err(error) => wire::server::ApiError(api::Error::failed(format!("metrics cannot be written: {error}"))).into_response(),
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn collect(control: &Control) -> Registry {
    let snapshot = control.world.now().snapshot;
    let mut registry = Registry::with_prefix("roost");
    let revision = Gauge::<i64>::default();
    revision.set(number(snapshot.revision));
    registry.register("store_revision", "Revision of the cluster's store", revision);
    servers(&mut registry, &snapshot);
    jobs(&mut registry, &snapshot);
    let states = Gauges::<Stated>::default();
    for container in view::containers(&snapshot) {
        states.get_or_create(&Stated { state: container.state }).inc();
    }
    registry.register("containers", "Containers and instances by state", states);
    registry
}

fn servers(registry: &mut Registry, snapshot: &api::Snapshot) {
    let (up, instances) = (Gauges::<Named>::default(), Gauges::<Named>::default());
    let (reserved, used, capacity) = (Gauges::<Named>::default(), Gauges::<Named>::default(), Gauges::<Named>::default());
    for spec in snapshot.servers.values() {
        let label = Named { name: spec.name.to_string() };
        let view = view::server(snapshot, spec);
        up.get_or_create(&label).set(i64::from(view.liveness == Liveness::Alive));
        instances.get_or_create(&label).set(i64::from(view.instances));
        reserved.get_or_create(&label).set(number(view.reserved_memory.0));
        used.get_or_create(&label).set(number(view.usage.memory.0));
        capacity.get_or_create(&label).set(number(spec.facts.memory.0));
    }
    registry.register("server_up", "1 when heartbeats of the server arrive", up);
    registry.register("server_instances", "Instances placed on the server", instances);
    registry.register("server_memory_reserved_bytes", "Memory reserved by instances", reserved);
    registry.register("server_memory_used_bytes", "Memory in use on the server", used);
    registry.register("server_memory_bytes", "Memory of the server", capacity);
}

fn jobs(registry: &mut Registry, snapshot: &api::Snapshot) {
    let (wanted, healthy) = (Gauges::<Named>::default(), Gauges::<Named>::default());
    for name in snapshot.jobs.keys() {
        let Some(job) = view::job(snapshot, name) else { continue };
        let label = Named { name: name.to_string() };
        wanted.get_or_create(&label).set(i64::from(job.spec.count));
        healthy.get_or_create(&label).set(i64::from(job.running));
    }
    registry.register("job_instances_wanted", "Instances the job asks for", wanted);
    registry.register("job_instances_healthy", "Instances of the job that are healthy", healthy);
}
