/* A client may die at any command: another one finishes or undoes what it left, twice without harm,
 * and a record that somebody else wrote brings nothing of theirs to harm. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "look_aid.h"
#include "recorder.h"

#define V52 PEER_VERSION(5, 2, 0)
#define V72 PEER_VERSION(7, 2, 22)
#define V100 PEER_VERSION(10, 0, 13)

static struct peer peer;
static qblk_monitor *monitor;
static unsigned version = V72;

static void setup(void)
{
    recorder_reset();
    monitor = peer_start(&peer, version, NULL);
}

static void teardown(void)
{
    monitor = qblk_monitor_free(monitor);
    peer_done(&peer);
    recorder_reset();
}

static void again(void)
{
    teardown();
    setup();
}

static char *clean, *done;
static size_t n_commands;

static void measure(const struct errand *errand)
{
    errand_begin(errand, &peer, monitor, true);
    clean = peer_state(&peer);
    again();
    errand_begin(errand, &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    done = peer_state(&peer);
    n_commands = peer.n_sent;
    again();
}

static void forget(void)
{
    free(clean);
    free(done);
    clean = done = NULL;
}

/* ---- what is foretold ------------------------------------------------------------------------ */

static qblk_fate foretold;
static bool is_foretold;

static void foretell(const char *id)
{
    qblk_remains *remains = look(&peer, monitor);
    const qblk_open_op *op = look_find(remains, id);

    is_foretold = op != NULL;
    foretold = op != NULL ? op->fate : QBLK_FATE_LEAVE;
    (void)qblk_remains_free(remains);
}

/* It came as it was foretold, if its owner's intent was followed. */
static void check_foretold(const struct errand *errand, size_t n)
{
    qblk_result result = recorder.result;
    bool is_right = false;

    switch (foretold) {
    case QBLK_FATE_CLOSE:
    case QBLK_FATE_UNDO:
        is_right = result == QBLK_RESULT_UNDONE;
        break;
    case QBLK_FATE_KEEP:
        is_right = result == QBLK_RESULT_KEPT;
        break;
    case QBLK_FATE_FINISH:
        is_right = result == QBLK_RESULT_FINISHED;
        break;
    case QBLK_FATE_PIVOT:
        is_right = result == QBLK_RESULT_PIVOTED;
        break;
    case QBLK_FATE_WAIT:
    case QBLK_FATE_GO_ON:
        is_right = result == QBLK_RESULT_COMPLETED;
        break;
    case QBLK_FATE_CLEAN:
        is_right = result == errand->result;
        break;
    case QBLK_FATE_LEAVE:
    case QBLK_FATE_LATER:
    default:
        break;
    }
    if (!is_foretold)
        is_right = result == QBLK_RESULT_FAILED && recorder.error.code == QBLK_E_UNKNOWN_JOB;
    ck_assert_msg(is_right, "%s, died at %zu: foretold %s, but it was %s: %s", errand->name, n,
                  is_foretold ? qblk_fate_name(foretold) : "nothing", qblk_result_name(result),
                  recorder.error.text);
}

/* A new client takes the operation up. */
static void resume(const char *id, qblk_resume_how how)
{
    qblk_resume_options options = QBLK_INIT(qblk_resume_options);
    char name[16];

    (void)snprintf(name, sizeof(name), "%s", id);
    monitor = qblk_monitor_free(monitor);
    peer.hang_up_at = 0;
    monitor = peer_reconnect(&peer, NULL);
    recorder_reset();
    foretell(name);
    options.how = how;
    recorder_watch(&options.common);
    ck_assert_int_eq(qblk_resume(monitor, name, &options, NULL, NULL), 0);
    ck_assert_msg(peer_run(&peer, monitor, recorder_ended), "the resumed operation is stuck");
    ck_assert(!peer.has_crashed);
    ck_assert_int_eq(recorder.calls[CALL_END], 1);
    ck_assert_int_eq(recorder.late, 0);
}

static void check_state(const struct errand *errand, size_t n, const char *how, const char *want,
                        const char *or_want)
{
    char *state = peer_state(&peer), *sent = peer_sent(&peer, false);

    ck_assert_msg(strcmp(state, want) == 0 || (or_want != NULL && strcmp(state, or_want) == 0),
                  "%s, died at %zu, %s: %s: %s\nbut state\n%.900s\nsent\n%.1800s\nnotes\n%.600s",
                  errand->name, n, how, qblk_result_name(recorder.result), recorder.error.text,
                  state, sent,
                  recorder.notes);
    ck_assert_msg(recorder.notes[0] == '\0' || recorder.result == QBLK_RESULT_KEPT,
                  "%s, died at %zu, %s: %s\nnotes\n%.600s\nsent\n%.1800s", errand->name, n, how,
                  qblk_result_name(recorder.result), recorder.notes, sent);
    free(state);
    free(sent);
}

