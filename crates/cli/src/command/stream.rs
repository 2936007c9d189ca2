//! `exec`, `attach`, `logs`.

use crate::{
    conversation::{self, Conversation, Manner, Outcome},
    output, say, terminal,
};
use api::{
    Error, Result, Span, Timestamp, path,
    stream::{AttachRequest, ExecRequest, LogLine},
};
use clap::Args;
use http::Method;
use std::io::Write;
use wire::client::Client;

/// Run a command in a container, wherever it is; its exit code is passed through
///
/// Example: roost exec s2:c1 -- hostname
///
/// Example: roost exec -it c1 -- /bin/sh
#[derive(Args)]
pub struct ExecArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// With a terminal of its own, which is this one
    #[arg(short, long)]
    pub tty: bool,
    /// Set an environment variable
    #[arg(short, long = "env", value_name = "KEY=VALUE")]
    pub env: Vec<crate::ports::PairArg>,
    /// User to run as
    #[arg(short, long)]
    pub user: Option<String>,
    /// Directory to run in
    #[arg(short, long)]
    pub workdir: Option<String>,
    /// [server:]name, or job/number
    pub target: String,
    /// Program and arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Connect to a container's program: see what it says from now on, and type to it
///
/// With a terminal (run -t), every key goes to the program, Ctrl-C as well; Ctrl-P Ctrl-Q detaches and leaves it running. Without one,
/// Ctrl-C only ends the watching. The program's exit code is passed through.
///
/// Example: roost attach web/1
///
/// Example: roost attach --no-stdin s2:c1
#[derive(Args)]
pub struct AttachArgs {
    /// [server:]name, or job/number
    pub target: String,
    /// Only watch: nothing that is typed goes to the program
    #[arg(long)]
    pub no_stdin: bool,
}

/// Show a container's output
///
/// With -f it goes on with what comes, until the program has ended and nothing starts it again by itself.
///
/// Example: roost logs -f --tail 20 s3:c1
#[derive(Args)]
pub struct LogsArgs {
    /// [server:]name, or job/number
    pub target: String,
    /// Go on with new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Only the last so many
    #[arg(long, value_name = "COUNT")]
    pub tail: Option<usize>,
    /// Only those younger than this
    #[arg(long, value_name = "DURATION")]
    pub since: Option<Span>,
    /// With the time of each line
    #[arg(short, long)]
    pub timestamps: bool,
    /// As JSON, a line each
    #[arg(short, long)]
    pub output: Option<crate::output::Format>,
}

/// `roost exec`.
pub async fn exec(client: &Client, args: ExecArgs) -> Result<u8> {
    if args.tty {
        terminal::required()?;
    }
    let manner = Manner {
        input: args.interactive || args.tty || !terminal::is_there(),
        closes: true,
        terminal: args.tty,
        ..Manner::default()
    };
    let request = ExecRequest {
        container: None,
        command: args.command,
        env: args.env.iter().map(|pair| format!("{}={}", pair.0, pair.1)).collect(),
        user: args.user,
        workdir: args.workdir,
        terminal: args.tty.then(terminal::size),
        stdin: manner.input,
    };
    let stream = client.upgrade(&one(&args.target, "exec"), &request).await?;
    let outcome = Conversation::new(stream).run(manner).await?;
    Ok(match outcome {
        // The command is ended with us.
        Outcome::Left(signal) => u8::try_from(128 + signal).unwrap_or(1),
        other => conversation::code(&other, &args.target),
    })
}

/// `roost attach`.
pub async fn attach(client: &Client, args: AttachArgs) -> Result<u8> {
    let stream = client.upgrade(&one(&args.target, "attach"), &AttachRequest::default()).await?;
    let (conversation, opened) = Conversation::opened(stream).await?;
    let typing = terminal::is_there() && !args.no_stdin;
    if typing && !opened.input {
        say::note(&format!("{} takes no input: its output is shown; a shell in it: roost exec -it {0} -- /bin/sh", args.target));
    }
    let manner = Manner {
        input: opened.input && !args.no_stdin,
        terminal: opened.terminal && typing,
        redraw: true,
        leaves: true,
        closes: false,
    };
    let outcome = conversation.run(manner).await?;
    Ok(conversation::code(&outcome, &args.target))
}

fn one(target: &str, verb: &str) -> String {
    format!("{}/{}/{verb}", path::CONTAINERS, path::segment(target))
}

/// `roost logs`.
pub async fn logs(client: &Client, args: LogsArgs) -> Result<()> {
    let mut query = format!("follow={}", args.follow);
    if let Some(tail) = args.tail {
        query.push_str(&format!("&tail={tail}"));
    }
    if let Some(since) = args.since {
        let at = base::env::now_millis().saturating_sub(since.0);
        query.push_str(&format!("&since={at}"));
    }
    let path = format!("{}/{}/logs?{query}", path::CONTAINERS, path::segment(&args.target));
    let mut lines = client.lines::<LogLine>(Method::GET, &path, None, &[]).await?;
    let json = args.output == Some(crate::output::Format::Json);
    loop {
        let line = tokio::select! {
            line = lines.next() => line,
            _ = tokio::signal::ctrl_c() => return Ok(()),
        };
        match line {
            None => return Ok(()),
            Some(line) => show(&line?, json, args.timestamps)?,
        }
    }
}

fn put(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::failed(format!("cannot write output: {error}")))
        }
        _ => Ok(()),
    }
}

fn show(line: &LogLine, json: bool, timestamps: bool) -> Result<()> {
    if json {
        let text = serde_json::to_string(line).map_err(|error| Error::failed(format!("cannot be written as JSON: {error}")))?;
        return output::print(&(text + "\n"));
    }
    let stamp = if timestamps { format!("{} ", stamp(line.at)) } else { String::new() };
    let text = format!("{stamp}{}\n", line.message);
    if line.stderr { put(&mut std::io::stderr(), text.as_bytes()) } else { output::print(&text) }
}

fn stamp(at: Timestamp) -> String {
    at.to_string()
}
