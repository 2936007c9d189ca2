//! Which template an instance runs: revisions, and the digest that assignments refer to templates by.

use api::{
    plan::{JobPlan, RolloutState},
    spec::{JobSpec, PodTemplate},
};
use sha2::{Digest, Sha256};
use std::sync::Arc;

/// Names a template by its content: SHA-256 of its JSON, in hex.
pub fn template_digest(template: &PodTemplate) -> String {
    // Its maps have text keys, so writing JSON cannot fail; were it to, the error's own text still differs from any JSON.
    let json = serde_json::to_vec(template).unwrap_or_else(|error| error.to_string().into_bytes());
    hex::encode(Sha256::digest(&json))
}

/// The revision that instances should run now: the one asked for, or, once its upgrade failed, the one before.
pub fn effective_revision(spec: &JobSpec, plan: Option<&JobPlan>) -> u32 {
    let failed = plan
        .and_then(|plan| plan.rollout.as_ref())
        .filter(|rollout| rollout.to == spec.revision)
        .filter(|rollout| matches!(rollout.state, RolloutState::RollingBack | RolloutState::RolledBack));
    match failed {
        // A template that has fallen out of the history cannot be brought back.
        Some(rollout) if template_of(spec, rollout.from).is_some() => rollout.from,
        _ => spec.revision,
    }
}

/// The template that a revision of the job had, as long as its history reaches back.
pub fn template_of(spec: &JobSpec, revision: u32) -> Option<&Arc<PodTemplate>> {
    if revision == spec.revision {
        return Some(&spec.template);
    }
    spec.history.iter().rev().find(|past| past.revision == revision).map(|past| &past.template)
}
