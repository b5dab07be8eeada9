#!/usr/bin/env bash
# A client is killed; `qblk recover` finishes or undoes what it left, and does no harm to anything else.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_recover.sh"

cutproxy=$build/tests/kill/cutproxy
# The id of operations that are made by hand: claims are the machine's, where this may run twice.
made_up=$(printf 'bad%05x' "$((BASHPID & 0xfffff))")

# start_kind KIND [ARG...]: an operation held in its course by its speed, as far as its running job
start_kind() {
    local kind=$1
    shift
    case $kind in
    pull) q_start --json pull "$disk" --speed 64K "$@" ;;
    pivot) q_start --json copy "$disk" "$dir/copy.qcow2" --pivot --speed 64K "$@" ;;
    finish) q_start --json copy "$disk" "$dir/copy.qcow2" --finish --speed 64K "$@" ;;
    legacy) q_start --json copy "$disk" "$dir/copy.qcow2" --legacy --pivot --speed 64K "$@" ;;
    backup) q_start --json backup "$disk" "$dir/copy.qcow2" --speed 64K "$@" ;;
    raw) q_start --json copy "$disk" "$dir/copy.qcow2" --format raw --speed 64K "$@" ;;
    legacy-backup) q_start --json backup "$disk" "$dir/copy.qcow2" --legacy --speed 64K "$@" ;;
    esac
    case $kind in pivot | finish | legacy | raw) kind=copy ;; legacy-backup) kind=backup ;; esac
    wait_job "$kind" running
}

# listed_if_read STAGE FATE: the same of one whose record this QEMU cannot be asked for while its job is there
listed_if_read() {
    case "$("$QEMU" --version) $job" in
    *"version "[6-9].*.pull | *"version 5."*.backup)
        q 0 --json recover --list
        said out "\"operation\": ?\"$(operation)\".*\"intent\": ?null.*\"stage\": ?\"$1\".*\"fate\": ?\"$2\""
        ;;
    *) listed "$@" ;;
    esac
}

# fate KIND: what is to become of one whose job is at work
fate() {
    case $1 in
    pivot | legacy) echo pivot ;;
    finish) echo finish ;;
    *) echo wait ;;
    esac
}

# finished_well KIND: what its owner meant has come to pass
finished_well() {
    case $1 in
    pull) [ "$world" = qsd ] || chain_is top.qcow2 ;;
    pivot | legacy) [ "$world" = qsd ] || chain_is copy.qcow2 ;;
    finish | backup) [ "$world" = qsd ] || chain_is top.qcow2 mid.qcow2 base.qcow2 ;;
    esac
    case $1 in
    pivot | legacy) guest_write 0x71 60M 64k ;;
    esac
    stop_qemu
    case $1 in
    pull) same top.qcow2 qcow2 ;;
    *) same copy.qcow2 qcow2 ;;
    esac
}

in_mid_job() {
    make_long_chain
    start "$1"
    start_kind "$2"
    kill_client
    listed_if_read running "$(fate "$2")"
    [ "$2" = pull ] || grep -qE '"intent": ?null' out || said out "makes $dir/copy.qcow2"
    speed_up
    q 0 --json recover
    [ "$2" = pull ] || result target "$dir/copy.qcow2"
    nothing_to_recover
    finished_well "$2"
}

# The job comes to its end while nobody listens.
ended_alone() {
    make_long_chain
    start "$1"
    start_kind "$2"
    kill_client
    speed_up
    case $2 in
    pull | backup)
        wait_event "JOB_STATUS_CHANGE $job concluded *"
        listed_if_read ended clean
        said out 'completed'
        ;;
    *)
        wait_event "BLOCK_JOB_READY $job *"
        listed ready "$(fate "$2")"
        ;;
    esac
    q 0 --json recover
    nothing_to_recover
    finished_well "$2"
}

undone() {
    make_long_chain
    start "$1"
    remember
    cp before untouched
    start_kind "$2"
    kill_client
    q 0 --json recover --undo
    result result undone
    nothing_to_recover
    cp untouched before
    unchanged
    [ ! -e copy.qcow2 ] || fail "the target's file is still there"
    guest_write 0x72 60M 64k
    stop_qemu
    same top.qcow2 qcow2
}

# Too late to undo: the job has ended well. What is left to do is done.
undo_too_late() {
    make_chain
    start_blockdev
    start_kind "$1"
    kill_client
    speed_up
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    q 0 --json recover --undo
    nothing_to_recover
    finished_well "$1"
}

