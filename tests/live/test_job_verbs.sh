#!/usr/bin/env bash
# What a job can be told, what it says when it stops on an error, and what must not be done meanwhile.
. "$(dirname "$0")/lib.sh"

# failing_target EVENT ERRNO [ONCE]: node target, whose first EVENT fails (or each, for false)
failing_target() {
    "$QEMU_IMG" create -q -f raw target.raw 64M
    raw '{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "target",
          "file": {"driver": "blkdebug", "node-name": "target-bad",
                   "inject-error": [{"event": "'"$1"'", "errno": '"$2"',
                                     "once": '"${3-true}"'}],
                   "image": {"driver": "file", "filename": "'"$dir"'/target.raw"}}}}' >added
    ! grep -q error added || fail "no target: $(cat added)"
}

# mirror ID [MORE]: a mirror of somebody else's
mirror() {
    raw '{"execute": "blockdev-mirror", "arguments": {"job-id": "'"$1"'", "device": "top",
          "target": "target", "sync": "full", "auto-dismiss": false'"${2-}"'}}' >started-mirror
    ! grep -q error started-mirror || fail "no mirror: $(cat started-mirror)"
}

null_target() {
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "target",
          "size": '"$((64 << 20))"', "read-zeroes": true}}' >/dev/null
}

# stream ID SPEED
stream() {
    raw '{"execute": "block-stream", "arguments": {"job-id": "'"$1"'", "device": "top",
          "speed": '"$2"', "auto-dismiss": false}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE $1 running *"
}

ready_mirror() {
    make_chain 64M
    start_blockdev
    null_target
    mirror m
    wait_event "BLOCK_JOB_READY *"
}

# A disk's name is what people have at hand: they are told its job, if there is one and no more.
called_by_disk() {
    local verb
    make_long_chain
    start_blockdev
    q 6 job pause vd0
    said err "QEMU knows no job 'vd0': it is over"
    stream s 65536
    for verb in pause resume 'speed 1M' 'change --active' cancel finish pivot complete finalize dismiss \
        info wait; do
        # shellcheck disable=SC2086 # words
        set -- $verb
        q 6 job "$1" vd0 "${@:2}"
        said err "no job 'vd0', which is a disk; the job that works on it is s\$"
    done
    q 6 --json job pause vd0
    result code unknown-job
    result job vd0
    q 6 job pause nonesuch
    said err "QEMU knows no job 'nonesuch': it is over"
    q 0 job cancel s
    q 0 job dismiss s
}

dismissed() {
    raw '{"execute": "job-dismiss", "arguments": {"id": "'"$1"'"}}' >/dev/null
    raw '{"execute": "blockdev-del", "arguments": {"node-name": "target"}}' >/dev/null
    nothing_left
}

# later_or_refused ARG...: qblk ARG... completes the paused job m. Whether QEMU keeps that in mind or
# refuses it no schema says, only QEMU when asked: where qblk is refused, so is a plain command.
later_or_refused() {
    "$qblk" -s "$dir/m0" "$@" >out 2>err </dev/null && return
    q 6 "$@"
    unchanged
    raw '{"execute": "job-complete", "arguments": {"id": "m"}}' | grep -q "'standby'" ||
        fail "QEMU itself does not refuse"
    return 1
}

paused_while_ready() {
    ready_mirror
    q 0 job pause m
    wait_event "JOB_STATUS_CHANGE m standby *"
    remember
    # A client that only finds it paused knows as well.
    q 6 job finish m
    said err 'resume it first, or cancel it'
    q 6 --json job finish m
    result code job-state
    unchanged
    if later_or_refused job pivot m; then
        said out "deferred: .*resumed \('qblk job resume m'\)"
        q 0 job resume m
    else
        said err "job 'm' is paused: resume it and then complete it, or cancel it"
        q 0 job resume m
        wait_event "JOB_STATUS_CHANGE m ready *"
        q 0 job pivot m
    fi
    wait_event "JOB_STATUS_CHANGE m concluded *"
    q 0 --json job info m
    said out '"completed"'
    dismissed m
}

deferred_in_json() {
    ready_mirror
    q 0 job pause m
    wait_event "JOB_STATUS_CHANGE m standby *"
    remember
    if later_or_refused --json job complete m; then
        result deferred true
        result state standby
    else
        result code job-state
        result job m
    fi
    q 0 job cancel m
    dismissed m
}

pivot_and_complete() {
    ready_mirror
    q 0 --json job pivot m
    result verb pivot
    result outcome completed
    result deferred false
    dismissed m
}

