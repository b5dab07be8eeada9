# tests/matrix/outcomes.sh - the outcomes of the matrix, and what is looked at after each
# shellcheck shell=bash disable=SC2034,SC2154 # variables of lib.sh and of the others

# ---- verdicts -------------------------------------------------------------------------------------

# The images below the top that the operation has no business to write to
spared() {
    local image
    for image in mid base; do
        [ "$image" = "$writes" ] || echo "$image.qcow2"
    done
}

sound() {
    local file
    for file in *.qcow2; do
        "$QEMU_IMG" check -q -f qcow2 "$file" || fail "qemu-img check finds fault with $file"
    done
}

# Nothing has happened: the graph edge by edge, jobs, exports and files are as before; the guest goes
# on writing, and sees what it should.
as_before() {
    unchanged
    nothing_left
    # shellcheck disable=SC2046 # names without spaces
    files_unchanged other.qcow2 $(spared)
    charts_are "top mid base" other
    guest_write 0x59 6M 64k 0x5a 31M 64k
    stop_qemu
    stop_server
    [ -n "$is_new" ] || rm -f "$target"
    sound
    same top.qcow2 qcow2
}

# exports STATE: without their nodes, since those of the disk move with it
exports() {
    awk '$1 == "export" { print $2, $3, $5 }' "$1"
}

# other_files LIST: but for the targets
other_files() {
    grep -vxF -e "./$target" -e "./small/$target" -e "./$new2" "$1"
}

# It is done, and looks as it should; what the result no longer needs is out of its reach.
as_done() {
    local file format image
    result result "${1:-$done_as}"
    nothing_left
    state_now >after
    cmp -s <(exports before) <(exports after) || fail "the exports are others: $(exports after)"
    charts_are "$chain" "$second"
    file=$(file_of "$writes")
    stat -L -c %s "$file" >after.size
    [ "$as_of" != end ] || cp reference.raw after.raw
    guest_write 0x59 6M 64k 0x5a 31M 64k
    stop_qemu
    stop_server
    files >after.files
    diff <(other_files before.files) <(other_files after.files) >after.diff ||
        fail "files have come or gone: $(grep '^[<>]' after.diff | tr '\n' ' ')"
    # shellcheck disable=SC2046 # names without spaces
    (md5sum --status -c <(grep -xE "[0-9a-f]+  \./($(spared | tr '\n' '|')other.qcow2)" before.sums)) ||
        fail "an image was written to that should not have been"
    sound
    # What the next incremental backup is made from is in the image that the guest writes to.
    file=$(file_of "${chain%% *}")
    [ "$file" = copy.raw ] || info "$file" | tr -s '\n ' ' ' |
        grep -q 'bitmaps: \[0\]: flags: \[0\]: auto name: since ' || fail "$file has no such bitmap"
    file=$(file_of "$content") format=${file##*.}
    if [ "${chain%% *}" = top ]; then
        same top.qcow2 qcow2
    fi
    if [ "$op" = backup-top ] && ! info "$file" | grep -q '^backing file:'; then
        "$QEMU_IMG" rebase -u -f qcow2 -F qcow2 -b mid.qcow2 "$file" || fail "qemu-img rebase failed"
    fi
    if [ -n "$new2" ]; then
        same "$new2" "${new2##*.}" "$template/other.raw"
    fi
    for image in base mid top; do
        [[ " $with " == *" $image "* ]] || rm -f "$image.qcow2"
    done
    case $as_of in
    start) same "$file" "$format" before.raw ;;
    end) same "$file" "$format" after.raw ;;
    live) same "$file" "$format" ;;
    esac
}

# ---- the outcomes ---------------------------------------------------------------------------------

prepare() {
    cp "$template"/{base,mid,top,other}.qcow2 "$template"/reference.raw . || fail "no images"
    case $op in
    copy-reuse* | *-json* | *-nbd*)
        "$QEMU_IMG" create -q -f "${target##*.}" "$target" 32M || fail "no target"
        ;;
    snapshot-reuse*)
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/top.qcow2" "$target" || fail "no target"
        ;;
    esac
}

