# tests/kill/worlds.sh - the images and machines of the kill matrix
# shellcheck shell=bash disable=SC2034,SC2154 # variables of lib.sh and of the others

# ---- images ---------------------------------------------------------------------------------------

make_template() {
    local base=("write -P 0x11 0 512k") mid=("write -P 0x22 64k 192k")
    local top=("write -P 0x33 128k 128k" "write -P 0x34 768k 64k")
    "$QEMU_IMG" create -q -f qcow2 base.qcow2 1M &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b base.qcow2 mid.qcow2 &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2 &&
        "$QEMU_IMG" create -q -f qcow2 d1.qcow2 1M && "$QEMU_IMG" create -q -f raw other.raw 1M &&
        "$QEMU_IMG" create -q -f raw reference.raw 1M || fail "qemu-img create failed"
    io base.qcow2 qcow2 "${base[@]}"
    io mid.qcow2 qcow2 "${mid[@]}"
    io top.qcow2 qcow2 "${top[@]}"
    io reference.raw raw "${base[@]}" "${mid[@]}" "${top[@]}"
    cp reference.raw written.raw
    io written.raw raw "write -P 0x55 640k 64k"
    io d1.qcow2 qcow2 "write -P 0x66 0 128k"
    io other.raw raw "write -P 0x66 0 128k"
    cp d1.qcow2 d2.qcow2
    # What is reused is full of what nobody wants to find there afterwards.
    "$QEMU_IMG" create -q -f raw garbage.raw 1M && "$QEMU_IMG" create -q -f qcow2 empty.qcow2 1M ||
        fail "qemu-img create failed"
    io garbage.raw raw "write -P 0xee 0 1M"
    "$QEMU_IMG" convert -f raw -O qcow2 garbage.raw garbage.qcow2 || fail "qemu-img convert failed"
}

# What the guest does each time, and what it has to see then, all over the disk.
guest_does=("write -q -P 0x55 640k 64k" flush "read -q -P 0x11 0 64k" "read -q -P 0x22 64k 64k"
    "read -q -P 0x33 128k 128k" "read -q -P 0x11 256k 256k" "read -q -P 0 512k 128k"
    "read -q -P 0x55 640k 64k" "read -q -P 0 704k 64k" "read -q -P 0x34 768k 64k"
    "read -q -P 0 832k 192k")

# set_targets: what is there before the operation
set_targets() {
    if [ -n "$server" ]; then
        # In place: the server has it open.
        [ ! -e "$target" ] || cat "$template/garbage.raw" 1<>"$target"
        return 0
    fi
    # shellcheck disable=SC2086 # a list
    rm -f "$target" $more_targets
    [ -z "$reused" ] || case $op in
    snapshot*) "$QEMU_IMG" create -q -u -f qcow2 -F qcow2 -b "$PWD/top.qcow2" "$target" 1M ;;
    *) cp "$template/garbage.qcow2" "$target" ;;
    esac || fail "no target"
}

# ---- a scratch QEMU -------------------------------------------------------------------------------

# set_chain: the options that make the nodes base, mid and top
set_chain() {
    local flag=--blockdev
    chain_nodes=("$flag" "file,node-name=base-file,filename=$PWD/base.qcow2"
        "$flag" "qcow2,node-name=base,file=base-file,read-only=on"
        "$flag" "file,node-name=mid-file,filename=$PWD/mid.qcow2"
        "$flag" "qcow2,node-name=mid,file=mid-file,backing=base,read-only=on"
        "$flag" "file,node-name=top-file,filename=$PWD/top.qcow2"
        "$flag" "qcow2,node-name=top,file=top-file,backing=mid")
}

# microvm without a firmware's worth of devices starts in a third of the time.
start_scratch() {
    local name bars=() chain_nodes=()
    set_chain
    cp "$template"/{base,mid,top}.qcow2 . || fail "no images"
    for name in $extra; do
        cp "$template/$name.qcow2" . || fail "no images"
        bars+=(-blockdev "file,node-name=$name-file,filename=$PWD/$name.qcow2"
            -blockdev "qcow2,node-name=$name-top,file=$name-file"
            -device "virtio-blk-device,id=$name,drive=$name-top")
    done
    [ -z "$server" ] || start_server
    "start_$world" "${bars[@]}"
    as_of=$template/reference.raw
    [ -z "$bitmap" ] || add_bitmap
    [ -z "$agent" ] || start_agent
}

start_machine() {
    start_listening "$QEMU" -nodefaults -display none -machine microvm,accel=tcg -m 16 -S \
        -chardev socket,id=c0,fd=3,server=on,wait=off -mon chardev=c0,mode=control \
        -chardev socket,id=c1,fd=4,server=on,wait=off -mon chardev=c1,mode=control "$@"
}

