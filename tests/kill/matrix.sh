#!/usr/bin/env bash
# tests/kill/matrix.sh [-j N] [-o FILE] [PATTERN...] - the client is ended at every message of every
# operation, and `qblk recover` has to make it good. PATTERN: only cells whose names match.
#
# A cell is an operation, an instant and a way to end (cutproxy.c): on a scratch QEMU the operation
# runs until that instant, then recover runs, and what is there afterwards must be exactly what an
# undisturbed run leaves, or exactly what there was before: the graph edge by edge, the jobs, exports and
# bitmaps, the files and what the guest sees in them. Which of the two follows from what QEMU had been
# told: the main job was started, or not. The instants are counted in a run of the operation to its end.
#
#   kill   SIGKILL for the client, at each message sent and each message read
#   cut    its connection is cut; it lives, and has to tell
#   late   SIGKILL, and QEMU's answer may be in the stream of the next client, which is recover
#   back   the connection is cut and comes back: the client goes on by itself
#   death  SIGKILL for QEMU: the client tells what is lost and what its files are worth
#
# Cells named OPERATION+undo and OPERATION+end kill recover itself, at each of its messages, after
# the operation was killed before or after the start of its job; another recover follows. Those named
# OPERATION+agent kill the client at each message of its talk with the guest agent: a guest that it has
# frozen is thawed whatever happens. OPERATION.drive and OPERATION.qsd are the other worlds.
#
# Not every instant has every way to end. Left out is what another cell has shown already:
#   - cut, late, back and death before the first command that changes something: only the kill can matter;
#   - the kill at what is read before that command: QEMU has answered it just the same when the client is
#     killed at what it sends next, or has sent before;
#   - cut and back at an answer upon which the client at once sends the next command;
#   - the kill at an answer straight after its command, where the command's own kill waits for the same
#     answer: in the other worlds, and in operations without cut (operations.sh), whose plan is also that
#     of one that has it. What the client itself does upon the answer is seen in that one.
#   - any kill before the command that first changes something: in those worlds and operations, and for
#     recover of operations without back, as its look at QEMU does not depend on what is left there.
# QEMU may announce less in one run than in another, and never come to a message that was counted.
# That cell counts as passed, and as "not cut" in the last lines; of more than one in twenty that is not
# believed. One in which nothing was cut although the message came has failed.
#
# A QEMU that was found exactly as before is used for the next cell of the same operation.
#
# The table goes to standard output, each line of it for all instants in a row that came out alike, and
# to FILE with a line for each instant; then "N passed, N failed".
. "$(dirname "$0")/../live/lib.sh"
. "$(dirname "$0")/../live/lib_table.sh"
. "$(dirname "$0")/operations.sh"
. "$(dirname "$0")/worlds.sh"
. "$(dirname "$0")/verdicts.sh"
. "$(dirname "$0")/cells.sh"

cutproxy=$build/tests/kill/cutproxy
agent_server=$build/tests/fake/agent_server
for needed in "$cutproxy" "$agent_server"; do
    [ -x "$needed" ] || { echo "not ok setup: no $needed; run make check-kill"; exit 1; }
done
command -v "$QSD" >/dev/null || { echo "not ok setup: no $QSD here"; exit 1; }
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

# ---- which ----------------------------------------------------------------------------------------

# parts_of NAME: what has cells of its own
parts_of() {
    local part
    echo "$1"
    [ "$1" = "${1%.*}" ] || return 0
    define "$1"
    for part in undo end agent; do
        ! has "$part" || echo "$1+$part"
    done
}

# Recover and the agent are recorded once the operation itself is.
list_parts() {
    local name part
    for name in $(names_of_all); do
        for part in $(parts_of "$name"); do
            ! wanted "$part" || echo "$part"
        done
    done
}