# killed_at WORLD TEXT: a client that dies with the first command that has TEXT in it, which QEMU answers
# for nobody. Its job has not been started: it is undone.
killed_at() {
    make_chain
    start "$1"
    remember
    cp before untouched
    "$cutproxy" -m kill -x "$2" "$dir/m0" "$dir/own" report \
        "$qblk" -s "$dir/own" --json copy "$disk" "$dir/copy.qcow2" --pivot >out 2>err </dev/null
    [ "$?" = 137 ] || fail "it was not killed: $(tail -n 1 out) $(cat err)"
    q 0 --json recover --list
    said out '"stage": ?"prepared".*"fate": ?"undo"'
    q 0 --json recover
    result result undone
    [ ! -e copy.qcow2 ] || fail "the target's file is still there"
    nothing_to_recover
    cp untouched before
    unchanged
    stop_qemu
    same top.qcow2 qcow2
}

# make_file RECORD SIZE: the record and the target's file of operation $made_up, whose client dies then
make_file() {
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co",
            "node-name": "qblk.'"$made_up"'.journal"}}' \
        '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "qblk.'"$made_up"'.journal",
            "name": "qblk1 1/1 '"$1"'", "disabled": true}}' \
        '{"execute": "blockdev-create", "arguments": {"job-id": "qblk.'"$made_up"'.create-file",
            "options": {"driver": "file", "filename": "'"$dir"'/copy.qcow2", "size": '"$2"'}}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE qblk.$made_up.create-file concluded *"
}

# Jobs that make the target are over before anybody can be killed, so the one that dies early is made
# by hand: everything up to the command that starts the job.
before_the_job() {
    local id=$made_up
    make_chain
    start "$1"
    remember
    cp before untouched
    make_file "op=copy disk=$disk intent=pivot file=$dir/copy.qcow2 old=top" 0
    [ "$2" = create ] ||
        raw '{"execute": "blockdev-add", "arguments": {"driver": "file",
                "node-name": "qblk.'"$id"'.file", "filename": "'"$dir"'/copy.qcow2"}}' \
            '{"execute": "job-dismiss", "arguments": {"id": "qblk.'"$id"'.create-file"}}' >/dev/null
    q 0 --json recover --list
    said out '"stage": ?"prepared".*"fate": ?"undo"'
    q 0 --json recover
    result result undone
    [ ! -e copy.qcow2 ] || fail "the target's file is still there"
    nothing_to_recover
    cp untouched before
    unchanged
}

# moved_by_others WORLD [snapshot]: the disk is on the target, and no job is left to tell of it
moved_by_others() {
    make_chain
    start "$1"
    q 0 copy "$disk" "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    q 0 job pivot "$job"
    q 0 job dismiss "$job" --force
    [ -z "${2-}" ] || q 0 snapshot "$disk=$dir/above.qcow2"
    q 0 --json recover
    result result pivoted
    nothing_to_recover
    if [ -n "${2-}" ]; then chain_is above.qcow2 copy.qcow2; else chain_is copy.qcow2; fi
    guest_write 0x74 4M 128k
    stop_qemu
    if [ -n "${2-}" ]; then same above.qcow2 qcow2; else same copy.qcow2 qcow2; fi
}

# The target is no disk's, but somebody serves it: it is theirs now.
in_use_by_others() {
    make_chain
    start_blockdev
    q 0 copy vd0 "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    q 0 job finish "$job"
    q 0 job dismiss "$job" --force
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix",
          "data": {"path": "'"$dir"'/nbd"}}}}' \
        '{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "theirs",
          "node-name": "qblk.'"$(operation)"'.target"}}' >/dev/null || fail "cannot export it"
    q 0 recover
    [ -e copy.qcow2 ] || fail "an image that is in use was removed"
    stop_qemu
    same copy.qcow2 qcow2
}

# A job that somebody has cancelled while nobody listened: its operation is undone.
unheard() {
    make_long_chain
    start "$1"
    remember
    cp before clean
    start_kind "$2"
    kill_client
    raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    listed_if_read ended undo
    said out cancelled
    q 0 --json recover
    result result undone
    result job "$job"
    nothing_to_recover
    cp clean before
    unchanged
    stop_qemu
    same top.qcow2 qcow2
}

# Two clients recover at once, each through a monitor of its own: what one does the other finds done.
both_at_once() {
    local first second other
    make_long_chain
    start "$1"
    start_kind "$2"
    kill_client
    speed_up
    "$rawqmp" "$dir/m1" run '{"execute": "query-status"}' >/dev/null
    "$qblk" -s "$dir/m0" --json recover >out.a 2>err.a </dev/null &
    first=$!
    "$qblk" -s "$dir/m1" --json recover >out.b 2>err.b </dev/null &
    second=$!
    wait "$first"
    first=$?
    wait "$second"
    second=$?
    [ "$first" = 0 ] || [ "$second" = 0 ] || fail "neither: $(tail -n 1 out.a) $(tail -n 1 out.b)"
    for other in "$first" "$second"; do
        case $other in 0 | 1 | 6) ;; *) fail "ended with $first and $second" ;; esac
    done
    grep -qE '"result": ?"(completed|finished|pivoted)"' out.a out.b || fail "nobody was told the outcome"
    q 0 recover
    nothing_to_recover
    finished_well "$2"
}

