# tests/matrix/worlds.sh - the images and machines of the matrix
# shellcheck shell=bash disable=SC2034,SC2154 # variables of lib.sh and of the others

# ---- images ---------------------------------------------------------------------------------------

# Each image has data of its own at the start, in the middle and at the end, so that there is a place
# that the job comes to first, half-way and last. What makes jobs last is compressed and takes no
# space: a mirror has 16 MiB in flight before it heeds its speed.
make_images() {
    local size=32M
    local base=("write -P 0x11 0 1M" "write -P 0x12 17M 512k" "write -P 0x13 30M 512k")
    local mid=("write -P 0x21 896k 1152k" "write -P 0x22 17920k 512k" "write -P 0x23 30976k 768k")
    local top=("write -P 0x31 1920k 384k" "write -P 0x32 18M 256k" "write -P 0x33 31M 512k")
    local bulk=("write -P 0x34 8M 9M" "write -P 0x35 18688k 9536k")
    "$QEMU_IMG" create -q -f qcow2 base.qcow2 "$size" &&
        "$QEMU_IMG" create -q -f raw reference.raw "$size" &&
        "$QEMU_IMG" create -q -f qcow2 other.qcow2 1M || fail "qemu-img create failed"
    io base.qcow2 qcow2 "${base[@]}"
    io other.qcow2 qcow2 "write -P 0x77 0 128k"
    "$QEMU_IMG" convert -O raw other.qcow2 other.raw
    io reference.raw raw "${bulk[@]}"
    "$QEMU_IMG" convert -c -f raw -O qcow2 reference.raw top.qcow2 &&
        "$QEMU_IMG" create -q -f qcow2 -F qcow2 -b base.qcow2 mid.qcow2 &&
        "$QEMU_IMG" rebase -u -f qcow2 -F qcow2 -b mid.qcow2 top.qcow2 || fail "qemu-img failed"
    io mid.qcow2 qcow2 "${mid[@]}"
    io top.qcow2 qcow2 "${top[@]}"
    io reference.raw raw "${base[@]}" "${mid[@]}" "${top[@]}" "${bulk[@]}"
    same top.qcow2 qcow2
    "$QEMU_IMG" bitmap --add top.qcow2 since || fail "qemu-img bitmap failed"
    local at
    for at in base:0 base:17408 base:30912 mid:896 mid:17920 mid:31680 top:1920 top:18432 top:32192; do
        echo "${at%:*} $(host_of "${at%:*}.qcow2" "${at#*:}")"
    done >places
    grep -qv ' [0-9]' places && fail "no place in an image: $(cat places)"
    return 0
}

# host_of IMAGE KIB: where in its file the cluster is that the guest has there
host_of() {
    "$QEMU_IMG" map --output=json "$1" | sed 's/[^0-9a-z ]//g' | awk -v at=$(($2 * 1024)) '{
        for (i = 1; i < NF; i++) value[$i] = $(i + 1)
        if (value["depth"] == 0 && value["data"] == "true" && at >= value["start"] + 0 &&
            at < value["start"] + value["length"])
            print value["offset"] + at - value["start"]
    }'
}

# What a guest writes meanwhile: whole clusters in data of each image, and where there is none; none
# where a fault is.
busy_guest() {
    guest_write 0x51 128k 64k 0x52 1M 128k 0x53 4M 128k 0x54 12M 64k 0x55 30M 64k 0x56 31M 64k
}

# ---- the worlds -----------------------------------------------------------------------------------
# start_cell [IMAGE OFFSET TYPE ERRNO ONCE]: a QEMU, in which that read or write of that image fails

# fault PREFIX: the options of a blkdebug node
fault() {
    printf '%s' "$1inject-error.0.event=none,$1inject-error.0.iotype=$fault_type," \
        "$1inject-error.0.sector=$((fault_at / 512)),$1inject-error.0.errno=$fault_errno," \
        "$1inject-error.0.once=$fault_once"
}

add_blockdev() {
    local image=$1 options=${2-}
    bars+=(--blockdev "file,node-name=$image-file,filename=$dir/$image.qcow2")
    if [ "$image" = "$faulty" ]; then
        bars+=(--blockdev "blkdebug,node-name=$image-fault,image=$image-file,$(fault '')")
        options="file=$image-fault$options"
    else
        options="file=$image-file$options"
    fi
    bars+=(--blockdev "qcow2,node-name=$image,$options")
}

# device DISK BACKEND: in a machine that starts fast; or where a device can be unplugged, either at once
# or, if $guest_ignores, never
device() {
    if [ "$kind" != detach ]; then
        bars+=(-device "virtio-blk-device,id=$1,drive=$2")
    elif [ -n "$guest_ignores" ] && [ "$1" = vd0 ]; then
        bars+=(-device "pcie-root-port,id=rp" -device "virtio-blk-pci,bus=rp,id=$1,drive=$2")
        writer=/machine/peripheral/vd0/virtio-backend
    else
        bars+=(-device "virtio-scsi-pci,id=scsi-$1" -device "scsi-hd,bus=scsi-$1.0,id=$1,drive=$2")
    fi
}

add_chain() {
    add_blockdev base ,read-only=on
    add_blockdev mid ,backing=base,read-only=on
    add_blockdev top ,backing=mid
    add_blockdev other
}

