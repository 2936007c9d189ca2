#!/usr/bin/env bash
# Roost beside Docker Swarm, in one run on one machine, in turns: how long 1, 10 and 100 instances of a tiny image take, a rolling
# upgrade of 20, one container to its first instruction, and memory. Prints a table; leaves nothing behind, also when it fails.
#
# Roost runs as a sandbox of one server, so in namespaces of its own; Docker in namespaces of its own as well, with a bridge and no
# way out. Both get the same image and run the same commands. `roost addjob` comes back when all instances run; `docker service
# create` would wait 5 s longer to see whether they stay, so it is told not to wait, and its API is asked every 20 ms.
#
# ROOST=<path> uses that binary (a release build, or the figures mean nothing). ROUNDS, UPGRADES, STARTS: how often each is measured.
# Needs root, the packages of packages.txt and of bench/packages.txt.
set -euo pipefail

ROOST=$(realpath "${ROOST:-$(dirname "$0")/../target/x86_64-unknown-linux-gnu/release/roost}")
ROUNDS=${ROUNDS:-5} UPGRADES=${UPGRADES:-3} STARTS=${STARTS:-20}
SANDBOX=peers$$
NETWORK=peers-docker$$
GROUP=peers-docker$$
export ROOST_SOCKET=/var/lib/roost-sandbox/$SANDBOX/s1/run/roost/api.sock
work=$(mktemp -d /var/tmp/roost-peers.XXXXXX)
export DOCKER_HOST=unix://$work/docker.sock DOCKER_CONFIG=$work/config
docker_init=''
load=''
opt_was_there=$([[ -e /opt/containerd ]] && echo yes || echo no)
netns_was_there=$(mountpoint --quiet /run/netns && echo yes || echo no)
key_was_there=$([[ -e /etc/docker/key.json ]] && echo yes || echo no)

say() { printf '%s\n' "$*" >&2; }
die() {
    say "peers: $*"
    exit 1
}
now() { echo "${EPOCHREALTIME/./}"; } # microseconds
roost() { "$ROOST" "$@"; }

# --- cleaning up -----------------------------------------------------------------------------------------------------------

clean_up() {
    local code=$?
    trap - EXIT
    set +e
    [[ -z $load ]] || kill "$load" 2>/dev/null
    # The first process of Docker's process namespace: the kernel ends the rest with it.
    [[ -z $docker_init ]] || kill -KILL "$docker_init" 2>/dev/null
    wait 2>/dev/null
    roost sandbox down --name "$SANDBOX" >/dev/null 2>&1
    ip netns delete "$NETWORK" 2>/dev/null
    # `ip netns add` mounts this directory on itself.
    [[ $netns_was_there == yes ]] || { umount /run/netns && rmdir /run/netns; } 2>/dev/null
    for _ in {1..50}; do
        find /sys/fs/cgroup -depth -type d -path "*/$GROUP*" -exec rmdir {} + 2>/dev/null
        [[ -n $(find /sys/fs/cgroup -type d -path "*/$GROUP*" -print -quit 2>/dev/null) ]] || break
        sleep 0.1
    done
    [[ $opt_was_there == yes ]] || rm -rf /opt/containerd
    [[ $key_was_there == yes ]] || rm -f /etc/docker/key.json
    rm -rf "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# await <seconds> <what for> <command…>: asks every 20 ms until the command succeeds.
await() {
    local end=$(($(now) + $1 * 1000000)) what=$2
    shift 2
    until "$@"; do
        (($(now) < end)) || die "waited in vain for $what"
        sleep 0.02
    done
}

# --- figures ---------------------------------------------------------------------------------------------------------------

median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
seconds() { awk -v us="$1" 'BEGIN { printf "%.2f", us / 1e6 }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", b / a }'; }

# Proportional memory, in kB, of the processes whose numbers are on standard input.
memory() {
    local pid total=0 kb
    while read -r pid; do
        kb=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null || true)
        total=$((total + ${kb:-0}))
    done
    echo "$total"
}

