#!/usr/bin/env bash
# A snapshot puts new overlays above disks: all of them at one instant, or none; what was below does
# not change any more, and the overlays alone lead to it.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_agent.sh"

# overlay_ok FILE BELOW FORMAT: it records what is below it, and a start from it reads right
overlay_ok() {
    local said
    said=$(info "$1")
    grep -q "^backing file: $dir/$2\$" <<<"$said" || fail "$1 does not record $2: $said"
    grep -q "^backing file format: $3\$" <<<"$said" || fail "$1 does not record $3: $said"
}

# disk_moves: a disk that only its node names goes by the name of its overlay after a snapshot.
disk_moves() {
    [ "$world" != qsd ] || disk=$(sed -nE 's/.*"node": ?"(qblk[^"]*)".*/\1/p' out | tail -n 1)
}

one_disk() {
    make_chain
    start "$1"
    guest_write 0x61 1M 64k
    cp reference.raw then.raw
    q 0 --json snapshot "$disk" "$dir/snap.qcow2"
    result result completed
    result kind snapshot
    result disk "$disk"
    result target "$dir/snap.qcow2"
    said out '"disks": ?\[\{"disk": ?"[a-z0-9]+", ?"target": ?"[^"]*/snap.qcow2", ?"node": ?"qblk\.[0-9a-f]{8}\.target"\}\]'
    nothing_left
    disk_moves
    chain_is snap.qcow2 top.qcow2 mid.qcow2 base.qcow2
    guest_write 0x62 1M 128k
    guest_write 0x63 6M 64k
    stop_qemu
    same top.qcow2 qcow2 then.raw
    same snap.qcow2 qcow2
    overlay_ok snap.qcow2 top.qcow2 qcow2
}

# The overlays of one disk upon the other, and the machine started from the last of them.
twice() {
    make_chain
    start "$1"
    q 0 snapshot "$disk=$dir/s1.qcow2"
    said out "took snapshot of $disk to $dir/s1.qcow2: completed"
    guest_write 0x64 2M 64k
    cp reference.raw then.raw
    [ "$world" != qsd ] || disk=$dir/s1.qcow2
    q 0 snapshot "$disk=$dir/s2.qcow2"
    guest_write 0x65 2M 64k
    stop_qemu
    same s1.qcow2 qcow2 then.raw
    overlay_ok s2.qcow2 s1.qcow2 qcow2
    world=none disk=vd0
    start_qemu -drive "file=$dir/s2.qcow2,format=qcow2,if=none,id=drive0" \
        -device virtio-blk-pci,id=vd0,drive=drive0
    chain_is s2.qcow2 s1.qcow2 top.qcow2 mid.qcow2 base.qcow2
    guest_write 0x66 3M 64k
    stop_qemu
    same s2.qcow2 qcow2
}

# make_disk NAME PATTERN FORMAT: an image with a pattern, and what it should read as
make_disk() {
    "$QEMU_IMG" create -q -f "$3" "$1.$3" 4M && "$QEMU_IMG" create -q -f raw "$1.ref" 4M ||
        fail "qemu-img create failed"
    io "$1.$3" "$3" "write -P $2 0 2M"
    io "$1.ref" raw "write -P $2 0 2M"
}

# write_to NAME PATTERN OFFSET LENGTH: by the guest's device or the export of that name
write_to() {
    local said
    if [ "$world" = qsd ]; then
        said=$("$QEMU_IO" -f raw -c "write -P $2 $3 $4" -c flush \
            "nbd+unix:///$1?socket=$dir/nbd" 2>&1)
        [[ $said == wrote* ]] || fail "the write to $1 failed: $said"
    else
        said=$(hmp "qemu-io -d /machine/peripheral/$1/virtio-backend \"write -P $2 $3 $4\"")
        [ -z "$said" ] && ! grep -q failed qemu.log || fail "the write to $1 failed: $said"
    fi
    io "$1.ref" raw "write -P $2 $3 $4"
}

