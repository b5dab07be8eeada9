#!/usr/bin/env bash
# The connection is cut in the middle and comes back: after each 14th message of an operation (of some
# each 23rd), or each CUT_STEP-th, upon which it carries on; and while only watching.
. "$(dirname "$0")/lib.sh"

cutproxy=$build/tests/kill/cutproxy

# through LIMIT ARG...: qblk by way of the proxy; its status in $status, the talk in report
through() {
    local limit=$1
    shift
    rm -f own
    # shellcheck disable=SC2086
    "$cutproxy" -m back $limit "$dir/m0" "$dir/own" report \
        "$qblk" -s "$dir/own" --wait "$patience" --json "$@" >out 2>err </dev/null
    status=$?
}

# done_well N COMMAND [TIMES [MOST]]: whatever was cut, the operation began with COMMAND so often (or more,
# where that does no harm), and left nothing. All that was sent was carried out, so that what is on the
# wire is what there was.
done_well() {
    local n
    [ "$status" = 0 ] || fail "cut $1: ended with $status: $(tail -n 1 out) $(tail -n 3 report | tr '\n' ' ')"
    n=$(grep -c "^> $2 " report)
    [ "$n" -ge "${3-1}" ] && [ "$n" -le "${4-${3-1}}" ] || fail "cut $1: $2 was sent $n times"
    nothing_left
}

# at_each_message STEP FUNCTION: cut after a command, and then after a message from QEMU, each time so much
# further on (CUT_STEP=1: after each), until the operation ends before that: FUNCTION is called for one
# cut.
at_each_message() {
    local flag n step=${CUT_STEP:-$1} once=$2
    for flag in c r; do
        # Two further on for the other flag: other instants.
        for ((n = $([ "$flag" = c ] && echo 3 || echo 5); n < 200; n += step)); do
            "$once" "-$flag $n"
            grep -q '^cut$' report || break
        done
        [ "$n" -gt 8 ] || fail "the operation has too few messages: $n"
    done
}

