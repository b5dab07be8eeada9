#!/usr/bin/env bash
# copy --finish --quiesce: the guest is frozen only around the end, once for all disks, and thawed whatever
# happens.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib_agent.sh"

start_two() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 1M
    start_blockdev -blockdev \
        "qcow2,node-name=other,file.driver=file,file.filename=$dir/other.qcow2" \
        -device virtio-blk-pci,id=vd1,drive=other
    remember
}

# times COMMAND N: the agent was asked that often
times() {
    [ "$(grep -c -x "$1" asked)" = "$2" ] || fail "not $2 times $1: $(tr '\n' ' ' <asked)"
}

ends() {
    start_agent
    start_two
    q 0 --json -vv copy "$@" --finish --quiesce agent
    said out '"result": ?"finished"'
    times fsfreeze-freeze 1
    times fsfreeze-thaw 1
    # Ready, frozen, ended, thawed.
    grep -oE 'guest-fsfreeze-(freeze|thaw)"|"execute":"block-job-cancel' err | uniq |
        tr -d '"' | sed 's/.*://' | tr '\n' ' ' >order
    [[ $(cat order) == *"freeze block-job-cancel "*thaw* ]] || fail "the order is $(cat order)"
    nothing_left
    unchanged
    stop_qemu
    same copy.qcow2 qcow2
    stop_agent
}

refused() {
    start_agent '*guest-fsfreeze-freeze=error:no file system can be frozen'
    start_two
    q 1 copy "$@" --finish --quiesce "$dir/agent"
    unchanged
    nothing_left
    [ ! -e copy.qcow2 ] || fail "the target is still there"
    q 0 copy "$@" --quiesce "$dir/agent" --quiesce-optional
    said err 'froze'
    unchanged
    stop_agent
}

# Nothing is copied first: a guest that could not be frozen hours later is seen at once.
hopeless() {
    local why=$1
    start_two
    remember
    q 6 copy vd0 "$dir/copy.qcow2" --finish --quiesce "$dir/agent"
    said err "$why"
    q 6 copy vd0="$dir/copy.qcow2" vd1="$dir/copy1.qcow2" --finish --quiesce "$dir/agent"
    said err "$why"
    unchanged
    nothing_left
    [ ! -e copy.qcow2 ] && [ ! -e copy1.qcow2 ] || fail "a target was made"
}

no_agent() {
    hopeless 'agent does not exist'
    q 0 copy vd0 "$dir/copy.qcow2" --quiesce "$dir/agent" --quiesce-optional
    said err 'not quiesced'
}

may_not() {
    start_agent '*guest-fsfreeze-freeze=disabled'
    hopeless 'may not freeze'
    stop_agent
}

frozen() {
    start_agent frozen
    hopeless 'frozen already'
    times fsfreeze-thaw 0
    stop_agent
}

# The agent is silent: whoever does not want to wait for it need not, and nothing was changed.
impatient() {
    local signal=$1 status=$2
    shift 2
    start_agent '*guest-info=ignore'
    start_two
    remember
    q_start --json copy "$@" --finish --quiesce "$dir/agent"
    wait_said asked info
    kill "-$signal" "$qblk_pid"
    q_ended "$status"
    said out 'before anything was changed|cancelled by the user|nothing was changed yet'
    unchanged
    nothing_left
    stop_agent
}

senseless() {
    start_two
    q 2 copy vd0 "$dir/copy.qcow2" --pivot --quiesce "$dir/agent"
    said err 'which only --finish does'
    q 2 copy vd0 "$dir/copy.qcow2" --keep --quiesce "$dir/agent"
    q 2 copy vd0 "$dir/copy.qcow2" --quiesce-optional
    said err 'needs --quiesce'
    # A name that is relative to a directory that is gone means nothing.
    mkdir gone
    (cd gone && rmdir "$dir/gone" &&
        timeout "$patience" "$qblk" -s "$dir/m0" copy vd0 "$dir/copy.qcow2" --finish --quiesce agent >"$dir/out" 2>"$dir/err")
    [ $? = 2 ] || fail "not refused: $(cat err)"
    said err '^qblk: --quiesce agent: the directory that this is relative to: No such file'
    unchanged
}

run_test "frozen around the end" ends vd0 copy.qcow2
run_test "frozen once around the end of two disks" ends vd0=copy.qcow2 vd1=copy1.qcow2
run_test "a guest that cannot be frozen" refused vd0 copy.qcow2
run_test "a guest that cannot be frozen, two disks" refused vd0=copy.qcow2 vd1=copy1.qcow2
run_test "no agent, seen before anything is copied" no_agent
run_test "an agent that may not freeze" may_not
run_test "a guest that somebody else has frozen" frozen
run_test "Ctrl-C while the agent is asked" impatient INT 5 vd0 copy.qcow2
run_test "Ctrl-C while the agent is asked, two disks" impatient INT 5 vd0=copy.qcow2 vd1=copy1.qcow2
run_test "quiescing where it makes no sense" senseless
finish
