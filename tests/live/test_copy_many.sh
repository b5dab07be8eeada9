#!/usr/bin/env bash
# Several disks copied by one command: all are ready before any of them ends, and they end together or
# not at all, whoever is killed, cancelled or fails.
. "$(dirname "$0")/lib.sh"

# Two disks: the chain of vd0, and vd1 with an image of its own.
start_two() {
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 32M &&
        "$QEMU_IMG" create -q -f raw other.raw 32M || fail "qemu-img create failed"
    io other.qcow2 qcow2 "write -P 0x77 0 24M"
    io other.raw raw "write -P 0x77 0 24M"
    start_blockdev -blockdev \
        "qcow2,node-name=other,file.driver=file,file.filename=$dir/other.qcow2" \
        -device virtio-blk-pci,id=vd1,drive=other
}

# both WORD: what the last line says of each disk
both() {
    [ "$(tail -n 1 out | grep -oE "\"result\": ?\"$1\"" | wc -l)" = 3 ] ||
        fail "not both are $1: $(tail -n 1 out)"
}

# moved NODE...: the images of the disks, by QEMU's own account
on_images() {
    local image
    raw '{"execute": "query-block"}' >block
    for image; do
        grep -qE "\"file\": ?\"[^\"]*/$image\"" block || fail "no disk uses $image"
    done
}

# both_run: until two jobs do, $job and $other; the first may stop and go on as QEMU adds the other
both_run() {
    wait_event "JOB_STATUS_CHANGE qblk.????????.copy running *"
    job=$(job_of)
    other=$job
    while [ "$other" = "$job" ]; do
        wait_event "JOB_STATUS_CHANGE qblk.????????.copy running *"
        other=$(job_of)
    done
}

together() {
    make_chain
    start_two
    q 0 --json -vv copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" "--$1"
    both "$2"
    nothing_left
    # Nothing is made before all journals are open, none ends before all are ready, and no journal
    # is closed before all are over.
    grep -oE '"execute":"[a-z-]*"(,"arguments":\{"(driver":"null-co|node":"qblk[^"]*journal|id":"qblk[^"]*create-file|node-name":"qblk.[0-9a-f]*.journal))?' err |
        cut -d'"' -f4,8 >commands
    awk -v end="$3" '
        /^block-dirty-bitmap-add"node/ && !made { opened++ }
        /^blockdev-create/ { made++; if (opened < 2) exit 1 }
        $0 ~ "^" end "\"?" { ended++; last = NR; if (ended == 1) first = NR }
        END { exit !(ended == 2 && last == first + 1 && opened == 2) }' commands ||
        fail "the order is wrong: $(tr '\n' ' ' <commands)"
    if [ "$1" = pivot ]; then
        on_images a.qcow2 b.qcow2
        guest_write 0x61 2M 128k
    else
        on_images top.qcow2 other.qcow2
    fi
    stop_qemu
    same a.qcow2 qcow2
    same b.qcow2 qcow2 other.raw
}

# One that cannot be made leaves the other as it was.
refused_one() {
    make_chain
    start_two
    remember
    echo precious >b.qcow2
    q 6 --json copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --pivot
    said out '"target-exists"'
    said out 'disk vd1'
    unchanged
    [ ! -e a.qcow2 ] || fail "the target of the other disk is there"
    q 2 copy "vd0=$dir/a.qcow2" "vd0=$dir/c.qcow2"
    said err 'named twice'
    q 6 copy "vd0=$dir/a.qcow2" "vd1=$dir/a.qcow2"
    said err 'named for two disks'
    q 6 copy "vd0=$dir/a.qcow2" "nonesuch=$dir/c.qcow2"
    unchanged
    q 2 copy "vd0=$dir/a.qcow2" vd1 "$dir/b.qcow2"
    q 2 copy vd0
    unchanged
}

cancelled() {
    make_long_chain
    start_two
    remember
    q_start --json copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --pivot --speed 64K
    both_run
    kill -INT "$qblk_pid"
    q_ended 5
    said out "copy vd0, vd1: cancelled by the user; the operations were undone\""
    unchanged
    nothing_left
    [ ! -e a.qcow2 ] && [ ! -e b.qcow2 ] || fail "the targets are still there"
}

# Somebody cancels the job of one disk while the other is ready.
one_cancelled() {
    make_long_chain
    start_two
    remember
    q_start --json copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --pivot --speed 64K
    both_run
    job=$(job_of)
    raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}' >/dev/null
    q_ended 5
    said out "job $job was cancelled"
    unchanged
    [ ! -e a.qcow2 ] && [ ! -e b.qcow2 ] || fail "the targets are still there"
}

kept() {
    make_chain
    start_two
    remember
    q 0 --json copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --keep
    both kept
    said out 'recover --operation'
    first=$(tail -n 1 out | grep -oE '"operation": ?"[0-9a-f]{8}' | head -n 1 | grep -oE '[0-9a-f]{8}$')
    q 0 --json recover --operation "$first" "--$1"
    [ "$(tail -n 1 out | grep -oE "\"result\": ?\"$2\"" | wc -l)" = 2 ] ||
        fail "not both are $2: $(tail -n 1 out)"
    nothing_left
    case $1 in
    pivot) on_images a.qcow2 b.qcow2 ;;
    finish) on_images top.qcow2 other.qcow2 ;;
    undo)
        unchanged
        [ ! -e a.qcow2 ] && [ ! -e b.qcow2 ] || fail "the targets are still there"
        return
        ;;
    esac
    stop_qemu
    same a.qcow2 qcow2
    same b.qcow2 qcow2 other.raw
}

