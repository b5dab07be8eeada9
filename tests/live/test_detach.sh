#!/usr/bin/env bash
# A device is gone, with the nodes of its disk; or the guest was asked in vain, and nothing else changed.
# A scsi-hd goes at once; behind a PCIe port the guest has to agree, and this machine never runs.
. "$(dirname "$0")/lib.sh"

# The chain of make_chain under hd0 on a SCSI bus, or (port) under vd0 behind a port.
start_scsi() {
    world=blockdev disk=hd0
    start_qemu -device virtio-scsi-pci,id=scsi \
        -blockdev "file,node-name=base-file,filename=$dir/base.qcow2" \
        -blockdev "qcow2,node-name=base,file=base-file,read-only=on" \
        -blockdev "qcow2,node-name=mid,file.driver=file,file.filename=$dir/mid.qcow2,backing=base,read-only=on" \
        -blockdev "file,node-name=top-file,filename=$dir/top.qcow2" \
        -blockdev "qcow2,node-name=top,file=top-file,backing=mid" "$@"
}

start_port() {
    start_scsi -device pcie-root-port,id=rp -device virtio-blk-pci,bus=rp,id=vd0,drive=top
    disk=vd0
}

# node NAME: is there
node() {
    raw '{"execute": "query-named-block-nodes", "arguments": {"flat": true}}' |
        grep -q "\"node-name\":\"$1\""
}

device() {
    "$qblk" -s "$dir/m0" disks >disks 2>err && grep -qE "^$1 " disks
}

goes_with_nodes() {
    make_chain
    start_scsi -device scsi-hd,id=hd0,drive=top
    q 0 detach hd0 --dry-run
    said out '"execute":"device_del","arguments":{"id":"hd0"}'
    said out '"execute":"blockdev-del","arguments":{"node-name":"top"}'
    device hd0 || fail "a dry run has unplugged it"
    q 0 --json detach hd0
    result result completed
    grep -oE '"command": \{"execute":"[^"]+","arguments":\{[^}]*\}\}' out | grep -c blockdev-del >n
    ! device hd0 || fail "the device is there still"
    for name in top top-file mid base base-file; do
        ! node "$name" || fail "node $name is left"
    done
    # The images can be used again.
    io top.qcow2 qcow2 "write -P 0x11 0 64k"
    q 6 detach hd0
}

keeps_nodes() {
    make_chain
    start_scsi -device scsi-hd,id=hd0,drive=top
    q 0 detach hd0 --keep-nodes
    ! device hd0 || fail "the device is there still"
    for name in top top-file mid base base-file; do
        node "$name" || fail "node $name is gone"
    done
    raw '{"execute": "device_add", "arguments": {"driver": "scsi-hd", "id": "hd0", "drive": "top"}}' \
        >/dev/null
    device hd0 || fail "the nodes cannot be used again"
}

filters_too() {
    make_chain
    start_scsi -object throttle-group,id=group \
        -blockdev throttle,node-name=slow,file=top,throttle-group=group \
        -device scsi-hd,id=hd0,drive=slow
    q 0 detach hd0
    [ ! -s err ] || fail "something is to be said: $(cat err)"
    ! node slow || fail "the filter is left"
    ! node top || fail "the image is left"
}

# What others use stays: a second overlay on the same base.
shared_stays() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/mid.qcow2" second.qcow2
    start_scsi -device scsi-hd,id=hd0,drive=top \
        -blockdev "qcow2,node-name=second,file.driver=file,file.filename=$dir/second.qcow2,backing=mid" \
        -device scsi-hd,id=hd1,drive=second
    q 0 detach hd0
    ! node top || fail "top is left"
    node mid || fail "mid is gone"
    node base-file || fail "base-file is gone"
    device hd1 || fail "the other disk is gone"
}

exported_stays() {
    make_chain
    start_scsi -device scsi-hd,id=hd0,drive=top
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix",
          "data": {"path": "'"$dir"'/nbd"}}}}' \
        '{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "ex", "node-name": "top"}}' \
        >/dev/null
    q 0 detach hd0
    said err 'node top and what is below it stay: .*an export'
    node top || fail "top is gone"
}

of_a_drive() {
    make_chain
    start_qemu -device virtio-scsi-pci -drive "file=$dir/top.qcow2,format=qcow2,if=none,id=drive0" \
        -device scsi-hd,id=hd0,drive=drive0
    q 0 --json detach drive0
    result result completed
    said out '"notes": \[\]'
    raw '{"execute": "query-named-block-nodes"}' >nodes
    ! grep -q top.qcow2 nodes || fail "nodes of the drive are left"
    ! grep -q '"execute": ?"block-dirty-bitmap-add"' out || fail "a record for nothing: $(cat out)"
}

# The nodes that a drive has got since were added by hand, and do not go with it.
of_a_drive_that_moved() {
    make_chain
    start_qemu -device virtio-scsi-pci -drive "file=$dir/top.qcow2,format=qcow2,if=none,id=drive0" \
        -device scsi-hd,id=hd0,drive=drive0
    case $1 in
    copy) q 0 copy --pivot drive0 "$dir/new.qcow2" ;;
    snapshot) q 0 snapshot "drive0=$dir/new.qcow2" ;;
    esac
    q 0 --json detach drive0
    result result completed
    raw '{"execute": "query-named-block-nodes"}' >nodes
    ! grep -q qcow2 nodes || fail "nodes are left: $(cat nodes)"
    io new.qcow2 qcow2 "write -P 0x11 0 64k"
    io top.qcow2 qcow2 "write -P 0x11 0 64k"
    q 0 recover --list --all
    [ "$(cat out)" = "nothing to recover" ] || fail "$(cat out)"
}

