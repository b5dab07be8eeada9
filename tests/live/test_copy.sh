#!/usr/bin/env bash
# A copy holds what the guest saw at its end; a pivot moves the disk, a finish does not.
. "$(dirname "$0")/lib.sh"

pivot() {
    make_chain
    start "$1"
    q 0 --json copy "$disk" "$dir/copy.$2" --format "$2" --pivot
    result result pivoted
    nothing_left
    [ "$1" = qsd ] || chain_is "copy.$2"
    guest_write 0x61 2M 128k
    stop_qemu
    same "copy.$2" "$2"
}

finished() {
    make_chain
    start "$1"
    guest_write 0x62 3M 128k
    q 0 --json copy "$disk" "$dir/copy.qcow2"
    result result finished
    nothing_left
    chain_is top.qcow2 mid.qcow2 base.qcow2
    cp reference.raw then.raw
    guest_write 0x63 6M 128k
    stop_qemu
    same top.qcow2 qcow2
    same copy.qcow2 qcow2 then.raw
}

with_writes() {
    local n
    make_long_chain
    start "$1"
    q_start --json copy "$disk" "$dir/copy.qcow2" --pivot --speed 2M
    wait_job copy running
    for n in 1 2 3 4 5 6 7 8; do
        guest_write "0x5$n" "$((n * 6))M" 192k
    done
    speed_up
    q_ended 0
    result result pivoted
    nothing_left
    guest_write 0x59 60M 64k
    stop_qemu
    same copy.qcow2 qcow2
}

shallow() {
    make_chain
    start "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --shallow --pivot
    result result pivoted
    nothing_left
    chain_is copy.qcow2 mid.qcow2 base.qcow2
    guest_write 0x64 2M 128k
    stop_qemu
    same copy.qcow2 qcow2
    info copy.qcow2 | grep -q '^backing file: .*mid.qcow2' || fail "the copy records no backing file"
    [ "$(stat -c %s copy.qcow2)" -lt 2500000 ] || fail "a shallow copy holds more than the top image"
}

reuse() {
    make_chain
    start "$1"
    "$QEMU_IMG" create -q -f qcow2 copy.qcow2 8M
    io copy.qcow2 qcow2 "write -P 0xee 0 8M"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --reuse-external --format qcow2 --pivot
    result result pivoted
    nothing_left
    stop_qemu
    same copy.qcow2 qcow2
}

keep() {
    make_chain
    start "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --keep
    result result kept
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    guest_write 0x65 3M 128k
    q 0 --json job wait "$job" --ready
    q 0 job complete "$job"
    guest_write 0x66 4M 128k
    stop_qemu
    same copy.qcow2 qcow2
}

legacy() {
    make_chain
    start "$1"
    q 0 --json -v copy "$disk" "$dir/copy.qcow2" --legacy "--$2"
    nothing_left
    case $2 in
    pivot)
        result result pivoted
        guest_write 0x67 3M 128k
        ;;
    finish)
        result result finished
        chain_is top.qcow2 mid.qcow2 base.qcow2
        ;;
    esac
    stop_qemu
    same copy.qcow2 qcow2
}

# moved WORLD OPTION...: it was not to move, and somebody ends the job by a pivot just before qblk does
moved() {
    local world=$1
    shift
    make_long_chain
    start "$world"
    q_start --json copy "$disk" "$dir/copy.qcow2" --finish --speed 64K "$@"
    end_instead copy block-job-complete
    q_ended 1
    said out "disk $disk is on node qblk.[0-9a-f]*.target now; somebody else ended the job by a pivot"
    said out 'copy.qcow2 is no copy of disk'
    grep -q 'could not be removed' out && fail "it tried to remove what the disk uses"
    chain_is copy.qcow2
    nothing_left
    guest_write 0x61 2M 128k
    stop_qemu
    same copy.qcow2 qcow2
}

dry_run() {
    make_chain
    start_blockdev
    remember
    q 0 --dry-run copy vd0 "$dir/copy.qcow2" --pivot
    said out '"blockdev-mirror"'
    unchanged
    [ ! -e copy.qcow2 ] || fail "a dry run made a file"
}

for world in blockdev drive; do
    run_test "copy and pivot into new qcow2, $world" pivot "$world" qcow2
    run_test "copy and pivot into new raw, $world" pivot "$world" raw
    run_test "shallow copy and pivot, $world" shallow "$world"
    run_test "copy into an existing image, $world" reuse "$world"
    run_test "copy kept, then completed by hand, $world" keep "$world"
    run_test "copy and pivot while the guest writes, $world" with_writes "$world"
done
for world in blockdev drive qsd; do
    run_test "copy and finish, $world" finished "$world"
done
run_test "copy and pivot into new qcow2, qsd" pivot qsd qcow2
for world in blockdev drive; do
    run_test "copy that somebody ends by a pivot, $world" moved "$world"
done
run_test "copy by drive-mirror that somebody ends by a pivot" moved drive --legacy
run_test "copy by drive-mirror and pivot" legacy drive pivot
run_test "copy by drive-mirror and finish" legacy drive finish
run_test "a dry run says blockdev-mirror and changes nothing" dry_run
finish
