#!/usr/bin/env bash
# The guest agent's channel: Debian's qemu-ga on a socket, for all that does not freeze; and a fake for
# what goes wrong, as the command sees it.
#
# qemu-ga runs on this machine, not in a guest: freezing is blocked in it, always, and the test looks
# that it is before it does anything else.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_agent.sh"

never=guest-fsfreeze-freeze,guest-fsfreeze-freeze-list,guest-shutdown,guest-suspend-disk
never=$never,guest-suspend-ram,guest-suspend-hybrid,guest-exec,guest-set-time,guest-set-user-password
never=$never,guest-file-open,guest-set-vcpus,guest-fstrim,guest-set-memory-blocks

# start_real: Debian's agent at $dir/agent
start_real() {
    command -v qemu-ga >/dev/null || skip "no qemu-ga here"
    mkdir state
    run_agent "$build/tests/live/listen" "$dir/agent" -- qemu-ga -t "$dir/state" -f "$dir/state/pid" \
        -b "$never"
    q 0 agent status "$dir/agent"
    said out 'which may not freeze'
}

# asked COMMAND...: what the fake was asked, in order
asked() {
    local got
    got=$(grep -v '^left$' asked | tr '\n' ' ')
    [ "$got" = "$* " ] || fail "the agent was asked $got, not $*"
}

real() {
    start_real
    q 0 agent ping "$dir/agent"
    said out 'the guest agent answers'
    q 0 --json agent status "$dir/agent"
    said out '"frozen": false, "can_freeze": false, "version": "[0-9.]+"'
    q 0 agent thaw "$dir/agent"
    said out 'thawed; nothing had been frozen'
    q 0 -vv agent ping "$dir/agent"
    said err '> \{"execute":"guest-ping"\}'
    stop_agent
}

# leftovers real|agent TEXT...: what earlier clients left: half a command, or an answer that they did not
# take.
leftovers() {
    local left
    "start_$1"
    shift
    for left in "$@"; do
        "$rawqmp" "$dir/agent" say "$left" || fail "cannot write to the agent"
        q 0 agent status "$dir/agent"
        said out '^thawed; agent [0-9.]+'
    done
    stop_agent
}

frozen() {
    start_agent frozen
    q 0 agent status "$dir/agent"
    said out '^frozen; agent 7.2.22$'
    q 0 --json agent thaw "$dir/agent"
    said out '"frozen": false, "thawed": 2'
    q 0 agent status "$dir/agent"
    said out '^thawed'
    stop_agent
    asked sync-delimited info fsfreeze-status sync-delimited fsfreeze-thaw fsfreeze-status \
        sync-delimited info fsfreeze-status
}

# A connection that breaks in the middle: the thaw comes over the next one.
broken() {
    start_agent frozen "guest-fsfreeze-thaw=$1"
    q 0 --timeout 30 agent thaw "$dir/agent"
    q 0 agent status "$dir/agent"
    said out '^thawed'
    stop_agent
}

silent() {
    start_agent frozen '*guest-sync-delimited=ignore'
    q 4 --timeout 0.2 agent status "$dir/agent"
    said err 'is qemu-ga running in the guest'
    q 4 --json --timeout 0.2 agent ping "$dir/agent"
    said out '"code": "timeout"'
    q 3 --json --timeout 30 agent ping "$dir/agent"
    said out '"code": "no-agent"'
    stop_agent
}

stubborn() {
    start_agent frozen '*guest-fsfreeze-thaw=stays'
    q 1 --json --timeout 0.3 agent thaw "$dir/agent"
    said out '"code": "frozen"'
    said out 'THE GUEST MAY STILL BE FROZEN'
    stop_agent
}

disabled() {
    start_agent frozen '*guest-fsfreeze-thaw=disabled'
    q 1 agent thaw "$dir/agent"
    said err 'STILL BE FROZEN.*has been disabled'
    stop_agent
}

nobody() {
    q 3 agent status "$dir/none"
    said err 'none does not exist'
    : >file
    q 3 agent thaw "$dir/file"
    said err 'is not a socket'
    q 2 agent thaw
    q 2 agent
    said err "needs to know what to do: ping, status or thaw"
    q 2 agent freeze "$dir/none"
    said err "there is no verb 'agent freeze'"
}

# QEMU's own monitor is not mistaken for an agent, and comes to no harm.
monitor() {
    make_chain
    start_blockdev
    q 3 agent status "$dir/m0"
    said err 'is a QMP monitor of QEMU'
    q 3 --timeout 5 agent thaw "$dir/m0"
    said err 'is a QMP monitor of QEMU'
    q 0 disks
}

run_test "Debian's agent" real
run_test "what earlier clients left to Debian's agent" leftovers real \
    '{"exec' '{"execute": "guest-ping' '{"a": [[['
# The real one, on a socket of its own, ends when a client leaves without taking the answer.
run_test "what earlier clients left to the fake" leftovers agent \
    '{"exec' '{"execute": "guest-info"}' '{"execute": "guest-ping' '{"a": [[['
run_test "a frozen guest is seen and thawed" frozen
for break in close half garbage huge; do
    run_test "a thaw that breaks ($break) is repeated" broken "$break"
done
run_test "an agent that does not answer" silent
run_test "a guest that stays frozen" stubborn
run_test "an agent that may not thaw" disabled
run_test "no agent at all" nobody
run_test "a monitor is no agent" monitor

finish
