#!/usr/bin/env bash
# Journals that no qblk of ours has written, or only in part: `qblk recover` leaves them, or clears them
# away, and does no harm to anything.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_recover.sh"

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
    local advice='"qblk qmp blockdev-del node-name=qblk.0badf00d.journal" drops the record, once'
    make_chain
    start_blockdev
    if [ "$1" = "qblk1 ended" ]; then forge "$1"; else forge "$1" ended; fi
    [ -z "${2-}" ] ||
        raw '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "qblk.0badf00d.journal",
                "name": "'"$2"'", "disabled": true}}' >/dev/null || fail "cannot forge"
    remember
    q 0 --json recover --list
    said out '"operation": ?"0badf00d".*"stage": ?"unknown".*"fate": ?"leave", "why": ?"'
    said out '"command": ?"qmp blockdev-del node-name=qblk.0badf00d.journal"'
    for how in "" --undo; do
        # shellcheck disable=SC2086 # no word or one
        q 6 --json recover $how
        said out '"journal"'
        said out 0badf00d
        said err "$advice"
    done
    unchanged
    q 0 recover --list
    said out "^    $advice"
    q 0 qmp blockdev-del node-name=qblk.0badf00d.journal
    q 0 recover
    said out '^nothing to recover$'
}

# A record that is cut off, at each length of it, in journals beside one another.
cut_off() {
    local record="qblk1 1/1 op=copy disk=$1 old=spare intent=pivot" id len lines=()
    make_chain
    start "$2"
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "spare"}}' >/dev/null
    for ((len = 1; len < ${#record}; len++)); do
        id=$(printf '0badc%03x' "$len")
        lines+=('{"execute": "blockdev-add", "arguments": {"driver": "null-co",
                    "node-name": "qblk.'"$id"'.journal"}}'
            '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "qblk.'"$id"'.journal",
                "name": "'"${record:0:len}"'", "disabled": true}}'
            '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "qblk.'"$id"'.journal",
                "name": "qblk1 ended", "disabled": true}}')
    done
    raw "${lines[@]}" >/dev/null || fail "cannot forge"
    remember
    q 0 --json recover --list
    [ "$(grep -o '"fate": "leave"' out | wc -l)" = $((${#record} - 1)) ] || fail "not all left: $(cat out)"
    q 6 recover
    [ "$(grep -c 'operation 0badc' err)" = $((${#record} - 1)) ] || fail "not all reported: $(cat err)"
    q 6 recover --undo
    unchanged
}

# A record that names an operation of somebody's: it is left, and that one goes on as if nothing were.
meddling() {
    make_chain
    start "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    forge "qblk1 1/1 op=copy disk=$disk with=$(operation) intent=pivot"
    remember
    q 0 --json recover --list
    said out '"operation": ?"0badf00d".*"fate": ?"leave"'
    said out '"fate": ?"keep"'
    q 6 recover
    said err '0badf00d'
    said out "$disk.*in sync"
    unchanged
    q 6 recover --undo --operation 0badf00d
    unchanged
    raw '{"execute": "blockdev-del", "arguments": {"node-name": "qblk.0badf00d.journal"}}' >/dev/null
    forge "qblk1 1/1 op=pull disk=$disk intent=finish old=qblk.$(operation).journal" ended
    q 0 recover --operation 0badf00d
    listed ready keep
    q 0 --json recover --pivot
    result result pivoted
    nothing_to_recover
    guest_write 0x74 4M 128k
    stop_qemu
    same copy.qcow2 qcow2
}

# their_job: by hand, with a name like ours
their_job() {
    make_long_chain
    start "$1"
    raw '{"execute": "block-stream", "arguments": {"job-id": "qblk.0badf00d.stream",
            "device": "'"${disk/vd0/top}"'", "speed": 65536, "auto-dismiss": false}}' >/dev/null ||
        fail "cannot start a job"
}

job_is_there() {
    raw '{"execute": "query-jobs"}' | grep -q 'qblk.0badf00d.stream.*running\|running.*qblk.0badf00d.stream' ||
        fail "the job was touched"
}

# their_end: the job is ended by its owner, and the disk is as it was
their_end() {
    raw '{"execute": "job-cancel", "arguments": {"id": "qblk.0badf00d.stream"}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE qblk.0badf00d.stream concluded *"
    q 0 job dismiss qblk.0badf00d.stream
    q 0 recover
    said out "^$2\$"
    nothing_left
    [ "$1" = drive ] || chain_is top.qcow2 mid.qcow2 base.qcow2
    stop_qemu
    same top.qcow2 qcow2
}

# left_alone HOW: a job that no record tells of
left_alone() {
    # shellcheck disable=SC2086 # no word or one
    q 0 recover $1
    [ ! -s out ] || fail "something was recovered: $(cat out)"
    said err '^qblk: job qblk.0badf00d.stream carries the id of a qblk operation, .* no journal for it'
    job_is_there
}

# A job with a name like ours and nothing that tells of it
named_like_ours() {
    their_job "$1"
    remember
    left_alone ""
    left_alone --undo
    unchanged
    their_end "$1" 'nothing to recover'
}

# The same with a record of its number, but of no such job, which says that all has ended: what the record
# says is done, unless this QEMU cannot be asked for it while the job is there, and the job is left.
claimed() {
    local how outcome
    their_job "$1"
    forge "qblk1 1/1 op=pull disk=$disk old=mid,base intent=finish" ended
    remember
    case "$("$QEMU" --version)" in
    *"version "[6-9].*)
        for how in "" --undo; do
            # shellcheck disable=SC2086 # no word or one
            q 6 recover $how
            said err '^qblk: reading the journal could crash .* while stream job qblk.0badf00d.stream exists'
            job_is_there
            unchanged
        done
        outcome="recovered $disk: completed"
        ;;
    *)
        q 0 recover
        said out "^recovered $disk: completed\$"
        [ "$1" = drive ] || said err 'node mid is left alone: .* nothing on the node itself says so'
        job_is_there
        left_alone --undo
        outcome='nothing to recover'
        ;;
    esac
    their_end "$1" "$outcome"
}

# A record by somebody else's hand that is well formed: it is cleared away, and nothing that it names.
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

# claims SIZE STATE [held]: a record that names a file, beside a job of its number that writes elsewhere, or has
# failed; another QEMU has the file open
claims() {
    local why=": the target that QEMU has open is another one"
    make_long_chain
    echo precious >precious
    start_blockdev
    if [ -n "${3-}" ]; then
        why=" alone: the journal names it, but nothing proves"
        "$QEMU_IMG" create -q -f qcow2 precious 1M || fail "no image"
        serve "$dir/other" --blockdev "qcow2,node-name=p,file.driver=file,file.filename=$dir/precious"
    fi
    cp precious before.precious
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "size": '"$1"',
            "node-name": "qblk.0badf00d.target"}}' || fail "no target"
    remember
    raw '{"execute": "blockdev-mirror", "arguments": {"job-id": "qblk.0badf00d.copy", "device": "top",
            "target": "qblk.0badf00d.target", "sync": "full", "speed": 65536, "auto-dismiss": false}}' ||
        fail "no job"
    wait_event "JOB_STATUS_CHANGE qblk.0badf00d.copy $2 *"
    forge "qblk1 1/1 op=copy disk=vd0 intent=pivot file=$dir/precious"
    q 0 recover --undo
    said err "file $dir/precious is left$why"
    cmp -s precious before.precious || fail "the file is gone, or another one"
    [ -z "${3-}" ] || { kill "$server_pid" && wait "$server_pid"; }
    unchanged
}

