# tests/live/lib.sh - scratch QEMUs, images and verdicts for tests/live/test_*.sh.
# shellcheck shell=bash disable=SC2034,SC2154 # variables are for the tests that source this, or theirs
#
# A test is a function; `run_test NAME FUNCTION` runs it in a scratch directory with a shell of its
# own, prints "ok NAME" or "not ok NAME: why", and afterwards sees to it that no process, job or
# node was left behind. Nothing here sleeps: what happens is waited for by QEMU's events, on a
# monitor of the harness's own, read by a client that shares nothing with the library. That client
# waits for a socket to be made, and only from then on until somebody listens there, of which nothing
# tells, it tries each millisecond.
#
#   $dir/m0   the monitor that qblk is given      m1  for the test's own commands
#   m2        events                              reference.raw  what the guest should see
set -u

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
build=$root/${BUILD:-build/release}
: "${QEMU:=qemu-system-x86_64}" "${QSD:=qemu-storage-daemon}"
: "${QEMU_IMG:=qemu-img}" "${QEMU_IO:=qemu-io}"
qblk=$build/qblk
rawqmp=$build/tests/live/rawqmp
export ASAN_OPTIONS=${ASAN_OPTIONS:-abort_on_error=0:exitcode=99}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export LC_ALL=C
unset QBLK_SOCKET QBLK_DEBUG
patience=60 # seconds for anything that must happen
live_failed=0
live_skipped=0

for needed in "$qblk" "$rawqmp"; do
    [ -x "$needed" ] || { echo "not ok setup: no $needed; run make live-bins"; exit 1; }
done
for needed in "$QEMU" "$QEMU_IMG" "$QEMU_IO"; do
    command -v "$needed" >/dev/null || { echo "skip: no $needed here"; exit 77; }
done

fail() {
    echo "$*" >"$dir/why"
    exit 1
}

skip() {
    echo "$*" >"$dir/why"
    exit 77
}

# run_test NAME FUNCTION [ARG...]
run_test() {
    local name=$1 status why
    shift
    dir=$(mktemp -d "${TMPDIR:-/tmp}/qblk.XXXXXX") || exit 1
    (
        trap end_of_test EXIT
        cd "$dir" || exit 1
        "$@"
    ) >"$dir/trace" 2>&1
    status=$?
    why=$(cat "$dir/why" 2>/dev/null || echo "ended with status $status")
    case $status in
    0) echo "ok $name" ;;
    77)
        echo "skip $name: $why"
        live_skipped=1
        ;;
    *)
        echo "not ok $name: $why"
        # What was said, for whoever has to find out.
        for said in trace out err qemu.log; do
            [ ! -s "$dir/$said" ] ||
                tail -n 8 "$dir/$said" | cut -c 1-400 | sed "s/^/    $said: /"
        done
        live_failed=1
        ;;
    esac
    rm -rf "$dir"
}

# Last line of each test file.
finish() {
    [ "$live_failed" = 0 ] || exit 1
    [ "$live_skipped" = 0 ] || exit 77
    exit 0
}

# ends PID: it comes to its end by itself
ends() {
    timeout "${ENDS_WITHIN:-10}" tail -s 0.02 -f /dev/null --pid="$1"
}

# In the test's own shell, however it ends. QEMU is ended by its pid; whatever else was started in
# the background has to end by itself, or is named as a leak.
end_of_test() {
    local status=$? pid
    set +e
    trap - EXIT
    if [ -n "${qemu_pid-}" ]; then
        if [ "$status" = 0 ] && ! kill -0 "$qemu_pid" 2>/dev/null; then
            echo "QEMU had gone before the end of the test: $(tail -n 2 "$dir/qemu.log")" >"$dir/why"
            status=1
        fi
        kill -KILL "$qemu_pid" 2>/dev/null
        wait "$qemu_pid" 2>/dev/null
    fi
    for pid in ${started-}; do
        if kill -0 "$pid" 2>/dev/null && { [ "$status" != 0 ] || ! ends "$pid"; }; then
            kill -KILL "$pid" 2>/dev/null
            wait "$pid" 2>/dev/null
            if [ "$status" = 0 ]; then
                echo "a process that the test had started outlived it" >"$dir/why"
                status=1
            fi
        fi
    done
    # A sanitizer's report anywhere spoils a test that was content otherwise.
    if [ "$status" = 0 ] && grep -qE 'AddressSanitizer|runtime error:|LeakSanitizer' \
        "$dir"/err* "$dir/trace" 2>/dev/null; then
        echo "a sanitizer complained" >"$dir/why"
        status=1
    fi
    exit "$status"
}

