//! A container run in the foreground: its program joined with this terminal, or with these pipes.

use crate::{
    conversation::{self, Conversation, Manner, Outcome},
    progress::{self, Standing},
    say, terminal,
};
use api::{
    Name, Result, path,
    report::Phase,
    spec::{Foreground, PodTemplate},
    stream::AttachRequest,
    view::{Changed, ContainerView},
};
use clap::Args;
use http::Method;
use std::time::Duration;
use wire::client::Client;

/// Longest run in the foreground whose output is not seen any more: a week, after which only the watching ends.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// The way to a container's program.
#[derive(Args, Clone, Copy, Default)]
pub struct ConsoleArgs {
    /// Keep its standard input open: in the foreground it is this command's
    #[arg(short, long)]
    pub interactive: bool,
    /// Give it a terminal: in the foreground it is this one
    #[arg(short, long)]
    pub tty: bool,
}

impl ConsoleArgs {
    /// In the foreground a terminal can only be given where there is one.
    pub fn check(self) -> Result<()> {
        if self.tty { terminal::required() } else { Ok(()) }
    }

    /// Gives the template's program what is asked for. `attended`: in the foreground.
    pub fn open(self, template: &mut PodTemplate, attended: bool) {
        let foreground = attended.then(|| Foreground { size: self.tty.then(terminal::size) });
        if let Some(main) = template.containers.first_mut() {
            (main.terminal, main.stdin, main.foreground) = (self.tty, self.interactive, foreground);
        }
    }
}

/// What a run in the foreground came to.
pub struct Came {
    /// Exit code of this command.
    pub code: u8,
    /// Its program has ended; else only the watching has.
    pub ended: bool,
}

/// Joins its program with this terminal or these pipes until it ends, and gives its exit code.
pub async fn join(client: &Client, name: &Name, console: ConsoleArgs) -> Result<Came> {
    match converse(client, name, console).await {
        Ok(outcome) => {
            Ok(Came { ended: matches!(outcome, Outcome::Ended(..)), code: conversation::code(&outcome, name.as_str()) })
        }
        Err(error) if console.interactive || console.tty => {
            Err(error.hint(format!("if {name} still runs, back to it: roost attach {name}")))
        }
        // The way to its output broke off; how it ends is known all the same, unless it is removed with it.
        Err(error) => {
            say::note(&format!("the output of {name} is not shown any more: {error}"));
            let view = ended(client, &format!("{}/{name}", path::CONTAINERS), (name, LONGEST)).await?;
            let code = view.and_then(|view| view.exit_code).ok_or(error)?;
            Ok(Came { code: u8::try_from(code & 0xff).unwrap_or(1), ended: true })
        }
    }
}

async fn converse(client: &Client, name: &Name, console: ConsoleArgs) -> Result<Outcome> {
    let request = AttachRequest { whole: true, container: None };
    let stream = client.upgrade(&format!("{}/{name}/attach", path::CONTAINERS), &request).await?;
    let (conversation, opened) = Conversation::opened(stream).await?;
    if console.tty && !opened.terminal {
        say::note(&format!("{name} is a system container, which has no terminal of its own: roost exec -it {name} -- /bin/sh"));
    }
    let manner = Manner {
        input: console.interactive && opened.input,
        closes: true,
        terminal: console.tty && opened.terminal,
        redraw: false,
        leaves: true,
    };
    conversation.run(manner).await
}

/// Waits for its end without its output.
async fn ended(client: &Client, one: &str, (name, patience): (&Name, Duration)) -> Result<Option<ContainerView>> {
    let judge = |view: &ContainerView| match (view.phase, view.exit_code) {
        (Some(Phase::Exited | Phase::BackOff), Some(_)) => Standing::True,
        (Some(Phase::Failed), _) => progress::running(view),
        _ => Standing::Under { done: 0, of: 1, word: String::new() },
    };
    progress::follow(client, &format!("{one}?watch=true"), (name.as_str(), patience), judge).await.map(|(view, _)| view)
}

/// What could never be started is removed as if it had ended; why it could not be is said already.
pub async fn give_up(client: &Client, name: &Name) {
    let one = format!("{}/{name}", path::CONTAINERS);
    let view = client.get::<ContainerView>(&one).await;
    if view.is_ok_and(|view| view.phase == Some(Phase::Failed)) {
        let _ = client.send::<(), Changed>(Method::DELETE, &format!("{one}?force=true"), &()).await;
    }
}
