#!/usr/bin/busybox sh
# First process of a guest: makes a small system, runs what the kernel's command line asks for, turns the guest off.
# The first serial port is the kernel's, the second one is for results.
B=/usr/bin/busybox
if [ ! -e /moved ]; then
	# The initial root cannot be left or unmounted by anyone, so tests get an ordinary tmpfs.
	$B mount -t tmpfs -o mode=755,size=70% root /new
	for f in /usr /bin /sbin /lib /lib64 /etc /root /var /criu /victims /subjects /test /modules /init; do
		$B cp -a $f /new/ 2>/dev/null
	done
	$B mkdir /new/dev /new/proc /new/sys /new/tmp /new/run /new/mnt
	$B touch /new/moved
	exec $B switch_root /new /init
fi
$B mount -t proc proc /proc
$B mount -t sysfs sys /sys
$B mount -t devtmpfs dev /dev
$B mkdir /dev/pts /dev/shm
$B mount -t devpts -o ptmxmode=666 pts /dev/pts
$B mount -t tmpfs shm /dev/shm
$B mount -t tmpfs -o mode=1777 tmp /tmp
$B mount -t cgroup2 cgroup /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
$B mkdir /dev/mqueue && $B mount -t mqueue mqueue /dev/mqueue
exec </dev/null >/dev/ttyS1 2>&1
$B stty -F /dev/ttyS1 raw -echo
for m in /modules/*.ko; do
	$B insmod $m 2>/dev/null || echo "note: no module $m"
done
$B --install -s /usr/bin 2>/dev/null
$B ip link set lo up
$B hostname guest
export PATH=/usr/bin:/usr/sbin HOME=/root LC_ALL=C.UTF-8
$B sysctl -q -w kernel.core_pattern=/dev/null kernel.printk="3 4 1 3" vm.nr_hugepages=16
echo "note: Linux $($B uname -r)"
python3 -B /test/kernels/guest.py
$B poweroff -f
