#!/usr/bin/env bash
# A commit takes the data of images down into a lower one; the disk reads the same all the time.
. "$(dirname "$0")/lib.sh"

# moved_to NODE: a disk that only a node name names goes by another one after a pivot, which is said
moved_to() {
    [ "$world" = qsd ] || return 0
    said out "node $1 has taken its place"
    disk=$1
}

intermediate() {
    make_chain
    start "$1"
    q 0 --json commit "$disk" --top @1 --base @2
    result result completed
    said out '"warning": "from the start on[^"]*mid.qcow2'
    nothing_left
    chain_is top.qcow2 base.qcow2
    guest_write 0x71 2M 128k
    stop_qemu
    same top.qcow2 qcow2
    info top.qcow2 | grep -q "^backing file: .*base.qcow2" || fail "wrong backing file recorded"
}

active_pivot() {
    make_chain
    start "$1"
    q 0 --json commit "$disk"
    result result pivoted
    nothing_left
    moved_to base
    chain_is base.qcow2
    guest_write 0x72 3M 128k
    stop_qemu
    same base.qcow2 qcow2
}

active_to_mid() {
    make_chain
    cp base.qcow2 base.orig
    start "$1"
    q 0 --json commit "$disk" --base @1 --pivot
    result result pivoted
    nothing_left
    moved_to mid
    chain_is mid.qcow2 base.qcow2
    stop_qemu
    same mid.qcow2 qcow2
    cmp -s base.qcow2 base.orig || fail "the image below the base was written to"
}

active_finish() {
    make_chain
    start "$1"
    q 0 --json commit "$disk" --finish
    result result finished
    nothing_left
    chain_is top.qcow2 mid.qcow2 base.qcow2
    cp reference.raw then.raw
    guest_write 0x73 1M 128k
    stop_qemu
    same top.qcow2 qcow2
    same base.qcow2 qcow2 then.raw
}

active_keep() {
    make_chain
    start "$1"
    q 0 --json commit "$disk" --keep
    result result kept
    guest_write 0x74 6M 128k
    q 0 --json recover --pivot
    result result pivoted
    nothing_left
    moved_to base
    chain_is base.qcow2
    stop_qemu
    same base.qcow2 qcow2
}

with_writes() {
    local n
    make_long_chain
    start "$1"
    q_start --json commit "$disk" --speed 8M
    wait_job commit running
    for n in 1 2 3 4 5 6 7 8; do
        guest_write "0x5$n" "$((n * 5))M" 192k
    done
    q_ended 0
    nothing_left
    stop_qemu
    same base.qcow2 qcow2
}

interrupted() {
    make_long_chain
    start_blockdev
    # shellcheck disable=SC2086 # two words or none
    q_start --json commit vd0 $1 --speed 64K
    wait_job commit running
    kill -INT "$qblk_pid"
    q_ended 5
    nothing_left
    chain_is top.qcow2 mid.qcow2 base.qcow2
    guest_write 0x75 4M 128k
    stop_qemu
    same top.qcow2 qcow2
}

killed() {
    make_long_chain
    start_blockdev
    # shellcheck disable=SC2086
    q_start --json commit vd0 $1 --speed 64K
    wait_job commit running
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    q 0 job speed "$job" 0
    q 0 --json recover
    result result "$2"
    nothing_left
    stop_qemu
    same "$3" qcow2
}

# refused STATUS PATTERN ARG...
refused() {
    local status=$1 pattern=$2
    shift 2
    q "$status" commit "$@"
    said err "$pattern"
    unchanged
}

# The images that it was to make useless are those of the disk still.
not_moved() {
    make_long_chain
    start_blockdev
    q_start --json commit vd0 --speed 64K
    end_instead commit block-job-cancel
    q_ended 1
    said out 'somebody else ended the job without a pivot'
    grep -q 'could not be removed' out && fail "it tried to remove what the disk uses"
    chain_is top.qcow2 mid.qcow2 base.qcow2
    nothing_left
    guest_write 0x61 2M 128k
    stop_qemu
    same top.qcow2 qcow2
}

