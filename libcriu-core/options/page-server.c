/* Options of page servers; see page-server.h. */
#include "options/page-server.h"

#include "base/error.h"

#include <errno.h>

int settings_name_server(struct settings *s, enum command c, struct cr_error *err)
{
	rpc_criu_page_server_info *ps;
	bool leaves = c == COMMAND_DUMP && s->rpc.has_lazy_pages && s->rpc.lazy_pages;
	bool sends = c & (COMMAND_DUMP | COMMAND_PRE_DUMP | COMMAND_LAZY_PAGES) && !leaves;

	/* clients of CRIU may name a page server elsewhere as well, which has no part in this */
	if (leaves && s->rpc.ps) {
		s->rpc.ps->address = NULL;
		s->rpc.ps->has_fd = false;
	}
	/* a lazy dump is itself where pages are asked for, whether that is called a page server or not */
	if (s->rpc.ps || !(c == COMMAND_PAGE_SERVER || leaves || (sends && s->page_server)))
		return 0;
	if (sends && !s->has_ps_socket && !s->has_port) {
		cr_refuse(err, -EINVAL, "option --page-server needs --port, or --ps-socket");
		return -EINVAL;
	}
	ps = pool_new(&s->arena, rpc_criu_page_server_info);
	if (!ps)
		return cr_fail(err, -ENOMEM, "options");
	/* a socket that is connected already has no address; whoever gives both is warned by the front end */
	if (s->has_ps_socket) {
		ps->has_fd = true;
		ps->fd = s->ps_socket;
	} else {
		ps->address = s->address;
		ps->has_port = s->has_port;
		ps->port = s->has_port ? s->port : 0;
	}
	s->rpc.ps = ps;
	return 0;
}