# start_listening COMMAND...: with the monitors' sockets m0 and m1, at which somebody listens once this
# returns, as 3 and 4
start_listening() {
    local line
    [ -p listening ] || mkfifo listening || fail "no FIFO"
    rm -f m0 m1
    "$build/tests/live/listen" m0 m1 -- "$@" >listening 2>qemu.log </dev/null &
    qemu_pid=$!
    read -r -t "$patience" line <listening && [ "$line" = ready ] || fail "nobody listens: $(cat qemu.log)"
}

start_blockdev() {
    start_machine "${chain_nodes[@]}" -device virtio-blk-device,id=vd0,drive=top "$@"
}

# Of which a guest that never runs lets go.
start_scsi() {
    start_machine "${chain_nodes[@]}" -device virtio-scsi-device -device scsi-hd,id=vd0,drive=top
}

start_drive() {
    start_machine -drive "file=$PWD/top.qcow2,format=qcow2,if=none,id=drive0" \
        -device virtio-blk-device,id=vd0,drive=drive0
}

# The guest's writes come in by an export. See daemon_monitor for who may connect when.
start_qsd() {
    start_listening "$QSD" --chardev socket,id=c0,fd=3,server=on,wait=off --monitor chardev=c0 \
        --chardev socket,id=c1,fd=4,server=on,wait=on --monitor chardev=c1 "${chain_nodes[@]}" \
        --nbd-server "addr.type=unix,addr.path=$PWD/nbd" \
        --export nbd,id=ex0,node-name=top,name=disk,writable=on
    "$rawqmp" m1 run '{"execute": "query-block-exports"}' >/dev/null ||
        fail "the storage daemon did not start: $(cat qemu.log)"
}

# Serves a raw target.
start_server() {
    cp "$template/garbage.raw" copy.raw || fail "no target"
    serve "$PWD/m3" --blockdev "file,node-name=copy,filename=$PWD/copy.raw" \
        --nbd-server "addr.type=unix,addr.path=$PWD/copy.nbd" \
        --export nbd,id=copy,node-name=copy,name=copy,writable=on
}

# A fake of the guest's agent; what it is asked goes to the file asked.
start_agent() {
    local line
    mkfifo ready
    "$agent_server" "$PWD/agent.real" "$PWD/asked" >ready 2>agent.log </dev/null &
    agent_pid=$!
    started="${started-} $agent_pid"
    read -r -t "$patience" line <ready && [ "$line" = ready ] || fail "the agent did not start"
    ln -s agent.real agent
}

# A bitmap b in the top image, and writes that it knows of: 128 KiB that read the same, where the guest
# writes afterwards.
add_bitmap() {
    "$rawqmp" m1 run '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "b",
        "persistent": true, "granularity": 65536}}' >/dev/null &&
        "$rawqmp" m1 hmp 'qemu-io -d /machine/peripheral/vd0 "write -P 0x34 768k 64k"' \
            'qemu-io -d /machine/peripheral/vd0 "write -P 0 640k 64k"' >/dev/null || fail "no bitmap"
}

# look_and_write: the graph edge by edge, jobs, exports, bitmaps, sizes and limits, without what is drawn
# by lot, to $shape; the guest writes and reads
look_and_write() {
    local lines=() word said='' was=''
    case $world in
    qsd)
        for word in "${guest_does[@]}"; do lines+=(-c "$word"); done
        shape=$("$rawqmp" m1 shape 2>qmp.err) || fail "QEMU does not answer: $(cat qmp.err)"
        said=$("$QEMU_IO" -f raw "${lines[@]}" "nbd+unix:///disk?socket=$PWD/nbd" 2>&1) ||
            fail "the guest cannot write: $said"
        ;;
    *)
        for word in "${guest_does[@]}"; do
            lines+=("qemu-io -d /machine/peripheral/vd0 \"$word\"")
        done
        shape=$("$rawqmp" m1 shape "${lines[@]}" 2>qmp.err) ||
            fail "QEMU does not answer: $(cat qmp.err)"
        ;;
    esac
    read_file qemu.log was
    [[ $was$said != *failed* ]] || fail "the guest does not see what it wrote: $(tail -n 2 qemu.log) $said"
    written=yes
}

# look: only the former
look() {
    shape=$("$rawqmp" m1 shape 2>qmp.err) || fail "QEMU does not answer: $(cat qmp.err)"
}

end_scratch() {
    [ -n "${qemu_pid-}" ] || return 0
    end_world || fail "QEMU died: $(tail -n 2 qemu.log)"
    qemu_pid=
    end_others
}

# The server after its client.
end_others() {
    [ -z "$server" ] || end_daemon "$server_pid" m3
    [ -z "$agent" ] || { kill -TERM "$agent_pid" && wait "$agent_pid"; }
}

# read_file FILE NAME: into that variable, without another process
read_file() {
    IFS= read -r -d '' "$2" <"$1" || true
}
