#!/usr/bin/env bash
# QEMU dies in the middle of an operation: it is lost, with status 3; the files that it made or was to write
# are named with what they are worth, and none is removed.
. "$(dirname "$0")/lib.sh"

cutproxy=$build/tests/kill/cutproxy

# dies_at TEXT|-cN ARG...: qblk, and QEMU dies at the first command that has TEXT in it, or at the N-th
dies_at() {
    local at=(-x "$1") status
    case $1 in -c*) at=("$1") ;; esac
    shift
    "$cutproxy" -m death -p "$qemu_pid" "${at[@]}" "$dir/m0" "$dir/px" report \
        timeout -k 5 "$patience" "$qblk" -s "$dir/px" --json "$@" >out 2>err </dev/null
    status=$?
    grep -q '^cut' report || fail "$(tail -n 1 out)"
    wait "$qemu_pid" 2>/dev/null
    qemu_pid=
    [ "$status" = 3 ] || fail "qblk $* ended with $status, not 3: $(tail -n 3 err | tr '\n' ' ')"
    tail -n 1 out | grep -q '"code": "lost"' || fail "not lost: $(tail -n 1 out)"
    grep '"state": "lost"' out | grep -o '"job": {"id": "[^"]*"' | sort | uniq -d >twice
    [ ! -s twice ] || fail "told twice: $(cat twice)"
}

# worth FILE WORDS: what is said of the file, which is there
worth() {
    [ -e "$1" ] || fail "$1 was removed"
    said out "\"message\": ?\"[a-z]* $dir/$1, [a-z ]* by this operation, $2"
}

# prepare WORLD: a disk, and the files of the test as they are
prepare() {
    make_chain
    "$QEMU_IMG" create -q -f qcow2 old.qcow2 8M
    "$QEMU_IMG" create -q -f qcow2 other.qcow2 1M
    "start_$1" -blockdev "qcow2,node-name=other,file.driver=file,file.filename=$dir/other.qcow2" \
        -device virtio-blk-pci,id=vd1,drive=other
}

copy() {
    prepare "$1"
    case $2 in
    started)
        dies_at blockdev-mirror copy "$disk" "$dir/copy.qcow2"
        worth copy.qcow2 'is incomplete: of no use'
        ;;
    finish)
        dies_at block-job-cancel copy "$disk" "$dir/copy.qcow2"
        worth copy.qcow2 'may be complete or not'
        ;;
    pivot)
        dies_at job-complete copy "$disk" "$dir/copy.qcow2" --pivot
        worth copy.qcow2 'may be the disk by now'
        ;;
    esac
}

several() {
    prepare "$1"
    dies_at blockdev-mirror copy "$disk=$dir/copy.qcow2" "vd1=$dir/more.qcow2"
    worth copy.qcow2 '(is incomplete|holds nothing of the disk yet): of no use'
    worth more.qcow2 '(is incomplete|holds nothing of the disk yet): of no use'
}

several_pivot() {
    prepare "$1"
    dies_at job-complete copy "$disk=$dir/copy.qcow2" "vd1=$dir/more.qcow2" --pivot
    worth copy.qcow2 'may be the disk by now'
    worth more.qcow2 'may be the disk by now'
}

swap() {
    prepare "$1"
    dies_at "$2" swap "$disk" "$dir/old.qcow2" --format qcow2 --resize 16M
    worth old.qcow2 "$3"
}

backup() {
    prepare "$1"
    dies_at blockdev-backup backup "$disk" "$dir/copy.qcow2"
    worth copy.qcow2 'is incomplete: of no use'
}

# Its job is over, and QEMU closes the image: what is called complete then, must be.
backup_over() {
    prepare "$1"
    dies_at "$2" backup "$disk" "$dir/copy.qcow2"
    worth copy.qcow2 '(may be incomplete: all data was copied|is complete)'
    if [ "$2" != '.file"}' ]; then
        worth copy.qcow2 'may be incomplete'
    elif grep -q 'is complete' out; then
        "$QEMU_IMG" compare -q -f qcow2 -F qcow2 top.qcow2 copy.qcow2 || fail "it is not"
    fi
}

