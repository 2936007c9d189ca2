//! Validation of specs: all complaints at once, each a sentence that says what would be right.

use crate::{
    error::{Error, Result},
    name::Name,
    spec::{ContainerTemplate, HealthCheck, JobSpec, PodTemplate, Probe, limits},
};
use std::collections::BTreeSet;

/// Smallest memory limit a Linux process tree starts under.
const MEMORY_MIN: u64 = 4 * 1024 * 1024;

/// Longest host name (RFC 1035, section 2.3.4).
const HOST_MAX: usize = 253;

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
        if !mount.source.starts_with('/') && !is_volume(&mount.source) {
            let source = &mount.source;
            out.push(format!("{source:?} of container {name} is not a volume's name: use 1 to 200 letters, digits and ._-"));
        }
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

/// Whether a text can be a volume's name, which is that of a directory too.
pub fn is_volume(text: &str) -> bool {
    let letter = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    (1..=200).contains(&text.len()) && text.bytes().all(letter) && !text.starts_with('.')
}

/// Complaints about host names; empty when they are fine. `domain` is the cluster's own, whose names are the containers'.
pub fn hosts(hosts: &[String], domain: &str) -> Vec<String> {
    hosts.iter().filter_map(|host| host_complaint(host, domain)).collect()
}

fn host_complaint(host: &str, domain: &str) -> Option<String> {
    let labels: Vec<&str> = host.split('.').collect();
    let named = labels.iter().all(|label| Name::parse("host", label).is_ok());
    let number = labels.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    if !named || number || labels.len() < 2 || host.len() > HOST_MAX {
        return Some(format!("{host:?} is not a host name: use a name with a dot, of a-z, 0-9, - and ., as in blog.example.org"));
    }
    let inside = host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'));
    inside.then(|| format!("{host} is in the cluster's own domain {domain}, where names are those of containers: choose another"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_names_outside_the_clusters_domain() {
        let hosts = |host: &str| hosts(&[host.to_owned()], "internal");
        for good in ["blog.example", "blog.example.org", "a.b", "x.internals", "1.example"] {
            assert_eq!(hosts(good), Vec::<String>::new(), "{good}");
        }
        for bad in
            ["", "blog", "Blog.example", "a..b", ".a.b", "a.b.", "10.0.0.1", "a_b.c", "-a.b", &format!("{}a.b", "a.".repeat(130))]
        {
            assert!(hosts(bad).iter().any(|why| why.contains("is not a host name")), "{bad}");
        }
        assert!(hosts("blog.internal")[0].contains("the cluster's own domain internal"));
    }

    #[test]
    fn volumes_are_names_of_directories() {
        assert!(["blog", "blog-db.var.lib.mysql", "A_1"].into_iter().all(is_volume));
        assert!(!["", "..", ".a", "a/b", "../a", "a b", &"a".repeat(201)].into_iter().any(is_volume));
    }
}
