#!/usr/bin/env bash
# The main job, on a cluster of three servers made of namespaces on this machine: an image from Debian's packages, a job of six
# instances, names, a published port, an upgrade under load, a lost server. Every command is shown as it is typed, and what it
# says; what it says is checked. Leaves nothing behind, also when it fails.
#
# ROOST=<path> uses that binary; `make demo` builds one and does so. Needs root, curl, dig and jq.
set -euo pipefail

ROOST=$(realpath "${ROOST:-$(dirname "$0")/../target/x86_64-unknown-linux-gnu/release/roost}")
SANDBOX=demo
export ROOST_SOCKET=/var/lib/roost-sandbox/$SANDBOX/s1/run/roost/api.sock
work=$(mktemp -d)
loads=()
began=$EPOCHREALTIME

# What each instance runs. Its page says which instance made it, and which version.
# shellcheck disable=SC2016 # the container's shell expands it
SITE='echo "page of $(hostname), version $VERSION" > /var/www/html/index.html && exec nginx -g "daemon off;"'

# --- telling ---------------------------------------------------------------------------------------------------------------

[[ -t 1 && -z ${NO_COLOR:-} ]] && bold=$'\e[1m' plain=$'\e[0m' || bold='' plain=''
title() { printf '\n%s%s%s   (at %s s)\n' "$bold" "$*" "$plain" "$(since "$began")"; }
saw() { printf '  → %s\n' "$*"; }
fail() {
    printf '\nthe demo failed: %s\n' "$*" >&2
    exit 1
}
since() { awk -v from="$1" -v to="$EPOCHREALTIME" 'BEGIN { printf "%.1f", to - from }'; }

roost() { "$ROOST" "$@"; }
inside() { roost sandbox enter --name "$SANDBOX" "$@"; }

# Shows a command as one would type it, then runs it.
run() {
    local word line='$'
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=@%+-]+$ ]]; then line+=" $word"; else line+=" ${word@Q}"; fi
    done
    printf '%s\n' "$line"
    "$@"
}

# --- cleaning up -----------------------------------------------------------------------------------------------------------

# What there is of the sandbox on this machine, a line each: its files, mounts (in any process's eyes), processes and control groups.
# Nothing when it is gone; its namespaces, links and rules go with the last process and mount.
traces() {
    ls -d "/var/lib/roost-sandbox/$SANDBOX" 2>/dev/null || true
    grep -hsF "/roost-sandbox/$SANDBOX/" /proc/[0-9]*/mounts | sort -u || true
    # What has ended and only waits for the machine's first process to take notice does not count.
    grep -lsE "/roost-sandbox/$SANDBOX(/|\$)" /proc/[0-9]*/cgroup | sed 's/cgroup$/status/' | xargs -r grep -LsE '^State:\s+[ZX]' || true
    find /sys/fs/cgroup -type d -path "*/roost-sandbox/$SANDBOX*" -print 2>/dev/null || true
}

