#!/usr/bin/env bash
# A slice of the matrix of operations, worlds and outcomes; the whole is `make check-matrix`.
exec "$(dirname "$0")/../matrix/matrix.sh" -s -j 1 -o /dev/null
