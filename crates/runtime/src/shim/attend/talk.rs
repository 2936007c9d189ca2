//! What clients say: requests to actions, consoles to the programs they lead to, and the farewell.

use super::{Attending, Output};
use crate::shim::{
    client::{Client, Nonsense, Said},
    control::{Answer, Opened, Request},
    start::Container,
};
use api::{Name, stream::FrameKind};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{os::fd::AsFd as _, time::Duration};

/// Connections at once: agents that come and go, and consoles.
const CLIENTS_MAX: usize = 32;
/// Consoles among them: agents must always get through.
const CONSOLES_MAX: usize = 16;
/// When all has ended and is written down, consoles that are slow have so long to take the rest.
const FAREWELL: Duration = Duration::from_secs(5);

impl Attending<'_> {
    pub(super) fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            if self.clients.len() < CLIENTS_MAX {
                self.clients.extend(Client::new(stream));
            }
        }
    }

    /// Whether a client is listened to: a console is not while its program does not take what came before.
    pub(super) fn hears(&self, client: &Client) -> bool {
        let full = |container: &usize| self.pod.containers[*container].input.wants_room().is_some();
        client.console.as_ref().map(|console| console.container).as_ref().is_none_or(|container| !full(container))
    }

    /// Sends a client what waits for it, hears it, and does what it asks. False: let it go.
    pub(super) fn serve(&mut self, index: usize) -> bool {
        if !self.clients[index].flush(base::env::instant()) {
            return false;
        }
        if !self.hears(&self.clients[index]) {
            return true;
        }
        if !self.clients[index].hear() {
            return false;
        }
        loop {
            match self.clients[index].said() {
                Ok(Some(said)) => {
                    if !self.obey(index, said) {
                        return false;
                    }
                }
                Ok(None) => return true,
                Err(Nonsense) => return false,
            }
        }
    }

    fn obey(&mut self, index: usize, said: Said) -> bool {
        let container = self.clients[index].console.as_ref().map(|console| console.container);
        let container = container.map(|container| &mut self.pod.containers[container]);
        match (said, container) {
            (Said::Request(request), _) => return self.answer(index, &request),
            (Said::Input(bytes), Some(container)) => container.input.give(&bytes),
            (Said::End, Some(container)) => container.input.end(),
            (Said::Resize(columns, rows), Some(container)) => container.input.resize(columns, rows),
            (Said::Signal(signal), Some(container)) if container.exit_code.is_none() => {
                // SAFETY: plain numbers; the process is our child, or watched by it, so the number is still its own.
                unsafe { libc::kill(container.main, signal) };
            }
            _ => {}
        }
        true
    }

    fn answer(&mut self, index: usize, request: &Request) -> bool {
        let answer = self.act(index, request).unwrap_or_else(Answer::Refused);
        self.clients[index].answer(&answer) && (!matches!(answer, Answer::Opened(_)) || self.show_unfinished(index))
    }

    fn act(&mut self, client: usize, request: &Request) -> Result<Answer, String> {
        match request {
            Request::Status => return Ok(Answer::Running(self.pod.running())),
            Request::Signal(signal) => self.signal(Some(*signal)),
            Request::Stop(millis) => self.stop(Duration::from_millis(*millis)),
            Request::Console { container, whole } => {
                let container = self.find(container.as_ref())?;
                return self.open(client, container, *whole).map(Answer::Opened);
            }
        }
        Ok(Answer::Done)
    }

    fn find(&self, name: Option<&Name>) -> Result<usize, String> {
        let wanted = |c: &Container| name.is_none_or(|name| c.name == *name);
        self.pod.containers.iter().position(wanted).ok_or_else(|| "the pod has no container of that name".to_owned())
    }

    fn open(&mut self, client: usize, container: usize, whole: bool) -> Result<Opened, String> {
        if self.clients.iter().filter(|client| client.console.is_some()).count() >= CONSOLES_MAX {
            return Err(format!("{CONSOLES_MAX} are attached to it already: end one of them first"));
        }
        let told = &mut self.pod.containers[container];
        if whole {
            told.awaited = None;
        }
        let opened = Opened { terminal: told.terminal, input: told.input.is_open(), logged: told.log.position() };
        self.clients[client].open(container, whole, base::env::instant());
        Ok(opened)
    }

    /// A console begins with the line its program is at, which is in no log yet: a prompt, as a rule.
    fn show_unfinished(&mut self, index: usize) -> bool {
        let (outputs, client) = (&self.outputs, &mut self.clients[index]);
        let begun = |output: &&Output| client.watches(output.container) && !output.lines.unfinished().is_empty();
        let begun: Vec<&Output> = outputs.iter().filter(begun).collect();
        begun.into_iter().all(|output| client.tell(output.kind, output.lines.unfinished(), base::env::instant()))
    }

    /// Tells consoles how their programs ended. All others are let go first: nobody's news waits for a slow console.
    pub(super) fn dismiss(&mut self, message: Option<&str>) {
        self.clients.retain(|client| client.console.is_some());
        let codes: Vec<i32> = (0..self.pod.containers.len()).map(|index| self.code_of(index)).collect();
        let began = base::env::instant();
        self.clients.retain_mut(|client| {
            let code = client.console.as_ref().and_then(|console| codes.get(console.container)).copied().unwrap_or_default();
            let bytes = [&code.to_be_bytes(), message.unwrap_or_default().as_bytes()].concat();
            client.conclude(FrameKind::Exit, &bytes, began) && client.has_unsent()
        });
        while !self.clients.is_empty() {
            let left = FAREWELL.saturating_sub(began.elapsed());
            let mut all: Vec<PollFd<'_>> = self.clients.iter().map(|c| PollFd::new(c.as_fd(), PollFlags::POLLOUT)).collect();
            match poll(&mut all, PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO)) {
                Ok(1..) | Err(nix::Error::EINTR) if !left.is_zero() => {}
                _ => return,
            }
            self.clients.retain_mut(|client| client.flush(base::env::instant()) && client.has_unsent());
        }
    }

    /// How one container ended.
    fn code_of(&self, index: usize) -> i32 {
        let own = self.pod.containers.get(index).filter(|_| index > 0).and_then(|container| container.exit_code);
        own.unwrap_or_else(|| self.exit_code())
    }
}
