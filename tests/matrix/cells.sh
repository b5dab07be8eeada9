# tests/matrix/cells.sh - the operations, the worlds and the outcomes of tests/matrix/matrix.sh.
# shellcheck shell=bash disable=SC2154 # variables of lib.sh and of matrix.sh

# ---- the operations -------------------------------------------------------------------------------
# name       what is asked; disk and target are put in
# reads      the image in which a read is made to fail
# writes     the image that is written to: a write there fails, or its file system is full
# done       the result
# chain      the disk's images afterwards, top first
# content    the image that is looked into afterwards, and as of when: the job's start, its end, or
#            "live" if it is what the guest writes to
# with       the images that it needs
operations() {
    sed -E '/^#|^$/d; s/ *\| */|/g' <<'TABLE'
pull-whole          | pull DISK                                    | base | top  | completed | top           | top live   | top
pull-base           | pull DISK --base @2                          | mid  | top  | completed | top base      | top live   | top base
commit-middle       | commit DISK --top @1 --base @2               | mid  | base | completed | top base      | top live   | top base
commit-pivot        | commit DISK --pivot                          | mid  | base | pivoted   | base          | base live  | base
commit-finish       | commit DISK --finish                         | top  | base | finished  | top mid base  | base end   | base
commit-next         | commit DISK --base @1 --pivot                | top  | mid  | pivoted   | mid base      | mid live   | mid base
copy-finish         | copy DISK TARGET --finish                    | base | copy | finished  | top mid base  | copy end   | copy
copy-pivot          | copy DISK TARGET --pivot                     | mid  | copy | pivoted   | copy          | copy live  | copy
copy-shallow-finish | copy DISK TARGET --shallow --finish          | top  | copy | finished  | top mid base  | copy end   | copy mid base
copy-shallow-pivot  | copy DISK TARGET --shallow --pivot           | top  | copy | pivoted   | copy mid base | copy live  | copy mid base
copy-raw-pivot      | copy DISK TARGET --format raw --pivot        | base | copy | pivoted   | copy          | copy live  | copy
copy-reuse-pivot    | copy DISK TARGET --reuse-external --pivot    | mid  | copy | pivoted   | copy          | copy live  | copy
copy-legacy-finish  | copy DISK TARGET --legacy --finish           | base | copy | finished  | top mid base  | copy end   | copy
copy-legacy-pivot   | copy DISK TARGET --legacy --pivot            | mid  | copy | pivoted   | copy          | copy live  | copy
backup-full         | backup DISK TARGET                           | base | copy | completed | top mid base  | copy start | copy
backup-top          | backup DISK TARGET --sync top                | top  | copy | completed | top mid base  | copy start | copy mid base
backup-raw          | backup DISK TARGET --format raw              | mid  | copy | completed | top mid base  | copy start | copy
TABLE
}

# define NAME: from the table into variables
define() {
    local row words word
    row=$(operations | grep "^$1|") || fail "no operation is called $1"
    IFS='|' read -r op words reads writes done_as chain content with <<<"$row"
    read -r content as_of <<<"$content"
    kind=${words%% *} target='' args=() kept_args=()
    for word in $words; do
        case $word in
        DISK) word=vd0 ;;
        TARGET) word=$dir/copy.qcow2 target=copy.qcow2 ;;
        esac
        args+=("$word")
    done
    case $op in
    *-raw*) target=copy.raw ;;
    esac
    [ -z "$target" ] || args[2]=$dir/$target
    has_ready='' forgive=''
    case $op in
    copy-*) has_ready=yes ;;
    commit-pivot | commit-finish | commit-next)
        # QEMU leaves the base of an active commit open for writing, however it ended.
        has_ready=yes forgive='s/"resize","write",//'
        ;;
    esac
    for word in "${args[@]}"; do
        case $word in
        --pivot | --finish) word=--keep ;;
        esac
        kept_args+=("$word")
    done
}

# file_of IMAGE: the name of its file
file_of() {
    case $1 in
    copy) echo "$target" ;;
    *) echo "$1.qcow2" ;;
    esac
}

# ---- images ---------------------------------------------------------------------------------------

