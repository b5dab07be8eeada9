#!/usr/bin/env bash
# Every example of the README and of the manual page is run, on a real QEMU, in the order in which
# it stands there. Where the document shows what is printed, that is what must be printed, but for
# names drawn at random, times, the scratch directory, and the sizes of files on the host.
. "$(dirname "$0")/lib.sh"

# What differs from run to run, made equal. A path's stand-in is one word, so columns keep no width.
even() {
    sed -E -e "s,$dir/,/vm/,g" -e 's/\b[0-9a-f]{8}\b/ID/g' \
        -e 's/( ?[0-9.]+ [KMG]?i?B)? in [0-9.]+ (ms|s)\)/SIZE in TIME)/' -e 's/"elapsed_ms": [0-9]+/"elapsed_ms": TIME/' \
        -e '/: [^ ]+  file  /s/  [0-9.]+ [KM]iB/  SIZE/' \
        -e 's/[0-9.]+ [KM]iB allocated/SIZE allocated/' -e 's/ +$//' -e 's/(\S)   +(\S)/\1  \2/g' |
        tr -s '-'
}

# run_block FILE: lines "$ COMMAND" are run, lines between them are what they print
run_block() {
    local block=$1 line command='' wanted='' status=0
    export QBLK_SOCKET=$dir/m0
    ln -sf m0 qmp.sock
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in
        '$ '*)
            check_example "$command" "$wanted"
            command=${line#'$ '} wanted=''
            ;;
        *) wanted+=$line$'\n' ;;
        esac
    done <"$block"
    check_example "$command" "$wanted"
}

# What one command prints; its status is that of the command for the "echo $?" that may follow.
check_example() {
    local command=$1 wanted=$2 said
    [ -n "$command" ] || return 0
    said=$(
        PATH=$(dirname "$qblk"):$PATH
        (exit "$status")
        eval "$command" 2>&1 </dev/null
        echo "status $?"
    )
    status=${said##*status }
    said=${said%status *}
    n_examples=$((n_examples + 1))
    if [ -n "$wanted" ]; then
        diff <(even <<<"$wanted") <(even <<<"$said") >differences ||
            fail "'$command' prints something else: $(tr '\n' '|' <differences)"
    elif [ "$status" != 0 ]; then
        fail "'$command' ends with $status: $said"
    fi
}

readme() {
    n_examples=0
    make_chain
    start_blockdev
    awk '/^```console$/ { on = 1; next } /^```$/ { on = 0 } on' "$root/README.md" >block
    run_block block
    [ "$n_examples" -ge 8 ] || fail "only $n_examples examples were found"
    stop_qemu
    same new.qcow2 qcow2
}

# The examples of the page stand for themselves: each block has a QEMU of its own.
manual() {
    local block
    n_examples=0
    awk '/^\.EX$/ { on = 1; n++; next } /^\.EE$/ { on = 0 } on { print > ("block" n) }' \
        <(sed -e 's/\\-/-/g' -e "s/\\\\(aq/'/g" -e 's/\\(dq/"/g' -e 's/\\e/\\/g' "$root/tools/qblk/qblk.1")
    for block in block*; do
        rm -f -- *.qcow2 *.raw m0 m1
        make_chain
        start_blockdev
        grep -E '^\$ ' "$block" >only || continue
        run_block only
        stop_qemu
    done
    [ "$n_examples" -ge 10 ] || fail "only $n_examples examples were found"
}

run_test "the README's transcript" readme
run_test "the manual page's examples" manual

finish
