# tests/kill/verdicts.sh - what has to be so after a cell of the kill matrix
# shellcheck shell=bash disable=SC2034,SC2154 # variables of lib.sh and of the others

# ---- what was said --------------------------------------------------------------------------------

# hear REPORT: the talk that the proxy has told, to $heard
hear() {
    heard=''
    [ ! -e "$1" ] || read_file "$1" heard
    heard=$'\n'$heard
}

# told WORDS: how often QEMU was sent a command like that, to $times
told() {
    local rest=$heard line=$'\n> '$1
    times=0
    while [[ $rest =~ $line ]]; do
        # The end of a line is the beginning of the next.
        times=$((times + 1)) rest=$'\n'${rest#*"${BASH_REMATCH[0]}"}
    done
    [ "$times" -gt 0 ]
}

# all_told WORDS: each of the operations that are one for the user
all_told() {
    told "$1"
    [ "$times" -ge "$members" ]
}

any=$'[^\n]*' id='[0-9a-f]{8}' eol=$'\n'
opened="blockdev-add $any qblk\\.$id\\.journal$eol"
closed="blockdev-del $any qblk\\.$id\\.journal$eol"

see_clean() {
    local said=''
    read_file err said
    case $said in
    *Sanitizer* | *'runtime error:'*) fail "a sanitizer complained: $said" ;;
    esac
}