# Three disks of their own: two qcow2, one raw, whose format must not be probed.
start_three() {
    local name arguments=()
    make_disk vda 0x11 qcow2
    make_disk vdb 0x22 qcow2
    make_disk vdc 0x33 raw
    case $1 in
    blockdev)
        for name in vda.qcow2 vdb.qcow2 vdc.raw; do
            arguments+=(-blockdev "file,node-name=${name%.*}-file,filename=$dir/$name"
                -blockdev "${name#*.},node-name=${name%.*}-top,file=${name%.*}-file"
                -device "virtio-blk-pci,id=${name%.*},drive=${name%.*}-top")
        done
        world=blockdev
        start_qemu "${arguments[@]}"
        ;;
    drive)
        for name in vda.qcow2 vdb.qcow2 vdc.raw; do
            arguments+=(-drive "file=$dir/$name,format=${name#*.},if=none,id=d-${name%.*}"
                -device "virtio-blk-pci,id=${name%.*},drive=d-${name%.*}")
        done
        world=drive
        start_qemu "${arguments[@]}"
        ;;
    qsd)
        for name in vda.qcow2 vdb.qcow2 vdc.raw; do
            arguments+=(--blockdev "file,node-name=${name%.*}-file,filename=$dir/$name"
                --blockdev "${name#*.},node-name=${name%.*},file=${name%.*}-file"
                --export "nbd,id=ex-${name%.*},node-name=${name%.*},name=${name%.*},writable=on")
        done
        world=qsd
        start_daemon --nbd-server "addr.type=unix,addr.path=$dir/nbd" "${arguments[@]}"
        ;;
    esac
}

# All disks, the last write to each before the snapshot; the images as they were then are in *.then.
three=("vda=snap-a.qcow2" "vdb=snap-b.qcow2" "vdc=snap-c.qcow2")

end_three() {
    end_world
    qemu_pid=
}

three_disks() {
    local name
    start_three "$1"
    for name in vda vdb vdc; do
        write_to "$name" 0x44 1M 64k
        cp "$name.ref" "$name.then"
    done
    q 0 --json snapshot "${three[@]}"
    result result completed
    for name in a b c; do
        said out "\"disk\": ?\"vd$name\", ?\"target\": ?\"$dir/snap-$name.qcow2\""
    done
    nothing_left
    for name in vda vdb vdc; do
        write_to "$name" 0x55 1M 128k
    done
    end_three
    for name in vda.qcow2 vdb.qcow2 vdc.raw; do
        same "$name" "${name#*.}" "${name%.*}.then"
    done
    same snap-a.qcow2 qcow2 vda.ref
    same snap-b.qcow2 qcow2 vdb.ref
    same snap-c.qcow2 qcow2 vdc.ref
    overlay_ok snap-a.qcow2 vda.qcow2 qcow2
    overlay_ok snap-b.qcow2 vdb.qcow2 qcow2
    overlay_ok snap-c.qcow2 vdc.raw raw
}

# ---- filters, prepared overlays, bitmaps ------------------------------------------------------------

with_throttle() {
    make_chain
    world=blockdev disk=vd0
    start_qemu -object throttle-group,id=tg0,x-bps-total=104857600 \
        -blockdev "file,node-name=top-file,filename=$dir/top.qcow2" \
        -blockdev "qcow2,node-name=top,file=top-file" \
        -blockdev "throttle,node-name=slow,file=top,throttle-group=tg0" \
        -device virtio-blk-pci,id=vd0,drive=slow
    cp reference.raw then.raw
    q 0 --json snapshot vd0 "$dir/snap.qcow2"
    result result completed
    nothing_left
    raw '{"execute": "query-block"}' | grep -q '"node-name": *"slow"' ||
        fail "the disk does not use its filter any more"
    chain_is snap.qcow2 top.qcow2 mid.qcow2 base.qcow2
    guest_write 0x67 3M 64k
    stop_qemu
    same top.qcow2 qcow2 then.raw
    same snap.qcow2 qcow2
    overlay_ok snap.qcow2 top.qcow2 qcow2
}