# begin ARG...: the operation in the background, held by its speed while the guest writes. Where a
# backup's target fails, so do the guest's writes, as QEMU has to save there what they overwrite: then
# the guest has written before; so it has where there is no job.
begin() {
    local before_it=
    [ -n "$has_job" ] || before_it=yes
    [ "$kind" != backup ] || [ -z "$with_faulty$faulty_disk" ] || before_it=yes
    [ -z "$before_it" ] || busy_guest
    [ "$as_of" != start ] || cp reference.raw before.raw
    remember
    remember_files
    if [ -z "$has_job" ]; then
        q_start --json "$@"
        return
    fi
    q_start --json "$@" --speed 64K
    wait_job "$kind" running
    [[ $op != copy-two-* ]] || wait_second
    [ -n "$before_it" ] || busy_guest
}

# wait_second: the other job runs too, unless one has failed already; sets $second_job
wait_second() {
    while [ -z "$second_job" ]; do
        wait_event "JOB_STATUS_CHANGE qblk.????????.copy *"
        case $event in
        *' concluded '*) return ;;
        *' running '*) [ "$(job_of)" = "$job" ] || second_job=$(job_of) ;;
        esac
    done
}

# release: without its brake. A job that has failed already has none.
release() {
    local id
    [ -n "$has_job" ] || return 0
    for id in $job $second_job; do
        raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$id"'", "speed": 0}}' ||
            [ "${1-}" = anyhow ] || fail "the job is gone"
    done
}

run_success() {
    prepare
    start_cell
    begin "${args[@]}"
    release
    q_ended 0
    as_done
    cp after.size "$template/size.$op.$world"
}

# Refused, since somebody else's job holds the disk, or since the target is somebody's.
run_refused() {
    prepare
    start_cell
    if [ -n "$is_new" ]; then
        echo "user's own" >"$target"
        remember
        remember_files
        q 6 --json "${args[@]}"
        said out "\"target-exists\".*$target.*reuse-external"
        unchanged
        files_unchanged top.qcow2 mid.qcow2 base.qcow2 "$target"
        rm "$target"
    fi
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "sink",
          "size": 33554432}}' \
        '{"execute": "blockdev-backup", "arguments": {"job-id": "theirs", "device": "'"$root_name"'",
          "target": "sink", "sync": "full", "speed": 1, "auto-dismiss": false}}' ||
        fail "cannot start the other job"
    guest_write 0x51 128k 64k
    remember
    remember_files
    q 6 --json "${args[@]}"
    said out '"busy".*theirs'
    unchanged
    files_unchanged top.qcow2 mid.qcow2 base.qcow2
    raw '{"execute": "job-cancel", "arguments": {"id": "theirs"}}'
    wait_event "JOB_STATUS_CHANGE theirs concluded *"
    raw '{"execute": "job-dismiss", "arguments": {"id": "theirs"}}' \
        '{"execute": "blockdev-del", "arguments": {"node-name": "sink"}}' || fail "cannot clean up"
    remember
    as_before
}

# fails PATTERN: it fails, in QEMU's words, and leaves no trace
fails() {
    q_ended 1
    said out "\"error\".*$1"
    as_before
}

# failing PATTERN: the job may have failed before the brake is off
failing() {
    begin "${args[@]}"
    release anyhow
    fails "$1"
}

# run_read start|middle|end
run_read() {
    local at
    at=$(grep "^$reads " "$template/places" | sed -n "$(place_number "$1")s/.* //p")
    prepare
    start_cell "$reads" "$at" read 5 off
    failing 'Input/output error'
}

place_number() {
    case $1 in
    start) echo 1 ;;
    middle) echo 2 ;;
    end) echo 3 ;;
    esac
}

# write_place start|middle|end: where the file that is written to gets its first new cluster, its last
# one, or one between, as in the run that went well
write_place() {
    local from to=0
    from=$(stat -c %s "$template/$(file_of "$writes")" 2>/dev/null || echo 393216)
    [ "$1" = start ] || to=$(cat "$template/size.$op.$world") ||
        fail "it is not known how much is written"
    [ "$target" != copy.raw ] || to=$((32192 * 1024 + 65536))
    case $1 in
    start) echo $(((from + 65535) / 65536 * 65536)) ;;
    middle) echo $(((from * 2 + to * 3) / 5 / 65536 * 65536)) ;;
    end) echo $(((to - 1) / 65536 * 65536)) ;;
    esac
}

