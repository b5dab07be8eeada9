#!/usr/bin/env bash
# tests/kill/matrix.sh [-j N] [-o FILE] [PATTERN...] - the client is ended at every message of every
# operation, and `qblk recover` has to make it good. PATTERN: only cells whose names match.
#
# A cell is an operation, an instant and a way to end (cutproxy.c): on a fresh QEMU the operation
# runs until that instant, then recover runs, and what is there afterwards must be exactly what an
# undisturbed run leaves, or exactly what there was before: the graph edge by edge, the jobs, the
# files and what the guest sees in them. Which of the two follows from what QEMU had been told: the
# main job was started, or not. The instants are counted in a run of the operation to its end.
#
# Cells named OPERATION+undo and OPERATION+end kill recover itself, at each of its messages, after
# the operation was killed before or after the start of its job; another recover follows.
#
# And QEMU itself is killed under the client, after each command.
#
# A guest that an operation has frozen is thawed whatever happens; cells named OPERATION+agent kill
# the client at each message of its talk with the guest agent.
#
# The table goes to standard output and to FILE, then "N passed, N failed".
. "$(dirname "$0")/../live/lib.sh"

cutproxy=$build/tests/kill/cutproxy
agent_server=$build/tests/fake/agent_server
for needed in "$cutproxy" "$agent_server"; do
    [ -x "$needed" ] || { echo "not ok setup: no $needed; run make check-kill"; exit 1; }
done
# A cell waits now and then, so that one more than there are processors keeps them all busy.
workers=$(($(nproc) + 1)) table=$root/build/check/kill.table
while getopts j:o: option; do
    case $option in
    j) workers=$OPTARG ;;
    o) table=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
patterns=("$@")

operations=(pull-whole pull-base copy-finish copy-pivot copy-keep copy-shallow-pivot
    copy-legacy-pivot backup-full backup-top commit-middle pull-into pull-bottom
    commit-bitmaps pull-bitmaps commit-pivot copy-legacy-finish copy-reuse-pivot copy-raw-pivot
    refused-copy copy-two-pivot swap-pivot snapshot-one snapshot-three snapshot-reuse
    snapshot-quiesced)

