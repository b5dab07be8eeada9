#!/usr/bin/env bash
# The job verbs, events and raw commands, on jobs of ours and of somebody else's.
. "$(dirname "$0")/lib.sh"

# theirs SPEED: a stream that another client has started
theirs() {
    raw '{"execute": "block-stream", "arguments": {"job-id": "theirs", "device": "top",
          "speed": '"$1"', "auto-dismiss": false}}'
    wait_event "JOB_STATUS_CHANGE theirs running *"
}

seen_and_ended() {
    make_long_chain
    start_blockdev
    theirs 65536
    q 0 job list
    said out 'theirs.*stream'
    q 0 --json job info theirs
    said out '"theirs"'
    said out '"running"'
    q 0 job pause theirs
    wait_event "JOB_STATUS_CHANGE theirs paused *"
    q 0 job info theirs
    said out paused
    q 0 job resume theirs
    q 0 job speed theirs 1M
    raw '{"execute": "query-block-jobs"}' >listing
    said listing '"speed":1048576'
    q 2 job speed theirs 1000
    # Cancelled, it stays for its owner to look at; dismissing it is another decision.
    q 0 job cancel theirs
    q 0 --json job info theirs
    said out '"cancelled"'
    q 0 job dismiss theirs
    nothing_left
}

waits() {
    make_long_chain
    start_blockdev
    theirs 65536
    set -m
    "$qblk" -s "$dir/m0" --json job wait theirs >out 2>err </dev/null &
    local waiting=$!
    set +m
    raw '{"execute": "block-job-set-speed", "arguments": {"device": "theirs", "speed": 0}}'
    wait "$waiting" || fail "job wait: $(cat err)"
    said out '"completed"'
    # It was pending for an instant, and waited for nobody.
    [ ! -s err ] || fail "more was said: $(cat err)"
    q 0 --json job info theirs
    said out '"concluded"'
    q 0 job dismiss theirs
    nothing_left
}

# What is known of one job is not lost because another is not done with in time.
one_of_two_in_time() {
    make_long_chain
    start_blockdev
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "target", "size": 67108864}}' \
        '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "other", "size": 67108864}}' \
        '{"execute": "blockdev-backup", "arguments": {"job-id": "slow", "device": "top", "target": "target",
            "sync": "full", "speed": 65536}}' \
        '{"execute": "blockdev-backup", "arguments": {"job-id": "done", "device": "top", "target": "other",
            "sync": "full", "auto-dismiss": false}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE done concluded *"
    q 4 --timeout 2 job wait slow "done"
    said out '^done: completed$'
    said err 'timed out after 2 s, waiting for job slow; '
    q 0 job wait slow "done" --any
    q 0 job dismiss "done"
    # Who only watches has not failed, whatever becomes of it.
    q_start job watch slow
    wait_said out 'slow backup running'
    raw '{"execute": "job-cancel", "arguments": {"id": "slow"}}' >/dev/null
    q_ended 0
    said out 'cancelled'
    nothing_left
}

# Neither does one that is paused, be it in sync.
paused_for_ever() {
    make_chain
    start_blockdev
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "target", "size": 8388608}}' \
        '{"execute": "blockdev-mirror", "arguments": {"job-id": "m", "device": "top", "target": "target",
            "sync": "full"}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE m ready *"
    q_start job wait m
    wait_said err 'is in sync'
    ! grep -q paused err || fail "not paused: $(cat err)"
    raw '{"execute": "job-pause", "arguments": {"id": "m"}}' >/dev/null
    wait_said err "^qblk: job m is paused, and goes on when it is told to: 'qblk job resume m'$"
    [ "$(grep -c 'is paused' err)" = 1 ] || fail "not said once: $(cat err)"
    kill "$qblk_pid"
    q_ended 143
    q_start job wait m
    wait_said err "^qblk: job m is paused"
    kill "$qblk_pid"
    q_ended 143
    q 0 job resume m
    q 0 job cancel m
    nothing_left
}

