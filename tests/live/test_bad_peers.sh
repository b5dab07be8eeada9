#!/usr/bin/env bash
# Whatever answers at the socket, the command ends with status 3 and says what was wrong.
. "$(dirname "$0")/lib.sh"

server=$build/tests/fake/qmp_server

# serve: plays the script on standard input to the next client
serve() {
    cat >script
    "$server" "$dir/m0" script >server.log 2>&1 &
    server_pid=$!
    started="${started-} $server_pid"
}

# gone: the peer has ended, content or not
gone() {
    wait "$server_pid" || true
}

# served: the script came to its end
served() {
    wait "$server_pid" || fail "the peer complains: $(cat server.log)"
}

# The words for a peer that closes the connection: with something of ours unread it resets it.
lost='^qblk: the connection to .*/m0 was lost \((QEMU closed it|Connection reset by peer)\)$'

# replies_to ARG...: by the table on standard input, of lines REPLY|STATUS|WORDS: qblk with these arguments,
# the first six questions of which (of qmp the one) get that reply and the next the connection's end, has
# that status and says the words: all that it prints if it is content. The reply is escaped as for >> of
# the peer, and $id in it the question's.
replies_to() {
    local reply status words n=0 questions='1 2 3 4 5 6'
    [ "$1" != qmp ] || questions=1
    while IFS='|' read -r reply status words; do
        serve < <(
            echo '! negotiate'
            for _ in $questions; do
                printf '< {"execute": "$any"}\n>> %s\\r\\n\n' "$reply"
            done
            echo '! hup'
        )
        q "$status" --wait "$patience" "$@"
        if [ "$status" = 0 ]; then
            [ "$(cat out)" = "$words" ] || fail "$reply: it says $(cat out), not $words"
        else
            grep -qF -e "$words" err || fail "$reply: it does not say $words but $(cat err)"
            [ ! -s out ] || fail "$reply: there is a result: $(cat out)"
        fi
        gone
        n=$((n + 1))
    done
    [ "$n" -gt 0 ] || fail "the table is empty"
}

