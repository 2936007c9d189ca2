#!/usr/bin/env bash
# Pulling and unpacking an image of several layers from a registry on loopback: Roost, Docker and (where it is installed) Podman, in
# turns on one machine. Prints the median of the rounds and the peak of memory; leaves nothing behind, also when it fails.
#
# Roost runs as a sandbox of one server, the others in namespaces of their own; in each Debian's docker-registry serves the same
# folder on 127.0.0.1:5000. The image is made of this machine's own /usr: real files, most of them small. Memory is measured in a
# round of its own, since looking takes processor time too: anonymous memory of all processes of each system, every 50 ms.
#
# ROOST=<path> uses that binary (a release build, or the figures mean nothing). ROUNDS, LAYERS, MEGABYTES (in all, unpacked).
# Needs root, the packages of packages.txt and of bench/packages.txt.
set -euo pipefail

ROOST=$(realpath "${ROOST:-$(dirname "$0")/../target/x86_64-unknown-linux-gnu/release/roost}")
ROUNDS=${ROUNDS:-3} LAYERS=${LAYERS:-5} MEGABYTES=${MEGABYTES:-500}
SANDBOX=pull$$
NETWORK=pull-others$$
GROUP=pull-others$$
IMAGE=127.0.0.1:5000/bench:1
export ROOST_SOCKET=/var/lib/roost-sandbox/$SANDBOX/s1/run/roost/api.sock
work=$(mktemp -d /var/tmp/roost-pull.XXXXXX)
export DOCKER_HOST=unix://$work/docker.sock DOCKER_CONFIG=$work/config
docker_init='' registries=()
opt_was_there=$([[ -e /opt/containerd ]] && echo yes || echo no)
netns_was_there=$(mountpoint --quiet /run/netns && echo yes || echo no)
key_was_there=$([[ -e /etc/docker/key.json ]] && echo yes || echo no)
podman=$(command -v podman || true)

say() { printf '%s\n' "$*" >&2; }
die() {
    say "pull: $*"
    exit 1
}
now() { echo "${EPOCHREALTIME/./}"; } # microseconds

