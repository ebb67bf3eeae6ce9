/*
 * Runs a program, and kills the process of it that is about to make a certain system call for the Nth time.
 *
 *     cut-off CALL FIRST-ARGUMENT N own|all PROGRAM ARGUMENT...
 *
 * -1 for call or argument is any; "all": not only the program's own calls count, but also those of its children and threads. Prints how
 * many such calls there were if it was through before that, and ends as it did; "cut off" and SIGKILL otherwise.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define ENTRY (SIGTRAP | 0x80)

static bool matches(pid_t tid, long call, long arg)
{
	struct user_regs_struct r;

	/* at the entry of a call the result is -ENOSYS */
	return ptrace(PTRACE_GETREGS, tid, NULL, &r) == 0 && (long)r.rax == -38 && (call == -1 || (long)r.orig_rax == call) &&
	       (arg == -1 || (long)r.rdi == arg);
}

/* What a stopped thread is let go on with. */
static int signal_of(int status)
{
	return WSTOPSIG(status) == ENTRY || status >> 16 ? 0 : WSTOPSIG(status);
}

int main(int argc, char **argv)
{
	long call, arg, nth, nr = 0, options = PTRACE_O_TRACESYSGOOD;
	pid_t pid, tid;
	int status, go[2];
	char c;

	if (argc < 6 || pipe(go) < 0)
		return 2;
	call = atol(argv[1]);
	arg = strtol(argv[2], NULL, 0);
	nth = atol(argv[3]);
	if (!strcmp(argv[4], "all"))
		options |= PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE;
	pid = fork();
	if (pid == 0) {
		close(go[1]);
		if (read(go[0], &c, 1) == 1 && close(go[0]) == 0)
			execv(argv[5], argv + 5);
		_exit(127);
	}
	/* not by PTRACE_TRACEME: that lets each child begin with a SIGSTOP, which is left with those who lose us before it has come */
	if (ptrace(PTRACE_SEIZE, pid, NULL, options) < 0 || ptrace(PTRACE_INTERRUPT, pid, NULL, NULL) < 0)
		return 2;
	close(go[0]);
	if (write(go[1], "x", 1) != 1)
		return 2;
	close(go[1]);
	while ((tid = waitpid(-1, &status, __WALL)) > 0) {
		if (!WIFSTOPPED(status) && tid == pid)
			break;
		if (!WIFSTOPPED(status))
			continue;
		if (WSTOPSIG(status) == ENTRY && matches(tid, call, arg) && ++nr == nth) {
			puts("cut off");
			fflush(stdout);
			kill(tid, SIGKILL);
			/* a leader is told of only when its threads have been */
			for (pid_t seen = 0; seen >= 0 && (seen != tid || WIFSTOPPED(status));)
				seen = waitpid(-1, &status, __WALL);
			raise(SIGKILL);
		}
		ptrace(PTRACE_SYSCALL, tid, NULL, (long)signal_of(status));
	}
	printf("%ld\n", nr);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