static const char *const how_names[] = { "intent", "finish", "pivot", "undo" };

static void die_at(const struct errand *errand, size_t n, bool after, bool goes_on,
                   qblk_resume_how how)
{
    char id[9];
    bool is_open;

    peer.hang_up_at = n;
    peer.hang_up_after = after;
    errand_begin(errand, &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    memcpy(id, recorder.operation, sizeof(id));
    if (id[0] == '\0')
        memcpy(id, "00000000", sizeof(id));
    if (goes_on)
        peer_go_on(&peer);
    resume(id, how);
    is_open = recorder.result != QBLK_RESULT_FAILED;
    if (!is_open)
        ck_assert_msg(recorder.error.code == QBLK_E_UNKNOWN_JOB, "%s, died at %zu, %s: %s",
                      errand->name, n, how_names[how], recorder.error.text);
    check_state(errand, n, how_names[how], clean, done);
    if (how == QBLK_RESUME_INTENT)
        check_foretold(errand, n);
    if (how == QBLK_RESUME_UNDO && recorder.result == QBLK_RESULT_UNDONE)
        check_state(errand, n, "undone", clean, NULL);
    if (is_open && recorder.result != QBLK_RESULT_UNDONE)
        ck_assert_int_eq(recorder.result, errand->result);

    /* Once more does no harm. */
    resume(id, how);
    if (recorder.result != QBLK_RESULT_KEPT) {
        ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
        ck_assert_int_eq(recorder.error.code, QBLK_E_UNKNOWN_JOB);
    }
    check_state(errand, n, "again", clean, done);
}

static void die_everywhere(const struct errand *errand, qblk_resume_how how)
{
    measure(errand);
    for (size_t n = 1; n <= n_commands; n++) {
        for (int way = 0; way < 4; way++) {
            die_at(errand, n, (way & 1) != 0, (way & 2) != 0, how);
            again();
        }
    }
    forget();
}

START_TEST(a_client_that_dies_anywhere_is_followed_by_one_that_ends_it_as_intended)
{
    die_everywhere(&errands[_i], QBLK_RESUME_INTENT);
}
END_TEST

START_TEST(a_client_that_dies_anywhere_is_followed_by_one_that_undoes_it)
{
    die_everywhere(&errands[_i], QBLK_RESUME_UNDO);
}
END_TEST

/* The one who follows may die too. The sanitizers see every sixth of these pairs of deaths, which takes
 * them a minute; the plain build takes all. */
#ifdef __SANITIZE_ADDRESS__
#define NTH_PAIR 6
#else
#define NTH_PAIR 1
#endif

START_TEST(whoever_follows_may_die_as_well)
{
    const struct errand *errand = &errands[_i];

    measure(errand);
    for (size_t n = 8; n <= n_commands; n++) {
        for (size_t k = 1 + 2 * (n % NTH_PAIR); k < 24; k += 2 * NTH_PAIR) {
            char id[9];

            peer.hang_up_at = n;
            peer.hang_up_after = true;
            errand_begin(errand, &peer, monitor, false);
            ck_assert(peer_run(&peer, monitor, recorder_ended));
            memcpy(id, recorder.operation, sizeof(id));
            resume("ffffffff", QBLK_RESUME_INTENT); /* to have a new connection */
            peer.hang_up_at = peer.n_sent + k;
            recorder_reset();

            qblk_resume_options options = QBLK_INIT(qblk_resume_options);

            recorder_watch(&options.common);
            ck_assert_int_eq(qblk_resume(monitor, id, &options, NULL, NULL), 0);
            ck_assert(peer_run(&peer, monitor, recorder_ended));
            resume(id, QBLK_RESUME_INTENT);
            check_state(errand, n, "died twice", clean, done);
            again();
        }
    }
    forget();
}
END_TEST

/* ---- a kept copy ----------------------------------------------------------------------------- */

static const struct {
    qblk_resume_how how;
    qblk_result result;
    const char *root;
} kept[] = {
    { QBLK_RESUME_INTENT, QBLK_RESULT_KEPT, "filter" },
    { QBLK_RESUME_FINISH, QBLK_RESULT_FINISHED, "top" },
    { QBLK_RESUME_PIVOT, QBLK_RESULT_PIVOTED, "target" },
    { QBLK_RESUME_UNDO, QBLK_RESULT_UNDONE, "top" },
};

START_TEST(a_kept_copy_ends_as_its_user_says)
{
    char id[9], root[40], target[128];

    errand_begin(&errands[4], &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, QBLK_RESULT_KEPT);
    memcpy(id, recorder.operation, sizeof(id));
    resume(id, kept[_i].how);
    ck_assert_int_eq(recorder.result, kept[_i].result);
    if (strcmp(kept[_i].root, "top") == 0)
        (void)snprintf(root, sizeof(root), "top");
    else
        (void)snprintf(root, sizeof(root), "qblk.%s.%s", id, kept[_i].root);
    ck_assert_str_eq(peer.root, root);
    (void)snprintf(target, sizeof(target), "%s/target", peer.dir);
    ck_assert_int_eq(access(target, F_OK) == 0, kept[_i].how != QBLK_RESUME_UNDO);
    if (kept[_i].how != QBLK_RESUME_INTENT) {
        ck_assert_uint_eq(peer.n_jobs, 0);
        ck_assert_str_eq(recorder.notes, "");
    }
}
END_TEST

/* ---- records that are not ours --------------------------------------------------------------- */

#define FORGED "qblk.0badf00d.journal"

/* Several bitmaps have a bar between their names. */
static void forge(const char *record, bool has_ended)
{
    struct peer_node *node = peer_add_node(&peer, FORGED, "null-co", "", "", "");

    for (const char *bar; (bar = strchr(record, '|')) != NULL; record = bar + 1)
        node->bitmaps[node->n_bitmaps++] = strndup(record, (size_t)(bar - record));
    node->bitmaps[node->n_bitmaps++] = strdup(record);
    if (has_ended)
        node->bitmaps[node->n_bitmaps++] = strdup("qblk1 ended");
}

/* Forges what an operation of that record would have put on its old nodes, too. */
static void forge_marks(const char *nodes)
{
    char names[200], *save = NULL;

    (void)snprintf(names, sizeof(names), "%s", nodes);
    for (char *name = strtok_r(names, ",", &save); name != NULL; name = strtok_r(NULL, ",", &save)) {
        struct peer_node *node = peer_node(&peer, name);

        ck_assert_msg(node != NULL, "no node %s", name);
        node->bitmaps[node->n_bitmaps++] = strdup("qblk.0badf00d.old");
    }
}

static void unforge(void)
{
    struct peer_node *node = &peer.nodes[--peer.n_nodes];

    ck_assert_str_eq(node->name, FORGED);
    while (node->n_bitmaps > 0)
        free(node->bitmaps[--node->n_bitmaps]);
    memset(node, 0, sizeof(*node));
}

static char *others(void)
{
    char *state = peer_state(&peer), *line = strstr(state, "node qblk.ID.journal");

    if (line != NULL)
        memmove(line, strchr(line, '\n') + 1, strlen(strchr(line, '\n') + 1) + 1);
    return state;
}

static const char *const unknown[] = {
    "qblk2 1/1 op=copy disk=vd0 intent=pivot",
    "qblk1 1/1 op=burn disk=vd0 intent=finish",
    "qblk1 1/1 op=copy disk=vd0 intent=destroy",
    "qblk1 1/2 op=copy disk=vd0 intent=pivot",
    "qblk1 1/1 op=copy disk=vd0",
    "not a record",
    "qblk1 1/1 op=copy disk=vd0 intent=pivot|qblk1 1/1 op=copy disk=vd0 intent=finish",
    "qblk1 1/1 op=copy disk=vd0 intent=pivot|qblk1 1/2 op=copy disk=vd0",
    "qblk1 1/1 op=copy disk=vd0 intent=pivot|somebody's",
    "qblk1 1/1 op=copy disk=vd0 intent=pivo",
    "qblk1 1/1 op=commit disk=vd0 intent=pivot",
    "qblk1 1/1 op=pull disk=vd0 intent=pivot",
    "qblk1 1/1 op=backup disk=vd0 intent=keep",
    "qblk1 1/1 op=detach disk=vd0 intent=finish",
    "qblk1 1/1 op=copy disk=vd0 disk.1=vd1 intent=pivot",
};

/* What is open under that id is left, for that reason. */
static void check_left(const char *id, qblk_error_code code)
{
    qblk_remains *remains = look(&peer, monitor);
    const qblk_open_op *op = look_find(remains, id);

    ck_assert_ptr_nonnull(op);
    ck_assert_int_eq(op->fate, QBLK_FATE_LEAVE);
    ck_assert_int_eq(op->stage, QBLK_STAGE_UNKNOWN);
    ck_assert_int_eq(op->why.code, code);
    ck_assert_uint_eq(op->n_with, 0);
    (void)qblk_remains_free(remains);
}

START_TEST(a_record_of_another_version_is_reported_and_nothing_changed)
{
    char *before, *after;

    forge(unknown[_i], true);
    before = peer_state(&peer);
    check_left("0badf00d", QBLK_E_JOURNAL);
    resume("0badf00d", QBLK_RESUME_INTENT);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_JOURNAL);
    resume("0badf00d", QBLK_RESUME_UNDO);
    ck_assert_int_eq(recorder.error.code, QBLK_E_JOURNAL);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
}
END_TEST

