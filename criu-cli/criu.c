/* criu: one name for the command line and the service, as container engines call it */
#include "../criu-srv/srv.h"
#include "cli.h"

int main(int argc, char **argv)
{
	return cli_front(argc, argv, srv_run);
}
