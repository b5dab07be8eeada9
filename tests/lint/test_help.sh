#!/bin/sh
# tools/check-help compares qblk(1) with the command's own help, both ways.
. "$(dirname "$0")/lib.sh"

qblk=build/release/qblk
page=tools/qblk/qblk.1
[ -x "$qblk" ] || { echo "skip: no $qblk here"; exit 77; }

# spoil NAME SED PATTERN
spoil() {
    sed "$2" "$page" >"$scratch/page"
    caught "$1" "$3" tools/check-help "$qblk" "$scratch/page"
}

passes "the page as it is" tools/check-help "$qblk" "$page"
spoil "a verb without a section" '/^\.SS "recover"/d' "verb 'recover' has no section"
spoil "a verb of two words without a section" '/^\.SS "job wait/d' "verb 'job wait' has no section"
spoil "an option that is not described" '/^\.B \\-\\-undo/d' 'recover: --undo is not described'
spoil "an option described for another verb only" '/^\.SS "backup/,/^\.SH/s/compress/squeeze/' \
    'backup: --compress is not described'
spoil "an option of every verb that is not described" 's/\\-\\-quiet//' '\-\-quiet is in no section'
spoil "an option that there is not" 's/^\.B \\-\\-undo/.B \\-\\-redo/' '\-\-redo is no option'
exit $failed
