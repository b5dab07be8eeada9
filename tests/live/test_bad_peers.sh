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
    rejected 'busy|greeting'
    served
}

not_qmp() {
    local text
    for text in 'SSH-2.0-OpenSSH_9.2' 'HTTP/1.1 400 Bad Request' '[]' '{}' '17' 'null' '"QMP"' \
        '{"QMP": 1}' '{"return": {}}'; do
        serve <<<"! nogreet
> $text
! hup"
        rejected 'QMP|greeting'
        gone
    done
}

garbage() {
    serve <<<'! nogreet
>> \x00\x01\xff\xfe\x80\x1b[31m\r\n\x00\x00\xf0\x9f
! hup'
    rejected .
    ! grep -qP '\x1b|\x00' err || fail "a control character of the peer's reached the terminal"
    gone
}

half_a_message() {
    serve <<<'! nogreet
>> {"QMP": {"version": {"qemu": {"micro": 0, "minor"
! hup'
    rejected .
    gone
    serve <<<'! negotiate
< {"execute": "query-status"}
>> {"return": {"status": "run
! hup'
    rejected 'lost|ended|closed|half|incomplete'
    gone
}

hangs_up() {
    serve <<<'! hup'
    rejected .
    gone
    serve <<<'! negotiate
< {"execute": "query-status"}
! hup'
    rejected 'lost|ended|closed'
    gone
    serve <<<'! negotiate
! rst'
    rejected .
    gone
}

# deep N: N arrays inside one another
deep() {
    printf '%0*d' "$1" 0 | tr 0 '['
    printf '%0*d' "$1" 0 | tr 0 ']'
}

deep_nesting() {
    local text
    text=$(deep 10000)
    serve <<<"! nogreet
> $text"
    rejected .
    gone
    serve <<<"! negotiate
< {\"execute\": \"query-status\"}
> {\"return\": $text, \"id\": \$id}"
    "$qblk" -s "$dir/m0" --wait "$patience" qmp query-status >out 2>err
    case $? in
    0 | 3) ;;
    *) fail "deep nesting: $(cat err)" ;;
    esac
    gone
    # What is sent is held to a limit as well.
    "$qblk" -s "$dir/m0" qmp query-status "x=$text" >out 2>err
    case $? in
    2 | 3) ;;
    *) fail "deep nesting on the command line: $(cat err)" ;;
    esac
}

# big_numbers: integers beyond 64 bits, and what is no JSON at all
odd_replies() {
    local text
    for text in '{"return": 18446744073709551616, "id": $id}' \
        '{"return": 1e999, "id": $id}' '{"return": inf, "id": $id}' \
        '{"return": {"a": 1, "a": 2}, "id": $id}' '{"return": "\ud800", "id": $id}' \
        '{"return": "\u0000", "id": $id}' '{"return": {}}' '{"error": 5, "id": $id}' \
        '{"id": $id}' '{"return": {}, "id": $id} {"return": {}, "id": $id}' \
        '{"event": 5}' '[1, 2]' '{"return": {}, "error": {}, "id": $id}' '}' '{"return": nul}'; do
        serve <<<"! negotiate
< {\"execute\": \"query-status\"}
> $text
! hup"
        "$qblk" -s "$dir/m0" --wait "$patience" qmp query-status >out 2>err
        case $? in
        0 | 1 | 3) ;;
        *) fail "$text: status unexpected: $(cat err)" ;;
        esac
        gone
    done
    serve <<'S'
! negotiate
< {"execute": "query-status"}
>> {"return": "\xff\xc3(\xed\xa0\x80", "id": $id}\r\n
! hup
S
    "$qblk" -s "$dir/m0" --wait "$patience" qmp query-status >out 2>err
    case $? in
    0 | 1 | 3) ;;
    *) fail "invalid UTF-8: $(cat err)" ;;
    esac
    gone
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
    local reply
    for reply in '[]' '{}' '17' '[{"device": 5}]' '[{}]' '[[]]' 'null' '"x"'; do
        serve < <(
            echo '! negotiate'
            for _ in 1 2 3 4 5 6; do
                echo '< {"execute": "$any"}'
                printf '> {"return": %s, "id": $id}\n' "$reply"
            done
            echo '! hup'
        )
        "$qblk" -s "$dir/m0" --wait "$patience" pull vd0 >out 2>err
        case $? in
        1 | 3 | 6) ;;
        *) fail "graph replies of $reply: $(cat err)" ;;
        esac
        gone
    done
}

# within MIB ARG...: as q, and the command may not have more than that of address space
within() {
    local mib=$1
    shift
    (ulimit -v $((mib * 1024)) && q "$@") || exit 1
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
run_test "replies that are odd or no JSON" odd_replies
run_test "replies to an earlier client" stale_reply
run_test "a peer that writes byte by byte" byte_by_byte
run_test "nonsense instead of a graph" nonsense_graph
run_test "messages of 64 MiB and more" large_messages
run_test "peers that flood" floods
run_test "peers that stall" stalls
run_test "replies with other ids" wrong_ids
finish