static void make(const char *name)
{
    char path[128];
    FILE *file;

    (void)snprintf(path, sizeof(path), "%s/%s", peer.dir, name);
    file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_gt(fprintf(file, "precious"), 0);
    (void)fclose(file);
}

/* What a forged record names: nodes that nobody uses (spare), nodes in use, a file. DIR is filled
 * in. Idle nodes would go if they were marked as well. */
static const struct {
    const char *record;
    bool has_ended;
} forged[] = {
    { "op=pull disk=vd0 intent=finish old=top,top-file,mid,base-file", true },
    { "op=pull disk=vd0 intent=finish old=spare,spare-file", true },
    { "op=commit disk=vd0 base=base intent=merge old=spare,spare-file", true },
    { "op=commit disk=vd0 base=top intent=pivot old=spare,spare-file", true },
    { "op=detach disk=nonesuch intent=finish old=spare,spare-file", false },
    { "op=detach disk=vd0 intent=finish old=top,top-file", false },
    { "op=detach disk=vd0 intent=finish old=spare,spare-file", true },
    { "op=copy disk=vd0 intent=pivot old=spare,spare-file", true },
    { "op=copy disk=nonesuch intent=pivot old=spare", true },
    { "op=copy disk=vd0 intent=finish old=spare file=DIR/precious", true },
    { "op=pull disk=vd0 intent=finish old=spare", false },
    { "op=copy disk=vd0 intent=pivot old=spare file=DIR/precious", false },
    { "op=backup disk=vd0 intent=finish file=DIR/precious", false },
    { "op=backup disk=vd0 intent=finish file=DIR/base.qcow2", false },
    { "op=pull disk=vd0 intent=finish file=DIR/precious", false },
    { "op=snapshot disk=vd0 intent=finish file=DIR/precious", false },
    { "op=snapshot disk=vd0 intent=finish file=DIR/precious", true },
    { "op=snapshot disk=vd0 intent=finish disk.1=x disk.2=y file.2=DIR/precious", false },
    { "op=snapshot disk=vd0 intent=finish disk.1=x file.1=DIR/base.qcow2", false },
};

