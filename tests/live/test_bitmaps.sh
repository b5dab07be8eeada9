#!/usr/bin/env bash
# What an incremental backup relies on outlives a change of the chain: a backup of what a bitmap names,
# made on top of the disk as it was when the bitmap was added, is the disk.
. "$(dirname "$0")/lib.sh"

cutproxy=$build/tests/kill/cutproxy

# snapshot NAME: NAME.qcow2 becomes the top image, and takes the bitmap up in the same instant
snapshot() {
    local device="\"node-name\": \"$disk\""
    [ "$world" != drive ] || device='"device": "drive0"'
    [ "$world" != blockdev ] || device="\"node-name\": \"$top\""
    raw '{"execute": "transaction", "arguments": {"actions": [
          {"type": "blockdev-snapshot-sync", "data": {'"$device"', "snapshot-file":
           "'"$dir/$1.qcow2"'", "snapshot-node-name": "'"$1"'", "format": "qcow2"}},
          {"type": "block-dirty-bitmap-add", "data": {"node": "'"$1"'", "name": "b",
           "persistent": true}}]}}' || fail "no snapshot"
    top=$1
    [ "$world" != qsd ] || disk=$1
}

# tracked WORLD: base <- mid <- top <- s1 <- s2, written to since the bitmap was added to top: 64 KiB
# each in top and s1, 128 KiB in s2
tracked() {
    make_chain
    start "$1"
    top=top
    [ "$1" != drive ] || top=drive0
    raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "'"$top"'", "name": "b",
          "persistent": true}}' || fail "no bitmap"
    cp reference.raw then.raw
    guest_write 0x61 2M 64k
    snapshot s1
    guest_write 0x62 3M 64k
    snapshot s2
    guest_write 0x63 3520k 64k
    guest_write 0x64 5M 64k
}

# close_images: a bitmap is stored as its image is closed, which the storage daemon of QEMU 5.2 does not do
# when it ends
close_images() {
    local node
    raw '{"execute": "block-export-del", "arguments": {"id": "ex0"}}' || fail "no export"
    wait_event 'BLOCK_EXPORT_DELETED *'
    for node in s2 s1 top mid base; do # those that are still there, and are not the export's alone
        raw '{"execute": "blockdev-del", "arguments": {"node-name": "'"$node"'"}}'
    done
    world=none
}

# backed_up FILE KIB LOWER...: after another 64 KiB, the bitmaps of FILE and of the images below it that
# still have one name KIB, and a backup of these makes what was then what is now
backed_up() {
    local file=$1 kib=$2 below
    shift 2
    guest_write 0x65 6M 64k
    [ "$world" != qsd ] || close_images
    stop_qemu
    same "$file" qcow2
    for below in "$@"; do
        "$QEMU_IMG" bitmap --merge b -b "$below" -F qcow2 "$file" b ||
            fail "$below has no bitmap to be merged"
    done
    world=blockdev start_qemu -blockdev "qcow2,node-name=now,file.driver=file,file.filename=$file" \
        -blockdev "raw,node-name=then,file.driver=file,file.filename=then.raw"
    raw '{"execute": "query-named-block-nodes", "arguments": {"flat": true}}' >nodes
    grep -oE '\{[^{}]*"name": ?"b"[^{}]*\}' nodes >bitmap # the largest is that of FILE
    grep -qE "\"count\": ?$((kib * 1024))[,}]" bitmap || fail "not $kib KiB: $(tr '\n' ' ' <bitmap)"
    raw '{"execute": "blockdev-backup", "arguments": {"job-id": "j", "device": "now",
          "target": "then", "sync": "bitmap", "bitmap": "b", "bitmap-mode": "never",
          "auto-dismiss": false}}' || fail "no backup"
    wait_event "JOB_STATUS_CHANGE j concluded *"
    raw '{"execute": "job-dismiss", "arguments": {"id": "j"}}'
    world=blockdev stop_qemu
    same then.raw raw
}

whole_pull() {
    tracked "$1"
    q 0 --json pull "$disk"
    nothing_left
    backed_up s2.qcow2 320
}

pull_to_base() {
    tracked "$1"
    q 0 --json pull "$disk" --base "$dir/top.qcow2"
    nothing_left
    backed_up s2.qcow2 320 top.qcow2
}

commit_below() {
    tracked "$1"
    q 0 --json commit "$disk" --top @1 --base @2
    nothing_left
    backed_up s2.qcow2 320 top.qcow2
}

# Of the images below none has a bitmap.
pivot_to_new() {
    tracked "$1"
    q 0 --json commit "$disk" --base @4
    result result pivoted
    nothing_left
    backed_up base.qcow2 320
}

copy_pivot() {
    tracked "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --pivot
    result result pivoted
    nothing_left
    [ "$1" != qsd ] || disk=s2
    backed_up copy.qcow2 320
}

copy_shallow() {
    tracked "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --shallow --pivot
    result result pivoted
    nothing_left
    backed_up copy.qcow2 320 s1.qcow2 top.qcow2
}

copy_by_recover() {
    tracked blockdev
    q 0 --json copy vd0 "$dir/copy.qcow2" --keep
    q 0 --json recover --pivot
    result result pivoted
    nothing_left
    backed_up copy.qcow2 320
}