# The client is killed; then something happens to one of the two.
killed() {
    make_long_chain
    start_two
    remember
    q_start --json copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --pivot --speed 64K
    both_run
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    case $1 in
    nothing) ;;
    one-gone) # as if another client had undone it, and then died
        raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}' >/dev/null
        wait_event "JOB_STATUS_CHANGE $job concluded *"
        ;;
    one-pivoted)
        raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}' \
            >/dev/null
        wait_event "JOB_STATUS_CHANGE $job ready *"
        raw '{"execute": "job-complete", "arguments": {"id": "'"$job"'"}}' >/dev/null
        wait_event "JOB_STATUS_CHANGE $job concluded *"
        ;;
    esac
    for job in "$job" "$other"; do
        raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}' \
            >/dev/null
    done
    q 0 --json recover --operation "${other:5:8}"
    nothing_left
    if [ "$1" = one-gone ]; then
        unchanged
        [ ! -e a.qcow2 ] && [ ! -e b.qcow2 ] || fail "the targets are still there"
        return
    fi
    on_images a.qcow2 b.qcow2
    stop_qemu
    same a.qcow2 qcow2
    same b.qcow2 qcow2 other.raw
}

# one_ended HOW alike|apart: of two that were kept somebody has ended one by hand: the other one is not taken
# along against its user's will
one_ended() {
    make_chain
    start_two
    q 0 --json copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --keep
    both kept
    job=$(tail -n 1 out | grep -oE '"job": ?"[^"]*' | head -n 1 | grep -oE 'qblk[^"]*$')
    q 0 job "$1" "$job"
    remember
    for how in pivot finish undo; do
        [ "$how" != "$1" ] || continue
        q 6 --json recover "--$how"
        said out "which has ended $([ "$1" = pivot ] && echo by || echo without) a pivot: .*with --$1, or end job"
        q 6 recover "--$how"
        said err '^qblk: operation [0-9a-f]{8} was started together with [0-9a-f]{8}, which .* by hand [^,]*$'
        unchanged
    done
    if [ "$2" = alike ]; then
        q 0 --json recover "--$1"
        tail -n 1 out | grep -oE '"result": ?"(pivoted|finished)"' >ends
        [ "$(sort -u ends | wc -l)" = 1 ] || fail "not alike: $(cat ends)"
    else
        raw '{"execute": "query-jobs"}' >listing
        job=$(grep -oE 'qblk[^"]*copy"[^}]*ready|ready[^}]*qblk[^"]*copy' listing | grep -oE 'qblk[^"]*copy')
        q 0 job cancel "$job"
        q 0 --json recover
        tail -n 1 out | grep -oE '"result": ?"[a-z]+"' | grep -oE '[a-z]+"$' | sort | tr -d '"\n' >ends
        case $(<ends) in
        pivotedundone | finishedundone) ;;
        *) fail "they ended as $(cat ends)" ;;
        esac
    fi
    nothing_left
}

left() {
    make_long_chain
    start_two
    case $1 in
    async)
        q 0 --json copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --pivot --speed 64K --async
        both left
        ;;
    TERM)
        q_start --json copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --pivot --speed 64K
        both_run
        kill -TERM "$qblk_pid"
        wait "$qblk_pid"
        ;;
    timeout) q 4 --json --timeout 1 copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --speed 64K
        said out "2 operations were left as they are" ;;
    esac
    q 0 --json recover --undo
    nothing_left
    [ ! -e a.qcow2 ] && [ ! -e b.qcow2 ] || fail "the targets are still there"
}

dry_run() {
    make_chain
    start_two
    remember
    q 0 --dry-run copy "vd0=$dir/a.qcow2" "vd1=$dir/b.qcow2" --pivot
    [ "$(grep -c '"blockdev-mirror"' out)" = 2 ] || fail "not two mirrors: $(cat out)"
    unchanged
}

run_test "two disks pivot together" together pivot pivoted job-complete
run_test "two disks finish together" together finish finished block-job-cancel
run_test "one is refused, and nothing changed" refused_one
run_test "two disks, cancelled by Ctrl-C" cancelled
run_test "one is cancelled by somebody, and both are undone" one_cancelled
run_test "two disks kept, then pivoted" kept pivot pivoted
run_test "two disks kept, then finished" kept finish finished
for how in pivot finish; do
    run_test "two disks kept, one ended by hand: $how" one_ended "$how" alike
    run_test "two disks kept, one ended by hand, the other one cancelled: $how" one_ended "$how" apart
done
run_test "two disks kept, then undone" kept undo undone
run_test "killed, and both go on" killed nothing
run_test "killed, and one has failed meanwhile: both are undone" killed one-gone
run_test "killed, and one has pivoted meanwhile: the other follows" killed one-pivoted
run_test "two disks left by --async" left async
run_test "two disks left by SIGTERM" left TERM
run_test "two disks left by --timeout" left timeout
run_test "a dry run tells both" dry_run
finish