START_TEST(a_forged_record_harms_nothing_of_others)
{
    char record[300] = "qblk1 1/1 ", *before, *after, path[128];
    const char *dir = strstr(forged[_i].record, "DIR");
    int how = _i % 2 == 0 ? QBLK_RESUME_INTENT : QBLK_RESUME_UNDO;

    make("precious");
    make("base.qcow2");
    (void)snprintf(path, sizeof(path), "%s/spare.qcow2", peer.dir);
    (void)peer_add_node(&peer, "spare-file", "file", path, "", "");
    (void)peer_add_node(&peer, "spare", "qcow2", path, "spare-file", "");
    if (dir != NULL)
        (void)snprintf(record, sizeof(record), "qblk1 1/1 %.*s%s%s",
                       (int)(dir - forged[_i].record), forged[_i].record, peer.dir, dir + 3);
    else
        (void)snprintf(record, sizeof(record), "qblk1 1/1 %s", forged[_i].record);
    forge(record, forged[_i].has_ended);
    before = others();
    resume("0badf00d", (qblk_resume_how)how);
    after = others();
    ck_assert_msg(strcmp(after, before) == 0, "%s: %s\nbefore\n%s\nafter\n%s\nsaid %s", record,
                  qblk_result_name(recorder.result), before, after, recorder.notes);
    free(before);
    free(after);
}
END_TEST

