#!/usr/bin/env bash
# A disk gets the size that was asked for, or stays exactly as it is and the reason is said.
. "$(dirname "$0")/lib.sh"

# What is exported keeps its size: the storage daemon's disk is exported again afterwards.
free_of_export() {
    [ "$1" = qsd ] || return 0
    remember
    q 6 --json resize "$disk" 16M
    result code busy
    said out 'an export uses node top.*block-export-del'
    unchanged
    raw '{"execute": "block-export-del", "arguments": {"id": "ex0"}}' >/dev/null
    wait_event "BLOCK_EXPORT_DELETED *"
}

export_again() {
    [ "$1" = qsd ] || return 0
    raw '{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "ex0", "node-name": "top",
          "name": "disk", "writable": true}}' >/dev/null
}

# size_is BYTES: of the disk, by QEMU's own account
size_is() {
    "$qblk" -s "$dir/m0" --json disks >disks 2>err || fail "qblk disks failed: $(cat err)"
    grep -oE "\"virtual_size\": $1," disks | grep -q . || fail "the size is not $1 but: $(cat disks)"
}

grows() {
    make_chain
    start "$1"
    free_of_export "$1"
    q 0 --json resize "$disk" 16M
    export_again "$1"
    result result completed
    result disk_size $((16 << 20))
    size_is $((16 << 20))
    guest_write 0x91 3M 64k
    truncate -s 16M reference.raw
    guest_write 0x92 12M 64k
    nothing_left
    chain_is top.qcow2 mid.qcow2 base.qcow2
    stop_qemu
    same top.qcow2 qcow2
}

rounds_up() {
    make_chain
    start "$1"
    free_of_export "$1"
    q 0 resize "$disk" $(((9 << 20) - 100))
    said err 'no multiple of 512, so it is 9437184'
    size_is $((9 << 20))
    q 0 --json resize "$disk" 9MiB
    said out 'there is nothing to do'
    result disk_size $((9 << 20))
}

shrinks() {
    make_chain
    start "$1"
    free_of_export "$1"
    remember
    q 6 --json resize "$disk" 4M
    result code size-mismatch
    said out 'say --shrink'
    unchanged
    size_is $((8 << 20))
    q 0 --json resize "$disk" 4M --shrink
    said out '"event": "warning".*destroys'
    size_is $((4 << 20))
    truncate -s 4M reference.raw
    export_again "$1"
    stop_qemu
    same top.qcow2 qcow2
}

dry() {
    make_chain
    start "$1"
    free_of_export "$1"
    remember
    q 0 resize "$disk" 16M --dry-run
    said out '"execute":"block_resize"'
    said out "\"size\":$((16 << 20))"
    unchanged
    size_is $((8 << 20))
}

# The device sees the new size only if the node that it uses is told.
through_a_filter() {
    make_chain
    start_qemu -object throttle-group,id=group \
        -blockdev "qcow2,node-name=top,file.driver=file,file.filename=$dir/top.qcow2" \
        -blockdev throttle,node-name=slow,file=top,throttle-group=group \
        -device virtio-blk-pci,id=vd0,drive=slow
    q 0 resize vd0 16M --dry-run
    said out '"node-name":"slow"'
    q 0 resize vd0 16M
    raw '{"execute": "query-block"}' >blocks
    said blocks "\"virtual-size\":$((16 << 20))"
    size_is $((16 << 20))
}

busy() {
    make_long_chain
    start "$1"
    free_of_export "$1"
    q 0 backup "$disk" "$dir/backup.qcow2" --speed 64K --async
    remember
    q 6 --json resize "$disk" 100M
    # QEMU 5.2 may not be asked about its nodes then, and nothing else tells of a disk without a device.
    if [ "$1" = qsd ] && grep -q '"code": "hazard"' out; then
        said out 'while backup job qblk[^ ]* exists; wait for it and dismiss it first'
    else
        result code busy
        said out "is busy: .*qblk job cancel qblk"
    fi
    unchanged
    q 0 recover --undo
    nothing_left
    size_is $((64 << 20))
    q 0 resize "$disk" 100M
}

bad_input() {
    make_chain
    start_blockdev
    remember
    q 2 resize vd0 0
    q 2 resize vd0 -- -5
    q 2 resize vd0 12x
    said err 'not a whole number'
    q 2 resize vd0 64M/s
    q 2 resize vd0 99999999999999999999
    said err 'too large'
    q 6 resize nonesuch 16M
    unchanged
    size_is $((8 << 20))
}

read_only() {
    make_chain
    start_qemu -device virtio-scsi-pci \
        -blockdev "qcow2,node-name=base,file.driver=file,file.filename=$dir/base.qcow2,read-only=on" \
        -device scsi-cd,id=cd,drive=base
    remember
    q 6 resize cd 16M
    said err 'read-only'
    unchanged
}

for world in blockdev drive qsd; do
    run_test "$world: a disk grows, and the guest can write there" grows "$world"
    run_test "$world: the size is rounded up, and nothing is done twice" rounds_up "$world"
    run_test "$world: a disk shrinks only if told so" shrinks "$world"
    run_test "$world: a dry run changes nothing" dry "$world"
    run_test "$world: a job on the disk is named" busy "$world"
done
run_test "what the device uses is resized" through_a_filter
run_test "sizes that are none" bad_input
run_test "a read-only disk" read_only
finish
