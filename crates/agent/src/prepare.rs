//! Files of a container that was made and never started, so that `cp` reads and changes them as those of one that was stopped.

use crate::{engine::Inner, exec, hold::Hold, resolve, worker};
use api::{
    error::{Error, Result},
    name::InstanceId,
    plan::Wanted,
    spec::Power,
};
use driver::DriverError;
use std::{path::PathBuf, sync::Arc};

/// Gives the pod its files, its images first. One that has files is left alone. On a thread that may block.
pub fn files(inner: &Arc<Inner>, id: InstanceId) -> Result<()> {
    if inner.runtime_of(id).is_some() {
        return Ok(());
    }
    let _hold = Hold::take(inner, id)?;
    if inner.runtime_of(id).is_some() {
        return Ok(());
    }
    images(inner, id)?;
    // Its namespace is made when it is started.
    let (run, runtime) = worker::pod_run((inner, &inner.lock()), id, PathBuf::new()).map_err(failed)?;
    let status = runtime.prepare(&run).map_err(failed)?;
    if let Some(pod) = inner.lock().pods.get_mut(&id) {
        pod.saw(Some(status), base::env::timer());
        pod.epoch = pod.epoch.wrapping_add(1);
    }
    Ok(())
}

fn failed(error: DriverError) -> Error {
    Error::failed(error.message)
}

fn images(inner: &Inner, id: InstanceId) -> Result<()> {
    let (digests, source) = {
        let state = inner.lock();
        let (told, assignment) = state.told(id).zip(state.told.as_ref()).ok_or_else(|| exec::absent(id))?;
        if told.pod.wanted != Wanted::Run || told.pod.power != Power::Off {
            let display = &told.pod.display;
            return Err(Error::conflict(format!("{display} has no files at this moment, for it is just starting or leaving")));
        }
        (resolve::digests(told.template), (inner.sources)(assignment))
    };
    let _content = inner.content.blocking_read();
    let images = worker::pull(inner, &digests, source.as_ref()).map_err(failed)?;
    inner.lock().images.extend(images.into_iter().map(|image| (image.digest.clone(), Arc::new(image))));
    Ok(())
}
