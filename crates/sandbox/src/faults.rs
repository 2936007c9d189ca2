//! Faults of a server's cable: cut, slow, healed. Each takes the place of the one before.

use crate::{
    RELAY_COMMAND,
    create::{Sandbox, open_log},
    error::{Result, SandboxError},
    network::{self, Network, UPLINK, port},
    offload,
    power::cut_off,
    process::Process,
    relay::{QUEUE_MAX, Settings},
    spawn,
    state::{Link, Server, State},
};
use std::{process::Command, time::Duration};

/// How long a killed relay may take to die.
const DEATH: Duration = Duration::from_secs(5);

impl Sandbox {
    /// Cuts a server's cable.
    pub fn cut(&self, server: &str) -> Result<()> {
        self.change_link(server, |switch, server| {
            switch.ip(&format!("link set {} down", port(server.index)))?;
            Ok(Link::Cut)
        })
    }

    /// Makes a server's cable as good as new.
    pub fn heal(&self, server: &str) -> Result<()> {
        self.change_link(server, |_, _| Ok(Link::Whole))
    }

    /// Slows a server's cable down: `delay` is what a round trip takes longer (half of it is added each way), and each frame
    /// is lost with `loss_percent`, each way, so that a round trip is lost nearly twice as often. The kernel's netem does it
    /// where there is one; otherwise a relay process of our own, with a random generator whose seed is logged.
    pub fn slow(&self, server: &str, delay: Duration, loss_percent: f32) -> Result<()> {
        if !(0.0..=100.0).contains(&loss_percent) {
            return Err(SandboxError::Loss(loss_percent));
        }
        // 0 to 100 percent is 0 to a million per million.
        let loss = (loss_percent * 10_000.0).round() as u32;
        self.change_link(server, |switch, server| {
            let inside = Network::of(server.running()?)?;
            let relay = match netem((switch, &inside), server, delay / 2, loss) {
                Ok(()) => None,
                Err(error) => {
                    tracing::debug!(%error, "no netem: using our own relay");
                    Some(self.insert_relay(switch, &inside, server, Settings::new(delay / 2, loss, base::env::seed()))?)
                }
            };
            Ok(Link::Slow { delay: u64::try_from(delay.as_micros()).unwrap_or(u64::MAX), loss, relay })
        })
    }

    /// Heals the cable, then does something to it.
    fn change_link(&self, server: &str, change: impl FnOnce(&Network, &Server) -> Result<Link>) -> Result<()> {
        let _lock = self.layout.lock()?;
        let mut state = State::load(&self.layout)?;
        let server = state.server(&self.layout, server)?.clone();
        server.running()?;
        let (_, switch) = self.switch(&state)?;
        self.mend(&switch, &server)?;
        state.change(server.index, |server| server.link = Link::Whole);
        state.save(&self.layout)?;
        let changed = change(&switch, &server);
        let link = match changed {
            Ok(link) => link,
            Err(error) => {
                self.mend(&switch, &server)?;
                return Err(error);
            }
        };
        state.change(server.index, |server| server.link = link);
        state.save(&self.layout)
    }

    /// A whole cable again, whatever was done to it.
    fn mend(&self, switch: &Network, server: &Server) -> Result<()> {
        self.remove_relay(switch, server)?;
        let (inside, port) = (Network::of(server.running()?)?, port(server.index));
        // Neither has a queue of ours unless the kernel has netem: then there is none to delete.
        let _ = switch.tc(&format!("qdisc delete dev {port} root"));
        let _ = inside.tc(&format!("qdisc delete dev {UPLINK} root netem"));
        offload::set(&inside, UPLINK, true)?;
        switch.ip(&format!("link set {port} arp on promisc off"))?;
        network::plug(switch, &port)
    }

    /// Puts a relay between the server's port and the switch: port | relay | legs `r` and `q`, a cable of their own | switch.
    fn insert_relay(&self, switch: &Network, inside: &Network, server: &Server, settings: Settings) -> Result<Process> {
        let (port, near, far) = (port(server.index), near_leg(server), far_leg(server));
        switch.ip(&format!("link add {near} type veth peer name {far}"))?;
        // The switch itself must not answer what passes through.
        switch.ip(&format!("link set {port} nomaster arp off promisc on"))?;
        switch.ip(&format!("link set {near} arp off promisc on up"))?;
        offload::set(inside, UPLINK, false)?;
        offload::set(switch, &far, false)?;
        network::plug(switch, &far)?;
        tracing::info!(server = server.name, seed = settings.seed, ?settings, "relay");
        let mut command = Command::new(&self.binary);
        command.arg(RELAY_COMMAND).args([&port, &near]).args(settings.to_args());
        spawn::join(&mut command, &self.switch_groups()?)?;
        switch.enter(&mut command)?;
        let log = open_log(&self.layout.server(&server.name).join("relay.log"))?;
        let ready = spawn::start(&format!("the relay of {}", server.name), command, log)?.ready()?;
        let process = ready.process;
        ready.go().map(|()| process)
    }

    /// Takes the relay out, if there is one; the cable is then in nothing.
    pub(crate) fn remove_relay(&self, switch: &Network, server: &Server) -> Result<()> {
        if let Link::Slow { relay: Some(relay), .. } = server.link {
            relay.kill(DEATH)?;
        }
        cut_off(switch, &near_leg(server))
    }
}

fn near_leg(server: &Server) -> String {
    format!("r{}", server.index)
}

fn far_leg(server: &Server) -> String {
    format!("q{}", server.index)
}

/// Slows both ends of a cable down by half, with the kernel's own means.
fn netem((switch, inside): (&Network, &Network), server: &Server, each_way: Duration, loss: u32) -> Result<()> {
    switch.tc(&netem_words(&port(server.index), each_way, loss))?;
    inside.tc(&netem_words(UPLINK, each_way, loss))
}

fn netem_words(link: &str, each_way: Duration, loss: u32) -> String {
    let percent = f64::from(loss) / 10_000.0;
    format!("qdisc add dev {link} root netem limit {QUEUE_MAX} delay {}us loss {percent}%", each_way.as_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn netem_takes_half_the_delay_at_each_end() {
        let words = netem_words("p1", Duration::from_millis(200) / 2, 55_000);
        assert_eq!(words, "qdisc add dev p1 root netem limit 16384 delay 100000us loss 5.5%");
    }
}
