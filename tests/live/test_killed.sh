#!/usr/bin/env bash
# What the kill matrix has no time for: the client is killed while its job has much to do yet, is paused or
# waits to be ended, and `qblk recover` finishes the operation as it was meant, or undoes it if so told.
. "$(dirname "$0")/lib.sh"

# begin KIND ARG...: an operation in the background
begin() {
    local kind=$1
    shift
    case $kind in
    pull) q_start --json pull "$disk" "$@" ;;
    finish) q_start --json copy "$disk" "$dir/copy.qcow2" --finish "$@" ;;
    pivot) q_start --json copy "$disk" "$dir/copy.qcow2" --pivot "$@" ;;
    keep) q_start --json copy "$disk" "$dir/copy.qcow2" --keep "$@" ;;
    backup) q_start --json backup "$disk" "$dir/copy.qcow2" "$@" ;;
    esac
}

# verb KIND: the word in its job's name
verb() {
    case $1 in
    finish | pivot | keep) echo copy ;;
    *) echo "$1" ;;
    esac
}

# listed: the operation is shown as one that can be recovered
listed() {
    q 0 --json recover --list
    said out '"journal": ?true'
}

# ended KIND: what recover calls it
ended() {
    case $1 in
    pivot) result result pivoted ;;
    finish) result result finished ;;
    *) result result completed ;;
    esac
}

# as_done KIND: recover has ended it, and everything is as at the end of an undisturbed operation
as_done() {
    local image=top.qcow2
    ended "$1"
    nothing_left
    q 0 recover
    said out 'nothing to recover'
    case $1 in
    pull) chain_is top.qcow2 ;;
    pivot)
        [ "$world" = qsd ] || chain_is copy.qcow2
        image=copy.qcow2
        ;;
    *) chain_is top.qcow2 mid.qcow2 base.qcow2 ;;
    esac
    # What a copy or a backup holds is what the disk held then: nothing was written since.
    [ "$1" = pull ] || cp reference.raw then.raw
    guest_write 0x61 60M 64k
    stop_qemu
    same "$image" qcow2
    [ "$1" = pull ] || [ "$1" = pivot ] || same copy.qcow2 qcow2 then.raw
}

# as_before: nothing of the operation is left, neither in QEMU nor on disk
as_before() {
    unchanged
    nothing_left
    [ ! -e copy.qcow2 ] || fail "the file that the operation made is still there"
    chain_is top.qcow2 mid.qcow2 base.qcow2
    guest_write 0x62 60M 64k
    stop_qemu
    same top.qcow2 qcow2
}

mid_job() {
    make_long_chain
    start "$1"
    begin "$2" --speed 64K
    wait_job "$(verb "$2")" running
    kill_client
    listed
    q 0 job speed "$job" 0
    q 0 --json recover
    as_done "$2"
}

mid_job_undone() {
    make_long_chain
    start "$1"
    remember
    begin "$2" --speed 64K
    wait_job "$(verb "$2")" running
    kill_client
    q 0 --json recover --undo
    as_before
}

# A job that was told to wait for somebody to end it
ready_job() {
    make_long_chain
    start "$1"
    remember
    begin keep
    wait_job copy ready
    kill_client
    listed
    case $2 in
    undo)
        q 0 --json recover --undo
        as_before
        ;;
    *)
        q 0 --json recover "--$2"
        as_done "$2"
        ;;
    esac
}

# QEMU 5.2 lets a job sleep on that has to wait for its speed's sake; another speed wakes it.
pause_job() {
    raw '{"execute": "job-pause", "arguments": {"id": "'"$job"'"}}' \
        '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 131072}}' >/dev/null ||
        fail "cannot pause $job"
    wait_event "JOB_STATUS_CHANGE $job @(paused|standby) *"
}

# A paused job is resumed to be ended, one that is ready and one that is not.
paused_job() {
    make_long_chain
    start "$1"
    case $2 in
    pull | backup)
        begin "$2" --speed 64K
        wait_job "$2" running
        ;;
    *)
        begin keep
        wait_job copy ready
        ;;
    esac
    kill_client
    pause_job
    case $2 in
    pull | backup)
        q 0 job speed "$job" 0
        q 0 --json recover
        ;;
    *) q 0 --json recover "--$2" ;;
    esac
    said out "\"notes\": ?\[\"job $job was paused, and was resumed\""
    as_done "$2"
}

# A copy that is to be kept, paused before it is in sync or after, is brought in sync and kept.
paused_kept() {
    make_long_chain
    start "$1"
    if [ "$2" = running ]; then
        begin keep --speed 64K
        wait_job copy running
    else
        begin keep
        wait_job copy ready
    fi
    kill_client
    pause_job
    [ "$2" = ready ] || q 0 job speed "$job" 0
    q 0 --json recover
    result result kept
    said out "\"notes\": ?\[\"job $job was paused, and was resumed\""
    raw '{"execute": "query-jobs"}' >answer
    grep -qE '"status": ?"ready"' answer || fail "it is not in sync: $(cat answer)"
    q 0 --json recover --finish
    as_done finish
}

# The job ends while its client is stopped, and the client is killed.
concluded() {
    make_long_chain
    start "$1"
    begin "$2" --speed 64K
    wait_job "$(verb "$2")" running
    kill -STOP "$qblk_pid"
    raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}'
    case $2 in
    finish | pivot) wait_event "JOB_STATUS_CHANGE $job ready *" ;;
    *) wait_event "JOB_STATUS_CHANGE $job concluded *" ;;
    esac
    case $2 in
    finish)
        raw '{"execute": "block-job-cancel", "arguments": {"device": "'"$job"'"}}'
        wait_event "JOB_STATUS_CHANGE $job concluded *"
        ;;
    pivot)
        raw '{"execute": "job-complete", "arguments": {"id": "'"$job"'"}}'
        wait_event "JOB_STATUS_CHANGE $job concluded *"
        ;;
    esac
    kill_client
    q 0 --json recover --list
    said out '"concluded"'
    q 0 --json recover
    as_done "$2"
}

for world in blockdev qsd; do
    for kind in pull finish pivot backup; do
        run_test "killed in its course, a $kind is finished, $world" mid_job "$world" "$kind"
        run_test "killed with its job concluded, a $kind is finished, $world" \
            concluded "$world" "$kind"
    done
    for kind in pull finish pivot backup; do
        run_test "killed, and its job paused, a $kind is finished, $world" paused_job "$world" "$kind"
    done
    for at in running ready; do
        run_test "a copy to be kept, paused while $at, is kept in sync, $world" paused_kept "$world" "$at"
    done
    for ending in finish pivot undo; do
        run_test "killed while ready, a copy can be ended by $ending, $world" \
            ready_job "$world" "$ending"
    done
done
for kind in pull finish pivot backup; do
    run_test "killed in its course, a $kind can be undone" mid_job_undone blockdev "$kind"
done
finish