# Its client lives, and is at work on it: it is left to him.
not_taken_away() {
    local how
    make_long_chain
    start_blockdev
    q_start --json copy vd0 "$dir/copy.qcow2" --finish --speed 64K
    wait_job copy running
    "$qblk" -s "$dir/m1" recover --list >out.b 2>err.b </dev/null || fail "list: $(cat err.b)"
    said out.b "^    process $qblk_pid is at work on it, and recover is refused; if it is killed,$"
    said out.b '^    recover waits until'
    "$qblk" -s "$dir/m1" --json recover --list >out.b 2>err.b </dev/null || fail "list: $(cat err.b)"
    said out.b "\"client\": ?${qblk_pid}[,}]"
    for how in "" --undo; do
        # shellcheck disable=SC2086 # no word or one
        timeout "$patience" "$qblk" -s "$dir/m1" recover $how >out.b 2>err.b </dev/null
        [ $? = 6 ] || fail "recover $how took it: $(cat out.b err.b)"
        said err.b "process $qblk_pid is at work on operation"
    done
    speed_up
    q_ended 0
    result result finished
    nothing_left
    stop_qemu
    same copy.qcow2 qcow2
}

# as_nobody NAME COMMAND: $dir/NAME runs it as another user, where this one may do that
as_nobody() {
    local become=()
    [ "$(id -u)" != 0 ] || become=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    {
        echo '#!/bin/sh'
        printf 'exec'
        printf ' %q' "${become[@]}" "$2"
        echo ' "$@"'
    } >"$1" && chmod 755 "$1"
}