/* An operation that has no journal is told of with one job. The others are nobody's. */
START_TEST(every_job_is_told_of)
{
    qblk_remains *remains;
    const qblk_open_op *op;
    const qblk_stray *stray;

    (void)peer_add_job(&peer, "qblk.0badf00d.probe", "mirror", "concluded");
    (void)peer_add_job(&peer, "qblk.0badf00d.resize", "mirror", "ready");
    remains = look(&peer, monitor);
    op = qblk_remains_op(remains, 0);
    stray = qblk_remains_stray(remains, 0);
    ck_assert(op != NULL && op->job != NULL && stray != NULL);
    ck_assert_str_eq(op->job->id, "qblk.0badf00d.probe");
    ck_assert_ptr_nonnull(strstr(op->why.text, "\"qblk job dismiss qblk.0badf00d.probe\" ends it"));
    ck_assert_str_eq(stray->name, "qblk.0badf00d.resize");
    ck_assert_ptr_null(qblk_remains_op(remains, 1));
    (void)qblk_remains_free(remains);
}
END_TEST

/* Nor is a node of that name a journal that has another driver. */
START_TEST(a_node_that_is_no_journal_is_left)
{
    char *before, *after;

    (void)peer_add_node(&peer, FORGED, "qcow2", "/j.qcow2", "", "");
    before = peer_state(&peer);
    check_left("0badf00d", QBLK_E_JOURNAL);
    resume("0badf00d", _i == 0 ? QBLK_RESUME_INTENT : QBLK_RESUME_UNDO);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
    ck_assert_int_eq(recorder.error.code, QBLK_E_JOURNAL);
    ck_assert_ptr_nonnull(strstr(recorder.error.text, "is a qcow2 node"));
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
}
END_TEST

/* Somebody has put a node above the journal: it stays, and so does the operation, which is no success. */
START_TEST(a_journal_that_stays_is_no_success)
{
    const bool has_ended = _i != 0;

    forge("qblk1 1/1 op=backup disk=vd0 intent=finish", has_ended);
    (void)peer_add_node(&peer, "above", "raw", "", FORGED, "");
    for (int i = 0; i < 2; i++) {
        resume("0badf00d", QBLK_RESUME_INTENT);
        ck_assert_int_eq(recorder.result, QBLK_RESULT_FAILED);
        ck_assert_int_eq(recorder.error.code, QBLK_E_QEMU);
        ck_assert_ptr_nonnull(strstr(recorder.error.text, "the operation stays open"));
        ck_assert_ptr_nonnull(strstr(recorder.notes, has_ended ? "the operation was completed all the same"
                                                              : "the operation was undone all the same"));
        ck_assert_ptr_nonnull(peer_node(&peer, FORGED));
    }
}
END_TEST

/* What a record alone says is done is not, and is told. The disk is on a node that has such a name. */
START_TEST(what_a_record_alone_says_is_told_as_such)
{
    static const struct {
        const char *record, *note;
    } said[] = {
        { "qblk1 1/1 op=detach disk=vd0 intent=finish old=top", "device vd0 is there and uses node top" },
        { "qblk1 1/1 op=swap disk=vd0 opts=resize=16777216 intent=pivot",
          "disk vd0 was to have 16777216 bytes then, by the record alone" },
    };
    char *before, *after;

    (void)peer_add_node(&peer, "qblk.0badf00d.file", "file", "/new.qcow2", "", "");
    (void)peer_add_node(&peer, "qblk.0badf00d.target", "qcow2", "/new.qcow2", "qblk.0badf00d.file", "");
    if (_i == 1)
        (void)snprintf(peer.root, sizeof(peer.root), "qblk.0badf00d.target");
    forge(said[_i].record, true);
    before = others();
    resume("0badf00d", QBLK_RESUME_INTENT);
    after = others();
    ck_assert_ptr_nonnull(strstr(recorder.notes, said[_i].note));
    ck_assert_uint_eq(peer_count(&peer, "block_resize"), 0);
    if (_i == 1)
        ck_assert_str_eq(after, before);
    free(before);
    free(after);
}
END_TEST

/* An unplug whose client is dead. Since then the disk's name may have gone to another one, and what was
 * to be removed may have got another user. */
