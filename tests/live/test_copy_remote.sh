#!/usr/bin/env bash
# Copies to what is no file of this host: an export of an NBD server, a node described as JSON.
. "$(dirname "$0")/lib.sh"

# A second storage daemon that serves copy.raw (or $1) as "out".
start_server() {
    local image=${1:-copy.raw} format=${2:-raw}
    serve "$dir/server" \
        --blockdev "file,node-name=file,filename=$dir/$image" \
        --blockdev "$format,node-name=out,file=file" \
        --nbd-server "addr.type=unix,addr.path=$dir/nbd-out" \
        --export nbd,id=ex,node-name=out,name=out,writable=on
    uri="nbd+unix:///out?socket=$dir/nbd-out"
}

stop_server() {
    end_daemon "$server_pid" "$dir/server"
}

to_nbd() {
    make_chain
    truncate -s 8M copy.raw
    start_server
    start "$1"
    q 0 --json copy "$disk" "$uri" "--$2" ${3:+"$3"}
    result result "$4"
    nothing_left
    [ "$2" = finish ] || guest_write 0x61 2M 128k
    stop_qemu
    stop_server
    same copy.raw raw
}

# The export is of raw bytes in which there is a qcow2 image.
qcow2_over_nbd() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 copy.qcow2 8M
    truncate -s 16M copy.qcow2
    start_server copy.qcow2
    start_blockdev
    q 0 --json copy vd0 "$uri" --format qcow2 --pivot
    result result pivoted
    guest_write 0x61 2M 128k
    stop_qemu
    stop_server
    same copy.qcow2 qcow2
}

refused() {
    local status=$1 pattern=$2
    shift 2
    q "$status" copy vd0 "$@"
    said err "$pattern"
    unchanged
}

not_there() {
    make_chain
    truncate -s 4M copy.raw
    start_server
    start_blockdev
    remember
    refused 6 'nobody.*No such file|Connection refused' "nbd+unix:///out?socket=$dir/nobody" --pivot
    refused 6 'other' "nbd+unix:///other?socket=$dir/nbd-out"
    refused 6 '4194304' "$uri" --pivot
    refused 6 'target' --blockdev '{"driver": "file", "filename": "'"$dir"'/nothing"}'
    refused 6 '4194304' --blockdev '{"driver": "file", "filename": "'"$dir"'/copy.raw"}'
    stop_qemu
    stop_server
}

malformed() {
    make_chain
    start_blockdev
    remember
    refused 2 'no host' nbd:///out
    refused 2 'port' nbd://host:0/out
    refused 2 'port' nbd://host:70000/out
    refused 2 'port' nbd://host:/out
    refused 2 'user' nbd://me@host/out
    refused 2 'TLS' nbds://host/out
    refused 2 'scheme' nbd+ssh://host/out
    refused 2 'scheme' nbd:host:10809
    refused 2 'bracket' 'nbd://[::1/out'
    refused 2 'address and its port' 'nbd://[::1]x/out'
    refused 2 'behind \?' 'nbd://host/out?socket=/x'
    refused 2 'socket' nbd+unix:///out
    refused 2 'socket' 'nbd+unix:///out?path=/x'
    refused 2 'absolute' 'nbd+unix:///out?socket=x'
    refused 2 'three slashes' 'nbd+unix://host/out?socket=/x'
    refused 2 'more behind' 'nbd+unix:///out?socket=/x&tls=1'
    refused 2 'fragment' 'nbd://host/out#1'
    refused 2 'hex' 'nbd://host/%zz'
    refused 2 'JSON' --blockdev 'driver=file'
    refused 2 'object' --blockdev '[]'
    refused 2 'driver' --blockdev '{}'
    refused 2 'node-name' --blockdev '{"driver": "file", "node-name": "x"}'
    refused 2 'read-only' --blockdev '{"driver": "file", "read-only": false}'
    refused 2 'format' --blockdev '{"driver": "file"}' --format raw
    refused 2 'legacy' --blockdev '{"driver": "file"}' --legacy
    refused 2 'one disk' "$dir/x" --blockdev '{"driver": "file"}'
}

described() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 copy.qcow2 8M
    start "$1"
    q 0 --json copy "$disk" --blockdev '{"driver": "qcow2", "discard": "unmap", "file":
        {"driver": "file", "filename": "'"$dir"'/copy.qcow2"}}' "--$2"
    result result "$3"
    nothing_left
    [ "$2" = finish ] || guest_write 0x61 2M 128k
    stop_qemu
    same copy.qcow2 qcow2
}

