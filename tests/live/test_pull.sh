#!/usr/bin/env bash
# A pull leaves the disk on its top image alone, or on the base, with the same content.
. "$(dirname "$0")/lib.sh"

whole_chain() {
    make_chain
    start "$1"
    q 0 --json pull "$disk"
    result result completed
    nothing_left
    chain_is top.qcow2
    guest_write 0x71 2M 128k
    stop_qemu
    same top.qcow2 qcow2
    ! info top.qcow2 | grep -q '^backing file:' || fail "top.qcow2 still names a backing file"
}

to_base() {
    make_chain
    cp base.qcow2 base.orig
    start "$1"
    q 0 --json pull "$disk" --base "$dir/base.qcow2"
    result result completed
    nothing_left
    chain_is top.qcow2 base.qcow2
    stop_qemu
    same top.qcow2 qcow2
    info top.qcow2 | grep -q "^backing file: .*base.qcow2" || fail "wrong backing file recorded"
    cmp -s base.qcow2 base.orig || fail "the base was written to"
}

by_depth() {
    make_chain
    start_blockdev
    q 0 --json pull vd0 --base @2
    chain_is top.qcow2 base.qcow2
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

with_writes() {
    local n
    make_long_chain
    start "$1"
    q_start --json pull "$disk" --speed 2M
    wait_job pull running
    for n in 1 2 3 4 5 6 7 8; do
        guest_write "0x5$n" "$((n * 5))M" 192k
    done
    speed_up
    q_ended 0
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

# What somebody has come to use meanwhile stays as it was, and so does what that lies on.
used_meanwhile() {
    make_long_chain
    start_blockdev
    q_start --json pull vd0 --speed 1M
    wait_job pull running
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix",
          "data": {"path": "'"$dir"'/nbd"}}}}' \
        '{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "ex", "node-name": "mid"}}' \
        '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}' >/dev/null ||
        fail "cannot export the image"
    q_ended 0
    result result completed
    said out 'node mid could not be removed: '
    chain_is top.qcow2
    nothing_left
    raw '{"execute": "query-named-block-nodes"}' >nodes
    grep -q '"node-name":"base-file"' nodes || fail "what the image lies on is gone"
    stop_qemu
    same top.qcow2 qcow2
}

# base <- mid <- top <- over <- last <- new: enough for two jobs at once
make_tall_chain() {
    make_long_chain
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/top.qcow2" over.qcow2
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/over.qcow2" last.qcow2
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/last.qcow2" new.qcow2
    io top.qcow2 qcow2 "write -P 0x68 10M 1M"
    io over.qcow2 qcow2 "write -P 0x66 9M 40M"
    io last.qcow2 qcow2 "write -P 0x67 30M 64k"
    io reference.raw raw "write -P 0x68 10M 1M" "write -P 0x66 9M 40M" "write -P 0x67 30M 64k"
}

start_tall() {
    world=$1 disk=vd0
    if [ "$1" = drive ]; then
        start_qemu -drive "file=$dir/new.qcow2,format=qcow2,if=none,id=drive0" \
            -device virtio-blk-pci,id=vd0,drive=drive0
        return
    fi
    start_qemu -blockdev "qcow2,node-name=base,file.driver=file,file.filename=$dir/base.qcow2,read-only=on" \
        -blockdev "qcow2,node-name=mid,file.driver=file,file.filename=$dir/mid.qcow2,backing=base,read-only=on" \
        -blockdev "qcow2,node-name=top,file.driver=file,file.filename=$dir/top.qcow2,backing=mid,read-only=on" \
        -blockdev "qcow2,node-name=over,file.driver=file,file.filename=$dir/over.qcow2,backing=top,read-only=on" \
        -blockdev "qcow2,node-name=last,file.driver=file,file.filename=$dir/last.qcow2,backing=over,read-only=on" \
        -blockdev "qcow2,node-name=new,file.driver=file,file.filename=$dir/new.qcow2,backing=last" \
        -device virtio-blk-pci,id=vd0,drive=new
}

into_the_middle() {
    make_chain
    start "$1"
    q 0 --json pull "$disk" --into @1
    result result completed
    nothing_left
    chain_is top.qcow2 mid.qcow2
    guest_write 0x71 2M 128k
    stop_qemu
    same top.qcow2 qcow2
    ! info mid.qcow2 | grep -q '^backing file:' || fail "mid.qcow2 still names a backing file"
}

# recorded IMAGE NAME: new.qcow2 and all below hold what the guest wrote, and IMAGE names NAME
recorded() {
    stop_qemu
    same new.qcow2 qcow2
    info "$1" | grep -q "^backing file: $dir/$2" ||
        fail "wrong backing file in $1: $(info "$1" | grep ^backing)"
}

into_with_base() {
    make_tall_chain
    start_tall "$1"
    q 0 --json pull vd0 --into @1 --base @4
    result result completed
    nothing_left
    guest_write 0x71 2M 128k
    recorded last.qcow2 mid.qcow2
}

# leave KIND ARG...: starts a slow job and dies, since its monitor is needed; sets $held
leave() {
    local job kind=$1
    q_start --json "$@" --speed 64K
    wait_job "$kind" running
    held=$job
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
}

