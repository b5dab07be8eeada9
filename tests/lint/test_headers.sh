#!/bin/sh
# tools/check-headers catches a header that leans on another, on one language, or on one inclusion.
. "$(dirname "$0")/lib.sh"

good() {
    fresh
    printf '#ifndef A_H\n#define A_H\n#include <stddef.h>\nint a(size_t n);\n#endif\n' \
        >"$tree/include/qblk/a.h"
}

# spoil NAME PATTERN TEXT
spoil() {
    good
    # shellcheck disable=SC2059 # the text is a format
    printf "$3" >"$tree/include/qblk/b.h"
    caught "$1" "$2" tools/check-headers "$tree"
}

good
passes "a header that stands alone passes" tools/check-headers "$tree"
spoil "a header that needs another one first is caught" 'qblk/b.h: does not compile alone as c99' \
    '#ifndef B_H\n#define B_H\nint b(size_t n);\n#endif\n'
spoil "a header that is not C++ is caught" 'alone as c++98' \
    '#ifndef B_H\n#define B_H\nint b(int class);\n#endif\n'
spoil "a header that is not C99 is caught" 'alone as c99' \
    '#ifndef B_H\n#define B_H\n_Static_assert(1, "");\n#endif\n'
spoil "a header without a guard is caught" 'qblk/b.h: does not compile alone as c11' \
    'struct b { int x; };\n'
spoil "a header that warns is caught" 'qblk/b.h' \
    '#ifndef B_H\n#define B_H\nenum b { B = 1 };;\n#endif\n'
exit $failed
