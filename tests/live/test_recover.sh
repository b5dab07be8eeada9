#!/usr/bin/env bash
# A client is killed; `qblk recover` finishes or undoes what it left, and does no harm to anything else.
. "$(dirname "$0")/lib.sh"

# killed: the client that q_start has started, by SIGKILL
killed() {
    kill -KILL "$qblk_pid"
    wait "$qblk_pid" 2>/dev/null
}

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
    esac
    case $kind in pivot | finish | legacy) kind=copy ;; esac
    wait_job "$kind" running
}

# speed_up: the job that was left gets no more brake
speed_up() {
    raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}' \
        >/dev/null || fail "cannot speed $job up"
}

operation() {
    local id=${job#qblk.}
    echo "${id%%.*}"
}

listed() {
    q 0 --json recover --list
    said out "\"operation\": ?\"$(operation)\""
    q 0 recover --list
    said out "$(operation).*$job"
}

# Run again it says that there is nothing, and changes nothing.
nothing_to_recover() {
    nothing_left
    remember
    q 0 recover
    said out '^nothing to recover$'
    q 0 --json recover
    said out '"result": ?\[\]'
    q 0 --json recover --list
    said out '"result": ?\[\]'
    unchanged
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
    killed
    listed
    speed_up
    q 0 --json recover
    nothing_to_recover
    finished_well "$2"
}

# The job comes to its end while nobody listens.
ended_alone() {
    make_long_chain
    start "$1"
    start_kind "$2"
    killed
    speed_up
    case $2 in
    pull | backup) wait_event "JOB_STATUS_CHANGE $job concluded *" ;;
    *) wait_event "BLOCK_JOB_READY $job *" ;;
    esac
    listed
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
    killed
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
    killed
    speed_up
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    q 0 --json recover --undo
    nothing_to_recover
    finished_well "$1"
}

# killed_when PATTERN: a client that dies as soon as that was heard; before its job is started, it is
# undone
killed_when() {
    make_long_chain
    start "$1"
    remember
    cp before untouched
    q_start --json copy "$disk" "$dir/copy.qcow2" --pivot --speed 64K
    wait_event "$2"
    killed
    q 0 recover
    if raw '{"execute": "query-jobs"}' | grep -q '"qblk\.'; then
        fail "a job is left: $(tr '\n' ' ' <out)"
    fi
    nothing_to_recover
}

# Jobs that make the target are over before anybody can be killed, so the one that dies early is made
# by hand: everything up to the command that starts the job.
before_the_job() {
    local id=0badcafe
    make_chain
    start "$1"
    remember
    cp before untouched
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co",
            "node-name": "qblk.'"$id"'.journal"}}' \
        '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "qblk.'"$id"'.journal",
            "name": "qblk1 1/1 op=copy disk='"$disk"' intent=pivot file='"$dir"'/copy.qcow2 old=top",
            "disabled": true}}' \
        '{"execute": "blockdev-create", "arguments": {"job-id": "qblk.'"$id"'.create-file",
            "options": {"driver": "file", "filename": "'"$dir"'/copy.qcow2", "size": 0}}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE qblk.$id.create-file concluded *"
    [ "$2" = create ] ||
        raw '{"execute": "blockdev-add", "arguments": {"driver": "file",
                "node-name": "qblk.'"$id"'.file", "filename": "'"$dir"'/copy.qcow2"}}' \
            '{"execute": "job-dismiss", "arguments": {"id": "qblk.'"$id"'.create-file"}}' >/dev/null
    q 0 --json recover
    result result undone
    [ ! -e copy.qcow2 ] || fail "the target's file is still there"
    nothing_to_recover
    cp untouched before
    unchanged
}

# kept ENDING RESULT: a copy that was kept, its client gone
# moved_by_others WORLD [snapshot]: the disk is on the target, and no job is left to tell of it
moved_by_others() {
    make_chain
    start "$1"
    q 0 copy "$disk" "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    q 0 job pivot "$job"
    q 0 job dismiss "$job"
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
    q 0 job dismiss "$job"
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix",
          "data": {"path": "'"$dir"'/nbd"}}}}' \
        '{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "theirs",
          "node-name": "qblk.'"$(operation)"'.target"}}' >/dev/null || fail "cannot export it"
    q 0 recover
    [ -e copy.qcow2 ] || fail "an image that is in use was removed"
    stop_qemu
    same copy.qcow2 qcow2
}