# ---- images ---------------------------------------------------------------------------------------

# io IMAGE FORMAT COMMAND...
io() {
    local image=$1 format=$2 words=()
    shift 2
    for command in "$@"; do words+=(-c "$command"); done
    "$QEMU_IO" -f "$format" "${words[@]}" "$image" >/dev/null || fail "qemu-io on $image failed"
}

# Images are made once for all tests of a file, which are copied for each.
images=$(mktemp -d "${TMPDIR:-/tmp}/qblk-images.XXXXXX") || exit 1
trap 'rm -rf "$images"' EXIT

# draw_chain SIZE [long]: in this directory, where the chain's names are only true of the copies
draw_chain() {
    "$QEMU_IMG" create -q -f qcow2 base.qcow2 "$1" &&
        "$QEMU_IMG" create -q -f qcow2 mid.qcow2 "$1" &&
        "$QEMU_IMG" create -q -f qcow2 top.qcow2 "$1" &&
        "$QEMU_IMG" create -q -f raw reference.raw "$1" || fail "qemu-img create failed"
    io base.qcow2 qcow2 "write -P 0x11 0 3M" "write -P 0x12 5M 64k" ${2:+"write -P 0x44 8M 48M"}
    io mid.qcow2 qcow2 "write -P 0x22 1M 1M" "write -P 0x23 4M 512k"
    io top.qcow2 qcow2 "write -P 0x33 1536k 256k" "write -P 0x34 7M 192k"
    io reference.raw raw "write -P 0x11 0 3M" "write -P 0x12 5M 64k" \
        "write -P 0x22 1M 1M" "write -P 0x23 4M 512k" "write -P 0x33 1536k 256k" \
        "write -P 0x34 7M 192k" ${2:+"write -P 0x44 8M 48M"}
}

