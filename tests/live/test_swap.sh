#!/usr/bin/env bash
# swap: the disk moves to an image that is there, has its size then, and nobody else's job is touched.
. "$(dirname "$0")/lib.sh"

# size_is BYTES: of the disk, by QEMU's own account and by the device's
size_is() {
    raw '{"execute": "query-block"}' >block
    grep -qE "\"virtual-size\": ?$1[,}]" block || fail "the disk has not $1 bytes: $(cat block)"
}

equal() {
    make_chain
    "$QEMU_IMG" create -q -f "$2" "new.$2" 8M
    start "$1"
    q 0 --json -vv swap "$disk" "$dir/new.$2" --format "$2"
    result result pivoted
    ! grep -qE 'blockdev-reopen|block_resize|query-commands' err || fail "more was sent than needed"
    nothing_left
    chain_is "new.$2"
    guest_write 0x61 2M 128k
    stop_qemu
    same "new.$2" "$2"
}

grown() {
    make_chain
    "$QEMU_IMG" create -q -f "$2" "new.$2" 8M
    start "$1"
    q 0 --json swap "$disk" "$dir/new.$2" --format "$2" --resize 16M
    result result pivoted
    size_is 16777216
    nothing_left
    "$QEMU_IMG" resize -q -f raw reference.raw 16M
    guest_write 0x62 12M 128k
    stop_qemu
    same "new.$2" "$2"
}

# beyond_reach ARG...: without blockdev-reopen a bigger target is refused, and nothing has happened
beyond_reach() {
    remember
    remember_files
    q 6 --json swap "$@"
    result code unsupported
    said out 'cannot open the rest of it afterwards .blockdev-reopen, since 6.1.; give it a target of'
    unchanged
    files_unchanged new.raw top.qcow2
}

bigger() {
    make_chain
    truncate -s 16M new.raw
    start "$1"
    offered blockdev-reopen || {
        beyond_reach "$disk" "$dir/new.raw" --format raw
        return
    }
    q 0 --json -vv swap "$disk" "$dir/new.raw" --format raw
    result result pivoted
    size_is 16777216
    nothing_left
    "$QEMU_IMG" resize -q -f raw reference.raw 16M
    guest_write 0x62 12M 128k
    stop_qemu
    same new.raw raw
}

recovered() {
    make_long_chain
    truncate -s 80M new.raw
    start_blockdev
    offered blockdev-reopen || {
        beyond_reach vd0 "$dir/new.raw" --format raw --speed 64K ${1:+"$@"}
        return
    }
    q_start --json swap vd0 "$dir/new.raw" --format raw --speed 64K ${1:+"$@"}
    wait_job swap running
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    q 0 job speed "$job" 0
    q 0 --json recover
    result result pivoted
    [ $# = 0 ] && size_is $((80 << 20)) || size_is $((96 << 20))
    nothing_left
}

refused() {
    local pattern=$1
    shift
    q 6 swap vd0 "$@"
    said err "$pattern"
    unchanged
}

refusals() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 small.qcow2 4M
    "$QEMU_IMG" create -q -f qcow2 big.qcow2 16M
    truncate -s 16M big.raw
    "$QEMU_IMG" create -q -f qcow2 equal.qcow2 8M
    start_blockdev
    remember
    refused 'reused.*No such file' "$dir/none.qcow2"
    refused '4194304' "$dir/small.qcow2"
    refused '16777216' "$dir/big.qcow2"
    refused 'cut it off' "$dir/big.raw" --format raw --resize 4M
    refused 'asks for fewer' "$dir/big.raw" --format raw --resize 12M
    q 2 swap vd0 "$dir/big.raw" --resize 8388609
    said err 'multiple of 512'
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix",
            "data": {"path": "'"$dir"'/nbd"}}}}' '{"execute": "block-export-add", "arguments": {
            "type": "nbd", "id": "ex", "node-name": "top"}}' >/dev/null || fail "no export"
    remember
    refused 'an export uses node top.*block-export-del' "$dir/big.raw" --format raw
    refused 'an export uses node top' "$dir/equal.qcow2" --resize 16M
    raw '{"execute": "block-stream", "arguments": {"job-id": "theirs", "device": "top",
            "speed": 1, "auto-dismiss": false}}' >/dev/null
    remember
    refused 'theirs' "$dir/big.raw" --format raw
    raw '{"execute": "job-cancel", "arguments": {"id": "theirs"}}' >/dev/null
}

# A disk that cannot be resized has moved all the same.
not_resized() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 new.qcow2 8M
    start_blockdev
    q 1 --json swap vd0 "$dir/new.qcow2" --format qcow2 --resize 8000000T
    said out 'the disk has moved; resize it: '
    chain_is new.qcow2
    nothing_left
}

# Somebody ends it without a move: then it is not resized either.
not_moved() {
    local size
    make_long_chain
    start_blockdev
    size=$("$QEMU_IMG" info --force-share --output=json top.qcow2 | grep -oE '"virtual-size": [0-9]+' | tail -n 1)
    "$QEMU_IMG" create -q -f qcow2 new.qcow2 "${size##* }"
    remember
    q_start --json swap vd0 "$dir/new.qcow2" --format qcow2 --resize 1G --speed 64K
    end_instead swap block-job-cancel
    q_ended 1
    said out 'somebody else ended the job without a pivot'
    said out 'new.qcow2 is left: a copy of disk vd0'
    size_is "${size##* }"
    unchanged
    nothing_left
}

for world in blockdev drive; do
    run_test "to an image of the same size, $world" equal "$world" qcow2
    run_test "to a raw image of the same size, $world" equal "$world" raw
    run_test "and then grown, qcow2, $world" grown "$world" qcow2
    run_test "and then grown, raw, $world" grown "$world" raw
    run_test "to a bigger raw image, $world" bigger "$world"
done
run_test "killed, then recovered: all of a bigger image" recovered
run_test "killed, then recovered: grown" recovered --resize 96M
run_test "what cannot be swapped is refused" refusals
run_test "a disk that cannot be resized has moved" not_resized
run_test "a disk that somebody kept from moving is not resized" not_moved
finish