# The client is of the user whose QEMU it is, and somebody who may do more recovers.
not_taken_from_a_user() {
    local own=$qblk
    make_long_chain
    mkdir there && cp "$qblk" "$build/libqblk.so.0" there && as_nobody qemu "$(command -v "$QEMU")" &&
        as_nobody qblk "$dir/there/qblk" || fail "cannot be prepared"
    chmod -R a+rX "$dir" && chmod a+rw "$dir"/*.qcow2 "$dir"/*.raw && chmod a+w "$dir" || fail "chmod"
    QEMU=$dir/qemu
    start_blockdev
    qblk=$dir/qblk
    q_start --json copy vd0 "$dir/copy.qcow2" --finish --speed 64K
    wait_job copy running
    timeout "$patience" "$own" -s "$dir/m1" recover >out.b 2>err.b </dev/null
    [ $? = 6 ] || fail "recover took it: $(cat out.b err.b)"
    said err.b "process $qblk_pid is at work on operation"
    speed_up
    q_ended 0
    result result finished
    qblk=$own
    nothing_left
    stop_qemu
    same copy.qcow2 qcow2
}

# recover is interrupted, and undoes what it was to finish: that is what is said.
interrupted() {
    make_long_chain
    start_blockdev
    remember
    q_start --json copy vd0 "$dir/copy.qcow2" --pivot --speed 64K
    wait_job copy running
    kill_client
    q_start --json recover
    wait_said out '"event": "step".*read the journal'
    kill -INT "$qblk_pid"
    q_ended 5
    said out 'cancelled by the user; the operation was undone'
    tail -n 1 out | grep -q '^{"error"' || fail "the last line is no error: $(tail -n 1 out)"
    unchanged
    [ ! -e copy.qcow2 ] || fail "the copy is still there"
    nothing_to_recover
}

# start_apart: two operations on two disks, which have nothing to do with one another, without a client
start_apart() {
    make_long_chain
    "$QEMU_IMG" create -q -f raw other.img 4M
    start_blockdev -blockdev "raw,node-name=other,file.driver=file,file.filename=$dir/other.img" \
        -device virtio-blk-pci,id=d1,drive=other
    q 0 copy vd0 copy.qcow2 --pivot --speed 64K --async
    q 0 copy d1 other.qcow2 --pivot --speed 64K --async
}

# Ctrl-C was not for the first alone, and no operation that is taken up after it is hit by a second one.
interrupted_apart() {
    start_apart
    q_start --json recover
    wait_said out '"event": "step".*read the journal'
    kill -INT "$qblk_pid"
    q_ended 5
    said out '"event": "failed".*cancelled by the user; the operation was undone'
    said out 'interrupted: the operations that were still to come are left as they are'
    raw '{"execute": "query-jobs"}' >left.json
    [ "$(grep -o 'qblk[.][0-9a-f]*[.]copy' left.json | wc -l)" = 1 ] || fail "not one is left: $(cat left.json)"
    q 0 recover --undo
    nothing_to_recover
}

# One that is recovered, one whose record is none: the latter alone would be a refusal.
beside_garbage() {
    local id=$made_up
    make_chain
    start_blockdev
    q 0 copy vd0 copy.qcow2 --keep
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co",
            "node-name": "qblk.'"$id"'.journal"}}' \
        '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "qblk.'"$id"'.journal",
            "name": "garbage", "disabled": true}}' >/dev/null
    q 6 --json recover --operation "$id"
    q 1 --json recover --finish
    said out '"event": "recovered".*"operations": \[\{.*"result": "finished"'
    tail -n 1 out | grep -q '^{"error"' || fail "the last line is no error: $(tail -n 1 out)"
    q 6 recover --operation "$id" --undo
    q 2 recover --operation "$id" --operation 01234567
    said err "was given as '$id' and as '01234567'"
}

# Its client died before it could say what it was about: nobody makes up a disk.
no_record() {
    make_chain
    start_blockdev
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co",
          "node-name": "qblk.'"$made_up"'.journal"}}' || fail "no journal"
    q 0 --json recover
    result result undone
    said out "\"operation\": \"$made_up\", \"kind\": null, \"disk\": null"
    nothing_to_recover
}

# taken_over ROLE: somebody else reads what has been copied by then; it stays, undone or not, and is named
taken_over() {
    make_long_chain
    start_blockdev
    q_start --json backup vd0 copy.qcow2 --speed 64K
    wait_job backup running
    kill_client
    raw '{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "theirs",
          "file": "'"${job%.backup}.$1"'", "read-only": true}}' || fail "no node of theirs"
    q 0 --json recover --undo
    result result undone
    # (In 5.2 the job has to go before the record can be read.)
    said out "file $dir/copy.qcow2 is left(: somebody uses it| alone)"
    [ -s copy.qcow2 ] || fail "it is removed"
    raw '{"execute": "blockdev-del", "arguments": {"node-name": "theirs"}}' || fail "theirs is gone"
}

# exchanged WORLD KIND: somebody has put a file of his in the place of the target; the job goes on in the other one
exchanged() {
    make_long_chain
    start "$1"
    start_kind "$2"
    kill_client
    mv copy.qcow2 moved.qcow2
    echo precious >copy.qcow2
    q 0 --json recover --undo
    result result undone
    said out "file $dir/copy.qcow2 is left: the target that QEMU has open is another one"
    [ "$(cat copy.qcow2)" = precious ] || fail "it is gone"
    nothing_to_recover
}

# It is dead by the time that its job is, and nothing has its file open.
exchanged_after() {
    make_long_chain
    start "$1"
    start_kind raw
    kill_client
    raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    mv copy.qcow2 moved.qcow2
    case $2 in
    small) echo precious >copy.qcow2 ;;
    alike) # as large, and not as full
        truncate -s 64M copy.qcow2
        "$QEMU_IO" -f raw -c "write -q -P 0x44 0 60M" copy.qcow2
        ;;
    esac
    cp copy.qcow2 precious
    q 0 --json recover
    result result undone
    said out "nothing proves that operation"
    cmp copy.qcow2 precious || fail "it is another one, or gone"
    nothing_to_recover
}

# A client died once it had made its file; somebody makes the image by other means, or would like to by qblk.
made_by_others() {
    local id=$made_up
    make_chain
    start "$1"
    make_file "op=backup disk=$disk file=$dir/copy.qcow2 intent=finish" "$2"
    remember
    ln -s . here
    for command in "backup $disk $dir/copy.qcow2" "backup $disk $dir/here/copy.qcow2 --reuse-external" \
        "copy $disk $dir/copy.qcow2 --dry-run" "snapshot $disk=$dir/copy.qcow2"; do
        # shellcheck disable=SC2086 # words
        q 6 $command
        said err "copy.qcow2 is that of operation $id, which was left open .*qblk recover --operation $id"
    done
    rm here
    unchanged
    if [ "$3" = convert ]; then
        "$QEMU_IMG" convert -f raw -O qcow2 reference.raw copy.qcow2
        q 0 --json recover
        result result undone
        said out 'nothing proves that operation'
        same copy.qcow2 qcow2
    else
        q 0 --json recover
        result result undone
        [ ! -e copy.qcow2 ] || fail "the target's file is still there"
        q 0 backup "$disk" "$dir/copy.qcow2"
        same copy.qcow2 qcow2
    fi
    nothing_to_recover
}

# Ended by hand, and not closed: what became of it is seen by where the disk is, so that is left where it is.
not_closed() {
    local command
    make_long_chain
    start "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --keep
    job=$(sed -n 's/.*"job": *"\([^"]*\)".*/\1/p' out | tail -n 1)
    q 0 job pivot "$job"
    remember
    for command in "snapshot $disk=$dir/over.qcow2" "copy $disk $dir/second.qcow2 --pivot" \
        "copy $disk $dir/second.qcow2" "pull $disk" "commit $disk"; do
        # shellcheck disable=SC2086 # words
        ! "$qblk" -s "$dir/m0" $command >out 2>err || fail "$command: done"
        [ "${command%% *}" = commit ] || # there is nothing to commit it to
            said err "operation $(operation) was to move it, .*qblk recover --operation $(operation)"
    done
    unchanged
    q 0 backup "$disk" "$dir/backup.qcow2"
    q 0 --json recover
    result result pivoted
    nothing_to_recover
    q 0 snapshot "$disk=$dir/over.qcow2"
    chain_is over.qcow2 copy.qcow2
    stop_qemu
    same over.qcow2 qcow2
    same backup.qcow2 qcow2
}

