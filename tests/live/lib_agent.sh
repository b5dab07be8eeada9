# tests/live/lib_agent.sh - a guest agent at $dir/agent, which is a fake: the real one would freeze this
# machine. What it is asked is in $dir/asked.
# shellcheck shell=bash disable=SC2034 # variables are for the tests that source this

# run_agent COMMAND...: in the background, until it says that it is ready
run_agent() {
    local line
    mkfifo ready
    "$@" >ready 2>agent.log </dev/null &
    agent_pid=$!
    started="${started-} $agent_pid"
    exec {ready}<ready
    read -r -t "$patience" -u "$ready" line && [ "$line" = ready ] ||
        fail "the agent did not start: $(tail -n 3 agent.log)"
}

# start_agent RULE...: the fake
start_agent() {
    run_agent "$build/tests/fake/agent_server" "$dir/agent" "$dir/asked" "$@"
}

stop_agent() {
    kill -TERM "$agent_pid"
    wait "$agent_pid"
    exec {ready}<&-
}
