/* The record that an operation leaves in QEMU before its first change: the names of disabled,
 * transient dirty bitmaps on the null-co node qblk.<id>.journal. QEMU is the only memory that
 * outlives this process, and a name is the only free text that it keeps.
 *
 * Grammar, version 1 (libqblk-journal(7)):
 *
 *   bitmap name = "qblk1 " part "/" parts " " text         at most 1023 bytes; parts in order make
 *                                                           one text
 *               | "qblk1 ended"                             the main job has ended well: only cleaning
 *                                                           is left. A name of its own, because it can
 *                                                           be added without reading the others, which
 *                                                           some QEMUs do not survive just then. Of a
 *                                                           snapshot, which has no job, it comes in the
 *                                                           transaction that takes the snapshots, and
 *                                                           so is there if and only if they are
 *               | "qblk1 added " value                      a bitmap of that name was added to where a
 *                                                           pivot is to go, by the transaction that also
 *                                                           adds this. One with a name too long for that
 *                                                           is not told of
 *               Each part but the last has 1011 bytes of text
 *   text        = field *( " " field )
 *   field       = key "=" value                             value: bytes, with %, blank, control and
 *                                                           non-ASCII bytes as %XX
 *   keys        op      pull | copy | swap | backup | commit | snapshot | detach
 *               disk    the disk as it was named
 *               intent  finish | pivot | keep; of a commit below the disk's top: merge
 *               old     nodes that a pull, a commit, a pivot or a detach makes useless, comma-separated,
 *                       in the order in which they can be removed; each is marked (old.c)
 *               base    commit: the node that takes the data
 *               bitmaps move: those of the images above are carried on to where a pivot goes
 *               file    file that the operation makes: removed if it fails
 *               agent   socket of the guest agent through which the guest may have been frozen; with ?
 *                       before it, if the operation may do without
 *               disk.N, file.N   snapshot: the same of the disks after the first, N from 1 without a
 *                       gap; in the names of their nodes and jobs the role ends in .N as well
 *               with    ids of the operations that were started together with this one and are to end
 *                       as it does: once all their jobs are ready, none earlier; comma-separated
 *               opts    what else was asked, in words, comma-separated: blockdev (the target is one
 *                       node, without a file node), no-pivot (the target holds only what was written
 *                       meanwhile), active-late, resize=N (swap: the disk's size then);
 *                       unknown words are ignored
 *               Unknown keys are ignored. The intent is written last, so that a record that is cut off,
 *               wherever, lacks it or has an unknown one
 *
 * How far it is believed, since anybody who may talk to QEMU can write one, and what was true once
 * need not be true now:
 *   the whole     a record with an unknown op, intent or version is reported, and nothing is touched
 *   own nodes     follow from the operation's id, never from the record
 *   file          removed only if something besides the record says that the operation made it (the
 *                 job that did, as long as there are only zeroes in it, a node of the operation's that has it
 *                 open, or the main job, if that has ended and its target has gone with it), and no other
 *                 node uses it; while the main job works, or a node of a format is there, only if it is
 *                 locked, as QEMU locks the target then, else only if it has the size that QEMU knows of;
 *                 without the main job, only if nobody else uses the target. Live operations keep such a
 *                 proof from before the file is there until after it has gone, and none takes a file for
 *                 its target that the record of another names
 *   with          only if the record of that operation, if there is one, names this one as well
 *   ended         not against the main job, if that is there and has not completed
 *   old           removed only if the node itself is marked as this operation's, and the main job is seen
 *                 to have completed, or the mark of its end is there; of a copy or commit that pivots only
 *                 if the disk is where it was to go; of a detach only once no device has the disk. That
 *                 nobody uses them is seen to by QEMU, which refuses to remove a node in use. Not removed
 *                 are nodes named after an operation that is open, and journals
 *   bitmaps       only ever adds a bitmap, or bits to one: at worst a backup reads too much
 *   added         such a bitmap is removed only by an undoing, while the main job is there, from the node
 *                 that it writes to, and only if it records, is persistent, and the disk's top image has
 *                 one of its name
 *   agent         is spoken to as a guest agent, and no more: a sync and a question for its status, and a
 *                 thaw only after the sync was answered, if the guest is not said to be thawed. So a
 *                 forged record can have a frozen guest thawed, and no more
 *
 * What follows from the id (the job's name, the names of the operation's own nodes) is not in it:
 * every byte costs QEMU a system call, and what is not said cannot be forged.
 */
#ifndef QBLK_SRC_OPS_JOURNAL_H
#define QBLK_SRC_OPS_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include <qblk/base.h>

#define JOURNAL_NAME_MAX 1023
#define JOURNAL_PARTS_MAX 64

#define JOURNAL_ENDED "qblk1 ended"
#define JOURNAL_BITMAPS_MOVE "move"
#define JOURNAL_ADDED "qblk1 added "

struct journal_nodes {
    char **v;
    size_t n, room;
};

/* One of the disks after the first. */
struct journal_disk {
    char *disk, *file; /* file: or NULL */
};

/* Names of nodes have room for three digits. */
#define JOURNAL_DISKS_MAX 1000

struct journal {
    char *op, *disk, *intent, *base, *bitmaps, *file, *agent, *opts;
    struct journal_disk *more; /* number 1 and up */
    size_t n_more, more_room;
    struct journal_nodes old_nodes, with;
    /* Read back only. */
    bool has_ended;
    struct journal_nodes added; /* bitmaps */
};

void journal_done(struct journal *journal);

/* 0 or -ENOMEM. */
int journal_add(struct journal_nodes *nodes, const char *name);
bool journal_has_node(const struct journal_nodes *nodes, const char *name);
void journal_free_nodes(struct journal_nodes *nodes);

/* Adds a word to the options. 0 or -ENOMEM. */
int journal_opt(struct journal *journal, const char *word);
/* The number behind the word, such as "resize="; 0 if there is none. */
uint64_t journal_opt_number(const struct journal *journal, const char *word);
bool journal_has_opt(const struct journal *journal, const char *word);

/* The file that the operation makes for its disk of that number, or NULL. */
const char *journal_file(const struct journal *journal, size_t number);
/* Where it (or the disk's name) is kept, room being made for it; NULL: out of memory. Without gaps:
 * a number that is there, or the next. */
struct journal_disk *journal_more(struct journal *journal, size_t number);

/* The record as bitmap names: *ret_names is an array of n, each the caller's. Returns n, -ENOMEM,
 * or -EMSGSIZE (more than JOURNAL_PARTS_MAX parts). */
int journal_encode(const struct journal *journal, char ***ret_names, qblk_error *error);

/* The name that says of a bitmap that it was added: the caller's; *ret_name is NULL if there is no
 * room for it. 0 or -ENOMEM. */
int journal_encode_added(const char *bitmap, char **ret_name);

/* Reads the record back from the names of all bitmaps on a journal node, in any order. Everything
 * is checked: on failure (QBLK_E_JOURNAL: malformed, incomplete, of a newer version) nothing is
 * left in *ret_journal. */
int journal_decode(char *const *names, size_t n, struct journal *ret_journal, qblk_error *error);

#endif
