#!/bin/sh
# tests/starve finds each of the ways in which a test may bear a failing allocation badly, and nothing else.
. "$(dirname "$0")/lib.sh"
starved=build/test/tests/lint/starved

# finds TEST WHAT LAST-LINE [STARVE...]: the failures are said to be WHAT
finds() {
    test=$1 what=$2 line=$3
    shift 3
    said=$(env STARVE=9 "$@" STARVE_TEST="$test" "$starved" 2>"$scratch/log")
    status=$?
    case $line in *' 0 failed') wanted=0 ;; *) wanted=1 ;; esac
    found=$(echo "$said" | sed -n 's/^not ok .*: //p' | sort -u)
    if [ "$status" = "$wanted" ] && [ "$found" = "$what" ] && [ "$(echo "$said" | tail -n 1)" = "$line" ]; then
        echo "ok $test $*"
    else
        echo "not ok $test $*: status $status: $said $(cat "$scratch/log")"
        failed=1
    fi
}

# One run with all memory; the first and the second allocation failing, each alone and with all after it.
finds bears_it '' '5 passed, 0 failed'
finds claims_otherwise '' '5 passed, 0 failed'
finds crashes 'killed by Segmentation fault' '2 passed, 3 failed'
finds exits 'it exits' '2 passed, 3 failed'
finds loses 'memory is lost' '3 passed, 2 failed'
finds loses_in_its_teardown 'memory is lost' '3 passed, 2 failed'
finds frees_twice 'killed by Aborted' '3 passed, 2 failed'
finds writes_late 'memory is damaged' '3 passed, 2 failed'
# Two of the ways in the first case, and its claims; every n of each of the four cases besides.
finds loses_in_its_third_case '' '9 passed, 0 failed' STARVE=0
finds loses_in_its_third_case 'memory is lost' '44 passed, 2 failed' STARVE=0 STARVE_CASES=1
finds loses_in_its_third_case 'memory is lost' '17 passed, 2 failed' STARVE=0 STARVE_CASES=3
finds loses_in_its_third_case '' '19 passed, 0 failed' STARVE=0 STARVE_CASES=3 STARVE_FIRST=2
# A process is taken back as a whole, whatever its heap is like.
finds counts_above_a_hole_in_the_heap '' '26 passed, 0 failed' STARVE=0 STARVE_CASES=1
exit $failed