clean_up() {
    local code=$? pid
    trap - EXIT
    set +e
    [[ -z $docker_init ]] || kill -KILL "$docker_init" 2>/dev/null
    for pid in "${registries[@]}"; do kill "$pid" 2>/dev/null; done
    wait 2>/dev/null
    "$ROOST" sandbox down --name "$SANDBOX" >/dev/null 2>&1
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
    awk -v work="$work" '$2 ~ "^" work { print $2 }' /proc/mounts | sort -r | xargs -r umount 2>/dev/null
    rm -rf "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# await <seconds> <what for> <command…>
await() {
    local end=$(($(now) + $1 * 1000000)) what=$2
    shift 2
    until "$@"; do
        (($(now) < end)) || die "waited in vain for $what"
        sleep 0.05
    done
}
median() { sort -n | awk '{ v[NR] = $1 } END { print NR % 2 ? v[(NR + 1) / 2] : (v[NR / 2] + v[NR / 2 + 1]) / 2 }'; }
seconds() { awk -v us="$1" 'BEGIN { printf "%.2f", us / 1e6 }'; }

# --- the image and its registries ------------------------------------------------------------------------------------------

# Files of /usr in turn, until each layer is full.
make_image() {
    local limit=$((MEGABYTES * 1000000 / LAYERS)) n
    find /usr -xdev -type f -size -20000k -printf '%s %p\n' 2>/dev/null |
        awk -v limit="$limit" -v layers="$LAYERS" -v at="$work/list" \
            'n < layers { sum += $1; sub(/^[0-9]+ \//, ""); print > (at n + 0); if (sum > limit) { n++; sum = 0 } }'
    umoci init --layout "$work/layout"
    umoci new --image "$work/layout:bench"
    for ((n = 0; n < LAYERS; n++)); do
        [[ -s $work/list$n ]] || die "/usr has less than $MEGABYTES MB"
        tar -C / --owner=0 --group=0 -cf "$work/layer.tar" -T "$work/list$n"
        umoci raw add-layer --image "$work/layout:bench" "$work/layer.tar"
    done
    rm "$work/layer.tar"
    printf 'version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: "127.0.0.1:5000"}\n' \
        "$work/registry" >"$work/registry.yml"
}
registry_answers() { "$@" curl -sf --max-time 2 http://127.0.0.1:5000/v2/ >/dev/null; }
# registry <command that enters a network…>
registry() {
    "$@" docker-registry serve "$work/registry.yml" >/dev/null 2>&1 &
    registries+=($!)
    await 20 "the registry" registry_answers "$@"
}

# --- the three -------------------------------------------------------------------------------------------------------------

inside_roost() { "$ROOST" sandbox enter --name "$SANDBOX" s1 -- "$@"; }
inside_others() { nsenter --net="/run/netns/$NETWORK" "$@"; }

roost_up() {
    "$ROOST" sandbox up --name "$SANDBOX" --servers 1 2>/dev/null
    roost_init=$("$ROOST" sandbox list -o json | jq ".[] | select(.name == \"$SANDBOX\").servers[0].init")
    registry nsenter --net="/proc/$roost_init/ns/net"
}
roost_pull() { "$ROOST" image pull "$IMAGE" >/dev/null; }
roost_remove() { "$ROOST" image delete "$IMAGE" >/dev/null 2>&1; }
roost_processes() { below "$roost_init"; }

others_up() {
    mkdir -p "$DOCKER_CONFIG"
    ip netns add "$NETWORK"
    ip -n "$NETWORK" link set lo up
    registry nsenter --net="/run/netns/$NETWORK"
    nsenter --net="/run/netns/$NETWORK" unshare --mount --pid --fork --kill-child=SIGKILL --mount-proc \
        bash -c '"$@" & wait' bash dockerd --host "$DOCKER_HOST" --data-root "$work/docker" --exec-root "$work/exec" \
        --pidfile "$work/docker.pid" --cgroup-parent "/$GROUP" --bridge none --iptables=false --log-level error \
        >"$work/dockerd.log" 2>&1 &
    docker_init=$!
    await 60 "dockerd" docker_answers
}
docker_answers() { docker version >/dev/null 2>&1; }
docker_pull() { docker pull --quiet "$IMAGE" >/dev/null; }
docker_remove() { docker rmi --force "$IMAGE" >/dev/null; }
docker_processes() { below "$docker_init"; }

run_podman() {
    inside_others env -u DOCKER_CONFIG "$podman" --root "$work/podman" --runroot "$work/podman-run" --tmpdir "$work/podman-tmp" --cgroup-manager cgroupfs "$@"
}
podman_pull() { run_podman pull --quiet --tls-verify=false "$IMAGE" >/dev/null; }
podman_remove() { run_podman rmi --force "$IMAGE" >/dev/null 2>&1; }
podman_processes() { below $$ | while read -r pid; do [[ $(readlink "/proc/$pid/exe" 2>/dev/null) == "$podman" ]] && echo "$pid"; done; }

# --- figures ---------------------------------------------------------------------------------------------------------------

# A process and everything that it or its children started.
below() {
    ps -e -o pid=,ppid= | awk -v top="$1" '{ parent[$1] = $2 } END {
        for (p in parent) { q = p; while (q > 1 && q != top) q = parent[q]; if (q == top) print p } }'
}
anonymous() {
    local pid total=0 kb
    while read -r pid; do
        kb=$(awk '/^RssAnon:/ { print $2 }' "/proc/$pid/status" 2>/dev/null || true)
        total=$((total + ${kb:-0}))
    done
    echo "$total"
}
timed() {
    local began
    sync
    began=$(now)
    "$1_pull" 2>"$work/says.$1" || die "$1 did not pull: $(tail -n 1 "$work/says.$1")"
    echo $(($(now) - began)) >>"$work/times.$1"
    "$1_remove" || die "$1 did not remove"
}
peak() {
    local pid most=0 kb
    "$1_pull" 2>"$work/says.$1" &
    pid=$!
    while kill -0 "$pid" 2>/dev/null; do
        kb=$("$1_processes" | anonymous)
        ((kb <= most)) || most=$kb
        sleep 0.05
    done
    wait "$pid" || die "$1 did not pull"
    "$1_remove"
    echo "$most"
}

say "making an image of $MEGABYTES MB in $LAYERS layers"
make_image
roost_up
others_up
inside_others skopeo --insecure-policy copy --quiet --dest-tls-verify=false "oci:$work/layout:bench" "docker://$IMAGE"
systems=(roost docker)
[[ -z $podman ]] || systems+=(podman)
for ((round = 1; round <= ROUNDS; round++)); do
    say "round $round of $ROUNDS"
    for system in "${systems[@]}"; do timed "$system"; done
done
printf '%-8s %10s %14s\n' '' 'seconds' 'peak, MB'
for system in "${systems[@]}"; do
    printf '%-8s %10s %14s\n' "$system" "$(seconds "$(median <"$work/times.$system")")" "$(($(peak "$system") / 1024))"
done