backup_over_late() {
    local major
    prepare "$1"
    major=$(qemu_major)
    q 0 --json backup "$disk" "$dir/copy.qcow2" --async
    wait_job backup concluded
    dies_at job-dismiss recover
    # 5.2's job has to go before the record can be read.
    [ "$major" -lt 6 ] || worth copy.qcow2 'may be incomplete'
    [ -e copy.qcow2 ] || fail "the copy was removed"
}

snapshot() {
    prepare "$1"
    dies_at "$2" snapshot "$disk=$dir/snap.qcow2" "vd1=$dir/more.qcow2"
    worth snap.qcow2 "$3"
    [ "$2" = create-format ] || worth more.qcow2 "$3"
}

chain() {
    prepare "$1"
    dies_at "block-$2" "${3-$2}" "$disk"
    said out "\"message\": ?\"disk $disk: .*image"
    "$QEMU_IMG" check -q top.qcow2 || [ $? = 3 ] || fail "the image is damaged"
}

resize() {
    prepare "$1"
    dies_at block_resize resize "$disk" 16M
    said out "\"message\": ?\"if QEMU has died, image $dir/top.qcow2 of disk $disk has the size"
    ! grep -q 'qblk recover' out || fail "recover has nothing to do with it: $(cat out)"
    "$QEMU_IMG" check -q top.qcow2 || [ $? = 3 ] || fail "the image is damaged"
}

limits() {
    prepare "$1"
    dies_at block_set_io_throttle throttle "$disk" --bps 64M
    ! grep -q 'qblk recover' out || fail "recover has nothing to do with it: $(cat out)"
}

# taken_up WORLD TEXT WORDS: recover's QEMU dies
taken_up() {
    prepare "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --keep
    dies_at "$2" recover --pivot
    said out "\"message\": ?\"file $dir/copy.qcow2, .*$3"
    [ -e copy.qcow2 ] || fail "the copy was removed"
}

# The same before it was seen how far that had got, and after it was seen what is open.
not_taken_up() {
    prepare "$1"
    q 0 --json copy "$disk" "$dir/copy.qcow2" --keep
    "$cutproxy" "$dir/m0" "$dir/px" report timeout -k 5 "$patience" "$qblk" -s "$dir/px" recover --list >out ||
        fail "cannot list: $(cat out)"
    rm px
    dies_at "-c$(($(grep -c '^>' report) + $2))" recover --pivot
    said out "\"message\": ?\"file $dir/copy.qcow2, .* is left as it is: the connection was lost before"
    [ -e copy.qcow2 ] || fail "the copy was removed"
}

for world in blockdev drive; do
    for point in started finish pivot; do
        run_test "a copy: $point, $world" copy "$world" "$point"
    done
    run_test "a copy of two disks, $world" several "$world"
    run_test "a pivot of two disks, $world" several_pivot "$world"
    run_test "a swap, told to move, $world" swap "$world" job-complete 'may be the disk by now'
    run_test "a swap, moved, $world" swap "$world" block_resize 'is complete, and the disk has moved to it'
    run_test "a backup, $world" backup "$world"
    for point in '.backup"}' '.target"}' '.file"}'; do
        run_test "a backup that is being closed: $point, $world" backup_over "$world" "$point"
    done
    run_test "recovering a backup that is over, $world" backup_over_late "$world"
    run_test "a snapshot that is being made, $world" snapshot "$world" create-format \
        'holds nothing of the disk yet'
    run_test "a snapshot that is being taken, $world" snapshot "$world" blockdev-snapshot \
        "may be the disk.s top image by now"
    run_test "a pull, $world" chain "$world" stream pull
    run_test "a commit, $world" chain "$world" commit
    run_test "resizing, $world" resize "$world"
    run_test "limits of a disk, $world" limits "$world"
    run_test "recovering, $world" taken_up "$world" job-complete 'may be the disk by now'
    for n in 1 2; do
        run_test "recovering, not begun: $n, $world" not_taken_up "$world" "$n"
    done
done
finish
