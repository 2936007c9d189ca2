//! The binary: nothing but `main`.

use cli::{HostCommand, Invocation, SandboxVerb};
use daemon::{Join, Request, SandboxRequest, Up};
use std::{ffi::OsString, process::ExitCode};

mod paper;

fn main() -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().collect();
    if let Some(ended) = daemon::internal(&args) {
        return ended;
    }
    match cli::parse(args) {
        Err(said) => said,
        Ok(Invocation::Client(command)) => client(command),
        Ok(Invocation::Host(HostCommand::Completion { shell })) => paper::completion(&shell),
        Ok(Invocation::Host(HostCommand::Man { folder })) => paper::man(&folder),
        Ok(Invocation::Host(command)) => match daemon::run(request(command)) {
            Ok(code) => ExitCode::from(code),
            Err(error) => cli::fail(&error),
        },
    }
}

fn client(command: cli::ClientCommand) -> ExitCode {
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => {
            let code = runtime.block_on(cli::run(command));
            // A read of standard input may still hang in a thread; nobody waits for it.
            runtime.shutdown_background();
            code
        }
        Err(error) => cli::fail(&api::Error::failed(format!("no runtime: {error}"))),
    }
}

/// The command line's words in the daemon's.
fn request(command: HostCommand) -> Request {
    match command {
        HostCommand::Up(up) => Request::Up(Up {
            detach: up.detach,
            advertise: up.advertise,
            name: up.name,
            cluster: up.cluster,
            range: up.range,
            prefix: up.prefix,
            domain: up.domain,
        }),
        HostCommand::Join(join) => Request::Join(Join {
            token: join.token,
            name: join.name,
            advertise: join.advertise,
            subnet: join.subnet,
            labels: join.label,
        }),
        HostCommand::Down { .. } => Request::Down,
        HostCommand::Leave { .. } => Request::Leave,
        HostCommand::Doctor | HostCommand::Completion { .. } | HostCommand::Man { .. } => Request::Doctor,
        HostCommand::Sandbox(verb) => Request::Sandbox(sandbox(verb)),
    }
}

fn sandbox(verb: SandboxVerb) -> SandboxRequest {
    match verb {
        SandboxVerb::Up { servers, which } => SandboxRequest::Up { sandbox: which.sandbox, servers },
        SandboxVerb::Down(which) => SandboxRequest::Down { sandbox: which.sandbox },
        SandboxVerb::List { output } => SandboxRequest::List { json: output == "json" },
        SandboxVerb::Enter { which, server, command } => SandboxRequest::Enter { sandbox: which.sandbox, server, command },
        SandboxVerb::Cut(one) => SandboxRequest::Cut { sandbox: one.which.sandbox, server: one.server },
        SandboxVerb::Heal(one) => SandboxRequest::Heal { sandbox: one.which.sandbox, server: one.server },
        SandboxVerb::Kill(one) => SandboxRequest::Kill { sandbox: one.which.sandbox, server: one.server },
        SandboxVerb::Start(one) => SandboxRequest::Start { sandbox: one.which.sandbox, server: one.server },
        SandboxVerb::Slow { one, delay, loss } => {
            SandboxRequest::Slow { sandbox: one.which.sandbox, server: one.server, delay, loss }
        }
    }
}