# What is asked, the command that starts the job, how the result is called, the images that the
# disk's or the target's image no longer needs, and the image that the guest uses afterwards; further
# disks, each on an image of its own, and the files that are made for them.
define() {
    extra='' more_targets='' bitmap='' agent='' members=1
    start='' done_as='' alone='' disk_image=top.qcow2 target=copy.qcow2 touch='' reused='' image=''
    case $1 in
    pull-whole) args=(pull vd0) start=block-stream done_as=completed alone="base mid" ;;
    pull-base) args=(pull vd0 --base base) start=block-stream done_as=completed alone=mid ;;
    pull-into) args=(pull vd0 --into mid) start=block-stream done_as=completed alone=base ;;
    pull-bottom) args=(pull vd0 --bottom mid) start=block-stream done_as=completed alone=mid ;;
    pull-bitmaps) args=(pull vd0 --base base) start=block-stream done_as=completed alone=mid
        bitmap=top ;;
    copy-finish) args=(copy vd0 "$PWD/copy.qcow2" --finish) done_as=finished ;;
    copy-pivot) args=(copy vd0 "$PWD/copy.qcow2" --pivot) done_as=pivoted ;;
    copy-keep) args=(copy vd0 "$PWD/copy.qcow2" --keep) done_as=kept ;;
    copy-shallow-pivot) args=(copy vd0 "$PWD/copy.qcow2" --shallow --pivot)
        done_as=pivoted alone=top ;;
    copy-legacy-finish) args=(copy vd0 "$PWD/copy.qcow2" --legacy --finish) done_as=finished ;;
    copy-reuse-pivot) args=(copy vd0 "$PWD/copy.qcow2" --reuse-external --format qcow2 --pivot)
        done_as=pivoted reused=yes ;;
    copy-raw-pivot) args=(copy vd0 "$PWD/copy.raw" --format raw --pivot)
        done_as=pivoted target=copy.raw ;;
    # Two operations: the client is at the start of a job once both have been told to start.
    copy-two-pivot) args=(copy "vd0=$PWD/copy.qcow2" "d1=$PWD/copy1.qcow2" --pivot)
        done_as=pivoted extra=d1 more_targets=copy1.qcow2 members=2 ;;
    swap-pivot) args=(swap vd0 "$PWD/copy.qcow2" --resize 2M) done_as=pivoted reused=yes ;;
    copy-legacy-pivot) args=(copy vd0 "$PWD/copy.qcow2" --legacy --pivot) done_as=pivoted ;;
    backup-full) args=(backup vd0 "$PWD/copy.qcow2") done_as=completed ;;
    backup-top) args=(backup vd0 "$PWD/copy.qcow2" --sync top) done_as=completed alone=top ;;
    commit-middle) args=(commit vd0 --top mid --base base) start=block-commit done_as=completed
        alone=mid ;;
    commit-pivot) args=(commit vd0 --pivot) start=block-commit done_as=pivoted alone="top mid"
        image=base.qcow2 ;;
    commit-bitmaps) args=(commit vd0 --pivot) start=block-commit done_as=pivoted alone="top mid"
        image=base.qcow2 bitmap=base ;;
    snapshot-one) args=(snapshot "vd0=$PWD/copy.qcow2") ;;
    snapshot-three) args=(snapshot "vd0=$PWD/copy.qcow2" "d1=$PWD/copy1.qcow2" "d2=$PWD/copy2.qcow2")
        extra="d1 d2" more_targets="copy1.qcow2 copy2.qcow2" ;;
    snapshot-quiesced) args=(snapshot "vd0=$PWD/copy.qcow2" --quiesce "$PWD/agent") agent=yes ;;
    snapshot-reuse) args=(snapshot "vd0=$PWD/copy.qcow2" --reuse-external) reused=yes ;;
    refused-copy) args=(copy vd0 "$PWD/copy.qcow2" --finish) done_as=failed touch=copy.qcow2 ;;
    *) fail "no operation is called $1" ;;
    esac
    case $1 in
    copy-legacy*) start=drive-mirror ;;
    *copy* | swap*) start=blockdev-mirror ;;
    backup*) start=blockdev-backup ;;
    snapshot*) start=transaction done_as=completed disk_image=$target alone=' ' ;;
    esac
    case $1 in
    pull-* | commit-*) target=none ;;
    *-pivot) disk_image=$target ;;
    esac
    case $1 in
    pull-* | commit-middle) image=top.qcow2 ;;
    commit-pivot | commit-bitmaps) disk_image=$image ;;
    *) image=$target ;;
    esac
    [ -n "$alone" ] || alone="base mid top"
}

# ---- a scratch QEMU
# -------------------------------------------------------------------------------

make_template() {
    "$QEMU_IMG" create -q -f qcow2 base.qcow2 1M &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b base.qcow2 mid.qcow2 &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2 &&
        "$QEMU_IMG" create -q -f raw reference.raw 1M || fail "qemu-img create failed"
    io base.qcow2 qcow2 "write -P 0x11 0 512k"
    io mid.qcow2 qcow2 "write -P 0x22 64k 192k"
    io top.qcow2 qcow2 "write -P 0x33 128k 128k" "write -P 0x34 768k 64k"
    io reference.raw raw "write -P 0x11 0 512k" "write -P 0x22 64k 192k" \
        "write -P 0x33 128k 128k" "write -P 0x34 768k 64k"
    cp reference.raw written.raw
    io written.raw raw "write -P 0x55 640k 64k"
    "$QEMU_IMG" create -q -f qcow2 d1.qcow2 1M && "$QEMU_IMG" create -q -f raw other.raw 1M ||
        fail "qemu-img create failed"
    io d1.qcow2 qcow2 "write -P 0x66 0 128k"
    io other.raw raw "write -P 0x66 0 128k"
    cp d1.qcow2 d2.qcow2
}

# make_reused: what there is to be reused
make_reused() {
    case $op in
    snapshot*) "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b "$PWD/top.qcow2" "$target" ;;
    *) "$QEMU_IMG" create -q -f qcow2 "$target" 1M ;;
    esac || fail "no target"
}

