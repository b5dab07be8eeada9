#!/usr/bin/env bash
# On a QEMU that refuses all that is deprecated or unstable, and so without the debug graph, the
# operations work as ever. This is how to learn early of a command whose days are numbered.
. "$(dirname "$0")/lib.sh"

# start_strict WORLD: the storage daemon has no such option
start_strict() {
    "$QEMU" -compat help >/dev/null 2>compat || ! grep -q 'invalid option' compat ||
        skip "this QEMU has no option -compat"
    "start_$1" -compat deprecated-input=reject,unstable-input=reject
    ! offered x-debug-query-block-graph || fail "QEMU is not strict"
}

pull() {
    make_chain
    start_strict "$1"
    q 0 --json pull "$disk" --base "$dir/base.qcow2"
    result result completed
    nothing_left
    chain_is top.qcow2 base.qcow2
    q 0 --json pull "$disk"
    chain_is top.qcow2
    guest_write 0x71 2M 128k
    stop_qemu
    same top.qcow2 qcow2
}

copy() {
    make_chain
    start_strict "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --finish
    result result finished
    cp reference.raw then.raw
    q 0 --json copy "$disk" "$dir/moved.qcow2" --pivot
    result result pivoted
    nothing_left
    chain_is moved.qcow2
    guest_write 0x72 2M 128k
    stop_qemu
    same copy.qcow2 qcow2 then.raw
    same moved.qcow2 qcow2
}

backup() {
    make_chain
    start_strict "$1"
    q 0 --json backup "$disk" "$dir/backup.qcow2"
    result result completed
    nothing_left
    chain_is top.qcow2 mid.qcow2 base.qcow2
    stop_qemu
    same backup.qcow2 qcow2
}

# What the job verbs send, and a client that dies.
jobs() {
    make_long_chain
    start_strict "$1"
    q_start --json copy "$disk" "$dir/copy.qcow2" --finish --speed 64K
    wait_job copy running
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    q 0 job pause "$job"
    wait_event "JOB_STATUS_CHANGE $job paused *"
    q 0 job resume "$job"
    q 0 job speed "$job" 0
    q 0 --json recover
    nothing_left
    stop_qemu
    same copy.qcow2 qcow2
}

for world in blockdev drive; do
    for what in pull copy backup jobs; do
        run_test "nothing deprecated or unstable is needed: $what, $world" "$what" "$world"
    done
done
finish
