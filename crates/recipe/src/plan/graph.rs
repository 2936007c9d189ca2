//! Who needs whom.

use super::{StageId, names::Names};
use crate::{
    dockerfile::Dockerfile,
    effect::Origin,
    error::{Error, Problem},
};
use std::collections::{BTreeMap, BTreeSet, VecDeque, btree_map::Entry};

/// That a stage is made from something, because of a line.
#[derive(Clone, Debug)]
pub struct Edge {
    pub of: StageId,
    pub origin: Origin,
    pub line: u32,
}

/// For each stage those it needs, with the first line that says so.
#[derive(Debug, Default)]
pub struct Graph(BTreeMap<StageId, BTreeMap<StageId, u32>>);

impl Graph {
    pub fn add(&mut self, edges: Vec<Edge>) {
        for edge in edges {
            if let Origin::Stage(to) = edge.origin {
                self.0.entry(edge.of).or_default().entry(to).or_insert(edge.line);
            }
        }
    }

    fn needs(&self, stage: StageId) -> impl Iterator<Item = StageId> {
        self.0.get(&stage).into_iter().flat_map(BTreeMap::keys).copied()
    }

    /// The stage and everything it needs.
    pub fn reachable(&self, from: StageId) -> BTreeSet<StageId> {
        let mut reached = BTreeSet::from([from]);
        let mut next = vec![from];
        while let Some(stage) = next.pop() {
            next.extend(self.needs(stage).filter(|stage| reached.insert(*stage)));
        }
        reached
    }

    /// Refuses stages that need themselves, and stages that need one below.
    pub fn check(&self, file: &Dockerfile) -> Result<(), Error> {
        let names = Names::of(file);
        let mut below = None;
        for (from, needs) in &self.0 {
            // At most one edge of each stage is followed: where one stage needs one below, that is wrong in any case.
            let Some((to, line)) = needs.iter().find(|(to, _)| *to >= from) else { continue };
            if let Some(path) = self.path(*to, *from) {
                let chain: Vec<String> = std::iter::once(*from).chain(path).map(|id| names.shown(id)).collect();
                let problem = Problem::Circle { name: names.shown(*from), chain: chain.join(" needs ") };
                return Err(file.at(*line).problem(problem));
            }
            below.get_or_insert((*to, *line));
        }
        let Some((to, line)) = below else { return Ok(()) };
        let stands = file.sections.get(to.0).map_or(0, |section| section.first);
        Err(file.at(line).problem(Problem::StageBelow { name: names.shown(to), line: stands }))
    }

    /// A shortest way from one stage to another along what they need, both included.
    fn path(&self, from: StageId, to: StageId) -> Option<Vec<StageId>> {
        let mut before: BTreeMap<StageId, StageId> = BTreeMap::from([(from, from)]);
        let mut next = VecDeque::from([from]);
        while let Some(stage) = next.pop_front() {
            if stage == to {
                let mut path = vec![to];
                let mut at = to;
                while let Some(earlier) = before.get(&at).copied().filter(|earlier| *earlier != at) {
                    path.push(earlier);
                    at = earlier;
                }
                path.reverse();
                return Some(path);
            }
            for needed in self.needs(stage) {
                if let Entry::Vacant(vacant) = before.entry(needed) {
                    vacant.insert(stage);
                    next.push_back(needed);
                }
            }
        }
        None
    }
}
