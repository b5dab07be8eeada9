#!/usr/bin/env bash
# However an operation ends (a signal, a deadline, an I/O error, the end of QEMU), the exit status
# and the state it leaves are the documented ones.
. "$(dirname "$0")/lib.sh"

# begin VERB...: an operation held in its course by its speed; job id in $job
begin() {
    q_start --json "$@" --speed 64K
    wait_job "$1" running
}

# begin_op KIND
begin_op() {
    case $1 in
    pull) begin pull "$disk" ;;
    copy) begin copy "$disk" "$dir/copy.qcow2" --pivot ;;
    finish) begin copy "$disk" "$dir/copy.qcow2" --finish ;;
    backup) begin backup "$disk" "$dir/copy.qcow2" ;;
    esac
}

interrupted() {
    make_long_chain
    start "$1"
    remember
    begin_op "$2"
    guest_write 0x41 60M 64k
    kill -INT "$qblk_pid"
    q_ended 5
    said out '"cancelled"'
    said out "\"message\": \"[a-z]* $disk: cancelled by the user; the operation was undone\""
    unchanged
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

# left_open SIGNAL KIND WORLD: the job goes on in QEMU, and what was said tells how to go on
left_open() {
    local number
    make_long_chain
    start "$3"
    begin_op "$2"
    kill "-$1" "$qblk_pid"
    number=$(kill -l "$1")
    q_ended $((128 + number))
    said err "$job|${job#qblk.}"
    said err 'recover|job '
    raw '{"execute": "query-jobs"}' | grep -q "\"$job\"" || fail "the job is gone"
    # It can be taken up again: without its brake it comes to its end.
    case $2 in
    backup | pull)
        q 0 job speed "$job" 0
        q 0 job wait "$job"
        ;;
    *) q 0 job cancel "$job" ;;
    esac
    guest_write 0x42 60M 64k
    stop_qemu
    same top.qcow2 qcow2
}

timed_out() {
    make_long_chain
    start_blockdev
    begin_op backup
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}'
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    stop_qemu
    start_blockdev
    q 4 --timeout 0.5 --json copy vd0 "$dir/new.qcow2" --speed 64K
    said out '"timeout"'
    raw '{"execute": "query-jobs"}' | grep -q '"qblk\.' || fail "the job is gone"
    said err 'recover|job '
    stop_qemu
    same top.qcow2 qcow2
}

# in_sync_waits VERB...: what becomes ready is waited for in vain, unless somebody ends it
in_sync_waits() {
    make_chain
    start_blockdev
    q 0 "$@" --speed 64K --async
    job=$(cat out)
    said err "operation ........ is left open: job $job goes on in QEMU, and does not end before recover ends it$"
    ! grep -q 'job wait' err || fail "nobody ends it: $(cat err)"
    q 0 job speed "$job" 0
    wait_event "JOB_STATUS_CHANGE $job ready *"
    q_start job wait "$job"
    wait_said err "or by 'qblk job finish $job'; or 'qblk recover --operation ........' takes it up$"
    kill "$qblk_pid"
    q_ended 143
    q 0 recover
    nothing_left
}

stalled_left() {
    start_broken
    q_start pull vd0 --on-error stop
    wait_said err 'stopped on an I/O error'
    kill -TERM "$qblk_pid"
    q_ended 143
    said err 'is left open: job qblk[.].*[.]pull is stopped by an I/O error$'
    ! grep -q 'goes on' err || fail "it does not go on: $(cat err)"
    q 0 recover --undo
    nothing_left
}

timed_out_cancel() {
    make_long_chain
    start_blockdev
    remember
    q 4 --timeout 0.5 --json copy vd0 "$dir/new.qcow2" --speed 64K --cancel-on-timeout
    unchanged
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

# Ctrl-C asks for the operation to be undone, which QEMU does not answer until the deadline has come.
timed_out_undoing() {
    make_long_chain
    start_blockdev
    remember
    q_start --timeout 4 --json copy vd0 "$dir/new.qcow2" --speed 64K
    wait_job copy running
    kill -STOP "$qemu_pid"
    kill -INT "$qblk_pid"
    q_ended 4
    said err 'cancelling'
    tail -n 1 out | grep -q '"code": "timeout".*was left as it is' || fail "not left: $(tail -n 1 out)"
    kill -CONT "$qemu_pid"
    q 0 recover --undo
    unchanged
    nothing_left
}

# A second Ctrl-C finds it cancelled already: nothing of it goes on, and it can only be undone.
interrupted_twice() {
    make_long_chain
    start_blockdev
    remember
    q_start backup vd0 "$dir/copy.qcow2" --speed 64K
    wait_job backup running
    kill -STOP "$qemu_pid"
    kill -INT "$qblk_pid"
    wait_said err 'cancelling'
    kill -INT "$qblk_pid"
    q_ended 130
    said err 'was being cancelled and undone; "qblk recover --operation ........ --undo" undoes what is left of it$'
    said err 'interrupted \(Interrupt\); operation ........, which was being undone, was left as it is, with its job [^,]*$'
    ! grep -qE 'goes on|take it up' err || fail "it does not go on: $(cat err)"
    kill -CONT "$qemu_pid"
    q 0 recover --operation "$(sed -n 's/.*recover --operation \([0-9a-f]*\) .*/\1/p' err)" --undo
    unchanged
    nothing_left
}

io_error() {
    start_broken
    remember
    case $1 in
    pull) set -- pull vd0 ;;
    *) set -- "$1" vd0 "$dir/copy.qcow2" ;;
    esac
    q 1 --json "$@"
    said out 'Input/output error'
    unchanged
    rm -f copy.qcow2
    q 1 "$@"
    said err 'Input/output error'
    unchanged
    nothing_left
}

