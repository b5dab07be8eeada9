#!/usr/bin/env bash
# Golden tests of qapi-gen: run.sh [--bless] PATH-OF-QAPI-GEN
#
# A case is a folder with in*.json and what must come of it: out.h, out.c and out.7 (the manual
# page) of a good schema, or err (exact, with exit status 1) of a bad one. --bless writes what comes
# now; look at the difference before it is committed.
set -u

bless=0
if [ "${1-}" = --bless ]; then
    bless=1
    shift
fi
if [ $# -ne 1 ] || [ ! -x "$1" ]; then
    echo "usage: run.sh [--bless] PATH-OF-QAPI-GEN" >&2
    exit 2
fi
gen=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
work=$(mktemp -d) || exit 2
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

fail() {
    echo "FAILED $1: $2"
    failed=$((failed + 1))
}

# same NAME EXPECTED ACTUAL
same() {
    if [ $bless -eq 1 ]; then
        cp "$3" "$2"
    elif ! diff -u "$2" "$3"; then
        return 1
    fi
}

good() {
    "$gen" -o "$work" in*.json 2>"$work/err" || return 1
    "$gen" -d in*.json >"$work/out.7" 2>>"$work/err" || return 1
    same "$1" out.h "$work/qapi_types.h" && same "$1" out.c "$work/qapi_types.c" &&
        same "$1" out.7 "$work/out.7" || return 1
    # What is generated must compile.
    "${CC:-cc}" -std=gnu11 -Wall -Wextra -Wpedantic -Wconversion -Werror -fsyntax-only \
        -I"$work" -I"$root/src" -I"$root/include" "$work/qapi_types.c"
}

bad() {
    "$gen" -o "$work/none" in*.json >"$work/out" 2>"$work/err"
    status=$?
    same "$1" err "$work/err" && [ $status -eq 1 ] && [ ! -s "$work/out" ] && [ ! -e "$work/none" ]
}

for dir in "$here"/*/; do
    name=$(basename "$dir")
    cd "$dir" || exit 2
    case $name in good*) kind=good ;; *) kind=bad ;; esac
    if $kind "$name"; then
        passed=$((passed + 1))
    else
        fail "$name" "$(cat "$work/err")"
    fi
done

# A file whose text has not changed is left alone; one whose text has changed is not.
cd "$here/good-small" || exit 2
mkdir "$work/again"
"$gen" -o "$work/again" in.json
touch -t 200101010000 "$work/again/qapi_types.h"
touch -t 200201010000 "$work/between"
echo '/* old */' >"$work/again/qapi_types.c"
"$gen" -o "$work/again" in.json
if [ -n "$(find "$work/again" -name qapi_types.h -newer "$work/between")" ]; then
    fail unchanged "qapi_types.h was written again"
elif ! cmp -s out.c "$work/again/qapi_types.c"; then
    fail unchanged "qapi_types.c was not written again"
else
    passed=$((passed + 1))
fi

# expect STATUS TEXT ARGUMENTS...: the status, and a text somewhere in what is said
expect() {
    want=$1 text=$2
    shift 2
    "$gen" "$@" >/dev/null 2>"$work/err"
    status=$?
    if [ $status -eq "$want" ] && grep -q -e "$text" "$work/err"; then
        passed=$((passed + 1))
    else
        fail "qapi-gen $*" "status $status, $(cat "$work/err")"
    fi
}
expect 2 usage
expect 2 usage in.json
expect 2 usage -d -o "$work" in.json
expect 2 usage -x in.json
expect 1 'none.json: No such file' -d none.json
expect 1 'nowhere/qapi_types.h: No such file' -o "$work/nowhere" in.json

echo "gen: $passed passed, $failed failed"
[ $failed -eq 0 ]
