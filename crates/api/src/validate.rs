//! Validation of specs: all complaints at once, each a sentence that says what would be right.

use crate::{
    error::{Error, Result},
    spec::{ContainerTemplate, HealthCheck, JobSpec, PodTemplate, Probe, limits},
};
use std::collections::BTreeSet;

/// Smallest memory limit a Linux process tree starts under.
const MEMORY_MIN: u64 = 4 * 1024 * 1024;

/// Complaints about a pod template; empty when it is fine.
pub fn pod(template: &PodTemplate) -> Vec<String> {
    let mut out = Vec::new();
    if template.containers.is_empty() || template.containers.len() > limits::CONTAINERS_PER_POD {
        out.push(format!("a pod has 1 to {} containers, not {}", limits::CONTAINERS_PER_POD, template.containers.len()));
    }
    let mut names = BTreeSet::new();
    for container in &template.containers {
        if !names.insert(&container.name) {
            out.push(format!("two containers of the pod are named {}", container.name));
        }
        out.extend(container_complaints(container));
    }
    if template.publish.len() > limits::PORTS_PER_POD {
        out.push(format!("a pod publishes at most {} ports, not {}", limits::PORTS_PER_POD, template.publish.len()));
    }
    let mut ports = BTreeSet::new();
    for port in &template.publish {
        if port.host == 0 || port.container == 0 {
            out.push("port 0 cannot be published: use 1 to 65535".to_owned());
        }
        if !ports.insert((port.host, port.protocol)) {
            out.push(format!("port {} is published twice", port.host));
        }
    }
    out
}

fn container_complaints(container: &ContainerTemplate) -> Vec<String> {
    let mut out = Vec::new();
    let name = &container.name;
    if let Some(memory) = container.limits.memory
        && memory.0 < MEMORY_MIN
    {
        out.push(format!("memory {memory} of container {name} is too small: at least 4M"));
    }
    if container.limits.pids == Some(0) {
        out.push(format!("container {name} may have 0 processes: at least 1"));
    }
    if container.env.len() > limits::ENV_ENTRIES {
        out.push(format!("container {name} has {} environment entries: at most {}", container.env.len(), limits::ENV_ENTRIES));
    }
    for (key, value) in &container.env {
        if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') || value.len() > limits::ENV_VALUE {
            out.push(format!("environment entry {key:?} of container {name} is malformed or too long"));
        }
    }
    for mount in &container.mounts {
        let absolute = mount.target.starts_with('/') && !mount.target.split('/').any(|part| part == "..");
        if !absolute || mount.target == "/" {
            out.push(format!("mount target {:?} of container {name} must be an absolute path below /", mount.target));
        }
    }
    if let Some(dir) = &container.workdir
        && !dir.starts_with('/')
    {
        out.push(format!("working directory {dir:?} of container {name} must be an absolute path"));
    }
    if let Some(check) = &container.health {
        out.extend(check_complaints(check).map(|why| format!("health check of container {name}: {why}")));
    }
    out
}

fn check_complaints(check: &HealthCheck) -> Option<String> {
    match &check.probe {
        Probe::Command(argv) if argv.is_empty() => Some("the command is empty".to_owned()),
        Probe::Tcp(0) | Probe::Http { port: 0, .. } => Some("port 0 cannot be checked: use 1 to 65535".to_owned()),
        Probe::Http { path, .. } if !path.starts_with('/') => Some(format!("path {path:?} must begin with /")),
        _ if check.retries == 0 => Some("retries must be at least 1".to_owned()),
        _ if check.timeout.0 == 0 || check.interval.0 == 0 => Some("interval and timeout must be longer than 0".to_owned()),
        _ => None,
    }
}

/// Complaints about a job; empty when it is fine.
pub fn job(spec: &JobSpec) -> Vec<String> {
    let mut out = pod(&spec.template);
    if spec.count > JobSpec::COUNT_MAX {
        out.push(format!("a job has at most {} instances, not {}", JobSpec::COUNT_MAX, spec.count));
    }
    if spec.placement.per_server == Some(0) {
        out.push("at most 0 instances per server leaves no place: use 1 or more".to_owned());
    }
    if spec.update.parallel == Some(0) {
        out.push("an upgrade of 0 instances at a time never ends: use 1 or more".to_owned());
    }
    out
}

/// Turns complaints into one usage error, the first as its sentence.
pub fn check(complaints: Vec<String>) -> Result<()> {
    let mut complaints = complaints.into_iter();
    match complaints.next() {
        None => Ok(()),
        Some(first) => Err(Error { details: complaints.collect(), ..Error::usage(first) }),
    }
}

/// A count as typed: `-1` and absurd numbers get a sentence.
pub fn count(count: i64) -> Result<u32> {
    u32::try_from(count)
        .ok()
        .filter(|n| *n <= JobSpec::COUNT_MAX)
        .ok_or_else(|| Error::usage(format!("{count} is not a number of instances: use 0 to {}", JobSpec::COUNT_MAX)))
}
