#!/usr/bin/env bash
# A backup holds what the guest saw when it began, whatever is written meanwhile.
. "$(dirname "$0")/lib.sh"

full() {
    make_chain
    start "$1"
    guest_write 0x81 3M 128k
    cp reference.raw then.raw
    q 0 --json backup "$disk" "$dir/backup.$2" --format "$2"
    result result completed
    nothing_left
    chain_is top.qcow2 mid.qcow2 base.qcow2
    guest_write 0x82 3M 128k
    stop_qemu
    same "backup.$2" "$2" then.raw
    same top.qcow2 qcow2
}

with_writes() {
    local n
    make_long_chain
    cp reference.raw then.raw
    start "$1"
    q_start --json backup "$disk" "$dir/backup.qcow2" --speed 2M
    # Until the job runs a write belongs to the backup; from then on it does not.
    wait_job backup running
    for n in 1 2 3 4 5 6 7 8; do
        guest_write "0x5$n" "$((n * 6))M" 192k
    done
    speed_up
    q_ended 0
    nothing_left
    stop_qemu
    same backup.qcow2 qcow2 then.raw
    same top.qcow2 qcow2
}

top_only() {
    make_chain
    cp reference.raw then.raw
    start "$1"
    q 0 --json backup "$disk" "$dir/backup.qcow2" --sync top
    result result completed
    nothing_left
    stop_qemu
    # It holds the top image's own data; on the images below it is the whole.
    if ! info backup.qcow2 | grep -q '^backing file:'; then
        "$QEMU_IMG" rebase -u -f qcow2 -F qcow2 -b "$dir/mid.qcow2" backup.qcow2 ||
            fail "cannot put the backup on its base"
    fi
    same backup.qcow2 qcow2 then.raw
}

reuse() {
    make_chain
    start "$1"
    "$QEMU_IMG" create -q -f qcow2 backup.qcow2 8M
    io backup.qcow2 qcow2 "write -P 0xee 0 8M"
    q 0 --json backup "$disk" "$dir/backup.qcow2" --reuse-external --format qcow2
    nothing_left
    stop_qemu
    same backup.qcow2 qcow2
}

compressed() {
    make_chain
    start "$1"
    q 2 backup "$disk" "$dir/backup.raw" --format raw --compress
    said err 'raw target cannot be compressed'
    [ ! -e backup.raw ] || fail "a target was made"
    q 0 --json backup "$disk" "$dir/backup.qcow2" --compress
    nothing_left
    stop_qemu
    same backup.qcow2 qcow2
    [ "$(stat -c %s backup.qcow2)" -lt 1500000 ] || fail "the backup is not compressed"
}

legacy() {
    make_chain
    start_drive
    offered drive-backup || skip "this QEMU refuses drive-backup"
    q 0 --json backup drive0 "$dir/backup.qcow2" --legacy
    nothing_left
    stop_qemu
    same backup.qcow2 qcow2
}

# Two to the same file, each through a monitor of its own: one makes it, and it stays.
one_target() {
    local first second
    make_chain
    start_blockdev -blockdev null-co,node-name=other,size=1048576,read-zeroes=on -device virtio-blk-pci,id=vd1,drive=other
    "$qblk" -s "$dir/m0" backup vd0 "$dir/same.qcow2" >out.a 2>err.a </dev/null &
    first=$!
    "$qblk" -s "$dir/m1" backup vd1 "$dir/same.qcow2" --format qcow2 >out.b 2>err.b </dev/null &
    second=$!
    wait "$first"
    first=$?
    wait "$second"
    second=$?
    [ "$first $second" = "0 6" ] || [ "$first $second" = "6 0" ] ||
        fail "they ended with $first and $second: $(cat err.a err.b)"
    [ -s same.qcow2 ] || fail "the file that one of them has made is gone"
    nothing_left
}

for world in blockdev drive qsd; do
    run_test "full backup into new qcow2, $world" full "$world" qcow2
    run_test "backup while the guest writes, $world" with_writes "$world"
done
for world in blockdev drive; do
    run_test "full backup into new raw, $world" full "$world" raw
    run_test "backup of the top image, $world" top_only "$world"
    run_test "backup into an existing image, $world" reuse "$world"
    run_test "compressed backup, $world" compressed "$world"
done
run_test "backup by drive-backup" legacy
run_test "two backups into the same file at once" one_target
finish
