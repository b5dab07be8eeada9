#!/usr/bin/env bash
# Whoever reads the output may not read it, or be gone: the operation goes on all the same, and signals and
# deadlines are heeded.
. "$(dirname "$0")/lib.sh"

# unread KIND ARG...: qblk where nobody reads its output, until read_it
unread() {
    local kind=$1
    shift
    mkfifo go
    set -m
    "$build/tests/live/unread" "$kind" "$dir/pid" "$qblk" -s "$dir/m0" "$@" <go >out 2>err &
    unread_pid=$!
    set +m
    started="${started-} $unread_pid"
    exec {go}>go
}

read_it() {
    exec {go}>&-
}

# unread_ended STATUS
unread_ended() {
    local status
    ends "$unread_pid" || fail "it does not end: $(cat "/proc/$(cat pid)/wchan")"
    wait "$unread_pid"
    status=$?
    [ "$status" = "$1" ] || fail "it ended with $status, not $1: $(tail -n 2 out)"
}

# It is done, though nobody heard it; once somebody reads, nothing is missing.
goes_on() {
    make_long_chain
    start_blockdev
    unread "$1" -q --json copy vd0 "$dir/copy.qcow2" --pivot
    wait_event "BLOCK_JOB_COMPLETED *"
    wait_event "JOB_STATUS_CHANGE qblk.????????.copy null *"
    read_it
    unread_ended 0
    said out '"event": "plan"'
    tail -n 1 out | grep -q '^{"result"' || fail "the last line is no result: $(tail -n 1 out)"
    nothing_left
    stop_qemu
    same copy.qcow2 qcow2
}

# ends_by SIGNAL KIND: left open, as if somebody read it
ends_by() {
    make_long_chain
    start_blockdev
    unread "$2" copy vd0 "$dir/copy.qcow2" --pivot --speed 64K
    wait_job copy running
    kill "-$1" "$(cat pid)"
    unread_ended $((128 + $(kill -l "$1")))
    exec {go}>&-
    q 0 recover --undo
    nothing_left
}

cancelled() {
    make_long_chain
    start_blockdev
    remember
    unread "$1" copy vd0 "$dir/copy.qcow2" --pivot --speed 64K
    wait_job copy running
    kill -INT "$(cat pid)"
    wait_event "JOB_STATUS_CHANGE $job null *"
    read_it
    unread_ended 5
    said out 'cancelled'
    unchanged
}

# The last word finds no reader within --timeout either.
timed_out() {
    make_long_chain
    start_blockdev
    unread "$1" --timeout 0.5 copy vd0 "$dir/copy.qcow2" --pivot --speed 64K
    unread_ended 4
    exec {go}>&-
    q 0 recover --undo
    nothing_left
    unread_again "$1"
}

# The same of what is done at once.
unread_again() {
    rm go
    unread "$1" --timeout 0.5 disks
    unread_ended 4
    exec {go}>&-
}

# A pipe that its owner has made non-blocking: what does not fit is no failure.
not_blocking() {
    make_chain
    start_blockdev
    unread nonblocking --json qmp query-qmp-schema
    read_it
    unread_ended 0
    tail -c 3 out | grep -q '}' || fail "the end is missing"
    [ "$(wc -c <out)" -gt 100000 ] || fail "only $(wc -c <out) bytes came"
}

# Beyond what is kept all is dropped, from the beginning of a line on, and that is said. What was kept is not.
overflow() {
    cat >script <<'S'
! negotiate
! pour {"event": "NOISE", "data": {"x": "0123456789"}}
S
    "$build/tests/fake/qmp_server" "$dir/m0" script >server.log 2>&1 &
    server_pid=$!
    started="${started-} $server_pid"
    unread pipe --wait "$patience" events
    wait "$server_pid" || fail "the peer complains: $(cat server.log)"
    read_it
    unread_ended 1
    [ "$(wc -c <out)" -gt $((16 << 20)) ] || fail "only $(wc -c <out) bytes were kept"
    [ "$(tail -n 1 out)" = "qblk: cannot write the output: nobody reads it" ] ||
        fail "the last line is $(tail -n 1 out)"
    [ "$(sed '$d' out | grep -cv '^{"event": "NOISE".*}}$')" = 0 ] || fail "there are torn lines"
}

# Who only tells ends with his reader, before there is more to tell.
reader_gone() {
    local reader
    make_chain
    start_blockdev
    mkfifo pipe
    "$qblk" -s "$dir/m0" "$@" >pipe 2>err </dev/null &
    qblk_pid=$!
    started="${started-} $qblk_pid"
    exec {reader}<pipe
    exec {reader}<&-
    ends "$qblk_pid" || fail "it goes on"
    q_ended 1
    said err 'cannot write the output: Broken pipe'
}

for kind in pipe terminal socket; do
    run_test "a copy goes on, $kind" goes_on "$kind"
    run_test "SIGTERM is heeded, $kind" ends_by TERM "$kind"
    run_test "Ctrl-C cancels, $kind" cancelled "$kind"
    run_test "--timeout is heeded, $kind" timed_out "$kind"
done
for kind in others-pipe others-terminal; do
    run_test "a copy goes on, $kind" goes_on "$kind"
    run_test "--timeout is heeded, $kind" timed_out "$kind"
done
run_test "SIGHUP is heeded, terminal" ends_by HUP terminal
run_test "a pipe that does not block" not_blocking
run_test "more than is kept" overflow
run_test "events ends with its reader" reader_gone events
run_test "events --reconnect ends with its reader" reader_gone events --reconnect 60
run_test "job watch ends with its reader" reader_gone job watch
run_test "watch ends with its reader" reader_gone watch
finish