# taken_up: the job that was left gets on and is finished
taken_up() {
    q 0 job speed "$held" 0
    q 0 --json recover
    result result completed
    nothing_left
}

# no_bottom ARG...: QEMU cannot be told a bottom, and nothing has happened
no_bottom() {
    remember
    q 6 --json pull vd0 "$@"
    result code unsupported
    said out 'block-stream has no \\"bottom\\".; say --base, and let nothing change below meanwhile'
    unchanged
}

# Images in the middle are pulled while others are committed further down. (QEMU wants the disk's own top
# image for a commit, and the image above what is committed, so these cannot be in a job. And some
# QEMUs cannot be asked for bitmaps while a pull runs.)
commit_below() {
    make_tall_chain
    start_tall "$1"
    in_schema bottom || {
        no_bottom --into @1 --bottom @2
        return
    }
    leave pull vd0 --into @1 --bottom @2
    q 6 pull vd0 --into @2
    said err "$held"
    q 6 commit vd0 --top @3 --base @4 --no-bitmaps
    said err "$held.*which belongs to qblk operation.*recover --operation"
    q 0 --json commit vd0 --top @4 --base @5 --no-bitmaps
    result result completed
    guest_write 0x71 40M 128k
    taken_up
    recorded top.qcow2 base.qcow2
    info last.qcow2 | grep -q "^backing file: $dir/top.qcow2" || fail "the pull recorded another"
}

# The commit takes away the image right below what is pulled: only a bottom can be told, and QEMU records
# what is left.
pull_above() {
    make_tall_chain
    start_tall "$1"
    leave commit vd0 --top @3 --base @5
    q 6 pull vd0 --base @3
    said err "$held"
    q 6 pull vd0 --into @1 --base @3
    said err "$held"
    in_schema bottom || {
        no_bottom --into @1 --bottom @2
        taken_up
        return
    }
    q 0 --json pull vd0 --into @1 --bottom @2
    result result completed
    taken_up
    recorded last.qcow2 base.qcow2
}

# refused STATUS PATTERN ARG...
refused() {
    local status=$1 pattern=$2
    shift 2
    q "$status" pull "$@"
    said err "$pattern"
    unchanged
}

refusals() {
    make_chain
    start_blockdev
    remember
    refused 6 'top image itself' vd0 --base @0
    refused 6 'deeper than the chain' vd0 --base @3
    refused 6 'deeper than the chain' vd0 --into @3
    refused 6 'takes data up|takes? the data|is not below' vd0 --into @1 --base @0
    refused 6 'is to take the data' vd0 --into @1 --base @1
    refused 6 'deeper than the chain' vd0 --bottom @3
    refused 6 'not below' vd0 --into @2 --bottom @1
    refused 6 'nonesuch' vd0 --bottom nonesuch
    refused 2 'exclude one another' vd0 --base @2 --bottom @1
    refused 2 'backing-file needs --base' vd0 --bottom @1 --backing-file x
    refused 2 'backing-file needs --base' vd0 --backing-file x
    if in_schema bottom; then
        q 0 --dry-run pull vd0 --bottom @1
        said out '"bottom": ?"mid"'
    else
        no_bottom --bottom @1
    fi
    unchanged
}

# Behind the end of an image that goes the disk would read the base's old data.
short_in_between() {
    make_sizes 4M 2M 4M
    start_blockdev
    remember
    refused 6 'node mid has 2097152 bytes, the base .node base. 4194304' vd0 --base @2
    q 0 pull vd0
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

# sizes_fit TOP MID BASE
sizes_fit() {
    make_sizes "$@"
    start_blockdev
    q 0 --json pull vd0 --base @2
    result result completed
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

nothing_to_pull() {
    make_chain
    start_blockdev
    q 0 pull vd0
    remember
    q 0 --json pull vd0
    result result completed
    said out '"notes": ."[^"]*nothing to pull'
    nothing_left
    unchanged
}

dry_run() {
    make_chain
    start_blockdev
    remember
    q 0 --dry-run pull vd0
    said out '"block-stream"'
    unchanged
}

for world in blockdev drive qsd; do
    run_test "pull of a whole chain, $world" whole_chain "$world"
    run_test "pull down to a base, $world" to_base "$world"
    run_test "pull while the guest writes, $world" with_writes "$world"
done
for world in blockdev drive qsd; do
    run_test "pull into an image below the top, $world" into_the_middle "$world"
done
for world in blockdev drive; do
    run_test "pull into an image down to a base, $world" into_with_base "$world"
    run_test "a commit below a pull, $world" commit_below "$world"
    run_test "a pull with a bottom above a commit, $world" pull_above "$world"
done
run_test "an image that somebody has come to use stays" used_meanwhile
run_test "pulls that make no sense are refused" refusals
run_test "an image in between that is too short is refused" short_in_between
run_test "images that grow upwards are pulled" sizes_fit 4M 3M 2M
run_test "a short image on a base that is no longer is pulled" sizes_fit 4M 2M 2M
run_test "a short image below one that is no longer is pulled" sizes_fit 2M 2M 4M
run_test "a base may be given by its depth" by_depth
run_test "a pull with nothing to do changes nothing" nothing_to_pull
run_test "a dry run says block-stream and changes nothing" dry_run
finish
