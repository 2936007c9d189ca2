//! A build from beginning to end: receive, plan, get the bases, build stages side by side, write the image.

use crate::{
    Builder,
    archive::{self, Received},
    bases::{Bases, Getting},
    config,
    error::{Error, Result},
    stage::{Built, Site},
    work::Work,
};
use api::{image::LocalImage, spec::ContainerKind};
use driver::{
    build::GivenUp,
    image::{BlobSource, Progress, Upper},
};
use recipe::{Base, Kind, Options, Place, Plan, Platform, Recipe, StageId};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, atomic::Ordering, mpsc},
};

/// Stages built at the same time.
const SIDE_BY_SIDE: usize = 4;
/// How often a plan is made anew because images turned out to have triggers that need more.
const PLANS_MAX: usize = 8;

/// Builds an image.
pub fn build(
    builder: &Builder,
    archive: &mut (dyn Read + Send),
    source: &dyn BlobSource,
    (progress, given_up): (Progress<'_>, GivenUp<'_>),
) -> Result<LocalImage> {
    let work = builder.area.begin()?;
    let received = archive::receive(archive, builder.tools.layers.as_ref(), &work)?;
    let kind = Kind::of_file(&received.request.file);
    let recipe = recipe::read(kind, &received.request.text)?;
    let getting = Getting { tools: &builder.tools, cache: &builder.cache, request: &received.request, source, progress };
    let (plan, bases) = planned((&recipe, kind), &received, &getting)?;
    let site = Site {
        builder,
        work: &work,
        received: &received,
        kind,
        plan: &plan,
        bases: &bases,
        progress,
        given_up,
        failed: false.into(),
        complete: Mutex::default(),
    };
    stages(&site)?;
    let built = site.complete(plan.target)?;
    let kind = received.request.kind.unwrap_or(recipe.kind);
    finish(builder, &built, (kind, &plan), (progress, &work))
}

/// This machine's platform, as images name it (Go's GOARCH).
fn here() -> Platform {
    Platform::linux(match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    })
}

/// Plans, gets every image the plan needs, and plans again if these say that more is needed.
fn planned((recipe, kind): (&Recipe, Kind), received: &Received, getting: &Getting<'_>) -> Result<(Plan, Bases)> {
    let request = &received.request;
    let mut options = Options { target: request.target.clone(), build_args: request.build_args.clone(), ..Options::new(here()) };
    let mut bases = Bases::default();
    for _ in 0..PLANS_MAX {
        let plan = Plan::of(&recipe.build, &options)?;
        for stage in &plan.stages {
            let place = Place::Line(kind, stage.line).to_string();
            if let Base::Image(name) = &stage.base {
                bases.obtain(name, (&place, &stage.platform.architecture), getting)?;
            }
            for name in &stage.images {
                bases.obtain(name, (&place, &here().architecture), getting)?;
            }
        }
        let triggers = bases.triggers();
        if triggers == options.triggers {
            return Ok((plan, bases));
        }
        options.triggers = triggers;
    }
    Err(Error::Wrong("the triggers of its base images need ever more images".to_owned()))
}

/// Number of each stage's first step, and how many there are.
fn numbers(site: &Site<'_>) -> (BTreeMap<StageId, u32>, u32) {
    let (mut first, mut next) = (BTreeMap::new(), 1);
    for stage in &site.plan.stages {
        first.insert(stage.id, next);
        let triggers = match &stage.base {
            Base::Image(name) => site.bases.get(name).map_or(0, |base| base.known.config.on_build.len()),
            Base::Scratch | Base::Stage(_) => 0,
        };
        next += u32::try_from(1 + triggers + stage.instructions.len()).unwrap_or(u32::MAX);
    }
    (first, next - 1)
}

/// Builds all stages, each as soon as what it needs is there. The first failure is told; the others stop.
fn stages(site: &Site<'_>) -> Result<()> {
    let (first, of) = numbers(site);
    let (sender, done) = mpsc::channel::<(StageId, Result<Built>)>();
    let (mut complete, mut begun) = (BTreeSet::new(), BTreeSet::new());
    let mut failure = None;
    std::thread::scope(|scope| {
        loop {
            let ready = site.plan.ready(&complete).into_iter().filter(|id| !begun.contains(id)).collect::<Vec<_>>();
            let room = SIDE_BY_SIDE.saturating_sub(begun.len() - complete.len());
            for id in ready.into_iter().take(if failure.is_none() { room } else { 0 }) {
                let Some(stage) = site.plan.stage(id) else { continue };
                begun.insert(id);
                let (sender, first) = (sender.clone(), first.get(&id).copied().unwrap_or(1));
                let build = move || {
                    let built = catch_unwind(AssertUnwindSafe(|| site.build(stage, (first, of))));
                    let crashed = |_| Err(Error::io("build a stage")(io::Error::other("its thread panicked")));
                    // Nobody listens once the first failure is told.
                    let _ = sender.send((id, built.unwrap_or_else(crashed)));
                };
                if let Err(error) = std::thread::Builder::new().name("stage".to_owned()).spawn_scoped(scope, build) {
                    complete.insert(id);
                    failure.get_or_insert(Error::io("start a thread")(error));
                }
            }
            if begun.len() == complete.len() {
                return;
            }
            // Each stage that has begun sends once.
            let Ok((id, built)) = done.recv() else { return };
            complete.insert(id);
            match built {
                Ok(built) => {
                    site.complete.lock().unwrap_or_else(PoisonError::into_inner).insert(id, Arc::new(built));
                }
                Err(error) => {
                    site.failed.store(true, Ordering::Relaxed);
                    failure.get_or_insert(error);
                }
            }
        }
    });
    failure.map_or(Ok(()), Err)
}

/// Writes the configuration on top of the target's layers.
fn finish(
    builder: &Builder,
    built: &Built,
    (kind, plan): (ContainerKind, &Plan),
    (progress, work): (Progress<'_>, &Work),
) -> Result<LocalImage> {
    let tools = &builder.tools;
    let mut history = built.chain.history.clone();
    let image = match &built.chain.image {
        Some(image) => image.clone(),
        None => {
            // An image has a layer, be it empty.
            history.push(config::line("an empty layer, since no step made one", built.chain.made, false));
            tools.layers.stack(None, &Upper { path: work.directory()?, ids: None }, progress)?
        }
    };
    let architecture = plan.stage(plan.target).map_or_else(|| here().architecture, |stage| stage.platform.architecture.clone());
    let finished =
        config::Finished { state: &built.state, history, created: built.chain.created(), kind, architecture: &architecture };
    let configuration = config::finished(tools.images.as_ref(), &image, finished)?;
    Ok(tools.layers.configure(&image.digest, &configuration, progress)?)
}
