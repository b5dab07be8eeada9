#!/usr/bin/env bash
# Filters that lie above a disk's image are still there, on the new image, after a pivot.
. "$(dirname "$0")/lib.sh"

# filtered KIND: the chain under a filter called upper, or two
filtered() {
    local filters
    case $1 in
    throttle) filters=(-object "throttle-group,id=tg" -blockdev
        "throttle,node-name=upper,throttle-group=tg,file=top") ;;
    copy-on-read) filters=(-blockdev "copy-on-read,node-name=upper,file=top") ;;
    both) filters=(-object "throttle-group,id=tg" -blockdev
        "copy-on-read,node-name=lower,file=top" -blockdev
        "throttle,node-name=upper,throttle-group=tg,file=lower") ;;
    esac
    world=blockdev disk=vd0
    start_qemu \
        -blockdev "file,node-name=base-file,filename=$dir/base.qcow2" \
        -blockdev "qcow2,node-name=base,file=base-file,read-only=on" \
        -blockdev "file,node-name=mid-file,filename=$dir/mid.qcow2" \
        -blockdev "qcow2,node-name=mid,file=mid-file,backing=base,read-only=on" \
        -blockdev "file,node-name=top-file,filename=$dir/top.qcow2" \
        -blockdev "qcow2,node-name=top,file=top-file,backing=mid" \
        "${filters[@]}" -device virtio-blk-pci,id=vd0,drive=upper
}

survive() {
    make_chain
    filtered "$1"
    q 0 --json -vv copy vd0 "$dir/copy.qcow2" --pivot ${2:+"$2"}
    result result pivoted
    nothing_left
    said err '"replaces":"top"'
    raw '{"execute": "query-named-block-nodes", "arguments": {"flat": true}}' >nodes
    case $1 in
    throttle) kept=(upper) ;;
    copy-on-read) kept=(upper) ;;
    both) kept=(upper lower) ;;
    esac
    for node in "${kept[@]}"; do
        grep -qE "\"node-name\": ?\"$node\"" nodes || fail "filter $node is gone"
    done
    grep -qE '"node-name": ?"top"' nodes && fail "the old image is still there"
    q 0 tree vd0
    said out upper
    chain_is copy.qcow2
    guest_write 0x61 2M 128k
    stop_qemu
    same copy.qcow2 qcow2
}

# Somebody ends the job without a pivot just before qblk does.
not_moved() {
    make_long_chain
    filtered throttle
    remember
    q_start --json copy vd0 "$dir/copy.qcow2" --pivot --speed 64K
    end_instead copy block-job-cancel
    q_ended 1
    said out 'filter upper of disk vd0 is not on node'
    said out 'copy.qcow2 is left: a copy of disk vd0'
    grep -q 'could not be removed' out && fail "it tried to remove what the disk uses"
    chain_is top.qcow2 mid.qcow2 base.qcow2
    unchanged
    nothing_left
    stop_qemu
    same copy.qcow2 qcow2
}

recovered() {
    make_long_chain
    filtered both
    q_start copy vd0 "$dir/copy.qcow2" --pivot --speed 64K
    wait_job copy running
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    q 0 job speed "$job" 0
    q 0 --json recover
    result result pivoted
    nothing_left
    chain_is copy.qcow2
    stop_qemu
    same copy.qcow2 qcow2
}

for filter in throttle copy-on-read both; do
    run_test "a pivot under a filter: $filter" survive "$filter"
done
run_test "a pivot under a filter by drive-mirror" survive throttle --legacy
run_test "a filter that is not moved is found out" not_moved
run_test "a pivot under filters by recover" recovered
finish