# A job by the name of a target that the operation has not.
job_of_no_target() {
    make_long_chain
    start_blockdev
    q_start copy vd0 "$dir/copy.qcow2" --speed 64K
    wait_job copy running
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    raw '{"execute": "blockdev-create", "arguments": {"job-id": "'"${job%copy}"'create-file.7",
            "options": {"driver": "file", "filename": "'"$dir"'/theirs", "size": 512}}}' >/dev/null
    wait_event "JOB_STATUS_CHANGE ${job%copy}create-file.7 concluded *"
    q 0 recover --undo
    [ "$(grep -c recovered out)" = 1 ] || fail "it was taken for more: $(cat out)"
    [ -e theirs ] || fail "the file was removed"
    raw '{"execute": "query-jobs"}' >listing
    said listing 'create-file.7'
}

run_test "a record of a newer version is reported and left" not_understood \
    "qblk2 1/1 op=copy disk=vd0 intent=pivot"
run_test "a record of an unknown operation is reported and left" not_understood \
    "qblk1 1/1 op=burn disk=vd0 intent=finish"
run_test "records that contradict one another are reported and left" not_understood \
    "qblk1 1/1 op=copy disk=vd0 intent=pivot" "qblk1 1/1 op=copy disk=vd0 intent=finish"
run_test "a mark of the end without a record is reported and left" not_understood "qblk1 ended"
run_test "a record that is cut off is reported and left, blockdev" cut_off vd0 blockdev
run_test "a record that is cut off is reported and left, drive" cut_off drive0 drive
for world in blockdev drive; do
    run_test "a record that names another operation, $world" meddling "$world"
    run_test "a job with a name like ours, $world" named_like_ours "$world"
    run_test "the same with a record that claims it, $world" claimed "$world"
done
run_test "a forged record removes no file" forged \
    "op=backup disk=vd0 intent=finish file=DIR/precious"
run_test "a forged record removes no node in use" forged \
    "op=pull disk=vd0 intent=finish old=top,mid,base" ended
run_test "a forged record of a copy removes no idle node" forged \
    "op=copy disk=vd0 intent=pivot old=spare" ended
run_test "a forged record of a pull removes no idle node" forged \
    "op=pull disk=vd0 intent=finish old=spare" ended
run_test "a forged record of a commit removes no idle node" forged \
    "op=commit disk=vd0 base=base intent=merge old=spare" ended
run_test "a forged record of a detach unplugs nothing" forged \
    "op=detach disk=vd0 intent=finish old=top,top-file"
run_test "a forged record of a detach removes no idle node" forged \
    "op=detach disk=vd9 intent=finish old=spare"
run_test "a forged record with a job at work removes no file" claims 67108864 running
run_test "a forged record with a job that has failed removes no file" claims 8388608 concluded
run_test "a forged record with a job at work removes no image of another QEMU" claims 67108864 running held
run_test "a job named for a target that there is not" job_of_no_target
finish