# One that is to be finalized comes to no end by itself, and that is said.
waits_for_its_owner() {
    make_chain
    start_blockdev
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "target", "size": 8388608}}' \
        '{"execute": "blockdev-mirror", "arguments": {"job-id": "m", "device": "top", "target": "target",
            "sync": "full", "auto-finalize": false}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE m ready *"
    q 4 --timeout 0.3 job wait m
    said err "job m is in sync, and ends when it is told to: .*'qblk job pivot m'"
    q 4 --timeout 0.3 job finish m
    said err "job m is pending, and ends when it is told to: .*'qblk job finalize m'"
    q 4 --timeout 0.3 -q job wait m
    ! grep -q pending err || fail "not silent: $(cat err)"
    q 4 --timeout 0.3 job wait m
    [ "$(grep -c 'job m is pending' err)" = 1 ] || fail "not said once: $(cat err)"
    q 0 job finalize m
    nothing_left
}

wait_times_out() {
    make_long_chain
    start_blockdev
    theirs 65536
    q 4 --timeout 0.3 job wait theirs
    q 4 --timeout 0.3 job wait theirs --ready
    raw '{"execute": "job-cancel", "arguments": {"id": "theirs"}}'
    wait_event "JOB_STATUS_CHANGE theirs concluded *"
    q 5 --json job wait theirs
    said out '"cancelled"'
}

events_stream() {
    make_long_chain
    start_blockdev
    # The subscriber listens for certain once it is given its own monitor's reply.
    exec {stream}< <(exec "$qblk" -s "$dir/m0" events --count 3 'JOB_*' 2>err)
    until_listening
    theirs 65536
    raw '{"execute": "job-cancel", "arguments": {"id": "theirs"}}'
    mapfile -t -u "$stream" lines
    [ "${#lines[@]}" = 3 ] || fail "${#lines[@]} events, not 3: ${lines[*]}"
    [[ ${lines[0]} == *JOB_STATUS_CHANGE*created* ]] || fail "first event: ${lines[0]}"
}

# Until QEMU has a client on m0: the next one is turned away as one too many.
until_listening() {
    local status
    while :; do
        "$qblk" -s "$dir/m0" qmp query-name >/dev/null 2>&1
        status=$?
        [ "$status" != 3 ] || return 0
        [ "$status" = 0 ] || fail "query-name: status $status"
    done
}

raw_commands() {
    make_chain
    start_blockdev
    q 0 qmp query-version
    said out '"qemu"'
    q 0 --json qmp query-status
    said out '"result"'
    q 1 qmp nonesuch
    said err CommandNotFound
    q 1 --json qmp blockdev-del node-name=nonesuch
    said out '"error"'
    q 0 qmp '{"execute": "query-block"}'
    said out '"device"'
    # More than one read's worth in one line, and numbers at the edge of 64 bits.
    q 0 qmp query-qmp-schema
    [ "$(wc -c <out)" -gt 60000 ] || fail "the schema is short: $(wc -c <out)"
    q 0 qmp '{"execute": "query-name", "id": 18446744073709551615}'
    q 0 --json disks
    said out '"vd0"'
    q 0 disks
    said out 'vd0'
    q 0 tree
    said out 'top.qcow2'
    q 0 tree vd0 --dot
    said out 'digraph'
}

pretty_monitor() {
    make_chain
    start_qemu -chardev "socket,id=p,path=$dir/pretty,server=on,wait=off" \
        -mon chardev=p,mode=control,pretty=on \
        -blockdev "qcow2,node-name=base,file.driver=file,file.filename=$dir/base.qcow2" \
        -device virtio-blk-pci,id=vd0,drive=base
    "$qblk" -s "$dir/pretty" disks >out 2>err || fail "a pretty monitor: $(cat err)"
    said out vd0
}

out_is_gone() {
    make_chain
    start_blockdev
    "$qblk" -s "$dir/m0" disks >/dev/full 2>err && fail "output that cannot be written is no success"
    said err .
    # A reader that leaves early is no reason to die by a signal or to leave anything behind.
    "$qblk" -s "$dir/m0" --json pull vd0 2>err | head -c 1 >/dev/null
    nothing_left
}

run_test "somebody else's job can be seen, paused, resumed, slowed, cancelled" seen_and_ended
run_test "job wait ends with the job and tells its outcome" waits
run_test "what is known when the time is over" one_of_two_in_time
run_test "a job that is paused" paused_for_ever
run_test "job wait says what a job waits for" waits_for_its_owner
run_test "job wait can be given a deadline" wait_times_out
run_test "events come as they happen" events_stream
run_test "raw commands give QEMU's replies" raw_commands
run_test "a monitor with pretty=on" pretty_monitor
run_test "output that nobody takes" out_is_gone
finish
