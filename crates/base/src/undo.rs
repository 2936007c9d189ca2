//! The undo stack: each effect pushes its undo; unless the whole succeeds, they run in reverse order.

/// Undo steps of effects made so far. Runs them, newest first, when dropped without [`Undo::keep`].
#[derive(Default)]
pub struct Undo<'a> {
    steps: Vec<(String, Box<dyn FnOnce() + Send + 'a>)>,
}

impl<'a> Undo<'a> {
    /// Nothing to undo yet.
    pub const fn new() -> Self {
        Self { steps: Vec::new() }
    }

    /// `what` has been done; `step` takes it back.
    pub fn push(&mut self, what: impl Into<String>, step: impl FnOnce() + Send + 'a) {
        self.steps.push((what.into(), Box::new(step)));
    }

    /// It all worked: nothing is taken back.
    pub fn keep(mut self) {
        self.steps.clear();
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        while let Some((what, step)) = self.steps.pop() {
            tracing::debug!(what, "undo");
            step();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn runs_in_reverse_unless_kept() {
        let seen = Mutex::new(Vec::new());
        {
            let mut undo = Undo::new();
            undo.push("a", || seen.lock().unwrap().push(1));
            undo.push("b", || seen.lock().unwrap().push(2));
        }
        assert_eq!(*seen.lock().unwrap(), [2, 1]);
        let mut undo = Undo::new();
        undo.push("c", || seen.lock().unwrap().push(3));
        undo.keep();
        assert_eq!(seen.lock().unwrap().len(), 2);
    }
}
