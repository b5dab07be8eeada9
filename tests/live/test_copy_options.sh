#!/usr/bin/env bash
# What a copy can be told: how much, in what pieces, how writes wait, what an error does; and what makes no
# sense is refused before QEMU is asked anything.
. "$(dirname "$0")/lib.sh"

# sent WORD...: the command that started the mirror has these
sent() {
    local word
    grep -oE '> \{"execute":"(blockdev|drive)-mirror".*' err >mirror || fail "no mirror: $(cat err)"
    for word; do
        grep -qF "$word" mirror || fail "the mirror was not told $word: $(cat mirror)"
    done
}

told() {
    local words=("\"granularity\":131072" '"buf-size":4194304' '"copy-mode":"write-blocking"'
        '"on-source-error":"enospc"' '"on-target-error":"stop"' '"speed":67108864')
    make_chain
    start "$1"
    q 0 -vv copy "$disk" "$dir/copy.qcow2" --pivot --granularity 128K --buf-size 4M --active \
        --on-error stop --on-source-error enospc --speed 64M ${2:+"$2"}
    sent "${words[@]}" '"sync":"full"'
    nothing_left
    guest_write 0x61 2M 128k
    stop_qemu
    same copy.qcow2 qcow2
}

top() {
    make_chain
    start_blockdev
    q 0 -vv copy vd0 "$dir/copy.qcow2" --pivot --sync top
    sent '"sync":"top"'
    chain_is copy.qcow2 mid.qcow2 base.qcow2
    stop_qemu
    same copy.qcow2 qcow2
}

# Only what is written from the start on reaches the target, which holds the rest already.
none() {
    make_chain
    "$QEMU_IMG" convert -O qcow2 top.qcow2 copy.qcow2
    start_blockdev
    q 0 --json -vv copy vd0 "$dir/copy.qcow2" --sync none --reuse-external --format qcow2 --keep
    sent '"sync":"none"'
    guest_write 0x62 3M 128k
    remember
    q 6 --json recover --pivot
    said out 'only what was written since'
    unchanged
    q 0 --json recover --finish
    nothing_left
    stop_qemu
    same copy.qcow2 qcow2
    same top.qcow2 qcow2
}

# Writes wait for the target once it is in sync, where QEMU can be told so then.
active_late() {
    make_chain
    start_blockdev
    q 0 -vv copy vd0 "$dir/copy.qcow2" --pivot --active-late
    grep -q '"execute":"block-job-change"' err || fail "the job was not told: $(cat err)"
    offered block-job-change || said err 'goes on in the background'
    nothing_left
    chain_is copy.qcow2
    stop_qemu
    same copy.qcow2 qcow2
}

senseless() {
    make_chain
    start_blockdev
    remember
    usage 'contradicts' --shallow --sync full
    usage 'contradicts' --shallow --sync none --reuse-external
    usage 'cannot be moved' --sync none --pivot --reuse-external
    usage 'holds the rest' --sync none
    usage 'full\|top\|none' --sync most
    usage 'power of two' --granularity 100K
    usage 'power of two' --granularity 256
    usage 'power of two' --granularity 128M
    usage 'not a whole number' --granularity much
    usage 'does not hold one piece' --granularity 1M --buf-size 64K
    usage 'more than 1G' --buf-size 2G
    usage 'contradict' --active --active-late
    usage 'report\|stop' --on-source-error panic
    unchanged
    [ ! -e copy.qcow2 ] || fail "the target is there"
}

usage() {
    local pattern=$1
    shift
    q 2 -vv copy vd0 "$dir/copy.qcow2" "$@"
    said err "$pattern"
    ! grep -q '"execute":"query' err || fail "QEMU was asked: $(cat err)"
}

# judged RECORDED|none STATUS TEXT ARG...: an image that is prepared, by what it records to lie on
judged() {
    local recorded=$1 status=$2 says=$3 args=()
    shift 3
    make_chain
    cp mid.qcow2 twin.qcow2
    [ "$recorded" = none ] || args=(-b "$dir/$recorded" -F qcow2)
    "$QEMU_IMG" create -q -f qcow2 "${args[@]}" -u prepared.qcow2 8M
    start_blockdev
    remember
    q "$status" "${@/TARGET/$dir/prepared.qcow2}" --reuse-external
    said err "$says"
    [ "$status" = 0 ] || unchanged
    nothing_left
}

# A node of its own holds the data; it goes with the image that the disk leaves.
data_file() {
    "$QEMU_IMG" create -q -f qcow2 -o "data_file=$dir/data.raw" top.qcow2 8M
    "$QEMU_IO" -f qcow2 -c "write -q -P 0x55 1M 2M" top.qcow2
    "$QEMU_IMG" convert -f qcow2 -O raw top.qcow2 reference.raw
    start_qemu -blockdev "file,node-name=top-file,filename=$dir/top.qcow2" \
        -blockdev "file,node-name=data,filename=$dir/data.raw" \
        -blockdev "qcow2,node-name=top,file=top-file,data-file=data" \
        -device virtio-blk-pci,id=vd0,drive=top
    q 0 copy vd0 "$dir/copy.qcow2" --pivot
    q 0 recover --list --all
    [ "$(cat out)" = "nothing to recover" ] || fail "left behind: $(cat out)"
    stop_qemu
    same copy.qcow2 qcow2
}

run_test "every option reaches blockdev-mirror" told blockdev ""
run_test "every option reaches blockdev-mirror, drive" told drive ""
run_test "every option reaches drive-mirror" told drive --legacy
run_test "--sync top" top
run_test "--sync none" none
run_test "--active-late" active_late
run_test "what makes no sense is refused" senseless
run_test "a prepared image for a shallow copy records nothing below it" \
    judged none 6 'records no backing file.*rebase -u -b .*mid.qcow2' copy vd0 TARGET --shallow --pivot
run_test "a prepared image for a shallow copy lies on another image" \
    judged twin.qcow2 0 'right only if both hold the same' copy vd0 TARGET --shallow
run_test "a prepared image for a full copy lies on something" \
    judged mid.qcow2 6 'records .*mid.qcow2 as its backing file' copy vd0 TARGET --pivot
run_test "a prepared image for a backup of the top image lies on nothing" \
    judged none 6 'records no backing file' backup vd0 TARGET --sync top
run_test "a prepared image for a full backup lies on something" \
    judged mid.qcow2 6 'records .*mid.qcow2 as its backing file' backup vd0 TARGET
run_test "a disk whose data is in a file of its own" data_file
finish