static const struct {
    const char *disk, *root; /* recorded; what device vd0 uses now */
    bool is_unmarked;
    qblk_fate fate;
    qblk_result result;
    size_t n_asked, n_nodes; /* left, the journal and a new disk's apart */
} unplugged[] = {
    { "vd0", "top", false, QBLK_FATE_GO_ON, QBLK_RESULT_COMPLETED, 1, 0 },
    { "vd0", "", false, QBLK_FATE_CLEAN, QBLK_RESULT_COMPLETED, 0, 0 },
    { "top", "top", false, QBLK_FATE_GO_ON, QBLK_RESULT_COMPLETED, 1, 0 },
    { "top", "", false, QBLK_FATE_CLEAN, QBLK_RESULT_COMPLETED, 0, 0 },
    { "vd0", "new", false, QBLK_FATE_CLEAN, QBLK_RESULT_COMPLETED, 0, 0 },
    { "vd0", "above", false, QBLK_FATE_UNDO, QBLK_RESULT_UNDONE, 0, 6 },
    { "vd0", "top", true, QBLK_FATE_UNDO, QBLK_RESULT_UNDONE, 0, 6 },
    { "vd0", "", true, QBLK_FATE_UNDO, QBLK_RESULT_UNDONE, 0, 6 },
};

START_TEST(only_the_disk_that_was_to_go_is_unplugged)
{
    char record[200], note[80];
    size_t n_new = 0;

    if (strcmp(unplugged[_i].root, "new") == 0 || strcmp(unplugged[_i].root, "above") == 0) {
        (void)peer_add_node(&peer, "new-file", "file", "/new.qcow2", "", "");
        (void)peer_add_node(&peer, unplugged[_i].root, "qcow2", "/new.qcow2", "new-file",
                            strcmp(unplugged[_i].root, "above") == 0 ? "top" : "");
        n_new = 2;
    }
    (void)snprintf(peer.root, sizeof(peer.root), "%s", unplugged[_i].root);
    (void)snprintf(record, sizeof(record), "qblk1 1/1 op=detach disk=%s intent=finish "
                   "old=top,top-file,mid,mid-file,base,base-file", unplugged[_i].disk);
    forge(record, false);
    if (!unplugged[_i].is_unmarked)
        forge_marks("top,top-file,mid,mid-file,base,base-file");
    resume("0badf00d", QBLK_RESUME_INTENT);
    ck_assert_msg(foretold == unplugged[_i].fate, "%s", qblk_fate_name(foretold));
    ck_assert_msg(recorder.result == unplugged[_i].result, "%s: %s",
                  qblk_result_name(recorder.result), recorder.error.text);
    ck_assert_uint_eq(peer_count(&peer, "device_del"), unplugged[_i].n_asked);
    ck_assert_uint_eq(peer.n_nodes, unplugged[_i].n_nodes + n_new);
    if (n_new > 0) {
        (void)snprintf(note, sizeof(note), "device vd0 is there and uses node %s instead of top",
                       unplugged[_i].root);
        ck_assert_ptr_nonnull(strstr(recorder.notes, note));
    } else {
        ck_assert_str_eq(recorder.notes, "");
    }
}
END_TEST

/* In a storage daemon, whose disks have no names but those of their nodes: the base of a commit may have
 * had its user before, and that nobody uses the top does not show that anything was committed. */
START_TEST(a_commit_that_never_began_is_not_taken_for_a_pivot)
{
    char *before, *after;

    peer.root[0] = '\0';
    (void)snprintf(peer.exported, sizeof(peer.exported), "base");
    before = peer_state(&peer);
    forge("qblk1 1/1 op=commit disk=top base=base intent=pivot old=top,top-file,mid,mid-file", _i == 1);
    forge_marks("top,top-file,mid,mid-file");
    resume("0badf00d", QBLK_RESUME_INTENT);
    after = peer_state(&peer);
    if (_i == 1) { /* the mark of the end does */
        ck_assert_int_eq(foretold, QBLK_FATE_CLEAN);
        ck_assert_int_eq(recorder.result, QBLK_RESULT_PIVOTED);
        ck_assert_uint_eq(peer.n_nodes, 2);
    } else {
        ck_assert_int_eq(foretold, QBLK_FATE_UNDO);
        ck_assert_int_eq(recorder.result, QBLK_RESULT_UNDONE);
        ck_assert_str_eq(after, before);
    }
    free(before);
    free(after);
}
END_TEST

/* ---- records that name an operation of somebody else's ----------------------------------------- */