# fresh [ARG...]: a new QEMU, with these arguments besides
fresh() {
    [ -z "${qemu_pid-}" ] || { kill -KILL "$qemu_pid" && wait "$qemu_pid"; qemu_pid=; } 2>/dev/null
    rm -f m? ./*.qcow2 ./*.raw
    make_chain 8M
    start_blockdev "$@"
}

copy_once() {
    [ -n "${qemu_pid-}" ] || fresh
    rm -f new.qcow2
    through "$1" copy vd0 new.qcow2 --reconnect 20
    done_well "$1" blockdev-mirror
    result result finished
    same new.qcow2 qcow2
}

backup_once() {
    [ -n "${qemu_pid-}" ] || fresh
    rm -f new.qcow2
    through "$1" backup vd0 new.qcow2 --reconnect 20
    done_well "$1" blockdev-backup
    same new.qcow2 qcow2
}

pull_once() {
    fresh
    through "$1" pull vd0 --reconnect 20
    done_well "$1" block-stream
    stop_qemu
    same top.qcow2 qcow2
}

commit_once() {
    fresh
    through "$1" commit vd0 --reconnect 20
    done_well "$1" block-commit
    stop_qemu
    same base.qcow2 qcow2
}

# Bigger, where this QEMU can open the rest.
swap_once() {
    local size=8M more=()
    fresh
    ! offered blockdev-reopen || size=12M more=(--resize 16M)
    "$QEMU_IMG" create -q -f raw new.raw "$size" || fail "no target"
    through "$1" swap vd0 new.raw --format raw "${more[@]}" --reconnect 20
    done_well "$1" blockdev-mirror
    result result pivoted
    stop_qemu
    "$QEMU_IMG" resize -q -f raw --shrink new.raw 8M
    same new.raw raw
}

two_once() {
    fresh_two
    rm -f new?.qcow2
    through "$1" copy vd0=new0.qcow2 d1=new1.qcow2 --pivot --reconnect 20
    done_well "$1" blockdev-mirror 2
    stop_qemu
    same new0.qcow2 qcow2
    same new1.qcow2 qcow2 other.img
}

# The same with a second disk, which has data of its own.
fresh_two() {
    rm -f ./*.qcow2 ./*.raw
    "$QEMU_IMG" create -q -f qcow2 d1.img 4M && "$QEMU_IMG" create -q -f raw other.img 4M ||
        fail "no second disk"
    io d1.img qcow2 "write -P 0x66 0 128k"
    io other.img raw "write -P 0x66 0 128k"
    fresh -blockdev "file,node-name=d1-file,filename=$dir/d1.img" \
        -blockdev "qcow2,node-name=d1-top,file=d1-file" -device "virtio-blk-pci,id=d1,drive=d1-top"
}

snapshot_once() {
    fresh_two
    through "$1" snapshot vd0=over0.qcow2 d1=over1.qcow2 --reconnect 20
    done_well "$1" transaction
    stop_qemu
    same over0.qcow2 qcow2
    same over1.qcow2 qcow2 other.img
}

resize_once() {
    fresh
    through "$1" resize vd0 16M --reconnect 20
    done_well "$1" block_resize
    result disk_size 16777216
}

# The same limits may be set again.
throttle_once() {
    fresh
    through "$1" throttle vd0 --bps 1M --reconnect 20
    done_well "$1" block_set_io_throttle 1 2
    result result completed
    q 0 --json throttle vd0
    result bps 1048576
}

# A device that goes at once, and may be asked again to.
detach_once() {
    [ -z "${qemu_pid-}" ] || { kill -KILL "$qemu_pid" && wait "$qemu_pid"; qemu_pid=; } 2>/dev/null
    rm -f m? ./*.qcow2 ./*.raw
    make_chain 8M
    world=blockdev disk=hd0
    start_qemu -device virtio-scsi-pci,id=scsi \
        -blockdev "qcow2,node-name=mid,file.driver=file,file.filename=$dir/mid.qcow2,read-only=on" \
        -blockdev "qcow2,node-name=top,file.driver=file,file.filename=$dir/top.qcow2,backing=mid" \
        -device scsi-hd,id=hd0,drive=top
    through "$1" detach hd0 --reconnect 20
    done_well "$1" device_del 1 2
    result result completed
    ! raw '{"execute": "query-named-block-nodes"}' | grep -q '"node-name":"\(top\|mid\)"' ||
        fail "cut $1: nodes are left"
}

# One that is left is finished by a recover whose own connection is cut.
recover_once() {
    fresh
    rm -f new.qcow2
    q 0 copy vd0 new.qcow2 --keep
    through "$1" recover --pivot --reconnect 20
    done_well "$1" job-complete
    stop_qemu
    same new.qcow2 qcow2
}

watched() {
    make_long_chain
    start_blockdev
    raw '{"execute": "block-stream", "arguments": {"job-id": "job", "device": "top",
          "speed": 65536, "auto-dismiss": false}}'
    wait_event "JOB_STATUS_CHANGE job running *"
    # After the answers to the first reading: greeting, capabilities, two queries.
    through "-r 4" --timeout 20 job wait job --reconnect 20 &
    local waiting=$!
    raw '{"execute": "job-cancel", "arguments": {"id": "job"}}'
    wait_event "JOB_STATUS_CHANGE job concluded *"
    wait "$waiting"
    said report '^cut$'
    said out '"cancelled"'
    raw '{"execute": "job-dismiss", "arguments": {"id": "job"}}'
}

# told WORD VERB...: what a client that only looks says of a job that ended while there was no connection.
# The proxy is killed, and in its place, once the job is over, stands QEMU's own socket. WORD is the
# outcome: "lost" if QEMU has forgotten the job by then, which is as much as can be known.
told() {
    local outcome=$1 proxy
    shift
    make_long_chain
    start_blockdev
    raw '{"execute": "block-stream", "arguments": {"job-id": "job", "device": "top",
          "speed": 65536, "auto-dismiss": false}}'
    wait_event "JOB_STATUS_CHANGE job running *"
    mkfifo says
    : >report
    QBLK_SOCKET=$dir/own "$cutproxy" m0 own report "$qblk" --json --timeout 30 "$@" --reconnect 30 \
        >says 2>err </dev/null &
    proxy=$!
    exec {says}<says
    wait_said report '^> query-block-jobs'
    raw '{"execute": "job-pause", "arguments": {"id": "job"}}'
    see '"paused"'
    kill -KILL "$proxy"
    wait "$proxy" 2>/dev/null
    raw '{"execute": "job-cancel", "arguments": {"id": "job"}}'
    wait_event "JOB_STATUS_CHANGE job concluded *"
    [ "$outcome" != lost ] || raw '{"execute": "job-dismiss", "arguments": {"id": "job"}}'
    ln -s m0 anew
    mv -T anew own
    see '"event": "job".*"id": "job".*"outcome": "'"$outcome"'"'
    # With nobody to read it ends at its next word.
    exec {says}<&-
    [ "$outcome" = lost ] || raw '{"execute": "job-dismiss", "arguments": {"id": "job"}}'
}

each_watcher_is_told() {
    local outcome
    for outcome in cancelled lost; do
        told "$outcome" job watch job
        anew
        told "$outcome" watch "$dir/own"
        anew
        told "$outcome" events
        anew
        told "$outcome" job wait job
        anew
    done
}

anew() {
    kill -KILL "$qemu_pid" && wait "$qemu_pid" 2>/dev/null
    qemu_pid=
    rm -f m? own says report ./*.qcow2 ./*.raw
}

# QEMU dies: tried for as long as was said, then lost, with status 3.
dies() {
    make_long_chain
    start_blockdev
    q_start copy vd0 new.qcow2 --speed 64K --reconnect 0.5
    wait_job copy running
    kill -KILL "$qemu_pid"
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
    q_ended 3
    said err 'trying again'
    said err 'could not be made again in time'
}

# dies_and_comes_back KIND: another QEMU comes in its place, which knows nothing of the operation
dies_and_comes_back() {
    make_long_chain
    start_blockdev
    case $1 in
    copy) q_start --json copy vd0 new.qcow2 --speed 64K --reconnect 20 ;;
    pull) q_start --json pull vd0 --speed 64K --reconnect 20 ;;
    esac
    wait_job "$1" running
    kill -KILL "$qemu_pid"
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
    start_blockdev
    q_ended 3
    result code lost
    said out 'is not in QEMU any more'
    case $1 in
    copy)
        said err "when the connection was lost: file $dir/new.qcow2, made by this operation, is incomplete"
        [ -e new.qcow2 ] || fail "it was removed"
        ;;
    pull) said err "when the connection was lost: disk vd0: the images below still hold all" ;;
    esac
}

run_test "a watcher sees the end that came while it was away" watched
run_test "a QEMU that does not come back is lost" dies
for kind in copy pull; do
    run_test "a QEMU that comes back as another one: $kind" dies_and_comes_back "$kind"
done
run_test "every watcher is told what ended while it was away" each_watcher_is_told
run_test "copy, cut all along" at_each_message 14 copy_once
run_test "backup, cut all along" at_each_message 14 backup_once
run_test "pull, cut all along" at_each_message 14 pull_once
run_test "commit, cut all along" at_each_message 14 commit_once
run_test "swap, cut all along" at_each_message 23 swap_once
run_test "copy of two disks, cut all along" at_each_message 23 two_once
run_test "snapshot of two disks, cut all along" at_each_message 23 snapshot_once
run_test "resize, cut all along" at_each_message 23 resize_once
run_test "throttle, cut all along" at_each_message 5 throttle_once
run_test "detach, cut all along" at_each_message 5 detach_once
run_test "recover, cut all along" at_each_message 23 recover_once
finish
