//! The containers of an app, made one after the other; when one fails, what was made is removed again.

use super::{
    images,
    parts::{Furnished, Part},
};
use crate::{
    command::{container, run, template::TemplateArgs},
    interrupt::Interrupt,
    progress, say,
};
use api::{
    Error, Kind, Name, Result, Span, Timestamp,
    app::AppRecord,
    path,
    spec::{ContainerSpec, HealthCheck, Mount, PodTemplate, Power, PublishedPort, Restart},
    view::{Changed, ContainerRequest, ContainerView},
};
use http::Method;
use std::sync::Arc;
use wire::client::Client;

/// A database makes its tables at its first start, on a slow disk: until this is over a failed check is none.
const FIRST_START: Span = Span::seconds(300);
/// Longest wait for a container to be gone that was made in vain.
const GOING: Span = Span::seconds(60);

/// Where a part goes, and how it is reached from outside.
pub struct Place {
    /// Asked for.
    pub server: Option<Name>,
    /// Containers whose servers are not taken.
    pub avoid: Vec<Name>,
    /// Ports of its server that lead to it.
    pub publish: Vec<PublishedPort>,
    /// Names that lead to its server.
    pub hosts: Vec<String>,
}

/// An app being made.
pub struct Making<'a> {
    client: &'a Client,
    record: AppRecord,
    /// Nothing of it was there before.
    first: bool,
    timeout: Span,
    /// What was made so far.
    made: Vec<Name>,
    /// Whoever asks it to end finds nothing of it afterwards.
    interrupt: Interrupt,
}

impl<'a> Making<'a> {
    /// Remembers the app, passwords included, before anything is made with them. Whoever does that second is refused.
    pub async fn begin(client: &'a Client, record: AppRecord, (first, timeout): (bool, Span)) -> Result<Self> {
        let mut making = Self { client, record, first, timeout, made: Vec::new(), interrupt: Interrupt::listen()? };
        making.remember(true).await?;
        Ok(making)
    }

    /// Writes down what there is; `more` is to come, within the time that one part may take.
    async fn remember(&mut self, more: bool) -> Result<()> {
        let soon = Timestamp(base::env::now_millis()).after(self.timeout).after(GOING);
        self.record.making_until = more.then_some(soon);
        self.record.generation += 1;
        let path = format!("{}/{}", path::APPS, self.record.name);
        self.client.send::<_, Changed>(Method::PUT, &path, &self.record).await.map(drop)
    }

    /// Makes a container and waits until it is healthy.
    pub async fn part(&mut self, one: &Furnished, place: Place) -> Result<()> {
        let interrupted = || Error::failed(format!("getting {} was interrupted", one.part.container));
        if self.interrupt.came().await {
            return Err(interrupted());
        }
        let server = self.server(&one.part, place.server.as_ref())?;
        // Where its data is, it must be.
        let avoid = if server.is_some() { Vec::new() } else { place.avoid };
        let template = template(one, place.publish)?;
        let spec = ContainerSpec {
            name: one.part.container.clone(),
            template: Arc::new(template),
            server,
            address: None,
            avoid,
            hosts: place.hosts,
            power: Power::On,
            restarts: 0,
            remove_on_exit: false,
            created: Timestamp(0),
        };
        self.create(spec).await?;
        let name = one.part.container.clone();
        self.made.push(name.clone());
        let watch = format!("{}/{name}?watch=true", path::CONTAINERS);
        let followed = progress::follow(self.client, &watch, (name.as_str(), self.timeout.duration()), progress::running);
        let (view, _) = tokio::select! {
            // It hears Ctrl-C as well, and would say that the change goes on.
            biased;
            () = self.interrupt.wait() => return Err(interrupted()),
            followed = followed => followed?,
        };
        // The next part, and whoever comes from outside, finds it by its name.
        progress::settled(self.client).await;
        if let Some(view) = view {
            run::announce(self.client, &view).await;
        }
        self.note_servers().await;
        self.remember(true).await
    }