change() {
    local began=$SECONDS
    ready_mirror
    q 2 job change m
    said err 'say what is to be changed'
    if offered block-job-change; then
        q 0 job change m --active
        said out "active: the guest's writes now wait"
        # QEMU sees that it is in sync when it comes to look, of which no event tells.
        until raw '{"execute": "query-block-jobs"}' | grep -qE '"actively-synced": ?true'; do
            [ $((SECONDS - began)) -lt "$patience" ] || fail "it never is in sync"
        done
        guest_write 0x71 3M 64k
        raw '{"execute": "query-block-jobs"}' >listing
        said listing '"actively-synced": ?true'
        q 0 --json job change m --active # once more makes no difference
        result verb change
    else
        remember
        q 6 job change m --active
        said err 'no block-job-change, which came with 8.2'
        said err 'copy --active'
        q 6 --json job change m --active
        result code unsupported
        unchanged
    fi
    q 0 job cancel m
    q 6 job change m --active
    said err 'is concluded'
    dismissed m
}

change_of_a_stream() {
    make_long_chain
    start_blockdev
    stream s 65536
    q 6 job change s --active
    said err 'only a mirror'
    q 0 job cancel s
    q 0 job dismiss s
    nothing_left
}

# stalled ERRNO REASON: a mirror stops on a write error; who comes late and who was there can tell
stalled() {
    make_chain 64M
    start_blockdev
    failing_target pwritev "$1"
    set -m
    "$qblk" -s "$dir/m0" --json job watch m >watched 2>err-watch </dev/null &
    set +m
    wait $! # there is no such job yet
    [ $? = 6 ] || fail "watching no job: $(cat watched)"
    mirror m ', "on-target-error": "stop"'
    wait_event "JOB_STATUS_CHANGE m paused *"
    q 0 job list
    said out "stalled \($2"
    said err "job m stopped on an I/O error \($2"
    said err "qblk job resume m'; or 'qblk job cancel m'"
    q 0 job info m
    said out "stalled: +$2"
    said out "to go on: .*qblk job resume m"
    q 0 --json job info m
    result stall_reason "$2"
    result stalled true
    q 4 --timeout 0.3 job wait m
    said err "job m stopped on an I/O error \($2"
    q 0 job resume m
    q 4 --timeout 0.3 job wait m
    q 0 job wait m --ready
    q 4 --timeout 0.3 job wait m
    said err "job m is in sync, and ends when it is told to: .*'qblk job pivot m'"
    q 0 job cancel m
    dismissed m
}

no_space_is_a_write() {
    make_chain 64M
    start_blockdev
    failing_target pwritev 28
    mirror m ', "on-target-error": "stop"'
    wait_event "JOB_STATUS_CHANGE m paused *"
    q 0 job list
    said out 'stalled \(nospace, write on node target\)'
    said err 'make room, then'
    q 0 --json job info m
    result stall_node target
    result stall_op write
    q 0 job cancel m
    dismissed m
}

# Whoever listens hears of the stall, with node, operation and reason, in one line.
stall_is_heard() {
    make_chain 64M
    start_blockdev
    failing_target pwritev 5 false
    mirror m ', "on-target-error": "stop"'
    wait_event "JOB_STATUS_CHANGE m paused *"
    exec {watching}< <(exec "$qblk" -s "$dir/m0" job watch m 2>err-watch)
    while [[ ${line-} != *stalled* ]]; do # "paused" comes first: the reason is read a moment later
        read -r -t "$patience" -u "$watching" line || fail "job watch does not tell the stall"
    done
    [[ $line == *"stalled (failed): "*"qblk job resume m"* ]] || fail "job watch says: $line"
    raw '{"execute": "job-resume", "arguments": {"id": "m"}}' >/dev/null
    read -r -t "$patience" -u "$watching" line
    [[ $line == *"m mirror running"* ]] || fail "resumed, job watch says: $line"
    read -r -t "$patience" -u "$watching" line
    [[ $line == *"stalled (failed, write on node target): mend"* ]] || fail "job watch says: $line"
    raw '{"execute": "job-cancel", "arguments": {"id": "m"}}' >/dev/null
    while read -r -t "$patience" -u "$watching" line; do :; done
    exec {watching}<&-
    dismissed m
}