# microvm without a firmware's worth of devices starts in a third of the time.
start_scratch() {
    local name more=()
    cp "$template"/*.qcow2 "$template"/*.raw . || fail "no images"
    [ -z "$reused" ] || make_reused
    for name in $extra; do
        more+=(-blockdev "file,node-name=$name-file,filename=$PWD/$name.qcow2"
            -blockdev "qcow2,node-name=$name-top,file=$name-file"
            -device "virtio-blk-device,id=$name,drive=$name-top")
    done
    "$QEMU" -nodefaults -display none -machine microvm,accel=tcg -m 16 -S \
        -qmp "unix:$PWD/m0,server=on,wait=off" -qmp "unix:$PWD/m1,server=on,wait=off" \
        -blockdev "file,node-name=base-file,filename=$PWD/base.qcow2" \
        -blockdev "qcow2,node-name=base,file=base-file,read-only=on" \
        -blockdev "file,node-name=mid-file,filename=$PWD/mid.qcow2" \
        -blockdev "qcow2,node-name=mid,file=mid-file,backing=base,read-only=on" \
        -blockdev "file,node-name=top-file,filename=$PWD/top.qcow2" \
        -blockdev "qcow2,node-name=top,file=top-file,backing=mid" \
        -device virtio-blk-device,id=vd0,drive=top "${more[@]}" >qemu.log 2>&1 </dev/null &
    qemu_pid=$!
    [ -z "$bitmap" ] || add_bitmaps
    [ -z "$agent" ] || start_agent
}

# A fake of the guest's agent; what it is asked goes to the file asked.
start_agent() {
    local line
    mkfifo ready
    "$agent_server" "$PWD/agent.real" "$PWD/asked" >ready 2>agent.log </dev/null &
    agent_pid=$!
    started=$agent_pid
    read -r -t "$patience" line <ready && [ "$line" = ready ] || fail "the agent did not start"
    ln -s agent.real agent
}

# Nothing that was frozen is so still.
see_thawed() {
    [ -n "$agent" ] || return 0
    ! grep -E 'fsfreeze-(freeze|thaw)$' asked | tail -n 1 | grep -q freeze$ ||
        fail "the guest is still frozen: $(tr '\n' ' ' <asked)"
}

end_agent() {
    [ -n "$agent" ] || return 0
    see_thawed
    kill -TERM "$agent_pid"
    wait "$agent_pid"
}

# A bitmap b in the top image, and a write that it knows of: 64 KiB that read the same.
add_bitmaps() {
    "$rawqmp" m1 run '{"execute": "block-dirty-bitmap-add", "arguments": {"node": "top", "name": "b",
        "persistent": true, "granularity": 65536}}' >/dev/null || fail "no bitmap"
    "$rawqmp" m1 hmp 'qemu-io -d /machine/peripheral/vd0 "write -P 0x34 768k 64k"' >/dev/null ||
        fail "the guest cannot write"
}

# It says neither less nor more than that at the node where it has to be.
see_bitmap() {
    [ -n "$bitmap" ] || return 0
    "$rawqmp" m1 run '{"execute": "query-named-block-nodes", "arguments": {"flat": true}}' >nodes
    grep -oE '\{[^{}]*"name": ?"b"[^{}]*\}' nodes >bitmap
    grep -qE '"count": ?65536[,}]' bitmap || fail "the bitmap is not what it was: $(cat bitmap)"
}

# state FILE: jobs, nodes and edges, without what is drawn by lot
state() {
    "$rawqmp" m1 state >state.raw 2>qmp.err || fail "QEMU does not answer: $(cat qmp.err)"
    sed -E 's/qblk\.[0-9a-f]{8}\./qblk.ID./g; s/#block[0-9]+/#block/g' state.raw | sort >"$1"
}

# cut MODE SIDE N REPORT ARG...: runs qblk behind the proxy; sets $status, $said_end
cut_at() {
    local mode=$1 side=$2 n=$3 report=$4 limit=()
    shift 4
    [ "$side" = - ] || limit=("-$side" "$n")
    rm -f p0
    "$cutproxy" -m "$mode" -p "$qemu_pid" "${limit[@]}" ${touch:+-t "$touch"} \
        ${stale:+-i "$stale"} m0 p0 "$report" "$qblk" -s "$PWD/p0" --json "$@" >out 2>err </dev/null
    status=$?
    [ "$status" != 70 ] || fail "the proxy failed: $(tail -n 2 err)"
    was_cut=no
    ! grep -qx cut "$report" || was_cut=yes
}

# cut_agent SIDE N REPORT ARG...: the same for SIGKILL at a message of the talk with the agent
cut_agent() {
    local side=$1 n=$2 report=$3 limit=()
    shift 3
    [ "$side" = - ] || limit=("-$side" "$n")
    rm -f agent
    "$cutproxy" -g "${limit[@]}" agent.real agent "$report" "$cutproxy" m0 p0 report \
        "$qblk" -s "$PWD/p0" --json "$@" >out 2>err </dev/null
    status=$?
    [ "$status" != 70 ] || fail "the proxy failed: $(tail -n 2 err)"
    was_cut=no
    ! grep -qx cut "$report" || was_cut=yes
    rm -f agent
    ln -s agent.real agent
}

# recover WHERE ARG...: sets $result to nothing, or to what recover calls the operation's result
recover() {
    timeout -k 5 "$patience" "$qblk" -s "$PWD/m0" --json recover "$@" >out 2>err </dev/null
    status=$?
    see_result
    [ "$status" = 0 ] ||
        fail "recover $* ended with $status: $(tail -n 1 out) $(tail -n 2 err | tr '\n' ' ')"
}

see_result() {
    local last
    last=$(tail -n 1 out)
    result=
    if [[ $last =~ \"result\":\ ?\"([a-z]+)\" ]]; then
        result=${BASH_REMATCH[1]}
    elif [[ $last =~ \"result\":\ ?\[\] ]]; then
        result=nothing
    fi
}

# ---- verdicts
# -------------------------------------------------------------------------------------

# told REPORT WORD: whether QEMU was sent that command, or one that concerns the journal node
told() {
    grep -qE "^> $2" "$1"
}

# all_told REPORT WORD: the same, of each of the operations
all_told() {
    [ "$(grep -cE "^> $2" "$1")" -ge "$members" ]
}

expect_state() {
    state now
    cmp -s "$1" now || fail "after $result the graph is not as $2:" \
        "$(diff "$1" now | grep '^[<>]' | tr '\n' ' ')"
}

# The guest still writes, and what it sees is right; QEMU ends as asked to.
see_disk() {
    local said
    said=$("$rawqmp" m1 hmp 'qemu-io -d /machine/peripheral/vd0 "write -P 0x55 640k 64k"' 2>&1)
    [ -z "$said" ] && ! grep -q failed qemu.log || fail "the guest cannot write: $said"
    kill -TERM "$qemu_pid"
    wait "$qemu_pid" || fail "QEMU died: $(tail -n 2 qemu.log)"
    qemu_pid=
}

# Images of further disks, to which nobody has written.
see_extra() {
    local name
    for name in $extra; do same "$name.qcow2" qcow2 other.raw; done
}

see_before() {
    local file
    expect_state "$template/before.$op" before
    see_bitmap
    see_disk
    same top.qcow2 qcow2 written.raw
    see_extra
    if [ -n "$touch" ]; then
        [ ! -e copy.qcow2 ] || [ "$(cat copy.qcow2)" = "user's own" ] ||
            fail "the user's file was changed"
    else
        [ -n "$reused" ] || [ ! -e "$target" ] || fail "the target's file was left behind"
    fi
    for file in $more_targets; do
        [ ! -e "$file" ] || fail "$file was left behind"
    done
}

# see_after [OPERATION]: as an undisturbed run of it leaves things
see_after() {
    local file
    expect_state "$template/after.${1:-$op}" "after an undisturbed run"
    see_bitmap
    see_disk
    [ "$disk_image" != top.qcow2 ] || same top.qcow2 qcow2 written.raw
    # The new image has to do without those that it replaces.
    for old in $alone; do rm -f "$old.qcow2"; done
    if [ "$disk_image" = "$image" ]; then
        same "$image" "${image##*.}" written.raw
    else
        same "$image" "${image##*.}"
    fi
    [ "$start" != transaction ] || same top.qcow2 qcow2
    see_extra
    for file in $more_targets; do same "$file" qcow2 other.raw; done
}

# A copy that is kept is one more operation to end: in each way in turn.
end_kept() {
    local id
    id=$(sed -nE 's/^> blockdev-mirror [^ ]+ qblk\.([0-9a-f]{8})\.copy$/\1/p' report)
    case $(($1 % 3)) in
    0)
        recover --operation "$id" --pivot
        [ "$result" = pivoted ] || fail "recover --pivot of a kept copy says $result"
        disk_image=$target
        ended_as=copy-pivot
        ;;
    1)
        recover --operation "$id" --finish
        [ "$result" = finished ] || fail "recover --finish of a kept copy says $result"
        ended_as=copy-finish
        ;;
    2)
        recover --operation "$id" --undo
        [ "$result" = undone ] || fail "recover --undo of a kept copy says $result"
        ended_as=
        ;;
    esac
}

# judge N: after recover; $was_late means that the last command may not have been carried out
judge() {
    local allowed journal='.* qblk\.[0-9a-f]{8}\.journal$' last=
    [ "$was_late" = no ] || last=$(grep '^>' report | tail -n 1)
    if [ -n "$touch" ]; then
        allowed="before:nothing before:undone"
    elif ! told report "blockdev-add$journal"; then
        allowed=before:nothing
        # A look at the target comes first; it is nobody's business whether it left a node.
        ! told report 'blockdev-add .*\.(probe|look)$' || allowed="before:nothing before:undone"
    elif told report "blockdev-del$journal" && ! all_told report "blockdev-del$journal"; then
        allowed=after:$done_as
    elif told report "blockdev-del$journal"; then
        allowed=after:nothing
        [ -z "$last" ] || allowed="after:nothing after:$done_as"
    elif all_told report "$start "; then
        allowed=after:$done_as
        [[ $last != *"$start "* ]] || allowed="after:$done_as before:undone"
    else
        allowed=before:undone
        [[ $last != *blockdev-add*journal ]] || allowed="before:undone before:nothing"
    fi
    # A recover before this one may have done it all and died with the news.
    [ "$was_recovered" = no ] || allowed="$allowed ${allowed%%:*}:nothing"
    [[ " $allowed " == *":$result "* ]] || fail "recover says '$result', not one of: $allowed"
    local first=$result ended_as=$op
    if [ "$result" = kept ]; then
        end_kept "$1"
    elif [ "$result" = nothing ] && [ "$op" = copy-keep ] && told report "$start "; then
        fail "a kept copy was forgotten"
    fi
    recover
    [ "$result" = nothing ] || fail "the second recover says $result"
    result=$first
    if [ -z "$ended_as" ]; then
        see_before
    elif [[ " $allowed " == *" after:$first "* ]]; then
        see_after "$ended_as"
    else
        see_before
    fi
}

# ---- cells
# ----------------------------------------------------------------------------------------

# Undisturbed, to count the messages and to see how things are before and after.
record() {
    op=$1 was_late=no was_recovered=no stale='' result=''
    define "$op"
    start_scratch
    state "$template/before.$op"
    cut_at kill - 0 report "${args[@]}"
    see_result
    if [ -n "$touch" ]; then
        [ "$status" = 1 ] || [ "$status" = 6 ] || fail "qblk ended with $status: $(tail -n 1 out)"
        see_before
    else
        [ "$status" = 0 ] || fail "qblk ended with $status: $(tail -n 1 out)"
        [ "$result" = "$done_as" ] || fail "the result is $result"
        state "$template/after.$op"
        if [ "$op" != copy-keep ]; then
            recover
            [ "$result" = nothing ] || fail "recover says $result after all is done"
            see_after
        fi
    fi
    cp report "$template/report.$op"
    end_agent
}

# The same for the talk with the agent.
record_agent() {
    op=$1 result=''
    define "$op"
    start_scratch
    cut_agent - 0 "$template/report.$op+agent" "${args[@]}"
    [ "$status" = 0 ] || fail "qblk ended with $status: $(tail -n 1 out)"
    grep -q '^> guest-fsfreeze-thaw ' "$template/report.$op+agent" ||
        fail "the guest was not thawed"
    end_agent
}

# The same for recover, after the operation was killed before or after the start of its job.
record_recover() {
    op=$1 was_late=no was_recovered=no stale='' result=''
    define "$op"
    start_scratch
    cut_at kill c "$(killed_at "$op" "$2")" report "${args[@]}"
    touch=
    cut_at kill - 0 "$template/report.$op+$2" recover
    [ "$status" = 0 ] || fail "recover ended with $status: $(tail -n 1 out)"
    end_agent
}

# killed_at OPERATION undo|end: number of the command after which the operation is killed
killed_at() {
    local number
    number=$(grep '^>' "$template/report.$1" | grep -nE "^> $start " | cut -d: -f1)
    case $2 in
    undo) echo $((number - 1)) ;;
    end) echo "$number" ;;
    esac
}

# cell NAME MODE SIDE N
cell() {
    local name=$1 mode=$2 side=$3 n=$4
    op=${name%+*} was_late=no was_recovered=no stale='' result=''
    define "$op"
    start_scratch
    if [ "$name" = "$op" ]; then
        cut_at "$mode" "$side" "$n" report "${args[@]}"
    elif [ "${name#*+}" = agent ]; then
        cut_agent "$side" "$n" report.agent "${args[@]}"
    else
        cut_at kill c "$(killed_at "$op" "${name#*+}")" report "${args[@]}"
        touch=
        was_recovered=yes
        cut_at "$mode" "$side" "$n" report.recover recover
    fi
    if [ "$mode" = death ]; then
        see_death
        end_agent
        return
    fi
    if [ "$was_cut" = no ]; then
        # One message less than in the recorded run: then it has come to its end.
        [ "$status" != 137 ] && [ "$status" != 3 ] || fail "ended with $status, but nobody cut it"
    else
        see_end "$mode"
        # Whoever lives to see the end thaws what he has frozen.
        [ "$mode" != cut ] || see_thawed
    fi
    if [ "$mode" = late ] && [ "$was_cut" = yes ]; then
        # Its answer in the next client's stream: whatever QEMU itself makes of it, and in any case
        # one with the very id, before the first answer to the newcomer.
        [ "$name" != "$op" ] || was_late=yes
        cut_report=report
        [ ! -e report.recover ] || cut_report=report.recover
        stale=$(grep '^>' "$cut_report" | tail -n 1 | cut -d' ' -f3)
        stale="{\"return\": {\"stale\": true}, \"id\": $stale}"
        touch_was=$touch touch=
        cut_at kill - 0 report.late recover
        touch=$touch_was
        see_result
        [ "$status" = 0 ] || fail "recover ended with $status: $(tail -n 1 out)"
    else
        recover
    fi
    judge "$n"
    end_agent
}

# see_end MODE: a client whose connection was cut says so; one that had heard all that it wanted to
# may have ended by itself before anything could be done to it
see_end() {
    local wanted=137 closed="blockdev-del.* qblk\.[0-9a-f]{8}\.journal$"
    [ "$1" = kill ] || [ "$1" = late ] || wanted=3
    [ "$status" != "$wanted" ] || return 0
    case $status in
    0 | 1 | 6)
        # A copy that is kept leaves its journal to whoever ends it.
        [ -z "$touch" ] && [ "$op" != copy-keep ] || return 0
        ! told report "$closed" || return 0
        [ ! -e report.recover ] || ! told report.recover "$closed" || return 0
        ;;
    esac
    fail "the client ended with $status, not $wanted: $(tail -n 1 err)"
}

# QEMU was killed under the client: it says that the operation is lost, and which file that it
# made is there and what that is worth; it removes none, and what the guest wrote is where it was.
see_death() {
    local file n=0
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
    result=lost
    see_end death
    [ "$status" = 3 ] || { result=over; return 0; }
    see_dead_file "$target" file
    for file in $more_targets; do see_dead_file "$file" "file.$((++n))"; done
    see_disk_of_the_dead
    if grep -qE "$target is complete" err; then
        "$QEMU_IMG" compare -q -f raw -F "${image##*.}" reference.raw "$image" ||
            fail "$target is not complete"
        result=complete
    fi
    if grep -qE "$target.* is the disk's top image" err; then
        "$QEMU_IMG" compare -q -f raw -F qcow2 reference.raw "$target" ||
            fail "$target does not read as the disk"
        result=taken
    fi
}

# A file that the operation made, or meant to write to.
see_dead_file() {
    if told report 'blockdev-add .* qblk\.[0-9a-f]{8}\.journal$' && [ -e "$1" ]; then
        grep -qF "$1" err || fail "the client does not name $1: $(cat err)"
        grep -qE "$1.* (is (complete|incomplete|as it was|the disk's)|holds nothing|look at both)" err ||
            fail "what $1 is worth is not said: $(cat err)"
    elif told report "blockdev-add .* qblk\\.[0-9a-f]{8}\\.$2\$" && [ ! -e "$1" ]; then
        fail "the client removed $1"
    fi
}

# What the guest saw is still there. QEMU 7.2 takes the backing file out of a pulled image's header
# before the tables for the pulled data are on disk: killed in between, it leaves an image that is
# right again over its old backing file, which is why the client says to keep that.
see_disk_of_the_dead() {
    ! "$QEMU_IMG" compare -q -f raw -F qcow2 reference.raw top.qcow2 || return 0
    case $op in
    pull-*) ;;
    *) fail "the disk's image was lost" ;;
    esac
    grep -q 'qemu-img rebase -u' err || fail "the client does not say how the image is mended"
    "$QEMU_IMG" rebase -u -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2 &&
        "$QEMU_IMG" compare -q -f raw -F qcow2 reference.raw top.qcow2 ||
        fail "the disk's image was lost, even over its old backing file"
}

# ---- the run
# --------------------------------------------------------------------------------------

# try NAME FUNCTION ARG...: in a scratch directory and a shell of its own; says "ok" or why not
try() {
    local name=$1 status
    shift
    dir=$(mktemp -d "$template/cell.XXXXXX") || exit 1
    (
        trap end_of_test EXIT
        cd "$dir" || exit 1
        "$@"
        echo "$result" >result
    ) >"$dir/trace" 2>&1
    status=$?
    if [ "$status" = 0 ]; then
        printf '%s ok %s\n' "$name" "$(cat "$dir/result")"
    else
        printf '%s FAILED %s\n' "$name" "$(cat "$dir/why" 2>/dev/null || tail -n 2 "$dir/trace")" |
            tr '\n' ' '
        echo
        if [ -n "${KEEP-}" ]; then
            cp -r "$dir" "$KEEP" 2>/dev/null
        fi
    fi
    rm -rf "$dir"
}

wanted() {
    local pattern
    [ ${#patterns[@]} -gt 0 ] || return 0
    for pattern in "${patterns[@]}"; do
        # shellcheck disable=SC2053 # a pattern
        [[ $1 != $pattern ]] || return 0
    done
    return 1
}

# modes_of NAME: the ways to end, beside SIGKILL, for which an operation has cells. Recover is not
# cut off, as it ends by itself like any operation. What a client says whose connection was cut
# follows from the kind of operation and its step: the same plan with other arguments has no more to
# say.
modes_of() {
    case $1 in
    *+agent) ;;
    *+*) echo late ;;
    copy-legacy-finish | *-reuse* | copy-raw*) ;;
    snapshot-three) echo death ;;
    pull-into | pull-bottom | *-bitmaps | backup-top | copy-shallow-pivot) echo late death ;;
    *) echo cut late death ;;
    esac
}

# list NAME: the cells of an operation. What only asks changes nothing, so that nothing but the kill
# itself can matter there. An answer upon which the client at once sends the next command is not cut
# at: it says there what it says after that command, where it is cut.
list_cells() {
    local name=$1 modes mode n=0 m=0 side word changes=no sides i
    read -ra modes <<<"$(modes_of "$name")"
    mapfile -t sides < <(cut -c 1 "$template/report.$name")
    for ((i = 0; i < ${#sides[@]}; i++)); do
        read -r side word _ || break
        case $side in
        '>')
            echo "$name kill c $((++n))"
            case $word in
            query-* | x-debug-* | qmp_*) continue ;;
            esac
            changes=yes
            for mode in "${modes[@]}"; do echo "$name $mode c $n"; done
            ;;
        '<')
            echo "$name kill r $((++m))"
            [ "$changes" = no ] || [[ " ${modes[*]} " != *" cut "* ]] ||
                [ "${sides[i + 1]-}" = '>' ] || echo "$name cut r $m"
            ;;
        esac
    done <"$template/report.$name"
}

work() {
    local number=0 name mode side n
    while read -r name mode side n; do
        [ $((number++ % workers)) = "$1" ] || continue
        try "$name $mode $side $n" cell "$name" "$mode" "$side" "$n"
    done <"$template/cells" >"$template/results.$1"
}

# The operations with a cell that is wanted, and those that a kept copy may end as.
is_needed() {
    local also
    for also in "$1" "$1+undo" "$1+end" "$1+agent"; do
        ! wanted "$also" || return 0
    done
    case $1 in
    copy-finish | copy-pivot) is_needed copy-keep ;;
    *) return 1 ;;
    esac
}

record_all() {
    local name what
    for name in "${operations[@]}"; do
        is_needed "$name" || continue
        try "$name" record "$name"
        for what in undo end; do
            case $name in
            copy-legacy-finish | *-reuse* | copy-raw-* | refused-*) continue ;;
            esac
            try "$name+$what" record_recover "$name" "$what"
        done
        [[ $name != *-quiesced ]] || try "$name+agent" record_agent "$name"
    done
}

# A line for each instant: what it is, and what recover made of each way to end there.
print_table() {
    awk -v dir="$template" '
        $5 == "ok" { passed++; result = $6 }
        $5 != "ok" { failed++; result = "FAILED" }
        {
            at = $1 " " $3 " " $4
            if (!(at in seen)) { seen[at] = ++n; row[n] = at }
            got[at, $2] = result
        }
        function what(name, side, number,   file, line, count, mark, part) {
            file = dir "/report." name
            mark = side == "c" ? ">" : "<"
            while ((getline line < file) > 0) {
                if (substr(line, 1, 1) == mark && ++count == number) {
                    close(file)
                    split(line, part, " ")
                    sub(/^qblk\.[0-9a-f]+\./, "", part[4])
                    return part[2] " " (side == "c" ? part[4] == "-" ? "" : part[4] \
                                                    : part[3] == "-" ? "" : part[3])
                }
            }
            close(file)
            return "(end)"
        }
        END {
            form = "%-24s %-2s %3s  %-36s %-10s %-10s %-10s %-10s\n"
            printf form, "operation", "", "at", "command sent >, message read <", "kill", "cut",
                "late", "QEMU dead"
            for (i = 1; i <= n; i++) {
                split(row[i], part, " ")
                printf form, part[1], part[2] == "c" ? ">" : "<", part[3],
                    what(part[1], part[2], part[3]), got[row[i], "kill"], got[row[i], "cut"],
                    got[row[i], "late"], got[row[i], "death"]
            }
        }' "$1" | sed 's/ *$//'
}

# In memory where there is room: some images are made, and flushed, for each of thousands of cells.
scratch=${TMPDIR:-/tmp}
if [ -z "${TMPDIR-}" ] && [ -w /dev/shm ] &&
    [ "$(df --output=avail -k /dev/shm | tail -n 1)" -gt 262144 ]; then
    scratch=/dev/shm
fi
template=$(mktemp -d "$scratch/qblk-kill.XXXXXX") || exit 1
trap 'rm -rf "$template"' EXIT
mkdir -p "$(dirname "$table")"
dir=$template
(cd "$template" && make_template) || { cat "$template/why"; echo "0 passed, 1 failed"; exit 1; }

began=$SECONDS
record_all >"$template/recorded"
if grep -v ' ok ' "$template/recorded"; then
    echo "0 passed, 1 failed"
    [ -z "${RUN_TALLY-}" ] || echo "0 1" >>"$RUN_TALLY"
    exit 1
fi
for report in "$template"/report.*; do
    wanted "${report##*/report.}" && list_cells "${report##*/report.}"
done >"$template/cells"
pids=
for ((w = 0; w < workers; w++)); do
    work "$w" &
    pids="$pids $!"
done
# shellcheck disable=SC2086 # a list
wait $pids
cat "$template"/results.* | sort -k1,1 -k3,3 -k4,4n -k2,2 >"$template/results"
print_table "$template/results" | tee "$table"
grep ' FAILED ' "$template/results" | sed 's/^/not ok /'
passed=$(grep -c ' ok ' "$template/results")
failed=$(($(wc -l <"$template/cells") - passed))
echo "$((SECONDS - began)) s"
echo "$passed passed, $failed failed"
[ -z "${RUN_TALLY-}" ] || echo "$passed $failed" >>"$RUN_TALLY"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
