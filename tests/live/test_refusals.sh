#!/usr/bin/env bash
# What cannot work is refused with status 6 before anything is changed, and a wrong command line with
# status 2 before anything is sent.
. "$(dirname "$0")/lib.sh"

# refused PATTERN ARG...: status 6, saying so, and graph and jobs are as before
refused() {
    local pattern=$1
    shift
    remember
    q 6 "$@"
    said err "$pattern"
    unchanged
    q 6 --json "$@"
    tail -n 1 out | grep -q '"error"' || fail "no error object with --json: $(tail -n 1 out)"
    unchanged
}

unknown_disk() {
    make_chain
    start "$1"
    refused 'nonesuch' pull nonesuch
    said out 'vd0|drive0|top' # the candidates
    refused 'nonesuch' copy nonesuch "$dir/copy.qcow2"
    refused 'nonesuch' backup nonesuch "$dir/copy.qcow2"
    refused 'nonesuch' pull "$disk" --base nonesuch
    refused '@9' pull "$disk" --base @9
    [ ! -e copy.qcow2 ] || fail "a refused copy made its target"
}

busy_node() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 8M
    start "$1"
    # Only there it is said what another's job holds.
    offered x-debug-query-block-graph || skip "this QEMU does not tell what jobs hold"
    # Somebody else's job, held by its speed.
    local node=$disk
    [ "$1" != blockdev ] || node=top
    raw '{"execute": "blockdev-add", "arguments": {"driver": "qcow2", "node-name": "other",
          "file": {"driver": "file", "filename": "'"$dir"'/other.qcow2"}}}' \
        '{"execute": "blockdev-backup", "arguments": {"job-id": "theirs", "device": "'"$node"'",
          "target": "other", "sync": "full", "speed": 1, "auto-dismiss": false}}' ||
        fail "cannot start the other job"
    refused 'theirs' pull "$disk"
    refused 'theirs' copy "$disk" "$dir/copy.qcow2" --pivot
    refused 'theirs' backup "$disk" "$dir/copy.qcow2"
    raw '{"execute": "job-cancel", "arguments": {"id": "theirs"}}'
    wait_event "JOB_STATUS_CHANGE theirs concluded *"
    q 0 --json job list
    said out '"theirs"'
    raw '{"execute": "job-dismiss", "arguments": {"id": "theirs"}}'
    q 0 pull "$disk"
    nothing_left
}

# make_encrypted FILE FORMAT OPTIONS: QEMU measures how fast it is, and at times finds that it cannot (7.2)
make_encrypted() {
    local try
    for try in 1 2 3 4 5 6 7 8 9; do
        ! "$QEMU_IMG" create -q --object secret,id=key,data=abc -f "$2" -o "$3" "$1" 4M 2>why.not || return 0
        grep -q 'accurate CPU usage' why.not || skip "no encryption here: $(tail -n 1 why.not)"
    done
    skip "no encryption after $try tries"
}

# What is made for an encrypted disk would hold its data in clear; what is prepared is for its owner to know.
encrypted() {
    local image='qcow2,node-name=top,file=file,encrypt.format=luks,encrypt.key-secret=key'
    make_encrypted copy.qcow2 qcow2 encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10
    if [ "$1" = qcow2 ]; then
        cp copy.qcow2 top.qcow2
    else
        image='luks,node-name=inner,file=file,key-secret=key'
        make_encrypted top.qcow2 luks key-secret=key,iter-time=10
    fi
    "$QEMU_IMG" create -q -f qcow2 clear.qcow2 4M
    "$QEMU_IMG" create -q -f raw reference.raw 4M
    world=blockdev disk=vd0
    start_qemu -object secret,id=key,data=abc -blockdev "file,node-name=file,filename=$dir/top.qcow2" -blockdev "$image" \
        ${2:+-blockdev "$2"} -device virtio-blk-pci,id=vd0,drive=top
    guest_write 0 0 4M 0x51 1M 64k
    refused 'is encrypted .*in clear' snapshot "vd0=$dir/new.qcow2"
    refused 'is encrypted' copy vd0 "$dir/new.qcow2" --pivot
    refused 'is encrypted' copy vd0 "$dir/new.raw" --format raw --legacy
    refused 'is encrypted' backup vd0 "$dir/new.qcow2"
    [ ! -e new.qcow2 ] && [ ! -e new.raw ] || fail "a target was made"
    q 0 backup vd0 "$dir/clear.qcow2" --reuse-external --format qcow2
    q 0 copy vd0 --pivot --blockdev '{"driver": "qcow2", "file": {"driver": "file", "filename": "'"$dir"'/copy.qcow2"},
        "encrypt": {"format": "luks", "key-secret": "key"}}'
    nothing_left
    refused 'is encrypted' snapshot "vd0=$dir/new.qcow2"
    stop_qemu
    same clear.qcow2 qcow2
}

