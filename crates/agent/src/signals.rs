//! Which signal asks a container to stop. Pure.

use api::spec::ContainerKind;
use base::signals::{SIGRTMIN, number};
use nix::sys::signal::Signal;

/// The signal that asks a container to stop: the image's; else `SIGTERM` for a program, and `SIGRTMIN+3` for a system,
/// which systemd(1) takes as "halt".
pub fn stop_signal(text: &str, kind: ContainerKind) -> Result<i32, String> {
    match (text.trim(), kind) {
        ("", ContainerKind::App) => Ok(Signal::SIGTERM as i32),
        ("", ContainerKind::System) => Ok(SIGRTMIN + 3),
        (name, _) => {
            number(name).ok_or_else(|| format!("stop signal {name:?} of the image is not a signal: as in SIGTERM or 15"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_image_does_not_say_depends_on_its_kind() {
        assert_eq!(stop_signal("", ContainerKind::App), Ok(15));
        assert_eq!(stop_signal("", ContainerKind::System), Ok(37));
        assert_eq!(stop_signal("SIGQUIT", ContainerKind::System), Ok(3));
        assert!(stop_signal("SIGNO", ContainerKind::App).unwrap_err().contains("SIGNO"));
    }
}