copy_to_raw() {
    tracked blockdev
    q 0 copy vd0 "$dir/copy.raw" --format raw --pivot
    said err 'bitmap b of node s2 is not carried on'
    nothing_left
}

# The job writes to an image that records; it must not say that everything is new.
pivot_to_old() {
    tracked "$1"
    q 0 --json commit "$disk" --base @2
    result result pivoted
    nothing_left
    backed_up top.qcow2 320
}

pivot_by_recover() {
    tracked blockdev
    q 0 --json commit vd0 --base @3 --keep
    q 0 --json recover --pivot
    result result pivoted
    nothing_left
    backed_up mid.qcow2 320
}

finished() {
    tracked blockdev
    q 0 --json commit vd0 --base @1 --finish
    nothing_left
    chain_is s2.qcow2 s1.qcow2 top.qcow2 mid.qcow2 base.qcow2
    backed_up s2.qcow2 320 s1.qcow2 top.qcow2
}

# killed_at TEXT ARG...: the client is killed at the first command that has TEXT in it
killed_at() {
    local text=$1
    shift
    rm -f own
    "$cutproxy" -m kill -x "$text" "$dir/m0" "$dir/own" report \
        "$qblk" -s "$dir/own" --json "$@" >out 2>err </dev/null
    [ "$?" = 137 ] || fail "it was not killed: $(tail -n 1 out) $(cat err)"
}

# Killed when it has carried them on, and undone: they are where they were, and nowhere else.
undone_by_recover() {
    local forgive='s/"resize","write",//' # QEMU keeps these on the base after a cancelled commit
    tracked blockdev
    remember
    killed_at '"block-dirty-bitmap-merge"' commit vd0 --base @4
    q 0 --json recover --undo
    result result undone
    nothing_left
    unchanged
    backed_up s2.qcow2 320 s1.qcow2 top.qcow2
    ! "$QEMU_IMG" info base.qcow2 | grep -q 'name: b$' || fail "the base has a bitmap now"
}

# The same of an image that was there before.
reused_and_undone() {
    tracked blockdev
    "$QEMU_IMG" create -q -f qcow2 copy.qcow2 8M
    remember
    killed_at '"block-dirty-bitmap-merge"' copy vd0 "$dir/copy.qcow2" --reuse-external --pivot
    q 0 --json recover --undo
    result result undone
    nothing_left
    unchanged
    ! "$QEMU_IMG" info copy.qcow2 | grep -q 'name: b$' || fail "the target has a bitmap now"
    backed_up s2.qcow2 320 s1.qcow2 top.qcow2
}

# The undoing was killed as well, once they were taken back and before the job was cancelled: it is done
# after all.
undone_and_pivoted() {
    tracked blockdev
    killed_at '"block-dirty-bitmap-merge"' commit vd0 --base @4
    killed_at '"block-dirty-bitmap-remove"' recover --undo
    q 0 --json recover
    result result pivoted
    nothing_left
    backed_up base.qcow2 320
}

# too_late_to_undo FILE ARG...: the disk has moved, and they stay where they are
too_late_to_undo() {
    local file=$1
    shift
    tracked blockdev
    killed_at '"job-complete"' "$@"
    wait_job "$1" concluded
    q 0 --json recover --undo
    result result pivoted
    nothing_left
    backed_up "$file" 320
}

# A pull that fails after the bitmaps were merged has harmed nothing.
cancelled() {
    make_long_chain
    start_blockdev
    top=top disk=vd0
    raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "b",
          "persistent": true}}'
    cp reference.raw then.raw
    guest_write 0x61 2M 64k
    snapshot s1
    guest_write 0x62 3M 64k
    # shellcheck disable=SC2086
    q_start --json $1 --speed 64K
    wait_job "${1%% *}" running
    kill -INT "$qblk_pid"
    q_ended 5
    nothing_left
    chain_is s1.qcow2 top.qcow2 mid.qcow2 base.qcow2
    backed_up s1.qcow2 192 top.qcow2
}

# The bitmap cannot be added to an image of the old version, which shows at the pivot.
fails_at_pivot() {
    local image
    tracked blockdev
    stop_qemu
    "$QEMU_IMG" amend -f qcow2 -o compat=0.10 base.qcow2 || fail "no old image"
    start_qemu -blockdev \
        "qcow2,node-name=s2,file.driver=file,file.filename=$dir/s2.qcow2" \
        -device virtio-blk-pci,id=vd0,drive=s2
    disk=vd0 world=blockdev
    q 1 --json commit vd0
    said out 'carry the bitmaps on'
    nothing_left
    chain_is s2.qcow2 s1.qcow2 top.qcow2 mid.qcow2 base.qcow2
    q 0 --json commit vd0 --no-bitmaps
    result result pivoted
    stop_qemu
    same base.qcow2 qcow2
    for image in s1 s2; do
        [ -e "$image.qcow2" ] || fail "an image was removed"
    done
}

# refused PATTERN ARG...
refused() {
    local pattern=$1
    shift
    q 6 "$@"
    said err "$pattern"
    unchanged
}

