#!/bin/sh
# tests/run counts what programs say, fails for what failed, died or hung, and for a skip where a
# skip is a failure.
. "$(dirname "$0")/lib.sh"
unset CI SKIP_IS_FAIL RUN_TALLY

# tells NAME STATUS LAST-LINE ITEM...
tells() {
    name=$1 wanted=$2 line=$3
    shift 3
    said=$(TEST_TIMEOUT=2 tests/run -j 2 -o "$scratch/out" "$@")
    status=$?
    if [ "$status" = "$wanted" ] && [ "$(echo "$said" | tail -n 1)" = "$line" ]; then
        echo "ok $name"
    else
        echo "not ok $name: status $status: $said"
        failed=1
    fi
}

tells "a program is one test" 0 '2 passed, 0 failed' 'a=exit 0' 'b=true'
tells "the output of check is counted" 1 '7 passed, 2 failed' \
    'a=echo "77%: Checks: 9, Failures: 1, Errors: 1"; exit 1'
tells "lines are counted" 1 '2 passed, 1 failed' \
    'a=echo ok one; echo "ok two"; echo "not ok three: why"; exit 1'
tells "a failure counts even if the program ends well" 1 '1 passed, 1 failed' \
    'a=echo ok one; echo "not ok two"'
tells "a bad end counts even if no test failed" 1 '1 passed, 1 failed' 'a=echo ok one; exit 3'
tells "programs of one name are counted apart" 1 '1 passed, 1 failed' 'a=exit 0' 'a=exit 1'
tells "a program that hangs has failed" 1 '1 passed, 1 failed' 'a=tail -f /dev/null' 'b=true'
tells "a crash is a failure" 1 '1 passed, 1 failed' 'a=kill -SEGV $$' 'b=true'
tells "a skip is told" 0 '1 passed, 0 failed, 1 skipped' 'a=echo skip: no tool; exit 77' 'b=true'
tells "nothing but skips is no success" 1 '0 passed, 0 failed, 1 skipped' 'a=exit 77'
export SKIP_IS_FAIL=1
tells "a skip is a failure where it must be" 1 '1 passed, 1 failed' 'a=exit 77' 'b=true'
unset SKIP_IS_FAIL
export CI=true
tells "and so under CI" 1 '1 passed, 1 failed' 'a=exit 77' 'b=true'

tests/run -o "$scratch/out" 'a=echo a secret; exit 0' 'b=echo the reason; exit 1' >"$scratch/log"
if grep -q secret "$scratch/log" || ! grep -q 'the reason' "$scratch/log"; then
    echo "not ok the log of those that fail is shown, and no other"
    failed=1
else
    echo "ok the log of those that fail is shown, and no other"
fi
exit $failed