# A job by that name and no record: nothing is done, and the one who asked for it is told so.
asked_for_by_name() {
    make_long_chain
    start_blockdev
    raw '{"execute": "block-stream", "arguments": {"job-id": "qblk.'"$made_up"'.pull", "device": "top",
          "speed": 65536}}' || fail "no job"
    q 0 recover
    q 6 recover --operation "$made_up" --undo
    said err "$made_up"
}

# What is finished is not taken for what never began because somebody tidied up.
not_dismissed() {
    make_chain
    start "$1"
    q 0 copy "$disk" "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    q 6 job dismiss "$job"
    said err 'ready'
    q 0 job finish "$job"
    listed ended clean
    remember
    q 6 --json job dismiss "$job"
    said out "\"busy\".*recover --operation $(operation)'.*--force"
    unchanged
    q 0 --json recover --operation "$(operation)"
    result result finished
    nothing_to_recover
    [ -e copy.qcow2 ] || fail "the copy was removed"
    stop_qemu
    same copy.qcow2 qcow2
}

# The client dies while a swap's copy is at work; the disk moves and is then made bigger than was meant.
swap_never_shrinks() {
    make_long_chain
    "$QEMU_IMG" create -q -f qcow2 new.qcow2 64M
    start "$1"
    q_start --json swap "$disk" "$dir/new.qcow2" --format qcow2 --resize 80M --speed 64K
    wait_job swap running
    kill_client
    speed_up
    wait_event "BLOCK_JOB_READY $job *"
    raw '{"execute": "job-complete", "arguments": {"id": "'"$job"'"}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    raw '{"execute": "block_resize", "arguments": {"node-name": "qblk.'"$(operation)"'.target",
            "size": '"$2"'}}' >/dev/null || fail "cannot resize the disk"
    q 0 --json recover
    result result pivoted
    raw '{"execute": "query-block"}' | grep -qE "\"virtual-size\": ?$3[,}]" ||
        fail "the disk has not $3 bytes"
    nothing_to_recover
    stop_qemu
}

# kept WORLD ENDING RESULT: a copy that was kept, its client gone
kept() {
    make_chain
    start "$1"
    remember
    cp before untouched
    q 0 --json copy "$disk" "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    listed ready keep
    q 0 --json recover
    result result kept
    guest_write 0x73 3M 128k
    q 0 --json recover --operation "$(operation)" "--$2"
    result result "$3"
    nothing_to_recover
    case $3 in
    pivoted)
        chain_is copy.qcow2
        guest_write 0x74 4M 128k
        ;;
    finished) chain_is top.qcow2 mid.qcow2 base.qcow2 ;;
    undone)
        cp untouched before
        unchanged
        [ ! -e copy.qcow2 ] || fail "the target's file is still there"
        ;;
    esac
    stop_qemu
    if [ "$3" = undone ]; then same top.qcow2 qcow2; else same copy.qcow2 qcow2; fi
}

left() {
    make_long_chain
    start_blockdev
    case $1 in
    async)
        q 0 --json pull vd0 --speed 64K --async
        wait_job pull running
        ;;
    TERM)
        start_kind pull
        kill -TERM "$qblk_pid"
        wait "$qblk_pid"
        ;;
    esac
    listed_if_read running wait
    speed_up
    q 0 --json recover --operation "$(operation)"
    result result completed
    nothing_to_recover
    finished_well pull
}

# Somebody has ended it in the other way: whoever asks for a pivot must not take it for one.
other_end() {
    make_chain
    start_blockdev
    q 0 --json copy vd0 "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    raw '{"execute": "block-job-cancel", "arguments": {"device": "'"$job"'"}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    q 1 --json recover --pivot
    said out "\"job-state\".*$(operation): it has ended as 'finished' and is closed; the disk has not moved"
    nothing_to_recover
    finished_well finish
}

# It was not to pivot, and what the disk leaves was not marked.
pivoted_instead() {
    make_long_chain
    start_blockdev
    if [ "$1" = commit ]; then
        q_start commit vd0 --finish --speed 64K
        wait_job commit running
    else
        start_kind finish
    fi
    kill_client
    speed_up
    q 0 --json recover --pivot
    result result pivoted
    said out 'the nodes that disk vd0 leaves stay.*recover --list --all'
    if [ "$1" = commit ]; then chain_is base.qcow2; else chain_is copy.qcow2; fi
    q 0 recover --list --all
    said out '^node top .*: qblk qmp blockdev-del node-name=top$'
    q 0 qmp blockdev-del node-name=top
    q 0 recover
    stop_qemu
    if [ "$1" = commit ]; then same base.qcow2 qcow2; else same copy.qcow2 qcow2; fi
}