/* A copy that is open, its job at work, its client dead. ID in the record stands for it. */
static const struct {
    const char *record;
    bool has_ended;
    bool is_left; /* or taken up, and nothing of the other touched */
} meddling[] = {
    { "op=copy disk=vd0 with=ID intent=pivot", false, true },
    { "op=copy disk=vd0 with=ID intent=pivot", true, true },
    { "op=pull disk=vd0 old=qblk.ID.journal,qblk.ID.target,qblk.ID.file intent=finish", true, false },
    { "op=pull disk=vd0 old=qblk.ID.journal intent=finish", false, false },
    { "op=commit disk=vd0 base=qblk.ID.target old=qblk.ID.journal,qblk.ID.target intent=merge", true,
      false },
};

START_TEST(a_record_brings_no_other_operation_to_harm)
{
    char id[9], record[300] = "qblk1 1/1 ", *before, *after;

    for (size_t n = 15; peer.n_jobs == 0 || strcmp(peer.jobs[0].type, "mirror") != 0; n++) {
        again();
        peer.is_holding = true;
        peer.hang_up_at = n;
        peer.hang_up_after = true;
        errand_begin(&errands[3], &peer, monitor, false);
        ck_assert(peer_run(&peer, monitor, recorder_ended));
    }
    memcpy(id, recorder.operation, sizeof(id));
    for (const char *p = meddling[_i].record; *p != '\0'; p++) {
        bool is_id = strncmp(p, "ID", 2) == 0;

        (void)snprintf(record + strlen(record), sizeof(record) - strlen(record), "%.*s",
                       is_id ? 8 : 1, is_id ? id : p);
        p += is_id;
    }
    before = peer_state(&peer);
    forge(record, meddling[_i].has_ended);
    monitor = qblk_monitor_free(monitor);
    monitor = peer_reconnect(&peer, NULL);
    if (meddling[_i].is_left)
        check_left("0badf00d", QBLK_E_JOURNAL);
    foretell(id);
    ck_assert_int_eq(foretold, QBLK_FATE_PIVOT);
    resume("0badf00d", QBLK_RESUME_INTENT);
    ck_assert_int_eq(recorder.result == QBLK_RESULT_FAILED, meddling[_i].is_left);
    if (meddling[_i].is_left) {
        ck_assert_int_eq(recorder.error.code, QBLK_E_JOURNAL);
        ck_assert_int_eq(peer_node(&peer, FORGED) != NULL, 1);
        resume("0badf00d", QBLK_RESUME_UNDO);
        unforge();
    }
    after = peer_state(&peer);
    ck_assert_msg(strcmp(before, after) == 0, "%s\nbefore\n%s\nafter\n%s\nsaid %s", record, before, after,
                  recorder.notes);
    free(before);
    free(after);
    peer.is_holding = false;
    resume(id, QBLK_RESUME_INTENT);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_PIVOTED);
}
END_TEST

/* Jobs with names like ours. The record, if any, is of another kind than the job, or the job of another
 * type than its name. */
static const struct {
    const char *record, *job, *type;
    qblk_error_code code; /* for which resuming is refused; or NONE: it removes the record alone */
} strangers[] = {
    { NULL, "qblk.0badf00d.stream", "stream", QBLK_E_HAZARD },
    { NULL, "qblk.0badf00d.pull", "mirror", QBLK_E_UNKNOWN_JOB },
    { NULL, "qblk.0badf00d.copy", "mirror", QBLK_E_UNKNOWN_JOB },
    { "qblk1 1/1 op=backup disk=vd0 intent=finish", "qblk.0badf00d.copy", "mirror", QBLK_E_JOURNAL },
    { "qblk1 1/1 op=copy disk=vd0 intent=finish", "qblk.0badf00d.copy", "commit", QBLK_E_NONE },
    { "qblk1 1/1 op=copy disk=vd0 intent=finish", "qblk.0badf00d.stream", "mirror", QBLK_E_NONE },
};

START_TEST(a_job_with_a_name_like_ours_is_left)
{
    char *before, *after;
    bool has_job = false;

    (void)peer_add_job(&peer, strangers[_i].job, strangers[_i].type, "running");
    peer.is_holding = true;
    before = peer_state(&peer);
    if (strangers[_i].record != NULL)
        forge(strangers[_i].record, false);
    for (int how = QBLK_RESUME_INTENT; how <= QBLK_RESUME_UNDO; how++) {
        if (how == QBLK_RESUME_FINISH || how == QBLK_RESUME_PIVOT)
            continue;
        resume("0badf00d", (qblk_resume_how)how);
        if (strangers[_i].code != QBLK_E_NONE)
            ck_assert_int_eq(recorder.error.code, strangers[_i].code);
        if (strangers[_i].record == NULL)
            check_left("0badf00d", QBLK_E_JOURNAL);
    }
    if (strangers[_i].code == QBLK_E_JOURNAL) {
        check_left("0badf00d", QBLK_E_JOURNAL);
        ck_assert_ptr_nonnull(peer_node(&peer, FORGED));
        unforge();
    }
    after = peer_state(&peer);
    ck_assert_str_eq(before, after);
    for (size_t i = 0; i < peer.n_jobs; i++)
        has_job = has_job || strcmp(peer.jobs[i].id, strangers[_i].job) == 0;
    ck_assert(has_job);
    free(before);
    free(after);
}
END_TEST