# Each image has data of its own at the start, in the middle and at the end, so that there is a place
# that the job comes to first, half-way and last. What makes jobs last is compressed and takes no
# space: a mirror has 16 MiB in flight before it heeds its speed.
make_images() {
    local size=32M
    local base=("write -P 0x11 0 1M" "write -P 0x12 17M 512k" "write -P 0x13 30M 512k")
    local mid=("write -P 0x21 896k 1152k" "write -P 0x22 17920k 512k" "write -P 0x23 30976k 768k")
    local top=("write -P 0x31 1920k 384k" "write -P 0x32 18M 256k" "write -P 0x33 31M 512k")
    local bulk=("write -P 0x34 8M 9M" "write -P 0x35 18688k 9536k")
    "$QEMU_IMG" create -q -f qcow2 base.qcow2 "$size" &&
        "$QEMU_IMG" create -q -f raw reference.raw "$size" &&
        "$QEMU_IMG" create -q -f qcow2 other.qcow2 1M || fail "qemu-img create failed"
    io base.qcow2 qcow2 "${base[@]}"
    io other.qcow2 qcow2 "write -P 0x77 0 128k"
    io reference.raw raw "${bulk[@]}"
    "$QEMU_IMG" convert -c -f raw -O qcow2 reference.raw top.qcow2 &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b base.qcow2 mid.qcow2 &&
        "$QEMU_IMG" rebase -u -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2 || fail "qemu-img failed"
    io mid.qcow2 qcow2 "${mid[@]}"
    io top.qcow2 qcow2 "${top[@]}"
    io reference.raw raw "${base[@]}" "${mid[@]}" "${top[@]}" "${bulk[@]}"
    same top.qcow2 qcow2
    local at
    for at in base:0 base:17408 base:30912 mid:896 mid:17920 mid:31680 top:1920 top:18432 top:32192; do
        echo "${at%:*} $(host_of "${at%:*}.qcow2" "${at#*:}")"
    done >places
    grep -qv ' [0-9]' places && fail "no place in an image: $(cat places)"
    return 0
}

# host_of IMAGE KIB: where in its file the cluster is that the guest has there
host_of() {
    "$QEMU_IMG" map --output=json "$1" | sed 's/[^0-9a-z ]//g' | awk -v at=$(($2 * 1024)) '{
        for (i = 1; i < NF; i++) value[$i] = $(i + 1)
        if (value["depth"] == 0 && value["data"] == "true" && at >= value["start"] + 0 &&
            at < value["start"] + value["length"])
            print value["offset"] + at - value["start"]
    }'
}

# What a guest writes meanwhile: whole clusters in data of each image, and where there is none; none
# where a fault is.
busy_guest() {
    guest_write 0x51 128k 64k 0x52 1M 128k 0x53 4M 128k 0x54 12M 64k 0x55 30M 64k 0x56 31M 64k
}

# ---- the worlds -----------------------------------------------------------------------------------
# start_cell [IMAGE OFFSET TYPE ERRNO ONCE]: a QEMU, in which that read or write of that image fails

# fault PREFIX: the options of a blkdebug node
fault() {
    printf '%s' "$1inject-error.0.event=none,$1inject-error.0.iotype=$fault_type," \
        "$1inject-error.0.sector=$((fault_at / 512)),$1inject-error.0.errno=$fault_errno," \
        "$1inject-error.0.once=$fault_once"
}

add_blockdev() {
    local image=$1 options=$2
    bars+=(-blockdev "file,node-name=$image-file,filename=$dir/$image.qcow2")
    if [ "$image" = "$faulty" ]; then
        bars+=(-blockdev "blkdebug,node-name=$image-fault,image=$image-file,$(fault '')")
        options="file=$image-fault$options"
    else
        options="file=$image-file$options"
    fi
    bars+=(-blockdev "qcow2,node-name=$image,$options")
}

start_cell() {
    local bars=() drive prefix=''
    faulty=${1-} fault_at=${2-} fault_type=${3-} fault_errno=${4-} fault_once=${5-}
    disk=vd0 machine=microvm writer=/machine/peripheral/vd0
    case $world in
    blockdev)
        add_blockdev base ,read-only=on
        add_blockdev mid ,backing=base,read-only=on
        add_blockdev top ,backing=mid
        bars+=(-device virtio-blk-device,id=vd0,drive=top)
        root_name=top
        ;;
    drive)
        drive="file=$dir/top.qcow2,format=qcow2,if=none,id=drive0"
        case $faulty in
        mid) prefix=backing. ;;
        base) prefix=backing.backing. ;;
        esac
        [ -z "$faulty" ] || drive="$drive,${prefix}file.driver=blkdebug,$(fault "${prefix}file.")"
        bars+=(-drive "$drive" -device virtio-blk-device,id=vd0,drive=drive0)
        root_name=drive0
        ;;
    esac
    FAULTY_RULE=$dir/before.rule LD_PRELOAD=${with_faulty:+$faulty_so} start_qemu -m 16 "${bars[@]}" \
        -blockdev "file,node-name=other-file,filename=$dir/other.qcow2,read-only=on" \
        -blockdev qcow2,node-name=other,file=other-file,read-only=on
    # Somebody else's disk and export, which are nobody's business.
    raw '{"execute": "nbd-server-start", "arguments": {"addr": {"type": "unix",
          "data": {"path": "'"$dir"'/nbd"}}}}' \
        '{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "theirs.export",
          "node-name": "other"}}' >replies || fail "no export: $(cat replies)"
    rm replies
}

