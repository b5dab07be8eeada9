# tests/lint/lib.sh - for tests of the checkers: a good sample tree passes, each spoiled one is caught.
# shellcheck shell=sh disable=SC2034

set -u
scratch=$(mktemp -d) || exit 2
trap 'rm -rf "$scratch"' EXIT
failed=0

# fresh: an empty sample tree, in $tree
fresh() {
    tree=$scratch/tree
    rm -rf "$tree"
    mkdir -p "$tree/src/base" "$tree/src/wire" "$tree/src/qmp" "$tree/src/codec" \
        "$tree/src/monitor" "$tree/include/qblk" "$tree/tools/qblk"
}

# passes NAME COMMAND...
passes() {
    name=$1
    shift
    if "$@" >"$scratch/log" 2>&1; then
        echo "ok $name"
    else
        echo "not ok $name: exit status $?: $(cat "$scratch/log")"
        failed=1
    fi
}

# caught NAME PATTERN COMMAND...: must end with status 1 and say what PATTERN says
caught() {
    name=$1 pattern=$2
    shift 2
    "$@" >"$scratch/log" 2>&1
    status=$?
    if [ "$status" = 1 ] && grep -q -e "$pattern" "$scratch/log"; then
        echo "ok $name"
    else
        echo "not ok $name: exit status $status (wanted 1), said: $(cat "$scratch/log")"
        failed=1
    fi
}
