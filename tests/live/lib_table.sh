# tests/live/lib_table.sh - the tables of the matrices
# shellcheck shell=bash

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
