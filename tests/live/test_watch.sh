#!/usr/bin/env bash
# qblk watch: many monitors on one loop, which come and go, serve somebody else, or hang.
. "$(dirname "$0")/lib.sh"

server=$build/tests/fake/qmp_server

# watch ARG...: in the background, what it says to be read by see
watch() {
    mkfifo says
    set -m
    "$qblk" watch "$@" >says 2>err </dev/null &
    qblk_pid=$!
    set +m
    started="${started-} $qblk_pid"
    exec {says}<says
}

# see PATTERN: the next line that matches (extended regular expression), in $line
see() {
    while read -r -t "$patience" -u "$says" line; do
        echo "$line"
        [[ ! $line =~ $1 ]] || return 0
    done
    fail "watch did not say $1; $(tail -n 2 err)"
}

# stop: interrupted, which is how it ends well
stop() {
    kill -INT "$qblk_pid"
    q_ended 0
}

# fake NAME: plays the script on standard input to the next client of the socket
fake() {
    cat >"$1.script"
    "$server" "$dir/$1" "$1.script" >"$1.log" 2>&1 &
    fake_pid=$!
    started="${started-} $fake_pid"
}

theirs() {
    raw '{"execute": "block-stream", "arguments": {"job-id": "'"$1"'", "device": "top",
          "speed": 65536, "auto-dismiss": false}}'
    wait_event "JOB_STATUS_CHANGE $1 running *"
}

of_one() {
    make_long_chain
    start_blockdev
    theirs before
    watch "$dir/m0"
    see "^[0-9:.]+ $dir/m0 connected: QEMU [0-9]+"
    see "$dir/m0 before stream running [0-9]+%"
    raw '{"execute": "job-cancel", "arguments": {"id": "before"}}'
    see "before stream aborting"
    see "before stream concluded cancelled"
    raw '{"execute": "job-dismiss", "arguments": {"id": "before"}}'
    see "before stream gone"
    stop
}

of_one_in_json() {
    make_long_chain
    start_blockdev
    watch --json "$dir/m0"
    see '"event": ?"monitor".*"socket": ?"'"$dir/m0"'".*"state": ?"connected"'
    theirs job
    see '"event": ?"job".*"qemu_time": ?[0-9]+\.[0-9]{6},.*"id": ?"job".*"state": ?"running"'
    raw '{"execute": "job-cancel", "arguments": {"id": "job"}}'
    see '"qemu_time": ?[0-9.]+,.*"state": ?"concluded", ?"outcome": ?"cancelled"'
    raw '{"execute": "job-dismiss", "arguments": {"id": "job"}}'
    kill -INT "$qblk_pid"
    see '^\{"result": ?null\}'
    q_ended 0
}

# m0 is QEMU's; the others are there before it, hang, are busy, are no QMP, come and go.
of_many() {
    local other
    fake stalls <<<'! negotiate
! stall'
    watch --glob "$dir/*[!12]" "$dir/named"
    see "$dir/named awaited"
    see "$dir/stalls connected"
    fake busy <<<'! nogreet
! stall'
    see "$dir/stalls stalled: QEMU does not answer"
    see "$dir/busy busy"
    # All the while the others are heard.
    make_long_chain
    start_blockdev
    see "$dir/m0 connected"
    theirs job
    see "$dir/m0 job .* running"
    fake wrong <<<'! nogreet
> SSH-2.0-OpenSSH_9.2
! hup'
    see "$dir/wrong failed: .*QMP"
    fake named <<<'! negotiate
! stall'
    other=$fake_pid
    see "$dir/named connected"
    rm named
    kill -KILL "$other"
    see "$dir/named lost"
    see "$dir/named gone"
    raw '{"execute": "job-cancel", "arguments": {"id": "job"}}'
    see "$dir/m0 job stream concluded cancelled"
    kill -KILL "$qemu_pid"
    wait "$qemu_pid"
    qemu_pid=
    see "$dir/m0 lost"
    rm m0
    see "$dir/m0 gone"
    stop
    for other in $started; do
        [ "$other" = "$qblk_pid" ] || kill -KILL "$other" 2>/dev/null
    done
    wait
}

# A directory and a socket in it that come later; the place of a QEMU that died taken by another.
of_places() {
    mkdir guests
    watch --glob "guests/*/qmp"
    mkdir guests/one
    fake guests/one/qmp <<<'! negotiate
! hup'
    see "guests/one/qmp connected"
    see "guests/one/qmp lost"
    wait "$fake_pid"
    rm -f guests/one/qmp
    fake guests/one/qmp <<<'! negotiate
! stall'
    see "guests/one/qmp connected"
    stop
    kill -KILL "$fake_pid" 2>/dev/null
    wait "$fake_pid" || true
}

# A socket that is there and at which nobody listens yet: bind() makes it, listen() comes later.
of_one_that_is_late() {
    watch "$dir/late"
    see "$dir/late awaited"
    mkfifo listen
    "$build/tests/live/latesock" "$dir/late" listen &
    started="${started-} $!"
    see "$dir/late silent"
    : >listen
    see "$dir/late stalled"
    stop
    wait
}

refusals() {
    env -u QBLK_SOCKET "$qblk" watch >out 2>err
    [ "$?" = 2 ] || fail "watch without a socket did not end with 2"
    said err 'watch needs to know where'
    "$qblk" watch "$dir/nowhere/m0" >out 2>err
    [ "$?" = 2 ] || fail "watch in no directory did not end with 2"
    said err 'nowhere/? cannot be watched'
    "$qblk" --timeout 0.3 watch "$dir/m0" >out 2>err
    [ "$?" = 4 ] || fail "--timeout did not end it with 4"
}

run_test "watch one QEMU" of_one
run_test "watch one QEMU in JSON" of_one_in_json
run_test "watch many monitors, good and bad" of_many
run_test "watch directories and sockets that come later" of_places
run_test "watch a socket at which nobody listens yet" of_one_that_is_late
run_test "watch refuses what makes no sense" refusals
finish