clean_up() {
    local code=$?
    trap - EXIT
    for load in "${loads[@]}"; do kill "$load" 2>/dev/null || true; done
    roost sandbox down --name "$SANDBOX" >/dev/null 2>&1 || true
    rm -rf "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT TERM

# --- the steps -------------------------------------------------------------------------------------------------------------

# The page that a server's published port gives a client outside the cluster; each time over a new connection.
page() { inside outside -- curl --silent --show-error --max-time 5 "http://10.200.0.$1:8080/"; }

start_cluster() {
    local before
    title "A cluster of three servers"
    roost sandbox down --name "$SANDBOX" >/dev/null 2>&1 || true
    before=$(traces)
    [[ -z $before ]] || fail "something of an earlier demo is still there: $before"
    run roost sandbox up --name "$SANDBOX" --servers 3
    (($(traces | wc -l) > 4)) || fail "the sandbox is not where it is looked for"
    run roost server list
}

make_image() {
    title "An image with nginx, from Debian's packages"
    saw "mmdebstrap fetches and unpacks about a hundred packages: about a minute"
    run roost image bootstrap debian bookworm --include nginx-light --name nginx -- nginx -g "daemon off;"
    run roost image list
}

add_job() {
    title "A job of six instances, with a health check and a published port"
    run roost addjob nginx 6 --name web -p 8080:80 --health-http 80/ -e VERSION=1 -- sh -c "$SITE"
    run roost showjob web
}

ask_names() {
    local addresses subnets
    title "Found by name, on three subnets"
    run roost sandbox enter --name "$SANDBOX" s1 -- dig +short @10.0.1.1 web.internal | tee "$work/names"
    addresses=$(grep -E '^[0-9.]+$' "$work/names" | sort -u)
    subnets=$(cut -d. -f1-3 <<<"$addresses" | sort -u)
    saw "$(wc -l <<<"$addresses") addresses on $(wc -l <<<"$subnets") subnets"
    [[ $(wc -l <<<"$addresses") == 6 && $(wc -l <<<"$subnets") == 3 ]] || fail "6 addresses on 3 subnets were wanted"
}

ask_port() {
    local server try
    title "Reached from outside, through any server's port 8080"
    for server in 1 2 3; do
        run roost sandbox enter --name "$SANDBOX" outside -- curl --silent "http://10.200.0.$server:8080/"
    done
    for try in {1..12}; do page $((try % 3 + 1)); done | sort | uniq -c | tee "$work/pages"
    saw "$(wc -l <"$work/pages") different instances answered 12 requests"
    (($(wc -l <"$work/pages") >= 2)) || fail "pages of at least 2 instances were wanted"
}

# Clients outside that ask all the time, one for each server, 200 times a second, over a new connection each time; a line for
# each request: its status and what went wrong. They end when told to, at the latest after 5 minutes.
start_load() {
    local server
    for server in 1 2 3; do
        # The program itself and not the function, which would be a shell of its own that is killed instead of it.
        "$ROOST" sandbox enter --name "$SANDBOX" outside -- curl --silent --output /dev/null --max-time 5 --rate 200/s --header 'Connection: close' \
            --write-out '%{stderr}%{http_code} %{errormsg}\n' "http://10.200.0.$server:8080/?[1-60000]" 2>"$work/load.$server" &
        loads+=($!)
    done
    await 10 "the load to begin" load_runs
}
load_runs() { [[ -s $work/load.1 && -s $work/load.2 && -s $work/load.3 ]]; }
stop_load() {
    for load in "${loads[@]}"; do
        kill "$load" 2>/dev/null || fail "a client of the load had ended: $(tail -n 2 "$work"/load.*)"
        wait "$load" 2>/dev/null || true
    done
    loads=()
}

# await <seconds> <what for> <command…>: asks every 50 ms until the command succeeds.
await() {
    local tries=$(($1 * 20)) what=$2
    shift 2
    for ((; tries > 0; tries--)); do
        if "$@"; then return; fi
        sleep 0.05
    done
    fail "waited in vain for $what"
}

upgrade() {
    local total failed
    title "Upgraded under constant requests"
    start_load
    sleep 1
    run roost upgradejob web -e VERSION=2
    await 60 "the old instances to be gone" only 6
    sleep 1
    stop_load
    total=$(cat "$work"/load.* | wc -l)
    failed=$(cat "$work"/load.* | grep -cv '^200 ' || true)
    saw "$failed of $total requests failed"
    ((failed == 0)) || fail "requests were lost: $(cat "$work"/load.* | grep -v '^200 ' | sort | uniq -c)"
    for server in 1 2 3; do page $server; done | sort -u
    [[ $(for server in 1 2 3 1 2 3; do page $server; done | grep -c 'version 2') == 6 ]] || fail "an old page was served"
}

# Are there so many instances, all healthy, and none else?
only() {
    roost showjob web -o json | jq -e --argjson n "$1" '.running == $n and (.instances | length) == $n' >/dev/null
}
healed() {
    roost showjob web -o json | jq -e '[.instances[] | select(.server != "s2" and .health == "healthy")] | length == 6' >/dev/null
}

lose_server() {
    local killed
    title "A server is lost"
    killed=$EPOCHREALTIME
    run roost sandbox kill --name "$SANDBOX" s2
    await 30 "six healthy instances on the servers that are left" healed
    saw "6 of 6 healthy again $(since "$killed") s after the kill"
    run roost showjob web
    run roost events | tail -n 5
}

remove_all() {
    local left
    title "Everything is removed"
    run roost deljob web
    run roost sandbox down --name "$SANDBOX"
    left=$(traces)
    [[ -z $left ]] || fail "something is left: $left"
    saw "no process, mount, control group or file of it is left"
}

start_cluster
make_image
add_job
ask_names
ask_port
upgrade
lose_server
remove_all
printf '\nall done in %s s\n' "$(since "$began")"
