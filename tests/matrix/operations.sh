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
# The second disk's image is other; an image copy or over is new.
operations() {
    sed -E '/^#|^$/d; s/ *\| */|/g' <<'TABLE'
pull-whole          | pull DISK                                    | base | top  | completed | top           | top live   | top
pull-base           | pull DISK --base @2                          | mid  | top  | completed | top base      | top live   | top base
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
snapshot            | snapshot DISK=TARGET                         | -    | over | completed | over top mid base | over live | over top mid base
snapshot-two        | snapshot DISK=TARGET vd1=TARGET2                | -    | over | completed | over top mid base | over live | over top mid base
snapshot-reuse      | snapshot DISK=TARGET --reuse-external       | -    | over | completed | over top mid base | over live | over top mid base
TABLE
}

# define NAME: from the table into variables
define() {
    local row words word
    row=$(operations | grep "^$1|") || fail "no operation is called $1"
    IFS='|' read -r op words reads writes done_as chain content with <<<"$row"
    read -r content as_of <<<"$content"
    kind=${words%% *} target='' args=() kept_args=() second=other new2=''
    case $op in
    *-raw* | *-nbd*) target=copy.raw ;;
    copy-* | backup-*) target=copy.qcow2 ;;
    snapshot*) target=over.qcow2 ;;
    esac
    case $op in
    snapshot-two) new2=over2.qcow2 second="over2 other" ;;
    copy-two-pivot) new2=copy2.qcow2 second=copy2 ;;
    copy-two-finish) new2=copy2.qcow2 ;;
    esac
    for word in $words; do
        case $word in
        DISK) word=vd0 ;;
        TARGET) word=$dir/$target ;;
        DISK=TARGET) word=vd0=$dir/$target ;;
        vd1=TARGET2) word=vd1=$dir/$new2 ;;
        NBD) word=nbd+unix:///copy?socket=$dir/copy.nbd ;;
        esac
        args+=("$word")
    done
    is_new=$target has_job=yes
    case $op in
    *-reuse* | *-nbd* | *-json*) is_new='' ;;
    esac
    [ "$kind" != snapshot ] || has_job=
    has_ready='' forgive=''
    case $op in
    copy-*) has_ready=yes ;;
    commit-pivot | commit-finish | commit-next)
        # QEMU leaves the base of an active commit open for writing, however it ended.
        has_ready=yes forgive='s/"resize","write",//'
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

# applies OUTCOME: whether there is such a thing for this operation
applies() {
    case $1 in
    ready-* | kept-*) [ -n "$has_ready" ] ;;
    flush) [[ $op == copy-* ]] ;;
    create) [ -n "$is_new" ] ;;
    success | refused) true ;;
    *) [ -n "$has_job" ] ;;
    esac
}
