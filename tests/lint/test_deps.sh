#!/bin/sh
# tools/install-deps on machines made of stubs: it asks nobody when all is there, installs as root or
# through sudo, fetches package lists once when it must, and else prints the command and stops with 2.
. "$(dirname "$0")/lib.sh"

sh=$(command -v sh)
tool=$PWD/tools/install-deps
log=$scratch/log-of-commands

# machine UID: only what a bare system has, and a user of that number
machine() {
    rm -rf "${scratch:?}/bin"
    mkdir "$scratch/bin"
    : >"$log"
    for name in mktemp rm sed tr cat env head sort touch; do
        ln -s "$(command -v "$name")" "$scratch/bin/$name"
    done
    stub id "echo $1"
}

# stub NAME SCRIPT
stub() {
    printf '#!%s\n%s\n' "$sh" "$2" >"$scratch/bin/$1"
    chmod +x "$scratch/bin/$1"
}

# builder: everything that the group "build" wants
builder() {
    for name in make gcc ld pkg-config; do stub "$name" 'exit 0'; done
}

# manager NAME [SCRIPT]: a package manager that writes down what it was told
manager() {
    stub "$1" "echo \"$1 \$*\" >>$log
${2-}"
}

deps() {
    PATH=$scratch/bin "$sh" "$tool" "$@" >"$scratch/out" 2>&1
}

# expect NAME STATUS PATTERN-IN-OUTPUT PATTERN-IN-COMMANDS: an empty pattern means nothing at all
expect() {
    deps build
    status=$?
    if [ "$status" = "$2" ] && matches "$scratch/out" "$3" && matches "$log" "$4"; then
        echo "ok $1"
    else
        echo "not ok $1: status $status, said: $(cat "$scratch/out"), ran: $(cat "$log")"
        failed=1
    fi
}

matches() {
    if [ -z "$2" ]; then
        [ ! -s "$1" ]
    else
        grep -q -e "$2" "$1"
    fi
}

machine 0; builder; manager apt-get
expect "nothing is asked for when all is there" 0 '' ''

machine 1000; manager apt-get
expect "without rights the command is printed, for Debian" 2 \
    'apt-get update .* && apt-get install .*gcc.*libjansson-dev.*pkg-config' ''
machine 1000; manager dnf
expect "without rights the command is printed, for Fedora" 2 \
    'dnf install .*jansson-devel.*pkgconf-pkg-config' ''
machine 1000; manager apk
expect "without rights the command is printed, for Alpine" 2 'apk add .*jansson-dev.*pkgconf' ''
machine 0
expect "a system of another kind is told what is missing" 2 'missing: .*jansson' ''

machine 1000; manager apt-get; stub sudo 'exit 1'
expect "a sudo that would ask for a password is not used" 2 'run this as root' ''
# What a package brings is made by the stub.
brings="case \$* in *install*) for n in make gcc ld pkg-config; do
    printf '#!$sh\nexit 0\n' >$scratch/bin/\$n; chmod +x $scratch/bin/\$n; done;; esac"
machine 1000; ln -s "$(command -v chmod)" "$scratch/bin/"; manager apt-get "$brings"
stub sudo "[ \"\$1\" = -n ] || exit 1; shift; echo sudo >>$log; \"\$@\""
expect "sudo is used where it needs no password" 0 'installing' '^sudo$'

machine 0; ln -s "$(command -v chmod)" "$scratch/bin/"; manager apt-get "$brings"
expect "root installs, with one command" 0 'installing' \
    'apt-get install -y .*--no-install-recommends .*libev-dev'
if grep -q update "$log"; then
    echo "not ok package lists are left alone when they serve"
    failed=1
else
    echo "ok package lists are left alone when they serve"
fi

machine 0; ln -s "$(command -v chmod)" "$scratch/bin/"
manager apt-get "case \$* in update*) touch $scratch/bin/fetched;; *) [ -e $scratch/bin/fetched ] || exit 100;; esac
$brings"
expect "package lists are fetched when installing fails" 0 'installing' 'apt-get update'

machine 0; manager apt-get 'exit 100'
expect "an installer that fails gives status 2 and the command" 2 'by hand' 'apt-get install'
machine 0; manager apk
expect "what is still missing afterwards gives status 2" 2 'still missing' 'apk add'

machine 0; builder
if QEMU=/nonexistent/qemu deps demo || [ $? != 2 ] || ! grep -q 'QEMU names /nonexistent/qemu' "$scratch/out"; then
    echo "not ok a QEMU= that does not exist is named: $(cat "$scratch/out")"
    failed=1
else
    echo "ok a QEMU= that does not exist is named"
fi
exit $failed