# Processes of the same process namespace as <pid> whose command line matches <pattern>. Those in containers have their own.
processes() {
    local space dir
    space=$(readlink "/proc/$1/ns/pid")
    for dir in /proc/[0-9]*; do
        [[ $(readlink "$dir/ns/pid" 2>/dev/null || true) == "$space" ]] || continue
        if tr '\0' ' ' <"$dir/cmdline" 2>/dev/null | grep -qE "$2"; then echo "${dir#/proc/}"; fi
    done
}

# --- the image -------------------------------------------------------------------------------------------------------------

# busybox, a page, and a program that writes the time in nanoseconds as its first act.
make_image() {
    local root=$work/root
    mkdir -p "$root"/{bin,etc,tmp,www}
    cp "$(command -v busybox)" "$root/bin/busybox"
    for applet in sh sleep httpd hostname; do ln -s busybox "$root/bin/$applet"; done
    echo 'root:x:0:0:root:/:/bin/sh' >"$root/etc/passwd"
    echo 'hello' >"$root/www/index.html"
    gcc -O2 -static -x c -o "$root/bin/stamp" - <<'C'
#include <stdio.h>
#include <time.h>
#include <unistd.h>
int main(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    printf("%lld%09ld\n", (long long)t.tv_sec, t.tv_nsec);
    fflush(stdout);
    for (;;) pause();
}
C
    tar -C "$root" --owner=0 --group=0 -cf "$work/tiny.tar" .
}

# A server that ends when asked to; as the first process of a container it would not otherwise.
SERVE='trap "exit 0" TERM; httpd -f -p 80 -h /www & wait'

# --- Roost -----------------------------------------------------------------------------------------------------------------

roost_up() {
    roost sandbox up --name "$SANDBOX" --servers 1 2>/dev/null
    roost image import "$work/tiny.tar" --name tiny 2>/dev/null
    roost_init=$(roost sandbox list -o json | jq ".[] | select(.name == \"$SANDBOX\").servers[0].init")
}
roost_api() { curl --silent --unix-socket "$ROOST_SOCKET" "http://roost/v1/$1"; }
roost_runs() { roost_api "jobs/$1" | jq -e "(.running == $2) and (.instances | length == $2)" >/dev/null; }
roost_empty() { roost_api containers | jq -e 'length == 0' >/dev/null; }

roost_place() {
    local began
    began=$(now)
    roost addjob tiny "$1" --name bench --stop-timeout 1s -- sleep 1000000 2>/dev/null
    echo $(($(now) - began))
    roost_runs bench "$1" || die "Roost said that $1 instances run, and they do not"
}
roost_remove() {
    roost deljob bench --detach 2>/dev/null
    await 300 "Roost to remove instances" roost_empty
}

# 100 requests a second from outside, each over a new connection; a line for each.
roost_upgrade() {
    local began
    roost addjob tiny 20 --name bench -p 8080:80 --health-http 80/ -e VERSION=1 -- sh -c "$SERVE" 2>/dev/null
    # The program itself and not the function, which would be a shell of its own that is killed instead of it.
    "$ROOST" sandbox enter --name "$SANDBOX" outside -- curl --silent --output /dev/null --max-time 5 --rate 100/s \
        --header 'Connection: close' --write-out '%{stderr}%{http_code} %{errormsg}\n' 'http://10.200.0.1:8080/?[1-60000]' 2>>"$work/load" &
    load=$!
    sleep 0.5
    began=$(now)
    roost upgradejob bench -e VERSION=2 --detach 2>/dev/null
    await 300 "Roost's upgrade" roost_upgraded
    echo $(($(now) - began))
    sleep 0.5
    kill "$load" || die "the client had ended: $(tail -n 1 "$work/load")"
    wait "$load" || true
    load=''
}
# All 20 of the new revision serve, and nothing is left of the old one.
roost_upgraded() {
    roost_api jobs/bench | jq -e '(.instances | length == 20) and all(.instances[]; .revision == 2 and .health == "healthy")' >/dev/null
}

