#!/usr/bin/env bash
# Every example program does what its first lines say, on a real QEMU.
. "$(dirname "$0")/lib.sh"

examples=$build/tests/examples

# example NAME STATUS ARG...: output in out and err
example() {
    local name=$1 wanted=$2 status
    shift 2
    timeout -k 5 "$patience" "$examples/$name" "$@" >out 2>err </dev/null
    status=$?
    [ "$status" = "$wanted" ] || fail "$name ended with $status: $(tail -n 3 out err | tr '\n' ' ')"
}

example_pull() {
    make_chain
    start_blockdev
    example pull 0 "$dir/m0" vd0
    said out 'vd0: completed'
    nothing_left
    chain_is top.qcow2
    example pull 1 "$dir/m0" nonesuch
    said err nonesuch
    stop_qemu
    same top.qcow2 qcow2
}

example_copy_ev() {
    make_chain
    start_blockdev
    example copy_ev 0 "$dir/m0" vd0 "$dir/copy.qcow2"
    said out 'vd0: pivoted to '
    nothing_left
    chain_is copy.qcow2
    guest_write 0x31 2M 64k
    stop_qemu
    same copy.qcow2 qcow2
}

# It follows somebody else's jobs until QEMU ends.
example_follow() {
    local line
    make_chain
    start_blockdev
    exec {followed}< <(exec "$examples/follow" "$dir/m0" 2>err)
    # The job is long enough to be seen however late the follower comes, and then let go.
    raw '{"execute": "block-stream", "arguments": {"job-id": "theirs", "device": "top",
          "speed": 1, "auto-dismiss": false}}'
    while read -r -t "$patience" -u "$followed" line; do
        case $line in "stream theirs: "*) break ;; esac
    done
    raw '{"execute": "job-cancel", "arguments": {"id": "theirs"}}'
    while read -r -t "$patience" -u "$followed" line; do
        case $line in "stream theirs: cancelled"*) break ;; esac
    done
    [[ $line == "stream theirs: cancelled"* ]] || fail "follow never says how the job ended"
    stop_qemu
    cat <&"$followed" >rest
}

example_raw() {
    make_chain
    start_blockdev
    example raw 0 "$dir/m0" '{"execute": "query-name", "id": 17}'
    said out '"id": ?17'
    example raw 0 "$dir/m0" '{"execute": "nonesuch"}'
    said out CommandNotFound
    "$examples/raw" "$dir/m0" '{' >out 2>err && fail "raw takes half a command"
    said err .
}

for source in "$root"/tests/examples/*.c; do
    name=$(basename "$source" .c)
    if declare -F "example_$name" >/dev/null; then
        run_test "example $name" "example_$name"
    else
        echo "not ok example $name: it has no test in tests/live/test_examples.sh"
        live_failed=1
    fi
done
finish