# The server dies in the middle: the error names the target, and the disk is where it was.
vanished() {
    make_long_chain
    truncate -s 64M copy.raw
    start_server
    start_blockdev
    remember
    q_start --json copy vd0 "$uri" --pivot --speed 64K
    wait_job copy running
    kill -KILL "$server_pid"
    wait "$server_pid" 2>/dev/null
    raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}'
    q_ended 1
    said out '"job-failed"'
    tail -n 1 out | grep -qF "(disk vd0, target $uri)" || fail "the target is not named: $(tail -n 1 out)"
    unchanged
    guest_write 0x61 2M 128k
    stop_qemu
    same top.qcow2 qcow2
}

# QEMU notices only by the failure of its next request that the old connection is of no use, so the
# first resume may end in another stop.
resume_until_ready() {
    event="JOB_STATUS_CHANGE $job paused -"
    until [[ $event == *" ready "* ]]; do
        [[ $event != *" paused "* ]] ||
            raw '{"execute": "job-resume", "arguments": {"id": "'"$job"'"}}'
        wait_event "JOB_STATUS_CHANGE $job *"
    done
}

# The same with a policy that waits: another server, a resume, and it goes on.
waits_for_another() {
    make_long_chain
    truncate -s 64M copy.raw
    start_server
    start_blockdev
    q_start --json copy vd0 "$uri" --pivot --speed 64K --on-target-error stop
    wait_job copy running
    kill -KILL "$server_pid"
    wait "$server_pid" 2>/dev/null
    rm -f nbd-out server
    raw '{"execute": "block-job-set-speed", "arguments": {"device": "'"$job"'", "speed": 0}}'
    wait_event "JOB_STATUS_CHANGE $job paused *"
    start_server
    resume_until_ready
    q_ended 0
    nothing_left
    guest_write 0x61 2M 128k
    stop_qemu
    stop_server
    same copy.raw raw
}

# A dead client's operation: its nodes go, and nothing else does.
recovered() {
    make_long_chain
    truncate -s 64M copy.raw
    start_server
    start_blockdev
    remember
    case $1 in
    nbd) q_start copy vd0 "$uri" --pivot --speed 64K ;;
    json) q_start copy vd0 --pivot --speed 64K --blockdev '{"driver": "nbd", "export": "out",
        "server": {"type": "unix", "path": "'"$dir"'/nbd-out"}}' ;;
    esac
    wait_job copy running
    kill -KILL "$qblk_pid"
    wait "$qblk_pid"
    if [ "$2" = undo ]; then
        q 0 recover --undo
        unchanged
        stop_qemu
        stop_server
        [ -s copy.raw ] || fail "the image of the server is gone"
        return
    fi
    q 0 job speed "$job" 0
    q 0 --json recover
    result result pivoted
    nothing_left
    stop_qemu
    stop_server
    same copy.raw raw
}

# QEMU dies: what the target is worth is said, by its name.
lost() {
    make_long_chain
    truncate -s 64M copy.raw
    start_server
    start_blockdev
    q_start --json copy vd0 "$uri" --pivot --speed 64K
    wait_job copy running
    kill -KILL "$qemu_pid"
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
    q_ended 3
    said out "target nbd.unix:///out.socket=$dir/nbd-out, to be written by this operation, is incomplete"
    stop_server
}

to_backup() {
    make_chain
    truncate -s 8M copy.raw
    start_server
    start_blockdev
    q 0 --json backup vd0 "$uri"
    result result completed
    nothing_left
    stop_qemu
    stop_server
    same copy.raw raw
}

for world in blockdev drive; do
    run_test "copy to an NBD server and pivot, $world" to_nbd "$world" pivot "" pivoted
    run_test "copy to an NBD server and finish, $world" to_nbd "$world" finish "" finished
    run_test "copy to a described node and pivot, $world" described "$world" pivot pivoted
done
run_test "copy to an NBD server by drive-mirror" to_nbd drive pivot --legacy pivoted
run_test "copy to a described node and finish" described blockdev finish finished
run_test "copy into a qcow2 image behind NBD" qcow2_over_nbd
run_test "backup to an NBD server" to_backup
run_test "a server, an export or a size that is not there is refused" not_there
run_test "malformed targets are refused" malformed
run_test "a server that vanishes fails the copy" vanished
run_test "a server that vanishes stops the copy, and it goes on with another" waits_for_another
run_test "a lost QEMU: what the server's image is worth" lost
for target in nbd json; do
    run_test "killed, then recovered: $target" recovered "$target" finish
    run_test "killed, then undone: $target" recovered "$target" undo
done
finish