prepared() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/top.qcow2" snap.qcow2 || fail "qemu-img create failed"
    start "$1"
    cp reference.raw then.raw
    q 0 --json snapshot --reuse-external "$disk=snap.qcow2"
    result result completed
    nothing_left
    guest_write 0x68 3M 64k
    stop_qemu
    same top.qcow2 qcow2 then.raw
    same snap.qcow2 qcow2
}

# What is recorded is relative, and both can be moved.
relative() {
    local said
    make_chain
    start "$1"
    mkdir moved sub
    q 0 --json snapshot "$disk=snap.qcow2" --relative
    result result completed
    nothing_left
    disk_moves
    q 0 --json snapshot "$disk=sub/snap2.qcow2" --relative
    result result completed
    disk_moves
    q 0 --json snapshot "$disk=snap3.qcow2"
    result result completed
    guest_write 0x6b 3M 64k
    stop_qemu
    same snap3.qcow2 qcow2
    overlay_ok snap3.qcow2 sub/snap2.qcow2 qcow2
    said=$(info snap.qcow2)
    grep -qE '^backing file: top.qcow2( |$)' <<<"$said" || fail "wrong name: $said"
    said=$(info sub/snap2.qcow2)
    grep -qE '^backing file: \.\./snap.qcow2( |$)' <<<"$said" || fail "wrong name: $said"
    "$QEMU_IMG" commit -q snap3.qcow2 || fail "qemu-img commit failed"
    mv top.qcow2 snap.qcow2 sub moved
    same moved/sub/snap2.qcow2 qcow2
    world=none
    start_qemu
    q 2 snapshot vd0=x.qcow2 --relative --reuse-external
}

# An empty file, that somebody has made with the rights that it needs, is used, and kept on failure.
empty_file() {
    make_chain
    : >snap.qcow2
    chmod 600 snap.qcow2
    start_blockdev
    remember
    q 6 snapshot "vd0=snap.qcow2" "nonesuch=x.qcow2"
    unchanged
    [ -e snap.qcow2 ] || fail "the user's file was removed"
    q 0 snapshot "vd0=snap.qcow2"
    chain_is snap.qcow2 top.qcow2 mid.qcow2 base.qcow2
    stop_qemu
    same snap.qcow2 qcow2
}

# bitmaps_of NODE: name, granularity, count, and whether it records and persists
bitmaps_of() {
    local is='": ?([^,}]*)[,}].*"'
    node_line "$1" | grep -oE '\{"busy"[^}]*\}' |
        sed -E "s/.*\"count${is}granularity${is}name\": ?\"([^\"]*)\".*\"persistent${is}recording\": ?([a-z]*).*/\3 \2 \1 \5 \4/" |
        sort
}

bitmaps_go_on() {
    local node
    make_chain
    start_blockdev
    raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "daily", "persistent": true, "granularity": 131072}}' \
        '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "off", "persistent": true, "disabled": true}}' \
        '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "passing"}}' >said
    ! grep -q error said || fail "cannot add bitmaps: $(cat said)"
    guest_write 0x69 1M 64k
    q 0 --json snapshot vd0=snap.qcow2
    said out 'bitmap passing of disk vd0 is not persistent'
    node=$(sed -nE 's/.*"node": ?"(qblk[^"]*target)".*/\1/p' out | tail -n 1)
    guest_write 0x6a 5M 256k
    [ "$(bitmaps_of "$node")" = "daily 131072 262144 true true" ] ||
        fail "the overlay's bitmaps are: $(bitmaps_of "$node")"
    bitmaps_of top | grep -qx 'daily 131072 131072 true true' ||
        fail "the bitmaps below are: $(bitmaps_of top)"
    stop_qemu
    same snap.qcow2 qcow2
    start_qemu -blockdev "qcow2,node-name=top,file.driver=file,file.filename=$dir/snap.qcow2,backing.driver=qcow2,backing.node-name=below,backing.file.driver=file,backing.file.filename=$dir/top.qcow2" \
        -device virtio-blk-pci,id=vd0,drive=top
    [ "$(bitmaps_of top)" = "daily 131072 262144 true true" ] ||
        fail "after a restart the overlay's bitmaps are: $(bitmaps_of top)"
    bitmaps_of below | grep -qx 'daily 131072 131072 true true' ||
        fail "after a restart the bitmaps below are: $(bitmaps_of below)"
    stop_qemu
}

