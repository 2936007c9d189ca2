//! A switch, some servers and a client, each a thread in a network and mount namespace of its own: when the threads end, which they do
//! with the test however that ends, nothing is left.

use api::{
    InstanceId,
    assignment::Route,
    dataplane::{BRIDGE, Bridge, Dataplane, Overlay, PodLink, Remote, TUNNEL, VXLAN_PORT, tunnel_mac},
    spec::Protocol,
};
use net::{KernelNetwork, Options};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    unistd::gettid,
};
use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(5);

type Work = Box<dyn FnOnce(&mut Place) + Send>;

/// What a host's thread has.
pub struct Place {
    network: Option<KernelNetwork>,
    directory: tempfile::TempDir,
}

/// A thread in namespaces of its own.
pub struct Host {
    work: Option<mpsc::Sender<Work>>,
    handle: Option<thread::JoinHandle<()>>,
    thread: i32,
    number: u16,
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.work.take());
        let _ = self.handle.take().map(thread::JoinHandle::join);
    }
}

impl Host {
    fn new(number: u16) -> Self {
        let (work, jobs) = mpsc::channel::<Work>();
        let (ready, started) = mpsc::channel();
        let handle = thread::spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
            mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
            // Link-local addresses would come and go by themselves while lists are compared.
            std::fs::write("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1").unwrap();
            run(&["ip", "link", "set", "lo", "up"]).unwrap();
            ready.send(gettid().as_raw()).unwrap();
            let mut place = Place { network: None, directory: tempfile::tempdir().unwrap() };
            for job in jobs {
                job(&mut place);
            }
            // The directory can be removed only when nothing is mounted in it.
            if let Some(network) = place.network.take() {
                let _ = driver::Network::clear(&network);
            }
            for held in ["netns", "ways"] {
                let _ = umount2(&place.directory.path().join(held), MntFlags::MNT_DETACH);
            }
        });
        Self { work: Some(work), handle: Some(handle), thread: started.recv().unwrap(), number }
    }

    /// Runs something on the host's thread.
    fn with<T: Send>(&self, work: impl FnOnce(&mut Place) -> T + Send) -> T {
        thread::scope(|_| {
            let (answer, answered) = mpsc::channel();
            let job: Box<dyn FnOnce(&mut Place) + Send + '_> =
                Box::new(move |place| answer.send(catch_unwind(AssertUnwindSafe(|| work(place)))).unwrap());
            // SAFETY: this function does not return before the job has run and been dropped.
            let job: Work = unsafe { std::mem::transmute(job) };
            self.work.as_ref().unwrap().send(job).unwrap();
            answered.recv().unwrap().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// Runs something in the host's namespace.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.with(|_| work())
    }

    /// Runs something with the host's network driver.
    pub fn network<T: Send>(&self, work: impl FnOnce(&KernelNetwork) -> T + Send) -> T {
        self.with(|place| {
            let network = place.network.get_or_insert_with(|| {
                let mut options = Options::new(place.directory.path().join("netns"));
                options.look_again = Duration::ZERO;
                KernelNetwork::new(options).unwrap()
            });
            work(network)
        })
    }

    /// Runs a command in the host's namespace.
    pub fn command(&self, argv: &[&str]) -> Result<String, String> {
        self.inside(|| run(argv))
    }

    /// Runs something in the namespace of the host's pod with this address.
    pub fn pod<T: Send>(&self, host: u16, work: impl FnOnce() -> T + Send) -> T {
        self.with(|place| {
            let path = place.directory.path().join("netns").join(pod(self.number, host).id.to_string());
            in_namespace(&File::open(path).unwrap(), work)
        })
    }

    /// Runs a command there.
    pub fn pod_command(&self, host: u16, argv: &[&str]) -> Result<String, String> {
        self.pod(host, || run(argv))
    }
}

/// Runs something in a namespace.
pub fn in_namespace<T: Send>(namespace: &File, work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let ended = scope.spawn(|| {
            setns(namespace, CloneFlags::CLONE_NEWNET).unwrap();
            work()
        });
        ended.join().unwrap_or_else(|panic| resume_unwind(panic))
    })
}

/// Servers 1, 2, … with addresses 10.200.0.1, … and a client with 10.200.0.100, all on one switch.
pub struct Lab {
    _switch: Host,
    servers: Vec<Host>,
    client: Host,
}

