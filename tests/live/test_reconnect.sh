#!/usr/bin/env bash
# The connection is cut in the middle and comes back: after each message of each operation, which then
# carries on; and while only watching.
. "$(dirname "$0")/lib.sh"

cutproxy=$build/tests/kill/cutproxy

# through MODE LIMIT ARG...: qblk by way of the proxy; its status in $status, the talk in report
through() {
    local limit=$1
    shift
    rm -f own
    # shellcheck disable=SC2086
    "$cutproxy" -m back $limit "$dir/m0" "$dir/own" report \
        "$qblk" -s "$dir/own" --wait "$patience" --json "$@" >out 2>err </dev/null
    status=$?
}

# done_well N: whatever was cut, the operation was not started twice and left nothing
done_well() {
    [ "$status" = 0 ] || fail "cut $1: ended with $status: $(tail -n 1 out) $(tail -n 3 report | tr '\n' ' ')"
    nothing_left
}

# Cut after a command, and then after a message from QEMU, each time a few further on (CUT_STEP=1: after
# each), until the operation ends before that: $1 is called for one cut.
at_each_message() {
    local flag n
    for flag in c r; do
        for ((n = 3; n < 200; n += ${CUT_STEP:-4})); do
            "$1" "-$flag $n"
            grep -q '^cut$' report || break
        done
        [ "$n" -gt 8 ] || fail "the operation has too few messages: $n"
    done
}

fresh() {
    [ -z "${qemu_pid-}" ] || { kill -KILL "$qemu_pid" && wait "$qemu_pid"; qemu_pid=; } 2>/dev/null
    rm -f m? ./*.qcow2 ./*.raw
    make_chain 8M
    start_blockdev
}

copy_once() {
    [ -n "${qemu_pid-}" ] || fresh
    rm -f new.qcow2
    through "$1" copy vd0 new.qcow2 --reconnect 20
    done_well "$1"
    result result finished
    same new.qcow2 qcow2
}

backup_once() {
    [ -n "${qemu_pid-}" ] || fresh
    rm -f new.qcow2
    through "$1" backup vd0 new.qcow2 --reconnect 20
    done_well "$1"
    same new.qcow2 qcow2
}

pull_once() {
    fresh
    through "$1" pull vd0 --reconnect 20
    done_well "$1"
    stop_qemu
    same top.qcow2 qcow2
}

commit_once() {
    fresh
    through "$1" commit vd0 --reconnect 20
    done_well "$1"
    stop_qemu
    same base.qcow2 qcow2
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

run_test "a watcher sees the end that came while it was away" watched
run_test "a QEMU that does not come back is lost" dies
run_test "copy, cut all along" at_each_message copy_once
run_test "backup, cut all along" at_each_message backup_once
run_test "pull, cut all along" at_each_message pull_once
run_test "commit, cut all along" at_each_message commit_once
finish