# An operation that waits says where its job stopped, and goes on when the job does.
stalled_operation() {
    make_chain
    start_qemu \
        -blockdev "qcow2,node-name=base,file.driver=file,file.filename=$dir/base.qcow2" \
        -blockdev "qcow2,node-name=mid,file.driver=file,file.filename=$dir/mid.qcow2,backing=base" \
        -blockdev '{"driver": "qcow2", "node-name": "top", "backing": "mid", "file": {
            "driver": "blkdebug", "node-name": "top-bad",
            "inject-error": [{"event": "write_aio", "errno": 5, "once": true}],
            "image": {"driver": "file", "filename": "'"$dir"'/top.qcow2"}}}' \
        -device virtio-blk-pci,id=vd0,drive=top
    world=blockdev disk=vd0
    exec {pulling}< <(exec "$qblk" -s "$dir/m0" --json pull vd0 --on-error stop 2>err)
    wait_job pull paused
    until [[ ${line-} == *'"event": "warning"'* ]]; do
        read -r -t "$patience" -u "$pulling" line || fail "no warning of the stall"
    done
    raw '{"execute": "job-resume", "arguments": {"id": "'"$(job_of)"'"}}' >/dev/null
    while read -r -t "$patience" -u "$pulling" line; do last=$line; done
    exec {pulling}<&-
    [[ $last == *'"result": "completed"'* ]] || fail "the pull ended with $last"
    said err 'stopped on an I/O error \(failed, read on node top\): mend'
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

waits_for_several() {
    make_long_chain
    start_blockdev
    null_target
    mirror m
    wait_event "BLOCK_JOB_READY *"
    q 6 --json job wait m nonesuch
    result code unknown-job
    result job nonesuch
    q 6 job wait nonesuch --any
    q 4 --timeout 0.3 --json job wait m
    result code timeout
    q 0 --json job wait m --ready --any
    result ready true
    # One of two has ended.
    raw '{"execute": "blockdev-create", "arguments": {"job-id": "c", "options": {
          "driver": "file", "filename": "'"$dir"'/nonesuch/x", "size": 0}}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE c concluded *"
    q 1 --json job wait m c --any
    result code job-failed
    result job c
    q 4 --timeout 0.3 job wait m c
    q 0 job cancel m
    q 5 --json job wait m c
    result code cancelled
    said out '"id": "c".*"outcome": "failed"'
    said out '"id": "m".*"outcome": "cancelled"'
    q 1 --json job wait c m
    result code job-failed
    q 0 job dismiss c
    dismissed m
}

# What QEMU would let through is not sent; nothing else costs a question.
guarded() {
    ready_mirror
    remember
    for command in "device_del id=vd0" quit "migrate uri=exec:cat" system_powerdown; do
        # shellcheck disable=SC2086 # words
        q 6 qmp $command
        said err "refused: .*Job m is a mirror that is ready; end it"
        said err '--force'
    done
    q 6 --json qmp '{"execute": "quit", "id": 5}'
    result code busy
    result job m
    unchanged
    q 0 qmp query-status
    q 0 qmp quit --force
    wait "$qemu_pid"
    qemu_pid=
}

unguarded() {
    make_long_chain
    start_blockdev -device virtio-scsi-pci -blockdev null-co,node-name=other,read-zeroes=on \
        -device scsi-hd,id=other,drive=other
    stream s 65536
    q 6 qmp device_del id=other
    said err 'Job s is a stream that is running; wait for it'
    q 0 job cancel s
    # One that is over spoils nothing, and keeps nobody from anything.
    q 0 qmp device_del id=other
    q 0 job dismiss s
}

# A QEMU that has the command dies of it.
deadly() {
    local status=6
    make_chain
    start_blockdev
    offered blockdev-reopen || status=1
    q "$status" --json qmp blockdev-reopen options:=[]
    [ "$status" = 1 ] || result code hazard
    q "$status" --json qmp '{"execute": "blockdev-reopen", "arguments": {"options": [ ]}}'
    q 1 qmp blockdev-reopen 'options:=[{"driver": "raw", "node-name": "none", "file": "none"}]'
    q 0 qmp query-status
}

run_test "a job paused while ready: finish is refused, a pivot deferred" paused_while_ready
run_test "a deferred pivot is told in JSON" deferred_in_json
run_test "pivot is complete" pivot_and_complete
run_test "a copy is made an active one, where QEMU can" change
run_test "nothing else can be changed" change_of_a_stream
run_test "a job that stopped for want of space tells so" stalled 28 nospace
run_test "a job that stopped on another error tells so" stalled 5 failed
run_test "want of space is a write, and the node is known" no_space_is_a_write
run_test "a stall is told to who listens" stall_is_heard
run_test "an operation tells where its job stopped" stalled_operation
run_test "a job that is called by its disk" called_by_disk
run_test "job wait for several jobs" waits_for_several
run_test "what would spoil a job is refused" guarded
run_test "a job that is over is in nobody's way" unguarded
run_test "what QEMU dies of is refused" deadly
finish