# ---- refused ------------------------------------------------------------------------------------------

# The images that there are, whatever they are called.
images() {
    printf '%s\n' * | grep -vxE 'm[0-9]|nbd|out|err|trace|qemu\.log|before|after|strays|tree|asked'
}

# refused STATUS PATTERN ARG...: and nothing is other than it was
refused() {
    local status=$1 pattern=$2 files
    shift 2
    files=$(images)
    q "$status" snapshot "$@"
    said err "$pattern"
    unchanged
    nothing_left
    [ "$(images)" = "$files" ] || fail "files have come or gone: $(images)"
}

refusals() {
    make_chain
    start_blockdev -blockdev "qcow2,node-name=ro,read-only=on,file.driver=file,file.filename=$dir/base2.qcow2" \
        -device virtio-blk-pci,id=vdr,drive=ro -device virtio-scsi-pci -device scsi-cd,id=cd0
    remember
    refused 2 'names no disk' "=x.qcow2"
    refused 2 'says not which file' vd0
    refused 2 'says not which file' "vd0=x.qcow2" "vd0"
    refused 2 'takes no value|names a protocol' "vd0=nbd://x/y"
    refused 6 'directory' "vd0=$dir/nowhere/x.qcow2"
    refused 6 'nonesuch' "vd0=x.qcow2" "nonesuch=y.qcow2"
    refused 6 'same disk' "vd0=x.qcow2" "top=y.qcow2"
    refused 6 'read-only' "vd0=x.qcow2" "vdr=y.qcow2"
    refused 6 'no medium' "cd0=x.qcow2"
    refused 6 'exists and is not empty' "vd0=busy.qcow2"
    refused 6 'in use by this QEMU' "vd0=mid.qcow2"
    refused 6 'in use by this QEMU' "vd0=link.qcow2"
    refused 6 'in use by this QEMU' --reuse-external "vd0=mid.qcow2"
    refused 6 'cannot be looked at' --reuse-external "vd0=none.qcow2"
    refused 6 'not in qcow2 format' --reuse-external "vd0=reference.raw"
    refused 6 'records no backing file' --reuse-external "vd0=busy.qcow2"
    refused 6 'but the top image of disk vd0 is' --reuse-external "vd0=wrong.qcow2"
    refused 6 'virtual size' --reuse-external "vd0=big.qcow2"
    refused 6 'as the format of its backing file' --reuse-external "vd0=wrongformat.qcow2"
    refused 6 'has [0-9]+ bytes, an empty one 262144 at most' --reuse-external "vd0=full.qcow2"
    refused 6 'would hide the data' --reuse-external "vd0=fine.qcow2"
    stop_qemu
    same top.qcow2 qcow2
}

refusals_prepare() {
    "$QEMU_IMG" create -q -f qcow2 base2.qcow2 1M
    "$QEMU_IMG" create -q -f qcow2 busy.qcow2 8M
    "$QEMU_IMG" create -q -f qcow2 mid.qcow2 8M
    "$QEMU_IMG" create -q -f qcow2 top.qcow2 8M
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/mid.qcow2" wrong.qcow2
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/top.qcow2" big.qcow2 9M
    "$QEMU_IMG" create -q -f qcow2 -F raw -b "$dir/top.qcow2" wrongformat.qcow2 8M
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/top.qcow2" full.qcow2
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/top.qcow2" -o cluster_size=4k fine.qcow2
    io full.qcow2 qcow2 "write -P 0x66 4M 512"
    io fine.qcow2 qcow2 "write -P 0x66 4M 512"
    rm -f mid.qcow2 top.qcow2
    ln -s mid.qcow2 link.qcow2
    refusals
}