# make_chain [SIZE [long]]: base.qcow2 <- mid.qcow2 <- top.qcow2, each with a pattern of its own that
# partly covers those below, and reference.raw, made by the same writes on a plain file.
make_chain() {
    local made=$images/${1:-8M}${2-}
    if [ ! -d "$made" ]; then
        rm -rf "$made.new" # of a test that could not make them
        mkdir "$made.new" && (cd "$made.new" && draw_chain "${1:-8M}" ${2+"$2"}) || exit 1
        mv "$made.new" "$made"
    fi
    cp --sparse=always "$made"/* . &&
        "$QEMU_IMG" rebase -q -u -f qcow2 -F qcow2 -b "$dir/base.qcow2" mid.qcow2 &&
        "$QEMU_IMG" rebase -q -u -f qcow2 -F qcow2 -b "$dir/mid.qcow2" top.qcow2 || fail "no images"
}

# make_long_chain: the same, and so much data in the lowest image that a job with --speed 64K is
# still at work when the test is done with it. (A mirror has 16 MiB in flight before it heeds its
# speed.)
make_long_chain() {
    make_chain 64M long
}

# make_sizes TOP MID BASE: the same chain of images of these sizes, with data in the lowest alone
make_sizes() {
    "$QEMU_IMG" create -q -f qcow2 base.qcow2 "$3" &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/base.qcow2" mid.qcow2 "$2" &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/mid.qcow2" top.qcow2 "$1" || fail "no images"
    io base.qcow2 qcow2 "write -P 0x11 0 $3"
    "$QEMU_IMG" convert -O raw top.qcow2 reference.raw || fail "no reference"
}

# same IMAGE FORMAT [REFERENCE]: the image holds what the guest should see, and is sound.
same() {
    "$QEMU_IMG" compare -q -f raw -F "$2" "${3:-reference.raw}" "$1" ||
        fail "$1 differs from ${3:-what the guest should see}"
    if [ "$2" = qcow2 ]; then
        "$QEMU_IMG" check -q -f qcow2 "$1" || fail "qemu-img check finds fault with $1"
    fi
}

# info IMAGE: what its header says, as plain lines
info() {
    "$QEMU_IMG" info -U "$1"
}

# ---- QEMU -----------------------------------------------------------------------------------------

monitors() {
    local flag=$1 n wait=off
    for n in 0 1 2; do
        case $flag in
        qmp) printf '%s\n' -qmp "unix:$dir/m$n,server=on,wait=off" ;;
        qsd)
            [ "$n" != 2 ] || wait=on
            daemon_monitor "$dir/m$n" "$wait" "c$n"
            ;;
        esac
    done
}

# daemon_monitor PATH WAIT [ID]: the options of a storage daemon's monitor. The last one that is named
# has to wait for its client, and nobody may connect to another before that client has its answer: the
# thread that serves monitors takes a listening socket over from the main loop just as that begins, and
# a client who comes then may be taken by both. One of them hangs in accept(), or the daemon crashes
# (7.2: once in some 1,500 starts).
daemon_monitor() {
    printf '%s\n' --chardev "socket,id=${3-c},path=$1,server=on,wait=$2" --monitor "chardev=${3-c}"
}

# Reads the events of the machine that was just started; the first line says that it is up.
follow_events() {
    local line
    qemu_pid=$!
    exec {events}< <(exec "$rawqmp" "$dir/m2" events)
    read -r -t "$patience" -u "$events" line || fail "QEMU did not start: $(tail -n 3 qemu.log)"
}

# start_qemu ARG...: a blank machine that never runs; the arguments bring the disks. A $machine other
# than q35 may start faster and have no PCI; $writer is then where the guest's writes go in.
start_qemu() {
    local sockets
    world=${world-none}
    mapfile -t sockets < <(monitors qmp)
    # Loaded into QEMU alone: a sanitizer's runtime in our own programs wants to be the first.
    LD_PRELOAD=${qemu_preload-} "$QEMU" -nodefaults -display none -machine "${machine:-q35},accel=tcg" -S "${sockets[@]}" "$@" \
        >qemu.log 2>&1 </dev/null &
    follow_events
}

# The chain of make_chain as nodes base, mid, top under the virtio-blk device vd0.
start_blockdev() {
    world=blockdev disk=vd0
    start_qemu "$@" \
        -blockdev "file,node-name=base-file,filename=$dir/base.qcow2" \
        -blockdev "qcow2,node-name=base,file=base-file,read-only=on" \
        -blockdev "file,node-name=mid-file,filename=$dir/mid.qcow2" \
        -blockdev "qcow2,node-name=mid,file=mid-file,backing=base,read-only=on" \
        -blockdev "file,node-name=top-file,filename=$dir/top.qcow2" \
        -blockdev "qcow2,node-name=top,file=top-file,backing=mid" \
        -device virtio-blk-pci,id=vd0,drive=top
}

# The same as -drive makes it: no node has a name of ours.
start_drive() {
    world=drive disk=drive0
    start_qemu "$@" -drive "file=$dir/top.qcow2,format=qcow2,if=none,id=drive0" \
        -device virtio-blk-pci,id=vd0,drive=drive0
}

# start_broken [ERRNO]: the disk is over.qcow2 on base.qcow2, which cannot be read
start_broken() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/base.qcow2" over.qcow2
    world=blockdev disk=vd0
    start_qemu \
        -blockdev "file,node-name=base-file,filename=$dir/base.qcow2" \
        -blockdev '{"driver": "blkdebug", "node-name": "base-broken", "image": "base-file",
            "inject-error": [{"event": "read_aio", "errno": '"${1-5}"', "once": false}]}' \
        -blockdev "qcow2,node-name=base,file=base-broken,read-only=on" \
        -blockdev "file,node-name=top-file,filename=$dir/over.qcow2" \
        -blockdev "qcow2,node-name=top,file=top-file,backing=base" \
        -device virtio-blk-pci,id=vd0,drive=top
}

# start_daemon ARG...: a storage daemon; the arguments bring the disks
start_daemon() {
    local sockets
    command -v "$QSD" >/dev/null || skip "no $QSD here"
    mapfile -t sockets < <(monitors qsd)
    LD_PRELOAD=${qemu_preload-} "$QSD" "${sockets[@]}" "$@" >qemu.log 2>&1 </dev/null &
    follow_events
}

# Its disk is used by an NBD export so that there is somebody who writes.
start_qsd() {
    world=qsd disk=top
    start_daemon "$@" \
        --blockdev "file,node-name=base-file,filename=$dir/base.qcow2" \
        --blockdev "qcow2,node-name=base,file=base-file,read-only=on" \
        --blockdev "file,node-name=mid-file,filename=$dir/mid.qcow2" \
        --blockdev "qcow2,node-name=mid,file=mid-file,backing=base,read-only=on" \
        --blockdev "file,node-name=top-file,filename=$dir/top.qcow2" \
        --blockdev "qcow2,node-name=top,file=top-file,backing=mid" \
        --nbd-server "addr.type=unix,addr.path=$dir/nbd" \
        --export nbd,id=ex0,node-name=top,name=disk,writable=on
}

# serve MONITOR ARG...: a storage daemon beside the one under test; sets $server_pid
serve() {
    local monitor=$1 options
    shift
    command -v "$QSD" >/dev/null || skip "no $QSD here"
    mapfile -t options < <(daemon_monitor "$monitor" on)
    LD_PRELOAD=${server_preload-} "$QSD" "${options[@]}" "$@" >server.log 2>&1 </dev/null &
    server_pid=$!
    started="${started-} $server_pid"
    "$rawqmp" "$monitor" run '{"execute": "query-block-exports"}' >server.up ||
        fail "no NBD server: $(cat server.log)"
}

# start WORLD: one of the three
start() {
    "start_$1"
}

# end_daemon PID MONITOR: ends a storage daemon and waits until it is gone. Not by SIGTERM: that only
# sets a flag, and one that is set between the main loop's look at it and its poll() is not seen before
# something else happens (7.2: once in some 1,000 times).
end_daemon() {
    "$rawqmp" "$2" quit || fail "the storage daemon does not listen at $2"
    wait "$1"
}

# end_world: of the machine or the storage daemon that is under test, without a look at its images
end_world() {
    if [ "$world" = qsd ]; then end_daemon "$qemu_pid" m1; else kill -TERM "$qemu_pid" && wait "$qemu_pid"; fi
}

# Ends QEMU as an admin would, and waits until it is gone.
stop_qemu() {
    # A guest flushes before it ends, and must: the storage daemon of QEMU 5.2 ends without closing
    # its images, and leaves out whatever table of theirs is not written yet.
    [ "$world" != qsd ] ||
        "$QEMU_IO" -f raw -c flush "nbd+unix:///disk?socket=$dir/nbd" || fail "cannot flush the disk"
    end_world
    qemu_pid=
}

# raw JSON...: QMP of the test's own
raw() {
    "$rawqmp" "$dir/m1" run "$@"
}

# offered COMMAND: QEMU has it and has not been told to refuse it (-compat)
offered() {
    ! raw "{\"execute\": \"$1\"}" | grep -q CommandNotFound
}

# in_schema MEMBER: some command or type of this QEMU has a member of that name
in_schema() {
    raw '{"execute": "query-qmp-schema"}' | grep -qE "\"name\": ?\"$1\""
}

# node_line PATTERN: what QEMU tells of each node whose name matches, a line each
node_line() {
    raw '{"execute": "query-named-block-nodes", "arguments": {"flat": true}}' |
        sed -E 's/"children": ?\[[^]]*\],?//g; s/"write_threshold": ?0\}/&\n/g' | grep -E "\"node-name\": ?\"$1\""
}

hmp() {
    "$rawqmp" "$dir/m1" hmp "$@"
}

# guest_write PATTERN OFFSET LENGTH ...: through whatever the guest would write through, and the same
# on the reference; any number of writes, one after the other
guest_write() {
    local said failures writes=() lines=() write
    while [ $# -gt 0 ]; do
        writes+=("write -P $1 $2 $3")
        shift 3
    done
    case $world in
    qsd)
        for write in "${writes[@]}"; do
            said=$("$QEMU_IO" -f raw -c "$write" "nbd+unix:///disk?socket=$dir/nbd" 2>&1)
            [[ $said == wrote* ]] || fail "the guest's write failed: $said"
        done
        ;;
    *)
        for write in "${writes[@]}"; do
            lines+=("qemu-io -d ${writer:-/machine/peripheral/vd0/virtio-backend} \"$write\"")
        done
        # QEMU prints what became of a write on its own output, and only mistakes on the monitor.
        said=$(hmp "${lines[@]}")
        failures=$(grep -c failed qemu.log)
        [ -z "$said" ] && [ "$failures" = 0 ] ||
            fail "the guest's write failed: $said $(grep failed qemu.log)"
        ;;
    esac
    io reference.raw raw "${writes[@]}"
}

# wait_event PATTERN: the next event whose line (NAME JOB STATUS ERROR) matches; sets $event
wait_event() {
    while read -r -t "$patience" -u "$events" event; do
        # shellcheck disable=SC2053 # a pattern
        [[ $event != $1 ]] || return 0
    done
    fail "event $1 did not come"
}

# wait_job KIND STATUS: until the main job of a qblk operation of that kind (pull, copy, backup) has
# that status, not one of the small jobs that make its target; sets $job
wait_job() {
    wait_event "JOB_STATUS_CHANGE qblk.????????.$1 $2 *"
    job=$(job_of)
}

# qemu_major: the first number of its version
qemu_major() {
    raw '{"execute": "query-version"}' | sed -E 's/.*"major": ?([0-9]+).*/\1/'
}