without_an_id() {
    make_chain
    start_scsi -device scsi-hd,drive=top
    q 0 detach top
    ! node top || fail "top is left"
}

of_a_stick() {
    make_chain
    start_qemu -device qemu-xhci \
        -blockdev "qcow2,node-name=top,file.driver=file,file.filename=$dir/top.qcow2" \
        -device usb-storage,id=stick,drive=top
    q 0 detach stick
    ! node top || fail "top is left"
}

guest_ignores() {
    make_chain
    start_port
    remember
    q 4 --json detach vd0 --tries 3 --interval 0.05
    result code timeout
    said out 'in 3 tries of 0.05 s'
    [ "$(grep -c '"event": "step".*"device_del"' out)" = 3 ] || fail "it was not asked three times"
    unchanged
    # An earlier request is no reason to fail: it is what is waited for.
    q 4 detach vd0 --tries 1 --interval 0.05
    said err 'in 1 try of'
    q 4 --timeout 0.2 detach vd0
    said err 'may still do so'
    q 0 --json recover --undo
    unchanged
}

# detach_until_asked: a detach of vd0, read from $detaching up to where the guest has been asked
detach_until_asked() {
    exec {detaching}< <(exec "$qblk" -s "$dir/m0" --json detach vd0 2>err)
    detaching_pid=$!
    until [[ ${line-} == *'"event": "step"'*'"device_del"'* ]]; do
        read -r -t "$patience" -u "$detaching" line || fail "it does not begin"
    done
}

stopped() {
    make_chain
    start_port
    remember
    detach_until_asked
    kill "-$1" "$detaching_pid"
    while read -r -t "$patience" -u "$detaching" line; do last=$line; done
    exec {detaching}<&-
    [[ $last == *"\"code\": \"$2\""* ]] || fail "after SIG$1: $last"
    said err "$3"
    if [ "$1" != INT ]; then
        q 0 recover --list
        said out 'under way'
        q 0 recover --undo
    fi
    unchanged
}

# Its client dies, and the disk moves before the guest has let go of it.
moved_since() {
    make_chain
    start_port
    detach_until_asked
    kill -KILL "$detaching_pid"
    exec {detaching}<&-
    q 0 copy vd0 copy.qcow2 --pivot
    remember
    q 0 --json recover --list
    said out '"kind": ?"detach".*"fate": ?"undo"'
    q 0 --json recover
    result result undone
    said out "device vd0 is there and uses node qblk.*.target instead of top"
    chain_is copy.qcow2
    q 0 recover
    said out '^nothing to recover$'
}

cannot_be_unplugged() {
    make_chain
    start_blockdev # on the root bus, where nothing can
    remember
    q 1 --json detach vd0 --interval 0.05
    result code qemu
    result class GenericError
    unchanged
}

busy() {
    make_long_chain
    start_scsi -device scsi-hd,id=hd0,drive=top
    q 0 pull hd0 --speed 64K --async
    remember
    q 6 --json detach hd0
    result code busy
    said out "qblk job cancel qblk"
    unchanged
    q 0 recover --undo
    q 0 detach hd0
}

refused() {
    make_chain
    start_qsd
    remember
    q 6 --json detach top
    result code unsupported
    q 6 detach nonesuch
    q 2 detach top --tries 0
    q 2 detach top --interval 0
    unchanged
}

# start_slot: vd0 where a reset of the machine ends an unplug that its guest does not answer: with ACPI,
# which q35 has learned only later
start_slot() {
    machine=pc start_blockdev
}

# Another client has unplugged it while this one waits.
by_somebody_else() {
    make_chain
    start_slot
    detach_until_asked
    raw '{"execute": "system_reset"}' >/dev/null # which lets go of what is to be unplugged
    while read -r -t "$patience" -u "$detaching" line; do last=$line; done
    exec {detaching}<&-
    [[ $last == *'"result": "completed"'* ]] || fail "it ended with $last"
    ! node top || fail "top is left"
}

run_test "a device goes, and the nodes of its disk" goes_with_nodes
run_test "the nodes can be kept" keeps_nodes
run_test "filters go first" filters_too
run_test "what another disk uses stays" shared_stays
run_test "what is exported stays" exported_stays
run_test "a drive takes its nodes along" of_a_drive
for command in copy snapshot; do
    run_test "a drive that has moved by a $command" of_a_drive_that_moved "$command"
done
run_test "a device without an id" without_an_id
run_test "a USB stick" of_a_stick
run_test "a guest that ignores it" guest_ignores
run_test "Ctrl-C stops waiting" stopped INT cancelled '^'
run_test "SIGTERM leaves it" stopped TERM left-open 'may still do so'
run_test "its client dies, and its disk moves" moved_since
run_test "a device that cannot be unplugged" cannot_be_unplugged
run_test "a job on the disk is named" busy
run_test "no device" refused
run_test "a device that goes while it is waited for" by_somebody_else
finish
