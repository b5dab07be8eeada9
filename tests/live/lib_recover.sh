# tests/live/lib_recover.sh - what `qblk recover` says of the operation whose job is $job.
# shellcheck shell=bash

# operation: its id
operation() {
    local id=${job#qblk.}
    echo "${id%%.*}"
}

# listed STAGE FATE: how far it is, and what is going to become of it
listed() {
    q 0 --json recover --list
    said out "\"operation\": ?\"$(operation)\".*\"stage\": ?\"$1\".*\"job\": ?\"$job\".*\"fate\": ?\"$2\""
    [ "$2" = leave ] || said out '"why": ?null'
    said out '"client": ?null'
    q 0 recover --list
    said out "^$(operation)  .* of $disk"
    said out "^    [a-z].*: job $job "
    said out '^    recover '
}

# Run again it says that there is nothing, and changes nothing.
nothing_to_recover() {
    nothing_left
    remember
    q 0 recover
    said out '^nothing to recover$'
    q 0 --json recover
    said out '"result": ?\[\]'
    q 0 --json recover --list
    said out '"result": ?\[\]'
    q 0 recover --list
    said out '^nothing to recover$'
    unchanged
}