# speed_up: the job $job gets no more brake
speed_up() {
    raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}' \
        >/dev/null || fail "cannot speed $job up"
}

# end_instead WORD COMMAND: somebody lets the job of the client under way get in sync, and ends it by
# block-job-cancel or block-job-complete just before qblk does
end_instead() {
    wait_job "$1" running
    kill -STOP "$qblk_pid"
    raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}'
    wait_event "JOB_STATUS_CHANGE $job ready *"
    raw '{"execute": "'"$2"'", "arguments": {"device": "'"$job"'"}}'
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    kill -CONT "$qblk_pid"
}

# job_of: the id of the job that $event is about
job_of() {
    local word
    read -r _ word _ <<<"$event"
    echo "$word"
}

# files: the names of the files of the test's directory, but for the harness's own
files() {
    (cd "$dir" && find . ! -type d ! -type s ! -name 'out*' ! -name 'err*' ! -name 'before*' \
        ! -name 'after*' ! -name strays ! -name tree ! -name trace ! -name qemu.log ! -name 'server.*' \
        ! -name reference.raw ! -path './small/filler' | LC_ALL=C sort)
}

# state_now: the graph, the jobs and the exports; $forgive is a sed script for what may change
state_now() {
    "$rawqmp" "$dir/m1" state | sed -E "${forgive-}"
    [ "${PIPESTATUS[0]}" = 0 ] || fail "cannot read the graph"
}

