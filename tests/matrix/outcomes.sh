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

# measures: what the graph does not tell of a device's disk: its size and its limits. (Nothing that
# changes them is for the storage daemon.)
measures() {
    [ "$world" = qsd ] ||
        raw '{"execute": "query-block"}' | grep -oE '"(bps|iops|virtual-size)[a-z_]*": ?[0-9]+'
}

# note_all: how everything is now
note_all() {
    remember
    remember_files
    measures >before.measures
}

# all_unchanged FILE...: it is so still, and these files hold what they held
all_unchanged() {
    unchanged
    files_unchanged "$@"
    measures >after.measures
    cmp -s before.measures after.measures ||
        fail "sizes or limits were changed: $(diff before.measures after.measures | tr '\n' ' ')"
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
    nothing_left
    # shellcheck disable=SC2046 # names without spaces
    all_unchanged other.qcow2 $(spared)
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

# measured_well: the disk has the size and the limits that it should have
measured_well() {
    local size=$((${size_after%M} << 20)) limits='"bps":0 "iops":0'
    [ "$kind" != throttle ] || limits='"bps":67108864 "iops":500'
    raw '{"execute": "query-named-block-nodes", "arguments": {"flat": true}}' |
        grep -q "\"virtual-size\":$size[,}]" || fail "no node has $size bytes"
    [ "$world" != qsd ] || return 0
    raw '{"execute": "query-block"}' | grep -oE '"(bps|iops)":[0-9]+' | head -n 2 | paste -sd ' ' >after.raw
    [ "$(cat after.raw)" = "$limits" ] || fail "the limits are $(cat after.raw), not $limits"
    raw '{"execute": "query-block"}' | grep -q "\"virtual-size\":$size[,}]" ||
        fail "no device sees $size bytes"
}

# It is done, and looks as it should; what the result no longer needs is out of its reach.
as_done() {
    local file format image
    result result "${1:-$done_as}"
    nothing_left
    [ "$kind" = detach ] || measured_well
    state_now >after
    cmp -s <(exports before) <(exports after) || fail "the exports are others: $(exports after)"
    charts_are "$chain" "$second"
    file=$(file_of "$writes")
    stat -L -c %s "$file" >after.size
    [ "$as_of" != end ] || cp reference.raw after.raw
    truncate -s "$size_after" reference.raw
    [ "$kind" = detach ] || guest_write 0x59 6M 64k 0x5a "$late" 64k
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
    file=$(file_of "${chain:+${chain%% *}}")
    [ -n "$chain" ] || file=top.qcow2
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
    copy-reuse* | *-json* | *-nbd* | swap*)
        "$QEMU_IMG" create -q -f "${target##*.}" "$target" "$target_size" || fail "no target"
        ;;
    snapshot*-reuse)
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/top.qcow2" "$target" || fail "no target"
        [ -z "$new2" ] ||
            "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$dir/other.qcow2" "$new2" || fail "no target"
        ;;
    esac
}

# begin ARG...: the operation in the background, held by its speed while the guest writes. Where a
# backup's target fails, so do the guest's writes, as QEMU has to save there what they overwrite: then
# the guest has written before; so it has where there is no job. $guest_waits: it writes once the job has
# failed, so that the fault is not met by its writes. $guest_first: it has written before.
begin() {
    local before_it=$guest_first
    [ -n "$has_job" ] || before_it=yes
    [ "$kind" != backup ] || [ -z "$with_faulty$faulty_disk" ] || before_it=yes
    [ -z "$before_it" ] || busy_guest
    [ "$as_of" != start ] || cp reference.raw before.raw
    note_all
    if [ -z "$has_job" ]; then
        q_start --json "$@"
        return
    fi
    q_start --json "$@" --speed 64K
    wait_job "$kind" running
    [[ $op != copy-two-* ]] || wait_second
    [ -z "$guest_waits" ] || wait_event "JOB_STATUS_CHANGE $job concluded *"
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

# job_of_theirs: the command that starts a job of somebody else's on the disk; on all of its images for
# what leaves the upper ones alone
job_of_theirs() {
    case $op in
    pull-into)
        echo '{"execute": "block-stream", "arguments": {"job-id": "theirs", "device": "'"$root_name"'",
               "speed": 1, "auto-dismiss": false}}'
        ;;
    *)
        echo '{"execute": "blockdev-backup", "arguments": {"job-id": "theirs", "target": "sink",
               "device": "'"$root_name"'", "sync": "full", "speed": 1, "auto-dismiss": false}}'
        ;;
    esac
}

# Refused, since somebody else's job holds the disk, or since the target is somebody's.
run_refused() {
    prepare
    start_cell
    refused_here && return
    if [ -n "$is_new" ]; then
        echo "user's own" >"$target"
        note_all
        q 6 --json "${args[@]}"
        said out "\"target-exists\".*$target.*reuse-external"
        all_unchanged top.qcow2 mid.qcow2 base.qcow2 "$target"
        rm "$target"
    fi
    raw '{"execute": "blockdev-add", "arguments": {"driver": "null-co", "node-name": "sink",
          "size": 33554432}}' "$(job_of_theirs)" || fail "cannot start the other job"
    guest_write 0x51 128k 64k
    note_all
    q 6 --json "${args[@]}"
    # QEMU 5.2 and 7.2 may not be asked about their nodes while there is a stream job, and nothing else
    # tells of the disks of a storage daemon.
    if [ "$world,$op" = qsd,pull-into ]; then
        said out '"(busy|hazard)".*theirs'
    else
        said out '"busy".*theirs'
    fi
    all_unchanged top.qcow2 mid.qcow2 base.qcow2
    raw '{"execute": "job-cancel", "arguments": {"id": "theirs"}}'
    wait_event "JOB_STATUS_CHANGE theirs concluded *"
    raw '{"execute": "job-dismiss", "arguments": {"id": "theirs"}}' \
        '{"execute": "blockdev-del", "arguments": {"node-name": "sink"}}' || fail "cannot clean up"
    remember
    measures >before.measures
    as_before
}

