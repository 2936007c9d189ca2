//! Flags of system containers, and `set`: limits changed while they hold.

use crate::{
    args::ChangeArgs,
    ports::PairArg,
    progress::{self, Standing},
};
use api::{
    Bytes, Cpu, Error, Result, Span, path,
    report::Phase,
    system::SystemRules,
    view::{Changed, ContainerView, LimitName, LimitsRequest},
};
use clap::Args;
use http::Method;
use std::str::FromStr;
use wire::client::Client;

/// Flags that only concern system containers.
#[derive(Args, Clone, Default)]
pub struct SystemArgs {
    /// System container: root inside is root outside
    #[arg(long)]
    pub privileged: bool,
    /// System container: containers may be run inside
    #[arg(long)]
    pub nesting: bool,
    /// System container: a raw key of LXC's configuration, as lxc.prlimit.nofile=1024
    #[arg(long, value_name = "KEY=VALUE")]
    pub lxc: Vec<PairArg>,
    /// System container: when its server starts, lower ones come up first, one after the other
    #[arg(long, value_name = "NUMBER")]
    pub autostart_order: Option<u32>,
    /// System container: when its server starts, pause after this one before the next in order
    #[arg(long, value_name = "DURATION", requires = "autostart_order")]
    pub autostart_delay: Option<Span>,
}

impl SystemArgs {
    /// As the API wants them.
    pub fn rules(&self) -> SystemRules {
        SystemRules {
            privileged: self.privileged,
            nesting: self.nesting,
            lxc: self.lxc.iter().map(|PairArg(key, value)| (key.clone(), value.clone())).collect(),
            autostart_order: self.autostart_order,
            autostart_delay: self.autostart_delay.unwrap_or_default(),
        }
    }
}

/// A limit, or `none` to take it away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitArg<T> {
    /// This much.
    At(T),
    /// No limit.
    Without,
}

impl<T: FromStr<Err = Error>> FromStr for LimitArg<T> {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if text == "none" { Ok(Self::Without) } else { text.parse().map(Self::At) }
    }
}

/// A number of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountArg(u32);

impl FromStr for CountArg {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let wrong = || Error::usage(format!("{text:?} is not a number of processes: use 1 or more, or none"));
        text.parse().ok().filter(|count| *count > 0).map(Self).ok_or_else(wrong)
    }
}

/// Change what a container may use, at once and without a restart
///
/// Example: roost set c1 --memory 512M --cpu 2
#[derive(Args)]
pub struct SetArgs {
    /// [server:]name
    pub target: String,
    /// Memory it may use, and reserves; or none
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<LimitArg<Bytes>>,
    /// Cores it may use, and reserves; or none
    #[arg(long, value_name = "CORES")]
    pub cpu: Option<LimitArg<Cpu>>,
    /// Processes and threads it may have; none for the default
    #[arg(long, value_name = "COUNT")]
    pub pids: Option<LimitArg<CountArg>>,
    #[command(flatten)]
    pub change: ChangeArgs,
}

impl SetArgs {
    fn request(&self) -> LimitsRequest {
        fn at<T: Copy>(limit: Option<LimitArg<T>>) -> Option<T> {
            match limit {
                Some(LimitArg::At(value)) => Some(value),
                Some(LimitArg::Without) | None => None,
            }
        }
        let without = [
            (LimitName::Memory, matches!(self.memory, Some(LimitArg::Without))),
            (LimitName::Cpu, matches!(self.cpu, Some(LimitArg::Without))),
            (LimitName::Pids, matches!(self.pids, Some(LimitArg::Without))),
        ];
        LimitsRequest {
            memory: at(self.memory),
            cpu: at(self.cpu),
            pids: at(self.pids).map(|CountArg(count)| count),
            without: without.into_iter().filter(|(_, asked)| *asked).map(|(name, _)| name).collect(),
        }
    }
}

/// `roost set`.
pub async fn set(client: &Client, args: SetArgs) -> Result<u8> {
    let one = format!("{}/{}", path::CONTAINERS, path::segment(&args.target));
    let (order, request) = (format!("{one}/limits"), args.request());
    if request == LimitsRequest::default() {
        return Err(Error::usage("nothing to change: give --memory, --cpu or --pids"));
    }
    if args.change.dry_run {
        return super::try_out(client, (Method::POST, &order), &request).await;
    }
    let changed: Changed = client.send(Method::POST, &order, &request).await?;
    if args.change.detach || changed.unchanged {
        return Ok(0);
    }
    let watch = format!("{one}?watch=true");
    progress::follow(client, &watch, (&args.target, args.change.timeout.duration()), in_force).await?;
    Ok(0)
}

/// The limits asked for hold, or nothing runs that they could hold.
fn in_force(view: &ContainerView) -> Standing {
    let runs = matches!(view.phase, Some(Phase::Running | Phase::Frozen));
    if !runs || view.limits_in_force.as_ref() == Some(&view.limits) {
        return Standing::True;
    }
    let word = view.message.clone().unwrap_or_else(|| "changing limits".to_owned());
    Standing::Under { done: 0, of: 1, word }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::spec::Limits;

    #[test]
    fn limits_are_set_taken_away_and_left_alone() {
        let args = SetArgs {
            target: "c1".to_owned(),
            memory: Some("512M".parse().unwrap()),
            cpu: Some("none".parse().unwrap()),
            pids: None,
            change: ChangeArgs { detach: false, timeout: Span(1), dry_run: false },
        };
        let before = Limits { memory: Some(Bytes(1)), cpu: Some(Cpu(500)), pids: Some(7) };
        let after = args.request().applied_to(&before);
        assert_eq!(after, Limits { memory: Some(Bytes(512 << 20)), cpu: None, pids: Some(7) });
        assert!("0".parse::<LimitArg<CountArg>>().is_err() && "much".parse::<LimitArg<Bytes>>().is_err());
    }
}
