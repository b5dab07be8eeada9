#!/usr/bin/env bash
# tests/matrix/matrix.sh [-s] [-j N] [-o FILE] [PATTERN...] - every operation, on both kinds of graph and
# in the storage daemon, with every way in which it can end, while somebody writes to the disk.
#
# A cell is an operation, a world (blockdev, drive, qsd) and an outcome. Whatever the outcome: the exit
# status, the result and what is said are checked, the images against an independent copy of what the
# guest wrote. After a success the graph is compared edge by edge with what it should be; after
# anything else the graph, the jobs, the exports and the files must be as before.
#
#   success        the guest writes while the job runs
#   refused        the disk is busy, the target somebody's: nothing is changed
#   create         the target cannot even be made
#   read, write    blkdebug makes a read or write of an image fail, at the first place that the job
#                  comes to, in the middle, or at the last; a target's writes fail in QEMU itself
#   flush          the target cannot be flushed
#   ctrl-c, cancel before the job is ready, by the user or by somebody else
#   ready-cancel   by somebody else, between READY and the end
#   kept-...       kept ready, then undone, cancelled by somebody else, or ended
#   failed         what has no job: QEMU cannot, or the guest does not
#   full           its file system is full: the job stops, and goes on when there is room
#
# PATTERN: only cells "OPERATION WORLD OUTCOME" that match one. -s: a slice that has each operation and
# each outcome, for short runs. The table goes to standard output and to FILE, then
# "N passed, N failed".

# A mount namespace of our own, where that is allowed, so that small file systems can be mounted.
if [ -z "${MATRIX_MOUNTS-}" ]; then
    for how in -m -rm; do
        if unshare $how mount -t tmpfs -o size=1m none /mnt 2>/dev/null; then
            MATRIX_MOUNTS=yes exec unshare $how "$0" "$@"
        fi
    done
    export MATRIX_MOUNTS=no
fi

. "$(dirname "$0")/../live/lib.sh"
. "$(dirname "$0")/../live/lib_table.sh"
. "$(dirname "$0")/operations.sh"
. "$(dirname "$0")/worlds.sh"
. "$(dirname "$0")/outcomes.sh"

faulty_so=$build/tests/matrix/faulty.so
[ -e "$faulty_so" ] || { echo "not ok setup: no $faulty_so; run make live-bins"; exit 1; }
outcomes=(success refused create read-start read-middle read-end write-start write-middle write-end flush
    ctrl-c cancel ready-cancel kept-undo kept-cancel kept-end full failed)
worlds=(blockdev drive qsd)
# As a number: 7002 for 7.2
qemu_version=$("$QEMU" --version | sed -nE '1s/.*version ([0-9]+)\.([0-9]+).*/\1 \2/p' |
    awk '{ print $1 * 1000 + $2 }')
may_mount='' slice='' workers=2 table=$root/build/check/matrix.table
[ "$MATRIX_MOUNTS" != yes ] || may_mount=yes
while getopts sj:o: option; do
    case $option in
    s) slice=yes ;;
    j) workers=$OPTARG ;;
    o) table=$OPTARG ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
patterns=("$@")

cell() {
    world=$2 with_faulty='' faulty_disk='' second_job='' guest_ignores='' guest_waits='' guest_first=''
    define "$1"
    case $3 in
    read-* | write-*) "run_${3%-*}" "${3#*-}" ;;
    *) "run_$3" ;;
    esac
}

# try OPERATION WORLD OUTCOME: in a scratch directory and a shell of its own; says "ok" or why not
try() {
    local status began=$EPOCHREALTIME
    dir=$(mktemp -d "$template/cell.XXXXXX") || exit 1
    (
        trap end_of_test EXIT
        cd "$dir" || exit 1
        cell "$@"
    ) >"$dir/trace" 2>&1
    status=$?
    began=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.2f", b - a }')
    if [ "$status" = 0 ]; then
        echo "$* ok $began"
    else
        echo "$* FAILED $began $(cat "$dir/why" 2>/dev/null || tail -n 2 "$dir/trace")" | tr '\n' ' '
        echo
        [ -z "${KEEP-}" ] || cp -r "$dir" "$KEEP/$1.$2.$3" 2>/dev/null
    fi
    ! mountpoint -q "$dir/small" || umount "$dir/small"
    rm -rf "$dir"
}

# All cells. The slice: along the diagonals, so that each operation, world and outcome is there.
list_cells() {
    local name world outcome i=0 j k
    for name in $(operations | cut -d'|' -f1); do
        dir=. define "$name"
        j=0
        for outcome in "${outcomes[@]}"; do
            j=$((j + 1)) k=0
            for world in "${worlds[@]}"; do
                k=$((k + 1))
                applies "$outcome" || continue
                [ -z "$slice" ] || [ $(((i + j + 6 * k) % 18)) = 0 ] || continue
                ! wanted "$name $world $outcome" || echo "$name $world $outcome"
            done
        done
        i=$((i + 1))
    done | share
}

# Where the last write goes is known from the operation that went well, so those come first.
needed_first() {
    awk '$3 == "success" || $3 ~ /^write-(middle|end)$/ { print $1, $2, "success" }' "$1" | sort -u
}

work() {
    local number=0 name world outcome
    while read -r name world outcome; do
        [ $((number++ % workers)) = "$2" ] || continue
        echo "$name $world $outcome" >"$at"
        try "$name" "$world" "$outcome"
    done <"$1" >>"$results"
}

print_results() {
    awk '{ print $1 "|" $2 "\t" $3 "\t" ($4 == "ok" ? "ok" : "FAIL") }' "$1" |
        print_table "operation|world" "${outcomes[*]}"
}

template=$(mktemp -d "${TMPDIR:-/tmp}/qblk-matrix.XXXXXX") || exit 1
trap 'rm -rf "$template" "$images"' EXIT
mkdir -p "$(dirname "$table")"
dir=$template
(cd "$template" && make_images) || { cat "$template/why"; echo "0 passed, 1 failed"; exit 1; }

began=$SECONDS
list_cells >"$template/list"
needed_first "$template/list" >"$template/first"
grep -vxFf "$template/first" "$template/list" >"$template/rest"
[ -s "$template/first" ] || cp "$template/list" "$template/rest"
work_off work "$template/first"
work_off work "$template/rest"
cat "$template"/results.* | sort -k1,2 >"$template/results"
print_results "$template/results" | tee "$table"
grep ' FAILED ' "$template/results"
passed=$(grep -c '^[^ ]* [^ ]* [^ ]* ok' "$template/results")
failed=$(($(sort -u "$template/first" "$template/rest" | wc -l) - passed))
echo "$((SECONDS - began)) s; a full disk is $([ -n "$may_mount" ] && echo real || echo played)"
[ -z "${VERBOSE-}" ] || cat "$template/results"
echo "$passed passed, $failed failed"
# The slice runs under tests/run, which counts it.
[ -n "$slice" ] || [ -z "${RUN_TALLY-}" ] || echo "$passed $failed" >>"$RUN_TALLY"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
