# tests/matrix/operations.sh - the operations of the matrix, a row for each
# shellcheck shell=bash disable=SC2034,SC2154 # variables of lib.sh and of the others

# name       what is asked; disk and target are put in
# reads      the image in which a read is made to fail
# writes     the image that is written to: a write there fails, or its file system is full
# done       the result
# chain      the disk's images afterwards, top first
# content    the image that is looked into afterwards, and as of when: the job's start, its end, or
#            "live" if it is what the guest writes to
# with       the images that it needs
# The second disk's image is other; an image copy or over is new. In the storage daemon, which has no
# devices, what an export serves is the disk.
operations() {
    sed -E '/^#|^$/d; s/ *\| */|/g' <<'TABLE'
pull-whole          | pull DISK                                    | base | top  | completed | top           | top live   | top
pull-base           | pull DISK --base @2                          | mid  | top  | completed | top base      | top live   | top base
pull-into           | pull DISK --into @1                          | base | mid  | completed | top mid       | top live   | top mid
pull-bottom         | pull DISK --bottom @1                        | mid  | top  | completed | top base      | top live   | top base
commit-middle       | commit DISK --top @1 --base @2               | mid  | base | completed | top base      | top live   | top base
commit-pivot        | commit DISK --pivot                          | mid  | base | pivoted   | base          | base live  | base
commit-finish       | commit DISK --finish                         | top  | base | finished  | top mid base  | base end   | base
commit-next         | commit DISK --base @1 --pivot                | top  | mid  | pivoted   | mid base      | mid live   | mid base
copy-finish         | copy DISK TARGET --finish                    | base | copy | finished  | top mid base  | copy end   | copy
copy-pivot          | copy DISK TARGET --pivot                     | mid  | copy | pivoted   | copy          | copy live  | copy
copy-shallow-finish | copy DISK TARGET --shallow --finish          | top  | copy | finished  | top mid base  | copy end   | copy mid base
copy-shallow-pivot  | copy DISK TARGET --shallow --pivot           | top  | copy | pivoted   | copy mid base | copy live  | copy mid base
copy-raw-pivot      | copy DISK TARGET --format raw --pivot        | base | copy | pivoted   | copy          | copy live  | copy
copy-reuse-pivot    | copy DISK TARGET --reuse-external --pivot    | mid  | copy | pivoted   | copy          | copy live  | copy
copy-legacy-finish  | copy DISK TARGET --legacy --finish           | base | copy | finished  | top mid base  | copy end   | copy
copy-legacy-pivot   | copy DISK TARGET --legacy --pivot            | mid  | copy | pivoted   | copy          | copy live  | copy
copy-active-pivot   | copy DISK TARGET --active --pivot            | base | copy | pivoted   | copy          | copy live  | copy
copy-two-finish     | copy DISK=TARGET vd1=TARGET2 --finish        | base | copy | finished  | top mid base  | copy end   | copy
copy-two-pivot      | copy DISK=TARGET vd1=TARGET2 --pivot         | mid  | copy | pivoted   | copy          | copy live  | copy
copy-nbd-finish     | copy DISK NBD --finish                       | mid  | copy | finished  | top mid base  | copy end   | copy
copy-nbd-pivot      | copy DISK NBD --pivot                        | base | copy | pivoted   | copy          | copy live  | copy
copy-json-pivot     | copy DISK --blockdev JSON --pivot            | base | copy | pivoted   | copy          | copy live  | copy
backup-full         | backup DISK TARGET                           | base | copy | completed | top mid base  | copy start | copy
backup-top          | backup DISK TARGET --sync top                | top  | copy | completed | top mid base  | copy start | copy mid base
backup-raw          | backup DISK TARGET --format raw              | mid  | copy | completed | top mid base  | copy start | copy
swap                | swap DISK TARGET                             | mid  | copy | pivoted   | copy          | copy live  | copy
swap-resize         | swap DISK TARGET --resize 64M                | base | copy | pivoted   | copy          | copy live  | copy
swap-raw-bigger     | swap DISK TARGET --format raw                | mid  | copy | pivoted   | copy          | copy live  | copy
snapshot            | snapshot DISK=TARGET                         | -    | over | completed | over top mid base | over live | over top mid base
snapshot-two        | snapshot DISK=TARGET vd1=TARGET2             | -    | over | completed | over top mid base | over live | over top mid base
snapshot-reuse      | snapshot DISK=TARGET --reuse-external        | -    | over | completed | over top mid base | over live | over top mid base
snapshot-two-reuse  | snapshot DISK=TARGET vd1=TARGET2 --reuse-external | - | over | completed | over top mid base | over live | over top mid base
resize              | resize DISK 64M                              | -    | top  | completed | top mid base  | top live   | top mid base
resize-shrink       | resize DISK 16M --shrink                     | -    | top  | completed | top mid base  | top live   | top mid base
throttle            | throttle DISK --bps 64M --iops 500           | -    | top  | completed | top mid base  | top live   | top mid base
detach              | detach DISK                                  | -    | top  | completed |               | top live   | top mid base
TABLE
}

