/* The requests of one connection, and which of them may follow which. */
#ifndef CRIU_SRV_CONNECTION_H
#define CRIU_SRV_CONNECTION_H

struct worker;

/**
 * connection_serve() - receive and carry out requests until one is the last
 * Return: exit code of the worker.
 */
int connection_serve(struct worker *w);

#endif