# run_write start|middle|end
run_write() {
    local at
    at=$(write_place "$1") || exit 1
    prepare
    if [ -n "$target" ] && [[ $op != *-json* ]]; then
        echo "$target $at 5" >before.rule
        with_faulty=yes
        start_cell
    else
        # Once, so that no write of the guest's meets it later.
        start_cell "$writes" "$at" write 5 on
    fi
    failing 'Input/output error'
}

# The target cannot be flushed once the job runs. (A backup does not flush its target.)
run_flush() {
    prepare
    with_faulty=yes
    start_cell
    begin "${args[@]}"
    echo "$target -1 5" >before.rule
    release
    fails 'Input/output error'
}

# Not even the target can be made.
run_create() {
    prepare
    echo "${new2:-$target} 0 28" >before.rule
    with_faulty=yes
    start_cell
    remember
    remember_files
    q 1 --json "${args[@]}"
    said out '"error".*No space left on device'
    as_before
}

run_ctrl-c() {
    prepare
    start_cell
    begin "${args[@]}"
    kill -INT "$qblk_pid"
    q_ended 5
    said out '"cancelled"'
    as_before
}

cancel_job() {
    raw '{"execute": "job-cancel", "arguments": {"id": "'"$job"'"}}' || fail "cannot cancel"
}

run_cancel() {
    prepare
    start_cell
    begin "${args[@]}"
    cancel_job
    q_ended 5
    said out '"cancelled"'
    as_before
}

# Between READY and what the client says to that: it is made to hear of both at once.
run_ready-cancel() {
    prepare
    start_cell
    begin "${args[@]}"
    kill -STOP "$qblk_pid"
    release
    wait_event "BLOCK_JOB_READY $job *"
    cancel_job
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    kill -CONT "$qblk_pid"
    q_ended 5
    said out '"cancelled"'
    as_before
}

keep() {
    prepare
    start_cell
    begin "${kept_args[@]}"
    release
    q_ended 0
    result result kept
    guest_write 0x58 7M 64k 0x57 20M 64k
}

run_kept-undo() {
    keep
    q 0 --json recover --undo
    result result undone
    as_before
}

run_kept-cancel() {
    keep
    cancel_job
    wait_event "JOB_STATUS_CHANGE $job concluded *"
    q 0 --json recover
    result result undone
    as_before
}

# run_kept-end: by what the operation is otherwise told to do
run_kept-end() {
    keep
    case $done_as in
    pivoted) q 0 --json recover --pivot ;;
    finished) q 0 --json recover --finish ;;
    esac
    as_done
}

# The file system is full: the job waits, and goes on when there is room.
run_full() {
    local file
    prepare
    mkdir small
    file=$(file_of "$writes")
    fill_small "$file"
    faulty_disk=yes
    start_cell
    [ -z "$is_new" ] || args=("${args[@]/$dir\/$target/$dir/small/$target}")
    begin "${args[@]}" --on-error stop
    release
    # The event itself may have come while the other job of two was waited for.
    wait_said out '"nospace"'
    job=$(sed -nE '/"nospace"/ s/.*"job": \{"id": "([^"]+)".*/\1/p' out | head -n 1)
    make_room
    "$qblk" -s m1 job resume "$job" >out.resume 2>&1 || fail "job resume: $(cat out.resume)"
    q_ended 0
    [ -z "$is_new" ] || ln -s "small/$target" "$target"
    as_done
}

# fill_small FILE: the directory small has a MiB and a quarter to spare, in which the guest's writes
# have room. A file system of its own is mounted
# there, where that is allowed; otherwise writes fail as if.
fill_small() {
    local limit=1310720 spare=1310720
    if [ -n "$may_mount" ]; then
        mount -t tmpfs -o size=48m none small || fail "cannot mount"
    fi
    if [ -e "$1" ]; then
        limit=$(($(stat -c %s "$1") + spare))
        mv "$1" small/ && ln -s "small/$1" "$1" || fail "cannot move $1"
    fi
    if [ -n "$may_mount" ]; then
        fallocate -l $(($(stat -f -c '%a * %S' small) - spare)) small/filler || fail "no filler"
    else
        echo "small/$1 $limit 28" >before.rule
        with_faulty=yes
    fi
}

make_room() {
    rm -f small/filler before.rule
}
