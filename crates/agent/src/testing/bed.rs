//! A server of fakes for tests, and agents that come and go on it.

use crate::{
    Drivers,
    changes::changed,
    engine::{Engine, Setup},
    testing,
};
use api::{
    assignment::{Assignment, NameTable},
    image::ImageConfig,
    name::InstanceId,
    report::{InstanceReport, Phase},
    spec::ContainerKind,
};
use base::supervise::Scope;
use driver::{
    DriverError, Images,
    fake::{FakeBuilder, FakeImages, FakeInspect, FakeNetwork, FakeRuntime},
    image::BlobSource,
};
use std::{
    io::Read,
    sync::{Arc, Mutex},
    time::Duration,
};

/// The pod most tests are about.
pub const ONE: InstanceId = InstanceId(1);

/// A server: fakes that outlive its agents, and a directory.
pub struct Bed {
    pub runtime: Arc<FakeRuntime>,
    pub network: Arc<FakeNetwork>,
    pub images: Arc<FakeImages>,
    pub builder: Arc<FakeBuilder>,
    pub elsewhere: Arc<FakeImages>,
    pub inspect: Arc<FakeInspect>,
    pub names: Arc<Mutex<Vec<Arc<NameTable>>>>,
    pub directory: tempfile::TempDir,
}

/// Other servers have what the second store has.
struct Elsewhere(Arc<FakeImages>);

impl BlobSource for Elsewhere {
    fn open(&self, digest: &str) -> driver::Result<Box<dyn Read + Send>> {
        let file = self.0.blob(digest).map_err(|error| DriverError::retryable(error.message))?;
        Ok(Box::new(file))
    }
}

/// An agent on it, until dropped.
pub struct Agent {
    pub engine: Engine,
    pub scope: Scope,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.scope.stop();
    }
}

impl Drop for Bed {
    /// An agent that has just been told to end may still be writing something down.
    fn drop(&mut self) {
        let path = self.directory.path();
        for _ in 0..100 {
            std::thread::sleep(Duration::from_millis(5));
            if std::fs::remove_dir_all(path).is_ok() || !path.exists() {
                return;
            }
        }
    }
}

impl Bed {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let bed = Self {
            runtime: Arc::new(FakeRuntime::new(ContainerKind::App)),
            network: Arc::default(),
            images: Arc::default(),
            builder: Arc::default(),
            elsewhere: Arc::default(),
            inspect: Arc::new(FakeInspect::new(&directory.path().join("pods"))),
            names: Arc::default(),
            directory,
        };
        bed.images.add(testing::DIGEST, config());
        bed
    }

    /// What an agent acts with here.
    pub fn drivers(&self) -> Drivers {
        let names = Arc::clone(&self.names);
        Drivers {
            runtimes: vec![self.runtime.clone()],
            inspect: self.inspect.clone(),
            network: self.network.clone(),
            images: self.images.clone(),
            content: self.images.clone(),
            builder: self.builder.clone(),
            names: Arc::new(move |told| names.lock().unwrap().push(Arc::clone(&told.names))),
        }
    }

    /// The next agent.
    pub async fn agent(&self) -> Agent {
        let (callback, changed) = changed();
        self.runtime.set_changed(callback);
        let (drivers, elsewhere, scope) = (self.drivers(), Arc::clone(&self.elsewhere), Scope::new());
        let setup = Setup {
            server: testing::name("s1"),
            state_dir: self.directory.path().to_owned(),
            parallel: 4,
            drivers,
            sources: Arc::new(move |_| Arc::new(Elsewhere(Arc::clone(&elsewhere)))),
            scope: scope.clone(),
        };
        Agent { engine: Engine::start(setup, changed).await.unwrap(), scope }
    }
}

/// Of the image every test uses.
pub fn config() -> ImageConfig {
    ImageConfig { command: vec!["serve".to_owned()], ..ImageConfig::default() }
}

impl Agent {
    /// Waits until the instance's report is as wanted; says what it is instead after a simulated minute.
    pub async fn until(&self, id: InstanceId, what: &str, wanted: impl Fn(&InstanceReport) -> bool) -> InstanceReport {
        let mut wakes = self.engine.reports();
        let search = async {
            loop {
                if let Some(report) = self.instance(id).filter(|report| wanted(report)) {
                    return report;
                }
                wakes.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), search).await;
        found.unwrap_or_else(|_| panic!("{what}: {:#?}", self.engine.report()))
    }

    pub async fn phase(&self, id: InstanceId, phase: Phase) -> InstanceReport {
        self.until(id, &format!("phase {phase:?}"), |report| report.phase == phase).await
    }

    pub async fn gone(&self, id: InstanceId) {
        let mut wakes = self.engine.reports();
        let search = async {
            while self.engine.0.lock().pods.contains_key(&id) {
                wakes.changed().await.unwrap();
            }
        };
        let found = tokio::time::timeout(Duration::from_secs(60), search).await;
        found.unwrap_or_else(|_| panic!("gone: {:#?}", self.engine.report()));
    }

    pub fn instance(&self, id: InstanceId) -> Option<InstanceReport> {
        self.engine.report().instances.remove(&id)
    }

    pub async fn tell(&self, generation: u64, change: impl FnOnce(&mut Assignment)) {
        self.engine.assign(told(generation, change)).await.unwrap();
    }
}

/// An assignment with one container, `c1`, changed.
pub fn told(generation: u64, change: impl FnOnce(&mut Assignment)) -> Assignment {
    let mut told = testing::assignment(generation);
    told.pods.insert(ONE, testing::pod("c1", 5));
    change(&mut told);
    told
}