stalled() {
    start_broken
    remember
    q_start --json pull vd0 --on-error stop
    wait_job pull paused
    wait_said out stalled
    kill -INT "$qblk_pid"
    q_ended 5
    unchanged
    nothing_left
}

qemu_killed() {
    make_long_chain
    start "$1"
    begin_op "$2"
    kill -KILL "$qemu_pid"
    q_ended 3
    said out '"lost"'
    qemu_pid=
    "$QEMU_IMG" check -q top.qcow2 || [ $? = 3 ] || fail "the image is damaged"
    same top.qcow2 qcow2
}

qemu_quit() {
    make_long_chain
    start "$1"
    begin_op "$2"
    kill -TERM "$qemu_pid"
    q_ended 3
    said out '"lost"'
    wait "$qemu_pid"
    qemu_pid=
    same top.qcow2 qcow2
}

cancelled_by_another() {
    make_long_chain
    start_blockdev
    remember
    begin_op "$1"
    raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}'
    q_ended 5
    unchanged
    nothing_left
    stop_qemu
    same top.qcow2 qcow2
}

busy_monitor() {
    local started_at holder
    make_chain
    start_blockdev
    coproc "$rawqmp" "$dir/m0" hold
    holder=$COPROC_PID
    read -r -t "$patience" -u "${COPROC[0]}" _ || fail "cannot hold the monitor"
    started_at=$EPOCHREALTIME
    q 3 disks
    awk -v a="$started_at" -v b="$EPOCHREALTIME" 'BEGIN { exit !(b - a < 2) }' ||
        fail "it took $(awk -v a="$started_at" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }') s"
    said err 'busy'
    q 3 --json disks
    said out '"monitor-busy"'
    kill "$holder"
    wait "$holder"
    q 0 disks
}

no_monitor() {
    q 3 disks
    said err 'm0'
    q 3 --json disks
    said out '"no-monitor"'
    q 3 --wait 0.1 disks
    touch m0
    q 3 disks
}

# The operation waits for a QEMU that is not there yet.
appears_later() {
    make_chain
    set -m
    "$qblk" -s "$dir/m0" --wait "$patience" disks >later 2>err </dev/null &
    local waiting=$!
    set +m
    start_blockdev
    wait "$waiting" || fail "--wait: $(cat err)"
    said later 'vd0'
}

# Undone is what was made, not what somebody has put in its place.
exchanged() {
    make_long_chain
    start_blockdev
    q_start copy vd0 copy.qcow2 --pivot --speed 64K
    wait_job copy running
    mv copy.qcow2 moved.qcow2
    echo precious >copy.qcow2
    kill -INT "$qblk_pid"
    q_ended 5
    said err 'copy.qcow2 is left: it is not the one that was made'
    [ "$(cat copy.qcow2)" = precious ] || fail "it is gone"
    nothing_left
}

# A shell that starts it in the background says that Ctrl-C is for others.
in_background() {
    make_long_chain
    start_blockdev
    "$qblk" -s "$dir/m0" copy vd0 copy.qcow2 --pivot --speed 64K >out 2>err </dev/null &
    qblk_pid=$!
    started="${started-} $qblk_pid"
    wait_job copy running
    kill -INT "$qblk_pid"
    kill -TERM "$qblk_pid"
    q_ended 143
    ! grep -q cancelling err || fail "it was cancelled: $(cat err)"
    q 0 recover --undo
    nothing_left
}

for world in blockdev drive qsd; do
    for kind in pull copy finish backup; do
        run_test "Ctrl-C undoes a $kind, $world" interrupted "$world" "$kind"
    done
done
for kind in pull finish backup; do
    run_test "SIGTERM leaves a $kind open and says how to go on" left_open TERM "$kind" blockdev
done
run_test "SIGHUP leaves a copy open and says how to go on" left_open HUP finish drive
run_test "a deadline leaves the operation open" timed_out
run_test "a copy left by --async is to be ended" in_sync_waits copy vd0 copy.qcow2 --finish
run_test "a commit left by --async is to be ended" in_sync_waits commit vd0
run_test "a job that stopped on an error is left so" stalled_left
run_test "a deadline with --cancel-on-timeout undoes it" timed_out_cancel
run_test "a deadline leaves the operation open that Ctrl-C was to undo" timed_out_undoing
run_test "a second Ctrl-C leaves what is being undone" interrupted_twice
for kind in pull copy backup; do
    run_test "an I/O error during a $kind is told in QEMU's words" io_error "$kind"
done
run_test "a job that stopped on an error is shown as stalled and can be cancelled" stalled
for kind in pull copy backup; do
    run_test "QEMU killed during a $kind is lost" qemu_killed blockdev "$kind"
    run_test "a $kind that somebody else cancels is undone" cancelled_by_another "$kind"
done
run_test "the storage daemon killed during a copy is lost" qemu_killed qsd copy
run_test "QEMU ended during a copy is lost" qemu_quit blockdev copy
run_test "a busy monitor is named within two seconds" busy_monitor
run_test "a socket that nobody listens at" no_monitor
run_test "--wait takes a QEMU that comes later" appears_later
run_test "a file in the place of the target" exchanged
run_test "Ctrl-C is not for one in the background" in_background
finish
