#!/usr/bin/env bash
# The harness itself: the three worlds start, writes reach disk and record alike, and each thing that
# it is there to catch is caught.
. "$(dirname "$0")/lib.sh"

worlds() {
    make_chain
    start "$1"
    guest_write 0x91 2M 128k
    guest_write 0x92 4M 64k
    nothing_left
    remember
    unchanged
    stop_qemu
    same top.qcow2 qcow2
}

events_come() {
    make_long_chain
    start "$1"
    local node=$disk
    [ "$1" != blockdev ] || node=top
    raw '{"execute": "block-stream", "arguments": {"job-id": "s", "device": "'"$node"'",
          "speed": 65536}}'
    wait_event "JOB_STATUS_CHANGE s running *"
    [ "$(job_of)" = s ] || fail "job_of says $(job_of)"
    raw '{"execute": "job-cancel", "arguments": {"id": "s"}}'
    wait_event "BLOCK_JOB_CANCELLED s *"
}

# caught FUNCTION ARG...: it must fail
caught() {
    if ("$@") >/dev/null 2>&1; then
        fail "not caught: $*"
    fi
    rm -f why
}

add_node() {
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "'"$1"'"}}'
}

catches() {
    make_chain
    start_blockdev
    remember
    add_node harmless
    caught unchanged
    nothing_left
    add_node qblk.00000000.journal
    caught nothing_left
    raw '{"execute": "blockdev-del", "arguments": {"node-name": "qblk.00000000.journal"}}' \
        '{"execute": "blockdev-del", "arguments": {"node-name": "harmless"}}'
    nothing_left
    unchanged
    add_bitmap mine
    caught unchanged
    raw '{"execute": "block-dirty-bitmap-remove", "arguments": {"node": "top", "name": "mine"}}'
    unchanged
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix",
          "data": {"path": "'"$dir"'/nbd"}}}}' \
        '{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "e", "node-name": "mid"}}'
    caught unchanged
    raw '{"execute": "nbd-server-stop"}'
    unchanged
    raw '{"execute": "blockdev-create", "arguments": {"job-id": "j", "options": {"driver": "file",
          "filename": "'"$dir"'/x", "size": 0}}}'
    wait_event "JOB_STATUS_CHANGE j concluded *"
    caught nothing_left
    caught unchanged
    hmp 'qemu-io -d /machine/peripheral/vd0/virtio-backend "write -P 1 0 64k"'
    stop_qemu
    caught same top.qcow2 qcow2
    caught q 0 --nonesuch
    caught said qemu.log nonesuch
}

leak() {
    start_qemu
    tail -f /dev/null &
    started=$!
}

dead_qemu() {
    start_qemu
    kill -KILL "$qemu_pid"
    wait "$qemu_pid" || true
}

complaint() {
    echo "x.c:1:2: runtime error: signed integer overflow" >err
}

add_bitmap() {
    raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "'"$1"'"}}'
}

catches_files() {
    make_chain
    remember_files
    files_unchanged base.qcow2 top.qcow2
    io top.qcow2 qcow2 "write -P 1 0 64k"
    files_unchanged base.qcow2
    caught files_unchanged top.qcow2
    caught files_unchanged nonesuch
    : >new
    caught files_unchanged
    rm new mid.qcow2
    caught files_unchanged
}

# The same graph is drawn alike whatever its nodes are called.
charts() {
    make_chain
    start_blockdev
    "$rawqmp" m1 chart >after.blockdev
    grep -qx 'mid.qcow2 qcow2 backing base.qcow2 qcow2' after.blockdev || fail "$(cat after.blockdev)"
    stop_qemu
    start_drive
    "$rawqmp" m1 chart | diff after.blockdev - || fail "the chart depends on names"
}

# A test that must fail, told by run_test's own words
fails() {
    local words
    words=$(run_test inner "$2")
    case $words in
    "not ok inner: "*"$1"*) echo "ok the harness tells: $1" ;;
    *)
        echo "not ok the harness tells: $1: it says $words"
        live_failed=1
        ;;
    esac
}

for world in blockdev drive qsd; do
    run_test "writes reach disk and record, $world" worlds "$world"
    run_test "events are heard, $world" events_come "$world"
done
run_test "changes, leftovers and differences are caught" catches
run_test "changes of files are caught" catches_files
run_test "a chart tells the graph apart from its names" charts
ENDS_WITHIN=1 fails "outlived" leak
fails "QEMU had gone" dead_qemu
fails "sanitizer" complaint
give_reason() { fail "the reason"; }
fails "the reason" give_reason
finish
