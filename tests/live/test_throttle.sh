#!/usr/bin/env bash
# The limits of a guest's I/O are set one by one, shown, and taken away; jobs have nothing to do with it.
. "$(dirname "$0")/lib.sh"

# limit NAME VALUE: by query-block
limit() {
    raw '{"execute": "query-block"}' >blocks
    said blocks "\"$1\":$2[,}]"
}

sets_and_shows() {
    make_chain
    start "$1"
    q 0 throttle "$disk"
    said out 'no limits'
    q 0 throttle "$disk" --bps 10M --iops-rd 100 --iops-rd-max 200
    limit bps $((10 << 20))
    limit iops_rd 100
    limit iops_rd_max 200
    # One more; the others stay.
    q 0 throttle "$disk" --iops-wr 50
    limit bps $((10 << 20))
    limit iops_rd 100
    limit iops_wr 50
    # The total makes room for the parts.
    q 0 throttle "$disk" --bps-wr 1M
    limit bps 0
    limit bps_wr $((1 << 20))
    q 0 throttle "$disk"
    said out 'bps-wr +1 MiB/s'
    said out 'iops-rd-max +200/s'
    said out 'group'
    q 0 --json throttle "$disk"
    result bps-wr $((1 << 20))
    result iops 0
    q 2 throttle "$disk" --iops-rd 300
    said err 'iops-rd would be 300 and iops-rd-max 200'
    q 2 throttle "$disk" --bps-rd-max 1M
    # A burst goes with its limit.
    q 0 throttle "$disk" --iops-rd 0
    limit iops_rd 0
    q 0 --json throttle "$disk"
    result iops-rd-max 0
    result iops-wr 50
    q 0 --json throttle "$disk" --off
    result result completed
    q 0 throttle "$disk"
    said out 'no limits'
}

# Limits that somebody gave a burst of some length keep it.
keeps_lengths() {
    make_chain
    start_blockdev
    raw '{"execute": "block_set_io_throttle", "arguments": {
          "id": "/machine/peripheral/vd0/virtio-backend", "bps": 1000000, "bps_rd": 0, "bps_wr": 0,
          "iops": 0, "iops_rd": 0, "iops_wr": 0, "bps_max": 2000000, "bps_max_length": 7}}' >/dev/null
    q 0 throttle vd0 --iops 500
    limit bps_max 2000000
    limit bps_max_length 7
    limit iops 500
}

dry() {
    make_chain
    start "$1"
    q 0 throttle "$disk" --bps 1M --dry-run
    said out '"execute":"block_set_io_throttle"'
    said out '"bps":1048576'
    limit bps 0
    q 2 throttle "$disk" --dry-run
}

groups() {
    make_chain
    start_blockdev -blockdev null-co,node-name=other,size=1048576,read-zeroes=on \
        -device virtio-blk-pci,id=vd1,drive=other
    q 0 throttle vd0 --bps 1M --group both
    q 0 throttle vd1 --group both
    q 0 throttle vd0
    said out 'group +both'
    q 0 throttle vd1
    said out 'group +both'
    said out 'bps +1 MiB/s'
    # What one of them changes is changed for both.
    q 0 throttle vd1 --iops 70
    q 0 --json throttle vd0
    result iops 70
    q 2 throttle vd0 --group nobody --bps 0 --iops 0
    said err 'give limits too'
}

# A job may be at work meanwhile: its speed is another thing.
beside_a_job() {
    make_long_chain
    start_blockdev
    q 0 pull vd0 --speed 64K --async
    q 0 throttle vd0 --bps 32M
    raw '{"execute": "query-block-jobs"}' >listing
    said listing '"speed":65536'
    q 0 recover --undo
    limit bps $((32 << 20))
    nothing_left
}

refused() {
    make_chain
    start_blockdev
    remember
    q 2 throttle vd0 --bps 1000
    said err 'has no unit'
    q 2 throttle vd0 --iops many
    q 2 throttle vd0 --off --bps 1M
    q 2 throttle vd0 --bps 1M --bps-rd 1M
    said err 'exclude one another'
    q 6 throttle nonesuch --off
    q 6 throttle nonesuch
    unchanged
    limit bps 0
}

behind_a_node() {
    make_chain
    start_qemu -object throttle-group,id=group,x-bps-total=1000000 \
        -blockdev "qcow2,node-name=top,file.driver=file,file.filename=$dir/top.qcow2" \
        -blockdev throttle,node-name=slow,file=top,throttle-group=group \
        -device virtio-blk-pci,id=vd0,drive=slow
    remember
    q 6 --json throttle vd0 --bps 1M
    result code unsupported
    said out 'throttle node slow'
    said out 'qom-set'
    unchanged
    q 0 --json throttle vd0
    result throttle_node slow
    # What was said is what to do.
    q 0 qmp qom-set path=/objects/group property=limits 'value:={"bps-total": 2000000}'
}

no_device() {
    make_chain
    start_qsd
    remember
    q 6 --json throttle top --bps 1M
    result code unsupported
    said out 'throttle-group'
    q 6 throttle top
    unchanged
}

for world in blockdev drive; do
    run_test "$world: limits are set one by one, shown, and taken away" sets_and_shows "$world"
    run_test "$world: a dry run changes nothing" dry "$world"
done
run_test "the length of bursts is not lost" keeps_lengths
run_test "disks share the limits of a group" groups
run_test "a job's speed is another thing" beside_a_job
run_test "limits without sense" refused
run_test "a disk behind a throttle node" behind_a_node
run_test "without a guest there is nothing to limit" no_device
finish
