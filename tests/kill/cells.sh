# tests/kill/cells.sh - one cell of the kill matrix, and the undisturbed runs that tell which there are
# shellcheck shell=bash disable=SC2034,SC2154 # variables of lib.sh and of the others

# cut_at MODE SIDE N REPORT ARG...: runs qblk behind the proxy; sets $status, $was_cut
cut_at() {
    local mode=$1 side=$2 n=$3 report=$4 limit=()
    shift 4
    [ "$side" = - ] || limit=("-$side" "$n")
    rm -f p0
    "$cutproxy" -m "$mode" -p "$qemu_pid" "${limit[@]}" ${touch:+-t "$touch"} \
        ${stale:+-i "$stale"} m0 p0 "$report" "$qblk" -s "$PWD/p0" --json "$@" >out 2>err </dev/null
    status=$?
    see_cut "$report"
}

# cut_agent SIDE N REPORT ARG...: the same for SIGKILL at a message of the talk with the agent
cut_agent() {
    local side=$1 n=$2 report=$3 limit=()
    shift 3
    [ "$side" = - ] || limit=("-$side" "$n")
    rm -f agent p0
    "$cutproxy" -g "${limit[@]}" agent.real agent "$report" "$cutproxy" m0 p0 report \
        "$qblk" -s "$PWD/p0" --json "$@" >out 2>err </dev/null
    status=$?
    see_cut "$report"
    rm -f agent
    ln -s agent.real agent
}

see_cut() {
    [ "$status" != 70 ] || fail "the proxy failed: $(tail -n 2 err)"
    hear "$1"
    was_cut=no
    [[ $heard != *$'\ncut\n'* ]] || was_cut=yes
}

# recover ARG...: sets $result to nothing, or to what recover calls the operation's result
recover() {
    timeout -k 5 "$patience" "$qblk" -s "$PWD/m0" --json recover "$@" >out 2>err </dev/null
    status=$?
    see_result
    [ "$status" = 0 ] ||
        fail "recover $* ended with $status: $(tail -n 1 out) $(tail -n 2 err | tr '\n' ' ')"
}

# ---- undisturbed ----------------------------------------------------------------------------------

begin() {
    was_late=no was_recovered=no stale='' result='' ended_as='' uncut=''
    define "$1"
    set_targets
    [ -n "${qemu_pid-}" ] || start_scratch
}

# record NAME: how many messages there are, and how things are before and after
record() {
    begin "$1"
    look
    before=$shape
    echo "$before" >"$template/before.$op"
    cut_at kill - 0 report "${args[@]}"
    see_result
    if [ -n "$touch" ]; then
        [ "$status" = 1 ] || [ "$status" = 6 ] || fail "qblk ended with $status: $(tail -n 1 out)"
        see_before
    else
        [ "$status" = 0 ] || fail "qblk ended with $status: $(tail -n 1 out)"
        is_done || fail "the result is $result"
        look
        echo "$shape" >"$template/after.$op"
        [ -z "$bitmap" ] || [[ $shape =~ bitmap\ [^\ ]*\ b\ recording\ persistent\ +131072 ]] ||
            fail "the bitmap is not what it was: $(grep bitmap <<<"$shape")"
        if [ "$done_as" != kept ]; then
            recover
            [ "$result" = nothing ] || fail "recover says $result after all is done"
            see_after
            see_end_of_scratch
        fi
    fi
    cp report "$template/report.$op"
    end_scratch
}

# record_agent NAME: the same for the talk with the agent
record_agent() {
    begin "$1"
    cut_agent - 0 "$template/report.$op+agent" "${args[@]}"
    [ "$status" = 0 ] || fail "qblk ended with $status: $(tail -n 1 out)"
    grep -q '^> guest-fsfreeze-thaw ' "$template/report.$op+agent" ||
        fail "the guest was not thawed"
    end_scratch
}

# record_recover NAME undo|end: the same for recover, after the operation was killed before or after
# its start
record_recover() {
    begin "$1"
    cut_at kill c "$(killed_at "$op" "$2")" report "${args[@]}"
    touch=
    cut_at kill - 0 "$template/report.$op+$2" recover
    [ "$status" = 0 ] || fail "recover ended with $status: $(tail -n 1 out)"
    end_scratch
}

# killed_at NAME undo|end: number of the command after which the operation is killed
killed_at() {
    awk -v start="$start" -v before="$([ "$2" = undo ] && echo 1 || echo 0)" -v nth="$members" '
        $1 == ">" { n++ }
        $1 == ">" && $2 == start && (before || ++seen == nth) { print n - before; exit }
        ' "$template/report.$1"
}

# ---- cells ----------------------------------------------------------------------------------------

