//! A case, built by both and compared.

use crate::{
    case::{Case, Refused, Then},
    compare::{Difference, Terms, compare},
    ground::{Ground, Request},
    image::Image,
    make::{self, Made},
    table::matches,
};
use lab::Output;
use std::{path::PathBuf, time::Duration};

/// Folders of the builders' contexts.
const ROOST: &str = "roost";
const BUILDAH: &str = "buildah";
const BOTH: [&str; 2] = [ROOST, BUILDAH];

/// What came of a case.
#[derive(Default)]
pub struct Report {
    /// In what the two differ.
    pub differences: Vec<Difference>,
    /// What is wrong whatever buildah makes of it.
    pub problems: Vec<String>,
    /// How long our second build without a change took.
    pub again: Option<Duration>,
}

/// A case under way.
struct Run<'a> {
    ground: &'a Ground,
    case: &'a Case,
    since: i64,
    folder: PathBuf,
    report: Report,
}

/// The images of both.
struct Pair {
    ours: Image,
    theirs: Image,
}

/// Builds a case with both. `since` is when the first build of all began, in seconds since 1970.
pub fn run(ground: &Ground, case: &Case, since: i64) -> Report {
    let folder = ground.folder(&case.name);
    let mut run = Run { ground, case, since, folder, report: Report::default() };
    run.prepare();
    match &case.refused {
        Some(refused) => run.must_refuse(refused),
        None => run.must_build(),
    }
    run.report
}

impl Run<'_> {
    /// A builder's own context: a bind mount that can be written to reaches into it with buildah.
    fn context(&self, builder: &str) -> PathBuf {
        self.ground.folder(&format!("{}/{builder}", self.case.name))
    }

    /// Makes files in both contexts.
    fn make(&self, files: &[Made]) {
        BOTH.iter().for_each(|builder| make::make(&self.context(builder), files));
    }

    fn prepare(&mut self) {
        BOTH.iter().for_each(|builder| make::lay_out(&self.case.folder, &self.context(builder)));
        self.make(&self.case.make);
        for before in &self.case.before {
            let request = self.request(ROOST, (&before.file, &before.name), &[]);
            let (ours, theirs) = self.both(&request, &self.request(BUILDAH, (&before.file, &before.name), &[]));
            ours.must(0);
            theirs.must(0);
        }
        if let Some(peer) = &self.case.peer {
            self.differ("Dockerfile", &self.case.file, peer);
        }
    }

    fn differ(&mut self, at: &str, roost: &str, buildah: &str) {
        self.report.differences.push(Difference { at: at.to_owned(), roost: roost.to_owned(), buildah: buildah.to_owned() });
    }

    fn request<'b>(&'b self, builder: &str, (file, name): (&'b str, &'b str), args: &'b [String]) -> Request<'b> {
        Request { case: self.case, context: self.context(builder), file, name, args, no_cache: false }
    }

    /// Both at once: neither sees the other.
    fn both(&self, ours: &Request<'_>, theirs: &Request<'_>) -> (Output, Output) {
        std::thread::scope(|scope| {
            let other = scope.spawn(|| self.ground.build_theirs(theirs));
            let own = self.ground.build_ours(ours);
            (own, other.join().unwrap())
        })
    }

    fn build(&self, args: &[String], no_cache: bool) -> (Output, Output) {
        let (case, name) = (self.case, self.case.name.as_str());
        let ours = Request { no_cache, ..self.request(ROOST, (&case.file, name), args) };
        let file = case.peer.as_deref().unwrap_or(&case.file);
        self.both(&ours, &Request { no_cache, ..self.request(BUILDAH, (file, name), args) })
    }

    fn must_refuse(&mut self, refused: &Refused) {
        let (ours, theirs) = self.build(&self.case.args, false);
        let sentence = format!("error: {}", refused.says);
        if ours.code != refused.code || !ours.stderr.lines().any(|line| matches(&sentence, line)) {
            self.report.problems.push(format!("expected exit code {} and {sentence:?}\n{ours}", refused.code));
        }
        if self.ground.digest(&self.case.name).is_some() {
            self.report.problems.push("an image is left of what was refused".to_owned());
        }
        if theirs.code == 0 {
            self.differ("build", "refused", "built");
        }
    }

    fn must_build(&mut self) {
        let (ours, theirs) = self.build(&self.case.args, false);
        if ours.code != 0 {
            self.report.problems.push(format!("{ours}"));
        }
        if theirs.code != 0 {
            println!("{theirs}");
            self.differ("build", if ours.code == 0 { "built" } else { "refused" }, "refused");
        }
        if ours.code != 0 || theirs.code != 0 {
            return;
        }
        let mut images = self.images();
        self.compare(&images);
        self.again();
        let mut args = self.case.args.clone();
        for then in &self.case.then {
            args = then.args.clone().unwrap_or(args);
            self.make(&then.make);
            let (ours, theirs) = self.build(&args, then.no_cache);
            ours.must(0);
            theirs.must(0);
            let newer = self.images();
            self.compare(&newer);
            self.renewed(then, &images, &newer);
            images = newer;
        }
    }

    fn images(&self) -> Pair {
        let name = &self.case.name;
        Pair { ours: self.ground.ours(name, &self.folder), theirs: self.ground.theirs(name, &self.folder) }
    }

    /// What was found in an earlier build of the case already, is said once.
    fn compare(&mut self, images: &Pair) {
        let terms = Terms { since: self.since, random: &self.case.random() };
        let found = compare(&images.ours, &images.theirs, &terms);
        let known = |found: &Difference| self.report.differences.contains(found);
        let new: Vec<Difference> = found.into_iter().filter(|found| !known(found)).collect();
        self.report.differences.extend(new);
    }

    /// The same once more: everything comes from the cache, so that it is the same image to the last bit.
    fn again(&mut self) {
        let name = self.case.name.as_str();
        let before = self.ground.digest(name);
        let out = self.ground.build_ours(&self.request(ROOST, (&self.case.file, name), &self.case.args)).must(0);
        self.report.again = Some(out.took);
        if self.ground.digest(name) != before {
            self.report.problems.push(format!("a second build without a change made another image\n{out}"));
        }
    }

    /// What was made anew after a change, by both.
    fn renewed(&mut self, then: &Then, before: &Pair, after: &Pair) {
        let state = |path: &str, before: &Image, after: &Image| {
            let of = |image: &Image| image.tree.get(path.trim_start_matches('/')).map(|node| node.kind.clone());
            if of(before) == of(after) { "kept" } else { "fresh" }
        };
        let kept = then.kept.iter().map(|path| (path, "kept"));
        for (path, expected) in kept.chain(then.fresh.iter().map(|path| (path, "fresh"))) {
            let (ours, theirs) = (state(path, &before.ours, &after.ours), state(path, &before.theirs, &after.theirs));
            if ours != expected {
                self.report.problems.push(format!("{}: {path} is {ours}, but should be {expected}", then.what));
            }
            if ours != theirs {
                self.differ(&format!("{path} when {}", then.what), ours, theirs);
            }
        }
    }
}
