#!/usr/bin/env bash
# What a dry run prints is what the operation then sends, command by command and in that order, and
# nothing else that changes anything: for each row of the matrix's table, on both kinds of graph, and
# for what has no row there. The dry run itself changes nothing.
#
# Not compared: names drawn at random; questions, since what an operation asks in between depends on
# what it hears (the outcome of a job, the nodes that are left); the dismissal of the jobs that make an
# image, which goes with making it. Steps that the plan calls conditional may stay out.
# shellcheck disable=SC2034,SC2154 # variables of lib.sh and of the matrix
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_agent.sh"
. "$root/tests/matrix/operations.sh"
. "$root/tests/matrix/worlds.sh"
. "$root/tests/matrix/outcomes.sh"

template=$(mktemp -d "${TMPDIR:-/tmp}/qblk.XXXXXX") || exit 1
trap 'rm -rf "$template" "$images"' EXIT
dir=$template
(cd "$template" && make_images) >/dev/null || { echo "not ok setup: $(cat "$template/why")"; exit 1; }

# The rows of the matrix, and those of what it does not have; only what is asked counts here.
eval "$(declare -f operations | sed '1s/operations/rows_of_matrix/')"
operations() {
    rows_of_matrix
    sed -E 's/ *\| */|/g; s/$/|-|-|-|-|-|-/' <<'TABLE'
commit-keep      | commit DISK --keep
commit-no-bitmap | commit DISK --no-bitmaps
copy-keep        | copy DISK TARGET --keep
copy-tuned       | copy DISK TARGET --granularity 64K --buf-size 1M --on-source-error stop
copy-late        | copy DISK TARGET --active-late --pivot
copy-relative    | copy DISK TARGET --shallow --relative
copy-reuse-none  | copy DISK TARGET --reuse-external --sync none
swap-raw         | swap DISK TARGET --format raw
backup-compress  | backup DISK TARGET --compress
backup-legacy    | backup DISK TARGET --legacy
snapshot-no-bitmap | snapshot DISK=TARGET --no-bitmaps
snapshot-relative | snapshot DISK=TARGET --relative
throttle-off     | throttle DISK --off
TABLE
}

# pick sure|conditional|agent: the commands that a dry run has printed: those of conditional steps, those
# for the guest agent, the others
pick() {
    awk -v want="$1" '
        /^ *[0-9]+\. / { is = / \(if need be\)$/ ? "conditional" : "sure" }
        /^ +to the guest agent at / { is = "agent" }
        /^ +\{"execute":/ && is == want { sub(/^ +/, ""); print }' out
}

# changes: of commands those that change something, without what is drawn at random
changes() {
    grep -vE -e '^\{"execute":"(query-|x-debug-query-|qmp_capabilities)' \
        -e '^\{"execute":"job-dismiss","arguments":\{"id":"qblk\.[0-9a-f]{8}\.create-' |
        sed -E 's/\b[0-9a-f]{8}\b/ID/g'
}

# sent: the commands that qblk -vv has logged
sent() {
    sed -n -E 's/^qblk: > (\{"execute":.*),"id":("[^"]*"|[0-9]+)\}$/\1}/p' err
}

# as_planned ARG...
as_planned() {
    local order=cat planned
    remember
    q 0 "$@" --dry-run
    unchanged
    pick sure | changes >planned.sure
    pick conditional | changes >planned.perhaps
    pick agent >planned.agent
    planned=$(pick sure | count "$question")
    q 0 -vv "$@"
    sent | changes | grep -vxFf planned.perhaps >sent.all
    [ -s planned.sure ] || fail "the dry run printed no command: $(cat out)"
    # What two disks do between two points where they wait for each other comes in any order.
    [[ $* != *vd1=* ]] || order='sort'
    diff <($order planned.sure) <($order sent.all) >differences ||
        fail "something else is sent: $(grep '^[<>]' differences | head -n 4 | tr '\n' ' ')"
    # Of disks that are copied together each is looked at for itself.
    [[ "$kind" != copy || $* != *vd1=* ]] || planned=$((planned + 4))
    no_more_than_needed "$planned"
}

# count PATTERN: how many of the commands that it reads are such
count() {
    grep -cE "^\{\"execute\":\"($1)\"[,}]"
}

question='(x-debug-)?query-[a-z-]*'
starts_job='(block|drive)[a-z]*-(create|mirror|backup|stream|commit)'

# Besides what is planned there are the questions with which a client and its operations begin, one that
# reads how a job has ended, perhaps one after what this QEMU can do; and what made an image is dismissed.
no_more_than_needed() {
    local asked all
    sent >sent.every
    asked=$(grep -v '"query-qmp-schema"' sent.every | count "$question")
    all=$((6 + $1 + $(count "$starts_job" <sent.every)))
    [ "$asked" -le "$all" ] ||
        fail "$asked questions are asked, $all would do: $(grep -oE "$question" sent.every | tr '\n' ' ')"
    [ "$(count query-qmp-schema <sent.every)" -le 1 ] || fail "the schema is asked for twice"
    [ "$(count job-dismiss <sent.every)" -le "$(count "$starts_job" <sent.every)" ] ||
        fail "more is dismissed than was begun"
}

row() {
    world=$2 with_faulty='' guest_ignores=''
    define "$1"
    prepare
    start_cell
    as_planned "${args[@]}"
    [[ $op != *-keep ]] || q 0 recover --undo
    stop_qemu
    stop_server
}

# A target that is bigger is opened whole once the disk is there; that it is, the dry run cannot know.
swap_to_bigger() {
    world=blockdev
    define swap-raw-bigger
    prepare
    start_cell
    q 0 swap vd0 "$target" --format raw --dry-run
    said out '^ *[0-9]+\. .*open the rest of its image \(if need be\)$'
    [ "$(pick conditional | grep -c '"blockdev-reopen"')" = 1 ] || fail "no reopening is planned"
    stop_qemu
}

# The guest agent is asked what the plan says it is, besides what makes sure of the channel.
quiesced() {
    world=blockdev
    define copy-finish
    prepare
    start_cell
    start_agent
    as_planned "${args[@]}" --quiesce "$dir/agent"
    grep -oE 'fsfreeze-(freeze|thaw)' planned.agent >planned.words
    grep -oE 'fsfreeze-(freeze|thaw)' asked >asked.words
    cmp -s planned.words asked.words ||
        fail "the agent was asked $(tr '\n' ' ' <asked), planned was: $(cat planned.agent)"
    stop_agent
    stop_qemu
}

for name in $(operations | cut -d"|" -f1); do
    [ "$name" != swap-raw-bigger ] || continue # see above
    for world in blockdev drive; do
        run_test "$name, $world" row "$name" "$world"
    done
done
run_test "a swap to a bigger target" swap_to_bigger
run_test "a copy that quiesces the guest" quiesced
finish
