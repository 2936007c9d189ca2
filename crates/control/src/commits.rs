//! Images of containers as they stand: asking the server that has one, and what the images are called.

use crate::{Control, agents::explain, proxy, view};
use api::{
    Error, InstanceId, Kind, Name, Result, Snapshot, Target,
    image::{COMMIT_LABEL, COMMITS, ConfigChange, HistoryLine, ImageProgress, ImageRecord, SNAPSHOT_LABEL, SNAPSHOTS},
    path,
    server::Liveness,
    spec::{ImageRef, PodTemplate},
    view::CommitOrder,
};
use axum::http::Method;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Hexadecimal digits of a digest in a name: as many as lists of images show.
const DIGITS: usize = 12;

/// Where progress goes; nobody has to listen.
pub type Progress = mpsc::Sender<ImageProgress>;

/// A container that is to be read.
#[derive(Clone, Debug)]
pub struct Subject {
    /// `c1`, or `web/3`.
    pub name: String,
    /// Where it is.
    pub server: Name,
    /// Which instance.
    pub id: InstanceId,
    /// What it runs: a pod of one.
    pub template: Arc<PodTemplate>,
}

/// What is meant, if its server is there.
pub fn subject(snapshot: &Snapshot, target: &Target) -> Result<Subject> {
    let (owner, placement) = proxy::resolve(snapshot, target)?;
    if snapshot.liveness(&placement.server) == Liveness::Lost {
        return Err(Error::unreachable(format!("server {} does not answer, and {target} is on it", placement.server)));
    }
    let template = view::template(snapshot, owner, placement);
    let template = template.ok_or_else(|| Error::conflict(format!("{target} is just being removed")))?;
    if template.containers.len() != 1 {
        let count = template.containers.len();
        return Err(Error::usage(format!("{target} is a pod of {count} containers: an image can be made of a pod of one")));
    }
    let name = if placement.slot == 0 { owner.to_string() } else { format!("{owner}/{}", placement.slot) };
    Ok(Subject { name, server: placement.server.clone(), id: placement.id, template: Arc::clone(template) })
}

/// Has its server make an image of it. The record has no name yet.
pub async fn commit(control: &Control, subject: &Subject, order: &CommitOrder, progress: &Progress) -> Result<ImageRecord> {
    let snapshot = control.world.now().snapshot;
    let agent = proxy::agent(control, &snapshot, &subject.server)?;
    let path = format!("{}/{}/commit", path::INSTANCES, subject.id);
    let headers = [("content-type", "application/json".to_owned())];
    let lines = agent.lines(Method::POST, &path, Some(crate::tokens::encode(order)?), &headers).await;
    let mut lines = lines.map_err(|error| explain(&subject.server, error))?;
    while let Some(line) = lines.next().await {
        match line.map_err(|error| explain(&subject.server, error))? {
            ImageProgress::Done { image } => return Ok(*image),
            ImageProgress::Failed { error } => return Err(error),
            // Somebody who reads too slowly misses some, never the end.
            line => drop(progress.try_send(line)),
        }
    }
    Err(Error::new(Kind::Unreachable, format!("server {} went away while {} was read", subject.server, subject.name)))
}

/// What is asked of the server: an image that says what it was made of, and which snapshot it is.
pub fn order(subject: &Subject, snapshot: Option<&str>, pause: bool) -> CommitOrder {
    let mut labels = [(COMMIT_LABEL.to_owned(), subject.name.clone())].into_iter().collect::<std::collections::BTreeMap<_, _>>();
    labels.extend(snapshot.map(|name| (SNAPSHOT_LABEL.to_owned(), name.to_owned())));
    let line = HistoryLine { created_by: "roost commit".to_owned(), ..HistoryLine::default() };
    CommitOrder { container: None, pause, change: ConfigChange { execution: None, labels, history: vec![line] } }
}

/// What an image made for a clone or a job is called: the same files, the same name.
pub fn name_of(subject: &str, digest: &str) -> String {
    let hex: String = digest.trim_start_matches("sha256:").chars().take(DIGITS).collect();
    format!("{COMMITS}{}:{hex}", subject.replace('/', "-"))
}

/// What a snapshot's image is called.
pub fn snapshot_name(container: &Name, snapshot: &str) -> String {
    format!("{SNAPSHOTS}{container}:{snapshot}")
}

/// Makes an image of a container under a name of ours.
pub async fn take(control: &Control, subject: &Subject, pause: bool, progress: &Progress) -> Result<ImageRecord> {
    let record = commit(control, subject, &order(subject, None, pause), progress).await?;
    Ok(ImageRecord { name: name_of(&subject.name, &record.digest), ..record })
}

/// The template with another image.
pub fn with_image(template: &PodTemplate, image: &ImageRecord) -> Arc<PodTemplate> {
    let mut fresh = template.clone();
    if let Some(first) = fresh.containers.first_mut() {
        first.image = ImageRef { name: image.name.clone(), digest: Some(image.digest.clone()) };
    }
    Arc::new(fresh)
}

/// The container a template was made of by a commit of ours.
pub fn base_of(snapshot: &Snapshot, template: &PodTemplate) -> Option<Target> {
    let image = &template.containers.first()?.image;
    let record = snapshot.images.get(&image.name).filter(|record| record.name.starts_with(COMMITS))?;
    record.made_of()?.parse().ok()
}
