/* criu-cli: the command line alone */
#include "cli.h"

int main(int argc, char **argv)
{
	return cli_front(argc, argv, NULL);
}
