#!/usr/bin/env bash
# A real guest: a small Linux under TCG whose agent freezes a real ext4 file system with a writer at
# work. It takes the kernel from Debian's archive, and a minute: for the longer checks.
. "$(dirname "$0")/lib.sh"

patience=300 # a whole machine is emulated
cutproxy=$build/tests/kill/cutproxy
image=$root/build/guest
PATH=$PATH:/usr/sbin:/sbin
why=$("$root/tools/guest-image" "$image" 2>&1)
case $? in
0) ;;
77) echo "skip: $why"; exit 77 ;;
*) echo "not ok guest image: $why"; exit 1 ;;
esac
for needed in mkfs.ext4 e2fsck dumpe2fs debugfs; do
    command -v "$needed" >/dev/null || { echo "skip: no $needed here"; exit 77; }
done

# ---- the guest ------------------------------------------------------------------------------------

# hear: the next line of the guest's console, in $line; guest-image tells which there are
hear() {
    read -r -t "$patience" -u "$console" line || fail "the guest says nothing more"
    echo "$line" >>console.log
    [[ $line != guest:* && $line != *"Kernel panic"* ]] || fail "$line"
}

# console WORD: up to a line that begins so
console() {
    hear
    while [[ $line != "$1"* ]]; do hear; done
}

# catch_up: what the guest has said so far is behind us
catch_up() {
    marks=$((${marks-0} + 1))
    echo "mark$marks" >con.in
    console "heard mark$marks"
}