# remember: these as they are now, in before
remember() {
    state_now >before
}

# remember_files: their names in before.files, what they hold in before.sums
remember_files() {
    files >before.files
    (cd "$dir" && tr '\n' '\0' <before.files | xargs -0 md5sum >before.sums) || fail "cannot read the files"
}

# unchanged: they are as they were
unchanged() {
    state_now >after
    cmp -s before after || fail "something was changed: $(diff before after | tr '\n' ' ')"
}

# files_unchanged FILE...: no file has come or gone, and these hold what they held
files_unchanged() {
    local file
    files >after.files
    cmp -s before.files after.files ||
        fail "files have come or gone: $(diff before.files after.files | grep '^[<>]' | tr '\n' ' ')"
    for file; do
        grep -q " \./$file\$" before.sums && grep " \./$file\$" before.sums |
            (cd "$dir" && md5sum --status -c -) || fail "$file was changed"
    done
}

# wait_said FILE WORD: until what runs has written it; the file may come later
wait_said() {
    timeout "$patience" tail -n +1 -F "$1" 2>/dev/null | grep -q -m 1 -e "$2" ||
        fail "$1 never says $2"
}

# nothing_left: no job, no mark on a node, and no node of an operation that nobody uses
nothing_left() {
    "$rawqmp" "$dir/m1" strays >strays || fail "cannot read the graph"
    [ ! -s strays ] || fail "left behind: $(tr '\n' ' ' <strays)"
}

