#!/usr/bin/env bash
# What an image records for the one below it leads there: wherever QEMU was started, whichever way the
# images name each other, also after QEMU has ended.
. "$(dirname "$0")/lib.sh"

# make_spread [ABSOLUTE]: a/x.qcow2 -> ../b/y.qcow2 -> z.qcow2 -> sub/base.qcow2, each a different name;
# with an argument y records z by an absolute one
make_spread() {
    mkdir -p a b/sub
    make_chain
    mv base.qcow2 b/sub/base.qcow2
    mv mid.qcow2 b/z.qcow2
    mv top.qcow2 b/y.qcow2
    (
        cd b || exit 1
        "$QEMU_IMG" rebase -q -u -F qcow2 -b sub/base.qcow2 z.qcow2 &&
            "$QEMU_IMG" rebase -q -u -F qcow2 -b "${1:-z.qcow2}" y.qcow2
    ) || fail "no chain"
    (cd a && "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b ../b/y.qcow2 x.qcow2) || fail "no top"
    io a/x.qcow2 qcow2 "write -P 0x55 6M 64k"
    io reference.raw raw "write -P 0x55 6M 64k"
}

start_spread() {
    world=blockdev disk=vd0
    start_qemu -blockdev "qcow2,node-name=x,file.driver=file,file.filename=$dir/a/x.qcow2" \
        -device virtio-blk-pci,id=vd0,drive=x
}

# records IMAGE NAME
records() {
    info "$1" | grep -qE "^backing file: $2( \(actual path: .*)?$" ||
        fail "$1 records $(info "$1" | grep '^backing file:'), not $2"
}

pulled() {
    make_spread
    start_spread
    q 0 --json pull vd0 --base "$1" --relative
    nothing_left
    stop_qemu
    records a/x.qcow2 "$2"
    same a/x.qcow2 qcow2
}

# Only a colon before any slash makes a name that of a protocol.
colon() {
    make_spread
    mv b/z.qcow2 b/z:1.qcow2
    "$QEMU_IMG" rebase -q -u -F qcow2 -b ./z:1.qcow2 b/y.qcow2 || fail "no chain"
    start_spread
    q 0 --json pull vd0 --base @2 --relative
    nothing_left
    stop_qemu
    records a/x.qcow2 ../b/./z:1.qcow2
    same a/x.qcow2 qcow2
}

pulled_into() {
    make_spread
    start_spread
    q 0 --json pull vd0 --into @1 --base @3 --relative
    nothing_left
    stop_qemu
    records a/x.qcow2 ../b/y.qcow2
    records b/y.qcow2 sub/base.qcow2
    same a/x.qcow2 qcow2
}

committed() {
    make_spread
    start_spread
    q 0 --json commit vd0 --top @1 --base "$1" --relative
    nothing_left
    stop_qemu
    records a/x.qcow2 "$2"
    same a/x.qcow2 qcow2
}

copied() {
    mkdir -p c
    make_spread
    start_spread
    q 0 --json copy vd0 "$1" --shallow --relative "--$2"
    nothing_left
    stop_qemu
    records "$1" "$3"
    same "$1" qcow2
}

# Without the option the name is absolute, so that the chain may be told from anywhere.
absolute() {
    make_spread
    start_spread
    q 0 --json pull vd0 --base @2
    stop_qemu
    records a/x.qcow2 "$dir/a/../b/z.qcow2"
    same a/x.qcow2 qcow2
}

# refused STATUS PATTERN ARG...
refused() {
    local status=$1 pattern=$2
    shift 2
    q "$status" "$@"
    said err "$pattern"
    unchanged
}

refusals() {
    make_spread "$dir/b/z.qcow2"
    start_spread
    remember
    refused 6 "y.qcow2 .*itself records the absolute name $dir/b/z.qcow2" \
        pull vd0 --base @2 --relative
    refused 6 'absolute name' commit vd0 --top @1 --base @3 --relative
    q 0 --dry-run pull vd0 --base @1 --relative # nothing to pull
    q 0 --dry-run pull vd0 --into @1 --base @2 --relative
    refused 2 'relative needs --base' pull vd0 --relative
    refused 2 'not both' pull vd0 --base @2 --relative --backing-file x
    refused 2 'not both' commit vd0 --top @1 --relative --backing-file x
    refused 2 'makes no sense' commit vd0 --relative
    refused 2 'only for a target that lies on' copy vd0 new.qcow2 --relative
    refused 2 'in a new image only' copy vd0 new.qcow2 --shallow --relative --reuse-external
    refused 2 'in a new image only' copy vd0 new.qcow2 --shallow --relative --legacy
    refused 2 'in a new image only' copy vd0 nbd://localhost/x --sync top --relative
    unchanged
}

# The header says another name than that of the image which is below.
misnamed() {
    make_spread
    cp b/z.qcow2 b/other.qcow2
    world=blockdev disk=vd0
    start_qemu -blockdev "qcow2,node-name=o,file.driver=file,file.filename=$dir/b/other.qcow2" \
        -blockdev "qcow2,node-name=y,file.driver=file,file.filename=$dir/b/y.qcow2,backing=o" \
        -blockdev "qcow2,node-name=x,file.driver=file,file.filename=$dir/a/x.qcow2,backing=y" \
        -device virtio-blk-pci,id=vd0,drive=x
    remember
    refused 6 'records z.qcow2, but lies on .*other.qcow2' pull vd0 --base @2 --relative
    unchanged
}

# QEMU's own name for an image that was opened by options is nothing to record.
made_up() {
    make_chain
    world=blockdev disk=vd0
    start_qemu -blockdev "driver=qcow2,node-name=base,file.driver=raw,file.size=$(stat -c %s base.qcow2),file.offset=0,file.file.driver=file,file.file.filename=$dir/base.qcow2,read-only=on" \
        -blockdev "qcow2,node-name=mid,file.driver=file,file.filename=$dir/mid.qcow2,backing=base,read-only=on" \
        -blockdev "qcow2,node-name=top,file.driver=file,file.filename=$dir/top.qcow2,backing=mid" \
        -device virtio-blk-pci,id=vd0,drive=top
    raw '{"execute": "query-block"}' | grep -q 'json:' || skip "QEMU has a name for it"
    # What mid records leads there.
    q 0 --json pull vd0 --base @2
    stop_qemu
    records top.qcow2 "$dir/base.qcow2"
    same top.qcow2 qcow2
}

# A base without a format of its own is recorded as "raw" where QEMU can, and said where it cannot.
no_format() {
    make_chain
    "$QEMU_IMG" convert -q -O raw base.qcow2 base.raw
    "$QEMU_IMG" rebase -q -u -F raw -b "$dir/base.raw" mid.qcow2
    world=blockdev disk=vd0
    start_qemu -blockdev "file,node-name=base,filename=$dir/base.raw,read-only=on" \
        -blockdev "qcow2,node-name=mid,file.driver=file,file.filename=$dir/mid.qcow2,backing=base,read-only=on" \
        -blockdev "qcow2,node-name=top,file.driver=file,file.filename=$dir/top.qcow2,backing=mid" \
        -device virtio-blk-pci,id=vd0,drive=top
    # shellcheck disable=SC2086
    q 0 --json $1
    nothing_left
    format="file"
    if in_schema backing-mask-protocol; then
        format="raw"
        ! grep -q 'qemu-img rebase' out || fail "QEMU can, but that is not used"
    else
        said out 'will name ."file." as the format of its backing file.*qemu-img rebase'
    fi
    stop_qemu
    info top.qcow2 | grep -q "^backing file format: $format\$" ||
        fail "top.qcow2 records $(info top.qcow2 | grep '^backing file format'), not $format"
    same top.qcow2 qcow2
}

run_test "pull: a relative name one directory away" pulled @2 ../b/z.qcow2
run_test "pull: a relative name over two images" pulled @3 ../b/sub/base.qcow2
run_test "pull: a relative name with a colon" colon
run_test "pull into an image further down: a relative name" pulled_into
run_test "commit: a relative name one directory away" committed @2 ../b/z.qcow2
run_test "commit: a relative name over two images" committed @3 ../b/sub/base.qcow2
run_test "shallow copy: a relative name one directory away" copied c/new.qcow2 pivot ../b/y.qcow2
run_test "shallow copy: a relative name in the same directory" copied b/new.qcow2 finish y.qcow2
run_test "without --relative the name is absolute" absolute
run_test "relative names that cannot be made are refused" refusals
run_test "a header that names another image gives no relative name" misnamed
run_test "what QEMU makes up is not recorded" made_up
run_test "pull: a base that is no format" no_format "pull vd0 --base @2"
run_test "commit: a base that is no format" no_format "commit vd0 --top @1"
finish