refusals() {
    tracked blockdev
    raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "other"}}'
    raw '{"execute": "block-dirty-bitmap-disable", "arguments": {"node": "top", "name": "b"}}'
    remember
    refused "bitmap b of node s2.*node top.*disabled.*--no-bitmaps" commit vd0 --base top
    q 0 --dry-run commit vd0 --base top --no-bitmaps
    # As good as none: said, and not in the way.
    q 0 --dry-run --json pull vd0 --base mid
    said out 'bitmap b of node top is not carried on: it is disabled'
    said out 'bitmap other of node top is not carried on: it is not persistent'
    said out 'block-dirty-bitmap-merge.*s1'
    said out 'full one'
    unchanged
}

other_size() {
    tracked blockdev
    raw '{"execute": "block_resize", "arguments": {"node-name": "s2", "size": 16777216}}'
    "$QEMU_IMG" resize -q -f raw reference.raw 16M
    remember
    refused 'bitmap b of node s1.*8388608.*--no-bitmaps' pull vd0
    refused 'bitmap b of node s1.*8388608' commit vd0 --base mid
    q 0 --json pull vd0 --no-bitmaps
    nothing_left
    stop_qemu
    same s2.qcow2 qcow2
}

# held by a job: not to be merged
busy() {
    tracked blockdev
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 8M
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix", "data": {"path":
          "'"$dir"'/nbd"}}}}' '{"execute": "block-export-add", "arguments": {"type": "nbd",
          "id": "ex", "node-name": "s1", "name": "s1", "bitmaps": ["b"]}}' || fail "no export"
    remember
    refused 'bitmap b of node s1 is in use' pull vd0
    raw '{"execute": "block-export-del", "arguments": {"id": "ex"}}'
    wait_event "BLOCK_EXPORT_DELETED *"
    q 0 --json pull vd0
    backed_up s2.qcow2 320
}

dry_run() {
    tracked blockdev
    remember
    q 0 --dry-run commit vd0 --base @2
    [ "$(grep -c '"block-dirty-bitmap-merge"' out)" = 2 ] || fail "not two transactions"
    as_planned commit vd0 --base @2
}

# as_planned ARG...: what a dry run tells is what the operation then sends, in that order
as_planned() {
    q 0 --json --dry-run "$@"
    commands plan >planned
    q 0 --json "$@"
    commands step >sent
    [ -s planned ] || fail "a dry run told no command"
    cmp -s planned sent || fail "not as planned: $(diff planned sent | head -n 6)"
}

# commands EVENT: those in such events of --json output, without the id of the operation; the survey of
# what is left is only sent if something is
commands() {
    grep "^{\"event\": \"$1\"" out | sed 's/"command": /\n&/g' | grep '^"command": {' |
        grep -v x-debug-query-block-graph | sed -E 's/, "(undo|agent)": .*//; s/qblk\.[0-9a-f]{8}/qblk.ID/g'
}

no_bitmaps() {
    tracked blockdev
    remember
    q 0 --dry-run commit vd0 --base @2 --no-bitmaps
    ! grep -q '"block-dirty-bitmap-merge"' out || fail "--no-bitmaps has no effect"
    unchanged
}

for world in blockdev drive qsd; do
    run_test "a bitmap after a pull, $world" whole_pull "$world"
    run_test "a bitmap after a pull to a base, $world" pull_to_base "$world"
    run_test "a bitmap after a commit below the top, $world" commit_below "$world"
    run_test "a bitmap after a pivot to an image without it, $world" pivot_to_new "$world"
    run_test "a bitmap after a pivot to an image that has it, $world" pivot_to_old "$world"
done
run_test "a bitmap after a pivot by recover" pivot_by_recover
run_test "a bitmap that a killed client had carried on" undone_by_recover
run_test "a bitmap that a killed client had carried on to an image that was there" reused_and_undone
run_test "a bitmap that was carried on, taken back by a killed client, and carried on" undone_and_pivoted
run_test "a bitmap after a commit that is undone too late" too_late_to_undo base.qcow2 commit vd0 --base @4
run_test "a bitmap after a copy that is undone too late" too_late_to_undo copy.qcow2 copy vd0 copy.qcow2 --pivot
run_test "a bitmap after a commit that does not pivot" finished
run_test "a bitmap after a cancelled pull" cancelled "pull vd0"
run_test "a bitmap after a cancelled commit of the top" cancelled "commit vd0 --base top"
run_test "a bitmap that cannot be stored undoes the commit" fails_at_pivot
run_test "a bitmap of no use where the disk is to go" refusals
run_test "bitmaps of images of different sizes" other_size
run_test "a bitmap that an export holds" busy
run_test "a dry run tells how bitmaps are carried on" dry_run
for world in blockdev drive; do
    run_test "a copy takes them along, $world" copy_pivot "$world"
    run_test "a shallow copy takes those of the top image, $world" copy_shallow "$world"
done
run_test "a kept copy takes them along when it is recovered" copy_by_recover
run_test "a raw copy cannot, and says so" copy_to_raw
run_test "--no-bitmaps leaves them" no_bitmaps
finish
