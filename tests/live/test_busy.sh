#!/usr/bin/env bash
# A disk that is busy: the refusal names node, job, whose it is and its state, and the command that it
# names frees the disk.
. "$(dirname "$0")/lib.sh"

# theirs ARG...: somebody else's backup of the disk into a node of their own, with these members
theirs() {
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 "${size:-64M}"
    raw '{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "other",
          "file": {"driver": "file", "filename": "'"$dir"'/other.qcow2"}}}' \
        '{"execute": "'"$1"'", "arguments": {"job-id": "theirs", "device": "top", "target": "other",
          "sync": "full", "auto-dismiss": false'"${2-}"'}}' || fail "no job of theirs"
}

# named PATTERN ARG...: refused in these words, and nothing is changed
named() {
    local pattern=$1
    shift
    offered x-debug-query-block-graph || skip "this QEMU does not tell what jobs hold"
    remember
    q 6 "$@"
    said err 'disk vd0 is busy: node [a-z#0-9]+ is held by'
    said err "$pattern"
    unchanged
}

# freed ARG...: what was named is done, and the disk can be pulled
freed() {
    q 0 "$@"
    q 0 --json pull vd0
    result result completed
}

running() {
    make_long_chain
    start_blockdev
    theirs blockdev-backup ', "speed": 1'
    named 'backup job theirs \(running\), which belongs to somebody else; .*job wait theirs.*"qblk job cancel theirs"' \
        pull vd0
    q 0 job cancel theirs
    freed job dismiss theirs
}

# (5.2 calls a paused backup running.)
paused() {
    make_long_chain
    start_blockdev
    theirs blockdev-mirror ', "speed": 1048576'
    raw '{"execute": "job-pause", "arguments": {"id": "theirs"}}'
    wait_event "JOB_STATUS_CHANGE theirs paused *"
    named 'theirs \(paused\).*it is paused: let it go on with "qblk job resume theirs"' commit vd0
    q 0 job speed theirs 0
    q 0 job resume theirs
    q 0 job wait --ready theirs
    q 0 job finish theirs
    freed job dismiss theirs
}

ready() {
    make_chain
    start_blockdev
    size=8M theirs blockdev-mirror
    wait_event "BLOCK_JOB_READY theirs *"
    named 'theirs \(ready\).*in sync.*"qblk job finish theirs"' pull vd0
    q 0 job finish theirs
    freed job dismiss theirs
}

stalled() {
    make_long_chain
    start_blockdev
    "$QEMU_IMG" create -q -f raw small.raw 64M
    raw '{"execute": "blockdev-add", "arguments": {"driver": "raw", "node-name": "other", "file":
          {"driver": "blkdebug", "inject-error": [{"event": "write_aio", "errno": 28}], "image":
           {"driver": "file", "filename": "'"$dir"'/small.raw"}}}}' \
        '{"execute": "blockdev-mirror", "arguments": {"job-id": "theirs", "device": "top",
          "target": "other", "sync": "full", "on-target-error": "stop", "auto-dismiss": false}}' ||
        fail "no job of theirs"
    wait_event "BLOCK_JOB_ERROR theirs *"
    named 'theirs \(stopped.*mend that, then let it go on with "qblk job resume theirs".*cancel theirs' \
        pull vd0
    q 0 job cancel theirs
    freed job dismiss theirs
}

# A stream or a commit holds its images until it is dismissed.
concluded() {
    make_chain
    start_blockdev
    raw '{"execute": "block-commit", "arguments": {"job-id": "theirs", "device": "top",
          "top-node": "mid", "base-node": "base", "auto-dismiss": false}}'
    wait_event "JOB_STATUS_CHANGE theirs concluded *"
    named 'commit job theirs \(concluded\).*it is over and waits.*"qblk job dismiss theirs"' pull vd0
    freed job dismiss theirs
}

ours() {
    local id
    make_long_chain
    start_blockdev
    q_start --json commit vd0 --top @1 --speed 64K
    wait_job commit running
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    id=${job#qblk.}
    id=${id%%.*}
    named "commit job $job \\(running\\), which belongs to qblk operation $id; .*\"qblk recover --operation $id\"" \
        pull vd0
    q 0 job speed "$job" 0
    freed recover --operation "$id"
    nothing_left
}

# A copy that is kept stays so unless it is said how it is to end.
kept() {
    local id
    make_chain
    start_blockdev
    q 0 --json copy vd0 "$dir/copy.qcow2" --keep
    wait_job copy ready
    id=${job#qblk.}
    id=${id%%.*}
    q 6 pull vd0
    said err "job $job \\(ready\\).*\"qblk recover --operation $id\" and --pivot, --finish or --undo"
    freed recover --operation "$id" --finish
    nothing_left
}

# Somebody reads an image that a commit makes worth nothing.
exported() {
    make_chain
    start_blockdev
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix", "data": {"path":
          "'"$dir"'/nbd"}}}}' '{"execute": "block-export-add", "arguments": {"type": "nbd",
          "id": "ex", "node-name": "mid", "name": "mid"}}' || fail "no export"
    offered x-debug-query-block-graph || skip "this QEMU does not tell who uses a node"
    remember
    q 6 commit vd0 --top @1
    said err 'image .*mid.qcow2 \(node mid\) is used by .*export.*worth nothing by itself'
    q 6 commit vd0
    said err 'node mid'
    unchanged
    raw '{"execute": "block-export-del", "arguments": {"id": "ex"}}'
    wait_event "BLOCK_EXPORT_DELETED *"
    q 0 --json commit vd0 --top @1
    result result completed
    nothing_left
}

# Two disks on one image: what a commit writes there, the other would read.
shared() {
    make_chain
    start_blockdev
    "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/mid.qcow2" b.qcow2
    raw '{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "b", "backing":
          "mid", "file": {"driver": "file", "filename": "'"$dir"'/b.qcow2"}}}' || fail "no second user"
    remember
    q 6 commit vd0 --top @1
    said err 'mid.qcow2 \(node mid\) is used by node b too'
    q 6 commit vd0 --base @1
    said err 'node b'
    unchanged
    # Pulling only reads it.
    q 0 --json pull vd0
    result result completed
    stop_qemu
    same top.qcow2 qcow2
}

run_test "a running job of somebody else's" running
run_test "a paused job" paused
run_test "a ready job" ready
run_test "a job that stopped for want of space" stalled
run_test "a job that is over and not dismissed" concluded
run_test "a job of an operation of ours" ours
run_test "a copy that is kept" kept
run_test "a commit of an image that is exported" exported
run_test "a commit of an image that another image lies on" shared
finish
