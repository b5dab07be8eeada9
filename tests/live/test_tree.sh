#!/usr/bin/env bash
# What `qblk tree` shows of every kind of world: the chain with the part of each node, filters, sizes,
# bitmaps, who holds what, jobs and how far they are; and that --dot and --json can be read.
. "$(dirname "$0")/lib.sh"

size='[0-9.]+ ([KM]i)?B'

# The three images of make_chain below a disk, whatever their nodes are called.
says_chain() {
    said out "active: .*  qcow2  .*top.qcow2  $size \($size allocated\)"
    said out "backing: .*  qcow2  .*mid.qcow2  $size \($size allocated\)  \[read-only\]"
    said out "backing: .*  qcow2  .*base.qcow2  $size \($size allocated\)  \[read-only\]"
    [ "$(grep -cE '(├─|└─) file: .*  file  ' out)" = 3 ] || fail "there are not three files: $(cat out)"
}

# --dot is taken by Graphviz, and every node of the tree is in it.
renders() {
    q 0 tree "$@" --dot
    command -v dot >/dev/null || return 0
    dot -Tsvg out >picture.svg 2>dot.err || fail "dot does not take it: $(cat dot.err)"
    [ ! -s dot.err ] || fail "dot complains: $(head -n 1 dot.err)"
    grep -q '</svg>' picture.svg || fail "dot drew nothing"
    [ "$(grep -c 'class="node"' picture.svg)" -ge "$(grep -cE '^  [ndju][0-9]+ \[' out)" ] ||
        fail "dot drew fewer nodes than there are"
}

# --json is one line that QEMU's own parser, which shares nothing with ours, takes as the id of a
# command, and gives back.
parses() {
    q 0 --json tree "$@"
    [ "$(wc -l <out)" = 1 ] || fail "the result is not one line"
    raw "{\"execute\": \"query-name\", \"id\": $(cat out)}" >answer
    grep -qE '"id": ?\{"result": ?\{' answer || fail "this is no JSON: $(tail -c 300 answer)"
}

world_of_blockdev() {
    make_chain
    start_blockdev
    raw "{\"execute\": \"block-dirty-bitmap-add\", \"arguments\": {\"node\": \"top\",
        \"name\": \"b0\", \"granularity\": 65536, \"persistent\": true}}"
    raw "{\"execute\": \"block-dirty-bitmap-add\", \"arguments\": {\"node\": \"top\",
        \"name\": \"b1\", \"disabled\": true}}"
    guest_write 0x77 0 128k
    raw "{\"execute\": \"blockdev-add\", \"arguments\": {\"driver\": \"null-co\",
        \"node-name\": \"lonely\", \"size\": 65536}}"
    q 0 tree vd0
    said out '^vd0  8 MiB  /machine/peripheral/vd0/virtio-backend$'
    says_chain
    said out '├─ bitmap: b0  128 KiB dirty, granularity 64 KiB, recording, persistent$'
    said out '├─ bitmap: b1  0 B dirty, granularity 64 KiB, disabled$'
    ! grep -q lonely out || fail "the disk's tree has a node that is not its own"
    renders vd0
    parses vd0
    said out '"name": ?"b0", ?"granularity": ?65536, ?"count": ?131072, ?"recording": ?true'
    ! grep -q lonely out || fail "the disk's nodes have one that is not its own"
    q 0 tree
    said out '^other nodes$'
    said out '^  unused: lonely  null-co  .*  64 KiB$'
    renders
    parses
    said out '"name": ?"lonely"'
    stop_qemu
}

world_of_drive() {
    make_chain
    start_drive
    q 0 tree drive0
    said out '^vd0  8 MiB  drive drive0  /machine/peripheral/vd0/virtio-backend$'
    says_chain
    renders
    parses
    stop_qemu
}