# ---- qblk -----------------------------------------------------------------------------------------

# q STATUS ARG...: runs qblk on m0, which must end with that status; output in out and err
q() {
    local wanted=$1 status
    shift
    timeout -k 5 "$patience" "$qblk" -s "$dir/m0" "$@" >out 2>err </dev/null
    status=$?
    [ "$status" = "$wanted" ] ||
        fail "qblk $* ended with $status, not $wanted: $(tail -n 3 err | tr '\n' ' ')"
}

# q_start ARG...: the same in the background, pid in $qblk_pid. With job control, so that SIGINT is
# not ignored as it is in other background processes.
q_start() {
    # Who reads along (wait_said) must not go on in the new one where the last command's ended.
    rm -f out err
    set -m
    "$qblk" -s "$dir/m0" "$@" >out 2>err </dev/null &
    qblk_pid=$!
    set +m
    started="${started-} $qblk_pid"
}

# q_ended STATUS: it ends by itself, with that status
q_ended() {
    local status
    wait "$qblk_pid"
    status=$?
    [ "$status" = "$1" ] ||
        fail "qblk ended with $status, not $1: $(tail -n 3 err | tr '\n' ' ')"
}

# kill_client: the client that q_start has started, as nothing can be prepared for
kill_client() {
    kill -KILL "$qblk_pid"
    wait "$qblk_pid" 2>/dev/null
}

# see PATTERN: the next line from descriptor $says that matches (extended regular expression), in $line
see() {
    while read -r -t "$patience" -u "$says" line; do
        echo "$line"
        [[ ! $line =~ $1 ]] || return 0
    done
    fail "it was not said: $1; $(tail -n 2 err)"
}

# said FILE PATTERN: extended regular expression
said() {
    grep -qE -e "$2" "$1" || fail "$1 does not say '$2' but: $(tail -n 3 "$1" | tr '\n' ' ')"
}

# result KEY VALUE: the last line of --json output holds "KEY": "VALUE" (or a number)
result() {
    tail -n 1 out | grep -qE "\"$1\": ?\"?$2\"?[,}]" ||
        fail "the result's $1 is not $2: $(tail -n 1 out)"
}

# chain_is FILE...: the images of the disk, top first, by QEMU's own account
chain_is() {
    local chain want
    want=$(printf '%s ' "$@")
    "$qblk" -s "$dir/m0" tree "$disk" >tree 2>err || fail "qblk tree failed: $(cat err)"
    chain=$(grep -oE '[a-z0-9._-]+\.(qcow2|raw)' tree | awk '!seen[$0]++' | tr '\n' ' ')
    [ "$chain" = "$want" ] || fail "the chain is $chain, not $want"
}