# What has no such endings ends as it always does, and is no failure of who asked for a pivot of the rest.
no_other_end() {
    make_long_chain
    start_blockdev
    start_kind backup
    kill_client
    raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    q 0 --json recover --pivot
    result result undone
    nothing_to_recover
}

# Its job has failed, and it is undone as it was asked to be; why it failed is told.
failed_undone() {
    start_broken
    remember
    cp before untouched
    "$cutproxy" -m kill -x '"block-stream"' "$dir/m0" "$dir/own" report \
        "$qblk" -s "$dir/own" pull vd0 >out 2>err </dev/null
    wait_job pull concluded
    q 0 --json recover --undo
    result result undone
    said out 'failed: Input/output error [(]disk vd0[)]'
    nothing_to_recover
    cp untouched before
    unchanged
}

# Its job is stopped by an error, which is told before anything is decided.
stalled() {
    start_broken
    q_start pull vd0 --on-error stop
    wait_job pull paused
    kill_client
    listed_if_read running wait
    q 0 --json recover --list
    said out '"stalled": ?true'
    q 0 recover --list
    said out 'paused, [0-9]+ % of .*, stopped on an I/O error'
    q 4 --timeout 2 recover # it stops again
    said err "job $job had stopped on an I/O error, and was resumed"
    q 0 recover --undo
    nothing_to_recover
}

# Whoever recovers may be killed, too.
killed_twice() {
    make_long_chain
    start_blockdev
    start_kind pivot
    kill_client
    q_start --json recover
    wait_said out 'read the journal'
    kill_client
    listed running pivot
    speed_up
    q 0 --json recover
    nothing_to_recover
    finished_well pivot
}

two_at_once() {
    local first
    make_long_chain
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 1M
    start_blockdev -blockdev \
        "qcow2,node-name=other,file.driver=file,file.filename=$dir/other.qcow2" \
        -device virtio-blk-pci,id=vd1,drive=other
    start_kind backup
    kill_client
    first=$job
    q 0 --json copy vd1 "$dir/other-copy.qcow2" --keep
    q 0 --json recover --list
    [ "$(grep -o '"operation"' out | wc -l)" = 2 ] || fail "not two: $(cat out)"
    job=$first
    speed_up
    q 0 --json recover --finish
    nothing_to_recover
    finished_well backup
}

# While recover waits for one, another comes to its end by its own client (here: a second recover).
gone_meanwhile() {
    local jobs one
    make_long_chain
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 64M
    "$QEMU_IO" -f qcow2 -c "write -q -P 0x33 0 8M" other.qcow2
    start_blockdev -blockdev \
        "qcow2,node-name=other,file.driver=file,file.filename=$dir/other.qcow2" \
        -device virtio-blk-pci,id=vd1,drive=other
    start_kind finish
    kill_client
    jobs=$job
    q_start --json copy vd1 "$dir/other-copy.qcow2" --speed 64K
    wait_said out '"status": *"running"' # of the first one there may be more such events
    kill_client
    job=$(grep -o -m 1 'qblk\.[0-9a-f]*\.copy' out | head -n 1)
    jobs="$jobs $job"
    q_start --json recover
    wait_said out 'read the journal'
    for job in $jobs; do
        grep -q "$(operation)" out || break
    done
    one=$job
    speed_up
    "$qblk" -s "$dir/m1" --json recover --operation "$(operation)" >out.b 2>err.b </dev/null ||
        fail "the other: $(tail -n 1 out.b)"
    for job in $jobs; do
        [ "$job" = "$one" ] || speed_up
    done
    q_ended 0
    ! grep -q '"result".*'"$one" out || fail "it tells of $one: $(tail -n 1 out)"
    result result finished
    job=$one
    said err "operation $(operation) is not open any more: its client has brought it to its end"
    nothing_to_recover
}

# A concluded stream of somebody else's keeps some QEMUs from being asked for their nodes: what is done
# meanwhile is the same, and what cannot be done says so.
others_concluded() {
    make_long_chain
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 1M
    start_blockdev -blockdev \
        "qcow2,node-name=other,file.driver=file,file.filename=$dir/other.qcow2" \
        -device virtio-blk-pci,id=vd1,drive=other
    raw '{"execute": "block-stream", "arguments": {"job-id": "theirs", "device": "other",
            "auto-dismiss": false}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE theirs concluded *"
    chain_is top.qcow2 mid.qcow2 base.qcow2
    q 0 --json copy vd0 "$dir/shallow.qcow2" --shallow --pivot
    chain_is shallow.qcow2 mid.qcow2 base.qcow2
    start_kind pull
    kill_client
    # Where that is safe the nodes are asked for all the same, and the slow job is waited for.
    if ! "$qblk" -s "$dir/m0" --timeout 2 --json recover >out 2>err && ! grep -q '"timeout"' out; then
        said out '"hazard"'
        said out theirs
    fi
    raw '{"execute": "job-dismiss", "arguments": {"id": "theirs"}}' >/dev/null
    speed_up
    q 0 --json recover
    nothing_to_recover
    chain_is shallow.qcow2
    stop_qemu
    same shallow.qcow2 qcow2
}