# cell NAME MODE SIDE N
cell() {
    local name=$1 mode=$2 side=$3 n=$4 touch_was cut_report=report
    begin "${name%+*}"
    read_file "$template/before.$op" before
    before=${before%$'\n'}
    rm -f report report.recover
    if [ "$mode" = back ]; then
        cut_at back "$side" "$n" report --wait "$patience" "${args[@]}" --reconnect 20
        [ "$was_cut" = yes ] || see_uncut "$side" "$n"
        see_back
        return
    elif [ "$name" = "$op" ]; then
        cut_at "$mode" "$side" "$n" report "${args[@]}"
    elif [ "${name#*+}" = agent ]; then
        cut_agent "$side" "$n" report.agent "${args[@]}"
    else
        cut_at kill c "$(killed_at "$op" "${name#*+}")" report "${args[@]}"
        touch=
        was_recovered=yes
        cut_at "$mode" "$side" "$n" report.recover recover
        cut_report=report.recover
    fi
    if [ "$mode" = death ] && [ "$was_cut" = yes ]; then
        see_death
        return
    fi
    if [ "$was_cut" = no ]; then
        see_uncut "$side" "$n"
    else
        see_end "$mode"
        # Whoever lives to see the end thaws what he has frozen.
        [ "$mode" != cut ] || see_thawed
    fi
    if [ "$mode" = late ] && [ "$was_cut" = yes ]; then
        # Its answer in the next client's stream: whatever QEMU itself makes of it, and in any case
        # one with the very id, before the first answer to the newcomer.
        [ "$name" != "$op" ] || was_late=yes
        hear "$cut_report"
        stale=${heard##*$'\n> '}
        read -r _ stale _ <<<"$stale"
        stale="{\"return\": {\"stale\": true}, \"id\": $stale}"
        touch_was=$touch touch=
        cut_at kill - 0 report.late recover
        touch=$touch_was stale=
        see_result
        [ "$status" = 0 ] || fail "recover ended with $status: $(tail -n 1 out)"
    else
        recover
    fi
    judge "$n"
    see_thawed
}

# see_uncut SIDE N: that message did not come, as QEMU had fewer events to tell than in the recorded run,
# or the client therefore less to ask; the operation has come to its end
see_uncut() {
    local sign='<'
    [ "$1" = r ] || sign='>'
    [ "$(grep -c "^$sign" <<<"$heard")" -lt "$2" ] || fail "nobody cut it"
    [ "$status" != 137 ] && [ "$status" != 3 ] || fail "ended with $status, but nobody cut it"
    uncut=' uncut'
}

# The operation has gone on where it was, once it had its connection again, and has not begun twice.
# Limits may be set once more, and a device that was asked to go may be asked again.
see_back() {
    local most=$members
    see_result
    [ "$status" = 0 ] && is_done ||
        fail "cut, and back again, it ended with $status: $(tail -n 1 out)"
    hear report
    case $kind in
    detach | throttle) most=2 ;;
    esac
    told "$start " && [ "$times" -ge "$members" ] && [ "$times" -le "$most" ] ||
        fail "cut, and back again, $start was sent $times times"
    recover
    [ "$result" = nothing ] || fail "recover says $result after all is done"
    result=$done_as
    see_after
}

# What is done at once has no journal, and so is nothing to recover.
is_done() {
    [ "$result" = "$done_as" ] || [ "$result$done_as" = completednothing ]
}

# list_cells NAME: the cells of an operation. What only asks changes nothing, so that nothing but the
# kill itself can matter there. An answer upon which the client at once sends the next command is not
# cut at: it says there what it says after that command, where it is cut. See matrix.sh.
list_cells() {
    local name=$1 modes=() mode n=0 m=0 side word changes=no sides i shares='' looks=yes
    define "${name%+*}"
    case $name in
    *+agent) ;;
    *.*) shares=yes ;;
    *+*)
        modes=(late)
        ! has cut || modes+=(cut)
        ;;
    *) for mode in cut late death back; do ! has "$mode" || modes+=("$mode"); done ;;
    esac
    has cut || [ "${name%+agent}" != "$name" ] || shares=yes
    # Recover does no more than look at what is kept.
    case $name in
    *+agent) ;;
    *+*) has back || [ "$done_as" = kept ] || looks='' ;;
    *) [ -z "$shares" ] || looks='' ;;
    esac
    mapfile -t sides < <(cut -c 1 "$template/report.$name")
    for ((i = 0; i < ${#sides[@]}; i++)); do
        read -r side word _ || break
        case $side in
        '>')
            n=$((n + 1))
            case $word in
            query-* | x-debug-* | qmp_*)
                [ "$changes$looks" = no ] || echo "$name kill c $n"
                continue
                ;;
            esac
            changes=yes
            echo "$name kill c $n"
            for mode in "${modes[@]}"; do echo "$name $mode c $n"; done
            ;;
        '<')
            m=$((m + 1))
            [ "$changes" = yes ] || continue
            [ -n "$shares" ] && [ "${sides[i - 1]}" = '>' ] || echo "$name kill r $m"
            [ "${sides[i + 1]-}" != '>' ] || continue
            for mode in "${modes[@]}"; do
                case $mode in
                cut | back) echo "$name $mode r $m" ;;
                esac
            done
            ;;
        esac
    done <"$template/report.$name"
}