# encrypted_in_chain BASE TOP: of two images one is encrypted; what would take its data elsewhere in clear
encrypted_in_chain() {
    local image nodes=() key=encrypt.format=luks,encrypt.key-secret=key
    for image in "base $1" "top $2"; do
        if [ "${image#* }" = encrypted ]; then
            make_encrypted "${image% *}.qcow2" qcow2 "$key,encrypt.iter-time=10"
            nodes+=("qcow2,node-name=${image% *},file=${image% *}-file,$key")
        else
            "$QEMU_IMG" create -q -f qcow2 "${image% *}.qcow2" 4M
            nodes+=("qcow2,node-name=${image% *},file=${image% *}-file")
        fi
    done
    world=blockdev disk=vd0
    start_qemu -object secret,id=key,data=abc \
        -blockdev "file,node-name=base-file,filename=$dir/base.qcow2" -blockdev "${nodes[0]}" \
        -blockdev "file,node-name=top-file,filename=$dir/top.qcow2" -blockdev "${nodes[1]},backing=base" \
        -device virtio-blk-pci,id=vd0,drive=top
    for command in copy backup; do
        refused 'disk vd0 is encrypted .node (base|top)., and .*in clear' "$command" vd0 "$dir/new.qcow2"
    done
    if [ "$1" = encrypted ]; then
        q 0 copy vd0 "$dir/new.qcow2" --shallow --dry-run
        q 0 snapshot "vd0=$dir/new.qcow2" --dry-run
        q 0 pull vd0 --dry-run
        said err 'the data of the encrypted image base \(.*base.qcow2\) will be in clear in top \(.*top.qcow2\)$'
        q 0 commit vd0 --dry-run
    else
        refused 'is encrypted .node top.' copy vd0 "$dir/new.qcow2" --shallow
        q 0 commit vd0 --dry-run
        said err 'the data of the encrypted image top \(.*top.qcow2\) will be in clear in base \(.*base.qcow2\)$'
        q 0 pull vd0 --dry-run
    fi
    ! grep -q clear err || fail "a warning for nothing: $(cat err)"
    [ ! -e new.qcow2 ] || fail "a target was made"
    nothing_left
}

target_not_empty() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 precious.qcow2 8M
    io precious.qcow2 qcow2 "write -P 0xaa 0 1M"
    echo "a letter" >letter.txt
    cp precious.qcow2 precious.orig
    start "$1"
    refused 'precious.qcow2.*reuse-external' copy "$disk" "$dir/precious.qcow2" --pivot
    refused 'precious.qcow2.*reuse-external' backup "$disk" "$dir/precious.qcow2"
    refused 'letter.txt' copy "$disk" "$dir/letter.txt" --format raw
    cmp -s precious.qcow2 precious.orig || fail "the target was written to"
    [ "$(cat letter.txt)" = "a letter" ] || fail "the target was written to"
}

size_mismatch() {
    local size
    make_chain
    start "$1"
    for size in 4M 16M; do
        "$QEMU_IMG" create -q -f qcow2 "other$size.qcow2" "$size"
        refused 'size|bytes|MiB' copy "$disk" "$dir/other$size.qcow2" --reuse-external --format qcow2
        refused 'size|bytes|MiB' backup "$disk" "$dir/other$size.qcow2" --reuse-external \
            --format qcow2
    done
}

target_in_chain() {
    local image
    make_chain
    cp mid.qcow2 mid.orig
    start "$1"
    for image in top mid base; do
        refused "$image.qcow2" copy "$disk" "$dir/$image.qcow2" --reuse-external
        refused "$image.qcow2" backup "$disk" "$dir/$image.qcow2" --reuse-external
    done
    cmp -s mid.qcow2 mid.orig || fail "an image of the chain was written to"
}

wrong_state() {
    make_chain
    start_blockdev
    q 0 copy vd0 "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    remember
    q 6 job finalize "$job"
    said err "$job.*(finalize|ready)"
    q 6 job dismiss "$job"
    unchanged
    q 6 job pause nonesuch
    said err nonesuch
    unchanged
}