# chart_is IMAGE...: the whole graph, edge by edge, whatever the nodes are called
chart_is() {
    local image above=backend role=root file format
    {
        for image; do
            file=$(file_of "$image")
            format=${file##*.}
            echo "$above $role $file $format"
            if [ "$image" = "$faulty" ]; then
                echo "$file $format file $file blkdebug"
                echo "$file blkdebug image $file file"
            else
                echo "$file $format file $file file"
            fi
            above="$file $format" role=backing
        done
        echo "backend root other.qcow2 qcow2"
        echo "other.qcow2 qcow2 file other.qcow2 file"
    } | LC_ALL=C sort >before.chart
    "$rawqmp" m1 chart >after.chart || fail "cannot read the graph"
    cmp -s before.chart after.chart ||
        fail "the graph is another: $(diff before.chart after.chart | grep '^[<>]' | tr '\n' ' ')"
}

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
    chart_is top mid base
    guest_write 0x59 6M 64k 0x5a 31M 64k
    stop_qemu
    [[ $op != *-reuse-* ]] || rm "$target"
    sound
    same top.qcow2 qcow2
}

# other_files LIST: but for the target
other_files() {
    grep -vxF -e "./$target" -e "./small/$target" "$1"
}

# It is done, and looks as it should; what the result no longer needs is out of its reach.
as_done() {
    local file format image
    result result "${1:-$done_as}"
    nothing_left
    "$rawqmp" m1 state | grep -E '^(export|bitmap)' >after.exports
    grep -E '^(export|bitmap)' before | cmp -s - after.exports ||
        fail "the exports or bitmaps are others: $(tr '\n' ' ' <after.exports)"
    # shellcheck disable=SC2086 # a list
    chart_is $chain
    file=$(file_of "$writes")
    stat -L -c %s "$file" >after.size
    [ "$as_of" != end ] || cp reference.raw after.raw
    guest_write 0x59 6M 64k 0x5a 31M 64k
    stop_qemu
    files >after.files
    diff <(other_files before.files) <(other_files after.files) >after.diff ||
        fail "files have come or gone: $(grep '^[<>]' after.diff | tr '\n' ' ')"
    # shellcheck disable=SC2046 # names without spaces
    (md5sum --status -c <(grep -xE "[0-9a-f]+  \./($(spared | tr '\n' '|')other.qcow2)" before.sums)) ||
        fail "an image was written to that should not have been"
    sound
    file=$(file_of "$content") format=${file##*.}
    if [ "${chain%% *}" = top ]; then
        same top.qcow2 qcow2
    fi
    if [ "$op" = backup-top ] && ! info "$file" | grep -q '^backing file:'; then
        "$QEMU_IMG" rebase -u -f qcow2 -F qcow2 -b mid.qcow2 "$file" || fail "qemu-img rebase failed"
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
    *-reuse-*) "$QEMU_IMG" create -q -f qcow2 "$target" 32M || fail "no target" ;;
    esac
}

# begin ARG...: the operation in the background, held by its speed while the guest writes. Where a
# backup's target fails, so do the guest's writes, as QEMU has to save there what they overwrite: then
# the guest has written before.
begin() {
    local before_it=
    [ "$kind" != backup ] || [ -z "$with_faulty$faulty_disk" ] || before_it=yes
    [ -z "$before_it" ] || busy_guest
    [ "$as_of" != start ] || cp reference.raw before.raw
    remember
    remember_files
    q_start --json "$@" --speed 64K
    wait_job "$kind" running
    [ -n "$before_it" ] || busy_guest
}

# release: without its brake. A job that has failed already has none.
release() {
    raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}' ||
        [ "${1-}" = anyhow ] || fail "the job is gone"
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
    if [ -n "$target" ] && [[ $op != *-reuse-* ]]; then
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

# failing: the job is running or has failed already; it must fail, in QEMU's words, and leave no trace
failing() {
    begin "${args[@]}"
    release anyhow
    q_ended 1
    said out "\"error\".*$1"
    as_before
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
    if [ -n "$target" ]; then
        echo "$target $at 5" >before.rule
        with_faulty=yes
        start_cell
    else
        # Once, so that no write of the guest's meets it later.
        start_cell "$writes" "$at" write 5 on
    fi
    failing 'Input/output error'
}

# Not even the target can be made.
run_create() {
    prepare
    echo "$target 0 28" >before.rule
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
    [ -z "$target" ] || args[2]=$dir/small/$target
    begin "${args[@]}" --on-error stop
    release
    wait_event "BLOCK_JOB_ERROR $job *"
    wait_said out '"nospace"'
    make_room
    "$qblk" -s m1 job resume "$job" >out.resume 2>&1 || fail "job resume: $(cat out.resume)"
    q_ended 0
    [ -z "$target" ] || ln -s "small/$target" "$target"
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

# applies OUTCOME: whether there is such a thing for this operation
applies() {
    case $1 in
    ready-* | kept-*) [ -n "$has_ready" ] ;;
    create) [ -n "$target" ] && [[ $op != *-reuse-* ]] ;;
    *) true ;;
    esac
}
