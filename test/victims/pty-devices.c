/* Terminals that are devices: they are opened again by name. Nothing is read or written, others use them too. */
#include "victim.h"

#include <asm/termbits.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int fd;
static struct termios2 was;

static void open_device(const char *name)
{
	fd = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 || ioctl(fd, TCGETS2, &was) < 0)
		victim_skip("%s: %s", name, strerror(errno));
}

static void set_up_console(void)
{
	open_device("/dev/console");
}

static void set_up_virtual(void)
{
	open_device("/dev/tty1");
}

static void set_up_serial(void)
{
	open_device("/dev/ttyS0");
}

static void check_device(void)
{
	struct termios2 now;

	expect((fcntl(fd, F_GETFL) & ~0100000) == (O_RDWR | O_NONBLOCK), "flags are %o", fcntl(fd, F_GETFL));
	expect(ioctl(fd, TCGETS2, &now) == 0 && memcmp(&now, &was, sizeof(now)) == 0, "modes differ");
}

static void set_up_two(void)
{
	open_device("/dev/tty2");
	open_device("/dev/tty1");
}

const struct victim_case victim_cases[] = {
	{ "console", set_up_console, check_device },
	{ "virtual", set_up_virtual, check_device },
	{ "serial", set_up_serial, check_device },
	{ "two-virtual", set_up_two, check_device, .refuse = "second terminal" },
	{ NULL },
};