same_file_for_two() {
    start_three blockdev
    remember
    mkdir sub
    ln -s . sub/same
    refused 6 'are given the same file' vda=x.qcow2 vdb=x.qcow2
    refused 6 'are given the same file' "vda=x.qcow2" "vdb=$dir/sub/../x.qcow2"
    end_three
}

busy_disk() {
    make_long_chain
    start_blockdev
    q 0 --async backup vd0 "$dir/copy.qcow2" --speed 64K
    wait_event "JOB_STATUS_CHANGE qblk.????????.backup running *"
    job=$(job_of)
    q 6 snapshot "vd0=$dir/snap.qcow2"
    said err "held by backup job $job"
    [ ! -e snap.qcow2 ] || fail "a file was made"
    q 0 recover --undo
    nothing_left
    stop_qemu
}

# ---- failures -----------------------------------------------------------------------------------------

# The second of three disks cannot have its overlay, which only QEMU finds out.
no_second_file() {
    local files
    start_three "$1"
    remember
    files=$(images)
    q 1 --json snapshot vda=snap-a.qcow2 vdb=/proc/snap-b.qcow2 vdc=snap-c.qcow2
    said out "create the target's file: job qblk.*/proc/snap-b.qcow2"
    unchanged
    nothing_left
    [ "$(images)" = "$files" ] || fail "files were left: $(images)"
    write_to vda 0x77 1M 64k
    end_three
    same vda.qcow2 qcow2 vda.ref
}

# The overlay that was prepared for the second disk has a bitmap of the name that is to
# go on in it, which QEMU finds out within the transaction.
transaction_refused() {
    local files
    start_three blockdev
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/vda.qcow2" snap-a.qcow2 &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/vdb.qcow2" snap-b.qcow2 &&
        "$QEMU_IMG" bitmap --add snap-b.qcow2 daily || fail "qemu-img failed"
    raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "vdb-top", "name": "daily", "persistent": true}}' |
        grep -q return || fail "no bitmap"
    remember
    files=$(images)
    q 1 --json snapshot --reuse-external vda=snap-a.qcow2 vdb=snap-b.qcow2
    said out 'take the snapshots: .*[Bb]itmap already exists'
    unchanged
    nothing_left
    [ "$(images)" = "$files" ] || fail "files have come or gone: $(images)"
    write_to vda 0x78 1M 64k
    end_three
    same vda.qcow2 qcow2 vda.ref
}

# ---- quiesced ------------------------------------------------------------------------------------------

# asked PATTERN: what the agent was asked, in order
asked() {
    local got
    got=$(grep -v '^left$' asked | tr '\n' ' ')
    # shellcheck disable=SC2053 # a pattern
    [[ $got == $1 ]] || fail "the agent was asked $got"
}

quiesced() {
    make_chain
    start_blockdev
    start_agent
    q 0 --json snapshot vd0=snap.qcow2 --quiesce agent
    result result completed
    grep '"event": "step"' out | grep -oE '"execute": ?"[a-z-]*"' | sed 's/.*: *//' | tr -d '"' |
        tr '\n' ' ' >order
    said order 'blockdev-add guest-fsfreeze-freeze query-block transaction guest-fsfreeze-thaw query-block'
    asked '*fsfreeze-freeze *fsfreeze-thaw *'
    nothing_left
    chain_is snap.qcow2 top.qcow2 mid.qcow2 base.qcow2
    stop_agent
    stop_qemu
    same snap.qcow2 qcow2
}

