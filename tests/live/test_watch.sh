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

# see_all PATTERN...: the same of several, in any order
see_all() {
    local left=("$@") i
    while [ "${#left[@]}" -gt 0 ]; do
        see "$(IFS='|' && echo "${left[*]}")"
        for i in "${!left[@]}"; do
            [[ ! $line =~ ${left[i]} ]] || unset "left[i]"
        done
    done
}

# stop: interrupted, which is how it ends well
stop() {
    kill -INT "$qblk_pid"
    q_ended 0
}

# fake NAME: plays the script on standard input to the next client of the socket, which is there then
fake() {
    cat >"$1.script"
    : >"$1.log"
    "$server" "$dir/$1" "$1.script" >>"$1.log" 2>&1 &
    fake_pid=$!
    started="${started-} $fake_pid"
    wait_said "$1.log" '^ready$'
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

# One that is ready is told of before its length is read: no share of it is made up.
of_one_that_is_ready() {
    make_chain
    start_blockdev
    watch "$dir/m1"
    see "$dir/m1 connected"
    q 0 copy "$disk" "$dir/copy.qcow2" --keep
    see '\.copy mirror ready$'
    q 0 recover --undo
    see '\.copy mirror concluded cancelled'
    stop
}

# A directory that a wildcard matched is nobody's to wait for; one that is named is.
wild_dirs() {
    local round
    make_chain
    start_blockdev
    mkdir -p named/d1
    watch "$dir/m0" --glob "$dir/named/d*/*.qmp"
    see "$dir/m0 connected"
    for round in 2 3 4; do
        mkdir "named/d$round"
        rmdir "named/d$round"
        mv named/d1 named/d2
        mv named/d2 named/d1
    done
    rm -r named
    wait_said err 'directory .*/named/ is not there: it is waited for'
    ! grep 'named/d' err || fail "it waits for what a wildcard matched"
    stop
}

# Its own directory gets another name: it is there all the same, and followed.
here_renamed() {
    make_chain
    start_blockdev
    mkdir in && cd in || fail "no directory"
    watch "$dir/m0" --glob "*.qmp"
    see "$dir/m0 connected"
    mv "$dir/in" "$dir/elsewhere"
    ln -s "$dir/m0" late.qmp
    see "late.qmp busy"
    [ ! -s err ] || fail "it says: $(cat err)"
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

# Another QEMU takes the name while the first one lives: that is said, and it has its turn.
replaced() {
    make_chain
    start_blockdev
    watch "$dir/m0"
    see "$dir/m0 connected"
    rm m0
    fake m0 <<<'! negotiate
! stall'
    see "$dir/m0 replaced: another socket is there now"
    kill -KILL "$qemu_pid" && wait "$qemu_pid" # one that quits removes what has its socket's name
    qemu_pid=
    see "$dir/m0 lost"
    see "$dir/m0 connected"
    stop
}

# Another QEMU takes the name of one that nobody was served by: that one is not waited for.
replaced_unserved() {
    local old wrong
    make_chain
    start_blockdev
    fake stops <<<'! stall'
    old=$fake_pid
    kill -STOP "$old"
    mkfifo late
    "$build/tests/live/latesock" "$dir/slow" late &
    started="$started $!"
    : >late
    # m2 serves the test itself.
    fake wrong <<<'! nogreet
> SSH-2.0-OpenSSH_9.2
! hup'
    wrong=$fake_pid
    kill -STOP "$wrong"
    watch "$dir/stops" "$dir/slow" "$dir/wrong" --glob "$dir/m[2]"
    see_all "$dir/stops busy" "$dir/slow stalled" "$dir/wrong busy" "$dir/m2 busy"
    # What it said is heard, though its name is gone as soon.
    kill -STOP "$qblk_pid"
    kill -CONT "$wrong"
    wait "$wrong"
    kill -CONT "$qblk_pid"
    see "$dir/wrong failed: .*QMP"
    see "$dir/wrong gone"
    rm m2
    see "$dir/m2 gone"
    fake m2 <<<'! negotiate
! stall'
    see "$dir/m2 connected"
    fake new <<<'! negotiate
! stall'
    mv -f new stops
    see "$dir/stops replaced: .*the old one was not connected"
    see "$dir/stops connected"
    kill -KILL "$old"
    rm slow
    see "$dir/slow gone"
    fake slow <<<'! negotiate
! stall'
    see "$dir/slow connected"
    stop
}

# The name is taken before anything was said of the QEMU that had it: whether the connection is to that
# one or to the new one is not known, but shows.
replaced_early() {
    local old
    fake early <<<'! stall'
    old=$fake_pid
    kill -STOP "$old"
    fake beside <<<'! negotiate
! stall'
    watch "$dir/early" "$dir/beside"
    see "$dir/beside connected" # and the other one is, too, though it does not answer
    fake new <<<'! negotiate
! stall'
    mv -f new early
    see "$dir/early connected"
    kill -KILL "$old"
    stop
}

# m0 is QEMU's; the others are there before it, hang, are busy, are no QMP, come and go.
of_many() {
    local other
    fake stalls <<<'! negotiate
! stall'
    mkdir other
    : >plain
    watch --glob "$dir/*[!12]" --glob "$dir/other/*" "$dir/named" "$dir/plain"
    see "$dir/named awaited"
    see "$dir/plain failed: it is not a socket"
    see "$dir/stalls connected"
    fake other/too <<<'! negotiate
! stall'
    see "$dir/other/too connected"
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

# Directories and a socket in them that come later, go, and come back; the place of a QEMU that died
# taken by another.
of_places() {
    watch --glob "vms/guests/*/qmp"
    wait_said err 'directory vms/guests/ is not there: it is waited for'
    mkdir vms
    mkdir -p vms/guests/one
    fake vms/guests/one/qmp <<<'! negotiate
! hup'
    see "vms/guests/one/qmp connected"
    see "vms/guests/one/qmp lost"
    wait "$fake_pid"
    rm -f vms/guests/one/qmp
    fake vms/guests/one/qmp <<<'! negotiate
! stall'
    see "vms/guests/one/qmp connected"
    kill -KILL "$fake_pid"
    wait "$fake_pid" 2>/dev/null
    see "vms/guests/one/qmp lost"
    rm -rf vms
    see "vms/guests/one/qmp gone"
    mkdir vms
    mkdir -p vms/guests/two
    fake vms/guests/two/qmp <<<'! negotiate
! stall'
    see "vms/guests/two/qmp connected"
    stop
    kill -KILL "$fake_pid" 2>/dev/null
    wait "$fake_pid" || true
}

# Many directories in each other, which are made while it is looked how far the way goes.
of_deep_places() {
    local round deep
    deep=$(printf 'd/%.0s' {1..35})
    for round in {1..30}; do
        rm -rf d says
        watch "${deep}qmp"
        see "qmp awaited"
        mkdir -p "$deep"
        fake "${deep}qmp" <<<'! negotiate
! stall'
        see "qmp connected"
        stop
        exec {says}<&-
        wait "$fake_pid"
    done
}

# lost PATH: the fake one that was followed there by that name dies, and leaves its socket
lost() {
    kill -KILL "$fake_pid"
    wait "$fake_pid" 2>/dev/null
    see "$1 lost"
}

# What links point to comes later, goes, comes back, becomes another one; so do links on the way, and
# directories.
of_links() {
    local round old
    mkdir v w
    ln -s "$dir/v/sock" w/link
    ln -s ../x/y/two w/one.qmp
    ln -s nowhere w/two.qmp
    ln -s two.qmp w/three.qmp
    ln -s loop w/loop
    watch --reconnect 0.1 w/link w/loop --glob "w/*.qmp"
    see_all "w/link awaited" "w/loop awaited"
    for round in 1 2; do
        fake v/sock <<<'! negotiate
! stall'
        see "w/link connected"
        lost w/link
        rm v/sock
        see "w/link gone"
    done
    # Of links that a wildcard matched nobody has heard yet.
    mkdir x
    mkdir x/y
    ln -s ../../v/far x/y/two
    fake v/far <<<'! negotiate
! stall'
    see "w/[a-z.]+ [a-z]+"
    [[ $line == *"w/one.qmp connected"* ]] || fail "it was not there: $line"
    lost w/one.qmp
    rm -r x
    see "w/one.qmp gone"
    # The directory of what a named one points to goes, and another link than was there leads elsewhere.

    rm -r v
    wait_said err 'directory .*/v/ is not there: it is waited for'
    mkdir v other
    fake v/sock <<<'! nogreet
! stall'
    old=$fake_pid
    see "w/link busy"
    fake other/sock <<<'! negotiate
! stall'
    ln -s ../other/sock w/new
    mv -T w/new w/link
    see "w/link replaced"
    see "w/link connected"
    wait "$old" || true
    lost w/link
    ln -s nothing w/new
    mv -T w/new w/link
    see "w/link gone"
    # Where it once led to is nothing to it any more, and it can become a socket itself.
    rm other/sock
    rm w/link
    fake w/link <<<'! negotiate
! stall'
    see "w/[a-z.]+ [a-z]+"
    [[ $line == *"w/link connected"* ]] || fail "it was not there: $line"
    ! grep -v ' directory .*/v/ is not' err || fail "it says: $(cat err)"
    # The last one of three.
    rm w/two.qmp
    ln -s ../v/last w/two.qmp
    fake v/last <<<'! negotiate
! stall'
    see "w/(two|three).qmp connected"
    stop
    wait
}

# One that never greets and one that stops in the middle of a message: while both hang all that a third
# tells is heard, in order.
of_hanging_ones() {
    local i state
    fake mute <<<'! nogreet
! stall'
    fake half <<<'! negotiate
>> {"event": "JOB_STATUS_CHANGE", "data": {"stat
! stall'
    {
        echo '! negotiate
<a {"execute": "query-jobs"}
<b {"execute": "query-block-jobs"}
> {"return": [{"id": "job", "type": "stream", "status": "paused", "current-progress": 1, "total-progress": 2}], "id": $ida}
> {"return": [], "id": $idb}'
        for ((i = 0; i < 20; i++)); do
            for state in running paused; do
                echo '> {"timestamp": {"seconds": 1, "microseconds": 2}, "event": "JOB_STATUS_CHANGE",' \
                    "\"data\": {\"status\": \"$state\", \"id\": \"job\"}}"
            done
        done
        echo '! stall'
    } >script
    watch "$dir/mute" "$dir/half" "$dir/talks"
    # Either may be given up first.
    see "$dir/(mute busy|half stalled)"
    if [[ $line == *mute* ]]; then see "$dir/half stalled"; else see "$dir/mute busy"; fi
    fake talks <script
    see "$dir/talks connected"
    see "$dir/talks job .*paused"
    for ((i = 0; i < 20; i++)); do
        for state in running paused; do
            see "$dir/talks job "
            [[ $line == *" $state"* ]] || fail "event $i, $state: $line"
        done
    done
    stop
    wait
}

# bare COMMAND...: in place of this shell, with no descriptor but the first three
bare() {
    local fd
    for fd in "/proc/$BASHPID/fd/"*; do
        fd=${fd##*/}
        [ "$fd" -le 2 ] || exec {fd}>&-
    done
    exec "$@"
}

# connected N: until watch has said that so many are
connected() {
    timeout "$patience" tail -n +1 -F says.log 2>/dev/null | grep -m "$1" ' connected' >connected
    [ "$(wc -l <connected)" = "$1" ] || fail "$(wc -l <connected) are connected, not $1: $(cat says.log)"
}

# More sockets than descriptors: said, and mended when one goes.
of_too_many() {
    local i n name pids=() fds
    for ((i = 0; i < 8; i++)); do
        fake "q$i" <<<'! negotiate
! stall'
        pids+=("$fake_pid")
    done
    fake one <<<'! negotiate
! stall'
    # What it has with one monitor, the loop's own among them.
    (bare "$qblk" watch --glob "$dir/on?" >says.log 2>err </dev/null) &
    qblk_pid=$!
    started="$started $qblk_pid"
    connected 1
    fds=(/proc/"$qblk_pid"/fd/*)
    n=${#fds[@]}
    kill_client
    : >says.log
    set -m
    (
        ulimit -n $((n + 3))
        bare "$qblk" watch --glob "$dir/q?" >says.log 2>err </dev/null
    ) &
    qblk_pid=$!
    set +m
    started="$started $qblk_pid"
    wait_said says.log "no file descriptor is left for it: this process may have $((n + 3))"
    connected 4
    name=$(head -n 1 connected)
    name=${name%% connected*}
    name=${name##*/}
    kill -KILL "${pids[${name#q}]}"
    rm "$name"
    wait_said says.log "$dir/$name gone"
    connected 5
    stop
    n=$(grep -c ' connected' says.log)
    [ "$n" = 5 ] || fail "$n were connected for 4 descriptors, and one that was freed"
    for i in $started; do kill -KILL "$i" 2>/dev/null; done
    wait 2>/dev/null
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

# A directory that is given another name, or that lies in one that is: what was followed in it is gone,
# what appears in it then is not meant, and the old name can be taken anew.
of_moved_places() {
    local moved
    mkdir -p vms/guests/one
    watch --reconnect 600 --glob "vms/guests/*/qmp" vms/guests/new/qmp
    see "vms/guests/new/qmp awaited"
    for moved in vms vms/guests vms/guests/one; do
        fake vms/guests/one/qmp <<<'! negotiate
! stall'
        see "^[0-9:.]+ vms/guests/one/qmp connected"
        kill -KILL "$fake_pid"
        wait "$fake_pid" 2>/dev/null
        see "vms/guests/one/qmp lost"
        rm -rf away
        mv "$moved" away
        see " gone"
        [[ $line == *vms/guests/one/qmp* ]] || fail "it was never there: $line"
        mkdir -p vms/guests/one
    done
    # What becomes of the directory that had its name is nothing to one that is waited for in the new.
    mkfifo listen
    "$build/tests/live/latesock" vms/guests/one/qmp listen 9 &
    late_pid=$!
    started="${started-} $late_pid"
    see "vms/guests/one/qmp silent"
    rm away/qmp
    : >listen
    see "vms/guests/one/qmp connected"
    # With its new name it may be one that is meant.
    mkdir other
    fake other/qmp <<<'! negotiate
! stall'
    until [ -S other/qmp ]; do :; done
    mv other vms/guests/two
    see "^[0-9:.]+ vms/guests/two/qmp connected"
    kill -KILL "$fake_pid"
    wait "$fake_pid" 2>/dev/null
    see "vms/guests/two/qmp lost"
    rm vms/guests/two/qmp
    see "vms/guests/two/qmp gone"
    rm -r away
    mv vms/guests/two away
    fake away/qmp <<<'! negotiate
! stall'
    until [ -S away/qmp ]; do :; done
    mv away vms/guests/three
    see " vms/guests/[a-z]+/qmp connected"
    [[ $line == *vms/guests/three/qmp* ]] || fail "it was followed by its old name: $line"
    stop
    kill -KILL "$fake_pid" 2>/dev/null
    wait "$fake_pid" "$late_pid" || true
}

# One that does not answer for a while, and then does.
of_one_that_thinks() {
    watch "$dir/late"
    see "$dir/late awaited"
    mkfifo think
    "$build/tests/live/latesock" "$dir/late" think 1 &
    started="${started-} $!"
    : >think
    see "$dir/late connected: QEMU 7.2.0"
    see "$dir/late stalled"
    : >think
    see "$dir/late connected: QEMU 7.2.0"
    stop
    wait
}

# A QEMU that is killed leaves its socket, at which somebody did listen.
of_one_left_behind() {
    make_chain
    start_blockdev
    watch --reconnect 0.1 "$dir/m0"
    see "$dir/m0 connected"
    kill -KILL "$qemu_pid"
    wait "$qemu_pid"
    qemu_pid=
    see "$dir/m0 lost"
    see "$dir/m0 silent: nobody listens there any more"
    stop
}

refusals() {
    "$qblk" watch --help | grep -qE -e "--reconnect .* \(10\)$" || fail "how long it tries is not said"
    env -u QBLK_SOCKET "$qblk" watch >out 2>err
    [ "$?" = 2 ] || fail "watch without a socket did not end with 2"
    said err 'watch needs to know where'
    "$qblk" --wait 1 watch "$dir/m0" >out 2>err
    [ "$?" = 2 ] || fail "watch --wait did not end with 2"
    said err "--wait means nothing to 'watch'"
    "$qblk" -s "$dir/m0" watch --glob "$dir/m?" >out 2>err
    [ "$?" = 2 ] || fail "watch -s beside a pattern did not end with 2"
    said err "name '$dir/m0' as an argument"
    : >file
    "$qblk" watch "$dir/file/m0" >out 2>err
    [ "$?" = 2 ] || fail "watch in a file did not end with 2"
    said err 'file/? cannot be watched'
    "$qblk" --timeout 0.3 watch "$dir/nowhere/m0" >out 2>err
    [ "$?" = 4 ] || fail "--timeout did not end it with 4"
    said err 'nowhere/? is not there: it is waited for'
    said out 'nowhere/m0 awaited'
    "$qblk" watch "" >out 2>err
    [ "$?" = 2 ] || fail "watch of nothing did not end with 2"
    said err "'' cannot be a socket"
    "$qblk" watch "$(printf '%0120d' 0)" >out 2>err
    [ "$?" = 2 ] || fail "watch of a long path did not end with 2"
    said err 'cannot be a socket: its path has 1 to 107 bytes; make a symbolic link'
}

run_test "watch one QEMU" of_one
run_test "a job that is ready is told of without a percentage" of_one_that_is_ready
run_test "a directory that a wildcard matched is not waited for" wild_dirs
run_test "the directory it was started in is renamed" here_renamed
run_test "watch one QEMU in JSON" of_one_in_json
run_test "a name that another QEMU takes" replaced
run_test "a name that another QEMU takes from one that serves somebody else" replaced_unserved
run_test "a name that another QEMU takes at once" replaced_early
run_test "watch many monitors, good and bad" of_many
run_test "watch directories and sockets that come later" of_places
run_test "watch a directory far down that is made with all above" of_deep_places
run_test "watch directories that are renamed" of_moved_places
run_test "watch what symbolic links point to" of_links
run_test "watch one that talks beside some that hang" of_hanging_ones
run_test "watch more sockets than there are descriptors" of_too_many
run_test "watch a socket at which nobody listens yet" of_one_that_is_late
run_test "watch one that answers late" of_one_that_thinks
run_test "watch a socket that its QEMU has left behind" of_one_left_behind
run_test "watch refuses what makes no sense" refusals
finish
