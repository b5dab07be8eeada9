#!/usr/bin/env bash
# While an operation holds one disk, another disk can be seen and worked on as ever, in whatever
# state the first one's job is: some versions of QEMU end when their nodes are asked about just then.
. "$(dirname "$0")/lib.sh"

# A second disk vd1 with a chain of its own: more.qcow2 <- over.qcow2
start_two() {
    make_long_chain
    cp base.qcow2 more.qcow2
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/more.qcow2" over.qcow2
    "$QEMU_IMG" convert -q -O raw more.qcow2 more.raw
    start_blockdev \
        -blockdev "file,node-name=more-file,filename=$dir/more.qcow2" \
        -blockdev "qcow2,node-name=more,file=more-file,read-only=on" \
        -blockdev "file,node-name=over-file,filename=$dir/over.qcow2" \
        -blockdev "qcow2,node-name=over,file=over-file,backing=more" \
        -device virtio-blk-pci,id=vd1,drive=over
}

begin() {
    case $1 in
    pull) q_start --json pull vd0 --speed 64K ;;
    *) q_start --json "$1" vd0 "$dir/first.qcow2" --speed 64K ;;
    esac
    wait_job "$1" running
    # Its monitor is needed for the others.
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
}

# The first disk's job is left as it is; everything is done to the second.
work_on_the_other() {
    q 0 disks
    said out vd1
    q 0 tree vd1
    said out 'over  qcow2 .*over.qcow2  64 MiB'
    said out 'backing: more  qcow2 .*more.qcow2  64 MiB'
    q 0 --json backup vd1 "$dir/second.qcow2"
    result result completed
    q 0 --json pull vd1
    result result completed
    disk=vd1 chain_is over.qcow2
    if offered x-debug-query-block-graph; then
        q 6 pull vd0
        said err "$job"
    fi
    q 0 --json recover --list
    said out '"journal": ?true'
}

while_running() {
    start_two
    begin "$1"
    work_on_the_other
    q 0 --json recover --undo
    nothing_left
    stop_qemu
    same over.qcow2 qcow2 more.raw
    same second.qcow2 qcow2 more.raw
    same top.qcow2 qcow2
}

while_concluded() {
    start_two
    begin "$1"
    raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}'
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    q 0 disks
    q 0 tree
    said out 'over.qcow2'
    q 0 --json pull vd1
    result result completed
    q 0 --json recover --undo
    nothing_left
    stop_qemu
    same over.qcow2 qcow2 more.raw
    same top.qcow2 qcow2
}

# Nothing that an operation sends waits for the I/O of other disks: their storage may not answer. But QEMU
# 8 and later themselves wait for all of it at many a change of the graph, and go on when it is done.
while_stalled() {
    local major
    make_chain
    truncate -s 8M far.raw
    serve "$dir/m3" --blockdev "file,node-name=far,filename=$dir/far.raw" \
        --nbd-server "addr.type=unix,addr.path=$dir/far.nbd" \
        --export nbd,id=far,node-name=far,name=far,writable=on
    start_blockdev -blockdev "nbd,node-name=far,server.type=unix,server.path=$dir/far.nbd,export=far" \
        -device virtio-blk-pci,id=far,drive=far
    major=$(qemu_major)
    kill -STOP "$server_pid"
    hmp 'qemu-io -d /machine/peripheral/far/virtio-backend "aio_write -P 1 0 64k"'
    case $1 in
    pull) q_start --json pull vd0 ;;
    copy) q_start --json copy vd0 "$dir/copy.qcow2" ;;
    esac
    if [ "$major" -ge 8 ]; then
        wait_said out '"event": "step"'
        kill -CONT "$server_pid"
    fi
    q_ended 0
    kill -CONT "$server_pid"
    nothing_left
    stop_qemu
    end_daemon "$server_pid" "$dir/m3"
}

# Three clients at once, each of which makes an image and drains all disks: 5.2 and 7.2 abort if the one comes
# in the midst of the other, and no client knows of the others' commands.
at_once() {
    local round i pids nodes=()
    for i in 0 1 2; do
        "$QEMU_IMG" create -q -f qcow2 "disk$i" 8M
        io "disk$i" qcow2 "write -P 0x5$i 0 2M"
        nodes+=(-blockdev "qcow2,node-name=n$i,file.driver=file,file.filename=$dir/disk$i"
            -device "virtio-blk-pci,id=d$i,drive=n$i")
    done
    world=blockdev disk=d0
    start_qemu "${nodes[@]}" -qmp "unix:$dir/m3,server=on,wait=off" -qmp "unix:$dir/m4,server=on,wait=off"
    for round in {1..20}; do
        pids=()
        for i in 0 1 2; do
            "$qblk" -s "$dir/m$((i == 0 ? 0 : i + 2))" backup "d$i" "$dir/copy$i" >"out$i" 2>"err$i" &
            pids+=("$!")
        done
        for i in 0 1 2; do
            wait "${pids[i]}" || fail "round $round: $(cat "err$i" qemu.log)"
        done
        rm copy?
    done
    nothing_left
}

run_test "three clients at once" at_once
for kind in pull copy; do
    run_test "a $kind while the storage of another disk does not answer" while_stalled "$kind"
done
for kind in pull copy backup; do
    run_test "a second disk while a $kind is under way" while_running "$kind"
    run_test "a second disk while the job of a $kind waits to be dismissed" while_concluded "$kind"
done
finish
