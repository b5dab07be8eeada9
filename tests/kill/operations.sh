# tests/kill/operations.sh - the operations of the kill matrix, a row for each
# shellcheck shell=bash disable=SC2034,SC2154 # variables of lib.sh and of the others

# name       what is asked; disk and target are put in
# start      the command from which on the operation is finished, not undone
# done       its result
# guest      the image that the guest uses afterwards
# looked     the image that is looked into: as of the end if the guest uses it, else as of the start
# needs      the images that it needs
# cells      besides SIGKILL at each message:
#            cut     the connection is cut
#            late    QEMU's answer may come in the next client's stream
#            death   QEMU is killed
#                    What the client says of the former and the latter follows from the kind of the
#                    operation and its step, so not all variants of one plan have such cells.
#            back    the connection is cut, and comes back (--reconnect)
#            undo    recover is ended at each of its messages, the operation having been killed before
#                    its start; end: after it. Cut, too, if the operation has such cells.
#            agent   SIGKILL at each message of the talk with the guest agent
#            drive   the same on a disk of -drive, with SIGKILL; qsd: in the storage daemon
# Which devices can go without a guest, a detach has to know: its disk is a SCSI one.
# An image copy or over is new.
operations() {
    sed -E '/^#|^$/d; s/ *\| */|/g' <<'TABLE'
pull-whole         | pull DISK                              | block-stream    | completed | top  | top  | -        | cut late death back undo end qsd
pull-base          | pull DISK --base @2                    | block-stream    | completed | top  | top  | base     | cut late death back undo end drive
pull-into          | pull DISK --into @1                    | block-stream    | completed | top  | top  | mid      | late death undo end
pull-bottom        | pull DISK --bottom @1                  | block-stream    | completed | top  | top  | base     | late undo end
pull-bitmaps       | pull DISK --base @2                    | block-stream    | completed | top  | top  | base     | late undo end
commit-middle      | commit DISK --top @1 --base @2         | block-commit    | completed | top  | top  | base     | cut late death back undo end drive qsd
commit-pivot       | commit DISK --pivot                    | block-commit    | pivoted   | base | base | -        | cut late death back undo end drive qsd
commit-bitmaps     | commit DISK --pivot                    | block-commit    | pivoted   | base | base | -        | late undo end
commit-finish      | commit DISK --finish                   | block-commit    | finished  | top  | base | -        | cut late death undo end
commit-keep        | commit DISK --keep                     | block-commit    | kept      | top  | base | -        | cut late end
copy-finish        | copy DISK TARGET --finish              | blockdev-mirror | finished  | top  | copy | -        | cut late death back undo end drive qsd
copy-pivot         | copy DISK TARGET --pivot               | blockdev-mirror | pivoted   | copy | copy | -        | cut late death back undo end drive qsd
copy-keep          | copy DISK TARGET --keep                | blockdev-mirror | kept      | top  | copy | -        | cut late death undo end drive
copy-shallow-pivot | copy DISK TARGET --shallow --pivot     | blockdev-mirror | pivoted   | copy | copy | mid base | late death undo end
copy-none-reuse    | copy DISK TARGET --sync none --reuse-external --format qcow2 --finish | blockdev-mirror | finished  | top  | top  | mid base | late undo end
copy-active-pivot  | copy DISK TARGET --active --pivot      | blockdev-mirror | pivoted   | copy | copy | -        |
copy-node-pivot    | copy top TARGET --pivot                | blockdev-mirror | pivoted   | copy | copy | -        |
copy-bitmaps-pivot | copy DISK TARGET --pivot               | blockdev-mirror | pivoted   | copy | copy | -        | late undo end
copy-raw-pivot     | copy DISK TARGET --format raw --pivot  | blockdev-mirror | pivoted   | copy | copy | -        |
copy-reuse-pivot   | copy DISK TARGET --reuse-external --format qcow2 --pivot | blockdev-mirror | pivoted | copy | copy | - |
copy-legacy-finish | copy DISK TARGET --legacy --finish     | drive-mirror    | finished  | top  | copy | -        |
copy-legacy-pivot  | copy DISK TARGET --legacy --pivot      | drive-mirror    | pivoted   | copy | copy | -        | cut late death undo end drive
copy-nbd-finish    | copy DISK NBD --finish                 | blockdev-mirror | finished  | top  | copy | -        | cut late undo end
copy-nbd-pivot     | copy DISK NBD --pivot                  | blockdev-mirror | pivoted   | copy | copy | -        | cut late undo end
copy-json-pivot    | copy DISK --blockdev JSON --pivot      | blockdev-mirror | pivoted   | copy | copy | -        | cut late undo end
copy-quiesced      | copy DISK TARGET --finish --quiesce AGENT | blockdev-mirror | finished | top | copy | -       | cut end agent
copy-two-finish    | copy DISK=TARGET d1=TARGET1 --finish   | blockdev-mirror | finished  | top  | copy | -        | cut undo end
copy-two-pivot     | copy DISK=TARGET d1=TARGET1 --pivot    | blockdev-mirror | pivoted   | copy | copy | -        | cut late death back undo end
swap-pivot         | swap DISK TARGET --resize 2M           | blockdev-mirror | pivoted   | copy | copy | -        | cut late death back undo end
backup-full        | backup DISK TARGET                     | blockdev-backup | completed | top  | copy | -        | cut late death back undo end drive qsd
backup-top         | backup DISK TARGET --sync top          | blockdev-backup | completed | top  | copy | mid base | cut late death back undo end
backup-raw         | backup DISK TARGET --format raw        | blockdev-backup | completed | top  | copy | -        |
backup-bitmaps     | backup DISK TARGET                     | blockdev-backup | completed | top  | copy | -        | late
backup-reuse       | backup DISK TARGET --reuse-external    | blockdev-backup | completed | top  | copy | -        |
backup-legacy      | backup DISK TARGET --legacy            | drive-backup    | completed | top  | copy | -        | late undo end
snapshot-one       | snapshot DISK=TARGET                   | transaction     | completed | over | over | top mid base | cut late death back undo end drive qsd
snapshot-three     | snapshot DISK=TARGET d1=TARGET1 d2=TARGET2 | transaction | completed | over | over | top mid base | cut death undo end
snapshot-reuse     | snapshot DISK=TARGET --reuse-external  | transaction     | completed | over | over | top mid base |
snapshot-bitmaps   | snapshot DISK=TARGET                   | transaction     | completed | over | over | top mid base | late
snapshot-quiesced  | snapshot DISK=TARGET --quiesce AGENT   | transaction     | completed | over | over | top mid base | cut late death undo end agent
resize             | resize DISK 2M                         | block_resize    | nothing   | top  | top  | mid base | cut late back drive
throttle           | throttle DISK --bps 64M --iops 500     | block_set_io_throttle | nothing | top | top | mid base | cut late back drive
detach             | detach DISK                            | device_del      | completed | -    | -    | -        | cut late death back undo end
refused-copy       | copy DISK TARGET --finish              | blockdev-mirror | failed    | top  | copy | -        | cut late death
TABLE
}

