/*
 * Dumps of other trees than the one that a keeper was left for: of a part of it, of one that it is a part of, of orphans that
 * outlive its root. They find mappings registered with a userfaultfd, and must know whether that is a keeper's or the process's own.
 * So each keeper has a second socket, at which it can be asked about processes by their numbers, and told to let go of one.
 */
#ifndef CR_MM_KEEPER_ASK_H
#define CR_MM_KEEPER_ASK_H

#include "mm/keeper.h"

#include <sys/socket.h>

struct sockaddr_un;

/** keeper_ask_address() - of the second socket of a keeper. Return: its length */
socklen_t keeper_ask_address(pid_t root, uint64_t start_time, struct sockaddr_un *ret);

/** keeper_answer() - the keeper's side: one conversation over @sock, which it closes. @items: one may be dropped */
void keeper_answer(int sock, struct track_items *items);

/**
 * keeper_ask() - look for a keeper that watches memory of a process, in whose tree ever
 * Return: a connection to it, the caller's; -1: there is none.
 */
int keeper_ask(pid_t host_pid);

/** keeper_watches() - is a mapping that is registered for write protection registered with what this keeper holds? */
bool keeper_watches(int sock, uint64_t start, uint64_t end);

/** keeper_let_go() - have the process that was asked about watched no longer, and forgotten. Return: was it done? */
bool keeper_let_go(int sock);

/** keeper_is_us() - is the other end of a connection a process of our user, or of root? */
bool keeper_is_us(int sock);

/** keeper_set_patience() - how long a call may wait for the other side, in seconds */
void keeper_set_patience(int sock, int seconds);

#endif