# Microseconds from the request to the container's first instruction.
roost_start() {
    local began stamp
    began=$(now)
    roost run -d one tiny -- /bin/stamp >/dev/null 2>&1
    await 10 "the time from Roost's container" roost_stamped
    stamp=$(roost logs one)
    roost rm -f one >/dev/null 2>&1
    echo $((stamp / 1000 - began))
}
roost_stamped() { [[ $(roost logs one 2>/dev/null) =~ ^[0-9]{19}$ ]]; }

# --- Docker ----------------------------------------------------------------------------------------------------------------

docker_up() {
    mkdir -p "$DOCKER_CONFIG"
    ip netns add "$NETWORK"
    ip -n "$NETWORK" link set lo up
    ip -n "$NETWORK" link add swarm0 type bridge
    ip -n "$NETWORK" addr add 10.199.0.1/24 dev swarm0
    ip -n "$NETWORK" link set swarm0 up
    # The shell is the first process of the process namespace: it reaps what Docker leaves.
    nsenter --net="/run/netns/$NETWORK" unshare --mount --pid --fork --kill-child=SIGKILL --mount-proc \
        bash -c '"$@" & wait' bash dockerd --host "$DOCKER_HOST" --data-root "$work/docker" --exec-root "$work/exec" \
        --pidfile "$work/docker.pid" --cgroup-parent "/$GROUP" --log-level error >"$work/dockerd.log" 2>&1 &
    docker_init=$!
    await 60 "dockerd" docker_answers
    docker swarm init --advertise-addr 10.199.0.1 >/dev/null
    docker import "$work/tiny.tar" tiny >/dev/null
    docker_first=$(awk '{ print $1 }' "/proc/$docker_init/task/$docker_init/children")
}
docker_answers() {
    kill -0 "$docker_init" 2>/dev/null || die "dockerd ended: $(tail -n 3 "$work/dockerd.log")"
    docker version >/dev/null 2>&1
}
docker_api() { curl --silent --unix-socket "$work/docker.sock" "http://docker/v1.41/$1"; }
docker_runs() { docker_api "services?status=true" | jq -e ".[0].ServiceStatus.RunningTasks == $1" >/dev/null; }
docker_empty() { docker_api containers/json?all=true | jq -e 'length == 0' >/dev/null; }

docker_place() {
    local began
    began=$(now)
    docker service create --detach --quiet --no-resolve-image --name bench --replicas "$1" --stop-grace-period 1s tiny sleep 1000000 >/dev/null
    await 300 "$1 replicas by Swarm" docker_runs "$1"
    echo $(($(now) - began))
}
docker_remove() {
    docker service rm bench >/dev/null
    await 300 "Swarm to remove replicas" docker_empty
}

docker_upgrade() {
    local began
    docker service create --detach --quiet --no-resolve-image --name bench --replicas 20 --env VERSION=1 tiny sh -c "$SERVE" >/dev/null
    await 300 "20 replicas by Swarm" docker_runs 20
    began=$(now)
    docker service update --detach --quiet --no-resolve-image --env-add VERSION=2 bench >/dev/null
    await 600 "Swarm's update" docker_upgraded
    echo $(($(now) - began))
}
docker_upgraded() { docker_api services | jq -e '.[0].UpdateStatus.State == "completed"' >/dev/null; }

docker_start() {
    local began stamp
    began=$(now)
    docker run --detach --name one tiny /bin/stamp >/dev/null
    await 10 "the time from Docker's container" docker_stamped
    stamp=$(docker logs one)
    docker rm -f one >/dev/null
    echo $((stamp / 1000 - began))
}
docker_stamped() { [[ $(docker logs one 2>/dev/null) =~ ^[0-9]{19}$ ]]; }

# --- the run ---------------------------------------------------------------------------------------------------------------

OURS=' (daemon|manager|agent) *$'
THEIRS='^(dockerd|containerd|/usr/bin/dockerd|/usr/bin/containerd) '