# What the last line of --json output calls the result.
see_result() {
    local said=''
    see_clean
    read_file out said
    said=${said%$'\n'}
    said=${said##*$'\n'}
    result=
    if [[ $said =~ \"result\":\ ?\"([a-z]+)\" ]]; then
        result=${BASH_REMATCH[1]}
    elif [[ $said =~ \"result\":\ ?\[\] ]]; then
        result=nothing
    fi
}

# ---- images ---------------------------------------------------------------------------------------

# holds IMAGE REFERENCE: it does, and is sound
holds() {
    local format=${1##*.} reading=()
    # The server that has it open writes to it no more.
    [ -z "$server" ] || [ "$1" != "$target" ] || reading=(-U)
    "$QEMU_IMG" compare -q "${reading[@]}" -f raw -F "$format" "$2" "$1" ||
        fail "$1 differs from ${2##*/}"
    [ "$format" != qcow2 ] || "$QEMU_IMG" check -q "$1" || fail "qemu-img check finds fault with $1"
}

# holds_alone IMAGE REFERENCE: and needs no more than it should
holds_alone() {
    local name gone=()
    for name in base mid top; do
        [[ " $needs " == *" $name "* ]] || [ "$name.qcow2" = "$1" ] || gone+=("$name.qcow2")
    done
    if [ ${#gone[@]} = 0 ]; then
        holds "$1" "$2"
    elif [ -z "${qemu_pid-}" ]; then
        rm -f "${gone[@]}"
        holds "$1" "$2"
    else
        # QEMU, which is to be used again, has them open, and does not mind.
        mkdir aside && mv "${gone[@]}" aside || fail "cannot move the images"
        holds "$1" "$2"
        mv aside/* . && rmdir aside || fail "cannot move the images back"
    fi
}

# Disks to which nobody has written.
see_extra() {
    local name
    for name in $extra; do
        [ "$kind" = copy ] && [ "$done_as" = pivoted ] && [ "$1" = after ] ||
            holds "$name.qcow2" "$template/other.raw"
    done
}

# Of a QEMU that has been left as it was found, with its last cell.
see_end_of_scratch() {
    [ -n "${qemu_pid-}" ] || return 0
    end_scratch
    holds top.qcow2 "$template/written.raw"
    see_extra before
}

# ---- before, or after -----------------------------------------------------------------------------

# is_shape TEXT: what look() has found
is_shape() {
    [ "$shape" = "$1" ] ||
        { [ -n "$forgive" ] && [ "${shape//"$forgive"/}" = "${1//"$forgive"/}" ]; }
}

expect_shape() {
    is_shape "$1" || fail "$2: the graph is another: $(diff <(echo "$1") <(echo "$shape") |
        grep '^[<>]' | tr '\n' ' ')"
}

# A QEMU in which nothing has changed is good for the next cell.
may_stay() {
    [ "$shape" = "$before" ] && [ "$kind" != commit ]
}

see_before() {
    local file said=''
    look_and_write
    expect_shape "$before" "not as before"
    if [ -n "$touch" ]; then
        if [ -e "$touch" ]; then
            read_file "$touch" said
            [ "$said" = "user's own" ] || fail "the user's file was changed"
        fi
    elif [ -n "$is_new" ]; then
        [ ! -e "$target" ] || fail "the target's file was left behind"
    fi
    for file in $more_targets; do
        [ ! -e "$file" ] || fail "$file was left behind"
    done
    as_of=$template/written.raw
    may_stay || see_end_of_scratch
}

# see_after [OPERATION]: as an undisturbed run of it leaves things
see_after() {
    local file then=$as_of after
    read_file "$template/after.${1:-$op}" after
    if [ "$kind" = detach ]; then
        see_detached
        return
    fi
    look_and_write
    expect_shape "${after%$'\n'}" "not as after an undisturbed run"
    as_of=$template/written.raw
    if ! may_stay || [ "$disk_image" = "$image" ]; then
        end_scratch
        [ "$disk_image" != top.qcow2 ] || holds top.qcow2 "$as_of"
        see_extra after
    fi
    if [ "$disk_image" = "$image" ]; then
        holds_alone "$image" "$as_of"
    else
        holds_alone "$image" "$then"
    fi
    [ "$kind" != snapshot ] || holds top.qcow2 "$then"
    for file in $more_targets; do holds "$file" "$template/other.raw"; done
}

# The disk's images are nobody's any more.
see_detached() {
    look
    expect_shape "${after%$'\n'}" "not as after an undisturbed run"
    holds top.qcow2 "$as_of"
    end_scratch
}

# A copy or commit that is kept is one more operation to end: in each way in turn.
end_kept() {
    local whose world_of=''
    [ "$world" = blockdev ] || world_of=.$world
    hear report
    [[ $heard =~ $'\n'"> $start "$any' qblk.'($id)'.'$kind$'\n' ]] || fail "no job in the report"
    whose=${BASH_REMATCH[1]}
    case $(($1 % 3)) in
    0)
        recover --operation "$whose" --pivot
        [ "$result" = pivoted ] || fail "recover --pivot of what was kept says $result"
        disk_image=$image
        ended_as=$kind-pivot$world_of
        ;;
    1)
        recover --operation "$whose" --finish
        [ "$result" = finished ] || fail "recover --finish of what was kept says $result"
        ended_as=$kind-finish$world_of
        ;;
    2)
        recover --operation "$whose" --undo
        [ "$result" = undone ] || fail "recover --undo of what was kept says $result"
        ended_as=
        ;;
    esac
}

# allow: what may be, given what QEMU was told, as PLACE:RESULT words in $allowed; $was_late means that
# the last command may not have been carried out
allow() {
    local last=
    hear report
    if [ "$was_late" = yes ]; then
        last=${heard%$'\n'}
        last=${last##*$'\n> '}
        last=${last%%$'\n'*}
    fi
    if [ -n "$touch" ]; then
        allowed="before:nothing before:undone"
    elif [ "$done_as" = nothing ]; then
        # One command is all there is.
        allowed=before:nothing
        ! told "$start " || allowed=after:nothing
        [[ $last != "$start "* ]] || allowed="before:nothing after:nothing"
    elif ! told "$opened"; then
        allowed=before:nothing
        # A look at the target comes first; it is nobody's business whether it left a node.
        ! told "blockdev-add $any\\.(probe|look)$eol" || allowed="before:nothing before:undone"
    elif [ "$kind" = detach ] && ! told "$closed"; then
        # What recover does does not depend on whether the device has been asked for.
        allowed="before:undone after:completed"
        ! told "$start " || [[ $last = "$start "* ]] || allowed=after:completed
        [[ $last != blockdev-add*journal ]] || allowed="before:undone before:nothing"
    elif told "$closed" && ! all_told "$closed"; then
        allowed=after:$done_as
    elif told "$closed"; then
        allowed=after:nothing
        [ -z "$last" ] || allowed="after:nothing after:$done_as"
    elif all_told "$start "; then
        allowed=after:$done_as
        [[ $last != "$start "* ]] || allowed="after:$done_as before:undone"
    else
        allowed=before:undone
        [[ $last != blockdev-add*journal ]] || allowed="before:undone before:nothing"
    fi
    # A recover before this one may have done it all and died with the news.
    [ "$was_recovered" = no ] || for last in $allowed; do
        allowed="$allowed ${last%%:*}:nothing"
    done
}

# may_be PLACE:RESULT
may_be() {
    [[ " $allowed " == *" $1 "* ]]
}

# judge N: after recover
judge() {
    local allowed first=$result ended_as=$op place
    allow
    may_be "before:$result" || may_be "after:$result" ||
        fail "recover says '$result', not one of: $allowed"
    if [ "$result" = kept ]; then
        end_kept "$1"
    elif [ "$result" = nothing ] && [ "$done_as" = kept ] && told "$start "; then
        fail "what was to be kept was forgotten"
    fi
    # What had nothing to do has nothing to do again.
    if [ "$first" != nothing ]; then
        recover
        [ "$result" = nothing ] || fail "the second recover says $result"
    fi
    result=$first
    place=before
    if may_be "before:$first" && may_be "after:$first"; then
        look
        is_shape "$before" || place=after
    elif may_be "after:$first"; then
        place=after
    fi
    if [ -z "$ended_as" ] || [ "$place" = before ]; then
        see_before
    else
        see_after "$ended_as"
    fi
}

# ---- the client -----------------------------------------------------------------------------------

# heard_answers: the client heard an answer to all that it had sent before anything was done to it;
# from then on, $heard is only that
heard_answers() {
    local side word sent=0 answers=0
    heard=${heard%%$'\ncut\n'*}$'\n'
    while read -r side word _; do
        case "$side $word" in
        '> '*) sent=$((sent + 1)) ;;
        '< return' | '< error') answers=$((answers + 1)) ;;
        esac
    done <<<"$heard"
    [ "$sent" = "$answers" ]
}

# see_end MODE: a client whose connection was cut says so; one that had heard all that it wanted to
# may have ended by itself before anything could be done to it
see_end() {
    local wanted=137 last=$closed
    see_clean
    [ "$1" = kill ] || [ "$1" = late ] || wanted=3
    [ "$status" != "$wanted" ] || return 0
    # What is kept leaves its journal to whoever ends it; what is done at once has none.
    case $done_as in
    kept | nothing) last="$start " ;;
    esac
    [ -z "$touch" ] || last="blockdev-del $any\\.probe$eol"
    case $status in
    0 | 1 | 6)
        hear report
        if [ "$was_recovered" = yes ]; then
            hear report.recover
            # Of what it only finds kept it has no more to do.
            [ "$done_as" != kept ] || last=
        fi
        ! heard_answers || ! told "$last" || return 0
        ;;
    esac
    fail "the client ended with $status, not $wanted: $(tail -n 1 err)"
}

# Nothing that was frozen is so still.
see_thawed() {
    [ -n "$agent" ] || return 0
    ! grep -E 'fsfreeze-(freeze|thaw)$' asked | tail -n 1 | grep -q freeze$ ||
        fail "the guest is still frozen: $(tr '\n' ' ' <asked)"
}

# QEMU was killed under the client: it says that the operation is lost, and which file that it
# made is there and what that is worth; it removes none, and what the guest wrote is where it was.
see_death() {
    local file n=0
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
    end_others
    result=lost
    see_end death
    [ "$status" = 3 ] || { result=over; return 0; }
    hear report
    see_dead_file "$target" file
    for file in $more_targets; do see_dead_file "$file" "file.$((++n))"; done
    see_disk_of_the_dead
    if grep -qE "$target.*, is complete" err; then
        "$QEMU_IMG" compare -q -f raw -F "${image##*.}" "$as_of" "$image" ||
            fail "$target is not complete"
        result=complete
    fi
    if grep -qE "$target.* is the disk's top image" err; then
        "$QEMU_IMG" compare -q -f raw -F qcow2 "$as_of" "$target" ||
            fail "$target does not read as the disk"
        result=taken
    fi
}

# A file that the operation made, or meant to write to.
see_dead_file() {
    if [ -e "$1" ] && told "$opened"; then
        grep -qF "$1" err || fail "the client does not name $1: $(cat err)"
        grep -qE "$1.* (is (complete|incomplete|as it was|the disk's)|holds nothing|look at both|make the backup anew)" err ||
            fail "what $1 is worth is not said: $(cat err)"
    elif [ ! -e "$1" ] && told "blockdev-add $any qblk\\.$id\\.$2$eol"; then
        fail "the client removed $1"
    fi
}

# What the guest saw is still there. QEMU 7.2 takes the backing file out of a pulled image's header
# before the tables for the pulled data are on disk: killed in between, it leaves an image that is
# right again over its old backing file, which is why the client says to keep that.
see_disk_of_the_dead() {
    ! "$QEMU_IMG" compare -q -f raw -F qcow2 "$as_of" top.qcow2 || return 0
    [ "$kind" = pull ] || fail "the disk's image was lost"
    grep -q 'qemu-img rebase -u' err || fail "the client does not say how the image is mended"
    "$QEMU_IMG" rebase -u -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2 &&
        "$QEMU_IMG" compare -q -f raw -F qcow2 "$as_of" top.qcow2 ||
        fail "the disk's image was lost, even over its old backing file"
}