unknown_operation() {
    make_chain
    start_blockdev
    remember
    q 6 --json recover --operation 01234567
    said out '"unknown-job"'
    q 2 recover --operation nonsense
    said err 'which is 8 hex digits, in lower case; '
    q 2 recover --pivot --finish
    said err '^qblk: --finish says otherwise than the option before it'
    q 2 recover --undo --pivot
    q 2 recover --all
    unchanged
}

# What is nobody's is shown with what frees it, which does so, and no recovering touches it.
strays() {
    local command
    make_chain
    "$QEMU_IMG" create -q -f qcow2 spare.qcow2 1M
    start "$1"
    remember
    cp before clean
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "sink",
            "size": 8388608}}' \
        '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "true"}}' \
        '{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "spare",
            "file": {"driver": "file", "filename": "'"$dir"'/spare.qcow2"}}}' \
        '{"execute": "blockdev-backup", "arguments": {"job-id": "theirs",
            "device": "'"${disk/vd0/top}"'", "target": "sink", "sync": "full", "auto-dismiss": false, "auto-finalize": false}}' >/dev/null ||
        fail "cannot make what is nobody's"
    wait_event "JOB_STATUS_CHANGE theirs pending *"
    remember
    q 0 recover
    said out '^nothing to recover$'
    q 0 recover --undo
    unchanged
    q 0 recover --list
    [ "$(cat out)" = "nothing to recover" ] || fail "not asked for: $(cat out)"
    q 0 recover --list --all
    said out '^nothing to recover$'
    said out '^job theirs \(backup, pending\): qblk job finalize theirs$'
    said out '^node spare \((qcow2 .*spare.qcow2|unknown)\), which nothing uses: '
    ! grep -q '^node \(sink\|top\|base\)' out || fail "a node in use is shown: $(cat out)"
    [ "$world" != qsd ] || said out '^export ex0 \(nbd of node .*\): qblk qmp block-export-del id=ex0$'
    q 0 --json recover --list --all
    said out '"operations": ?\[\], "others": ?\[\{"kind": ?"job", "name": ?"theirs"'
    unchanged
    # What is said to free each does.
    for what in 'job theirs' 'job theirs' 'node spare' 'node true' 'node sink'; do
        q 0 recover --list --all
        command=$(sed -n "s/^$what (.*: qblk //p" out)
        [ -n "$command" ] || fail "$what is not shown: $(cat out)"
        eval "q 0 $command"
    done
    cp clean before
    unchanged
    q 0 recover --list --all
    ! grep -qE '^job|^node (spare|sink)' out || fail "still shown: $(cat out)"
}

# stray_is STATE VERB...: in that state what frees the job is said to be each verb in its turn, and is
stray_is() {
    local state=$1 verb
    shift
    for verb; do
        q 0 recover --list --all
        said out "^job theirs \\(mirror, ${state}[a-z, ]*\\): qblk job $verb theirs\$"
        q 0 job "$verb" theirs
        [ "$verb" = dismiss ] || wait_event "JOB_STATUS_CHANGE theirs concluded *"
        state=concluded
    done
    nothing_left
}

# A job of somebody else's in each of the states that it can be left in.
stray_states() {
    local speed more state
    make_long_chain
    start_blockdev
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "sink",
            "size": 67108864}}' >/dev/null || fail "no sink"
    remember
    for state in running paused ready standby; do
        speed=0 more=
        case $state in running | paused) speed=1 ;; esac
        case $state in
        paused | standby) more='{"execute": "job-pause", "arguments": {"id": "theirs"}}' ;;
        esac
        raw '{"execute": "blockdev-mirror", "arguments": {"job-id": "theirs", "device": "top",
                "target": "sink", "sync": "top", "speed": '"$speed"', "auto-dismiss": false}}' >/dev/null ||
            fail "no mirror"
        case $state in
        running | paused) wait_event "JOB_STATUS_CHANGE theirs running *" ;;
        *) wait_event "JOB_STATUS_CHANGE theirs ready *" ;;
        esac
        if [ -n "$more" ]; then
            raw "$more" '{"execute": "block-job-set-speed", "arguments": {"device": "theirs",
                    "speed": 131072}}' >/dev/null || fail "cannot pause it"
            wait_event "JOB_STATUS_CHANGE theirs $state *"
        fi
        case $state in
        ready) stray_is ready finish dismiss ;;
        *) stray_is "$state" cancel dismiss ;;
        esac
        unchanged
    done
}

