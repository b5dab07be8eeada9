#!/usr/bin/env bash
# A disk that moves to another image is opened there as it was: past the host's cache or without
# flushes, and with the same eye for zeroes.
. "$(dirname "$0")/lib.sh"

# Not every file system lets itself be read past the host's cache, or takes holes.
find_abilities() {
    direct=off holes=off
    ! "$QEMU_IO" -t none -f raw -c "read 0 4k" reference.raw >/dev/null 2>&1 || direct=on
    truncate -s 1M with-hole
    ! fallocate -p -o 0 -l 64K with-hole 2>/dev/null || holes=on
}

# bool ON-OR-OFF
bool() {
    if [ "$1" = on ]; then echo true; else echo false; fi
}

# start_like OPTIONS: all nodes of the chain alike
start_like() {
    world=drive disk=drive0
    start_qemu -drive "file=$dir/top.qcow2,format=qcow2,if=none,id=drive0$1" \
        -device virtio-blk-pci,id=vd0,drive=drive0
}

# start_apart: the image is opened otherwise than its file
start_apart() {
    world=blockdev disk=vd0
    start_qemu \
        -blockdev "file,node-name=top-file,filename=$dir/top.qcow2,cache.direct=$direct,cache.no-flush=on" \
        -blockdev "qcow2,node-name=top,file=top-file,detect-zeroes=on" \
        -device virtio-blk-pci,id=vd0,drive=top
}

# node_is ROLE DIRECT NO-FLUSH DETECT-ZEROES: the node qblk.ID.ROLE
node_is() {
    node_line "qblk\.[0-9a-f]{8}\.$1" >node
    [ "$(wc -l <node)" = 1 ] || fail "not one node .$1: $(cat node)"
    grep -qE "\"direct\": ?$2[,}]" node || fail "cache.direct of .$1 is not $2: $(cat node)"
    grep -qE "\"no-flush\": ?$3[,}]" node || fail "cache.no-flush of .$1 is not $3: $(cat node)"
    grep -qE "\"detect_zeroes\": ?\"$4\"" node || fail "detect-zeroes of .$1 is not $4: $(cat node)"
}

# seen_as DIRECT DETECT-ZEROES: by the command, of the target
seen_as() {
    q 0 --json tree
    said out "\"name\": ?\"qblk.[0-9a-f]{8}.target\", [^{]*\"direct\": ?$1, ?\"no_flush\": ?true, ?\"detect_zeroes\": ?\"$2\""
}

# Every node: cache=none and no-flush, and what detect-zeroes=unmap says of discard too.
alike() {
    local full
    make_chain
    find_abilities
    start_like ",cache.direct=$direct,cache.no-flush=on,discard=unmap,detect-zeroes=unmap"
    case $1 in
    snapshot) q 0 snapshot "$disk" "$dir/new.qcow2" ;;
    copy) q 0 copy --pivot "$disk" "$dir/new.qcow2" ;;
    swap)
        "$QEMU_IMG" create -q -f qcow2 new.qcow2 8M
        q 0 swap "$disk" "$dir/new.qcow2"
        ;;
    esac
    node_is target "$(bool "$direct")" true unmap
    node_is file "$(bool "$direct")" true off
    seen_as "$(bool "$direct")" unmap
    # QEMU does not tell which nodes discard: what the guest zeroes is a hole in the file then.
    guest_write 0x77 0 4M
    full=$(stat -c %b new.qcow2)
    guest_write 0x00 0 4M
    [ "$holes" = off ] || [ "$(stat -c %b new.qcow2)" -lt "$full" ] || fail "zeroes took no holes: $full blocks"
    stop_qemu
    same new.qcow2 qcow2
}

# The server makes holes of what it is told to discard.
remote() {
    local full
    make_chain
    truncate -s 8M new.raw
    find_abilities
    serve "$dir/server" --blockdev "file,node-name=new,filename=$dir/new.raw,discard=unmap" \
        --nbd-server "addr.type=unix,addr.path=$dir/there" \
        --export nbd,id=new,node-name=new,name=disk,writable=on
    start_like ",cache.no-flush=on,discard=unmap,detect-zeroes=unmap"
    q 0 copy --pivot "$disk" "nbd+unix:///disk?socket=$dir/there"
    node_is target false true unmap
    node_is file false true off
    guest_write 0x77 0 4M
    full=$(stat -c %b new.raw)
    guest_write 0x00 0 4M
    [ "$holes" = off ] || [ "$(stat -c %b new.raw)" -lt "$full" ] || fail "zeroes took no holes: $full blocks"
    stop_qemu
    end_daemon "$server_pid" server
    same new.raw raw
}

apart() {
    "$QEMU_IMG" create -q -f qcow2 top.qcow2 8M
    "$QEMU_IMG" create -q -f raw reference.raw 8M
    find_abilities
    start_apart
    q 0 snapshot "$disk" "$dir/new.qcow2"
    node_is target false false on
    node_is file "$(bool "$direct")" true off
    nothing_left
}

# A bigger raw target is opened a second time, and what is left out then goes back to its default.
opened_again() {
    "$QEMU_IMG" create -q -f qcow2 top.qcow2 8M
    truncate -s 16M new.raw
    "$QEMU_IMG" create -q -f raw reference.raw 8M
    find_abilities
    start_apart
    offered blockdev-reopen || {
        q 6 swap "$disk" "$dir/new.raw" --format raw
        said err 'blockdev-reopen'
        return
    }
    if [ "$1" = killed ]; then
        guest_write 0x55 0 8M
        q_start swap "$disk" "$dir/new.raw" --format raw --speed 64K
        wait_job swap running
        kill -KILL "$qblk_pid"
        wait "$qblk_pid"
        q 0 job speed "$job" 0
        q 0 recover
    else
        q 0 swap "$disk" "$dir/new.raw" --format raw
    fi
    node_is target false false on
    node_is file "$(bool "$direct")" true off
    nothing_left
}

# What stays beside the disk is opened as QEMU does it.
beside() {
    make_chain
    find_abilities
    start_like ",cache.no-flush=on,detect-zeroes=on"
    q_start copy --keep --speed 64K "$disk" "$dir/kept.qcow2"
    wait_job copy running
    node_is target false true on
    kill -INT "$qblk_pid"
    q_ended 5
    for command in copy backup; do
        q_start "$command" --speed 64K "$disk" "$dir/beside.qcow2"
        wait_job "$command" running
        node_is target false false off
        node_is file false false off
        kill -INT "$qblk_pid"
        q_ended 5
    done
    nothing_left
}

for command in snapshot copy swap; do
    run_test "$command, all nodes alike" alike $command
done
run_test "copy to an NBD server" remote
run_test "the image and its file opened differently" apart
run_test "a target that is opened again" opened_again whole
run_test "a target that recover opens again" opened_again killed
run_test "a target that may become the disk, and one that does not" beside
finish