# written: waits for one more write, and sets $count to what was written
written() {
    console "wrote "
    count=${line#wrote }
}

start_guest() {
    truncate -s 32M disk.raw && mkfs.ext4 -q disk.raw || fail "mkfs.ext4 failed"
    mkfifo con.in con.out
    world=guest disk=vd0
    start_qemu -m 256 -kernel "$image/vmlinuz" -initrd "$image/initrd" \
        -append "console=ttyS0 quiet panic=-1 mitigations=off" \
        -chardev "pipe,id=con,path=$dir/con" -serial chardev:con \
        -chardev "socket,id=agent,path=$dir/agent,server=on,wait=off" \
        -device virtio-serial-pci \
        -device virtserialport,id=port,chardev=agent,name=org.qemu.guest_agent.0 \
        -blockdev "file,node-name=disk,filename=$dir/disk.raw" -device virtio-blk-pci,id=vd0,drive=disk
    exec {console}<con.out
    raw '{"execute": "cont"}' || fail "the guest does not start"
    console ready
    # The agent has opened its port.
    wait_event "VSERPORT_CHANGE port *"
    written
    written
}

# q_agent VERB PATTERN: with all the time that an emulated guest on a busy machine may need
q_agent() {
    q 0 --timeout "$patience" agent "$1" agent
    said out "$2"
}

# Of a write that was done just before, the guest may still tell; of no other.
nothing_is_written() {
    local ticks=0 late=0
    catch_up
    while [ "$ticks" -lt 8 ]; do
        hear
        [[ $line != tick* ]] || ticks=$((ticks + 1))
        [[ $line != wrote* ]] || late=$((late + 1))
        [ "$late" -le 1 ] || fail "the guest writes while it is frozen"
    done
}

goes_on_writing() {
    catch_up
    written
    written
    written
}

# ---- what is in an image --------------------------------------------------------------------------

# view IMAGE FORMAT: what the guest would see in it, in view.raw
view() {
    "$QEMU_IMG" convert -f "$2" -O raw "$1" view.raw || fail "cannot convert $1"
}

# holds LEAST MOST: what the guest had written last, as of view.raw
holds() {
    local number
    number=$(debugfs -R 'cat /count' view.raw 2>/dev/null)
    [[ $number =~ ^[0-9]{8}$ ]] || fail "the guest's file holds '$number'"
    number=$((10#$number))
    [ "$number" -ge "$1" ] && [ "$number" -le "$2" ] ||
        fail "the guest's last write is $number, not one of $1 to $2"
}

needs_recovery() {
    dumpe2fs -h view.raw 2>/dev/null >super || fail "no file system"
    grep -q '^Filesystem features:.* needs_recovery' super
}

# clean: the file system needs no journal to be replayed, and nothing is wrong with it
clean() {
    ! needs_recovery || fail "the journal is not clean"
    e2fsck -f -n view.raw >fsck 2>&1 || fail "e2fsck finds fault: $(tail -n 3 fsck | tr '\n' ' ')"
}

# mended: as after a loss of power, it has a journal that makes it whole
mended() {
    needs_recovery || fail "the file system was not in use"
    e2fsck -f -p view.raw >fsck 2>&1
    [ $? -le 1 ] || fail "e2fsck finds fault: $(tail -n 3 fsck | tr '\n' ' ')"
}

# ---- tests ----------------------------------------------------------------------------------------

# Whoever freezes and goes: a client of the test's own.
freeze() {
    timeout "$patience" "$rawqmp" agent ask $'{"execute": "guest-fsfreeze-freeze"}\n' >answer
    said answer '"return": 1'
}

frozen_and_thawed() {
    start_guest
    q_agent status '^thawed; agent [0-9.]+$'
    freeze
    q_agent status '^frozen'
    nothing_is_written
    q_agent thaw '^thawed; 1 file system had been frozen'
    goes_on_writing
    q 0 --json --timeout "$patience" agent status agent
    said out '"frozen": false, "can_freeze": true'

    # A thaw whose sender does not wait for the answer, as a client sends that has no time for it:
    # the agent waits for somebody to take its answers, and carries out nothing more until then.
    freeze
    nothing_is_written
    "$rawqmp" agent say $'{"execute": "guest-fsfreeze-thaw"}\n\xff{"execute": "guest-fsfreeze-thaw"}\n' ||
        fail "cannot write"
    goes_on_writing
    q_agent status '^thawed'
}

quiesced() {
    local least most last
    start_guest
    q_agent status '^thawed'
    least=$count
    q 0 --json snapshot vd0=quiesced.qcow2 --quiesce agent
    result result completed
    catch_up
    written
    most=$count
    goes_on_writing
    q_agent status '^thawed'
    # The same without: that is how the file system looks while it is in use.
    q 0 snapshot vd0=plain.qcow2
    goes_on_writing
    last=$count
    nothing_left
    chain_is plain.qcow2 quiesced.qcow2 disk.raw
    stop_qemu

    view disk.raw raw
    clean
    holds "$least" "$most"
    view quiesced.qcow2 qcow2
    mended
    view plain.qcow2 qcow2
    mended
    holds "$last" 99999999
}

# The client is killed when QEMU has taken the snapshot and the guest is frozen.
killed() {
    local least most last
    start_guest
    q_agent status '^thawed'
    least=$count
    "$cutproxy" -m kill -x '"blockdev-snapshot"' m0 own report \
        "$qblk" -s "$dir/own" snapshot vd0=snap.qcow2 --quiesce agent >out 2>err </dev/null
    [ $? = 137 ] || fail "the client was not killed: $(tail -n 3 err | tr '\n' ' ')"
    q_agent status '^frozen'
    nothing_is_written
    q 0 recover
    said err 'had been left frozen, and was thawed'
    catch_up
    written
    most=$count
    goes_on_writing
    last=$count
    q_agent status '^thawed'
    q 0 recover
    said out '^nothing to recover$'
    nothing_left
    chain_is snap.qcow2 disk.raw
    stop_qemu

    view disk.raw raw
    clean
    holds "$least" "$most"
    view snap.qcow2 qcow2
    mended
    holds "$last" 99999999
}

run_test "a real file system is frozen, seen to be, and thawed" frozen_and_thawed
run_test "a snapshot of a writing guest is clean if it was quiesced" quiesced
run_test "a guest that a dead client left frozen is thawed by recover" killed

finish
