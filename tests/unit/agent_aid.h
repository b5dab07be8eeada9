/* A guest agent in this process: a socket, and the model of qemu-ga behind it. */
#ifndef QBLK_TESTS_AGENT_AID_H
#define QBLK_TESTS_AGENT_AID_H

#include "../fake/agent_model.h"

struct agent_host {
    char dir[64];
    char path[96];
    int listener, peer;       /* or -1 */
    int clients;              /* that have come */
    bool is_deaf;             /* takes nobody and reads nothing */
    size_t max_write;         /* bytes of one turn; 0: any number */
    struct agent_model model;
};

void agent_host_start(struct agent_host *host);
void agent_host_end(struct agent_host *host);
/* Nobody listens any more; what is connected goes too. */
void agent_host_vanish(struct agent_host *host);
/* Closes the connection as QEMU does when it resets its end. */
void agent_host_hang_up(struct agent_host *host);
/* Accepts, reads, answers. Whether there was anything to do. */
bool agent_host_turn(struct agent_host *host);
/* The commands since the last call, as in agent_model.asked. */
const char *agent_host_asked(struct agent_host *host);

#endif