for world in blockdev drive; do
    for kind in pull pivot finish backup; do
        run_test "killed in mid-job, then recovered: $kind, $world" in_mid_job "$world" "$kind"
        run_test "killed, and the job went on alone: $kind, $world" ended_alone "$world" "$kind"
        run_test "killed in mid-job, then undone: $kind, $world" undone "$world" "$kind"
    done
done
for kind in pull finish backup; do
    run_test "killed in mid-job, then recovered: $kind, qsd" in_mid_job qsd "$kind"
done
run_test "killed in mid-job, then recovered: drive-mirror" in_mid_job drive legacy
run_test "killed in mid-job, then undone: a raw target" undone blockdev raw
run_test "killed in mid-job, then undone: drive-mirror" undone drive legacy
run_test "killed in mid-job, then undone: drive-backup" undone drive legacy-backup
run_test "what was to pivot has ended otherwise" other_end
run_test "what was not to pivot does, a copy" pivoted_instead copy
run_test "what was not to pivot does, a commit" pivoted_instead commit
run_test "what cannot pivot is recovered beside" no_other_end
run_test "its job has failed, and it is undone" failed_undone
run_test "its job is stopped by an error" stalled
for kind in pull backup; do
    run_test "what has ended well is finished, not undone: $kind" undo_too_late "$kind"
done
run_test "killed before the job: the file is made" before_the_job blockdev create
run_test "killed before the job: its node is there" before_the_job drive node
for world in blockdev drive qsd; do
    run_test "killed as the target is made, $world" killed_at "$world" '.create-format"'
done
for world in blockdev drive; do
    run_test "kept, pivoted and dismissed by somebody, $world" moved_by_others "$world"
    run_test "kept, pivoted, dismissed, and snapshot, $world" moved_by_others "$world" snapshot
done
run_test "kept, dismissed, and exported" in_use_by_others
for world in blockdev drive; do
    run_test "a job that recover needs is not dismissed, $world" not_dismissed "$world"
    run_test "a swapped disk that somebody has grown stays so, $world" swap_never_shrinks "$world" \
        100663296 100663296
    run_test "a swapped disk that nobody has grown is, $world" swap_never_shrinks "$world" 67108864 83886080
done
for world in blockdev drive; do
    run_test "kept, then pivoted, $world" kept "$world" pivot pivoted
    run_test "kept, then finished, $world" kept "$world" finish finished
    run_test "kept, then undone, $world" kept "$world" undo undone
done
for world in blockdev drive; do
    for kind in pull pivot; do
        run_test "cancelled while nobody listened: $kind, $world" unheard "$world" "$kind"
        run_test "two recover at once: $kind, $world" both_at_once "$world" "$kind"
    done
done
for kind in finish backup; do
    run_test "cancelled while nobody listened: $kind" unheard blockdev "$kind"
    run_test "two recover at once: $kind" both_at_once drive "$kind"
done
run_test "left by --async, then recovered" left async
run_test "Ctrl-C leaves the next operation" interrupted_apart
run_test "recovered beside one that cannot be" beside_garbage
run_test "a journal without a record" no_record
run_test "a target that somebody reads" taken_over target
run_test "a target's file that somebody reads" taken_over file
for kind in pivot raw backup legacy legacy-backup; do
    # 5.2's job has to go before the record can be read, and drive-backup's target goes with it.
    case "$kind $("$QEMU" --version)" in "legacy-backup "*"version 5."*) continue ;; esac
    run_test "a file in the place of the target: $kind" exchanged drive "$kind"
done
for kind in small alike; do
    run_test "a file in the place of a raw target whose job has ended: $kind" exchanged_after drive "$kind"
done
for world in blockdev drive; do
    for size in 0 8388608; do
        run_test "a file that was made anew: $size bytes, $world" made_by_others "$world" "$size" convert
        run_test "a file that waits for recover: $size bytes, $world" made_by_others "$world" "$size" recover
    done
done
for world in blockdev drive; do
    run_test "kept, pivoted by hand and not closed, $world" not_closed "$world"
done
run_test "asked for by name, without a record" asked_for_by_name
run_test "left by SIGTERM, then recovered" left TERM
run_test "killed in mid-recovery, then recovered" killed_twice
run_test "two operations are recovered in one go" two_at_once
run_test "one that its client ends meanwhile" gone_meanwhile
run_test "an operation whose client lives is left to him" not_taken_away
run_test "an operation whose client lives, of another user, is left to it" not_taken_from_a_user
run_test "a recover that is interrupted" interrupted
run_test "somebody else's concluded stream in the way" others_concluded
run_test "an operation that is not there, and wrong usage" unknown_operation
for world in blockdev drive qsd; do
    run_test "what is nobody's is listed, and left, $world" strays "$world"
done
run_test "what frees somebody else's job, in each of its states" stray_states
finish