usage() {
    local long n
    make_chain
    start_blockdev
    remember
    long=$(printf '%0108d' 0)
    usage_error 'frobnicate' frobnicate
    usage_error 'pul' pul vd0
    usage_error 'frob' pull vd0 --frob
    usage_error 'pull' pull
    usage_error 'vd1|argument|one' pull vd0 vd1
    usage_error '64M|64K|unit' pull vd0 --speed 64
    usage_error 'speed' pull vd0 --speed -1M
    usage_error 'speed' pull vd0 --speed 99999999999999999999G
    usage_error 'speed' pull vd0 --speed 1e3M
    usage_error 'pivot|finish' copy vd0 "$dir/t" --pivot --finish
    usage_error 'format' copy vd0 "$dir/t" --format vmdk
    usage_error 'on-error' pull vd0 --on-error explode
    usage_error 'timeout' --timeout soon pull vd0
    usage_error 'sync' backup vd0 "$dir/t" --sync sideways
    usage_error 'JSON|object|arguments' qmp query-status '{'
    unchanged
    [ "$(find "$dir" -name 't')" = "" ] || fail "a wrong command line made a file"
    "$qblk" -s "/tmp/$long" disks >out 2>err
    n=$?
    [ "$n" = 2 ] || [ "$n" = 3 ] || fail "a path over 107 bytes: status $n"
    said err '107'
    env -u QBLK_SOCKET "$qblk" disks >out 2>err
    n=$?
    [ "$n" = 2 ] || fail "no socket at all: status $n"
    said err 'QBLK_SOCKET'
}

# usage_error PATTERN ARG...
usage_error() {
    local pattern=$1
    shift
    q 2 "$@"
    said err "$pattern"
}

bad_text() {
    local name
    make_chain
    start_blockdev
    remember
    for name in '' ' ' '-' $'\x01' $'a\xff\xfeb' $'tab\there' "$(printf '%04000d' 0)" '%s%n' '"' '\' \
        'json:{' '../../../etc/passwd' $'new\nline' '𝄞'; do
        "$qblk" -s "$dir/m0" pull -- "$name" >out 2>err
        case $? in
        2 | 6) ;;
        *) fail "pull of $(printf %q "$name"): $(cat err)" ;;
        esac
        [ -s err ] || fail "pull of $(printf %q "$name") is refused without a word"
    done
    unchanged
}

# What recover would not heed, or what cannot be told, is refused; and what is open stays so.
recover_options() {
    local id
    make_chain
    start_blockdev
    refused "no open operation '0badf00d'" recover --list --operation 0badf00d
    q 6 --json recover --list --operation 0badf00d
    result code unknown-job
    q 0 copy vd0 "$dir/copy.qcow2" --keep
    wait_event "BLOCK_JOB_READY *"
    job=$(job_of)
    id=${job#qblk.}
    id=${id%.*}
    remember
    usage_error '--list.*--undo' recover --list --undo
    usage_error '--list.*--pivot' recover --list --pivot
    usage_error '--list.*--finish' recover --list --finish
    usage_error '--all and --operation' recover --list --all --operation "$id"
    refused "no open operation '0badf00d'" recover --list --operation 0badf00d
    q 0 recover --list --operation "$id"
    said out "^$id  copy of vd0"
    # One that was kept in sync stays so, and by which job is said.
    q 0 recover
    said out "in sync, and kept so by job $job\$"
    q 0 --json recover
    said out "\"result\": ?\"kept\".*\"job\": ?\"$job\""
    unchanged
}

# As an option is understood differently by several verbs, it is explained to each in its own words.
option_words() {
    "$qblk" commit --help | grep -q -e '--pivot .*(the default)$' || fail "commit --pivot"
    "$qblk" copy --help | grep -q -e '--finish .*(the default)$' || fail "copy --finish"
    "$qblk" recover --help >out
    ! grep -q 'default' out || fail "recover has no default: $(grep default out)"
    ! "$qblk" job dismiss --help | grep -q 'a job that runs' || fail "job dismiss --force"
    ! "$qblk" qmp --help | grep -q 'open operation' || fail "qmp --force"
    "$qblk" --json help recover >out
    [ "$(wc -l <out)" = 1 ] || fail "help is not one line of JSON"
    said out '^\{"result": ?\{"text": ?"usage: qblk .*\}\}$'
    # Each row of it is known where it belongs, and nowhere else.
    q 2 detach vd0 --pivot
    said err "--pivot means nothing to 'detach'"
    q 2 qmp query-status --finish
    said err "--finish means nothing to 'qmp'"
}

for world in blockdev drive qsd; do
    run_test "an unknown disk, $world" unknown_disk "$world"
    run_test "a target that has content, $world" target_not_empty "$world"
    run_test "a target of another size, $world" size_mismatch "$world"
    run_test "a target that is part of the chain, $world" target_in_chain "$world"
done
for world in blockdev drive; do
    run_test "a disk that somebody else's job holds, $world" busy_node "$world"
done
run_test "an encrypted disk and a new target" encrypted qcow2
run_test "an encrypted base below a top in clear" encrypted_in_chain encrypted clear
run_test "an encrypted top above a base in clear" encrypted_in_chain clear encrypted
run_test "a disk on a raw image in an encrypted one" encrypted luks raw,node-name=top,file=inner
run_test "a verb that the job's state does not allow" wrong_state
run_test "wrong command lines change nothing" usage
run_test "recover refuses what it would not heed" recover_options
run_test "an option means what its verb says" option_words
run_test "strange names are refused in words" bad_text
finish