    /// The server that has a part's volumes, else the one asked for.
    fn server(&self, part: &Part, asked: Option<&Name>) -> Result<Option<Name>> {
        let known = self.record.parts.iter().find(|known| known.container == part.container);
        let home = known.filter(|known| !known.volumes.is_empty()).and_then(|known| known.server.clone());
        match (home, asked) {
            (Some(home), Some(asked)) if home != *asked => {
                Err(Error::conflict(format!("the data of {} is on {home}, not on {asked}", part.container))
                    .hint("leave --server out"))
            }
            (home, asked) => Ok(home.or_else(|| asked.cloned())),
        }
    }

    /// Apart from its database if that is possible.
    async fn create(&self, spec: ContainerSpec) -> Result<()> {
        let send = |spec: ContainerSpec| async move {
            let request = ContainerRequest { spec, dry_run: false };
            self.client.send::<_, Changed>(Method::POST, path::CONTAINERS, &request).await
        };
        match send(spec.clone()).await {
            Err(error) if error.kind == Kind::NotPlaced && !spec.avoid.is_empty() => {
                send(ContainerSpec { avoid: Vec::new(), ..spec.clone() }).await?;
                say::note(&format!("no other server takes {}: it shares one with its database", spec.name));
                Ok(())
            }
            other => other.map(drop),
        }
    }

    /// Puts down where the containers are that were made. Those whose place nobody knows have no volumes yet.
    async fn note_servers(&mut self) {
        for part in self.record.parts.iter_mut().filter(|part| self.made.contains(&part.container)) {
            let view = self.client.get::<ContainerView>(&format!("{}/{}", path::CONTAINERS, part.container)).await;
            part.server = view.ok().and_then(|view| view.server).or(part.server.take());
        }
    }

    /// The app as it is remembered, once it is there.
    pub async fn end(mut self) -> Result<AppRecord> {
        self.remember(false).await?;
        Ok(self.record)
    }

    /// Removes what was made, the youngest first; volumes and the memory of it too if nothing was there before. Gives the error back, with
    /// what could not be undone.
    pub async fn undo(mut self, mut error: Error) -> Error {
        self.note_servers().await;
        let mut left = Vec::new();
        while let Some(name) = self.made.pop() {
            if let Err(why) = self.remove(&name).await {
                left.push(format!("container {name} is still there: {why}"));
            }
        }
        match self.forget().await {
            Ok(()) => {}
            Err(why) => left.push(format!("what is remembered of it is still there: {why}; see: roost apps got")),
        }
        if left.is_empty() {
            error.details.push("what had been made of it was removed again".to_owned());
        }
        error.details.extend(left);
        error.hint = None;
        error
    }

    async fn remove(&self, name: &Name) -> Result<()> {
        let one = format!("{}/{name}", path::CONTAINERS);
        let view: ContainerView = self.client.get(&one).await?;
        self.client.send::<(), Changed>(Method::DELETE, &format!("{one}?force=true"), &()).await?;
        container::gone(self.client, &view, GOING.duration()).await
    }

    async fn forget(&mut self) -> Result<()> {
        self.remember(false).await?;
        if !self.first {
            return Ok(());
        }
        let path = format!("{}/{}", path::APPS, self.record.name);
        self.client.send::<(), Changed>(Method::DELETE, &path, &()).await.map(drop)
    }
}

/// What runs in the container of a part.
fn template(one: &Furnished, publish: Vec<PublishedPort>) -> Result<PodTemplate> {
    let instance = &one.instance;
    let image = images::name(&one.part.app, one.part.packages);
    let mut template = TemplateArgs::default().template(&image, instance.command.clone().unwrap_or_default())?;
    template.publish = publish;
    for container in &mut template.containers {
        container.env = instance.env.clone();
        container.restart = Restart::Always;
        container.health =
            instance.check.clone().map(|probe| HealthCheck { start_period: FIRST_START, ..HealthCheck::new(probe) });
        let volumes = one.remembered.volumes.iter();
        container.mounts =
            volumes.map(|(name, path)| Mount { source: name.clone(), target: path.clone(), read_only: false }).collect();
    }
    Ok(template)
}