/* The nodes of a snapshot stay, and with them what would prove that its file was made by it. */
START_TEST(a_record_that_comes_back_does_not_take_a_snapshot_away)
{
    char id[9], name[40], record[300], *before, *after;
    struct peer_node *node;

    errand_begin(&errands[N_WITH_JOB + 1], &peer, monitor, false);
    ck_assert(peer_run(&peer, monitor, recorder_ended));
    ck_assert_int_eq(recorder.result, QBLK_RESULT_COMPLETED);
    memcpy(id, recorder.operation, sizeof(id));
    before = peer_state(&peer);
    (void)snprintf(name, sizeof(name), "qblk.%s.journal", id);
    (void)snprintf(record, sizeof(record), "qblk1 1/1 op=snapshot disk=vd0 intent=finish "
                   "file=%s/target disk.1=vd1 file.1=%s/target2", peer.dir, peer.dir);
    node = peer_add_node(&peer, name, "null-co", "", "", "");
    node->bitmaps[node->n_bitmaps++] = strdup(record);
    resume(id, _i == 0 ? QBLK_RESUME_INTENT : QBLK_RESUME_UNDO);
    ck_assert_int_eq(recorder.result, QBLK_RESULT_COMPLETED);
    after = peer_state(&peer);
    ck_assert_str_eq(after, before);
    free(before);
    free(after);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("ops_resume");
    TCase *tcase = tcase_create("ops_resume"), *records = tcase_create("records");
    TCase *large = tcase_create("large");
    SRunner *runner;
    int failed;

    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_set_timeout(tcase, 120);
    tcase_add_loop_test(
        tcase, a_client_that_dies_anywhere_is_followed_by_one_that_ends_it_as_intended, 0,
        N_ERRANDS);
    tcase_add_loop_test(tcase, a_client_that_dies_anywhere_is_followed_by_one_that_undoes_it, 0,
                        N_ERRANDS);
    tcase_add_loop_test(tcase, a_kept_copy_ends_as_its_user_says, 0,
                        (int)(sizeof(kept) / sizeof(kept[0])));
    tcase_set_tags(large, "large");
    tcase_add_checked_fixture(large, setup, teardown);
    tcase_set_timeout(large, 120);
    tcase_add_loop_test(large, whoever_follows_may_die_as_well, 0, N_ERRANDS);
    suite_add_tcase(suite, large);
    tcase_add_checked_fixture(records, setup, teardown);
    tcase_add_loop_test(records, a_record_of_another_version_is_reported_and_nothing_changed, 0,
                        (int)(sizeof(unknown) / sizeof(unknown[0])));
    tcase_add_loop_test(records, a_forged_record_harms_nothing_of_others, 0,
                        (int)(sizeof(forged) / sizeof(forged[0])));
    tcase_add_test(records, every_job_is_told_of);
    tcase_add_loop_test(records, a_node_that_is_no_journal_is_left, 0, 2);
    tcase_add_loop_test(records, a_journal_that_stays_is_no_success, 0, 2);
    tcase_add_loop_test(records, what_a_record_alone_says_is_told_as_such, 0, 2);
    tcase_add_loop_test(records, only_the_disk_that_was_to_go_is_unplugged, 0,
                        (int)(sizeof(unplugged) / sizeof(unplugged[0])));
    tcase_add_loop_test(records, a_commit_that_never_began_is_not_taken_for_a_pivot, 0, 2);
    tcase_add_loop_test(records, a_record_brings_no_other_operation_to_harm, 0,
                        (int)(sizeof(meddling) / sizeof(meddling[0])));
    tcase_add_loop_test(records, a_job_with_a_name_like_ours_is_left, 0,
                        (int)(sizeof(strangers) / sizeof(strangers[0])));
    tcase_add_loop_test(records, a_record_that_comes_back_does_not_take_a_snapshot_away, 0, 2);
    suite_add_tcase(suite, tcase);
    suite_add_tcase(suite, records);
    runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed != 0;
}
