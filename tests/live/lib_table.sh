# tests/live/lib_table.sh - what the matrices share: which cells, the workers, the table
# shellcheck shell=bash disable=SC2034,SC2154 # variables of those who use it

# wanted NAME: it matches one of the $patterns, or there are none
wanted() {
    local pattern
    [ ${#patterns[@]} -gt 0 ] || return 0
    for pattern in "${patterns[@]}"; do
        # shellcheck disable=SC2053 # a pattern
        [[ $1 != $pattern ]] || return 0
    done
    return 1
}

# share <CELLS: each MATRIX_SHARE-th of them, all without it; another one of each list
share_from=0
share() {
    local n=${MATRIX_SHARE:-1}
    awk -v n="$n" -v from="$share_from" '(NR + from) % n == 0'
}

# work_off FUNCTION LIST: FUNCTION LIST NUMBER in each of the $workers; its results go to $results, and
# what it is at to $at. If they are not done in $MATRIX_LIMIT seconds, some times what they need, they are
# ended, QEMUs and all: a run that hangs fails.
work_off() {
    local w groups=() keeper limit=${MATRIX_LIMIT:-1500}
    trap 'out_of_time' TERM
    set -m # a process group for each
    for ((w = 0; w < workers; w++)); do
        results=$template/results.$w at=$template/at.$w
        : >>"$results"
        "$1" "$2" "$w" &
        groups+=("$!")
    done
    # To the shell itself, which may be what hangs: bash's wait has done so.
    { lives_for "$limit" && kill -TERM $$ && lives_for 20 && kill -KILL $$; } >/dev/null 2>&1 &
    keeper=$!
    set +m
    wait "${groups[@]}"
    # Not SIGTERM: one that has only just been forked would still carry out our traps.
    kill -KILL -- "-$keeper"
    wait "$keeper" 2>/dev/null
    trap - TERM
}

# lives_for SECONDS: this shell is still there then; false as soon as it is not
lives_for() {
    ! timeout "$1" tail -f /dev/null --pid=$$
}

# processes_below PID INDENT: that one and its children, and what each is waiting for
processes_below() {
    local child words
    read -ra words 2>/dev/null <"/proc/$1/stat" || return 0
    echo "$2$1 ${words[2]} $(cat "/proc/$1/wchan" 2>/dev/null)" \
        "$(tr '\0' ' ' <"/proc/$1/cmdline" | cut -c 1-150)"
    for child in $(cat "/proc/$1"/task/*/children 2>/dev/null); do processes_below "$child" "$2  "; done
}

out_of_time() {
    local group
    trap - TERM
    echo "not ok: not done after $limit s; the workers were at:"
    cat "$template"/at.* | sed 's/^/    /'
    for group in "${groups[@]}"; do processes_below "$group" '    '; done
    for group in "${groups[@]}"; do kill -TERM -- "-$group"; done 2>/dev/null
    # They end their QEMUs; whoever does not is the one that hangs.
    timeout 10 tail -f /dev/null "${groups[@]/#/--pid=}"
    for group in "${groups[@]}" "$keeper"; do kill -KILL -- "-$group"; done 2>/dev/null
    wait "$keeper" 2>/dev/null
    echo "0 passed, 1 failed"
    [ -z "${RUN_TALLY-}" ] || echo "0 1" >>"$RUN_TALLY"
    exit 1
}

# print_table "FIELD|FIELD..." "COLUMN COLUMN..." <LINES: as a table with the fields that name a row, the
# columns, and a line of how many cells each column has. A line is ROW, COLUMN, WORD with tabs between,
# ROW having its fields with | between; rows come in the order of the lines. A word that begins with
# FAIL is a cell that failed.
print_table() {
    awk -F '\t' -v fields="$1" -v columns="$2" '
        function wide(k, text) { if (length(text) > width[k]) width[k] = length(text) }
        BEGIN {
            n = split(fields, field, "|")
            m = split(columns, column, " ")
            for (k = 1; k <= n; k++) wide(k, field[k])
            for (k = 1; k <= m; k++) wide(n + k, column[k])
        }
        {
            if (!($1 in seen)) {
                seen[$1] = 1
                row[++rows] = $1
                split($1, part, "|")
                for (k = 1; k <= n; k++) wide(k, part[k])
            }
            got[$1, $2] = $3
            cells[$2]++
            failed[$2] += $3 ~ /^FAIL/
        }
        END {
            for (k = 1; k <= m; k++) {
                total[k] = cells[column[k]] + 0
                if (failed[column[k]]) total[k] = total[k] - failed[column[k]] "/" total[k]
                wide(n + k, total[k])
                for (r = 1; r <= rows; r++) wide(n + k, got[row[r], column[k]])
            }
            for (k = 1; k <= n; k++) printf "%-*s  ", width[k], field[k]
            for (k = 1; k <= m; k++) printf " %-*s", width[n + k], column[k]
            print ""
            for (r = 1; r <= rows; r++) {
                split(row[r], part, "|")
                for (k = 1; k <= n; k++) printf "%-*s  ", width[k], part[k]
                for (k = 1; k <= m; k++) {
                    word = got[row[r], column[k]]
                    printf " %-*s", width[n + k], word == "" ? "-" : word
                }
                print ""
            }
            for (k = 1; k <= n; k++) printf "%-*s  ", width[k], k == 1 ? "cells" : ""
            for (k = 1; k <= m; k++) printf " %-*s", width[n + k], total[k]
            print ""
        }' | sed 's/ *$//'
}