# It was not to move, and does: that is no finished commit.
moved() {
    make_long_chain
    start_blockdev
    q_start --json commit vd0 --finish --speed 64K
    end_instead commit block-job-complete
    q_ended 1
    said out 'disk vd0 is on node base now; somebody else ended the job by a pivot'
    said out 'the nodes that disk vd0 leaves stay'
    chain_is base.qcow2
    nothing_left
    guest_write 0x61 2M 128k
    stop_qemu
    same base.qcow2 qcow2
}

refusals() {
    make_chain
    start_blockdev
    remember
    refused 6 'not below' vd0 --top @2 --base @1
    refused 6 'the same image' vd0 --base @0
    refused 6 'deeper than the chain' vd0 --base @3
    refused 6 'nonesuch' nonesuch
    refused 2 'ends by itself' vd0 --top @1 --pivot
    refused 2 'makes no sense' vd0 --backing-file x
    q 0 commit vd0
    remember
    refused 6 'no backing image' vd0
}

# Behind the end of the image that goes the disk would read the base's old data.
short_top() {
    make_sizes 4M 2M 4M
    start_blockdev
    remember
    refused 6 'node mid has 2097152 bytes, the base .node base. 4194304' vd0 --top @1
    q 0 pull vd0
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

# The disk would become longer, and show old data of the base there.
short_disk() {
    make_sizes 2M 2M 4M
    start_blockdev
    remember
    refused 6 'node top has 2097152 bytes, the base .node base. 4194304' vd0
    refused 6 'node top has 2097152 bytes' vd0 --finish
    q 0 --json commit vd0 --base @1
    result result pivoted
    nothing_left
    stop_qemu
    same mid.qcow2 qcow2
}

grown_disk() {
    make_sizes 4M 3M 2M
    start_blockdev
    q 0 --json commit vd0
    result result pivoted
    nothing_left
    stop_qemu
    same base.qcow2 qcow2
}

# sizes_fit TOP MID BASE
sizes_fit() {
    make_sizes "$@"
    start_blockdev
    q 0 --json commit vd0 --top @1
    result result completed
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

dry_run() {
    make_chain
    start_blockdev
    remember
    q 0 --dry-run commit vd0 --top @1
    said out '"block-commit"'
    said err 'worth nothing by themselves'
    unchanged
}

for world in blockdev drive qsd; do
    run_test "commit of an image below the top, $world" intermediate "$world"
    run_test "commit of the top, pivot to the base, $world" active_pivot "$world"
    run_test "commit of the top into the next image, $world" active_to_mid "$world"
    run_test "commit of the top, finish, $world" active_finish "$world"
    run_test "commit of the top, kept, pivoted by recover, $world" active_keep "$world"
    run_test "commit while the guest writes, $world" with_writes "$world"
done
run_test "Ctrl-C ends a commit of the top" interrupted ""
run_test "Ctrl-C ends a commit below the top" interrupted "--top @1"
run_test "a killed client's commit of the top is recovered" killed "" pivoted base.qcow2
run_test "a killed client's commit below the top is recovered" killed "--top @1" completed top.qcow2
run_test "a commit of the top that somebody ends without a pivot" not_moved
run_test "a commit of the top that somebody ends by a pivot" moved
run_test "commits that make no sense are refused" refusals
run_test "a commit of a disk that is shorter than the base is refused" short_disk
run_test "a commit of a disk that has grown" grown_disk
run_test "a commit of an image that is too short is refused" short_top
run_test "images that grow upwards are committed" sizes_fit 4M 3M 2M
run_test "a short image is committed to one that is no longer" sizes_fit 4M 2M 2M
run_test "a short image below one that is no longer is committed" sizes_fit 2M 2M 4M
run_test "a dry run says block-commit and changes nothing" dry_run
finish
