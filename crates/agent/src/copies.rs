//! Copies of images that come for safety: they give way to whoever removes content.

use driver::{DriverError, Result, image::BlobSource};
use std::{
    io::{self, Read},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Set when the copies that hold it are to end.
type Flag = Arc<AtomicBool>;

/// Those under way.
#[derive(Default)]
pub struct Copies(Mutex<Flag>);

impl Copies {
    /// A source that fails as soon as copies are to end.
    pub fn source(&self, from: Arc<dyn BlobSource>) -> Yielding {
        Yielding { from, over: Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner)) }
    }

    /// Ends those under way, soon; says whether there are any.
    pub fn end(&self) -> bool {
        let old = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        old.store(true, Ordering::Relaxed);
        Arc::strong_count(&old) > 1
    }
}

/// A source for a copy.
pub struct Yielding {
    from: Arc<dyn BlobSource>,
    over: Flag,
}

impl BlobSource for Yielding {
    fn open(&self, digest: &str) -> Result<Box<dyn Read + Send>> {
        if self.over.load(Ordering::Relaxed) {
            return Err(DriverError::fatal(GIVEN_UP));
        }
        Ok(Box::new(Reader { from: self.from.open(digest)?, over: Arc::clone(&self.over) }))
    }
}

const GIVEN_UP: &str = "the copy was given up, for content is being removed";

struct Reader {
    from: Box<dyn Read + Send>,
    over: Flag,
}

impl Read for Reader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.over.load(Ordering::Relaxed) { Err(io::Error::other(GIVEN_UP)) } else { self.from.read(into) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Endless;

    impl BlobSource for Endless {
        fn open(&self, _digest: &str) -> Result<Box<dyn Read + Send>> {
            Ok(Box::new(io::repeat(7)))
        }
    }

    #[test]
    fn copies_under_way_end_and_later_ones_do_not() {
        let copies = Copies::default();
        assert!(!copies.end(), "there are none");
        let source = copies.source(Arc::new(Endless));
        let mut reader = source.open("sha256:aa").unwrap();
        let mut bytes = [0; 4];
        reader.read_exact(&mut bytes).unwrap();
        assert!(copies.end());
        assert!(reader.read(&mut bytes).is_err());
        assert!(!source.open("sha256:aa").err().unwrap().retryable, "it is not tried again");
        copies.source(Arc::new(Endless)).open("sha256:aa").unwrap().read_exact(&mut bytes).unwrap();
    }
}
