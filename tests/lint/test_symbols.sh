#!/bin/sh
# tools/check-symbols catches every way in which headers, map and library can differ.
. "$(dirname "$0")/lib.sh"
: "${CC:=gcc}"

good() {
    fresh
    cat >"$tree/include/qblk/base.h" <<'H'
#define QBLK_API __attribute__((visibility("default")))
/* QBLK_API in a comment is no declaration. */
QBLK_API const char *qblk_one(void);
QBLK_API int qblk_two(int a,
                      int b);
H
    printf 'QBLK_0.1 {\n    global:\n        qblk_one;\n        qblk_two;\n    local:\n        *;\n};\n' \
        >"$tree/src/libqblk.map"
    cat >"$tree/lib.c" <<'C'
const char *qblk_one(void);
const char *qblk_one(void) { return ""; }
int qblk_two(int a, int b);
int qblk_two(int a, int b) { return a + b; }
C
}

build() {
    "$CC" -shared -fPIC "-Wl,--version-script=$tree/src/libqblk.map" -o "$tree/lib.so" "$tree/lib.c" ||
        exit 1
}

check() {
    tools/check-symbols "$tree/lib.so" "$tree"
}

good; build
passes "three that agree pass" check

good; build
echo 'QBLK_API void qblk_three(void);' >>"$tree/include/qblk/base.h"
caught "a declared function that the map lacks is caught" 'qblk_three' check

good
sed -i 's/qblk_two/qblk_two;\n        qblk_zero/' "$tree/src/libqblk.map"; build
caught "a name in the map that no header has is caught" 'in no header' check

good
sed -i '/qblk_two/d' "$tree/lib.c"; build
caught "a declared function that nobody wrote is caught" 'not written' check

good
echo 'int qblk_four(void); int qblk_four(void) { return 4; }' >>"$tree/lib.c"
sed -i 's/ qblk_one/ qblk_*/' "$tree/src/libqblk.map"; build
caught "an exported function that no header has is caught" 'qblk_four' check

good
sed -i 's/qblk_one;/qblk_two;/; t; s/qblk_two;/qblk_one;/' "$tree/src/libqblk.map"; build
caught "a map out of order is caught" 'not sorted' check

good; build
echo 'QBLK_API int qblk_two(int a, int b);' >>"$tree/include/qblk/base.h"
caught "a function declared twice is caught" 'declared twice' check

good
sed -i 's/qblk_two/other_two/' "$tree/include/qblk/base.h" "$tree/lib.c" "$tree/src/libqblk.map"; build
caught "a public name of another kind is caught" 'must begin with qblk_' check

good
tools/check-symbols -u /dev/null "$tree" >/dev/null 2>&1; build
passes "-u writes a map that passes" check
exit $failed