# The operations of those, and those that a kept one may end as.
list_operations() {
    local name
    while read -r name; do
        name=${name%+*}
        echo "$name"
        case $name in
        *-keep*) echo "${name/keep/pivot}" && echo "${name/keep/finish}" ;;
        esac
    done <"$template/parts" | awk '!seen[$0]++'
}

# ---- the run --------------------------------------------------------------------------------------

# in_scratch FUNCTION ARG...: in a scratch directory and a shell of its own. Its output goes to the file
# results of this worker; $why says what went wrong.
in_scratch() {
    local status
    dir=$(mktemp -d "$template/cell.XXXXXX") || exit 1
    (
        trap end_of_test EXIT
        cd "$dir" || exit 1
        "$@"
    ) 3>>"$results" >"$dir/trace" 2>&1
    status=$?
    why="ended with status $status"
    if [ "$status" != 0 ]; then
        why=$(cat "$dir/why" 2>/dev/null || tail -n 2 "$dir/trace")
        why=${why//$'\n'/ }
        [ -z "${KEEP-}" ] || cp -r "$dir" "$KEEP" 2>/dev/null
    fi
    rm -rf "$dir"
    return "$status"
}

# record_part NAME: runs it undisturbed
record_part() {
    case $1 in
    *+agent) record_agent "${1%+*}" ;;
    *+*) record_recover "${1%+*}" "${1#*+}" ;;
    *) record "$1" ;;
    esac
}

record_all() {
    local name
    while read -r name; do
        mkdir "$template/claim.$name" 2>/dev/null || continue
        echo "$name, undisturbed" >"$at"
        in_scratch record_part "$name" || echo "$name FAILED $why" >>"$results"
    done <"$1"
}

