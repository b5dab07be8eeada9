/* Commands that QEMU takes while a block job runs, and that spoil it, and those that it dies of:
 * refused from here. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "base/str.h"
#include "codec/doc.h"
#include "monitor/hazard.h"
#include "monitor/monitor.h"
#include "qapi_types.h"

static const struct {
    const char *command, *harm;
} spoilers[] = {
    { "device_del", "may take the disk away from under a job, which would go on without one" },
    { "migrate", "would copy the guest while its disks are being moved, and nobody brings the two "
                 "together" },
    { "quit", "ends QEMU, and the job with it, unfinished" },
    { "system_powerdown", "lets QEMU end with the guest, and the job with it, unfinished" },
};

static const char *harm_of(const char *command)
{
    for (size_t i = 0; i < sizeof(spoilers) / sizeof(spoilers[0]); i++)
        if (strcmp(spoilers[i].command, command) == 0)
            return spoilers[i].harm;
    return NULL;
}

/* It holds a disk and is not over. */
static bool is_at_work(const struct qapi_job_info *job)
{
    static const char *const types[] = { "mirror", "commit", "backup", "stream" };

    if (str_equal(job->status, "concluded") || str_equal(job->status, "null"))
        return false;
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        if (str_equal(job->type, types[i]))
            return true;
    return false;
}

static int refuse(const char *command, const struct qapi_job_info *job, size_t n_more,
                  qblk_error *error)
{
    bool is_ended_by_hand = str_equal(job->status, "ready") || str_equal(job->status, "standby");
    char operation[9] = "";
    char more[48] = "";
    int r;

    (void)str_our_name(job->id, operation);
    if (n_more > 0)
        (void)snprintf(more, sizeof(more), " (and %zu more)", n_more);
    r = err_set(error, QBLK_E_BUSY, "%s refused: it %s. Job %s%s is a %s that is %s%s%s; %s, or "
                "cancel it (qblk job cancel %s) first", command, harm_of(command), job->id, more,
                job->type, job->status, operation[0] != '\0' ? ", of operation " : "", operation,
                is_ended_by_hand ? "end it (qblk job pivot, or qblk job finish)"
                                 : "wait for it (qblk job wait)", job->id);
    if (error != NULL) {
        (void)snprintf(error->job, sizeof(error->job), "%s", job->id);
        (void)snprintf(error->operation, sizeof(error->operation), "%s", operation);
    }
    return r;
}

/* Whether the arguments are an object whose member of that name is a list without elements. */
static int is_empty_list(const char *arguments, const char *member, bool *ret_is_empty)
{
    struct doc doc;
    int r = doc_parse(&doc, arguments, strlen(arguments));
    struct doc_ref list = doc_get(r == 0 ? doc_top(&doc) : (struct doc_ref){ NULL, 0 }, member);

    *ret_is_empty = list.doc != NULL && doc_kind(list) == DOC_ARRAY && doc_first(list).doc == NULL;
    doc_done(&doc);
    return r;
}

static int check_deadly(const qblk_monitor *monitor, const char *command, const char *arguments,
                        qblk_error *error)
{
    bool is_empty = false;

    if (strcmp(command, "blockdev-reopen") != 0 || arguments == NULL ||
        !hazard_is_known(monitor->client.version, HAZARD_REOPEN_NOTHING, NULL))
        return 0;
    if (is_empty_list(arguments, "options", &is_empty) == -ENOMEM)
        return err_nomem(error);
    if (!is_empty)
        return 0;
    return err_set(error, QBLK_E_HAZARD, "blockdev-reopen refused: without a node in its list of "
                   "options it would abort this version of QEMU; name what is to be reopened");
}

int qblk_guard(qblk_monitor *monitor, const char *command, const char *arguments, int timeout_ms,
               qblk_error *error)
{
    struct qapi_job_info_list list;
    const struct qapi_job_info *first = NULL;
    size_t n = 0;
    char *reply;
    int r = check_deadly(monitor, command, arguments, error);

    if (r < 0 || harm_of(command) == NULL)
        return r;
    r = qblk_monitor_execute(monitor, "query-jobs", NULL, timeout_ms, &reply, error);
    if (r < 0)
        return r;
    r = codec_reply(&qapi_cmd_query_jobs, reply, &list, error);
    free(reply);
    if (r < 0)
        return r;
    for (size_t i = 0; i < list.n; i++) {
        if (!is_at_work(&list.v[i]))
            continue;
        first = first == NULL ? &list.v[i] : first;
        n++;
    }
    if (first != NULL)
        r = refuse(command, first, n - 1, error);
    codec_reply_clear(&qapi_cmd_query_jobs, &list);
    return r;
}