# not_quiesced STATUS RULE ARG...: the guest cannot be frozen
not_quiesced() {
    local status=$1 rule=$2 files
    shift 2
    make_chain
    start_blockdev
    start_agent "$rule"
    files=$(images)
    remember
    q "$status" --json snapshot vd0=snap.qcow2 --quiesce "$dir/agent" "$@"
    nothing_left
    if [ "$status" = 0 ]; then
        said out 'the guest is not quiesced'
        chain_is snap.qcow2 top.qcow2 mid.qcow2 base.qcow2
    else
        unchanged
        [ "$(images)" = "$files" ] || fail "files have come or gone: $(images)"
    fi
    q 0 agent status "$dir/agent"
    said out '^thawed'
    stop_agent
    stop_qemu
}

# The transaction fails while the guest is frozen.
frozen_in_vain() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/top.qcow2" snap.qcow2 &&
        "$QEMU_IMG" bitmap --add snap.qcow2 daily || fail "qemu-img failed"
    start_blockdev
    raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "daily", "persistent": true}}' |
        grep -q return || fail "no bitmap"
    start_agent
    remember
    q 1 --json snapshot --reuse-external vd0=snap.qcow2 --quiesce agent
    said out 'take the snapshots: .*[Bb]itmap already exists'
    asked '*fsfreeze-freeze *fsfreeze-thaw *'
    unchanged
    nothing_left
    stop_agent
    stop_qemu
}

no_agent() {
    make_chain
    start_blockdev
    remember
    q 2 snapshot vd0=snap.qcow2 --quiesce-optional
    q 6 snapshot vd0=snap.qcow2 --quiesce agent
    said err 'does not exist'
    unchanged
    nothing_left
    [ ! -e snap.qcow2 ] || fail "a file was left"
    q 0 --json snapshot vd0=snap.qcow2 --quiesce agent --quiesce-optional
    said out 'the guest is not quiesced'
    nothing_left
    stop_qemu
}

# ---- the client ends in the middle --------------------------------------------------------------------

dry_run() {
    start_three blockdev
    remember
    q 0 --dry-run snapshot "${three[@]}"
    said out '"type":"blockdev-snapshot","data":\{"node":"vdb-top"'
    said out "^before: vda: vda-top .*; vdb: vdb-top .*; vdc: vdc-top "
    said out "^after:  vda: qblk\\.[0-9a-f]{8}\\.target \\($dir/snap-a.qcow2\\) -> vda-top "
    unchanged
    [ ! -e snap-a.qcow2 ] || fail "a dry run made a file"
    end_three
}

for world in blockdev drive qsd; do
    run_test "snapshot of one disk, $world" one_disk "$world"
    run_test "snapshot upon snapshot, and a start from the last, $world" twice "$world"
    run_test "snapshot of three disks, one of them raw, $world" three_disks "$world"
    run_test "snapshot into a prepared overlay, $world" prepared "$world"
    run_test "snapshot with a relative name, $world" relative "$world"
    run_test "the second of three files cannot be made, $world" no_second_file "$world"
done
run_test "a throttle filter stays above the overlay" with_throttle
run_test "an empty file is used, and stays if all fails" empty_file
run_test "persistent bitmaps go on in the overlay" bitmaps_go_on
run_test "snapshots that make no sense are refused" refusals_prepare
run_test "a file for two disks is refused" same_file_for_two
run_test "a disk that a job holds is refused" busy_disk
run_test "a transaction that QEMU refuses leaves nothing" transaction_refused
run_test "a guest is frozen for the transaction alone" quiesced
run_test "a guest that cannot be frozen is not snapshot" not_quiesced 6 '*guest-fsfreeze-freeze=disabled'
run_test "a guest that cannot be frozen is snapshot all the same" not_quiesced 0 \
    '*guest-fsfreeze-freeze=disabled' --quiesce-optional
run_test "a transaction that fails leaves no guest frozen" frozen_in_vain
run_test "there is no agent" no_agent
run_test "a dry run names every disk and changes nothing" dry_run
finish