# run_cells FIRST: those of a part from that one on, until QEMU is another than at first
run_cells() {
    local i words
    for ((i = $1; i < ${#cells_of[@]}; i++)); do
        echo "${cells_of[i]}" >"$at"
        read -ra words <<<"${cells_of[i]}"
        cell "${words[@]}"
        [ $((i + 1)) -lt ${#cells_of[@]} ] || see_end_of_scratch
        if [ -z "${qemu_pid-}" ]; then
            # It has passed once it is seen that nothing was left running.
            echo "${cells_of[i]} ok $result$uncut" >"$last"
            break
        fi
        echo "${cells_of[i]} ok $result$uncut" >&3
    done
}

run_part() {
    local cells_of next=0 before after last=$template/last.${at##*.}
    mapfile -t cells_of <"$template/cells.$1"
    while [ "$next" -lt ${#cells_of[@]} ]; do
        before=$(wc -l <"$results")
        if in_scratch run_cells "$next"; then
            cat "$last" >>"$results"
            why=
        fi
        after=$(wc -l <"$results")
        next=$((next + after - before))
        if [ -n "$why" ]; then
            echo "${cells_of[next]} FAILED $why" >>"$results"
            next=$((next + 1))
        fi
    done
}

run_all() {
    local name
    while read -r name; do
        mkdir "$template/claim.cells.$name" 2>/dev/null || continue
        run_part "$name"
    done <"$1"
}

record_or_die() {
    work_off record_all "$1"
    if grep -h ' FAILED ' "$template"/results.*; then
        echo "0 passed, 1 failed"
        [ -z "${RUN_TALLY-}" ] || echo "0 1" >>"$RUN_TALLY"
        exit 1
    fi
}

# ---- the table ------------------------------------------------------------------------------------

# instants NAME: number, side, number of that side, and what was said
instants() {
    awk '
        $1 != "<" && $1 != ">" { next }
        {
            sub(/^qblk\.[0-9a-f]+\./, "", $4)
            more = $1 == ">" ? $4 : $3
            print ++n, $1, ++count[$1], $2 (more == "-" || more == "" ? "" : " " more)
        }' "$template/report.$1"
}

# for_table [-a]: the results as print_table takes them; -a: instants in a row whose cells all came out
# alike, as far as there are any, are one row
for_table() {
    local name
    for name in $(list_parts); do
        instants "$name" >"$template/instants"
        awk -v name="$name" -v together="${1-}" -v list="${modes[*]}" '
            function flush(   k) {
                if (!first) return
                at = first == last ? first : first "-" last
                said = first == last ? from : from " ... " to
                for (k = 1; k <= n; k++)
                    if (word[k] != "")
                        for (i = 0; i < times[k]; i++)
                            print name "|" at "|" said "\t" mode[k] "\t" word[k]
                first = 0
            }
            BEGIN { n = split(list, mode, " ") }
            FNR == NR {
                if ($1 == name) got[$2, $3, $4] = $5 == "ok" ? $6 : "FAILED"
                next
            }
            {
                side = $2 == ">" ? "c" : "r"
                same = first && together
                for (k = 1; k <= n; k++) {
                    is = got[mode[k], side, $3]
                    if (is != "" && word[k] != "" && is != word[k]) same = 0
                }
                text = $2
                for (k = 4; k <= NF; k++) text = text " " $k
                if (!same) {
                    flush()
                    first = $1
                    from = text
                    for (k = 1; k <= n; k++) { word[k] = ""; times[k] = 0 }
                }
                last = $1
                to = text
                for (k = 1; k <= n; k++) {
                    is = got[mode[k], side, $3]
                    if (is != "") { word[k] = is; times[k]++ }
                }
            }
            END { flush() }' "$template/results" "$template/instants"
    done
}

print_results() {
    for_table "${1-}" | print_table "operation|at|command sent >, message read <" "${modes[*]}"
}

# In memory where there is room: some images are made, and flushed, for each of thousands of cells.
scratch=${TMPDIR:-/tmp}
if [ -z "${TMPDIR-}" ] && [ -w /dev/shm ] &&
    [ "$(df --output=avail -k /dev/shm | tail -n 1)" -gt 262144 ]; then
    scratch=/dev/shm
fi
template=$(mktemp -d "$scratch/qblk-kill.XXXXXX") || exit 1
trap 'rm -rf "$template" "$images"' EXIT
mkdir -p "$(dirname "$table")"
dir=$template
(cd "$template" && make_template) || { cat "$template/why"; echo "0 passed, 1 failed"; exit 1; }

began=$SECONDS
modes=(kill cut late back death)
list_parts >"$template/parts"
list_operations >"$template/operations"
grep + "$template/parts" >"$template/further"
record_or_die "$template/operations"
record_or_die "$template/further"
recorded=$SECONDS
rm -f "$template"/results.*
while read -r part; do
    list_cells "$part" | share >"$template/cells.$part"
    share_from=$((share_from + 1))
    echo "$(wc -l <"$template/cells.$part") $part"
done <"$template/parts" | sort -k1,1rn >"$template/sizes"
cut -d' ' -f2 "$template/sizes" >"$template/order"
work_off run_all "$template/order"
cat "$template"/results.* >"$template/results"
print_results >"$table"
print_results -a
grep ' FAILED ' "$template/results" | sed 's/^/not ok /'
all=$(awk '{ n += $1 } END { print n + 0 }' "$template/sizes")
passed=$(grep -c ' ok ' "$template/results")
uncut=$(grep -c ' uncut$' "$template/results")
[ "${MATRIX_SHARE:-1}" = 1 ] || echo "one cell in $MATRIX_SHARE alone"
echo "$all cells at $(cat "$template"/report.* | grep -c '^[<>]') messages of" \
    "$(wc -l <"$template/parts") conversations, in $((SECONDS - began)) s" \
    "($((recorded - began)) s to record them); $uncut not cut"
failed=$((all - passed))
if [ "$uncut" -gt $((all / 20 + 2)) ]; then
    echo "not ok: $uncut cells were not cut"
    failed=$((failed + 1))
fi
echo "$passed passed, $failed failed"
[ -z "${RUN_TALLY-}" ] || echo "$passed $failed" >>"$RUN_TALLY"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