# refuse STATUS WORD PATTERN [ARG...]: with that code, in those words; nothing is changed
refuse() {
    local status=$1 word=$2 pattern=$3
    shift 3
    note_all
    q "$status" --json "${@:-${args[@]}}"
    result code "$word"
    said out "$pattern"
    all_unchanged top.qcow2 mid.qcow2 base.qcow2
}

# refused_here: where that has nothing to do with jobs. In the storage daemon it is said what has to be a
# device, and what an export keeps from being done.
refused_here() {
    case $world,$op in
    qsd,throttle) refuse 6 unsupported 'throttle-group' ;;
    qsd,detach) refuse 6 unsupported 'no device uses disk top' ;;
    qsd,resize*) refuse 6 busy 'cannot be resized while an export uses node top.*block-export-del' ;;
    qsd,swap-re* | qsd,swap-raw*)
        refuse 6 busy 'cannot be resized while an export uses node top.*block-export-del'
        ;;
    *,throttle) refuse 2 argument 'bps-max' throttle vd0 --bps-max 2M ;;
    *,resize* | *,swap-re* | *,swap-raw*)
        raw "$(export_of vd0)" >after.raw || fail "no export"
        refuse 6 busy 'an export uses node.*block-export-del'
        raw '{"execute": "block-export-del", "arguments": {"id": "theirs.vd0"}}' >after.raw
        wait_event "BLOCK_EXPORT_DELETED *"
        [ "$op" != resize-shrink ] || refuse 6 size-mismatch 'say --shrink' resize vd0 "$size_after"
        return 1
        ;;
    *) return 1 ;;
    esac
    as_before
}

# fails PATTERN: it fails, in QEMU's words, and leaves no trace
fails() {
    q_ended 1
    said out "\"error\".*$1"
    ! grep -q '"job-failed"' out || said out '"error".* failed: .* [(]disk '
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
    if [ "$kind" = snapshot ]; then
        unmade "$(snapshot_place "$1")" 5 'Input/output error'
        return
    fi
    at=$(write_place "$1") || exit 1
    prepare
    [ "$writes$1" != topstart ] || guest_waits=yes
    # 7.2 uses memory that it has freed, and may die, where a write of the guest's that an active copy makes on
    # the target too is what fails.
    [[ $op != *-active* ]] || guest_first=yes
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
    release anyhow # of two, one is gone as soon as the other has failed
    fails 'Input/output error'
}

# snapshot_place start|middle|end: where the making of the (last) overlay writes
snapshot_place() {
    echo $(($(place_number "$1") * 65536 - 65536))
}

# unmade OFFSET ERRNO PATTERN: the target cannot be made, as it cannot be written to beyond that
unmade() {
    prepare
    echo "${new2:-$target} $1 $2" >before.rule
    with_faulty=yes
    start_cell
    note_all
    q 1 --json "${args[@]}"
    said out "\"error\".*$3"
    as_before
}

# Not even the target can be made.
run_create() {
    unmade 0 28 'No space left on device'
}

# Without a job: it is QEMU that will not, or the guest.
run_failed() {
    local status=1 pattern
    prepare
    case $kind in
    resize) with_faulty=yes pattern='Input/output error' ;;
    throttle) args+=(--bps-max 2048T) pattern='must be (within|in the range)' ;;
    detach)
        guest_ignores=yes status=4 pattern='in 2 tries of 0.05 s'
        args+=(--tries 2 --interval 0.05)
        ;;
    esac
    start_cell
    busy_guest
    note_all
    [ "$kind" != resize ] || echo "top.qcow2 0 5" >before.rule
    q "$status" --json "${args[@]}"
    said out "\"error\".*$pattern"
    rm -f before.rule
    if [ "$kind" = resize ]; then
        said out 'may count on the new size'
        as_before_but_size
    else
        as_before
    fi
}

# QEMU has changed its mind about the size before it failed, until the image is opened anew. What it was
# told to cut off may be lost, nothing else.
as_before_but_size() {
    unchanged
    nothing_left
    files_unchanged other.qcow2 mid.qcow2 base.qcow2
    charts_are "top mid base" other
    guest_write 0x59 6M 64k 0x5a "$late" 64k
    stop_qemu
    sound
    "$QEMU_IMG" convert -O raw top.qcow2 after.raw || fail "top.qcow2 cannot be read"
    [ "$op" != resize-shrink ] || truncate -s "$size_after" after.raw reference.raw
    "$QEMU_IMG" compare -q -f raw -F raw after.raw reference.raw ||
        fail "what is within both sizes is not what the guest should see"
}

run_ctrl-c() {
    prepare
    [ "$kind" != detach ] || guest_ignores=yes
    start_cell
    begin "${args[@]}"
    [ -n "$has_job" ] || wait_said out '"event": "step"'
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
