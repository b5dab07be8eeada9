#!/usr/bin/env bash
# The demo does the main job and leaves nothing behind; with SOCKET= it only looks.
. "$(dirname "$0")/lib.sh"

only_looks() {
    make_chain
    start_blockdev
    remember
    QBLK=$qblk SOCKET=$dir/m0 "$root/tools/demo" >out 2>err || fail "demo: $(cat err)"
    said out 'vd0'
    said out 'base.qcow2'
    unchanged
    if QBLK=$qblk SOCKET=$dir/none "$root/tools/demo" >out 2>err; then
        fail "the demo finds a QEMU where there is none"
    fi
}

main_job() {
    mkdir tmp
    # Its scratch directory is made in ours, so that what it forgets is seen.
    QBLK=$qblk TMPDIR=$dir/tmp "$root/tools/demo" >out 2>err || fail "demo: $(cat err)"
    [ "$(grep -c 'Images are identical' out)" = 2 ] || fail "the images were not compared"
    said out 'pulled vd0'
    said out 'pivoted'
    said out 'backed up vd0'
    [ ! -s err ] || fail "the demo complains: $(cat err)"
    [ -z "$(ls -A tmp)" ] || fail "the demo left $(ls -A tmp)"
}

interrupted() {
    local demo
    mkdir tmp
    : >out # before anybody reads it
    set -m
    QBLK=$qblk TMPDIR=$dir/tmp "$root/tools/demo" >>out 2>err </dev/null &
    demo=$!
    set +m
    started="${started-} $demo"
    timeout "$patience" tail -n +1 -f out 2>/dev/null | grep -q -m 1 'Pull:' || fail "no demo"
    kill -TERM "$demo"
    wait "$demo"
    [ -z "$(ls -A tmp)" ] || fail "an interrupted demo left $(ls -A tmp)"
}

run_test "with SOCKET= it shows a QEMU and changes nothing" only_looks
run_test "the main job, from the chain to identical images" main_job
run_test "interrupted, it cleans up as well" interrupted
finish
