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
    q_start --json pull "$disk" --speed 8M
    wait_job pull running
    for n in 1 2 3 4 5 6 7 8; do
        guest_write "0x5$n" "$((n * 5))M" 192k
    done
    q_ended 0
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

nothing_to_pull() {
    make_chain
    start_blockdev
    q 0 pull vd0
    remember
    "$qblk" -s "$dir/m0" --json pull vd0 >out 2>err
    case $? in
    0) result result completed ;;
    6) said out '"nothing-to-do"' ;;
    *) fail "a pull with nothing to do: $(cat err)" ;;
    esac
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
run_test "a base may be given by its depth" by_depth
run_test "a pull with nothing to do changes nothing" nothing_to_pull
run_test "a dry run says block-stream and changes nothing" dry_run
finish