world_of_daemon() {
    make_chain
    start_qsd
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "lonely"}}'
    q 0 tree
    says_chain
    if offered x-debug-query-block-graph || offered query-block-exports; then
        said out 'active: top .*  <- export ex0 \(nbd\)$'
    fi
    said out '^  unused: lonely '
    renders
    said out 'label="ex0\\nexport"'
    parses
    said out '"kind": ?"export", ?"name": ?"ex0", ?"role": ?"nbd"'
    stop_qemu
}

# A throttle filter that the user has put between device and image.
filtered() {
    make_chain
    world=blockdev disk=vd0
    start_qemu -object throttle-group,id=group0 \
        -blockdev "file,node-name=base-file,filename=$dir/base.qcow2" \
        -blockdev "qcow2,node-name=base,file=base-file,read-only=on" \
        -blockdev "file,node-name=mid-file,filename=$dir/mid.qcow2" \
        -blockdev "qcow2,node-name=mid,file=mid-file,backing=base,read-only=on" \
        -blockdev "file,node-name=top-file,filename=$dir/top.qcow2" \
        -blockdev "qcow2,node-name=top,file=top-file,backing=mid" \
        -blockdev "throttle,node-name=slow,throttle-group=group0,file=top" \
        -device virtio-blk-pci,id=vd0,drive=slow
    q 0 tree vd0
    said out '^  filter: slow  throttle$'
    said out '^  └─ active: top  qcow2 '
    says_chain
    renders vd0
    said out '\[label="slow\\nthrottle", style=dashed\]'
    parses vd0
    stop_qemu
}

# The job that is under way, with how far it is; its target among the nodes that no disk holds.
working() {
    make_long_chain
    "start_$1"
    q_start copy "$disk" "$dir/copy.qcow2" --speed 64K
    wait_job copy running
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    q 0 tree
    if offered x-debug-query-block-graph; then
        said out "filter: .* mirror_top .*<- job $job \(main node, mirror running [0-9]+ %\)"
        said out "target: qblk\.[0-9a-f]{8}\.target .*<- job $job \("
        # How far it is, is told once.
        [ "$(grep -c 'mirror running' out)" = 1 ] || fail "the job's state is told again: $(cat out)"
    else
        said out "$job  mirror running [0-9]+ %"
    fi
    said out '^  journal: qblk\.[0-9a-f]{8}\.journal  null-co '
    renders
    parses
    q 0 recover --undo
    nothing_left
    stop_qemu
}

stalled() {
    start_broken 28
    q_start pull vd0 --on-error stop
    wait_job pull paused
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    q 0 tree
    said out "stream paused( [0-9]+ %)?, stalled \(nospace\)"
    renders
    said out 'stream paused( [0-9]+ %)?, stalled \(nospace\)'
    parses
    q 0 recover --undo
    nothing_left
}

# What a node is called is its owner's affair; nothing of it may mean anything to Graphviz.
hostile() {
    local name='a"];evil [label=\\N&quot;<b>.qcow2'
    "$QEMU_IMG" create -q -f qcow2 "$name" 1M || fail "qemu-img create failed"
    world=blockdev disk=vd0
    start_qemu -drive "file=$dir/$name,format=qcow2,if=none,id=drive0" \
        -device virtio-blk-pci,id=vd0,drive=drive0
    renders
    ! command -v dot >/dev/null || grep -q 'a&quot;\];evil \[label=' picture.svg ||
        fail "the file's name is not in the picture"
    ! grep -qE '<title>evil' picture.svg || fail "the file's name has made a node"
    parses
    stop_qemu
}

run_test "a -blockdev machine: chain, sizes, bitmaps, an unused node" world_of_blockdev
run_test "a -drive machine" world_of_drive
run_test "the storage daemon: who exports, an unused node" world_of_daemon
run_test "a filter on top of the chain" filtered
run_test "a job under way on a -blockdev machine" working blockdev
run_test "a job under way on a -drive machine" working drive
run_test "a job under way in the storage daemon" working qsd
run_test "a job that stalled, and why" stalled
run_test "names that would command Graphviz" hostile
finish