impl Lab {
    pub fn new(servers: u16) -> Self {
        let switch = Host::new(0);
        switch.command(&["ip", "link", "add", "ul0", "type", "bridge"]).unwrap();
        switch.command(&["ip", "link", "set", "ul0", "up"]).unwrap();
        let plug = |host: &Host, number: u16| {
            let (port, thread) = (format!("u{number}"), host.thread.to_string());
            switch.command(&["ip", "link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &thread]).unwrap();
            switch.command(&["ip", "link", "set", &port, "master", "ul0", "up"]).unwrap();
            host.command(&["ip", "address", "add", &format!("10.200.0.{number}/24"), "dev", "eth0"]).unwrap();
            host.command(&["ip", "link", "set", "eth0", "up"]).unwrap();
        };
        let servers: Vec<_> = (1..=servers).map(Host::new).collect();
        for server in &servers {
            plug(server, server.number);
        }
        let client = Host::new(100);
        plug(&client, 100);
        Self { _switch: switch, servers, client }
    }

    pub fn server(&self, number: u16) -> &Host {
        &self.servers[usize::from(number) - 1]
    }

    pub fn client(&self) -> &Host {
        &self.client
    }
}

/// Runs a command in the calling thread's namespaces: what it printed, or its complaint.
pub fn run(argv: &[&str]) -> Result<String, String> {
    let output = Command::new(argv[0]).args(&argv[1..]).output().map_err(|e| e.to_string())?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    if output.status.success() { Ok(text) } else { Err(text + &String::from_utf8_lossy(&output.stderr)) }
}

/// The network of server `number` among `servers`.
pub fn dataplane(number: u16, servers: u16, routes: Vec<Route>) -> Dataplane {
    let subnet = |n: u16| format!("10.88.{n}.0/24").parse().unwrap();
    let remote = |n: u16| Remote {
        number: n,
        underlay: [10, 200, 0, n as u8].into(),
        address: [10, 88, n as u8, 0].into(),
        mac: tunnel_mac(n),
        subnet: subnet(n),
    };
    let overlay = Overlay {
        name: TUNNEL.into(),
        vni: 42,
        port: VXLAN_PORT,
        local: [10, 200, 0, number as u8].into(),
        address: [10, 88, number as u8, 0].into(),
        mac: tunnel_mac(number),
        number,
        remotes: (1..=servers).filter(|n| *n != number).map(remote).collect(),
    };
    Dataplane {
        bridge: Bridge { name: BRIDGE.into(), address: [10, 88, number as u8, 1].into(), subnet: subnet(number) },
        overlay: Some(overlay),
        range: "10.88.0.0/16".parse().unwrap(),
        routes,
    }
}

/// The pod of a server that has this address in its subnet.
pub fn pod(server: u16, host: u16) -> PodLink {
    PodLink {
        id: InstanceId(0xabc_0000_0000 + u64::from(server) * 1000 + u64::from(host)),
        address: [10, 88, server as u8, host as u8].into(),
        prefix: 24,
        gateway: [10, 88, server as u8, 1].into(),
        bridge: BRIDGE.into(),
    }
}

pub fn route(protocol: Protocol, port: u16, targets: &[&str]) -> Route {
    Route { port, protocol, targets: targets.iter().map(|t| t.parse().unwrap()).collect() }
}

/// Serves TCP and UDP in the calling thread's namespace: answers with `name` and the address it sees. Ends with the test.
pub fn reply_with_peer(port: u16, name: u16) {
    let listener = TcpListener::bind(("0.0.0.0", port)).unwrap();
    let socket = UdpSocket::bind(("0.0.0.0", port)).unwrap();
    thread::spawn(move || {
        while let Ok((mut stream, peer)) = listener.accept() {
            let _ = stream.write_all(format!("{name} {}", peer.ip()).as_bytes());
        }
    });
    thread::spawn(move || {
        while let Ok((_, peer)) = socket.recv_from(&mut [0; 64]) {
            let _ = socket.send_to(format!("{name} {}", peer.ip()).as_bytes(), peer);
        }
    });
}

/// Asks such a server.
pub fn say(protocol: Protocol, to: &str) -> String {
    if protocol == Protocol::Tcp {
        let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), PATIENCE).unwrap_or_else(|e| panic!("tcp {to}: {e}"));
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        return answer;
    }
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket.connect(to).unwrap();
    socket.send(b"?").unwrap();
    let mut buffer = [0; 64];
    let length = socket.recv(&mut buffer).unwrap_or_else(|e| panic!("udp {to}: {e}"));
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}

/// Everything in the calling thread's namespaces that the driver could leave.
pub fn everything() -> Vec<String> {
    let lists = [
        "ip -br link",
        "ip -br address",
        "ip route show table all",
        "ip rule",
        "ip neighbour show nud permanent",
        "nft list ruleset",
    ];
    let mut all: Vec<_> = lists.iter().map(|list| run(&list.split(' ').collect::<Vec<_>>()).unwrap()).collect();
    // Other programs on this machine hold their namespaces in /run/netns.
    let ours = |line: &&str| line.contains("nsfs") && !line.contains("/run/netns/");
    all.push(std::fs::read_to_string("/proc/thread-self/mounts").unwrap().lines().filter(ours).collect());
    all
}

/// One object of nft's JSON listing without handles, elements in order.
pub fn canonical(object: &mut serde_json::Value) -> String {
    for kind in ["table", "chain", "rule", "set", "map"] {
        if let Some(inner) = object.get_mut(kind).and_then(|inner| inner.as_object_mut()) {
            inner.remove("handle");
            if let Some(elements) = inner.get_mut("elem").and_then(|elements| elements.as_array_mut()) {
                elements.sort_by_key(ToString::to_string);
            }
        }
    }
    object.to_string()
}
