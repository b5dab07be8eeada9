/* Targets that are no files of this host: an export of an NBD server, or a node that the user
 * describes as JSON. They are there already, so none is made and none is removed; only their nodes
 * are ours. */
#include <errno.h>
#include <string.h>

#include "base/err.h"
#include "base/mem.h"
#include "base/str.h"
#include "ops/like.h"
#include "ops/op.h"
#include "qapi_types.h"

#define NBD_PORT "10809"

/* ---- the URI --------------------------------------------------------------------------------- */

bool remote_is_uri(const char *text)
{
    return str_starts(text, "nbd:") || str_starts(text, "nbd+") || str_starts(text, "nbds");
}

static int bad(qblk_error *error, const char *uri, const char *why)
{
    return err_set(error, QBLK_E_ARGUMENT, "the target %.300s: %s; an NBD target is written "
                   "nbd://HOST[:PORT]/EXPORT or nbd+unix:///EXPORT?socket=/PATH", uri, why);
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The len bytes at text with %XX resolved; NULL if out of memory (errno 0: malformed). */
static char *unescape(const char *text, size_t len)
{
    char *out = mem_zalloc(len + 1), *to = out;

    for (size_t i = 0; out != NULL && i < len; i++) {
        int high, low;

        if (text[i] != '%') {
            *to++ = text[i];
            continue;
        }
        high = i + 2 < len ? hex(text[i + 1]) : -1;
        low = high >= 0 ? hex(text[i + 2]) : -1;
        if (low < 0 || high * 16 + low == 0) {
            free(out);
            errno = 0;
            return NULL;
        }
        *to++ = (char)(high * 16 + low);
        i += 2;
    }
    if (out == NULL)
        errno = ENOMEM;
    return out;
}

static int take(char **to, const char *text, size_t len, const char *uri, qblk_error *error)
{
    free(*to);
    *to = unescape(text, len);
    if (*to != NULL)
        return 0;
    return errno == ENOMEM ? err_nomem(error)
                           : bad(error, uri, "a % is not followed by two hex digits");
}

static int take_port(struct target *to, const char *text, size_t len, const char *uri,
                     qblk_error *error)
{
    unsigned port = 0;

    for (size_t i = 0; i < len && port <= 65535; i++) {
        if (text[i] < '0' || text[i] > '9')
            port = 65536;
        else
            port = port * 10 + (unsigned)(text[i] - '0');
    }
    if (port == 0 || port > 65535)
        return bad(error, uri, "its port is not a number from 1 to 65535");
    return take(&to->nbd.port, text, len, uri, error);
}

/* "host", "host:port", "[address]", "[address]:port" */
static int parse_server(const char *uri, const char *at, size_t len, struct target *to,
                        qblk_error *error)
{
    const char *host = at, *end = at + len, *host_end, *colon;

    if (memchr(at, '@', len) != NULL)
        return bad(error, uri, "NBD knows no user name");
    if (len > 0 && *at == '[') {
        host++;
        host_end = memchr(at, ']', len);
        if (host_end == NULL)
            return bad(error, uri, "its address lacks the closing bracket");
        colon = host_end + 1;
    } else {
        colon = memchr(at, ':', len);
        host_end = colon = colon != NULL ? colon : end;
    }
    if (host_end == host)
        return bad(error, uri, "it names no host");
    if (colon < end && *colon != ':')
        return bad(error, uri, "there is something between its address and its port");
    if (take(&to->nbd.host, host, (size_t)(host_end - host), uri, error) < 0)
        return -EINVAL;
    return colon < end ? take_port(to, colon + 1, (size_t)(end - colon - 1), uri, error)
                       : take(&to->nbd.port, NBD_PORT, strlen(NBD_PORT), uri, error);
}

static int parse_socket(const char *uri, const char *query, struct target *to, qblk_error *error)
{
    int r;

    if (query == NULL || !str_starts(query, "socket="))
        return bad(error, uri, "it does not name its socket");
    query += strlen("socket=");
    if (strchr(query, '&') != NULL)
        return bad(error, uri, "there is more behind ? than the socket");
    r = take(&to->nbd.socket, query, strlen(query), uri, error);
    if (r == 0 && to->nbd.socket[0] != '/')
        return bad(error, uri, "its socket is not an absolute path");
    return r;
}

int remote_parse_uri(const char *uri, struct target *to, qblk_error *error)
{
    bool is_unix = str_starts(uri, "nbd+unix://");
    const char *at = strstr(uri, "://"), *query = strchr(uri, '?'), *path;
    const char *end = query != NULL ? query : uri + strlen(uri);
    int r;

    if (str_starts(uri, "nbds"))
        return bad(error, uri, "TLS needs the credentials of an object: use --blockdev");
    if (!is_unix && !str_starts(uri, "nbd://"))
        return bad(error, uri, "its scheme is neither nbd:// nor nbd+unix://");
    if (strchr(uri, '#') != NULL)
        return bad(error, uri, "NBD knows no fragment behind #");
    at += 3;
    path = memchr(at, '/', (size_t)(end - at));
    if (path == NULL)
        path = end;
    if (is_unix && path != at)
        return bad(error, uri, "a host means nothing to a UNIX socket: three slashes");
    if (!is_unix && query != NULL)
        return bad(error, uri, "there is something behind ?");
    if (is_unix)
        r = parse_socket(uri, query != NULL ? query + 1 : NULL, to, error);
    else
        r = parse_server(uri, at, (size_t)(path - at), to, error);
    if (r < 0)
        return r;
    path += path < end;
    return take(&to->nbd.export_name, path, (size_t)(end - path), uri, error);
}

/* A server that does not answer fails what is asked of it at once, so that the policy for I/O
 * errors decides what becomes of the job; QEMU tries to connect again with the next request. */
struct step *remote_plan_nbd(qblk_op *op, const struct target *to, const char *name,
                             bool read_only)
{
    struct qapi_blockdev_options node = { .driver = QAPI_BLOCKDEV_DRIVER_NBD, .node_name = name };
    struct qapi_blockdev_cache_options cache = { 0 };
    AUTO_FREE char *text = mem_printf("connect to %.200s", to->path);

    node.has_read_only = node.read_only = read_only;
    if (!read_only)
        like_disk(op, to, true, &node, &cache);
    if (to->nbd.socket != NULL) {
        node.u.nbd.server.type = QAPI_SOCKET_ADDRESS_TYPE_UNIX;
        node.u.nbd.server.u.unix_.path = to->nbd.socket;
    } else {
        node.u.nbd.server.type = QAPI_SOCKET_ADDRESS_TYPE_INET;
        node.u.nbd.server.u.inet.host = to->nbd.host;
        node.u.nbd.server.u.inet.port = to->nbd.port;
    }
    if (to->nbd.export_name != NULL && to->nbd.export_name[0] != '\0')
        node.u.nbd.export_ = to->nbd.export_name;
    return plan_add(op, text != NULL ? text : "connect to the target", &node);
}

/* ---- a node described by the user ------------------------------------------------------------- */

int remote_check_json(const char *json, qblk_error *error)
{
    static const char *const names[] = { "driver", "node-name", "read-only" };
    enum codec_has has[3];
    int r = codec_peek(json, names, 3, has, error);

    if (r < 0) {
        err_prefix(error, "the target described by --blockdev");
        return r;
    }
    if (has[0] != CODEC_HAS_STRING)
        return err_set(error, QBLK_E_ARGUMENT, "--blockdev: the object names no \"driver\"");
    if (has[1] != CODEC_HAS_NOTHING)
        return err_set(error, QBLK_E_ARGUMENT, "--blockdev: leave \"node-name\" out: the node is "
                       "given a name that carries the operation's id");
    if (has[2] != CODEC_HAS_NOTHING)
        return err_set(error, QBLK_E_ARGUMENT, "--blockdev: leave \"read-only\" out: the target is "
                       "looked at read-only, and then written to");
    return 0;
}

struct step *remote_plan_json(qblk_op *op, const struct target *to, const char *name,
                              bool read_only)
{
    struct qapi_blockdev_del_args del = { .node_name = name };
    struct step *step = plan_step(op, STEP_CALL, "add the target node");
    const char *rest = strchr(to->path, '{') + 1;

    /* The user's text goes as it is: what of it QEMU knows is QEMU's affair. */
    step->command = mem_printf("{\"execute\":\"blockdev-add\",\"arguments\":{\"node-name\":\"%s\","
                               "%s%s}", name, read_only ? "\"read-only\":true," : "", rest);
    if (step->command == NULL)
        op->engine.failed_alloc = true;
    step_undo(&op->engine, step, &qapi_cmd_blockdev_del, &del);
    return step;
}
