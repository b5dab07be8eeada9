#!/bin/sh
# tools/check-layers lets includes point down and catches every other kind.
. "$(dirname "$0")/lib.sh"

good() {
    fresh
    echo '#include "base/err.h"' >"$tree/src/wire/frames.c"
    printf '#include "wire/frames.h"\n#include <qblk/base.h>\n' >"$tree/src/monitor/monitor.c"
    echo '#include "qapi_types.h"' >"$tree/src/qmp/msg.c"
    echo '#include <sys/socket.h>' >"$tree/src/wire/unixsock.c"
    printf '#include "opts.h"\n#include <qblk/qblk.h>\n' >"$tree/tools/qblk/main.c"
    echo '#include <qblk/base.h>' >"$tree/include/qblk/job.h"
}

# spoil NAME FILE LINE PATTERN
spoil() {
    good
    mkdir -p "$(dirname "$tree/$2")"
    echo "$3" >>"$tree/$2"
    caught "$1" "$4" tools/check-layers "$tree"
}

good
passes "includes that point down pass" tools/check-layers "$tree"
spoil "an include that points up is caught" src/base/err.c '#include "wire/frames.h"' \
    'src/base/err.c:1: base must not include wire'
spoil "an include that points sideways is caught" src/wire/frames.c '#include "qmp/msg.h"' \
    'src/wire/frames.c:2: wire must not include qmp'
spoil "a header is held to the same rule" src/codec/engine.h '  #  include "qmp/msg.h"' \
    'codec must not include qmp'
spoil "generated types count as codec" src/wire/lines.c '#include "qapi_types.h"' \
    'wire must not include codec'
spoil "a layer without a place in the table is caught" src/extra/x.c '#include "base/err.h"' \
    'unknown layer extra'
spoil "an include without its layer is caught" src/wire/outq.c '#include "frames.h"' \
    'write "layer/file.h"'
spoil "an include by a relative path is caught" src/wire/outq.c '#include "../base/err.h"' \
    'write "layer/file.h"'
spoil "the command does not look inside the library" tools/qblk/main.c '#include "base/err.h"' \
    'its own folder only'
spoil "a public header does not look inside the library" include/qblk/job.h \
    '#include "job/fsm.h"' 'a public header includes public headers'
spoil "sockets stay in one file" src/monitor/monitor.c '#include <sys/socket.h>' \
    'belongs in src/wire/unixsock.c'
spoil "jansson stays in codec and qmp" src/monitor/monitor.c '#include <jansson.h>' \
    'jansson is for codec and qmp'
exit $failed