kept() {
    make_chain
    start "$1"
    remember
    cp before untouched
    q 0 --json copy "$disk" "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    listed
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
    listed
    speed_up
    q 0 --json recover --operation "$(operation)"
    result result completed
    nothing_to_recover
    finished_well pull
}

# Whoever recovers may be killed, too.
killed_twice() {
    make_long_chain
    start_blockdev
    start_kind pivot
    killed
    q_start --json recover
    wait_said out 'read the journal'
    killed
    listed
    speed_up
    q 0 --json recover
    nothing_to_recover
    finished_well pivot
}

# wait_said FILE WORD: until a running qblk has written it
wait_said() {
    timeout "$patience" tail -n +1 -f "$1" 2>/dev/null | grep -q -m 1 -e "$2" ||
        fail "$1 never says $2"
}

two_at_once() {
    local first
    make_long_chain
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 1M
    start_blockdev -blockdev \
        "qcow2,node-name=other,file.driver=file,file.filename=$dir/other.qcow2" \
        -device virtio-blk-pci,id=vd1,drive=other
    start_kind backup
    killed
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
    killed
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
    q 2 recover --undo --pivot
    unchanged
}

# forge RECORD [ended]: a journal by somebody else's hand
forge() {
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co",
            "node-name": "qblk.0badf00d.journal"}}' \
        '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "qblk.0badf00d.journal",
            "name": "'"$1"'", "disabled": true}}' >/dev/null || fail "cannot forge"
    [ "${2-}" != ended ] ||
        raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "qblk.0badf00d.journal",
                "name": "qblk1 ended", "disabled": true}}' >/dev/null || fail "cannot forge"
}

not_understood() {
    make_chain
    start_blockdev
    forge "$1" ended
    remember
    for how in "" --undo; do
        # shellcheck disable=SC2086 # no word or one
        q 6 --json recover $how
        said out '"journal"'
        said out 0badf00d
    done
    unchanged
}

forged() {
    make_chain
    echo precious >precious
    "$QEMU_IMG" create -q -f qcow2 spare.qcow2 1M
    start_blockdev
    raw '{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "spare",
            "file": {"driver": "file", "filename": "'"$dir"'/spare.qcow2"}}}' >/dev/null
    remember
    cp before untouched
    forge "qblk1 1/1 ${1//DIR/$dir}" "${2-}"
    q 0 recover
    nothing_to_recover
    cp untouched before
    unchanged
    [ "$(cat precious)" = precious ] || fail "the file is gone"
    stop_qemu
    same top.qcow2 qcow2
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
run_test "killed in mid-job, then undone: drive-mirror" undone drive legacy
for kind in pull backup; do
    run_test "what has ended well is finished, not undone: $kind" undo_too_late "$kind"
done
run_test "killed before the job: the file is made" before_the_job blockdev create
run_test "killed before the job: its node is there" before_the_job drive node
run_test "killed as the target is made" killed_when blockdev \
    "JOB_STATUS_CHANGE qblk.????????.create-format created *"
for world in blockdev drive; do
    run_test "kept, pivoted and dismissed by somebody, $world" moved_by_others "$world"
    run_test "kept, pivoted, dismissed, and snapshot, $world" moved_by_others "$world" snapshot
done
run_test "kept, dismissed, and exported" in_use_by_others
for world in blockdev drive; do
    run_test "kept, then pivoted, $world" kept "$world" pivot pivoted
    run_test "kept, then finished, $world" kept "$world" finish finished
    run_test "kept, then undone, $world" kept "$world" undo undone
done
run_test "left by --async, then recovered" left async
run_test "left by SIGTERM, then recovered" left TERM
run_test "killed in mid-recovery, then recovered" killed_twice
run_test "two operations are recovered in one go" two_at_once
run_test "somebody else's concluded stream in the way" others_concluded
run_test "an operation that is not there, and wrong usage" unknown_operation
run_test "a record of a newer version is reported and left" not_understood \
    "qblk2 1/1 op=copy disk=vd0 intent=pivot"
run_test "a record of an unknown operation is reported and left" not_understood \
    "qblk1 1/1 op=burn disk=vd0 intent=finish"
run_test "a forged record removes no file" forged \
    "op=backup disk=vd0 intent=finish file=DIR/precious"
run_test "a forged record removes no node in use" forged \
    "op=pull disk=vd0 intent=finish old=top,mid,base" ended
run_test "a forged record removes no idle node" forged \
    "op=copy disk=vd0 intent=pivot old=spare" ended
finish