# row <what> <Roost> <Docker> <ratio or -> <unit> <wanted>
row() { printf '%-44s %12s %12s %9s   %s\n' "$@"; }

measure_idle() {
    sleep 2
    roost_idle=$(processes "$roost_init" "$OURS" | memory)
    docker_idle=$(processes "$docker_first" "$THEIRS" | memory)
}

measure_places() {
    local count round
    for count in 1 10 100; do
        for ((round = 1; round <= ROUNDS; round++)); do
            say "placing $count, round $round of $ROUNDS"
            roost_place "$count" >>"$work/roost.$count"
            if ((count == 100 && round == 1)); then
                roost_shims=$(processes "$roost_init" ' shim ' | memory)
                roost_busy=$(processes "$roost_init" "$OURS" | memory)
            fi
            roost_remove
            docker_place "$count" >>"$work/docker.$count"
            if ((count == 100 && round == 1)); then docker_shims=$(processes "$docker_first" 'containerd-shim' | memory); fi
            docker_remove
        done
    done
}

measure_upgrades() {
    local round
    for ((round = 1; round <= UPGRADES; round++)); do
        say "upgrading 20, round $round of $UPGRADES"
        roost_upgrade >>"$work/roost.upgrade"
        roost_remove
        docker_upgrade >>"$work/docker.upgrade"
        docker_remove
    done
}

measure_starts() {
    local round
    say "starting one container, $STARTS rounds"
    for ((round = 1; round <= STARTS; round++)); do
        roost_start >>"$work/roost.start"
        docker_start >>"$work/docker.start"
    done
}

report() {
    local count ours theirs
    printf '\n%s, %s cores, kernel %s, load %s before\n%s; Docker %s\n\n' "$(uname -m)" "$(nproc)" "$(uname -r)" "$load_before" \
        "$(roost --version)" "$(docker version --format '{{.Server.Version}}')"
    row "median of $ROUNDS" Roost Docker ratio wanted
    for count in 1 10 100; do
        ours=$(median <"$work/roost.$count") theirs=$(median <"$work/docker.$count")
        row "$count instances, from request to running, s" "$(seconds "$ours")" "$(seconds "$theirs")" "$(ratio "$ours" "$theirs")" \
            "$( ((count == 100)) && echo 'ratio 10 or more' || echo '')"
    done
    ours=$(median <"$work/roost.upgrade") theirs=$(median <"$work/docker.upgrade")
    row "rolling upgrade of 20 (median of $UPGRADES), s" "$(seconds "$ours")" "$(seconds "$theirs")" "$(ratio "$ours" "$theirs")" "ratio 5 or more"
    row "  requests lost, of $(wc -l <"$work/load")" "$(grep -cv '^200 ' "$work/load" || true)" - - "0"
    grep -v '^200 ' "$work/load" | sort | uniq -c >&2 || true
    ours=$(median <"$work/roost.start") theirs=$(median <"$work/docker.start")
    row "request to first instruction (of $STARTS), ms" "$(awk "BEGIN { printf \"%.1f\", $ours / 1e3 }")" \
        "$(awk "BEGIN { printf \"%.1f\", $theirs / 1e3 }")" "$(ratio "$ours" "$theirs")" "under 40 ms"
    row "manager and agent idle, MB" "$(mb "$roost_idle")" "$(mb "$docker_idle")" "$(ratio "$roost_idle" "$docker_idle")" "under 40 MB"
    row "manager and agent with 100 containers, MB" "$(mb "$roost_busy")" - - ""
    row "ours for each of 100 containers, MB" "$(mb "$roost_shims" 100)" "$(mb "$docker_shims" 100)" "$(ratio "$roost_shims" "$docker_shims")" "under 2 MB"
}
mb() { awk -v kb="$1" -v by="${2:-1}" 'BEGIN { printf "%.1f", kb / 1024 / by }'; }

load_before=$(cut -d' ' -f1 /proc/loadavg)
make_image
roost_up
docker_up
measure_idle
measure_starts
measure_places
measure_upgrades
report
