//! How long from the request to a running program: `cargo run --release -p runtime --example latency [containers] [directory]`.
//!
//! As root, with busybox-static. Measured until `ensure` returns, which is after the kernel has executed the container's
//! program, so the first instruction is a little earlier.

use api::{
    InstanceId, Name,
    quantity::Span,
    spec::{ContainerKind, Limits},
};
use driver::{
    Runtime as _,
    runtime::{ContainerRun, PodRun},
};
use runtime::{Oci, Options};
use std::{error::Error, path::Path, process::ExitCode};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|first| first == "shim") {
        return ExitCode::from(runtime::shim::code(&args[1..]));
    }
    let number = |n: usize| args.get(n).and_then(|a| a.to_str()?.parse().ok());
    match measure(number(0).unwrap_or(50), &args.get(1).map_or_else(std::env::temp_dir, Into::into)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn measure(count: u64, below: &Path) -> Result<(), Box<dyn Error>> {
    let dir = below.join(format!("roost-latency-{}", std::process::id()));
    let layer = dir.join("layer");
    for directory in ["bin", "proc", "sys", "dev", "etc"] {
        std::fs::create_dir_all(layer.join(directory))?;
    }
    std::fs::copy("/bin/busybox", layer.join("bin/busybox"))?;
    let options = Options {
        run_dir: dir.join("run"),
        state_dir: dir.join("state"),
        log_dir: dir.join("log"),
        cgroup_parent: format!("roost-latency-{}", std::process::id()),
        shim: vec![std::env::current_exe()?.into(), "shim".into()],
    };
    let oci = Oci::new(options.clone(), Box::new(|_| {}))?;
    let mut millis = Vec::new();
    for id in 1..=count {
        let begin = base::env::instant();
        oci.ensure(&pod(InstanceId(id), &layer)?)?;
        millis.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    report("start", millis);
    memory(&options.run_dir);
    let mut millis = Vec::new();
    for id in 1..=count {
        let begin = base::env::instant();
        oci.stop(InstanceId(id), Span(0))?;
        oci.remove(InstanceId(id))?;
        millis.push(begin.elapsed().as_secs_f64() * 1000.0);
    }
    report("stop and remove", millis);
    runtime::remove_cgroup_parent(&options.cgroup_parent)?;
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

fn report(what: &str, mut millis: Vec<f64>) {
    millis.sort_by(f64::total_cmp);
    let at = |part: usize| millis[(millis.len() - 1) * part / 100];
    println!("{what}: min {:.1} median {:.1} p90 {:.1} max {:.1} ms (n={})", at(0), at(50), at(90), at(100), millis.len());
}

/// Private memory of the shims.
fn memory(run_dir: &Path) {
    let ours = run_dir.display().to_string();
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let text = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&text).contains(&ours) {
            let rollup = std::fs::read_to_string(entry.path().join("smaps_rollup")).unwrap_or_default();
            let private = rollup.lines().filter(|l| l.starts_with("Private_"));
            all.push(private.filter_map(|l| l.split_whitespace().nth(1)?.parse::<u64>().ok()).sum::<u64>());
        }
    }
    all.sort_unstable();
    if let Some(middle) = all.get(all.len() / 2) {
        println!("private memory of a shim: median {middle} KiB (n={})", all.len());
    }
}

fn pod(id: InstanceId, layer: &Path) -> Result<PodRun, Box<dyn Error>> {
    Ok(PodRun {
        id,
        hostname: "c".to_owned(),
        netns: "/proc/self/ns/net".into(),
        address: [127, 0, 0, 1].into(),
        resolv_conf: String::new(),
        containers: vec![ContainerRun {
            name: Name::parse("container", "main")?,
            kind: ContainerKind::App,
            layers: vec![layer.to_owned()],
            argv: vec!["/bin/busybox".to_owned(), "sleep".to_owned(), "1000".to_owned()],
            env: Vec::new(),
            user: String::new(),
            workdir: "/".to_owned(),
            mounts: Vec::new(),
            limits: Limits::default(),
            stop_signal: libc::SIGTERM,
            user_namespace: false,
            read_only: false,
            terminal: false,
            size: None,
            stdin: false,
            awaited: false,
            system: api::system::SystemRules::default(),
        }],
    })
}