start_cell() {
    local bars=() drive prefix='' i exports=()
    faulty=${1-} fault_at=${2-} fault_type=${3-} fault_errno=${4-} fault_once=${5-}
    machine=microvm writer=/machine/peripheral/vd0
    names_of_disks
    [ "$kind" != detach ] || machine=q35
    case $world in
    blockdev)
        add_chain
        device vd0 top
        device vd1 other
        root_name=top
        ;;
    drive)
        drive="file=$dir/top.qcow2,format=qcow2,if=none,id=drive0"
        case $faulty in
        mid) prefix=backing. ;;
        base) prefix=backing.backing. ;;
        esac
        [[ $faulty != @(top|mid|base) ]] ||
            drive="$drive,${prefix}file.driver=blkdebug,$(fault "${prefix}file.")"
        bars+=(-drive "$drive" -drive "file=$dir/other.qcow2,format=qcow2,if=none,id=drive1")
        device vd0 drive0
        device vd1 drive1
        root_name=drive0
        ;;
    qsd)
        add_chain
        root_name=top
        ;;
    esac
    case $world in
    qsd) start_exported "${bars[@]}" ;;
    *)
        FAULTY_RULE=$dir/before.rule qemu_preload=${with_faulty:+$faulty_so} start_qemu -m 16 \
            "${bars[@]}"
        ;;
    esac
    [[ $op != *-nbd* ]] || start_server
    for i in "${!args[@]}"; do
        [ "${args[i]}" != JSON ] || args[i]=$(described) kept_args[i]=$(described)
    done
    # Somebody else looks at the disks.
    [ "$world" = qsd ] || exports=('{"execute": "nbd-server-start", "arguments": {"addr": {
        "type": "unix", "data": {"path": "'"$dir"'/nbd"}}}}')
    [ -z "$is_exported" ] || exports+=("$(export_of vd0)")
    raw "${exports[@]}" "$(export_of vd1)" >after.raw || fail "no export: $(cat after.raw)"
}

# start_exported ARG...: the storage daemon, in which an export writes as a guest does
start_exported() {
    FAULTY_RULE=$dir/before.rule qemu_preload=${with_faulty:+$faulty_so} start_daemon "$@" \
        --nbd-server "addr.type=unix,addr.path=$dir/nbd" \
        --export nbd,id=ex0,node-name=top,name=disk,writable=on \
        --export nbd,id=ex1,node-name=other,name=disk1,writable=on
}

# The target as JSON; a write to it may be made to fail.
described() {
    local file='{"driver": "file", "filename": "'"$dir/$target"'"}'
    [ "$faulty" != copy ] ||
        file='{"driver": "blkdebug", "image": '"$file"', "inject-error": [{"event": "none",
              "iotype": "'"$fault_type"'", "sector": '$((fault_at / 512))', "errno": '"$fault_errno"',
              "once": false}]}'
    echo '{"driver": "qcow2", "file": '"$file"'}'
}

# Serves the target's file.
start_server() {
    FAULTY_RULE=$dir/before.rule server_preload=${with_faulty:+$faulty_so} serve "$dir/m3" \
        --blockdev "file,node-name=copy,filename=$dir/$target" \
        --nbd-server "addr.type=unix,addr.path=$dir/copy.nbd" \
        --export nbd,id=copy,node-name=copy,name=copy,writable=on
}

stop_server() {
    [ -n "${server_pid-}" ] || return 0
    end_daemon "$server_pid" m3
}

# export_of DISK: the command that exports its top image
export_of() {
    local node
    case $world$1 in
    blockdevvd0 | qsdvd0) node=top ;;
    blockdevvd1 | qsdvd1) node=other ;;
    drive*)
        node=$(state_now | awk -v drive="drive${1#vd}" '$2 == drive && $3 == "root" { print $4 }')
        ;;
    esac
    echo '{"execute": "block-export-add", "arguments": {"type": "nbd", "id": "theirs.'"$1"'",
           "node-name": "'"$node"'"}}'
}

# chart IMAGE...: the edges of a disk that has these images, and perhaps an export
chart() {
    local image above=backend role=root file format is_seen=$is_exported
    [ "$1" != other ] || is_seen=yes
    for image; do
        file=$(file_of "$image") format=${file##*.}
        [[ $image$op != copy*-nbd* ]] || file=copy.nbd
        [ "$above" != backend ] || [ -z "$is_seen" ] || echo "backend root $file $format"
        echo "$above $role $file $format"
        if [ "$image" = copy ] && [[ $op == *-nbd* ]]; then
            echo "copy.nbd raw file copy.nbd nbd"
        elif [ "$image" = "$faulty" ]; then
            echo "$file $format file $file blkdebug"
            echo "$file blkdebug image $file file"
        else
            echo "$file $format file $file file"
        fi
        above="$file $format" role=backing
    done
}

# charts_are IMAGES IMAGES: the whole graph, edge by edge, whatever the nodes are called
charts_are() {
    # shellcheck disable=SC2086 # lists
    { [ -z "$1" ] || chart $1; chart $2; } | LC_ALL=C sort >before.chart
    "$rawqmp" m1 chart >after.chart || fail "cannot read the graph"
    cmp -s before.chart after.chart ||
        fail "the graph is another: $(diff before.chart after.chart | grep '^[<>]' | tr '\n' ' ')"
}