# rejected PATTERN [ARG...]: status 3 and the words, plain and as JSON
rejected() {
    local pattern=$1
    shift
    [ $# -gt 0 ] || set -- qmp query-status
    q 3 --wait "$patience" "$@"
    said err "$pattern"
}

greeting_never_comes() {
    serve <<<'! nogreet
! stall'
    rejected 'm0 is busy: connected, but no greeting came\.'
    served
}

not_qmp() {
    local text words
    while IFS='|' read -r text words; do
        serve <<<"! nogreet
> $text
! hup"
        rejected .
        grep -qF -e "$words" err || fail "$text: it does not say $words but $(cat err)"
        gone
    done <<'T'
SSH-2.0-OpenSSH_9.2|m0: the peer does not speak QMP: instead of a message it sent: "SSH-2.0-OpenSSH_9.2
HTTP/1.1 400 Bad Request|m0: the peer does not speak QMP: instead of a message it sent: "HTTP/1.1 400 Bad Request
[]|m0: the peer does not speak QMP: instead of a message it sent: "[]
17|m0: the peer does not speak QMP: instead of a message it sent: "17
null|m0: the peer does not speak QMP: instead of a message it sent: "null
"QMP"|m0: the peer does not speak QMP: instead of a message it sent: ""QMP"
{}|m0: the peer sent what is no QMP message (neither greeting, return, error nor event): {}
{"QMP": 1}|m0: the peer sent what is no QMP message (neither greeting, return, error nor event): {"QMP": 1}
{"return": {}}|m0 ended before a greeting came (QEMU closed it)
T
}

garbage() {
    serve <<'S'
! nogreet
>> \x00\x01\xff\xfe\x80\x1b[31m\r\n\x00\x00\xf0\x9f
! hup
S
    rejected 'does not speak QMP: instead of a message it sent: "\\x00\\x01\\xff\\xfe\\x80\\x1b\[31m\\x0d'
    ! grep -qP '\x1b|\x00' err || fail "a control character of the peer's reached the terminal"
    gone
}

half_a_message() {
    serve <<'S'
! nogreet
>> {"QMP": {"version": {"qemu": {"micro": 0, "minor"
! hup
S
    rejected 'm0 ended before a greeting came \(QEMU closed it\)'
    gone
    serve <<'S'
! negotiate
< {"execute": "query-status"}
>> {"return": {"status": "run
! hup
S
    rejected 'm0 was lost in the middle of a message \(QEMU closed it\)$'
    served
}

hangs_up() {
    serve <<<'! hup'
    rejected "$lost"
    gone
    serve <<'S'
! negotiate
< {"execute": "query-status"}
! hup
S
    rejected "$lost"
    served
    serve <<'S'
! negotiate
! rst
S
    rejected "$lost"
    served
}

# deep N: N arrays inside one another
deep() {
    printf '%0*d' "$1" 0 | tr 0 '['
    printf '%0*d' "$1" 0 | tr 0 ']'
}

deep_nesting() {
    local n text
    text=$(deep 10000)
    serve <<<"! nogreet
> $text"
    rejected 'm0: the peer does not speak QMP: instead of a message it sent: "\[\[\['
    gone
    # The message itself is a level.
    text=$(deep 1023)
    replies_to qmp query-status <<<"{\"return\": $text, \"id\": \$id}|0|$text"
    for n in 1024 10000; do
        text=$(deep "$n")
        serve <<<"! negotiate
< {\"execute\": \"query-status\"}
> {\"return\": $text, \"id\": \$id}
! hup"
        rejected 'nested (deeper than 1024|too deeply)'
        gone
    done
}

# What is sent is held to a limit as well: the command and its arguments are a level each.
deep_command() {
    local n
    serve <<'S'
! negotiate
< {"execute": "query-status", "arguments": {"x": "$any"}}
> {"return": {}, "id": $id}
! eof
S
    q 0 --wait "$patience" qmp query-status "x:=$(deep 1021)"
    served
    for n in 1022 1023 1024; do
        serve <<'S'
! negotiate
! eof
S
        q 2 --wait "$patience" qmp query-status "x:=$(deep "$n")"
        said err 'nested (more than 1023 deep, which QEMU.s parser refuses|deeper than 1024)$'
        served
    done
    # Nobody is asked for that.
    q 2 qmp query-status "x:=$(deep 10000)"
    said err ' is not JSON: it goes wrong at its character 1025$'
}

# Numbers beyond 64 bits, a reply to nobody, one that comes twice, and what is no JSON at all
odd_replies() {
    replies_to qmp query-status <<'T'
{"return": -0, "id": $id}|0|-0
{"return": "\\u0000", "id": $id}|0|"\u0000"
{"return": {}, "id": $id} {"return": {}, "id": $id}|0|{}
{"return": {}}|3|m0 was lost (QEMU closed it)
{"return": 18446744073709551616, "id": $id}|3|(not usable JSON: byte 11: an integer beyond 64 bits): {"return": 1844
{"return": 1e999, "id": $id}|3|(not usable JSON: byte 11: a number that is too big): {"return": 1e999
{"return": inf, "id": $id}|3|(not usable JSON: byte 11: not a value): {"return": inf
{"return": nul}|3|(not usable JSON: byte 11: not a value): {"return": nul}
{"return": {"a": 1, "a": 2}, "id": $id}|3|(not usable JSON: byte 21: a name that the object has already)
{"return": "\\ud800", "id": $id}|3|(not usable JSON: byte 12: not an escape that stands for a character)
{"return": "\xff\xc3(\xed\xa0\x80", "id": $id}|3|(not usable JSON: byte 12: not UTF-8): {"return": "\xff\xc3(\xed
{"error": 5, "id": $id}|3|(neither greeting, return, error nor event): {"error": 5, "id": 1}
{"id": $id}|3|(neither greeting, return, error nor event): {"id": 1}
{"event": 5}|3|(neither greeting, return, error nor event): {"event": 5}
{"return": {}, "error": {}, "id": $id}|3|(neither greeting, return, error nor event): {"return": {}, "error": {}
[1, 2]|3|m0: the peer does not speak QMP: instead of a message it sent: "[1, 2]
}|3|m0: the peer does not speak QMP: instead of a message it sent: "}
T
}

# The reply to an earlier client's command, which QEMU gives to whoever is connected by then, comes
# before the reply to our qmp_capabilities; it is not taken for ours whatever its id.
stale_reply() {
    serve <<'S'
> {"return": {"status": "stale"}, "id": "somebody-else-1"}
< {"execute": "qmp_capabilities"}
> {"return": {"status": "stale"}, "id": 1}
> {"error": {"class": "GenericError", "desc": "stale"}, "id": 2}
> {"return": {}, "id": $id}
< {"execute": "query-status"}
> {"return": {"status": "running"}, "id": $id}
! eof
S
    q 0 --wait "$patience" qmp query-status
    said out running
    ! grep -q stale out || fail "a stale reply was taken for ours"
    gone
}

byte_by_byte() {
    serve <<'S'
! split 1
! negotiate
< {"execute": "query-status"}
> {"event": "STOP", "timestamp": {"seconds": 1, "microseconds": 2}}
> {"return": {"status": "running"}, "id": $id}
! eof
S
    q 0 --wait "$patience" qmp query-status
    said out running
    gone
}

# A peer that answers nonsense to the queries that an operation begins with.
nonsense_graph() {
    replies_to pull vd0 <<'T'
{"return": [], "id": $id}|6|qblk: there is no disk 'vd0'; this QEMU has no disks at all
{"return": {}, "id": $id}|3|qblk: reply to query-jobs: JobInfo: expected an array, found an object
{"return": 17, "id": $id}|3|qblk: reply to query-jobs: JobInfo: expected an array, found an integer
{"return": "x", "id": $id}|3|qblk: reply to query-jobs: JobInfo: expected an array, found a string
{"return": null, "id": $id}|3|qblk: reply to query-jobs: JobInfo: expected an array, found null
{"return": [{}], "id": $id}|3|qblk: reply to query-jobs: JobInfo[0].id: missing
{"return": [{"id": 5}], "id": $id}|3|qblk: reply to query-jobs: JobInfo[0].id: expected a string, found an integer
{"return": [[]], "id": $id}|3|qblk: reply to query-jobs: JobInfo[0]: expected an object, found an array
T
}

# within MIB ARG...: as q, and the command may not have more than that of address space, or of memory
# where the address sanitizer needs terabytes of the former
within() {
    local mib=$1
    shift
    case $build in
    *asan) (ASAN_OPTIONS=$ASAN_OPTIONS:quarantine_size_mb=16:hard_rss_limit_mb=$mib q "$@") || exit 1 ;;
    *) (ulimit -v $((mib * 1024)) && q "$@") || exit 1 ;;
    esac
}

# One message of the size that is accepted at most, one of a byte more, and one that never ends.
large_messages() {
    local head='{"return": "' tail='", "id": 1}' most=$((64 * 1024 * 1024)) rest
    rest=$((most - ${#head} - ${#tail}))
    serve <<S
! negotiate
< {"execute": "query-status"}
>> $head
! fill $rest
>> $tail
! eof
S
    within 512 0 --wait "$patience" qmp query-status
    [ "$(wc -c <out)" -gt "$rest" ] || fail "a message of 64 MiB came in part: $(wc -c <out) bytes"
    served
    serve <<S
! negotiate
< {"execute": "query-status"}
>> $head
! fill $((rest + 1))
>> $tail
! eof
S
    within 512 3 --wait "$patience" qmp query-status
    said err "m0: the peer sent a message of more than 67108864 bytes, the most that is accepted here"
    gone
    serve <<S
! negotiate
< {"execute": "query-status"}
>> $head
! fill $((4 * most))
S
    within 512 3 --wait "$patience" qmp query-status
    said err 'a message of more than 67108864 bytes'
    gone
}

# Nothing in what a peer sends moves the end of the time that was given.
floods() {
    local event='{"event": "NOISE", "data": {"x": "0123456789"}}'
    serve <<S
! negotiate
< {"execute": "query-status"}
! pour $event
S
    within 256 4 --wait "$patience" --timeout 1 qmp query-status
    said err 'in time|timed out|did not answer'
    served
    # Nor before there was a handshake.
    serve <<S
! nogreet
! pour $event
S
    within 256 3 --wait "$patience" qmp query-status
    said err 'm0 sends messages, but never a greeting; it is not a QMP monitor'
    served
}

stalls() {
    serve <<'S'
! negotiate
< {"execute": "query-status"}
>> {"return": {"status": "run
! stall
S
    q 4 --wait "$patience" --timeout 0.5 qmp query-status
    said err 'in time|timed out|did not answer'
    served
    serve <<'S'
! negotiate
! stall
S
    q 4 --wait "$patience" --timeout 0.5 pull vd0
    said err 'in time|timed out|did not answer'
    served
    serve <<'S'
! negotiate
! stall
S
    q 4 --wait "$patience" --timeout 0.5 recover
    said err 'in time|timed out|did not answer'
    served
    # Longer than a socket takes: the rest stays here.
    head -c 120000 /dev/zero | tr '\0' x >long
    serve <<'S'
! negotiate
! stall
S
    q 4 --wait "$patience" --timeout 0.5 qmp query-status "a=$(<long)" "b=$(<long)" "c=$(<long)"
    said err 'in time|timed out|did not answer'
    served
    # Half a greeting is another thing than none.
    serve <<'S'
! nogreet
>> {"QMP": {"version"
! stall
S
    q 3 --wait "$patience" qmp query-status
    said err 'began to send a greeting and stopped half-way'
    served
}

# Answers to what was asked before, to what never was, and to an id that looks like ours.
wrong_ids() {
    serve <<'S'
! negotiate
< {"execute": "query-status"}
> {"return": {"status": "wrong"}, "id": "1"}
> {"return": {"status": "wrong"}, "id": 1.0}
> {"return": {"status": "wrong"}, "id": 4294967297}
> {"return": {"status": "wrong"}, "id": [1]}
> {"return": {"status": "wrong"}, "id": null}
> {"return": {"status": "wrong"}, "id": 7}
> {"return": {"status": "wrong"}}
> {"return": {"status": "running"}, "id": $id}
> {"return": {"status": "wrong"}, "id": $id}
! eof
S
    q 0 --wait "$patience" qmp query-status
    said out running
    ! grep -q wrong out || fail "a reply to another id was taken for ours: $(<out)"
}

run_test "a greeting that never comes" greeting_never_comes
run_test "peers that do not speak QMP" not_qmp
run_test "garbage" garbage
run_test "half a message" half_a_message
run_test "peers that hang up" hangs_up
run_test "nesting 10,000 deep" deep_nesting
run_test "a command nested as deep" deep_command
run_test "replies that are odd or no JSON" odd_replies
run_test "replies to an earlier client" stale_reply
run_test "a peer that writes byte by byte" byte_by_byte
run_test "nonsense instead of a graph" nonsense_graph
run_test "messages of 64 MiB and more" large_messages
run_test "peers that flood" floods
run_test "peers that stall" stalls
run_test "replies with other ids" wrong_ids
finish
