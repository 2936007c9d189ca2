//! `exec`, `attach`, `logs`.

use crate::output;
use api::{
    Error, Result, Span, Timestamp, path,
    stream::{ExecRequest, FrameKind, LogLine, LogQuery},
};
use clap::Args;
use http::Method;
use nix::sys::termios;
use std::io::{IsTerminal, Write};
use tokio::io::{AsyncReadExt, AsyncWriteExt, WriteHalf, split};
use wire::{
    client::{Client, Upgraded},
    frames,
};

/// Run a command in a container, wherever it is; its exit code is passed through
///
/// Example: roost exec s2:c1 -- hostname
#[derive(Args)]
pub struct ExecArgs {
    /// Keep standard input open
    #[arg(short, long)]
    pub interactive: bool,
    /// With a terminal
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

/// Follow a container's output from now on
///
/// Example: roost attach web/1
#[derive(Args)]
pub struct AttachArgs {
    /// [server:]name, or job/number
    pub target: String,
}

/// Show a container's output
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

/// Bytes read from standard input at a time.
const CHUNK: usize = 16 * 1024;

/// Puts the terminal back as it was.
struct Raw(termios::Termios);

impl Raw {
    fn enter() -> Option<Self> {
        let stdin = std::io::stdin();
        let before = termios::tcgetattr(&stdin).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(&stdin, termios::SetArg::TCSANOW, &raw).ok()?;
        Some(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(std::io::stdin(), termios::SetArg::TCSANOW, &self.0);
    }
}

nix::ioctl_read_bad!(window_size, nix::libc::TIOCGWINSZ, nix::libc::winsize);

/// Columns and rows of the terminal.
fn size() -> (u16, u16) {
    let mut size = nix::libc::winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: TIOCGWINSZ writes one winsize through a pointer that is valid for the call.
    let _ = unsafe { window_size(1, &raw mut size) };
    (size.ws_col, size.ws_row)
}

/// `roost exec`.
pub async fn exec(client: &Client, args: ExecArgs) -> Result<u8> {
    let terminal = args.tty.then(size);
    if args.tty && !std::io::stdin().is_terminal() {
        return Err(Error::usage("-t needs a terminal: leave it out"));
    }
    let stdin = args.interactive || args.tty || !std::io::stdin().is_terminal();
    let request = ExecRequest {
        container: None,
        command: args.command,
        env: args.env.iter().map(|pair| format!("{}={}", pair.0, pair.1)).collect(),
        user: args.user,
        workdir: args.workdir,
        terminal,
        stdin,
    };
    let path = format!("{}/{}/exec", path::CONTAINERS, path::segment(&args.target));
    let stream = client.upgrade(&path, &request).await?;
    let raw = if args.tty { Raw::enter() } else { None };
    let code = converse(stream, stdin, args.tty).await;
    drop(raw);
    let code = code?;
    Ok(u8::try_from(code & 0xff).unwrap_or(1))
}

/// Carries both directions until the command ended; its exit code.
async fn converse(stream: Upgraded, stdin: bool, tty: bool) -> Result<i32> {
    let (mut reader, mut writer) = split(stream);
    let feeding = async {
        if stdin {
            feed(&mut writer, tty).await;
        }
        std::future::pending::<()>().await;
    };
    let reading = async {
        while let Some((kind, bytes)) = frames::read_frame(&mut reader).await? {
            match kind {
                FrameKind::Stdout => put(&mut std::io::stdout(), &bytes)?,
                FrameKind::Stderr => put(&mut std::io::stderr(), &bytes)?,
                FrameKind::Exit => {
                    let code = bytes.as_ref().try_into().map(i32::from_be_bytes).unwrap_or(1);
                    return Ok(code);
                }
                FrameKind::Error => {
                    return Err(serde_json::from_slice(&bytes).unwrap_or_else(|_| Error::failed("the command could not be run")));
                }
                FrameKind::Stdin | FrameKind::Resize | FrameKind::Signal => {}
            }
        }
        Err(Error::unreachable("the connection to the container's server broke off"))
    };
    tokio::select! {
        code = reading => code,
        () = feeding => Err(Error::failed("standard input cannot be read")),
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

/// Standard input to the command until its end; with a terminal also changes of its size, and Ctrl-C as a byte.
async fn feed(writer: &mut WriteHalf<Upgraded>, tty: bool) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; CHUNK];
    let Ok(mut resized) = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::window_change()) else { return };
    loop {
        tokio::select! {
            read = stdin.read(&mut buffer) => {
                let count = read.unwrap_or(0);
                let sent = frames::write_frame(writer, FrameKind::Stdin, buffer.get(..count).unwrap_or_default()).await;
                if count == 0 || sent.is_err() {
                    let _ = writer.flush().await;
                    return;
                }
            }
            _ = resized.recv(), if tty => {
                let (columns, rows) = size();
                let [a, b] = columns.to_be_bytes();
                let [c, d] = rows.to_be_bytes();
                if frames::write_frame(writer, FrameKind::Resize, &[a, b, c, d]).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// `roost attach`.
pub async fn attach(client: &Client, args: AttachArgs) -> Result<()> {
    let path = format!("{}/{}/attach", path::CONTAINERS, path::segment(&args.target));
    let stream = client.upgrade(&path, &()).await?;
    converse(stream, !std::io::stdin().is_terminal(), false).await.map(drop)
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

/// The output of a container in the foreground, from its first line to its end; its exit code.
pub async fn output_to_the_end(client: &Client, name: &str) -> Result<i32> {
    let whole = LogQuery { since: Some(Timestamp(0)), ..LogQuery::default() };
    let stream = client.upgrade(&format!("{}/{}/attach", path::CONTAINERS, path::segment(name)), &whole).await?;
    converse(stream, false, false).await
}