# names_of_disks: what the two disks are called in this world
names_of_disks() {
    case ${world-} in
    qsd) disk=top disk2=other ;;
    *) disk=vd0 disk2=vd1 ;;
    esac
}

# define NAME: from the table into variables
define() {
    local row words word disk disk2
    names_of_disks
    row=$(operations | grep "^$1|") || fail "no operation is called $1"
    IFS='|' read -r op words reads writes done_as chain content with <<<"$row"
    read -r content as_of <<<"$content"
    kind=${words%% *} target='' args=() kept_args=() second=other new2=''
    case $op in
    *-raw* | *-nbd*) target=copy.raw ;;
    copy-* | backup-* | swap*) target=copy.qcow2 ;;
    snapshot*) target=over.qcow2 ;;
    esac
    case $op in
    snapshot-two*) new2=over2.qcow2 second="over2 other" ;;
    copy-two-pivot) new2=copy2.qcow2 second=copy2 ;;
    copy-two-finish) new2=copy2.qcow2 ;;
    esac
    for word in $words; do
        case $word in
        DISK) word=$disk ;;
        TARGET) word=$dir/$target ;;
        DISK=TARGET) word=$disk=$dir/$target ;;
        vd1=TARGET2) word=$disk2=$dir/$new2 ;;
        NBD) word=nbd+unix:///copy?socket=$dir/copy.nbd ;;
        esac
        args+=("$word")
    done
    is_new=$target has_job=yes has_ready='' forgive='' is_exported=yes
    case $op in
    *-reuse* | *-nbd* | *-json* | swap*) is_new='' ;;
    esac
    case $kind in
    copy | swap) has_ready=yes ;;
    snapshot | throttle) has_job='' ;;
    resize | detach) has_job='' ;;
    esac
    size_after=32M target_size=32M late=31M
    case $op in
    resize* | detach | swap-re* | swap-raw*) is_exported='' ;; # an export would be in the way
    esac
    case $op in
    swap-resize | resize) size_after=64M ;;
    swap-raw-bigger) size_after=48M target_size=48M ;;
    resize-shrink) size_after=16M late=15M ;;
    esac
    case $op in
    commit-pivot | commit-finish | commit-next)
        # QEMU leaves the base of an active commit open for writing, however it ended.
        has_ready=yes forgive='s/"resize","write",//'
        ;;
    pull-into)
        forgive='s/"resize","write",//' # so does QEMU 11.1 with this image, though 7.2 does not
        ;;
    esac
    for word in "${args[@]}"; do
        case $word in
        --pivot | --finish) word=--keep ;;
        esac
        kept_args+=("$word")
    done
}

# file_of IMAGE: the name of its file
file_of() {
    case $1 in
    copy | over) echo "$target" ;;
    *) echo "$1.qcow2" ;;
    esac
}

# needs_newer: this QEMU is too old for it
needs_newer() {
    case $op in
    pull-bottom) [ "$qemu_version" -lt 6000 ] ;;
    swap-raw-bigger) [ "$qemu_version" -lt 6001 ] ;;
    *) false ;;
    esac
}

# applies OUTCOME: whether there is such a thing for this operation in this world
applies() {
    ! needs_newer || return 1
    case $world in
    qsd)
        # The jobs are the same as elsewhere: of the faults those that leave the most behind.
        case $1 in
        read-start | read-end | write-start | write-middle | flush | kept-cancel) return 1 ;;
        esac
        # Without a device there is nothing to limit or to unplug, and what an export serves keeps its
        # size: that is said.
        case $op in
        throttle | detach | resize* | swap-re* | swap-raw*)
            [ "$1" = refused ]
            return
            ;;
        esac
        ;;
    esac
    case $1 in
    kept-*) [ -n "$has_ready" ] && [ "$kind" != swap ] ;;
    ready-*) [ -n "$has_ready" ] ;;
    flush) [ "$kind" = copy ] || [ "$kind" = swap ] ;;
    create) [ -n "$is_new" ] ;;
    write-*) [ -n "$has_job" ] || [ "$kind$is_new" = "snapshot$target" ] ;;
    failed) [[ $kind == @(resize|throttle|detach) ]] ;;
    ctrl-c) [ -n "$has_job" ] || [ "$kind" = detach ] ;;
    success | refused) true ;;
    *) [ -n "$has_job" ] ;;
    esac
}