# names_of_all: every operation with the worlds that it is in: NAME, NAME.drive, NAME.qsd
names_of_all() {
    local name rest cells
    while IFS='|' read -r name rest; do
        echo "$name"
        cells=" ${rest##*|} "
        [[ $cells != *' drive '* ]] || echo "$name.drive"
        [[ $cells != *' qsd '* ]] || echo "$name.qsd"
    done < <(operations)
}

# file_of IMAGE: the name of its file
file_of() {
    case $1 in
    copy | over) echo "$target" ;;
    *) echo "$1.qcow2" ;;
    esac
}

# define NAME[.WORLD]: from the table into variables; the directory is the one that it runs in
define() {
    local row words word guest looked
    op=$1 world=blockdev disk=vd0
    [ "$op" = "${op%.*}" ] || world=${op##*.}
    [ "$world" != qsd ] || disk=top
    row=${rows[${op%.*}]-}
    [ -n "$row" ] || fail "no operation is called $1"
    IFS='|' read -r words start done_as guest looked needs cells <<<"$row"
    kind=${words%% *} target=none.qcow2 more_targets='' extra='' bitmap='' agent='' reused='' touch=''
    server='' members=1 args=() is_new=yes forgive=''
    case $op in
    copy-raw* | copy-nbd* | backup-raw*) target=copy.raw ;;
    copy* | backup* | swap* | refused*) target=copy.qcow2 ;;
    snapshot*) target=over.qcow2 ;;
    *) is_new='' ;;
    esac
    case $op in
    copy-two*) extra=d1 more_targets=copy1.qcow2 members=2 ;;
    snapshot-three) extra="d1 d2" more_targets="copy1.qcow2 copy2.qcow2" ;;
    *-bitmaps*) bitmap=yes ;;
    *-quiesced) agent=yes ;;
    *-reuse* | swap* | *-json*) reused=yes is_new='' ;;
    *-nbd*) server=yes is_new='' ;;
    detach) world=scsi ;;
    refused*) touch=copy.qcow2 ;;
    # QEMU leaves the base of an active commit open for writing, however it ended.
    commit-keep) forgive='"resize","write",' ;;
    esac
    for word in $words; do
        case $word in
        DISK) word=$disk ;;
        TARGET) word=$PWD/$target ;;
        DISK=TARGET) word=$disk=$PWD/$target ;;
        d?=TARGET?) word=${word%%=*}=$PWD/copy${word##*TARGET}.qcow2 ;;
        NBD) word=nbd+unix:///copy?socket=$PWD/copy.nbd ;;
        JSON) word='{"driver": "qcow2", "file": {"driver": "file", "filename": "'$PWD/$target'"}}' ;;
        AGENT) word=$PWD/agent ;;
        esac
        args+=("$word")
    done
    disk_image=$(file_of "$guest") image=$(file_of "$looked")
}

# has WORD: whether the operation has such cells
has() {
    [[ " $cells " == *" $1 "* ]]
}

declare -A rows
while IFS='|' read -r name row; do rows[$name]=$row; done < <(operations)
